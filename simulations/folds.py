"""Sums and extremes over the last axis whose bits depend on nothing but the values.

They are elementwise operations in a fixed order. NumPy's own reductions choose the order by how an
array lies in memory, and so by how many trajectories are computed together.
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import FloatArray

__all__ = ["row_max", "row_min", "row_sum", "tree_sum"]


def row_sum(values: FloatArray) -> FloatArray:
    """Sum over the last axis, one entry after the other: for short rows in any layout.

    Args:
        values: [..., V], V >= 1.

    Returns:
        [...], float64.

    Examples:
        >>> row_sum(np.array([[1.0, 2.0, 3.0]])).tolist()
        [6.0]
    """
    return _fold(np.add, values)


def tree_sum(values: FloatArray) -> FloatArray:
    """Sum over the last axis by halves: for long rows, best where that axis is slow in memory.

    Examples:
        >>> tree_sum(np.arange(12.0).reshape(2, 6)).tolist()
        [15.0, 51.0]
    """
    total = values
    while total.shape[-1] > 1:
        half, odd = divmod(total.shape[-1], 2)
        # The first fold makes the array that the others are done in.
        out = None if total is values else total[..., :half]
        folded = np.add(total[..., :half], total[..., half : 2 * half], out=out)
        if odd:
            folded[..., 0] += total[..., -1]
        total = folded
    return total[..., 0]


def row_max(values: FloatArray) -> FloatArray:
    """Largest entry along the last axis; as :func:`row_sum`.

    Examples:
        >>> row_max(np.array([[1.0, 3.0, 2.0]])).tolist()
        [3.0]
    """
    return _fold(np.maximum, values)


def row_min(values: FloatArray) -> FloatArray:
    """Smallest entry along the last axis; as :func:`row_sum`.

    Examples:
        >>> row_min(np.array([[1.0, 3.0, 2.0]])).tolist()
        [1.0]
    """
    return _fold(np.minimum, values)


def _fold(op: np.ufunc, values: FloatArray) -> FloatArray:
    if values.shape[-1] == 1:
        return values[..., 0].copy(order="K")
    out = np.asarray(op(values[..., 0], values[..., 1]))
    for v in range(2, values.shape[-1]):
        op(out, values[..., v], out=out)
    return out
