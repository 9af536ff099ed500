r"""Where arrays of many trajectories keep their axes in memory.

Shapes are [..., X, S, V]: trajectories first, tables last. In memory it is better the other way
round: the axes of a table are short, and an inner loop over a short axis costs several times its
arithmetic, while trajectories are many. Elementwise results of NumPy keep the layout of their
operands, so that it is enough to choose it once, by :func:`slow_axes`; where an array is allocated
or indexed, :func:`front` shows it as it lies in memory.
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import AnyArray, FloatArray

__all__ = ["back", "fast_axes", "flat", "front", "rows", "slow_axes"]


def front(values: AnyArray, count: int) -> AnyArray:
    """A view with the last `count` axes first.

    Examples:
        >>> front(np.zeros((5, 3, 2)), 2).shape
        (3, 2, 5)
    """
    rest = values.ndim - count
    return values.transpose(*range(rest, values.ndim), *range(rest))


def back(values: AnyArray, count: int) -> AnyArray:
    """A view with the first `count` axes last: undoes :func:`front`.

    Examples:
        >>> back(np.zeros((3, 2, 5)), 2).shape
        (5, 3, 2)
    """
    return values.transpose(*range(count, values.ndim), *range(count))


def slow_axes(values: AnyArray, count: int) -> AnyArray:
    """The same values with the last `count` axes the slowest in memory; a copy if need be.

    Examples:
        >>> slow_axes(np.zeros((5, 3, 2)), 1).strides
        (24, 8, 120)
    """
    return back(np.ascontiguousarray(front(values, count)), count)


def fast_axes(values: FloatArray, count: int) -> FloatArray:
    """A copy with the last `count` axes the fastest in memory: undoes :func:`slow_axes`.

    Examples:
        >>> fast_axes(slow_axes(np.zeros((5, 3, 2)), 1), 1).strides
        (48, 16, 8)
    """
    out = np.empty(values.shape)
    # A ufunc walks as its first operand lies; a plain copy walks as its target does, which misses
    # the cache and costs three times as much.
    np.positive(front(values, count), out=front(out, count))
    return out


def flat(values: AnyArray, count: int) -> AnyArray:
    """All values in one row, the last `count` axes slowest.

    Examples:
        >>> flat(np.array([[1, 2], [3, 4]]), 1).tolist()
        [1, 3, 2, 4]
    """
    return np.ascontiguousarray(front(values, count)).reshape(-1)


def rows(values: AnyArray, count: int) -> AnyArray:
    """The first `count` axes last in shape and in memory, as a sum over them needs it.

    NumPy sums a contiguous axis in another order than a slow one, and which it is would depend on
    how many trajectories there are.

    Examples:
        >>> rows(np.zeros((3, 2, 5)), 2).strides
        (48, 16, 8)
    """
    return np.ascontiguousarray(back(values, count))
