r"""Performance profiles: how often a method is within reach of a score, or of the best method."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.statistics._samples import level_of, sample

__all__ = ["Profile", "dolan_more_profile", "performance_ratios", "score_profile"]


class Profile(NamedTuple):
    """A step function with a pointwise band.

    Args:
        points: Where it is evaluated, [k], ascending.
        share: Its value there, [k], in [0, 1].
        low: Lower edge of the band, [k].
        high: Upper edge, [k].
    """

    points: FloatArray
    share: FloatArray
    low: FloatArray
    high: FloatArray


def score_profile(
    scores: Any,
    points: Any,
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Profile:
    r"""Run-score distribution of one method: the share of runs that score above each point.

    .. math:: \hat F(\tau) = \frac1M \sum_m \frac1N \sum_i \mathbf 1[x_{mi} > \tau]

    The band is pointwise, of percentiles of a bootstrap that draws the runs of each task anew.

    Args:
        scores: [tasks M, runs N], finite; N >= 2.
        points: Scores :math:`\tau`, [k], ascending.
        rng: Generator.
        resamples: Bootstrap samples, >= 40 / (1 - confidence).
        confidence: Pointwise coverage, in (0, 1).

    Returns:
        The profile, falling from 1 to 0.

    Raises:
        GACError: Wrong shapes, too few runs, or a score that is not finite.

    Examples:
        >>> found = score_profile([[0.0, 1.0, 2.0, 3.0]], [0.5, 2.5], rng=np.random.default_rng(0))
        >>> found.share.tolist()
        [0.75, 0.25]

    References:
        Agarwal et al., arXiv:2108.13264, section 4.2; stratified bootstrap bands: appendix A.3.
    """
    table, where, level = _table(scores, "scores"), _ascending(points), level_of(confidence)
    if table.shape[1] < 2:
        fail(f"scores has {table.shape[1]} run a task; a band needs at least 2")
    _enough(resamples, level)
    above = (table[:, :, None] > where).astype(np.float64)  # [M, N, k]
    tasks, runs = table.shape
    # How often each run of a task is drawn; drawing the counts spares copying the runs.
    times = rng.multinomial(runs, np.full(runs, 1.0 / runs), size=(tasks, resamples))
    draws = (times @ above).mean(axis=0) / runs
    low, high = np.quantile(draws, [level / 2.0, 1.0 - level / 2.0], axis=0)
    return Profile(where, above.mean(axis=(0, 1)), low, high)


def performance_ratios(costs: Any) -> FloatArray:
    r"""Cost of each method relative to the best one on the same problem.

    .. math:: r_{ps} = c_{ps} / \min_{s'} c_{ps'}

    Args:
        costs: [methods, problems], > 0, smaller is better.

    Returns:
        Ratios >= 1, [methods, problems].

    Raises:
        GACError: Wrong shape, or a cost that is not finite and above 0.

    Examples:
        >>> performance_ratios([[1.0, 4.0], [2.0, 2.0]]).tolist()
        [[1.0, 2.0], [2.0, 1.0]]

    References:
        Dolan and More, Mathematical Programming 91, 2002, section 2 (arXiv:cs/0102001).
    """
    table = _table(costs, "costs")
    if (table <= 0.0).any():
        fail(f"costs: {float(table.min())!r} is not above 0; pass positive costs")
    return np.asarray(table / table.min(axis=0))


def dolan_more_profile(
    ratios: Any,
    points: Any,
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Profile:
    r"""Share of the problems that one method solves within a factor of the best.

    .. math:: \rho(\tau) = \frac{1}{|P|} \bigl|\{p : r_p \le \tau\}\bigr|

    The band is pointwise, of percentiles of a bootstrap over problems; a seed under common random
    numbers is a problem.

    Args:
        ratios: One row of :func:`performance_ratios`, [problems], >= 1.
        points: Factors :math:`\tau`, [k], ascending.
        rng: Generator.
        resamples: Bootstrap samples, >= 40 / (1 - confidence).
        confidence: Pointwise coverage, in (0, 1).

    Returns:
        The profile, rising to 1.

    Raises:
        GACError: Fewer than two problems, or a ratio that is not finite or below 1.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> dolan_more_profile([1.0, 2.0, 1.0, 4.0], [1.0, 2.0, 4.0], rng=rng).share.tolist()
        [0.5, 0.75, 1.0]

    References:
        Dolan and More, Mathematical Programming 91, 2002, equation 2.1.
    """
    values = sample(ratios, "ratios", least=2, what_for="a band")
    if (values < 1.0).any():
        fail(f"ratios: {float(values.min())!r} is below 1; pass performance_ratios")
    where, level = _ascending(points), level_of(confidence)
    _enough(resamples, level)
    within = values[:, None] <= where
    draws = within[rng.integers(0, values.size, size=(resamples, values.size))].mean(axis=1)
    low, high = np.quantile(draws, [level / 2.0, 1.0 - level / 2.0], axis=0)
    return Profile(where, within.mean(axis=0), low, high)


def _table(values: Any, where: str) -> FloatArray:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        fail(f"{where} has shape {table.shape}; pass a table with two axes")
    if not np.isfinite(table).all():
        bad = int(np.count_nonzero(~np.isfinite(table)))
        fail(f"{where}: {bad} of {table.size} values are not finite; leave them out by name")
    return table


def _ascending(points: Any) -> FloatArray:
    where = sample(points, "points", least=1, what_for="a profile")
    if (np.diff(where) <= 0.0).any():
        fail("points are not ascending; sort them")
    return where


def _enough(resamples: int, level: float) -> None:
    wanted = int(np.ceil(40.0 / level - 1e-9))
    if resamples < wanted:
        fail(
            f"resamples = {resamples} is too few for a {1 - level:.4g} band; pass at least {wanted}"
        )
