r"""Correlation of two series where the points are not independent, and calibration."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from gac_ref.errors import fail
from simulations.analysis.statistics import Estimate, mean_estimate, pearson, spearman

__all__ = [
    "KINDS",
    "Calibration",
    "calibration",
    "correlations",
    "effective_size",
    "explained",
    "mean_correlation",
    "remainder",
    "serial_correlation",
]

KINDS = ("pearson", "spearman")

LEAST_EFFECTIVE = 4.0
"""Fisher's interval has n - 3 under its root."""

Z = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal."""


def effective_size(x: FloatArray, y: FloatArray) -> float:
    r"""Number of independent pairs that two autocorrelated series are worth.

    .. math:: n_{eff} = n \Big/ \Bigl(1 + 2 \sum_{k=1}^{K} (1 - k/n)\, \rho_x(k)\, \rho_y(k)\Bigr),
              \qquad K = \lfloor n / 4 \rfloor

    It is exact for the variance of the correlation of two independent stationary series. Sample
    autocorrelations may push it above n; it is cut there, for an estimate should not profit from
    the noise of its own correction.

    Args:
        x: [n], not constant.
        y: [n], not constant.

    Returns:
        In [4, n].

    Examples:
        >>> x = np.repeat([0.0, 1.0, 0.0, 1.0], 8)
        >>> effective_size(x, x) < 12.0
        True

    References:
        Bartlett, JRSS 98, 1935; Pyper and Peterman, Can. J. Fish. Aquat. Sci. 55, 1998, equation 1.
    """
    n = x.size
    lags = np.arange(1, n // 4 + 1)
    products = _autocorrelation(x, lags) * _autocorrelation(y, lags)
    inflation = 1.0 + 2.0 * float(((1.0 - lags / n) * products).sum())
    return min(float(n), max(LEAST_EFFECTIVE, n / max(inflation, 1.0)))


def serial_correlation(x: Any, y: Any, kind: str = "pearson") -> Estimate:
    r"""Correlation along a run, with Fisher's interval at the effective number of pairs.

    A block bootstrap is the usual alternative. Thirty points make a handful of blocks: of
    independent AR(1) pairs with coefficients from 0.3 to 0.8 its intervals covered 82 to 87 %
    (blocks of 4 and 6), these 91 to 96 %, and Fisher's at n = 30 down to 66 %.

    Args:
        x: [n], in the order of the run.
        y: [n].
        kind: "pearson" or "spearman" (autocorrelations are then those of the ranks).

    Returns:
        The correlation, its interval, and the effective number of pairs, rounded down.

    Raises:
        GACError: Too few pairs, a constant series, or a value that is not finite.

    Examples:
        >>> serial_correlation([1.0, 2.0, 4.0, 3.0, 5.0, 6.0], [1.0, 3.0, 2.0, 5.0, 4.0, 6.0]).n
        5
    """
    plain = _plain(x, y, kind)
    u, v = (np.asarray(values, dtype=np.float64) for values in (x, y))
    if kind == "spearman":
        from scipy.stats import rankdata

        u, v = rankdata(u), rankdata(v)
    size = effective_size(u, v)
    if abs(plain.value) == 1.0:
        return plain._replace(n=int(size))
    factor = 1.0 if kind == "pearson" else math.sqrt(1.0 + plain.value**2 / 2.0)
    half = Z * factor / math.sqrt(size - 3.0)
    z = math.atanh(plain.value)
    return Estimate(plain.value, math.tanh(z - half), math.tanh(z + half), int(size))


def correlations(x: FloatArray, y: FloatArray, kind: str = "pearson") -> FloatArray:
    """The correlation of each row of x with the same row of y; NaN where a row is constant.

    Args:
        x: [n, points].
        y: [n, points].
        kind: "pearson" or "spearman".

    Returns:
        [n].

    Examples:
        >>> rows = np.array([[1.0, 2.0, 3.0, 5.0], [1.0, 1.0, 1.0, 1.0]])
        >>> correlations(rows, np.array([[2.0, 4.0, 6.0, 10.0], [0.0, 1.0, 2.0, 4.0]]))
        array([ 1., nan])
    """
    return np.array(
        [
            _plain(a, b, kind).value if _varies(a) and _varies(b) else math.nan
            for a, b in zip(x, y, strict=True)
        ]
    )


def mean_correlation(values: FloatArray, where: str) -> Estimate:
    """Mean over independent runs, taken on Fisher's scale, with Student's interval.

    Args:
        values: The correlation within each run, [n].
        where: What they are, for the error.

    Raises:
        GACError: Fewer than two runs, or the correlation is not defined in some.

    Examples:
        >>> round(mean_correlation(np.array([0.1, 0.3, 0.2]), "r").value, 3)
        0.201
    """
    undefined = int(np.isnan(values).sum())
    if undefined:
        fail(
            f"{where}: not defined in {undefined} of {values.size} runs, where a series is "
            "constant; say so instead of averaging"
        )
    # A run whose points lie on a line has an infinite z; 0.999999 is z = 7.25.
    found = mean_estimate(np.arctanh(np.clip(values, -0.999999, 0.999999)))
    value, low, high = (math.tanh(z) for z in found[:3])
    return Estimate(value, low, high, found.n)


class Calibration(NamedTuple):
    """The line of log proxy on log truth.

    Args:
        slope: 1 where the proxy is the truth in another unit.
        intercept: Logarithm of that unit, where the slope is 1.
        r2: Share of the variance of the log proxy that the truth explains.

    Examples:
        >>> Calibration(1.0, 0.0, 0.9).slope
        1.0
    """

    slope: float
    intercept: float
    r2: float


def calibration(proxy: FloatArray, truth: FloatArray, where: str) -> Calibration:
    """Least-squares line of log proxy on log truth.

    Args:
        proxy: [n], > 0.
        truth: [n], > 0; leave out unbiased estimates below 0 by name first.
        where: What they are, for the error.

    Raises:
        GACError: A value is not positive, or the truth is constant.

    Examples:
        >>> truth = np.array([1.0, 2.0, 4.0, 8.0])
        >>> round(calibration(3.0 * truth**2, truth, "squares").slope, 6)
        2.0
    """
    for name, values in (("proxy", proxy), ("truth", truth)):
        bad = int(np.count_nonzero(~(values > 0.0)))
        if bad:
            fail(
                f"{where}: {bad} of {values.size} values of the {name} are not positive and have "
                "no logarithm; leave them out by name"
            )
    x, y = np.log(truth), np.log(proxy)
    if not _varies(x):
        fail(f"{where}: the truth is constant, so a slope is not defined; say so instead")
    u, v = x - x.mean(), y - y.mean()
    slope = float(u @ v) / float(u @ u)
    spread = float(v @ v)
    r2 = slope * float(u @ v) / spread if spread > 0.0 else 0.0
    return Calibration(slope, float(y.mean() - slope * x.mean()), r2)


def remainder(values: FloatArray, given: FloatArray) -> FloatArray:
    """What a straight line in `given` leaves of the values, [n].

    Examples:
        >>> remainder(np.array([1.0, 3.0, 5.0]), np.array([0.0, 1.0, 2.0])).tolist()
        [0.0, 0.0, 0.0]
    """
    v, g = values - values.mean(), given - given.mean()
    square = float(g @ g)
    return np.asarray(v - g * (float(g @ v) / square if square > 0.0 else 0.0))


def explained(values: FloatArray, predicted: FloatArray) -> float:
    """Share of the variance that a prediction explains, without fitting; below 0 where it harms.

    Examples:
        >>> explained(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0]))
        1.0
    """
    centred = values - values.mean()
    total = float(centred @ centred)
    if total == 0.0:
        fail("the values are constant, so an explained share is not defined; say so instead")
    missed = values - predicted
    return 1.0 - float(missed @ missed) / total


def _plain(x: Any, y: Any, kind: str) -> Estimate:
    if kind not in KINDS:
        fail(f"kind = {kind!r} is not one of {', '.join(KINDS)}; pass one of these")
    return pearson(x, y) if kind == "pearson" else spearman(x, y)


def _varies(values: FloatArray) -> bool:
    return float(np.ptp(values)) > 1e-12 * float(np.abs(values).max(initial=0.0))


def _autocorrelation(values: FloatArray, lags: AnyArray) -> FloatArray:
    v = values - values.mean()
    square = float(v @ v)
    return np.array([float(v[lag:] @ v[:-lag]) / square for lag in lags])
