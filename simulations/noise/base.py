r"""The noise of one branch: zero mean, known moments, drawn without looking at the gradient.

Every noise here is :math:`e = L(g)\,u`, with a factor L [d, d] that may depend on the true
gradient g, and a latent vector :math:`u = \sqrt W \odot z`: standard normals z times the root of a
mixing variable W with mean 1 (W = 1: Gaussian). W is one number a vector (`shared`, an elliptical
law), or one a coordinate. Hence

.. math::
    \mathrm{Cov}(e) = L L^\top, \qquad E|e|^2 = |L|_F^2 \quad\text{whatever } W \text{ is,}

and heavier tails change the fourth moment only. With :math:`M = L^\top L`,

.. math::
    E|e|^4 = \begin{cases} E W^2\,(\mathrm{tr}(M)^2 + 2\,\mathrm{tr}(M^2)) & \text{shared} \\
    \mathrm{tr}(M)^2 + 2\,\mathrm{tr}(M^2) + 3 (E W^2 - 1) \sum_i M_{ii}^2 & \text{each}
    \end{cases}
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray

__all__ = ["Noise"]

Components = tuple[tuple[float, float], ...]
"""Pairs of (probability, value) of a mixing variable that takes finitely many values."""


class Noise(ABC):
    """Zero-mean noise in d dimensions with exact second moments.

    Examples:
        >>> from simulations.noise import Isotropic
        >>> noise = Isotropic(dimension=2, sigma2=2.0)
        >>> isinstance(noise, Noise), float(noise.sigma2_at([0.0, 0.0]))
        (True, 2.0)
    """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of coordinates d."""

    @abstractmethod
    def factor(self, gradient: ArrayLike) -> FloatArray:
        """L at the true gradient [..., d]: [..., d, d], or [d, d] where it does not depend on it.

        Unit: that of a gradient.
        """

    @abstractmethod
    def color(self, latent: FloatArray, gradient: ArrayLike) -> FloatArray:
        """The noise ``L(g) u`` [..., d] of a latent draw [..., d] at the gradient [..., d]."""

    @property
    def diagonal(self) -> bool:
        """Whether L is diagonal, so that the coordinates of the noise are those of the draw."""
        return False

    @property
    def shared(self) -> bool:
        """Whether all coordinates share one mixing variable."""
        return True

    @property
    def mixing_root_mean(self) -> float:
        r""":math:`E\sqrt W`, in (0, 1]; 1 for Gaussian noise."""
        return 1.0

    @property
    def mixing_square_mean(self) -> float:
        """:math:`E W^2`, >= 1; infinite where the noise has no fourth moment."""
        return 1.0

    @property
    def mixing_components(self) -> Components | None:
        """(probability, value) of each value of W, or None where W is continuous."""
        return ((1.0, 1.0),)

    def mix(self, rng: np.random.Generator, normal: FloatArray) -> FloatArray:
        """The latent vectors from standard normals [..., d]; draws what W needs from `rng`."""
        return normal

    def draw(self, rng: np.random.Generator, shape: int | tuple[int, ...]) -> FloatArray:
        """Latent vectors u, ``[*shape, d]``, dimensionless: zero mean, covariance I."""
        shape = (shape,) if isinstance(shape, int) else shape
        return self.mix(rng, rng.standard_normal((*shape, self.dimension)))

    def covariance(self, gradient: ArrayLike) -> FloatArray:
        """Exact covariance of the noise, [..., d, d], gradient^2."""
        factor = self.factor(gradient)
        return np.asarray(np.sum(factor[..., :, None, :] * factor[..., None, :, :], axis=-1))

    def sigma2_at(self, gradient: ArrayLike) -> FloatArray:
        """Exact :math:`E|e|^2`, [...], gradient^2: the trace of the covariance."""
        factor = self.factor(gradient)
        return np.asarray(np.sum(factor * factor, axis=(-2, -1)))

    def fourth_moment(self, gradient: ArrayLike) -> FloatArray:
        """Exact :math:`E|e|^4`, [...], gradient^4; infinite for Student-t with df <= 4."""
        factor = self.factor(gradient)
        inner = np.sum(factor[..., :, :, None] * factor[..., :, None, :], axis=-3)
        diagonal = np.diagonal(inner, axis1=-2, axis2=-1)
        gaussian = np.sum(diagonal, axis=-1) ** 2 + 2.0 * np.sum(inner**2, axis=(-2, -1))
        heavy = gaussian if self.shared else 3.0 * np.sum(diagonal**2, axis=-1)
        silent = heavy == 0.0  # 0 * inf is not what no noise has
        excess = (self.mixing_square_mean - 1.0) * np.where(silent, 1.0, heavy)
        return np.asarray(gaussian + np.where(silent, 0.0, excess))
