r"""Pearson's and Spearman's correlation, with intervals on Fisher's scale."""

from __future__ import annotations

import math
from typing import Any

from gac_ref._typing import FloatArray
from simulations.analysis.statistics._samples import level_of, not_constant, pairs
from simulations.analysis.statistics.estimate import Estimate

__all__ = ["LEAST_FOR_CORRELATION", "pearson", "spearman"]

LEAST_FOR_CORRELATION = 4
"""Fisher's standard error has n - 3 under its root."""


def pearson(a: Any, b: Any, *, confidence: float = 0.95) -> Estimate:
    r"""Pearson's r of independent pairs.

    .. math:: \tanh\bigl(\operatorname{artanh} r \pm z_{1-\alpha/2} / \sqrt{n - 3}\bigr)

    Args:
        a: [n], n >= 4.
        b: [n].
        confidence: Coverage, in (0, 1).

    Returns:
        r and Fisher's interval, right for pairs from a bivariate normal. Pairs of a time series
        are not independent: it is too narrow there.

    Raises:
        GACError: Too few pairs, unequal lengths, a constant series, or a value that is not finite.

    Examples:
        >>> [round(x, 3) for x in pearson([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 3.0, 2.0, 5.0, 4.0])]
        [0.8, -0.28, 0.986, 5]

    References:
        Fisher, Metron 1, 1921.
    """
    x, y = _varied(a, b, "Pearson's correlation")
    return _interval(_r(x, y), x.size, 1.0, confidence)


def spearman(a: Any, b: Any, *, confidence: float = 0.95) -> Estimate:
    r"""Spearman's rank correlation of independent pairs.

    .. math:: \tanh\Bigl(\operatorname{artanh} r
              \pm z_{1-\alpha/2} \sqrt{\frac{1 + r^2/2}{n - 3}}\Bigr)

    Args:
        a: [n], n >= 4; ties take mid-ranks.
        b: [n].
        confidence: Coverage, in (0, 1).

    Returns:
        The correlation of the ranks and its interval.

    Raises:
        GACError: As :func:`pearson`.

    Examples:
        >>> round(spearman([1.0, 2.0, 3.0, 4.0], [1.0, 8.0, 27.0, 64.0]).value, 6)
        1.0

    References:
        Bonett and Wright, Psychometrika 65(1), 2000: Fisher's constant standard error covers too
        little for ranks where the correlation is strong.
    """
    from scipy.stats import rankdata

    x, y = _varied(a, b, "Spearman's correlation")
    r = _r(rankdata(x), rankdata(y))
    return _interval(r, x.size, math.sqrt(1.0 + r * r / 2.0), confidence)


def _varied(a: Any, b: Any, name: str) -> tuple[FloatArray, FloatArray]:
    x, y = pairs(a, b, least=LEAST_FOR_CORRELATION, what_for=f"the interval of {name}")
    return not_constant(x, "a", name), not_constant(y, "b", name)


def _r(x: FloatArray, y: FloatArray) -> float:
    u, v = x - x.mean(), y - y.mean()
    r = float(u @ v) / math.sqrt(float(u @ u) * float(v @ v))
    return min(1.0, max(-1.0, r))


def _interval(r: float, n: int, factor: float, confidence: float) -> Estimate:
    from scipy.special import ndtri

    if abs(r) == 1.0:
        return Estimate(r, r, r, n)
    half = float(ndtri(1.0 - level_of(confidence) / 2.0)) * factor / math.sqrt(n - 3)
    z = math.atanh(r)
    return Estimate(r, math.tanh(z - half), math.tanh(z + half), n)
