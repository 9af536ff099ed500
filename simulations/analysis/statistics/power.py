r"""Power: how often a test sees an effect, and how many seeds it needs to."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.statistics.estimate import Estimate
from simulations.analysis.statistics.noncentral import noncentral_t_cdf

__all__ = ["MOST_SEEDS", "power_of_t_test", "seeds_needed", "simulated_power"]

MOST_SEEDS = 1_000_000
"""No more are looked for: an effect that needs more is none."""


def power_of_t_test(effect: float, n: int, *, paired: bool = True, level: float = 0.05) -> float:
    r"""Chance that a two-sided t test at `level` rejects, by the noncentral t distribution.

    .. math:: P\bigl(|T| > t_{df,\,1-\alpha/2}\bigr), \qquad T \sim t_{df}(\delta)

    Paired: :math:`\delta = d_z \sqrt n`, df = n - 1. Unpaired, n of each:
    :math:`\delta = d \sqrt{n/2}`, df = 2 n - 2.

    Args:
        effect: d_z (paired) or pooled d (unpaired).
        n: Pairs, or seeds of each sample, >= 2.
        paired: Which test.
        level: Its level, in (0, 1).

    Returns:
        The power, in [level, 1].

    Raises:
        GACError: n < 2, or a number out of range.

    Examples:
        >>> round(power_of_t_test(0.8, 3), 3), round(power_of_t_test(0.5, 64, paired=False), 3)
        (0.135, 0.801)

    References:
        Cohen, Statistical Power Analysis, 1988, sections 2.2 and 2.3.
    """
    from scipy.special import stdtrit

    if n < 2:
        fail(f"n = {n} is too few for a t test; at least 2 are needed")
    if not math.isfinite(effect):
        fail(f"effect = {effect!r} is not finite; pass a standardised difference")
    if not 0.0 < level < 1.0:
        fail(f"level = {level!r} is not inside (0, 1); pass 0.05, for example")
    df = n - 1 if paired else 2 * n - 2
    # Both tails are symmetric in the sign of the effect.
    noncentrality = abs(effect) * (math.sqrt(n) if paired else math.sqrt(n / 2.0))
    critical = float(stdtrit(df, 1.0 - level / 2.0))
    beyond = 1.0 - noncentral_t_cdf(critical, df, noncentrality)
    return beyond + noncentral_t_cdf(-critical, df, noncentrality)


def seeds_needed(
    effect: float, *, power: float = 0.8, level: float = 0.05, paired: bool = True
) -> int:
    """Least n (pairs, or seeds of each sample) at which a t test has the power.

    Args:
        effect: d_z (paired) or pooled d (unpaired), not 0.
        power: Wanted, in (level, 1).
        level: Level of the test.
        paired: Which test.

    Returns:
        The number of seeds.

    Raises:
        GACError: More than `MOST_SEEDS` would be needed, or a number is out of range.

    Examples:
        >>> seeds_needed(0.8), seeds_needed(0.8, paired=False), seeds_needed(0.2)
        (15, 26, 199)
    """
    if not level < power < 1.0:
        fail(f"power = {power!r} is not inside (level, 1) = ({level}, 1); pass 0.8, for example")

    def enough(n: int) -> bool:
        return power_of_t_test(effect, n, paired=paired, level=level) >= power

    high = 2
    while not enough(high):
        high *= 2
        if high > MOST_SEEDS:
            fail(
                f"effect = {effect!r} needs more than {MOST_SEEDS} seeds for a power of {power}; "
                "look for a larger one"
            )
    low = max(2, high // 2)
    while low < high:  # the power grows with n
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def simulated_power(
    draw: Callable[[np.random.Generator], FloatArray],
    rejects: Callable[[FloatArray], bool],
    *,
    rng: np.random.Generator,
    runs: int,
) -> Estimate:
    """How often a test rejects data that are drawn, with Wilson's interval.

    Args:
        draw: Makes one data set.
        rejects: The test.
        rng: Generator.
        runs: Data sets, >= 1.

    Returns:
        The share of rejections, its 95 % interval, and the runs.

    Raises:
        GACError: runs < 1.

    Examples:
        >>> simulated_power(lambda rng: rng.random(1), lambda x: bool(x[0] < 0.5),
        ...                 rng=np.random.default_rng(0), runs=100).n
        100
    """
    from simulations.sweeps.summary import share_interval

    if runs < 1:
        fail(f"runs = {runs} is below 1; pass at least 1")
    hits = np.array([float(rejects(draw(rng))) for _ in range(runs)])
    return Estimate(*share_interval(hits), runs)
