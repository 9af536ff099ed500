r"""The distribution function of the noncentral t, by quadrature."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gac_ref._checks import frozen
from gac_ref._typing import FloatArray
from gac_ref.errors import fail

__all__ = ["noncentral_t_cdf"]

NODES = 512
"""Of Gauss and Legendre's rule: errors below 1e-8 for |t| up to some hundreds."""

TAIL = 1e-18
"""Mass of the chi distribution that is left out at each end."""


def noncentral_t_cdf(t: float, df: int, noncentrality: float) -> float:
    r"""Chance that a noncentral t is at most t.

    .. math:: P(T \le t) = E\bigl[\Phi(t U - \delta)\bigr], \qquad U = \chi_\nu / \sqrt\nu

    SciPy's ``nctdtr`` (1.17) gives NaN for some arguments in the range that intervals are
    searched in, such as t = 1.6 with 7 degrees of freedom and :math:`\delta = -7.4`.

    Args:
        t: The argument.
        df: Degrees of freedom, :math:`\nu \ge 1`.
        noncentrality: :math:`\delta`.

    Returns:
        The probability.

    Raises:
        GACError: df < 1.

    Examples:
        >>> round(noncentral_t_cdf(0.0, 5, 1.0), 6)  # the chance that a normal is below -1
        0.158655
    """
    from scipy.special import ndtr

    if df < 1:
        fail(f"df = {df} is below 1; pass at least one degree of freedom")
    nodes, weights = _rule(df)
    return float(weights @ ndtr(t * nodes - noncentrality))


@lru_cache(maxsize=512)
def _rule(df: int) -> tuple[FloatArray, FloatArray]:
    """Nodes of U and their probabilities, which sum to 1."""
    from scipy.special import chdtri, gammaincinv, gammaln

    low = np.sqrt(2.0 * gammaincinv(df / 2.0, TAIL) / df)
    high = np.sqrt(chdtri(df, TAIL) / df)
    unit, weights = _legendre()
    u = low + (high - low) * (unit + 1.0) / 2.0
    log_density = (df - 1.0) * np.log(u) - df * u * u / 2.0
    log_density += df / 2.0 * np.log(df / 2.0) - gammaln(df / 2.0) + np.log(2.0)
    mass = weights * (high - low) / 2.0 * np.exp(log_density)
    return frozen(u), frozen(mass / mass.sum())


@lru_cache(maxsize=1)
def _legendre() -> tuple[FloatArray, FloatArray]:
    """Nodes and weights on [-1, 1]; they take longer than all the rest."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return frozen(nodes), frozen(weights)
