r"""What the plug-in weight costs: the closed form on estimates instead of the truth.

The estimates are of n Gaussian per-sample gradients a branch, isotropic in d dimensions. Then the
scatter is independent of the mean, and the three numbers that make the weight have known laws,

.. math::
    \hat\sigma_k^2 \sim \sigma_k^2\, \chi^2_\nu / \nu, \quad \nu = (n - 1) d, \qquad
    |\bar x_s - \bar x_r|^2 \sim \frac{N}{d}\,\chi'^2_d\!\left(\frac{d \Delta^2}{N}\right),
    \quad N = \sigma_s^2 + \sigma_r^2

so its regret :math:`A\,E(\hat\mu - \mu^*)^2`, on a batch that the estimates have not seen, is an
integral over three independent variables.

The disagreement contains the noise of both means. `removal` c takes off
:math:`c\,(\hat\sigma_s^2 + \hat\sigma_r^2)`: 0 is the plain squared distance, 1 the unbiased
estimate; what is negative is clipped at 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from gac_ref import gradient_oracle
from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from gac_ref.risk import closed_form, curvature, regret, risk

__all__ = ["PlugIn", "expected_plug_in", "simulated_regret"]

TAIL = 9.0
"""The norm of a standard normal vector is 1-Lipschitz in it: beyond 9 lies less than 1e-17."""


class PlugIn(NamedTuple):
    """Moments of the plug-in weight.

    Args:
        mean: E mu.
        variance: Var mu.
        regret: E R(mu) - R(mu*).
        relative: The regret over R(mu*).
        clipped: Chance that the disagreement was negative, and taken as 0.
        mass: What the quadrature gives for the number 1: its own error shows here.
    """

    mean: float
    variance: float
    regret: float
    relative: float
    clipped: float
    mass: float


def expected_plug_in(
    sigma_s2: float,
    sigma_r2: float,
    delta_g2: float,
    *,
    alpha: float,
    dimension: int,
    samples: int,
    removal: float,
    nodes: int | None = None,
) -> PlugIn:
    """Exact moments of the plug-in weight and its regret, by quadrature.

    Args:
        sigma_s2: Noise of the SFT batch mean, > 0.
        sigma_r2: Noise of the RL batch mean, > 0.
        delta_g2: True disagreement, >= 0.
        alpha: Target ratio, in [0, 1].
        dimension: d, >= 1.
        samples: n of each branch, >= 2.
        removal: c, in [0, 1].
        nodes: Gauss-Legendre nodes a variable (twice as many for the distance); chosen when None.

    Returns:
        The moments.

    Raises:
        GACError: A value is out of range.

    Examples:
        >>> found = expected_plug_in(1.0, 1.0, 0.0, alpha=0.5, dimension=8, samples=8, removal=1.0)
        >>> round(found.mean, 6), found.variance > 0.0
        (0.5, True)
    """
    _require(sigma_s2, sigma_r2, delta_g2, alpha, dimension, samples, removal)
    noise = sigma_s2 + sigma_r2
    nu = (samples - 1) * dimension
    nodes = nodes or (36 if nu < 8 else 24 if nu < 64 else 18)
    share, weight = _scatter_rule(nu, nodes)
    s, r = (sigma_s2 * share)[:, None, None], (sigma_r2 * share)[None, :, None]
    outer = (weight[:, None] * weight[None, :])[..., None]
    centre = delta_g2 * dimension / noise
    peak = np.sqrt(centre + dimension)
    low, high = max(peak - TAIL, 0.0), peak + TAIL
    edge = np.clip(np.sqrt(removal * (s + r) * dimension / noise), low, high)
    _, at_zero = _distance_rule(low, edge, centre, dimension, nodes)
    y, above = _distance_rule(edge, high, centre, dimension, 2 * nodes)
    d = np.maximum(y * y * noise / dimension - removal * (s + r), 0.0)
    mu = (alpha * d + r) / (d + s + r)
    flat = r / (s + r)  # the weight where the disagreement is clipped
    below = at_zero.sum(axis=-1, keepdims=True)
    mass = float((outer * (above.sum(axis=-1, keepdims=True) + below)).sum())
    best = float(closed_form(sigma_s2, sigma_r2, delta_g2, alpha))

    def expect(above_values: FloatArray, below_values: FloatArray) -> float:
        inner = (above * above_values).sum(axis=-1, keepdims=True) + below * below_values
        return float((outer * inner).sum())

    offset = expect(mu - best, flat - best)
    square = expect((mu - best) ** 2, (flat - best) ** 2)
    lost = float(curvature(sigma_s2, sigma_r2, delta_g2)) * square
    return PlugIn(
        mean=best + offset,
        variance=square - offset**2,
        regret=lost,
        relative=lost / float(risk(best, sigma_s2, sigma_r2, delta_g2, alpha)),
        clipped=float((outer * below).sum()) if removal > 0.0 else 0.0,
        mass=mass,
    )


def _scatter_rule(nu: int, nodes: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for chi2_nu / nu, in its logarithm, where the density is smooth."""
    low, high = np.log(stats.chi2.ppf(1e-12, nu)), np.log(stats.chi2.isf(1e-12, nu))
    x, w = np.polynomial.legendre.leggauss(nodes)
    at = 0.5 * (high + low) + 0.5 * (high - low) * x
    density = np.exp(stats.chi2.logpdf(np.exp(at), nu) + at)
    return np.asarray(np.exp(at) / nu), np.asarray(0.5 * (high - low) * w * density)


def _distance_rule(
    low: FloatArray | float, high: FloatArray | float, centre: float, dimension: int, nodes: int
) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for the norm of a normal vector of given mean, on [low, high]."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    half = 0.5 * (np.asarray(high) - np.asarray(low))
    y = np.asarray(low) + half * (1.0 + x)
    if centre > 0.0:
        density = stats.ncx2.pdf(y * y, dimension, centre)
    else:
        density = stats.chi2.pdf(y * y, dimension)
    return np.asarray(y), np.asarray(half * w * 2.0 * y * density)


def simulated_regret(
    sigma_s2: float,
    sigma_r2: float,
    delta_g2: float,
    *,
    alpha: float,
    dimension: int,
    samples: int,
    trials: int,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Regret of the plain and of the unbiased plug-in weight from drawn gradients, [trials] each.

    Every trial draws n per-sample gradients of both branches and takes both weights from them, by
    :func:`gac_ref.gradient_oracle`.

    Raises:
        GACError: A value is out of range, or fewer than 2 trials.

    Examples:
        >>> plain, unbiased = simulated_regret(1.0, 1.0, 0.0, alpha=0.5, dimension=2, samples=3,
        ...                                    trials=5, seed=0)
        >>> plain.shape, bool((unbiased >= 0.0).all())
        ((5,), True)
    """
    _require(sigma_s2, sigma_r2, delta_g2, alpha, dimension, samples, 1.0)
    if trials < 2:
        fail(f"trials = {trials!r} is below 2; an interval needs more")
    rng = np.random.default_rng(seed)
    shape = (trials, samples, dimension)
    x_s = np.sqrt(sigma_s2 * samples / dimension) * rng.standard_normal(shape)
    x_r = np.sqrt(sigma_r2 * samples / dimension) * rng.standard_normal(shape)
    x_s[..., 0] += np.sqrt(delta_g2)
    found = gradient_oracle(x_s, x_r)
    lost = []
    for d in (found.plain_delta_g2, np.maximum(found.delta_g2, 0.0)):
        mu = closed_form(found.sigma_s2, found.sigma_r2, d, alpha)
        lost.append(regret(mu, sigma_s2, sigma_r2, delta_g2, alpha))
    return lost[0], lost[1]


def _require(
    sigma_s2: float,
    sigma_r2: float,
    delta_g2: float,
    alpha: float,
    dimension: int,
    samples: int,
    removal: float,
) -> None:
    for name, value, good, wanted in (
        ("sigma_s2", sigma_s2, sigma_s2 > 0.0, "(0, inf)"),
        ("sigma_r2", sigma_r2, sigma_r2 > 0.0, "(0, inf)"),
        ("delta_g2", delta_g2, delta_g2 >= 0.0, "[0, inf)"),
        ("alpha", alpha, 0.0 <= alpha <= 1.0, "[0, 1]"),
        ("dimension", dimension, dimension >= 1, "[1, inf)"),
        ("samples", samples, samples >= 2, "[2, inf)"),
        ("removal", removal, 0.0 <= removal <= 1.0, "[0, 1]"),
    ):
        if not (good and np.isfinite(value)):
            fail(f"{name} = {value!r} is outside {wanted}; pass a value in that range")
