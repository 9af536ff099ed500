r"""What the norms leave open: the directions of the two biases and of the disagreement.

With :math:`x = |\mu - \alpha|\Delta`, :math:`y = \mu\beta_s`, :math:`z = (1 - \mu)\beta_r` the
squared drift of the mixed gradient is between 0 and :math:`(x + y + z)^2`, the triangle bound's.
For independent uniform directions in d dimensions the inner products have mean 0 and variance 1/d,
and are uncorrelated, so that

.. math::
    E R = x^2 + y^2 + z^2 + \text{noise}, \qquad
    \mathrm{sd}\, R = 2 \sqrt{(x^2 y^2 + x^2 z^2 + y^2 z^2) / d}

The mean does not depend on d, and is the effective-noise surrogate: its minimiser is the best rule
that knows norms alone, on average over directions. The triangle bound is the largest risk over
directions: its minimiser is the best in the worst case.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref import risk, risk_from_vectors
from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.bounds import effective_noise
from gac_ref.errors import fail

__all__ = [
    "GEOMETRIES",
    "Norms",
    "RandomRisk",
    "placed",
    "random_risk",
    "sampled_risk",
    "surrogate",
]

_ALONG = (1.0, 0.0, 0.0)
_AGAINST = (-1.0, 0.0, 0.0)

GEOMETRIES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "orthogonal": ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "both along": (_ALONG, _ALONG),
    "both against": (_AGAINST, _AGAINST),
    "apart": (_ALONG, _AGAINST),
    "together": (_AGAINST, _ALONG),
}
"""Unit vectors of the SFT and the RL bias, with the disagreement along the first axis.

"apart": the biases add to the disagreement of the branches; "together": they take from it."""


class Norms(NamedTuple):
    """What a bound may know, broadcast against each other.

    Args:
        sigma_s2: Noise of the SFT branch.
        sigma_r2: Noise of the RL branch.
        delta_g2: Squared disagreement.
        alpha: Weight of the SFT gradient in the target.
        beta_s: Norm of the SFT bias.
        beta_r: Norm of the RL bias.
    """

    sigma_s2: ArrayLike
    sigma_r2: ArrayLike
    delta_g2: ArrayLike
    alpha: ArrayLike
    beta_s: ArrayLike
    beta_r: ArrayLike


class RandomRisk(NamedTuple):
    """Exact risk of a weight over random directions.

    Args:
        mean: Mean over directions; the same in every dimension.
        spread: Standard deviation over directions.
    """

    mean: FloatArray
    spread: FloatArray


def surrogate(mu: ArrayLike, norms: Norms) -> FloatArray:
    """Risk with biases counted as noise: the mean over random directions.

    Args:
        mu: Weight on SFT.
        norms: The norms.

    Returns:
        The risk, of the broadcast shape.

    Examples:
        >>> float(surrogate(1.0, Norms(1.0, 1.0, 4.0, 0.5, 2.0, 0.0)))
        6.0
    """
    return risk(
        mu,
        effective_noise(norms.sigma_s2, norms.beta_s),
        effective_noise(norms.sigma_r2, norms.beta_r),
        norms.delta_g2,
        norms.alpha,
    )


def random_risk(mu: ArrayLike, norms: Norms, dimension: ArrayLike) -> RandomRisk:
    """Mean and standard deviation of the exact risk over independent uniform directions.

    Args:
        mu: Weight on SFT, [...].
        norms: The norms, [...].
        dimension: d >= 1; in one dimension a direction is a sign.

    Returns:
        The moments, [...].

    Examples:
        >>> found = random_risk(1.0, Norms(0.0, 0.0, 4.0, 0.5, 2.0, 0.0), 16)
        >>> float(found.mean), float(found.spread)
        (5.0, 1.0)
    """
    m = np.asarray(mu, dtype=np.float64)
    x2 = (m - np.asarray(norms.alpha)) ** 2 * np.asarray(norms.delta_g2)
    y2 = (m * np.asarray(norms.beta_s)) ** 2
    z2 = ((1.0 - m) * np.asarray(norms.beta_r)) ** 2
    products = (x2 * y2 + x2 * z2 + y2 * z2) / np.asarray(dimension, dtype=np.float64)
    return RandomRisk(surrogate(mu, norms), 2.0 * np.sqrt(products))


def sampled_risk(
    mu: float, norms: Norms, dimension: int, *, draws: int, rng: np.random.Generator
) -> FloatArray:
    """Exact risks for drawn directions.

    Args:
        mu: Weight on SFT.
        norms: Numbers.
        dimension: d >= 1.
        draws: How many.
        rng: Generator of the directions.

    Returns:
        The risks, [draws].

    Examples:
        >>> sampled_risk(0.5, Norms(1.0, 1.0, 1.0, 0.5, 0.0, 0.0), 3, draws=2,
        ...              rng=np.random.default_rng(0)).tolist()
        [0.5, 0.5]
    """
    vectors = rng.standard_normal((3, draws, dimension))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return risk_from_vectors(
        mu,
        np.sqrt(np.asarray(norms.delta_g2)) * vectors[0],
        norms.sigma_s2,
        norms.sigma_r2,
        norms.alpha,
        bias_s=np.asarray(norms.beta_s) * vectors[1],
        bias_r=np.asarray(norms.beta_r) * vectors[2],
    )


def placed(norms: Norms, geometry: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The three vectors of a named geometry.

    Args:
        norms: The norms, [...].
        geometry: A name of `GEOMETRIES`.

    Returns:
        delta, bias_s and bias_r, each [..., 3].

    Raises:
        GACError: No such geometry.

    Examples:
        >>> placed(Norms(1.0, 1.0, 4.0, 0.5, 1.0, 3.0), "apart")[2].tolist()
        [-3.0, 0.0, 0.0]
    """
    if geometry not in GEOMETRIES:
        fail(f"geometry {geometry!r} is unknown; pass one of {', '.join(GEOMETRIES)}")
    units = ((1.0, 0.0, 0.0), *GEOMETRIES[geometry])
    delta, bias_s, bias_r = (
        np.asarray(length, dtype=np.float64)[..., None] * np.array(unit)
        for length, unit in zip(
            (np.sqrt(np.asarray(norms.delta_g2)), norms.beta_s, norms.beta_r), units, strict=True
        )
    )
    # Negated axes leave negative zeros, which print.
    return delta + 0.0, bias_s + 0.0, bias_r + 0.0
