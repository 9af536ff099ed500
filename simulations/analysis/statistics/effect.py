r"""Cohen's d: two standardised differences that share a name, with exact intervals for both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simulations.analysis.statistics._samples import level_of, not_constant, pairs, sample
from simulations.analysis.statistics.estimate import Estimate
from simulations.analysis.statistics.noncentral import noncentral_t_cdf

__all__ = ["cohens_d", "cohens_dz", "noncentrality_interval"]


def cohens_d(a: Any, b: Any, *, confidence: float = 0.95) -> Estimate:
    r"""Pooled d of two unpaired samples.

    .. math:: d = \frac{\bar a - \bar b}{s}, \qquad
              s^2 = \frac{(n-1) s_a^2 + (m-1) s_b^2}{n + m - 2}

    Its unit is the spread of a single run, so it does not depend on how well the seeds are paired:
    the one that 0.2 (small), 0.5, 0.8 (large) are of. The interval is exact for normal samples of
    equal variance, from the noncentral t.

    Args:
        a: [n], n >= 2.
        b: [m], m >= 2.
        confidence: Coverage, in (0, 1).

    Returns:
        d and its interval; n is that of both samples.

    Raises:
        GACError: Too few values, one is not finite, or both samples are constant.

    Examples:
        >>> round(cohens_d([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]).value, 6)
        1.0

    References:
        Cohen, Statistical Power Analysis, 1988, section 2.2; intervals: Steiger and Fouladi, 1997.
    """
    x, y = (sample(v, name, least=2, what_for="Cohen's d") for v, name in ((a, "a"), (b, "b")))
    n, m = x.size, y.size
    not_constant(np.concatenate((x - x.mean(), y - y.mean())) + x.mean(), "a and b", "Cohen's d")
    pooled = ((n - 1) * x.var(ddof=1) + (m - 1) * y.var(ddof=1)) / (n + m - 2)
    value = float((x.mean() - y.mean()) / math.sqrt(pooled))
    root = math.sqrt(n * m / (n + m))
    low, high = noncentrality_interval(value * root, n + m - 2, confidence=confidence)
    return Estimate(value, low / root, high / root, n + m)


def cohens_dz(a: Any, b: Any, *, confidence: float = 0.95) -> Estimate:
    r"""d_z of paired differences.

    .. math:: d_z = \frac{\overline{a - b}}{s_{a-b}} = t / \sqrt n

    Its unit is the spread of the differences: common random numbers shrink that, and d_z grows
    without a larger effect. It is what the power of a paired test depends on.

    Args:
        a: One value a seed, [n], n >= 2.
        b: The other's, of the same seeds, [n].
        confidence: Coverage, in (0, 1).

    Returns:
        d_z and its interval, exact for normal differences.

    Raises:
        GACError: Too few pairs, unequal lengths, a value is not finite, or the differences are
            constant.

    Examples:
        >>> round(cohens_dz([1.0, 3.0, 5.0], [0.0, 1.0, 2.0]).value, 6)
        2.0

    References:
        Cohen, 1988, section 2.3.5; Lakens, Frontiers in Psychology 4:863, 2013, on the names.
    """
    x, y = pairs(a, b, least=2, what_for="Cohen's d_z")
    difference = not_constant(x - y, "a - b", "Cohen's d_z")
    value, root = float(difference.mean() / difference.std(ddof=1)), math.sqrt(x.size)
    low, high = noncentrality_interval(value * root, x.size - 1, confidence=confidence)
    return Estimate(value, low / root, high / root, x.size)


def noncentrality_interval(t: float, df: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the noncentrality that an observed t is consistent with.

    Args:
        t: Observed statistic.
        df: Degrees of freedom, >= 1.
        confidence: Coverage, in (0, 1).

    Returns:
        The noncentralities at which t is the upper and the lower tail's quantile.

    Examples:
        >>> [round(x, 3) for x in noncentrality_interval(0.0, 10)]
        [-1.96, 1.96]
    """
    from scipy.optimize import brentq

    level = level_of(confidence)

    def excess(noncentrality: float, tail: float) -> float:
        return noncentral_t_cdf(t, df, noncentrality) - tail

    # The estimate t stands for a noncentrality with an error of sqrt(1 + t^2 / (2 df)), about.
    reach = 12.0 * math.sqrt(1.0 + t * t / (2.0 * df))
    ends = [
        float(brentq(excess, t - reach, t + reach, args=(tail,), xtol=1e-10))
        for tail in (1.0 - level / 2.0, level / 2.0)
    ]
    return ends[0], ends[1]
