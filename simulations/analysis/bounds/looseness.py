"""How far the bounds are above the exact risk, as bias, correlation and dimension vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gac_ref import risk
from gac_ref._typing import FloatArray
from gac_ref.bounds import effective_noise, triangle_bound, young_bound
from gac_ref.errors import fail
from simulations.analysis.bounds.geometry import Norms, random_risk, sampled_risk

__all__ = ["ByBias", "ByDimension", "by_bias", "by_dimension"]

FEWEST_DRAWS = 100
"""Below, the 5 % and 95 % quantiles are not told from the ends."""


class ByDimension(NamedTuple):
    """Bound over exact risk, by dimension of the gradients; K bounds.

    Args:
        quantiles: 5, 50 and 95 % over directions, [K, 3, D].
        mean: Mean of the sampled risks, [D].
        error: Its standard error, [D].
        spread: Standard deviation of the sampled risks, [D].
        exact_mean: Exact mean, [D].
        exact_spread: Exact standard deviation, [D].
    """

    quantiles: FloatArray
    mean: FloatArray
    error: FloatArray
    spread: FloatArray
    exact_mean: FloatArray
    exact_spread: FloatArray


class ByBias(NamedTuple):
    """Bound over the mean risk of random directions, by size of the biases, exactly.

    Args:
        triangle: By correlation that the bound allows and the noise has not, [P, N].
        tight: By the same correlation, where the noise has it, [P, N].
        young: Young's family at eta = 1, no correlation, [N].
        young_best: At the eta that is best for each bias, [N]: the triangle bound again.
    """

    triangle: FloatArray
    tight: FloatArray
    young: FloatArray
    young_best: FloatArray


def by_dimension(
    norms: Sequence[float], mu: float, dimensions: Sequence[int], *, draws: int, seed: int
) -> ByDimension:
    """Looseness over random directions: triangle bound, Young at eta = 1, surrogate.

    Args:
        norms: sigma_s2, sigma_r2, delta_g2, alpha, beta_s, beta_r.
        mu: Weight on SFT.
        dimensions: Of the gradients.
        draws: Directions drawn for each.
        seed: Of the draws.

    Returns:
        Quantiles of the ratios, and the moments of the exact risk.

    Raises:
        GACError: Too few draws for the quantiles.

    Examples:
        >>> found = by_dimension([1.0, 1.0, 4.0, 0.3, 1.0, 2.0], 0.7, [4], draws=200, seed=0)
        >>> found.quantiles.shape
        (3, 3, 1)
    """
    if draws < FEWEST_DRAWS:
        fail(f"draws = {draws} is too few for 5 % quantiles; pass at least {FEWEST_DRAWS}")
    given = Norms(*norms)
    s, r, d, a, bs, br = norms
    bounds = (
        triangle_bound(mu, s, r, d, a, beta_s=bs, beta_r=br),
        young_bound(mu, s, r, d, a, eta=1.0, beta_s=bs, beta_r=br),
        random_risk(mu, given, 1).mean,
    )
    quantiles = np.empty((len(bounds), 3, len(dimensions)))
    moments = np.empty((3, len(dimensions)))
    for place, dimension in enumerate(dimensions):
        rng = np.random.default_rng([seed, dimension])
        risks = sampled_risk(mu, given, dimension, draws=draws, rng=rng)
        for index, bound in enumerate(bounds):
            quantiles[index, :, place] = np.quantile(bound / risks, (0.05, 0.5, 0.95))
        moments[:, place] = risks.mean(), risks.std(ddof=1) / np.sqrt(draws), risks.std(ddof=1)
    exact = random_risk(mu, given, np.asarray(dimensions))
    exact_mean = np.broadcast_to(exact.mean, exact.spread.shape)
    mean, error, spread = moments
    return ByDimension(quantiles, mean, error, spread, exact_mean, exact.spread)


def by_bias(
    norms: Sequence[float], mu: float, sizes: Sequence[float], correlations: Sequence[float]
) -> ByBias:
    """Looseness against the mean over directions, as both biases grow together.

    Args:
        norms: sigma_s2, sigma_r2, delta_g2, alpha, and the biases at size 1.
        mu: Weight on SFT.
        sizes: Factors on both biases.
        correlations: Values of rho that the bound allows, in [0, 1].

    Returns:
        The ratios.

    Examples:
        >>> found = by_bias([1.0, 1.0, 4.0, 0.3, 1.0, 2.0], 0.7, [0.0, 1.0], [0.0, 0.5])
        >>> found.triangle[:, 0].round(3).tolist(), found.tight[:, 0].round(12).tolist()
        ([1.0, 1.172], [1.0, 1.0])
    """
    s, r, d, a, bs, br = norms
    size = np.asarray(sizes, dtype=np.float64)
    rho = np.asarray(correlations, dtype=np.float64)[:, None]
    bias = {"beta_s": bs * size, "beta_r": br * size}
    bound = triangle_bound(mu, s, r, d, a, rho=rho, **bias)
    noise_s, noise_r = effective_noise(s, bias["beta_s"]), effective_noise(r, bias["beta_r"])
    kappa = rho * np.sqrt(s * r)
    plain = risk(mu, noise_s, noise_r, d, a)
    x, y = abs(mu - a) * np.sqrt(d), mu * bias["beta_s"] + (1.0 - mu) * bias["beta_r"]
    best = np.where(y > 0.0, y, 1e-300) / x if x > 0.0 else np.full(size.shape, 1e300)
    return ByBias(
        triangle=bound / plain,
        tight=bound / risk(mu, noise_s, noise_r, d, a, kappa=kappa),
        young=young_bound(mu, s, r, d, a, eta=1.0, **bias) / plain,
        young_best=young_bound(mu, s, r, d, a, eta=best, **bias) / plain,
    )
