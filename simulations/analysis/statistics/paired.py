r"""Means and differences of means under common random numbers, with Student's interval."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulations.analysis.statistics._samples import level_of, not_constant, pairs, sample
from simulations.analysis.statistics.estimate import Estimate, Outcome

__all__ = ["mean_estimate", "paired_difference", "paired_t_test"]


def mean_estimate(values: Any, *, confidence: float = 0.95) -> Estimate:
    r"""Mean of independent values, with Student's interval.

    .. math:: \bar x \pm t_{n-1,\,1-\alpha/2}\; s / \sqrt n

    Args:
        values: One value a seed, [n], n >= 2.
        confidence: Coverage, in (0, 1).

    Returns:
        Mean and interval; of no width where the values are all the same.

    Raises:
        GACError: Fewer than two values, or one is not finite.

    Examples:
        >>> [round(x, 3) for x in mean_estimate([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484, 3]
    """
    from scipy.special import stdtrit

    x = sample(values, "values", least=2, what_for="Student's interval")
    quantile = float(stdtrit(x.size - 1, 1.0 - level_of(confidence) / 2.0))
    mean, half = float(x.mean()), quantile * float(x.std(ddof=1)) / float(np.sqrt(x.size))
    return Estimate(mean, mean - half, mean + half, x.size)


def paired_difference(a: Any, b: Any, *, confidence: float = 0.95) -> Estimate:
    r"""Mean of a - b, seed by seed, with the paired Student interval.

    Where both saw the same random numbers, :math:`\operatorname{var}(a - b) = \operatorname{var} a
    + \operatorname{var} b - 2 \operatorname{cov}(a, b)` is smaller than what two unpaired samples
    leave.

    Args:
        a: One value a seed, [n], n >= 2.
        b: The other's, of the same seeds, [n].
        confidence: Coverage, in (0, 1).

    Returns:
        The mean difference and its interval.

    Raises:
        GACError: Fewer than two pairs, unequal lengths, or a value is not finite.

    Examples:
        >>> paired_difference([3.0, 5.0, 8.0], [2.0, 4.0, 7.0])
        Estimate(value=1.0, low=1.0, high=1.0, n=3)
    """
    x, y = pairs(a, b, least=2, what_for="a paired interval")
    return mean_estimate(x - y, confidence=confidence)


def paired_t_test(a: Any, b: Any) -> Outcome:
    """Two-sided paired t test of equal means.

    Args:
        a: One value a seed, [n], n >= 2.
        b: The other's, of the same seeds, [n].

    Returns:
        Student's t, its p, and n.

    Raises:
        GACError: As `paired_difference`, or the differences are constant.

    Examples:
        >>> round(paired_t_test([3.0, 5.0, 9.0], [2.0, 4.0, 7.0]).p, 4)
        0.0572
    """
    from scipy.stats import ttest_1samp

    x, y = pairs(a, b, least=2, what_for="a paired t test")
    found = ttest_1samp(not_constant(x - y, "a - b", "a t test"), 0.0)
    return Outcome(float(found.statistic), float(found.pvalue), x.size)
