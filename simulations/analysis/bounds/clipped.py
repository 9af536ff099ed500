r"""Mixing clipped gradients: noise becomes bias, of which the closed form knows nothing.

Each branch's gradient is clipped before they are mixed. Its mean moves to :math:`g_k + b_k(c)` and
its variance falls to :math:`\sigma_k^2(c)`, both exactly known for isotropic Gaussian noise. A
controller that measures clipped gradients sees :math:`\sigma_k^2(c)` and
:math:`|\delta + b_s - b_r|^2`, and no bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gac_ref import bias_aware_minimiser, closed_form, risk_from_vectors
from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.noise import Clipping, Isotropic

__all__ = ["Clipped", "clipped", "measured_clipped"]


class Clipped(NamedTuple):
    """Exact quantities by threshold, [N] each.

    Args:
        bias_s: Norm of the SFT branch's bias.
        bias_r: Norm of the RL branch's bias.
        sigma_s2: Variance that clipping leaves, SFT.
        sigma_r2: Variance that clipping leaves, RL.
        mu_blind: Closed form of what the clipped gradients show.
        mu_best: Best weight in [0, 1], biases known.
        blind: Exact risk of `mu_blind`.
        best: Exact risk of `mu_best`.
        unclipped: Exact risk of the closed form without clipping, a number.
        target: Squared norm of the target, the risk of a gradient of 0, a number.
    """

    bias_s: FloatArray
    bias_r: FloatArray
    sigma_s2: FloatArray
    sigma_r2: FloatArray
    mu_blind: FloatArray
    mu_best: FloatArray
    blind: FloatArray
    best: FloatArray
    unclipped: FloatArray
    target: FloatArray


class Branches(NamedTuple):
    """Two gradients of unit length and their noise.

    Args:
        g_s: [d].
        g_r: [d].
        noise_s: Isotropic Gaussian.
        noise_r: Isotropic Gaussian.
    """

    g_s: FloatArray
    g_r: FloatArray
    noise_s: Isotropic
    noise_r: Isotropic


def clipped(
    thresholds: Sequence[float],
    *,
    dimension: int,
    angle: float,
    sigma_s2: float,
    sigma_r2: float,
    alpha: float,
) -> Clipped:
    """Exact risk of mixing gradients that are clipped by their norm.

    Args:
        thresholds: Values of c, in lengths of the true gradients.
        dimension: d >= 2.
        angle: Between the two true gradients, radians.
        sigma_s2: Noise of the SFT branch before clipping.
        sigma_r2: Noise of the RL branch before clipping.
        alpha: Weight of the SFT gradient in the target.

    Returns:
        The quantities.

    Raises:
        GACError: A threshold that is not positive, or fewer than two dimensions.

    Examples:
        >>> found = clipped([1000.0], dimension=4, angle=1.0, sigma_s2=1.0, sigma_r2=4.0, alpha=0.5)
        >>> float(found.blind[0] - found.unclipped) < 1e-12
        True
    """
    b = _branches(dimension, angle, sigma_s2, sigma_r2)
    delta = b.g_s - b.g_r
    rows = []
    for threshold in thresholds:
        clipping = Clipping(threshold=threshold)
        s, r = clipping.moments(b.noise_s, b.g_s), clipping.moments(b.noise_r, b.g_r)
        seen = delta + s.bias - r.bias
        mu = closed_form(s.sigma2, r.sigma2, float(seen @ seen), alpha)
        bias = {"bias_s": s.bias, "bias_r": r.bias}
        free = bias_aware_minimiser(delta, s.sigma2, r.sigma2, alpha, **bias)
        best = np.clip(free, 0.0, 1.0)
        risks = [risk_from_vectors(m, delta, s.sigma2, r.sigma2, alpha, **bias) for m in (mu, best)]
        norms = [np.linalg.norm(moments.bias) for moments in (s, r)]
        rows.append((*norms, s.sigma2, r.sigma2, mu, best, *risks))
    plain = closed_form(sigma_s2, sigma_r2, float(delta @ delta), alpha)
    target = alpha * b.g_s + (1.0 - alpha) * b.g_r
    columns = np.array(rows, dtype=np.float64).T
    return Clipped(
        **dict(zip(Clipped._fields[:8], columns, strict=True)),
        unclipped=risk_from_vectors(plain, delta, sigma_s2, sigma_r2, alpha),
        target=np.asarray(target @ target),
    )


def measured_clipped(
    thresholds: Sequence[float],
    *,
    dimension: int,
    angle: float,
    sigma_s2: float,
    sigma_r2: float,
    alpha: float,
    draws: int,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """The risk of `mu_blind`, measured on sampled and clipped gradients.

    Args:
        thresholds: As in :func:`clipped`, and so the next five.
        dimension: d.
        angle: Radians.
        sigma_s2: SFT noise.
        sigma_r2: RL noise.
        alpha: Target weight.
        draws: Pairs of gradients, shared by the thresholds.
        seed: Of the draws.

    Returns:
        Means and their standard errors, [N].

    Raises:
        GACError: Too few draws for a standard error.
    """
    if draws < 8:
        fail(f"draws = {draws} is too few for a standard error; pass at least 8")
    b = _branches(dimension, angle, sigma_s2, sigma_r2)
    exact = clipped(
        thresholds,
        dimension=dimension,
        angle=angle,
        sigma_s2=sigma_s2,
        sigma_r2=sigma_r2,
        alpha=alpha,
    )
    rng = np.random.default_rng(seed)
    x_s = b.g_s + b.noise_s.color(b.noise_s.draw(rng, draws), b.g_s)
    x_r = b.g_r + b.noise_r.color(b.noise_r.draw(rng, draws), b.g_r)
    target = alpha * b.g_s + (1.0 - alpha) * b.g_r
    means, errors = [], []
    for threshold, mu in zip(thresholds, exact.mu_blind, strict=True):
        clipping = Clipping(threshold=threshold)
        away = mu * clipping.apply(x_s) + (1.0 - mu) * clipping.apply(x_r) - target
        squared = np.sum(away * away, axis=-1)
        means.append(squared.mean())
        errors.append(squared.std(ddof=1) / np.sqrt(draws))
    return np.array(means), np.array(errors)


def _branches(dimension: int, angle: float, sigma_s2: float, sigma_r2: float) -> Branches:
    if dimension < 2:
        fail(f"dimension = {dimension} has no room for an angle; pass at least 2")
    g_s, g_r = np.zeros(dimension), np.zeros(dimension)
    g_s[0] = 1.0
    g_r[:2] = np.cos(angle), np.sin(angle)
    return Branches(
        g_s,
        g_r,
        Isotropic(dimension=dimension, sigma2=sigma_s2),
        Isotropic(dimension=dimension, sigma2=sigma_r2),
    )
