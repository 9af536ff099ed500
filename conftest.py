"""Which ports' examples run: those whose framework is installed."""

import importlib.util

collect_ignore_glob = [
    f"gac_ref/ports/{port}/*.py"
    for port in ("torch", "jax")
    if importlib.util.find_spec(port) is None
]
