r"""The risk of a mixed gradient, its minimisers, regret and sensitivities.

With branch gradients :math:`G_k = g_k + b_k + e_k` (truth, bias, zero-mean noise),
:math:`\delta = g_s - g_r`, the local target :math:`g^* = \alpha g_s + (1 - \alpha) g_r` and the
mixture :math:`G(\mu) = \mu G_s + (1 - \mu) G_r`, the risk is :math:`R(\mu) = E|G(\mu) - g^*|^2`.

Every function broadcasts over leading axes, in float64. Norms and variances are of whole gradient
vectors (units of the gradient squared); weights are dimensionless.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref._checks import arrays, ratio, require_psd, rescaled
from gac_ref._typing import ArrayLike, FloatArray

__all__ = [
    "Sensitivities",
    "Shrinkage",
    "bias_aware_minimiser",
    "closed_form",
    "correlated_closed_form",
    "curvature",
    "regret",
    "risk",
    "risk_from_vectors",
    "sensitivities",
    "shrinkage",
]


class Shrinkage(NamedTuple):
    """The closed form as ``w * alpha + (1 - w) * mu_iv``.

    Args:
        w: Weight of alpha, D2 / (D2 + s2_s + s2_r), in [0, 1].
        mu_iv: Inverse-variance weight s2_r / (s2_s + s2_r), in [0, 1]; 1/2 without any noise.
    """

    w: FloatArray
    mu_iv: FloatArray


class Sensitivities(NamedTuple):
    """Partial derivatives of the closed form; NaN where the risk is flat.

    Args:
        alpha: d mu* / d alpha, in [0, 1].
        sigma_r2: d mu* / d sigma_r2, >= 0.
        sigma_s2: d mu* / d sigma_s2, <= 0.
        delta_g2: d mu* / d delta_g2, of the sign of alpha - mu*.
    """

    alpha: FloatArray
    sigma_r2: FloatArray
    sigma_s2: FloatArray
    delta_g2: FloatArray


def risk(
    mu: ArrayLike,
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    delta_g2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    kappa: ArrayLike = 0.0,
) -> FloatArray:
    r"""Exact risk of the weight mu when neither branch is biased.

    .. math::
        R(\mu) = (\mu - \alpha)^2 \Delta^2 + \mu^2 \sigma_s^2 + (1 - \mu)^2 \sigma_r^2
                 + 2 \mu (1 - \mu) \kappa

    Args:
        mu: Weight on SFT.
        sigma_s2: :math:`E|e_s|^2`, >= 0.
        sigma_r2: :math:`E|e_r|^2`, >= 0.
        delta_g2: :math:`|\delta|^2`, >= 0.
        alpha: Weight of the SFT gradient in the target.
        kappa: :math:`E\langle e_s, e_r\rangle`, at most sqrt(sigma_s2 sigma_r2) in size.

    Returns:
        The risk, of the broadcast shape, >= 0.

    Examples:
        >>> float(risk(0.5, 1.0, 3.0, 0.0))
        1.0

    References:
        arXiv:2605.26184, section 3.1; docs/method.md, section 1.
    """
    mu, s, r, d, a, k = arrays(mu, sigma_s2, sigma_r2, delta_g2, alpha, kappa)
    require_psd(s, r, d, k)
    return (mu - a) ** 2 * d + mu**2 * s + (1.0 - mu) ** 2 * r + 2.0 * mu * (1.0 - mu) * k


def risk_from_vectors(
    mu: ArrayLike,
    delta: ArrayLike,
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    bias_s: ArrayLike = 0.0,
    bias_r: ArrayLike = 0.0,
    kappa: ArrayLike = 0.0,
) -> FloatArray:
    r"""Exact risk with biased branches, from the vectors themselves.

    .. math::
        R(\mu) = |(\mu - \alpha)\delta + \mu b_s + (1 - \mu) b_r|^2 + \mu^2 \sigma_s^2
                 + (1 - \mu)^2 \sigma_r^2 + 2\mu(1 - \mu)\kappa

    Args:
        mu: Weight on SFT, [...].
        delta: :math:`g_s - g_r`, [..., d].
        sigma_s2: Noise of the SFT branch, [...], >= 0.
        sigma_r2: Noise of the RL branch, [...], >= 0.
        alpha: Weight of the SFT gradient in the target, [...].
        bias_s: :math:`b_s`, [..., d] or 0.
        bias_r: :math:`b_r`, [..., d] or 0.
        kappa: Noise covariance, [...].

    Returns:
        The risk, [...], >= 0.

    Examples:
        >>> float(risk_from_vectors(1.0, [3.0, 4.0], 0.0, 0.0, alpha=0.0))
        25.0

    References:
        docs/method.md, section 1, exact risk.
    """
    mu, s, r, a, k = arrays(mu, sigma_s2, sigma_r2, alpha, kappa)
    require_psd(s, r, 0.0, k)
    delta, b_s, b_r = arrays(delta, bias_s, bias_r)
    m = mu[..., None]
    error = (m - a[..., None]) * delta + m * b_s + (1.0 - m) * b_r
    noise = mu**2 * s + (1.0 - mu) ** 2 * r + 2.0 * mu * (1.0 - mu) * k
    return np.asarray(np.sum(error**2, axis=-1) + noise)


def curvature(
    sigma_s2: ArrayLike, sigma_r2: ArrayLike, delta_g2: ArrayLike, *, kappa: ArrayLike = 0.0
) -> FloatArray:
    r"""Half the second derivative of the risk.

    .. math:: A = \Delta^2 + \sigma_s^2 + \sigma_r^2 - 2\kappa

    With biased branches, :math:`\Delta^2` is :math:`|\delta + b_s - b_r|^2`. Never negative; 0
    means that the risk does not depend on mu at all.

    Args:
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        kappa: Noise covariance.

    Returns:
        A, >= 0.

    Raises:
        GACError: A negative variance or disagreement, or a kappa that Cauchy-Schwarz forbids.

    Examples:
        >>> float(curvature(1.0, 2.0, 3.0, kappa=0.5))
        5.0
    """
    s, r, d, k = arrays(sigma_s2, sigma_r2, delta_g2, kappa)
    require_psd(s, r, d, k)
    # Fully correlated noise of equal size cancels to 0; rounding must not make that negative.
    return np.maximum(d + s + r - 2.0 * k, 0.0)


def closed_form(
    sigma_s2: ArrayLike, sigma_r2: ArrayLike, delta_g2: ArrayLike, alpha: ArrayLike = 0.5
) -> FloatArray:
    r"""The method's closed form: the minimiser of the unbiased, uncorrelated risk.

    .. math:: \mu^* = \frac{\alpha \Delta^2 + \sigma_r^2}{\Delta^2 + \sigma_s^2 + \sigma_r^2}

    Where the risk is flat (all three are 0) every weight is a minimiser, and alpha is returned:
    the limit of vanishing noise, and the weight at which the mixture is the target itself.

    Args:
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        alpha: Weight of the SFT gradient in the target.

    Returns:
        mu*, in [0, 1] whenever alpha is.

    Raises:
        GACError: A negative variance or disagreement.

    Examples:
        >>> float(closed_form(sigma_s2=1.0, sigma_r2=3.0, delta_g2=0.0))
        0.75
        >>> float(closed_form(0.0, 0.0, 0.0, alpha=0.3))
        0.3

    References:
        arXiv:2605.26184, section 3.1.
    """
    s, r, d, a = arrays(sigma_s2, sigma_r2, delta_g2, alpha)
    require_psd(s, r, d, 0.0)
    (s, r, d), _ = rescaled(s, r, d)
    return ratio(a * d + r, d + s + r, a)


def correlated_closed_form(
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    delta_g2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    kappa: ArrayLike,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> FloatArray:
    r"""The minimiser under correlated noise, clipped to `bounds`.

    .. math::
        \mu^* = \frac{\alpha \Delta^2 + \sigma_r^2 - \kappa}
                     {\Delta^2 + \sigma_s^2 + \sigma_r^2 - 2\kappa}

    Unclipped, it can leave [0, 1]: with strongly correlated noise the better branch is best used
    to cancel the noise of the other with a negative weight.

    Args:
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        alpha: Weight of the SFT gradient in the target.
        kappa: Noise covariance, at most sqrt(sigma_s2 sigma_r2) in size.
        bounds: Interval to clip to, or None.

    Returns:
        mu*; alpha where the risk is flat.

    Raises:
        GACError: A negative variance, or a kappa that Cauchy-Schwarz forbids.

    Examples:
        >>> float(correlated_closed_form(1.0, 4.0, 0.0, kappa=1.5, bounds=None))
        1.25

    References:
        arXiv:2605.26184, appendix on covariance.
    """
    s, r, d, a, k = arrays(sigma_s2, sigma_r2, delta_g2, alpha, kappa)
    require_psd(s, r, d, k)
    (s, r, d, k), _ = rescaled(s, r, d, k)
    mu = ratio(a * d + r - k, d + s + r - 2.0 * k, a)
    return mu if bounds is None else np.clip(mu, *bounds)


def bias_aware_minimiser(
    delta: ArrayLike,
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    bias_s: ArrayLike = 0.0,
    bias_r: ArrayLike = 0.0,
    kappa: ArrayLike = 0.0,
) -> FloatArray:
    r"""The unconstrained minimiser of :func:`risk_from_vectors`.

    With :math:`v = \delta + b_s - b_r` and :math:`u = b_r - \alpha \delta` the error is
    :math:`\mu v + u`, so

    .. math::
        \mu^* = \frac{\sigma_r^2 - \kappa - \langle u, v\rangle}
                     {|v|^2 + \sigma_s^2 + \sigma_r^2 - 2\kappa}

    Args:
        delta: :math:`g_s - g_r`, [..., d].
        sigma_s2: Noise of the SFT branch, [...], >= 0.
        sigma_r2: Noise of the RL branch, [...], >= 0.
        alpha: Weight of the SFT gradient in the target, [...].
        bias_s: :math:`b_s`, [..., d] or 0.
        bias_r: :math:`b_r`, [..., d] or 0.
        kappa: Noise covariance, [...].

    Returns:
        mu*, [...]; alpha where the risk is flat.

    Examples:
        >>> float(bias_aware_minimiser([1.0, 0.0], 1.0, 1.0))
        0.5
    """
    s, r, a, k = arrays(sigma_s2, sigma_r2, alpha, kappa)
    require_psd(s, r, 0.0, k)
    delta, b_s, b_r = arrays(delta, bias_s, bias_r)
    v = delta + b_s - b_r
    u = b_r - a[..., None] * delta
    return ratio(r - k - np.sum(u * v, axis=-1), np.sum(v * v, axis=-1) + s + r - 2.0 * k, a)


def regret(
    mu: ArrayLike,
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    delta_g2: ArrayLike,
    alpha: ArrayLike = 0.5,
    *,
    kappa: ArrayLike = 0.0,
) -> FloatArray:
    r"""What another weight costs: :math:`R(\mu) - R(\mu^*) = A (\mu - \mu^*)^2`.

    The product form has no cancellation, unlike the difference of two risks.

    Args:
        mu: Weight on SFT.
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        alpha: Weight of the SFT gradient in the target.
        kappa: Noise covariance.

    Returns:
        The excess risk over the unconstrained minimiser, >= 0.

    Examples:
        >>> float(regret(0.25, 1.0, 3.0, 0.0))
        1.0
    """
    best = correlated_closed_form(sigma_s2, sigma_r2, delta_g2, alpha, kappa=kappa, bounds=None)
    a = curvature(sigma_s2, sigma_r2, delta_g2, kappa=kappa)
    return np.asarray(a * (np.asarray(mu, dtype=np.float64) - best) ** 2)


def shrinkage(sigma_s2: ArrayLike, sigma_r2: ArrayLike, delta_g2: ArrayLike) -> Shrinkage:
    r"""The closed form as shrinkage of the inverse-variance weight towards alpha.

    .. math::
        \mu^* = w \alpha + (1 - w) \mu_{iv}, \qquad
        w = \frac{\Delta^2}{\Delta^2 + \sigma_s^2 + \sigma_r^2}, \qquad
        \mu_{iv} = \frac{\sigma_r^2}{\sigma_s^2 + \sigma_r^2}

    Args:
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.

    Returns:
        w and mu_iv. Where the risk is flat w is 1 (the answer is alpha).

    Examples:
        >>> parts = shrinkage(1.0, 3.0, 4.0)
        >>> float(parts.w), float(parts.mu_iv)
        (0.5, 0.75)
    """
    s, r, d = arrays(sigma_s2, sigma_r2, delta_g2)
    require_psd(s, r, d, 0.0)
    (s, r, d), _ = rescaled(s, r, d)
    return Shrinkage(w=ratio(d, d + s + r, 1.0), mu_iv=ratio(r, s + r, 0.5))


def sensitivities(
    sigma_s2: ArrayLike, sigma_r2: ArrayLike, delta_g2: ArrayLike, alpha: ArrayLike = 0.5
) -> Sensitivities:
    r"""The four partial derivatives of the closed form.

    With :math:`D = \Delta^2 + \sigma_s^2 + \sigma_r^2`:

    .. math::
        \frac{\partial \mu^*}{\partial \alpha} = \frac{\Delta^2}{D}, \quad
        \frac{\partial \mu^*}{\partial \sigma_r^2} = \frac{1 - \mu^*}{D}, \quad
        \frac{\partial \mu^*}{\partial \sigma_s^2} = \frac{-\mu^*}{D}, \quad
        \frac{\partial \mu^*}{\partial \Delta^2} = \frac{\alpha - \mu^*}{D}

    Args:
        sigma_s2: Noise of the SFT branch, >= 0.
        sigma_r2: Noise of the RL branch, >= 0.
        delta_g2: Squared disagreement, >= 0.
        alpha: Weight of the SFT gradient in the target.

    Returns:
        The derivatives; NaN where D = 0, where the closed form is discontinuous.

    Examples:
        >>> s = sensitivities(1.0, 3.0, 4.0)
        >>> float(s.alpha), float(s.sigma_r2)
        (0.5, 0.046875)
    """
    s, r, d, a = arrays(sigma_s2, sigma_r2, delta_g2, alpha)
    mu = closed_form(s, r, d, a)
    (s, r, d), exponent = rescaled(s, r, d)
    total = d + s + r
    inverse = 1.0 / np.where(total > 0.0, total, np.nan)
    with np.errstate(over="ignore"):  # at 1e-309 a derivative is beyond float64: infinity says so
        slope = np.ldexp(inverse, -exponent)
        return Sensitivities(d * inverse, (1.0 - mu) * slope, -mu * slope, (a - mu) * slope)
