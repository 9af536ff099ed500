"""What the minimisers of the bounds cost in exact risk, beside plain rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gac_ref import bias_aware_minimiser, closed_form, risk_from_vectors, shrinkage
from gac_ref._typing import ArrayLike, FloatArray, IntArray
from gac_ref.bounds import (
    effective_noise_minimiser,
    triangle_bound,
    triangle_minimiser,
    young_minimiser,
)
from gac_ref.errors import fail
from simulations.analysis.bounds.geometry import GEOMETRIES, Norms, placed, surrogate

__all__ = [
    "BOUND_RULES",
    "PLAIN_RULES",
    "ROUNDING",
    "RULES",
    "Costs",
    "Maps",
    "costs",
    "maps",
    "weights",
]

BOUND_RULES = ("triangle", "Young, eta = 1", "effective noise")
PLAIN_RULES = ("closed form", "inverse variance", "alpha", "one half")
RULES = BOUND_RULES + PLAIN_RULES
"""The closed form is the method's, which knows no bias."""

FEWEST_SETTINGS = 30
"""Below, the mean of so skewed a quantity has no normal interval."""

ROUNDING = 1e-12
"""Relative excess below which two weights are the same."""


class Costs(NamedTuple):
    """Excess of the exact risk over the best weight in [0, 1], relative to it.

    Args:
        mean: By geometry and rule, [G, K].
        error: Its standard error over the settings, [G, K].
        p95: Its 95 % quantile over the settings, [G, K].
        worse: In how many settings a minimiser of a bound does worse than a plain rule, counts
            [G, 3, 4].
        total: Number of settings.
    """

    mean: FloatArray
    error: FloatArray
    p95: FloatArray
    worse: IntArray
    total: IntArray


class Maps(NamedTuple):
    """Relative excess of every rule by two criteria, [K, I, J] each, exactly.

    Args:
        average: Of the risk averaged over random directions.
        worst: Of the largest risk over directions.
    """

    average: FloatArray
    worst: FloatArray


def weights(norms: Norms) -> dict[str, FloatArray]:
    """The weight that each rule takes from the norms.

    Args:
        norms: The norms, [...].

    Returns:
        Rule -> weight in [0, 1], [...].

    Examples:
        >>> found = weights(Norms(1.0, 3.0, 0.0, 0.5, 0.0, 0.0))
        >>> {name: float(mu) for name, mu in found.items()}["triangle"]
        0.75
    """
    s, r, d, a = norms[:4]
    bias = {"beta_s": norms.beta_s, "beta_r": norms.beta_r}
    found = {
        "triangle": triangle_minimiser(s, r, d, a, **bias),
        "Young, eta = 1": young_minimiser(s, r, d, a, eta=1.0, **bias),
        "effective noise": effective_noise_minimiser(s, r, d, a, **bias),
        "closed form": closed_form(s, r, d, a),
        "inverse variance": shrinkage(s, r, d).mu_iv,
        "alpha": np.asarray(a, dtype=np.float64),
        "one half": np.asarray(0.5),
    }
    shape = np.broadcast_shapes(*(np.shape(mu) for mu in found.values()))
    return {name: np.broadcast_to(mu, shape) for name, mu in found.items()}


def costs(settings: int, seed: int) -> Costs:
    """Every rule in every geometry, over settings drawn log-uniformly.

    Noise ratio in [0.1, 10] with sigma_s2 + sigma_r2 = 1; delta_g2 in [0.01, 100]; both squared
    biases in [0.01, 10]; alpha uniform in [0.1, 0.95], the method's range.

    Args:
        settings: How many are drawn.
        seed: Of the draw.

    Returns:
        The costs.

    Raises:
        GACError: Too few settings for an interval.

    Examples:
        >>> found = costs(200, 0)
        >>> bool(found.mean[0, 2] <= found.mean[0].min())
        True
    """
    if settings < FEWEST_SETTINGS:
        fail(f"settings = {settings} is too few for intervals; pass at least {FEWEST_SETTINGS}")
    u = np.random.default_rng(seed).random((5, settings))
    ratio = 10.0 ** (2.0 * u[0] - 1.0)
    norms = Norms(
        sigma_s2=1.0 / (1.0 + ratio),
        sigma_r2=ratio / (1.0 + ratio),
        delta_g2=10.0 ** (4.0 * u[1] - 2.0),
        alpha=0.1 + 0.85 * u[2],
        beta_s=10.0 ** (1.5 * u[3] - 1.0),
        beta_r=10.0 ** (1.5 * u[4] - 1.0),
    )
    mus = weights(norms)
    means, errors, tails, worse = [], [], [], []
    for geometry in GEOMETRIES:
        excess = np.stack([excess_risk(mus[name], norms, geometry) for name in RULES])
        means.append(excess.mean(axis=-1))
        errors.append(excess.std(axis=-1, ddof=1) / np.sqrt(settings))
        tails.append(np.quantile(excess, 0.95, axis=-1))
        bound, plain = excess[: len(BOUND_RULES)], excess[len(BOUND_RULES) :]
        worse.append((bound[:, None] > plain[None] + ROUNDING).sum(axis=-1))
    return Costs(
        mean=np.stack(means),
        error=np.stack(errors),
        p95=np.stack(tails),
        worse=np.stack(worse),
        total=np.asarray(settings),
    )


def excess_risk(mu: ArrayLike, norms: Norms, geometry: str) -> FloatArray:
    """Relative excess of the exact risk over the best weight in [0, 1].

    Args:
        mu: Weights, [...].
        norms: The norms, [...].
        geometry: A name of `GEOMETRIES`.

    Returns:
        R(mu) / min R - 1, [...], >= 0.

    Examples:
        >>> norms = Norms(1.0, 1.0, 0.0, 0.5, 1.0, 0.0)
        >>> round(float(excess_risk(0.5, norms, "orthogonal")), 6)
        0.125
    """
    delta, bias_s, bias_r = placed(norms, geometry)
    noise = (norms.sigma_s2, norms.sigma_r2, norms.alpha)
    bias = {"bias_s": bias_s, "bias_r": bias_r}
    best = np.clip(bias_aware_minimiser(delta, *noise, **bias), 0.0, 1.0)
    least = risk_from_vectors(best, delta, *noise, **bias)
    excess = risk_from_vectors(mu, delta, *noise, **bias) / least - 1.0
    return np.where(excess > ROUNDING, excess, 0.0)


def maps(
    biases: Sequence[float], disagreements: Sequence[float], alpha: float, noise_ratio: float
) -> Maps:
    """Every rule by both criteria; unit SFT noise, and a biased SFT branch.

    Args:
        biases: Values of beta_s, [J].
        disagreements: Values of delta_g2, [I].
        alpha: Weight of the SFT gradient in the target.
        noise_ratio: sigma_r2, with sigma_s2 = 1.

    Returns:
        The maps.

    Examples:
        >>> found = maps([0.1, 1.0], [1.0], 0.5, 1.0)
        >>> found.worst[0].round(12).tolist()
        [[0.0, 0.0]]
    """
    beta, gap = np.asarray(biases)[None, :], np.asarray(disagreements)[:, None]
    norms = Norms(1.0, noise_ratio, gap, alpha, beta, 0.0)
    mus = weights(norms)

    def worst(mu: FloatArray) -> FloatArray:
        return triangle_bound(mu, 1.0, noise_ratio, gap, alpha, beta_s=beta)

    least_average = surrogate(mus["effective noise"], norms)
    least_worst = worst(mus["triangle"])
    return Maps(
        average=np.stack([surrogate(mus[name], norms) / least_average - 1.0 for name in RULES]),
        worst=np.stack([worst(mus[name]) / least_worst - 1.0 for name in RULES]),
    )
