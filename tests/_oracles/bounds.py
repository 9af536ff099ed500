"""Bounds on the risk from norms alone, and their minimisers (method.md, section 1).

Arguments are ``alpha``, ``d2``, ``s2_s``, ``s2_r``, ``beta_s``, ``beta_r`` (bias norms) and ``rho``
(bound on the noise correlation, so ``|kappa| <= rho sqrt(s2_s s2_r)``).
"""

from __future__ import annotations

from typing import Any

from mpmath import mp

from .exact import golden_section, golden_section_unbounded, real


def triangle_bound(
    mu: Any,
    *,
    alpha: Any,
    d2: Any,
    s2_s: Any,
    s2_r: Any,
    beta_s: Any = 0,
    beta_r: Any = 0,
    rho: Any = 0,
) -> Any:
    """Triangle bound ``U(mu)``, an upper bound of the risk for mu in [0, 1]."""
    x = _distance(mu, alpha, d2)
    y = _bias(mu, beta_s, beta_r)
    return (x + y) ** 2 + _noise(mu, s2_s, s2_r, rho)


def young_bound(
    mu: Any,
    *,
    eta: Any,
    alpha: Any,
    d2: Any,
    s2_s: Any,
    s2_r: Any,
    beta_s: Any = 0,
    beta_r: Any = 0,
    rho: Any = 0,
) -> Any:
    """Young bound ``(1 + eta) x^2 + (1 + 1/eta) y^2`` plus the noise terms, for ``eta > 0``."""
    e = real(eta)
    if not e > 0:
        raise ValueError(f"young_bound: eta = {eta} must be above 0")
    x = _distance(mu, alpha, d2)
    y = _bias(mu, beta_s, beta_r)
    return (1 + e) * x**2 + (1 + 1 / e) * y**2 + _noise(mu, s2_s, s2_r, rho)


def best_eta(mu: Any, *, alpha: Any, d2: Any, beta_s: Any, beta_r: Any) -> Any:
    """Weight ``eta = y/x`` where the Young bound touches the triangle bound; None at 0 or inf."""
    x = _distance(mu, alpha, d2)
    y = _bias(mu, beta_s, beta_r)
    return None if x == 0 or y == 0 else y / x


def effective_noise(
    mu: Any,
    *,
    alpha: Any,
    d2: Any,
    s2_s: Any,
    s2_r: Any,
    beta_s: Any = 0,
    beta_r: Any = 0,
    rho: Any = 0,
) -> Any:
    """Unbiased risk with ``s2_k + beta_k^2`` in place of ``s2_k``; a surrogate, not a bound.

    The covariance term, when asked for, stays ``rho sqrt(s2_s s2_r)`` of the noise alone.
    """
    m = real(mu)
    bias = m**2 * real(beta_s) ** 2 + (1 - m) ** 2 * real(beta_r) ** 2
    return _distance(mu, alpha, d2) ** 2 + bias + _noise(mu, s2_s, s2_r, rho)


def triangle_minimiser(**terms: Any) -> Any:
    """Minimiser of the triangle bound over [0, 1] (outside, it is neither convex nor a bound)."""
    return golden_section(lambda m: triangle_bound(m, **terms), 0, 1)


def young_minimiser(*, unconstrained: bool = False, **terms: Any) -> Any:
    """Minimiser of the Young bound over [0, 1], or over the real line (it is a parabola)."""
    return _minimise(lambda m: young_bound(m, **terms), unconstrained)


def effective_noise_minimiser(*, unconstrained: bool = False, **terms: Any) -> Any:
    """Minimiser of the effective-noise surrogate over [0, 1], or over the real line."""
    return _minimise(lambda m: effective_noise(m, **terms), unconstrained)


def _minimise(function: Any, unconstrained: bool) -> Any:
    return golden_section_unbounded(function) if unconstrained else golden_section(function, 0, 1)


def _distance(mu: Any, alpha: Any, d2: Any) -> Any:
    return abs(real(mu) - real(alpha)) * mp.sqrt(real(d2))


def _bias(mu: Any, beta_s: Any, beta_r: Any) -> Any:
    m = real(mu)
    return m * real(beta_s) + (1 - m) * real(beta_r)


def _noise(mu: Any, s2_s: Any, s2_r: Any, rho: Any) -> Any:
    m, s, r = real(mu), real(s2_s), real(s2_r)
    covariance = real(rho) * mp.sqrt(s * r)
    return m**2 * s + (1 - m) ** 2 * r + 2 * m * (1 - m) * covariance
