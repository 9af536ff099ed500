"""How notebooks are run while building, and how long their outputs are kept.

MyST-NB keeps the outputs of a notebook as long as its text is the same. That is too long here:
what a notebook prints is computed by the packages beside it. So the outputs lie in a folder named
after the sources of these packages.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from jupyter_client.manager import KernelManager
from sphinx.application import Sphinx

IMPORTED = ("gac_ref", "simulations")


def outputs_folder(root: Path) -> Path:
    """Where the outputs of notebooks lie that ran with the sources as they are."""
    digest = hashlib.sha256()
    for package in IMPORTED:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return root / "out" / "notebook-cache" / digest.hexdigest()[:16]


def setup(app: Sphinx) -> dict[str, bool]:
    """Let no other user of the machine listen to a kernel, of which each would warn."""
    KernelManager.transport_encryption.default_value = "auto"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
