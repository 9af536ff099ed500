"""Guards as pure functions of 50-digit numbers, each with its flag (method.md, section 4)."""

from __future__ import annotations

from typing import Any

from mpmath import mp

from .exact import real

KL_ERROR_LIMIT = mp.mpf(1) / 5
"""Limit of the proportional error (Ziegler et al., arXiv 1909.08593)."""


def clip(x: Any, low: Any, high: Any) -> tuple[Any, bool]:
    """Clip to ``[low, high]``; the flag says the value was outside. NaN passes, unflagged."""
    v, a, b = real(x), real(low), real(high)
    if v < a:
        return a, True
    if v > b:
        return b, True
    return v, False


def ema(previous: Any, new: Any, beta: Any) -> Any:
    """Exponential moving average ``beta previous + (1 - beta) new``."""
    b = real(beta)
    return b * real(previous) + (1 - b) * real(new)


def seeded_ema(previous: Any, count: int, new: Any, beta: Any) -> tuple[Any, int]:
    """EMA whose first value seeds it: ``(value, count + 1)``."""
    return (real(new) if count == 0 else ema(previous, new, beta)), count + 1


def cap_ratio(d2: Any, s2_s: Any, s2_r: Any, *, ratio: Any, eps: Any) -> tuple[Any, bool]:
    """``min(d2, ratio (s2_s + s2_r + eps))`` when ``ratio > 0``; the flag says it was lowered."""
    value, limit = real(d2), real(ratio) * (real(s2_s) + real(s2_r) + real(eps))
    if real(ratio) > 0 and value > limit:
        return limit, True
    return value, False


def closed_form(
    alpha: Any, d2: Any, s2_s: Any, s2_r: Any, *, eps: Any, flat_risk: str
) -> tuple[Any, bool]:
    """The controller's closed form; the flag says the risk was flat and alpha stood in.

    "zero": eps joins the denominator. "alpha": no eps, and alpha where the disagreement and both
    variances are at most ``2 eps``.
    """
    a, d, s, r, e = real(alpha), real(d2), real(s2_s), real(s2_r), real(eps)
    if flat_risk == "zero":
        return (a * d + r) / (d + s + r + e), False
    if flat_risk != "alpha":
        raise ValueError(f"closed_form: unknown flat_risk {flat_risk!r}")
    if max(d, s, r) <= 2 * e:
        return a, True
    return (a * d + r) / (d + s + r), False


def blend(prior: Any, mu_ada: Any, weight: Any) -> Any:
    """``(1 - weight) prior + weight mu_ada``."""
    w = real(weight)
    return (1 - w) * real(prior) + w * real(mu_ada)


def cap_change(previous: Any, candidate: Any, cap: Any) -> tuple[Any, bool]:
    """Move from ``previous`` towards ``candidate`` by at most ``cap``; flag when shortened."""
    p, c, limit = real(previous), real(candidate), real(cap)
    change = c - p
    if abs(change) > limit:
        return (p + limit if change > 0 else p - limit), True
    return c, False


def kl_alpha(
    alpha: Any, kl: Any, *, target: Any, gain: Any, low: Any, high: Any
) -> tuple[Any, bool, bool]:
    """Proportional rule: ``(alpha, error was clipped, alpha was clipped)``.

    ``e = clip(kl/target - 1, -1/5, 1/5)``; ``alpha <- clip(alpha (1 + gain e), low, high)``.
    """
    error, error_clipped = clip(real(kl) / real(target) - 1, -KL_ERROR_LIMIT, KL_ERROR_LIMIT)
    value, clipped = clip(real(alpha) * (1 + real(gain) * error), low, high)
    return value, error_clipped, clipped
