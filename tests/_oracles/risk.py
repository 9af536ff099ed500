"""Exact risk of a mixed gradient and its minimiser, in rationals (method.md, section 1)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .exact import dot, frac, fracs


def risk(mu: Any, *, alpha: Any, d2: Any, s2_s: Any, s2_r: Any, kappa: Any = 0) -> Fraction:
    """Unbiased risk ``(mu - alpha)^2 D2 + mu^2 s2_s + (1 - mu)^2 s2_r + 2 mu (1 - mu) kappa``."""
    m, a = frac(mu), frac(alpha)
    rest = 1 - m
    signal = (m - a) * (m - a) * frac(d2)
    noise = m * m * frac(s2_s) + rest * rest * frac(s2_r) + 2 * m * rest * frac(kappa)
    return signal + noise


def risk_vectors(
    mu: Any,
    *,
    alpha: Any,
    delta: Any,
    s2_s: Any,
    s2_r: Any,
    b_s: Any = None,
    b_r: Any = None,
    kappa: Any = 0,
) -> Fraction:
    """Biased risk ``|(mu - alpha) delta + mu b_s + (1 - mu) b_r|^2`` plus the noise terms.

    ``delta``, ``b_s`` and ``b_r`` are flat vectors; a bias left out is zero.
    """
    m, a = frac(mu), frac(alpha)
    d, bias_s, bias_r = _three_vectors(delta, b_s, b_r)
    error = [
        (m - a) * di + m * si + (1 - m) * ri for di, si, ri in zip(d, bias_s, bias_r, strict=True)
    ]
    noise = m * m * frac(s2_s) + (1 - m) * (1 - m) * frac(s2_r) + 2 * m * (1 - m) * frac(kappa)
    return dot(error, error) + noise


def curvature(*, d2: Any, s2_s: Any, s2_r: Any, kappa: Any = 0) -> Fraction:
    """Curvature ``A = D2 + s2_s + s2_r - 2 kappa`` of the unbiased risk."""
    return frac(d2) + frac(s2_s) + frac(s2_r) - 2 * frac(kappa)


def curvature_vectors(
    *, delta: Any, s2_s: Any, s2_r: Any, b_s: Any = None, b_r: Any = None, kappa: Any = 0
) -> Fraction:
    """Curvature ``A = |delta + b_s - b_r|^2 + s2_s + s2_r - 2 kappa`` of the biased risk."""
    d, bias_s, bias_r = _three_vectors(delta, b_s, b_r)
    slope = [di + si - ri for di, si, ri in zip(d, bias_s, bias_r, strict=True)]
    return dot(slope, slope) + frac(s2_s) + frac(s2_r) - 2 * frac(kappa)


def closed_form(*, alpha: Any, d2: Any, s2_s: Any, s2_r: Any) -> Fraction | None:
    """Unbiased, uncorrelated minimiser ``(alpha D2 + s2_r)/(D2 + s2_s + s2_r)``; None when flat."""
    return minimiser(alpha=alpha, d2=d2, s2_s=s2_s, s2_r=s2_r, kappa=0)


def minimiser(*, alpha: Any, d2: Any, s2_s: Any, s2_r: Any, kappa: Any = 0) -> Fraction | None:
    """Minimiser over the real line with correlated noise, before any clip; None when flat."""
    a = curvature(d2=d2, s2_s=s2_s, s2_r=s2_r, kappa=kappa)
    if a < 0:
        raise ValueError(f"minimiser: curvature {a} is negative, |kappa| is too large")
    if a == 0:
        return None
    return (frac(alpha) * frac(d2) + frac(s2_r) - frac(kappa)) / a


def minimiser_vectors(
    *,
    alpha: Any,
    delta: Any,
    s2_s: Any,
    s2_r: Any,
    b_s: Any = None,
    b_r: Any = None,
    kappa: Any = 0,
) -> Fraction | None:
    """Minimiser over the real line with biases and correlated noise; None when flat.

    It fits the parabola through ``R(-1), R(0), R(1)``, so it shares no algebra with the formula.
    """
    terms = {
        "alpha": alpha,
        "delta": delta,
        "s2_s": s2_s,
        "s2_r": s2_r,
        "b_s": b_s,
        "b_r": b_r,
        "kappa": kappa,
    }
    left, middle, right = (risk_vectors(m, **terms) for m in (-1, 0, 1))
    quadratic = (left + right) / 2 - middle
    linear = (right - left) / 2
    if quadratic < 0:
        raise ValueError(f"minimiser_vectors: curvature {quadratic} is negative")
    if quadratic == 0:
        return None
    return -linear / (2 * quadratic)


def clip01(mu: Fraction) -> Fraction:
    """Nearest point of [0, 1]: the constrained minimiser of a parabola with minimum ``mu``."""
    return min(max(mu, Fraction(0)), Fraction(1))


def shrinkage(*, d2: Any, s2_s: Any, s2_r: Any) -> tuple[Fraction | None, Fraction | None]:
    """Pair ``(w, mu_iv)`` with ``mu* = w alpha + (1 - w) mu_iv``; None where it is ``0/0``."""
    d, s, r = frac(d2), frac(s2_s), frac(s2_r)
    w = d / (d + s + r) if d + s + r != 0 else None
    mu_iv = r / (s + r) if s + r != 0 else None
    return w, mu_iv


def regret(mu: Any, *, alpha: Any, d2: Any, s2_s: Any, s2_r: Any, kappa: Any = 0) -> Fraction:
    """Excess risk ``R(mu) - R(mu*)``, as a difference of risks; 0 when the risk is flat."""
    best = minimiser(alpha=alpha, d2=d2, s2_s=s2_s, s2_r=s2_r, kappa=kappa)
    if best is None:
        return Fraction(0)
    at_mu = risk(mu, alpha=alpha, d2=d2, s2_s=s2_s, s2_r=s2_r, kappa=kappa)
    return at_mu - risk(best, alpha=alpha, d2=d2, s2_s=s2_s, s2_r=s2_r, kappa=kappa)


def sensitivities(*, alpha: Any, d2: Any, s2_s: Any, s2_r: Any) -> dict[str, Fraction]:
    """Partial derivatives of the closed form, by the quotient rule on ``N/D``.

    Keys ``alpha``, ``d2``, ``s2_s``, ``s2_r``. The specification's shorter forms are not used.
    """
    a, d, s, r = frac(alpha), frac(d2), frac(s2_s), frac(s2_r)
    numerator, denominator = a * d + r, d + s + r
    if denominator == 0:
        raise ZeroDivisionError("sensitivities: the risk is flat")
    partials = {
        "alpha": (d, Fraction(0)),
        "d2": (a, Fraction(1)),
        "s2_s": (Fraction(0), Fraction(1)),
        "s2_r": (Fraction(1), Fraction(1)),
    }
    return {
        name: (top * denominator - numerator * bottom) / (denominator * denominator)
        for name, (top, bottom) in partials.items()
    }


def _three_vectors(
    delta: Any, b_s: Any, b_r: Any
) -> tuple[list[Fraction], list[Fraction], list[Fraction]]:
    d = fracs(delta)
    zeros = [Fraction(0)] * len(d)
    return d, zeros if b_s is None else fracs(b_s), zeros if b_r is None else fracs(b_r)
