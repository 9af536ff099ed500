r"""Upper bounds and surrogates of the biased risk, from norms alone, with their minimisers.

When only :math:`\beta_k = |b_k|` and a bound of the noise correlation are known, the exact risk
of :mod:`gac_ref.risk` cannot be evaluated. The triangle bound is what norms can prove; the Young
family lies above it and is a parabola, so its minimiser is a ratio; the effective-noise surrogate
counts biases as noise, and bounds nothing.
"""

from __future__ import annotations

import numpy as np

from gac_ref._checks import arrays, ratio, require_non_negative, require_positive, require_unit
from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.risk import closed_form

__all__ = [
    "effective_noise",
    "effective_noise_minimiser",
    "triangle_bound",
    "triangle_minimiser",
    "young_bound",
    "young_minimiser",
]


def triangle_bound(
    mu: ArrayLike,
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    delta_g2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    beta_s: ArrayLike = 0.0,
    beta_r: ArrayLike = 0.0,
    rho: ArrayLike = 0.0,
) -> FloatArray:
    r"""What norms alone can prove about the risk on [0, 1].

    .. math::
        U(\mu) = \bigl(|\mu - \alpha| \Delta + \mu\beta_s + (1 - \mu)\beta_r\bigr)^2
                 + \mu^2 \sigma_s^2 + (1 - \mu)^2 \sigma_r^2
                 + 2\mu(1 - \mu)\rho\,\sigma_s\sigma_r \;\ge\; R(\mu)

    Args:
        mu: Weight on SFT, in [0, 1]; outside, the triangle inequality needs other signs.
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        alpha: Weight of the SFT gradient in the target.
        beta_s: :math:`|b_s|`, >= 0.
        beta_r: :math:`|b_r|`, >= 0.
        rho: Bound of the noise correlation, :math:`|\kappa| \le \rho\sigma_s\sigma_r`, in [0, 1].

    Returns:
        U(mu), of the broadcast shape.

    Examples:
        >>> float(triangle_bound(0.5, 1.0, 1.0, 4.0, alpha=0.0, beta_r=2.0))
        4.5

    References:
        docs/method.md, section 1. The paper's Eq. 6 also bounds the biased risk; its exact
        text is not available, and this is not it.
    """
    mu, s, r, d, a, bs, br, p = arrays(mu, sigma_s2, sigma_r2, delta_g2, alpha, beta_s, beta_r, rho)
    _require_bound_inputs(s, r, d, bs, br, p)
    require_unit("mu", mu)
    drift = np.abs(mu - a) * np.sqrt(d) + mu * bs + (1.0 - mu) * br
    return drift**2 + _noise_bound(mu, s, r, p)


def triangle_minimiser(
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    delta_g2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    beta_s: ArrayLike = 0.0,
    beta_r: ArrayLike = 0.0,
    rho: ArrayLike = 0.0,
) -> FloatArray:
    r"""The minimiser of :func:`triangle_bound` on [0, 1], exactly.

    U is convex (the square of a non-negative convex function plus a positive semi-definite form)
    and a parabola on either side of alpha, so the minimiser is the vertex of one of the two
    parabolas, clipped to its side, or alpha itself.

    Args:
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        alpha: Weight of the SFT gradient in the target, in [0, 1].
        beta_s: :math:`|b_s|`, >= 0.
        beta_r: :math:`|b_r|`, >= 0.
        rho: Bound of the noise correlation, in [0, 1].

    Returns:
        The minimiser, in [0, 1]. Without bias and correlation it is the closed form.

    Examples:
        >>> float(triangle_minimiser(1.0, 3.0, 4.0))
        0.625
    """
    s, r, d, a, bs, br, p = arrays(sigma_s2, sigma_r2, delta_g2, alpha, beta_s, beta_r, rho)
    _require_bound_inputs(s, r, d, bs, br, p)
    require_unit("alpha", a)
    length, cross = np.sqrt(d), p * np.sqrt(s * r)
    right = _parabola_vertex(br - a * length, length + bs - br, s, r, cross, a)
    left = _parabola_vertex(br + a * length, bs - br - length, s, r, cross, a)
    return np.where(right > a, np.minimum(right, 1.0), np.where(left < a, np.maximum(left, 0.0), a))


def young_bound(
    mu: ArrayLike,
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    delta_g2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    eta: ArrayLike,
    beta_s: ArrayLike = 0.0,
    beta_r: ArrayLike = 0.0,
    rho: ArrayLike = 0.0,
) -> FloatArray:
    r"""Young's inequality on the triangle bound: a parabola in mu for each eta.

    With :math:`x = |\mu - \alpha|\Delta` and :math:`y = \mu\beta_s + (1 - \mu)\beta_r`,

    .. math:: (x + y)^2 \le (1 + \eta) x^2 + (1 + 1/\eta) y^2

    with equality at :math:`\eta = y / x`: the minimum over eta is the triangle bound.

    Args:
        mu: Weight on SFT, in [0, 1].
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        alpha: Weight of the SFT gradient in the target.
        eta: > 0.
        beta_s: :math:`|b_s|`, >= 0.
        beta_r: :math:`|b_r|`, >= 0.
        rho: Bound of the noise correlation, in [0, 1].

    Returns:
        The bound, of the broadcast shape.

    Examples:
        >>> float(young_bound(0.5, 0.0, 0.0, 4.0, 0.0, eta=2.0, beta_r=4.0))
        9.0
    """
    mu, s, r, d, a, e, bs, br, p = arrays(
        mu, sigma_s2, sigma_r2, delta_g2, alpha, eta, beta_s, beta_r, rho
    )
    _require_bound_inputs(s, r, d, bs, br, p)
    require_unit("mu", mu)
    require_positive("eta", e)
    bias = mu * bs + (1.0 - mu) * br
    return (1.0 + e) * (mu - a) ** 2 * d + (1.0 + 1.0 / e) * bias**2 + _noise_bound(mu, s, r, p)


def young_minimiser(
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    delta_g2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    eta: ArrayLike,
    beta_s: ArrayLike = 0.0,
    beta_r: ArrayLike = 0.0,
    rho: ArrayLike = 0.0,
) -> FloatArray:
    r"""The minimiser of :func:`young_bound` on [0, 1].

    .. math::
        \mu = \mathrm{clip}\!\left(\frac
            {(1+\eta)\alpha\Delta^2 - (1+\tfrac1\eta)\beta_r(\beta_s-\beta_r) + \sigma_r^2 - c}
            {(1+\eta)\Delta^2 + (1+\tfrac1\eta)(\beta_s-\beta_r)^2 + \sigma_s^2 + \sigma_r^2 - 2c}
            ,\, 0,\, 1\right), \qquad c = \rho\,\sigma_s\sigma_r

    Args:
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        alpha: Weight of the SFT gradient in the target.
        eta: > 0.
        beta_s: :math:`|b_s|`, >= 0.
        beta_r: :math:`|b_r|`, >= 0.
        rho: Bound of the noise correlation, in [0, 1].

    Returns:
        The minimiser, in [0, 1]; alpha, clipped, where the bound is flat.

    Examples:
        >>> float(young_minimiser(1.0, 1.0, 0.0, eta=1.0, beta_s=1.0))
        0.25
    """
    s, r, d, a, e, bs, br, p = arrays(sigma_s2, sigma_r2, delta_g2, alpha, eta, beta_s, beta_r, rho)
    _require_bound_inputs(s, r, d, bs, br, p)
    require_positive("eta", e)
    cross = p * np.sqrt(s * r)
    tilt = (1.0 + 1.0 / e) * (bs - br)
    top = (1.0 + e) * a * d - tilt * br + r - cross
    bottom = (1.0 + e) * d + tilt * (bs - br) + s + r - 2.0 * cross
    return np.clip(ratio(top, bottom, a), 0.0, 1.0)


def effective_noise(sigma2: ArrayLike, beta: ArrayLike) -> FloatArray:
    r"""The effective-noise surrogate :math:`\sigma^2 + \beta^2`: a branch's own mean squared error.

    Args:
        sigma2: Noise of a branch, >= 0.
        beta: Norm of its bias, >= 0.

    Returns:
        The surrogate noise.

    Examples:
        >>> float(effective_noise(1.0, 2.0))
        5.0
    """
    sigma2, beta = arrays(sigma2, beta)
    require_non_negative("sigma2", sigma2)
    require_non_negative("beta", beta)
    return np.asarray(sigma2 + beta**2)


def effective_noise_minimiser(
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    delta_g2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    beta_s: ArrayLike = 0.0,
    beta_r: ArrayLike = 0.0,
) -> FloatArray:
    r"""The closed form with biases counted as noise.

    Exact when the biases are orthogonal to each other and to the disagreement; a surrogate
    (neither an upper nor a lower bound of the risk) otherwise.

    Args:
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        alpha: Weight of the SFT gradient in the target.
        beta_s: :math:`|b_s|`, >= 0.
        beta_r: :math:`|b_r|`, >= 0.

    Returns:
        The minimiser of the surrogate risk.

    Examples:
        >>> float(effective_noise_minimiser(1.0, 1.0, 0.0, beta_r=1.0))
        0.6666666666666666
    """
    require_non_negative("beta_s", beta_s)
    require_non_negative("beta_r", beta_r)
    return closed_form(
        effective_noise(sigma_s2, beta_s), effective_noise(sigma_r2, beta_r), delta_g2, alpha
    )


def _noise_bound(mu: FloatArray, s: FloatArray, r: FloatArray, rho: FloatArray) -> FloatArray:
    cross = 2.0 * mu * (1.0 - mu) * rho * np.sqrt(s * r)
    return np.asarray(mu**2 * s + (1.0 - mu) ** 2 * r + cross)


def _parabola_vertex(
    offset: FloatArray,
    slope: FloatArray,
    s: FloatArray,
    r: FloatArray,
    cross: FloatArray,
    flat: FloatArray,
) -> FloatArray:
    """Minimiser of ``(offset + slope mu)^2 + mu^2 s + (1 - mu)^2 r + 2 mu (1 - mu) cross``."""
    return ratio(r - cross - offset * slope, slope**2 + s + r - 2.0 * cross, flat)


def _require_bound_inputs(
    s: FloatArray, r: FloatArray, d: FloatArray, bs: FloatArray, br: FloatArray, rho: FloatArray
) -> None:
    for name, value in (
        ("sigma_s2", s),
        ("sigma_r2", r),
        ("delta_g2", d),
        ("beta_s", bs),
        ("beta_r", br),
    ):
        require_non_negative(name, value)
    require_unit("rho", rho)
