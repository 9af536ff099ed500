"""Which code and which versions made a result."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from pathlib import Path

import numpy as np

import gac_ref

__all__ = ["computed_with", "source_digest"]

ROOT = Path(__file__).resolve().parents[2]
APART = ("gac_ref/conformance/", "gac_ref/ports/", "simulations/recording/")
"""Packages that no simulation imports."""


@cache
def source_digest() -> str:
    """Digest of every Python file that a result can depend on, 16 hexadecimal digits.

    A commit says less: a working tree may differ from it, and a machine may have no repository.

    Examples:
        >>> len(source_digest())
        16
    """
    total = hashlib.sha256()
    for package in ("gac_ref", "simulations"):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            if not name.startswith(APART):
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
