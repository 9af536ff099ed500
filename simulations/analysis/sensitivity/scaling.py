r"""Proxies that are off by a factor, or noisy: the closed form on wrong numbers.

The three proxies have different units (nats^2, advantage^2, coefficient^2), and nothing calibrates
them to one another, so factors of ten between them are the rule.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail
from gac_ref.risk import closed_form, curvature, regret, risk, sensitivities

__all__ = ["PROXIES", "Scaled", "misscaled", "noisy_regret"]

PROXIES = ("sigma_s2", "sigma_r2", "delta_g2")


class Scaled(NamedTuple):
    """The closed form where one proxy is multiplied by a factor.

    Args:
        mu: The weight, [3, F].
        relative: Its regret over the smallest risk, [3, F].
    """

    mu: FloatArray
    relative: FloatArray


def misscaled(
    sigma_s2: float, sigma_r2: float, delta_g2: float, alpha: float, factors: ArrayLike
) -> Scaled:
    """The weight and its exact relative regret for each proxy times each factor.

    Args:
        sigma_s2: True SFT noise.
        sigma_r2: True RL noise.
        delta_g2: True disagreement.
        alpha: Target ratio.
        factors: [F], > 0.

    Raises:
        GACError: A factor that is not positive and finite.

    Examples:
        >>> misscaled(1.0, 1.0, 0.0, 0.5, [1.0, 3.0]).mu.round(2).tolist()
        [[0.5, 0.25], [0.5, 0.75], [0.5, 0.5]]
    """
    factor = np.asarray(factors, dtype=np.float64)
    if not ((factor > 0.0) & np.isfinite(factor)).all():
        fail(f"factors {factor.tolist()} are not all positive and finite; pass such factors")
    true = np.array([sigma_s2, sigma_r2, delta_g2], dtype=np.float64)
    seen = np.repeat(true[:, None, None], 3, axis=1) * np.ones(factor.size)
    for k in range(3):
        seen[k, k] *= factor
    mu = closed_form(seen[0], seen[1], seen[2], alpha)
    s, r, d = true
    best = risk(closed_form(s, r, d, alpha), s, r, d, alpha)
    return Scaled(mu, regret(mu, s, r, d, alpha) / best)


def noisy_regret(
    sigma_s2: float,
    sigma_r2: float,
    delta_g2: float,
    alpha: float,
    *,
    spread: tuple[float, float, float],
    nodes: int = 24,
) -> tuple[float, float]:
    r"""Relative regret where each proxy carries an independent relative error of mean 1.

    The errors are lognormal, :math:`e^{\tau z - \tau^2/2}` with the coefficient of variation
    :math:`\sqrt{e^{\tau^2} - 1}`. Exact by Gauss-Hermite quadrature, and to first order,
    :math:`A \sum_k (\partial\mu^*/\partial x_k)^2 x_k^2 v_k^2`.

    Args:
        sigma_s2: True SFT noise, > 0.
        sigma_r2: True RL noise, > 0.
        delta_g2: True disagreement, > 0.
        alpha: Target ratio.
        spread: Coefficients of variation v of the three, >= 0.
        nodes: Quadrature nodes a variable.

    Returns:
        The exact and the first-order relative regret.

    Raises:
        GACError: A negative spread.

    Examples:
        >>> exact, linear = noisy_regret(1.0, 2.0, 3.0, 0.5, spread=(0.01, 0.0, 0.0))
        >>> bool(abs(exact / linear - 1.0) < 0.01)
        True
    """
    if min(spread) < 0.0:
        fail(f"spread = {spread!r} holds a negative value; pass coefficients of variation >= 0")
    true = (sigma_s2, sigma_r2, delta_g2)
    best = closed_form(*true, alpha)
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    tau = [np.sqrt(np.log1p(v * v)) for v in spread]
    errors = np.meshgrid(*(np.exp(t * z - 0.5 * t * t) for t in tau), indexing="ij")
    weight = w[:, None, None] * w[None, :, None] * w[None, None, :]
    s, r, d = (x * e for x, e in zip(true, errors, strict=True))
    mu = closed_form(s, r, d, alpha)
    smallest = float(risk(best, *true, alpha))
    exact = float((weight * regret(mu, *true, alpha)).sum())
    slopes = sensitivities(*true, alpha)
    linear = sum(
        (float(getattr(slopes, name)) * x * v) ** 2
        for name, x, v in zip(PROXIES, true, spread, strict=True)
    )
    return exact / smallest, float(curvature(*true)) * linear / smallest
