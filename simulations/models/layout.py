r"""Where arrays of many trajectories keep their axes in memory.

Shapes are [..., X, S, V]: trajectories first, tables last. In memory it is better the other way
round: the axes of a table are short, and an inner loop over a short axis costs several times its
arithmetic, while trajectories are many. Elementwise results of NumPy keep the layout of their
operands, so that it is enough to choose it once, by :func:`slow_axes`; where an array is allocated
or indexed, :func:`front` shows it as it lies in memory.
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import AnyArray

__all__ = ["back", "front", "slow_axes"]


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
