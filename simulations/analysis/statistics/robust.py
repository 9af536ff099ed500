r"""The interquartile mean: less at the mercy of outliers than the mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail

__all__ = ["iqm"]


def iqm(values: Any, axis: int = -1) -> FloatArray:
    r"""Mean of the middle half, a quarter of the values cut at each end.

    With :math:`x_{(1)} \le \dots \le x_{(n)}`, each order statistic weighs the part of its cell
    :math:`[(i-1)/n, i/n]` that lies in :math:`[1/4, 3/4]`, so that every n is exact and duplicating
    a sample changes nothing; where 4 divides n it is the 25 % trimmed mean.

    Args:
        values: Finite numbers, [..., n, ...], n >= 1.
        axis: The axis of the observations.

    Returns:
        The interquartile mean, without that axis.

    Raises:
        GACError: No values, or one is not finite.

    Examples:
        >>> float(iqm([0.0, 1.0, 2.0, 100.0]))
        1.5
        >>> round(float(iqm([1.0, 2.0, 6.0])), 12)  # (0.25 * 1 + 1 * 2 + 0.25 * 6) / 1.5
        2.5

    References:
        Agarwal et al., arXiv:2108.13264, section 4.3, who use SciPy's ``trim_mean``; that cuts
        whole observations only, and is the mean for n < 4.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        fail("values is empty; an interquartile mean needs at least 1 value")
    if not np.isfinite(x).all():
        bad = int(np.count_nonzero(~np.isfinite(x)))
        fail(f"values: {bad} of {x.size} values are not finite; leave them out by name")
    ordered = np.sort(np.moveaxis(x, axis, -1), axis=-1)
    n = ordered.shape[-1]
    edges = np.arange(n + 1) / n
    weights = np.diff(np.clip(edges, 0.25, 0.75)) * 2.0
    first, last = math.floor(n / 4), math.ceil(3 * n / 4)
    return np.asarray(ordered[..., first:last] @ weights[first:last])
