r"""How tables of many trajectories lie in memory: column by column, trajectories fastest.

A table has shape [..., X, S, V], its rows short and the trajectories, [...], many. An inner loop
over a short axis costs several times its arithmetic, so tables lie as [V, X, S, ...]: all first
entries of all rows, all second ones, and so on. Elementwise results of NumPy keep the layout of
their operands: it is enough to choose it once, by :func:`by_column`. Where an array is allocated
or indexed, :func:`columns` shows it as it lies.
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import AnyArray, FloatArray

__all__ = ["by_column", "by_entry", "by_row", "columns", "flat", "rows", "tables"]


def columns(table: AnyArray, axes: int = 3) -> AnyArray:
    """A view with the last of the table's axes first, then its others, then the trajectories.

    Args:
        table: [..., X, S, V], or with another number of axes of its own.
        axes: How many they are.

    Examples:
        >>> columns(np.zeros((7, 4, 3, 2))).shape
        (2, 4, 3, 7)
    """
    first = table.ndim - axes
    return table.transpose(-1, *range(first, table.ndim - 1), *range(first))


def tables(values: AnyArray, axes: int = 3) -> AnyArray:
    """A view that undoes :func:`columns`.

    Examples:
        >>> tables(np.zeros((2, 4, 3, 7))).shape
        (7, 4, 3, 2)
    """
    return values.transpose(*range(axes, values.ndim), *range(1, axes), 0)


def by_column(table: AnyArray, axes: int = 3) -> AnyArray:
    """The same values, lying as :func:`columns` shows them; a copy if need be.

    Examples:
        >>> by_column(np.zeros((5, 1, 3, 2))).strides
        (8, 120, 40, 120)
    """
    return tables(np.ascontiguousarray(columns(table, axes)), axes)


def by_row(op: np.ufunc, *operands: AnyArray, axes: int = 3) -> FloatArray:
    """The result of an operation on tables that lie by column, in NumPy's own order.

    Examples:
        >>> table = by_column(np.ones((5, 1, 3, 2)))
        >>> by_row(np.add, table, table).strides
        (48, 48, 16, 8)
    """
    out = np.empty(np.broadcast_shapes(*(operand.shape for operand in operands)))
    # As the operands lie: a plain copy walks as its target does, which misses the cache and costs
    # three times as much.
    op(*(columns(operand, axes) for operand in operands), out=columns(out, axes))
    return out


def by_entry(op: np.ufunc, *operands: AnyArray) -> FloatArray:
    """As :func:`by_row`, entry after entry with the trajectories fastest: reshapes to [..., X S V].

    Examples:
        >>> table = by_column(np.ones((5, 1, 3, 2)))
        >>> by_entry(np.add, table, table).reshape(5, 6).strides
        (8, 40)
    """
    shape = np.broadcast_shapes(*(operand.shape for operand in operands))
    out = np.moveaxis(np.empty((*shape[-3:], *shape[:-3])), (0, 1, 2), (-3, -2, -1))
    op(*(columns(operand) for operand in operands), out=columns(out))
    return out


def flat(table: AnyArray, axes: int = 3) -> AnyArray:
    """All values in one row, as :func:`columns` shows them.

    Examples:
        >>> flat(np.array([[1, 2], [3, 4]]), 2).tolist()
        [1, 3, 2, 4]
    """
    return np.ascontiguousarray(columns(table, axes)).reshape(-1)


def rows(values: AnyArray, count: int) -> AnyArray:
    """The first `count` axes last in shape and in memory, as a sum over them needs it.

    NumPy sums a contiguous axis in another order than a slow one, and which it is would depend on
    how many trajectories there are.

    Examples:
        >>> rows(np.zeros((3, 2, 5)), 2).strides
        (48, 16, 8)
    """
    order = (*range(count, values.ndim), *range(count))
    return np.ascontiguousarray(values.transpose(order))
