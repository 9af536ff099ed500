"""What every statistic asks of its input, refused in one line where it is not so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail

__all__ = ["level_of", "not_constant", "pairs", "sample"]


def sample(values: Any, where: str, *, least: int = 1, what_for: str = "this") -> FloatArray:
    """The values as a vector of finite numbers, of which there are enough.

    Raises:
        GACError: Not a vector, too short, or a value is NaN or infinite.

    Examples:
        >>> sample([1.0], "a", least=2, what_for="an interval")
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: a: n = 1 is too few for an interval; at least 2 are needed
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        fail(f"{where} has shape {array.shape}; pass a vector, one value a seed")
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        fail(
            f"{where}: {bad} of {array.size} values are not finite; leave them out by name, or "
            "mend what made them"
        )
    if array.size < least:
        fail(f"{where}: n = {array.size} is too few for {what_for}; at least {least} are needed")
    return array


def pairs(
    a: Any, b: Any, *, least: int = 1, what_for: str = "this"
) -> tuple[FloatArray, FloatArray]:
    """Two samples of the same length.

    Raises:
        GACError: As `sample`, or the lengths differ.
    """
    x, y = (sample(v, name, least=least, what_for=what_for) for v, name in ((a, "a"), (b, "b")))
    if x.size != y.size:
        fail(f"a has {x.size} values and b has {y.size}; pairs need one of each a seed")
    return x, y


def not_constant(values: FloatArray, where: str, what_for: str) -> FloatArray:
    """The values, unless they do not vary by more than rounding.

    Raises:
        GACError: They are constant.

    Examples:
        >>> not_constant(np.ones(3), "a", "a correlation")
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: a is constant (1.0, n = 3), so a correlation is not defined; say \
so instead
    """
    # Differences of equal numbers can leave rounding of some eps behind: no spread, either.
    rounding = 8.0 * np.finfo(np.float64).eps * float(np.abs(values).max(initial=0.0))
    if float(np.ptp(values)) <= rounding:
        fail(
            f"{where} is constant ({float(values[0])!r}, n = {values.size}), so {what_for} is not "
            "defined; say so instead"
        )
    return values


def level_of(confidence: float) -> float:
    """1 - confidence, once that is a level.

    Raises:
        GACError: Not inside (0, 1).
    """
    if not (math.isfinite(confidence) and 0.0 < confidence < 1.0):
        fail(f"confidence = {confidence!r} is not inside (0, 1); pass 0.95, for example")
    return 1.0 - confidence
