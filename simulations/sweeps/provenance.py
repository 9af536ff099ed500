"""Which code and which versions made a result."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from pathlib import Path

import numpy as np

import gac_ref

__all__ = ["computed_with", "digest_of", "source_digest"]

ROOT = Path(__file__).resolve().parents[2]
APART = (
    "gac_ref/conformance/",
    "gac_ref/ports/",
    "simulations/recording/",
    "simulations/analysis/",
)
"""Packages that no simulation imports."""


def source_digest() -> str:
    """Digest of every Python file that a result can depend on, 16 hexadecimal digits.

    A commit says less: a working tree may differ from it, and a machine may have no repository.

    Examples:
        >>> len(source_digest())
        16
    """
    return digest_of("gac_ref", "simulations", apart=APART)


@cache
def digest_of(*folders: str, apart: tuple[str, ...] = ()) -> str:
    """Digest of the Python files of some folders of the checkout, 16 hexadecimal digits.

    Args:
        folders: Paths from the root of the checkout.
        apart: Beginnings of the paths that do not count.

    Examples:
        >>> digest_of("gac_ref") == digest_of("gac_ref", apart=("simulations/",))
        True
    """
    total = hashlib.sha256()
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            if not name.startswith(apart):
                total.update(name.encode())
                total.update(file.read_bytes())
    return total.hexdigest()[:16]


@cache
def commit() -> str:
    """The commit of the checkout, "unknown" without a repository."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


@cache
def computed_with() -> dict[str, str]:
    """What is stored beside a cell's numbers; without times and machines, so that a cell's bytes
    depend on its configuration and the code alone.

    Examples:
        >>> sorted(computed_with())
        ['commit', 'gac_ref', 'numpy', 'python', 'source']
    """
    return {
        "commit": commit(),
        "source": source_digest(),
        "gac_ref": gac_ref.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
