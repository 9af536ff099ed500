r"""False-discovery control: many comparisons, few of the findings wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.statistics._samples import sample

__all__ = ["benjamini_hochberg", "benjamini_yekutieli"]


def benjamini_hochberg(p: Any) -> FloatArray:
    r"""p-values adjusted so that calling those <= q findings keeps the false discovery rate <= q.

    .. math:: \tilde p_{(i)} = \min\bigl(1, \min_{j \ge i} \tfrac{m}{j} p_{(j)}\bigr)

    Valid for independent tests, and for positively dependent ones (PRDS).

    Args:
        p: All p-values of the family, [m], also the large ones.

    Returns:
        Adjusted p-values, [m], in the order given.

    Raises:
        GACError: Empty, NaN, or outside [0, 1].

    Examples:
        >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(4).tolist()
        [0.03, 0.04, 0.04]

    References:
        Benjamini and Hochberg, J. R. Statist. Soc. B 57(1), 1995;
        :func:`scipy.stats.false_discovery_control`.
    """
    return _adjusted(p, "bh")


def benjamini_yekutieli(p: Any) -> FloatArray:
    r"""As `benjamini_hochberg`, valid under any dependence: dearer by :math:`\sum_{i \le m} 1/i`.

    Args:
        p: All p-values of the family, [m].

    Returns:
        Adjusted p-values, [m].

    Raises:
        GACError: Empty, NaN, or outside [0, 1].

    Examples:
        >>> benjamini_yekutieli([0.01, 0.04, 0.03]).round(4).tolist()
        [0.055, 0.0733, 0.0733]

    References:
        Benjamini and Yekutieli, Annals of Statistics 29(4), 2001, theorem 1.3.
    """
    return _adjusted(p, "by")


def _adjusted(p: Any, method: str) -> FloatArray:
    from scipy.stats import false_discovery_control

    values = sample(p, "p", least=1, what_for="false-discovery control")
    outside = values[(values < 0.0) | (values > 1.0)]
    if outside.size:
        fail(f"p = {float(outside[0])!r} is outside [0, 1]; pass p-values")
    return np.asarray(false_discovery_control(values, method=method))
