r"""What it costs to take the two branches' noise for independent.

With :math:`\mu^*` the closed form and :math:`\mu^*_\kappa` the minimiser that knows
:math:`\kappa = \rho\,\sigma_s\sigma_r`, the excess risk is exactly
:math:`A\,(\mu^* - \mu^*_\kappa)^2`, :math:`A = \Delta^2 + \sigma_s^2 + \sigma_r^2 - 2\kappa`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref import closed_form, correlated_closed_form, regret, risk
from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail
from simulations.noise import Correlated, Isotropic

__all__ = ["Price", "measured_price", "price"]


class Price(NamedTuple):
    """Excess risk of the closed form, [...], relative to the least risk.

    Args:
        free: Over the best weight on the line, A (mu* - mu*_kappa)^2 / R.
        bounded: Over the best weight in [0, 1].
    """

    free: FloatArray
    bounded: FloatArray


def price(noise_ratio: ArrayLike, rho: ArrayLike, gap: ArrayLike, alpha: ArrayLike) -> Price:
    """The price of the independence assumption, exactly.

    Args:
        noise_ratio: sigma_r2 / sigma_s2, > 0.
        rho: Correlation of the noise, in (-1, 1).
        gap: delta_g2 / (sigma_s2 + sigma_r2), >= 0.
        alpha: Weight of the SFT gradient in the target.

    Returns:
        The two excesses.

    Examples:
        >>> found = price(4.0, 0.5, 0.0, 0.5)
        >>> round(float(found.free), 12), round(float(found.bounded), 12)
        (0.12, 0.12)
    """
    s, r = 1.0, np.asarray(noise_ratio, dtype=np.float64)
    delta = np.asarray(gap) * (s + r)
    kappa = np.asarray(rho) * np.sqrt(r)
    mu = closed_form(s, r, delta, alpha)
    best = correlated_closed_form(s, r, delta, alpha, kappa=kappa, bounds=None)
    inside = np.clip(best, 0.0, 1.0)
    over = regret(mu, s, r, delta, alpha, kappa=kappa)
    spare = regret(inside, s, r, delta, alpha, kappa=kappa)
    return Price(
        free=over / risk(best, s, r, delta, alpha, kappa=kappa),
        bounded=(over - spare) / risk(inside, s, r, delta, alpha, kappa=kappa),
    )


def measured_price(
    noise_ratio: float,
    rho: float,
    gap: float,
    alpha: float,
    *,
    dimension: int,
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """Excess risk over the best weight on the line, measured on sampled gradients.

    Both weights see the same noise.

    Args:
        noise_ratio: sigma_r2 / sigma_s2.
        rho: Correlation.
        gap: delta_g2 / (sigma_s2 + sigma_r2).
        alpha: Weight of the SFT gradient in the target.
        dimension: Of the gradients.
        draws: Pairs of gradients.
        seed: Of the draws.

    Returns:
        The excess relative to the least exact risk, and its standard error.

    Raises:
        GACError: Too few draws for a standard error.

    Examples:
        >>> value, error = measured_price(4.0, 0.5, 0.0, 0.5, dimension=4, draws=4000, seed=0)
        >>> abs(value - 0.12) < 5.0 * error
        True
    """
    if draws < 8:
        fail(f"draws = {draws} is too few for a standard error; pass at least 8")
    s, r = 1.0, noise_ratio
    pair = Correlated(
        sft=Isotropic(dimension=dimension, sigma2=s),
        rl=Isotropic(dimension=dimension, sigma2=r),
        correlation=rho,
    )
    g_s, g_r = np.zeros(dimension), np.zeros(dimension)
    g_s[0] = np.sqrt(gap * (s + r))
    e_s, e_r = pair.noise(pair.draw(np.random.default_rng(seed), draws), g_s, g_r)
    delta, kappa = gap * (s + r), rho * np.sqrt(s * r)
    best = correlated_closed_form(s, r, delta, alpha, kappa=kappa, bounds=None)

    def squared(mu: FloatArray) -> FloatArray:
        mixed = mu * (g_s + e_s) + (1.0 - mu) * (g_r + e_r)
        away = mixed - (alpha * g_s + (1.0 - alpha) * g_r)
        return np.asarray(np.sum(away * away, axis=-1))

    excess = squared(closed_form(s, r, delta, alpha)) - squared(best)
    excess = excess / risk(best, s, r, delta, alpha, kappa=kappa)
    return float(excess.mean()), float(excess.std(ddof=1) / np.sqrt(draws))
