"""Which ports' examples run, and that pictures are compared."""

import importlib.util

import pytest

collect_ignore_glob = [
    f"gac_ref/ports/{port}/*.py"
    for port in ("torch", "jax")
    if importlib.util.find_spec(port) is None
]
"""Examples of the ports whose framework is not installed."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Compare pictures wherever pytest-mpl is installed.

    Without its flag the plugin passes every picture; in the project's options the flag would break
    every pytest run without the plugin.
    """
    if config.pluginmanager.hasplugin("pytest_mpl"):
        config.option.mpl = True
