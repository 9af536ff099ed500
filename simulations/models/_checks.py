"""What the models check of their fields and of the arrays they are given; one-line errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines._fields import choice, real, whole
from gac_ref.errors import fail

CONDITION_MAX = 1e12
"""Largest condition number: near 2**52 a float64 matrix is as good as singular."""

__all__ = [
    "CONDITION_MAX",
    "choice",
    "constant",
    "draw_matches",
    "finite",
    "flag",
    "point",
    "real",
    "whole",
]


def flag(problem: Any, *names: str) -> None:
    """Refuse a field that is not a bool."""
    for name in names:
        value = getattr(problem, name)
        if not isinstance(value, bool):
            fail(f"{type(problem).__name__}: {name} = {value!r} is not True or False; pass one")


def finite(owner: str, name: str, values: ArrayLike) -> FloatArray:
    """`values` as float64; an error names the first that is not a finite number."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        fail(f"{owner}: {name} is a {type(values).__name__}; pass an array of numbers")
    bad = ~np.isfinite(array)
    if bad.any():
        index = ", ".join(str(int(i)) for i in np.argwhere(bad)[0])
        value = float(array[bad].flat[0])
        fail(f"{owner}: {name}[{index}] = {value!r} is not finite; pass finite numbers")
    return array


def point(problem: Any, theta: ArrayLike) -> FloatArray:
    """`theta` as float64 with the problem's dimension last.

    Values are not looked at: a diverging trajectory is a result, and the check would cost as much
    as the gradient.
    """
    array = np.asarray(theta, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != problem.dimension:
        fail(
            f"{type(problem).__name__}: theta has shape {array.shape}; "
            f"pass [..., {problem.dimension}]"
        )
    return array


def draw_matches(problem: Any, theta: FloatArray, n: int) -> None:
    """Refuse a draw for another number of seeds than theta [..., n, d] has."""
    if theta.ndim < 2 or theta.shape[-2] != n:
        fail(
            f"{type(problem).__name__}: theta has shape {theta.shape} and the draw {n} seeds; "
            f"pass theta [..., {n}, {problem.dimension}]"
        )


def constant(array: FloatArray) -> FloatArray:
    """The array, read-only: what caches hand out is shared."""
    array.flags.writeable = False
    return array
