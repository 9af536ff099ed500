r"""Brunner and Munzel's test, with the chance that one sample beats the other as its effect."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from simulations.analysis.statistics._samples import level_of, sample

__all__ = ["LEAST_FOR_BRUNNER_MUNZEL", "RankTest", "brunner_munzel"]

LEAST_FOR_BRUNNER_MUNZEL = 10
"""Of each sample: the t approximation is poor below, as its authors say."""


class RankTest(NamedTuple):
    """What Brunner and Munzel's test found.

    Args:
        effect: P(A > B) + P(A = B) / 2, in [0, 1]; 0.5 is no effect.
        low: Lower end of its interval, within [0, 1].
        high: Upper end.
        statistic: Positive where A tends to be larger.
        p: Two-sided.
        n: Observations of both samples.
    """

    effect: float
    low: float
    high: float
    statistic: float
    p: float
    n: int


def brunner_munzel(a: Any, b: Any, *, confidence: float = 0.95) -> RankTest:
    r"""Whether one sample tends to be larger, without equal variances or shapes.

    .. math::
        \hat p = \frac{\bar R_A - (n + 1)/2}{m}, \qquad
        \frac{\hat p - 1/2}{\sqrt{s_A^2/(n m^2) + s_B^2/(m n^2)}} \sim t_{df}

    with R the mid-ranks in both samples together, and :math:`s^2` the variance of the differences
    of overall and own ranks. Samples that do not overlap leave no variance: the statistic is
    infinite, the interval is a point, and p is that of the exact permutation test,
    :math:`2 / \binom{n + m}{n}`.

    Args:
        a: [n], n >= 10; unpaired.
        b: [m], m >= 10.
        confidence: Coverage, in (0, 1).

    Returns:
        Effect with interval, statistic and p.

    Raises:
        GACError: Too few values, or one is not finite.

    Examples:
        >>> found = brunner_munzel(np.arange(10.0) + 0.5, np.arange(10.0))
        >>> found.effect, found.statistic > 0.0
        (0.55, True)

    References:
        Brunner and Munzel, Biometrical Journal 42(1), 2000; :func:`scipy.stats.brunnermunzel`,
        which has the test and neither effect nor interval.
    """
    from scipy.special import stdtrit
    from scipy.stats import brunnermunzel, rankdata

    least, what_for = LEAST_FOR_BRUNNER_MUNZEL, "Brunner and Munzel's test"
    x, y = (sample(v, name, least=least, what_for=what_for) for v, name in ((a, "a"), (b, "b")))
    n, m, level = x.size, y.size, level_of(confidence)
    ranks = rankdata(np.concatenate((x, y)))
    effect = float((ranks[:n].mean() - (n + 1) / 2.0) / m)
    part_x = float(np.var(ranks[:n] - rankdata(x), ddof=1)) / (n * m * m)
    part_y = float(np.var(ranks[n:] - rankdata(y), ddof=1)) / (m * n * n)
    if part_x + part_y == 0.0:
        if effect == 0.5:  # one tied value everywhere
            return RankTest(effect, effect, effect, 0.0, 1.0, n + m)
        p = 2.0 / math.comb(n + m, n)
        return RankTest(effect, effect, effect, math.copysign(math.inf, effect - 0.5), p, n + m)
    found = brunnermunzel(y, x)  # SciPy's statistic is positive where its second sample is larger
    df = (part_x + part_y) ** 2 / (part_x**2 / (n - 1) + part_y**2 / (m - 1))
    half = float(stdtrit(df, 1.0 - level / 2.0)) * math.sqrt(part_x + part_y)
    low, high = max(0.0, effect - half), min(1.0, effect + half)
    return RankTest(effect, low, high, float(found.statistic), float(found.pvalue), n + m)
