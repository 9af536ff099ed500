r"""Truncated moments of Gaussian vectors, exactly: what clipping by value and by norm leaves.

For :math:`x \sim N(g, v I)` in d dimensions and any radial h,

.. math:: E[x\, h(|x|^2)] = g\, E[h(v\, \chi^2_{d+2}(\lambda))], \qquad \lambda = |g|^2 / v

so that clipping by norm needs expectations of a noncentral chi-square only; that is a Poisson
mixture of central ones, for which everything is an incomplete gamma function, which at half
integers is an ``erfc`` or an exponential and a sum of positive terms.

References:
    Bock, "Minimax estimators of the mean of a multivariate normal distribution", The Annals of
    Statistics 3(1), 1975, theorem A; Johnson, Kotz, Balakrishnan, "Continuous Univariate
    Distributions" 2, chapter 29, for the Poisson mixture.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from gac_ref._typing import FloatArray

LARGEST_NONCENTRALITY = 1e5
"""Up to here the Poisson sum is short (milliseconds) and cancels at most 5 digits of 16."""

POISSON_SPREADS = 9.0
"""Poisson weights this many standard deviations (and 40 terms) out add up to less than 1e-16."""

_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def clipped_normal(
    mean: FloatArray, variance: FloatArray, threshold: float
) -> tuple[FloatArray, FloatArray]:
    r"""Bias and second central moment of ``clip(x, -c, c)`` for normal x, elementwise.

    With :math:`a = (-c - m)/s` and :math:`b = (c - m)/s`,

    .. math::
        E[y - m] = s(\phi(a) - \phi(b)) + (c - m)\Phi(-b) - (c + m)\Phi(a)

    and the like for the square, about m and not about 0, so that nothing cancels.

    Args:
        mean: m, [...].
        variance: s^2, [...], >= 0.
        threshold: c, > 0.

    Returns:
        :math:`E[y] - m` and :math:`E[(y - m)^2]`, each [...].
    """
    m, v = np.broadcast_arrays(mean, variance)
    s = np.sqrt(v)
    scale = np.where(s > 0.0, s, 1.0)
    low, high = -threshold - m, threshold - m
    a, b = low / scale, high / scale
    with np.errstate(under="ignore", over="ignore"):
        density_a, density_b = (np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi) for x in (a, b))
        below, above = 0.5 * _erfc(-a / math.sqrt(2.0)), 0.5 * _erfc(b / math.sqrt(2.0))
        # a * density is 0 far out, where a times an underflowed density is exact as it stands.
        inside = 1.0 - below - above + a * density_a - b * density_b
    bias = s * (density_a - density_b) + high * above + low * below
    square = v * inside + high**2 * above + low**2 * below
    still = s == 0.0
    shift = np.clip(m, -threshold, threshold) - m
    return np.where(still, shift, bias), np.where(still, shift**2, np.maximum(square, 0.0))


@lru_cache(maxsize=4096)
def clipped_norm(
    norm2: float, variance: float, dimension: int, threshold: float
) -> tuple[float, float]:
    r"""Loss and second moment of ``x min(1, c / |x|)`` for x normal around g, isotropic.

    Args:
        norm2: :math:`|g|^2`.
        variance: v, of each coordinate, > 0; ``norm2 / variance`` at most 1e5.
        dimension: d.
        threshold: c, > 0.

    Returns:
        q and E|y|^2, where the clipped y has mean ``(1 - q) g``. Absolute errors of about
        1e-13 (times c^2 for the second).
    """
    rate = 0.5 * norm2 / variance
    spread = POISSON_SPREADS * math.sqrt(rate) + 40.0
    j = np.arange(max(0, math.floor(rate - spread)), math.ceil(rate + spread) + 1)
    if rate > 0.0:
        weight = np.exp(j * math.log(rate) - rate - _log_gamma(j + 1.0))
    else:
        weight = np.where(j == 0, 1.0, 0.0)
    weight = weight / weight.sum()
    t = threshold**2 / variance
    upper = _chi2_tails(t, dimension + 2 * int(j[-1]) + 3)
    k = dimension + 2 * j
    # E (1 - sqrt(t / Y))+ over Y ~ chi2 with n = k + 2 degrees: E[Y^-1/2; Y > t] has n - 1.
    inverse_root = np.exp(_log_gamma((k + 1) / 2.0) - _log_gamma((k + 2) / 2.0)) / math.sqrt(2.0)
    loss = upper[k + 2] - math.sqrt(t) * inverse_root * upper[k + 1]
    # E min(Y, t) over Y ~ chi2 with k degrees: E[Y; Y <= t] has k + 2.
    second = k * (1.0 - upper[k + 2]) + t * upper[k]
    return max(float(weight @ loss), 0.0), variance * float(weight @ second)


def _chi2_tails(t: float, highest: int) -> FloatArray:
    """P(chi2_k > t) for k = 0 .. highest, by recurrence upwards (all terms positive)."""
    tails = np.zeros(highest + 1)
    x = 0.5 * t
    for first, start in ((1, math.erfc(math.sqrt(x))), (2, math.exp(-x))):
        a = np.arange(first, highest + 1, 2) / 2.0
        with np.errstate(under="ignore"):
            terms = np.exp(a * math.log(x) - x - _log_gamma(a + 1.0)) if a.size else a
        tails[first::2] = start + np.concatenate(([0.0], np.cumsum(terms)[:-1]))[: a.size]
    return np.minimum(tails, 1.0)
