"""Choosing, among attempts at a case, one that no rounding and no impostor decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from .draft import Draft
from .margins import MARGIN, nearest_kink, run, telling

ATTEMPTS = 60


def clear(makes: Sequence[Callable[[int], Draft]]) -> Iterator[Draft]:
    """Of each maker the first attempt that is away from every kink, and tells from impostors."""
    last = math.nan
    for make in makes:
        one = _first_clear(make, last)
        *_, (_, outputs) = run(one, one.dtypes[-1])
        last = float(outputs["mu"])
        yield one


def _first_clear(make: Callable[[int], Draft], last: float) -> Draft:
    for attempt in range(ATTEMPTS):
        one = make(attempt)
        found = min(nearest_kink(one, dtype) for dtype in one.dtypes)
        if found[0] >= MARGIN and telling(one, last):
            return one
    raise ValueError(f"{one.id}: within {found[0]:.2g} of a kink ({found[1]}), or an impostor's")
