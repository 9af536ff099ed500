"""Exact conversions to ``Fraction`` and ``mpf``, and a derivative-free convex minimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from mpmath import mp

DPS = 50
mp.dps = DPS

SEARCH_DPS = 110
"""Digits carried by the search: function values resolve an argmin to about half of them."""

SEARCH_DIGITS = 45
"""Width, in digits, at which the search stops."""


def plain(values: Any) -> Any:
    """Turn an array-like with ``tolist`` into nested lists; leave anything else alone."""
    return values.tolist() if hasattr(values, "tolist") else values


def frac(x: Any) -> Fraction:
    """Convert a finite int, float, ``Fraction`` or ``mpf`` to a ``Fraction``, exactly."""
    if isinstance(x, int | float | Fraction):
        return Fraction(x)
    if isinstance(x, mp.mpf):
        if not mp.isfinite(x):
            raise ValueError(f"frac: {x} is not finite")
        sign, man, exponent, _ = x._mpf_
        return Fraction(-int(man) if sign else int(man)) * Fraction(2) ** int(exponent)
    return Fraction(float(x))


def real(x: Any) -> Any:
    """Convert to ``mpf``: floats exactly (inf and NaN too), fractions at working precision."""
    if isinstance(x, mp.mpf):
        return x
    if isinstance(x, Fraction):
        return mp.mpf(x.numerator) / mp.mpf(x.denominator)
    if isinstance(x, int):
        return mp.mpf(int(x))
    return mp.mpf(float(x))


def fracs(values: Any) -> list[Fraction]:
    """Convert a flat sequence with :func:`frac`."""
    return [frac(v) for v in plain(values)]


def matrix(rows: Any) -> list[list[Fraction]]:
    """Convert a rectangular nested sequence with :func:`frac`."""
    out = [fracs(row) for row in plain(rows)]
    if out and any(len(row) != len(out[0]) for row in out):
        raise ValueError("matrix: rows have different lengths")
    return out


def dot(x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction:
    """Inner product of two equally long sequences."""
    if len(x) != len(y):
        raise ValueError(f"dot: lengths {len(x)} and {len(y)} differ")
    total = Fraction(0)
    for a, b in zip(x, y, strict=True):
        total += a * b
    return total


def golden_section(function: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Minimiser of a convex function on ``[low, high]``, to about 45 digits of absolute width.

    End points are compared with the interior result, so a minimum on the boundary is exact.
    """
    with mp.workdps(SEARCH_DPS):
        a, b = real(low), real(high)
        ends = [a, b]
        ratio = (mp.sqrt(5) - 1) / 2
        tolerance = mp.mpf(10) ** (-SEARCH_DIGITS) * max(1, abs(a), abs(b))
        c, d = b - ratio * (b - a), a + ratio * (b - a)
        fc, fd = function(c), function(d)
        while b - a > tolerance:
            if fc <= fd:
                b, d, fd = d, c, fc
                c = b - ratio * (b - a)
                fc = function(c)
            else:
                a, c, fc = c, d, fd
                d = a + ratio * (b - a)
                fd = function(d)
        best = (a + b) / 2
        value = function(best)
        for end in ends:
            if function(end) <= value:
                best, value = end, function(end)
    return +best


def golden_section_unbounded(function: Callable[[Any], Any]) -> Any:
    """Minimiser over the real line of a convex function that grows without bound on both sides."""
    with mp.workdps(SEARCH_DPS):
        low, high = mp.mpf(-1), mp.mpf(2)
        width = mp.mpf(3)
        for _ in range(400):
            inner_low, inner_high = low + width / 3, high - width / 3
            grows_left = function(low) > function(inner_low)
            grows_right = function(high) > function(inner_high)
            if grows_left and grows_right:
                return golden_section(function, low, high)
            if not grows_left:
                low -= width
            if not grows_right:
                high += width
            width = high - low
    raise ValueError("golden_section_unbounded: the function has no bracketed minimum")
