r"""Gradient clipping, and the bias and variance that it leaves.

Clipping turns noise into bias: the mean of the clipped gradient is not the gradient. For a sample
:math:`x = g + e` and its clipped y,

.. math::
    b = E[y] - g, \qquad \sigma^2 = E|y - E[y]|^2
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines._fields import choice, real
from gac_ref.errors import fail
from simulations.noise._truncated import LARGEST_NONCENTRALITY, clipped_norm, clipped_normal
from simulations.noise.base import Components, Noise

__all__ = ["ClippedMoments", "Clipping"]

ISOTROPY_RTOL = 1e-12
"""A covariance this close to a multiple of I is one: rotations leave a few roundings."""


class ClippedMoments(NamedTuple):
    """Moments of a clipped gradient.

    Args:
        bias: :math:`E[y] - g`, [d], gradient units.
        sigma2: :math:`E|y - E[y]|^2`, gradient^2.
        bias_error: Standard error of each coordinate of `bias`, [d]; 0 where exact.
        sigma2_error: Standard error of `sigma2`; 0 where exact.
        exact: Whether both follow from a closed form or a convergent series.
    """

    bias: FloatArray
    sigma2: float
    bias_error: FloatArray
    sigma2_error: float
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Clipping:
    r"""Clip a gradient by its norm, or each coordinate by its size.

    .. math::
        y = x \min(1, c / |x|) \quad\text{or}\quad y_i = \min(\max(x_i, -c), c)

    The moments are exact, up to rounding, for

    * mode "value": Gaussian and contaminated noise of any covariance (contaminated with one W a
      coordinate: where the factor is diagonal), any d;
    * mode "norm": Gaussian and elliptical contaminated noise of isotropic covariance, up to
      :math:`|g|^2 / v = 10^5` with v the variance of a coordinate; and d = 1;
    * noise whose variance is 0.

    Elsewhere they are estimated from `estimate_draws` draws of a fixed seed, with their standard
    errors. (Student-t noise with df <= 4 is fine: what is clipped is bounded.)

    Args:
        threshold: c, gradient units, > 0.
        mode: "norm" or "value".

    Raises:
        GACError: A field is invalid.

    Examples:
        >>> from simulations.noise import Isotropic
        >>> Clipping(threshold=1.0).apply([[3.0, 4.0], [0.3, 0.4]]).round(12).tolist()
        [[0.6, 0.8], [0.3, 0.4]]
        >>> moments = Clipping(threshold=1.0).moments(Isotropic(dimension=1), [1.0])
        >>> moments.bias.round(6).tolist(), moments.exact
        ([-0.390452], True)
    """

    threshold: float = 1.0
    mode: str = "norm"
    kind: str = field(default="clipping", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "threshold", above=0.0)
        choice(self, "mode", ("norm", "value"))

    def apply(self, gradient: ArrayLike) -> FloatArray:
        """The clipped gradients, [..., d]."""
        x = np.asarray(gradient, dtype=np.float64)
        if self.mode == "value":
            return np.clip(x, -self.threshold, self.threshold)
        norm = np.sqrt(np.sum(x * x, axis=-1, keepdims=True))
        return np.where(norm > self.threshold, x * (self.threshold / np.maximum(norm, 1e-300)), x)

    def moments(
        self,
        noise: Noise,
        gradient: ArrayLike,
        *,
        level: float = 1.0,
        draws: int = 1 << 16,
        seed: int = 0,
    ) -> ClippedMoments:
        """Bias and variance of one clipped sample ``gradient + sqrt(level) * noise``.

        Args:
            noise: The noise of the branch.
            gradient: Mean of the unclipped sample, [d].
            level: Factor on the variance of the noise, >= 0.
            draws: Draws of the estimate, where there is no closed form, >= 2.
            seed: Seed of the estimate.

        Raises:
            GACError: A shape, level or number of draws that is not as above.
        """
        g = np.asarray(gradient, dtype=np.float64)
        if g.shape != (noise.dimension,):
            fail(f"gradient has shape {g.shape}; pass [{noise.dimension}], as the noise has")
        if not (np.isfinite(level) and level >= 0.0):
            fail(f"level = {level!r} is not finite and >= 0; pass a factor on the variance")
        exact = self._exact(noise, g, level)
        return _estimate(self, noise, g, level, draws, seed) if exact is None else exact

    def _exact(self, noise: Noise, g: FloatArray, level: float) -> ClippedMoments | None:
        covariance = level * noise.covariance(g)
        variances = np.diagonal(covariance)
        components = noise.mixing_components
        if not variances.any():
            components = ((1.0, 1.0),)
        elif components is None or not (noise.shared or noise.diagonal):
            return None
        if self.mode == "value" or noise.dimension == 1 or not variances.any():
            # In one dimension both modes are the same map, and each W is the coordinate's own.
            if self.mode == "norm" and noise.dimension > 1:
                bias = self.apply(g) - g
                return _moments_of(bias, float(np.sum(bias**2)))
            return _mixture(components, [self._by_value(g, w * variances) for _, w in components])
        isotropic = np.allclose(
            covariance, variances[0] * np.eye(g.size), rtol=0.0, atol=ISOTROPY_RTOL * variances[0]
        )
        if not (isotropic and noise.shared) or variances[0] == 0.0:
            return None
        norm2 = float(np.sum(g * g))
        smallest = min(w for p, w in components if p > 0.0) * float(variances[0])
        if norm2 > LARGEST_NONCENTRALITY * smallest:
            return None
        parts = []
        for _, w in components:
            v = w * float(variances[0])
            loss, second = clipped_norm(norm2, v, g.size, self.threshold)
            # E|y - g|^2 = E|y|^2 - 2 <E y, g> + |g|^2
            parts.append((-loss * g, second - (1.0 - 2.0 * loss) * norm2))
        return _mixture(components, parts)

    def _by_value(self, g: FloatArray, variances: FloatArray) -> tuple[FloatArray, float]:
        bias, square = clipped_normal(g, variances, self.threshold)
        return bias, float(np.sum(square))


def _mixture(components: Components, parts: list[tuple[FloatArray, float]]) -> ClippedMoments:
    """Mix the biases and the second moments about g, then centre."""
    pairs = list(zip(components, parts, strict=True))
    bias = np.asarray(sum(p * bias for (p, _), (bias, _) in pairs))
    return _moments_of(bias, sum(p * square for (p, _), (_, square) in pairs))


def _moments_of(bias: FloatArray, square: float) -> ClippedMoments:
    sigma2 = max(square - float(np.sum(bias * bias)), 0.0)
    return ClippedMoments(bias, sigma2, np.zeros_like(bias), 0.0, True)


def _estimate(
    clipping: Clipping, noise: Noise, g: FloatArray, level: float, draws: int, seed: int
) -> ClippedMoments:
    """Sample mean and variance, with their standard errors."""
    if draws < 2:
        fail(f"draws = {draws!r} is below 2; a standard error needs more")
    e = noise.color(noise.draw(np.random.default_rng(seed), draws), g)
    shift = clipping.apply(g + np.sqrt(level) * e) - g
    bias = shift.mean(axis=0)
    square = np.sum((shift - bias) ** 2, axis=-1)
    return ClippedMoments(
        bias=bias,
        sigma2=float(square.sum() / (draws - 1)),
        bias_error=shift.std(axis=0, ddof=1) / np.sqrt(draws),
        sigma2_error=float(square.std(ddof=1) / np.sqrt(draws)),
        exact=False,
    )
