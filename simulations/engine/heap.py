"""Freed memory that stays with the process."""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ["keep_freed_memory"]

KEPT = 2**24
"""Bytes; above the arrays of a tile, below the 32 MiB up to which glibc adapts."""


@cache
def keep_freed_memory() -> None:
    """Have the C library keep freed memory, once a process.

    Every step allocates and frees the same few megabytes. By default glibc hands memory back to
    the system at once, and the page faults of getting it anew take a third of an exact measurement.
    Freeing one larger block, which is never touched, raises its thresholds to that size and twice
    that size (mallopt(3), M_MMAP_THRESHOLD). Elsewhere this does nothing.
    """
    np.empty(KEPT, dtype=np.uint8)
