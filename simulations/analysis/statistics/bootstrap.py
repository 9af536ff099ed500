r"""Bootstrap intervals: percentile, expanded or BCa, within strata where there are some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from gac_ref.errors import fail
from simulations.analysis.statistics._samples import level_of, not_constant, sample
from simulations.analysis.statistics.estimate import Estimate

__all__ = ["LEAST_FOR_BOOTSTRAP", "METHODS", "Statistic", "bootstrap_interval", "resample"]

Statistic = Callable[..., Any]
"""``statistic(values, axis=-1)``: [..., n] to [...]; `numpy.mean` and `iqm` are two."""

METHODS = ("expanded", "percentile", "bca")

LEAST_FOR_BOOTSTRAP = 10
"""In a stratum: below, the percentiles of resamples reproduce the spread of the sample too badly
(the variance of a resampled mean is short by a factor (n - 1) / n, and its tails are lumps)."""


def resample(
    values: FloatArray, strata: AnyArray, count: int, rng: np.random.Generator
) -> FloatArray:
    """Samples drawn with replacement, each stratum from itself and as often as it occurs.

    Args:
        values: [n].
        strata: Label of each value, [n].
        count: Number of samples.
        rng: Generator.

    Returns:
        [count, n]; the columns of a stratum hold values of that stratum.

    Examples:
        >>> resample(np.array([1.0, 2.0]), np.array([0, 1]), 2, np.random.default_rng(0)).tolist()
        [[1.0, 2.0], [1.0, 2.0]]
    """
    index = np.empty((count, values.size), dtype=np.int64)
    for label in np.unique(strata):
        members = np.flatnonzero(strata == label)
        index[:, members] = rng.choice(members, size=(count, members.size))
    return values[index]


def bootstrap_interval(
    values: Any,
    statistic: Statistic,
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    strata: Any = None,
    confidence: float = 0.95,
    method: str = "expanded",
) -> Estimate:
    r"""A statistic with its bootstrap interval.

    The percentile interval takes the :math:`\alpha/2` and :math:`1 - \alpha/2` quantiles of the
    resampled statistic. A resample of m values varies less than a sample, by :math:`(m - 1)/m`, and
    its spread is an estimate: the expanded interval makes up for both with wider levels, m the
    smallest stratum and :math:`\nu` the values less the strata,

    .. math:: \alpha'/2 = \Phi\bigl(-\sqrt{m/(m-1)}\; t_{\nu,\,1-\alpha/2}\bigr)

    BCa moves the levels for the median bias :math:`z_0` of the resamples and
    for the skewness, by the acceleration a of the jackknife:

    .. math:: \alpha' = \Phi\Bigl(z_0 + \frac{z_0 + z_\alpha}{1 - a (z_0 + z_\alpha)}\Bigr)

    Args:
        values: One value an observation, [n].
        statistic: ``statistic(array, axis=-1)``.
        rng: Generator.
        resamples: Number of resamples; at least 40 / (1 - confidence), so that a tail holds 20.
        strata: Label of each value (a task, a regime), [n]: a resample takes as many of each as
            there are. None for one stratum.
        confidence: Coverage, in (0, 1).
        method: One of `METHODS`. "bca" is for skewed statistics; the interval of an interquartile
            mean covers no better with it.

    Returns:
        The statistic of the values and its interval. For the interquartile mean of normal,
        exponential and t_3 values the expanded 95 % interval covers 95 to 96 % from n = 16 on, and
        97 to 98 % at n = 10, where the percentile interval covers 93 %.

    Raises:
        GACError: Fewer than `LEAST_FOR_BOOTSTRAP` values in a stratum, a constant series, a value
            that is not finite, too few resamples, or no such method.

    Examples:
        >>> found = bootstrap_interval(np.arange(30.0), np.mean, rng=np.random.default_rng(0))
        >>> found.value, round(found.low), round(found.high)
        (14.5, 11, 18)

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections 13.3 and 14.3;
        expanded: Hesterberg, arXiv:1411.5279, section 5.3;
        stratified by task: Agarwal et al., arXiv:2108.13264, section 4.1.
    """
    x = sample(values, "values")
    level = level_of(confidence)
    if method not in METHODS:
        fail(f"method = {method!r} is not one of {', '.join(METHODS)}; pass one of these")
    wanted = int(np.ceil(40.0 / level - 1e-9))
    if resamples < wanted:
        fail(
            f"resamples = {resamples} is too few for a {confidence:.4g} interval; at least "
            f"{wanted} are needed"
        )
    labels = np.zeros(x.size, dtype=np.int64) if strata is None else np.asarray(strata)
    if labels.shape != x.shape:
        fail(f"strata has shape {labels.shape}, not {x.shape}; pass one label a value")
    names, sizes = np.unique(labels, return_counts=True)
    for label in names:
        where = "values" if strata is None else f"stratum {label}"
        sample(
            x[labels == label], where, least=LEAST_FOR_BOOTSTRAP, what_for="a bootstrap interval"
        )
    not_constant(x, "values", "a bootstrap interval")
    value = float(statistic(x, axis=-1))
    found = np.sort(np.asarray(statistic(resample(x, labels, resamples, rng), axis=-1)))
    tails = np.array([level / 2.0, 1.0 - level / 2.0])
    if method == "expanded":
        tails = _expanded(level, int(sizes.min()), x.size - names.size)
    elif method == "bca":
        tails = _corrected(tails, found, value, _jackknife(x, statistic))
    low, high = (float(end) for end in np.quantile(found, tails))
    return Estimate(value, low, high, x.size)


def _expanded(level: float, smallest: int, df: int) -> FloatArray:
    from scipy.special import ndtr, stdtrit

    wide = np.sqrt(smallest / (smallest - 1)) * stdtrit(df, level / 2.0)
    return np.asarray(ndtr([wide, -wide]))


def _jackknife(x: FloatArray, statistic: Statistic) -> FloatArray:
    """The statistic without each value in turn, [n]."""
    index = np.arange(x.size)
    kept = np.broadcast_to(index, (x.size, x.size))[~np.eye(x.size, dtype=bool)]
    return np.asarray(statistic(x[kept.reshape(x.size, x.size - 1)], axis=-1))


def _corrected(
    tails: FloatArray, found: FloatArray, value: float, without: FloatArray
) -> FloatArray:
    """The levels of BCa; those of the percentile interval where the jackknife is constant."""
    from scipy.special import ndtr, ndtri

    below = float(np.mean(found < value) + 0.5 * np.mean(found == value))
    # A statistic outside all of its resamples has no finite bias; half a resample bounds it.
    below = min(max(below, 0.5 / found.size), 1.0 - 0.5 / found.size)
    bias = float(ndtri(below))
    off = without.mean() - without
    scale = float(np.sum(off * off)) ** 1.5
    acceleration = float(np.sum(off**3)) / (6.0 * scale) if scale > 0.0 else 0.0
    z = bias + ndtri(tails)
    return np.asarray(ndtr(bias + z / (1.0 - acceleration * z)))
