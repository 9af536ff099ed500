"""Validation of a rule's fields: plain types, ranges, one-line errors that name the rule."""

from __future__ import annotations

import itertools
import math
from typing import Any

from gac_ref.errors import fail


def real(
    rule: Any,
    *names: str,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Store each field as a finite float with ``low <= x <= high`` and ``above < x < below``."""
    for name in names:
        value = _number(rule, name, getattr(rule, name))
        if not (math.isfinite(value) and low <= value <= high and above < value < below):
            left = f"[{low:g}" if low > -math.inf else f"({above:g}"
            right = f"{high:g}]" if high < math.inf else f"{below:g})"
            fail(
                f"{type(rule).__name__}: {name} = {value!r} is outside {left}, {right}; "
                "pass a value in that range"
            )
        object.__setattr__(rule, name, value)


def whole(rule: Any, *names: str, low: int = 0) -> None:
    """Store each field as an int that is at least `low`."""
    for name in names:
        given = getattr(rule, name)
        value = _number(rule, name, given)
        if not (math.isfinite(value) and value == int(value) and value >= low):
            fail(
                f"{type(rule).__name__}: {name} = {given!r} is not a whole number >= {low}; "
                "pass one"
            )
        object.__setattr__(rule, name, int(given))


def choice(rule: Any, name: str, options: tuple[str, ...]) -> None:
    """Refuse a field that is none of `options`."""
    value = getattr(rule, name)
    if not isinstance(value, str) or value not in options:
        fail(
            f"{type(rule).__name__}: {name} = {value!r} is not one of "
            f"{', '.join(map(repr, options))}; pass one of these"
        )


def ordered(rule: Any, *names: str) -> None:
    """Refuse fields that do not ascend."""
    for lower, upper in itertools.pairwise(names):
        a, b = getattr(rule, lower), getattr(rule, upper)
        if a > b:
            fail(
                f"{type(rule).__name__}: {lower} = {a!r} is above {upper} = {b!r}; "
                f"pass {lower} <= {upper}"
            )


def _number(rule: Any, name: str, value: Any) -> float:
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        fail(f"{type(rule).__name__}: {name} = {value!r} is not a number; pass one")
