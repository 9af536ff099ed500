r"""Gaussian noise: isotropic, with a spectrum, of low rank, or of any covariance.

All four take the symmetric root of their covariance as factor, so that coordinate i of the draw
is about coordinate i of the noise whatever the rotation. That fixes what correlating two
branches' draws means: see :class:`simulations.noise.Correlated`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines._fields import real, whole
from gac_ref.errors import fail
from simulations.noise._linalg import (
    Rows,
    matrix_field,
    rotation,
    spectral_root,
    symmetric_root,
    transform,
)
from simulations.noise.base import Noise

__all__ = ["Anisotropic", "Dense", "Isotropic", "LowRank"]


class _Gaussian(Noise):
    """A covariance that does not depend on the gradient."""

    @abstractmethod
    def root(self) -> FloatArray:
        """L [d, d], or its diagonal [d]."""

    @property
    def diagonal(self) -> bool:
        """Whether L is diagonal."""
        return self.root().ndim == 1

    def factor(self, gradient: ArrayLike) -> FloatArray:
        """L, [d, d], whatever the gradient."""
        root = self.root()
        return np.diag(root) if root.ndim == 1 else root

    def color(self, latent: FloatArray, gradient: ArrayLike) -> FloatArray:
        """The noise of a latent draw, [..., d]."""
        root = self.root()
        return latent * root if root.ndim == 1 else transform(root, latent)


@dataclass(frozen=True, kw_only=True)
class Isotropic(_Gaussian):
    r"""The same variance in every direction.

    .. math:: \mathrm{Cov}(e) = \frac{\sigma^2}{d}\, I, \qquad E|e|^2 = \sigma^2

    Args:
        dimension: d, >= 1.
        sigma2: Total variance, gradient^2, >= 0.

    Raises:
        GACError: A field is out of its range.

    Examples:
        >>> Isotropic(dimension=2, sigma2=4.0).covariance([0.0, 0.0]).round(12).tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """

    dimension: int = 8
    sigma2: float = 1.0
    kind: str = field(default="isotropic", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "dimension", low=1)
        real(self, "sigma2", low=0.0)

    def root(self) -> FloatArray:
        """The diagonal of L, [d]."""
        return np.full(self.dimension, np.sqrt(self.sigma2 / self.dimension))


@dataclass(frozen=True, kw_only=True)
class Anisotropic(_Gaussian):
    r"""One variance for each of d orthogonal directions.

    .. math:: \mathrm{Cov}(e) = Q\, \mathrm{diag}(v)\, Q^\top, \qquad E|e|^2 = \sum_i v_i

    Args:
        variances: v, one for each direction, gradient^2, >= 0.
        rotation: Seed of a uniformly drawn rotation Q, or None for the coordinate axes.

    Raises:
        GACError: No variance, or one that is negative or not finite; an invalid seed.

    Examples:
        >>> Anisotropic(variances=(1.0, 3.0)).covariance([0.0, 0.0]).round(12).tolist()
        [[1.0, 0.0], [0.0, 3.0]]
        >>> Anisotropic.spectrum(dimension=3, sigma2=7.0, condition=4.0).variances
        (1.0, 2.0, 4.0)
    """

    variances: tuple[float, ...]
    rotation: int | None = None
    kind: str = field(default="anisotropic", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        values = _floats(self, "variances", self.variances)
        for i, value in enumerate(values):
            if value < 0.0:
                fail(f"Anisotropic: variances[{i}] = {value!r} is negative; pass a value >= 0")
        object.__setattr__(self, "variances", values)
        if self.rotation is not None:
            whole(self, "rotation")

    @classmethod
    def spectrum(
        cls, *, dimension: int, sigma2: float, condition: float, rotation: int | None = None
    ) -> Self:
        """Variances in geometric progression, `condition` between the ends, `sigma2` in all.

        Raises:
            GACError: A condition number below 1, or a field out of its range.
        """
        Isotropic(dimension=dimension, sigma2=sigma2)
        if not (np.isfinite(condition) and condition >= 1.0):
            fail(f"Anisotropic: condition = {condition!r} is not finite and >= 1; pass such a one")
        steps = np.linspace(0.0, 1.0, dimension)
        shape = condition**steps
        values = sigma2 * shape / shape.sum()
        return cls(variances=tuple(float(v) for v in values), rotation=rotation)

    @property
    def dimension(self) -> int:
        """d, the number of variances."""
        return len(self.variances)

    def root(self) -> FloatArray:
        """L [d, d], or its diagonal [d] where it is not rotated."""
        return _anisotropic_root(self.variances, self.rotation)


@dataclass(frozen=True, kw_only=True)
class LowRank(_Gaussian):
    r"""Noise that lives mostly in a few directions, with an isotropic floor.

    .. math::
        \mathrm{Cov}(e) = \sigma^2 \Bigl(\frac{1 - f}{k}\, U U^\top + \frac{f}{d}\, I\Bigr), \qquad
        U \in \mathbb R^{d \times k} \text{ orthonormal},\quad E|e|^2 = \sigma^2

    Args:
        dimension: d, >= 1.
        rank: k, in 1 .. d.
        sigma2: Total variance, gradient^2, >= 0.
        floor: f, the share of the variance that is isotropic, in [0, 1].
        rotation: Seed of the subspace U, uniformly drawn, or None for the first k axes.

    Raises:
        GACError: A field is out of its range.

    Examples:
        >>> LowRank(dimension=3, rank=1, sigma2=2.0).covariance([0.0] * 3).round(12).tolist()
        [[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    dimension: int = 8
    rank: int = 1
    sigma2: float = 1.0
    floor: float = 0.0
    rotation: int | None = None
    kind: str = field(default="low_rank", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "dimension", "rank", low=1)
        real(self, "sigma2", low=0.0)
        real(self, "floor", low=0.0, high=1.0)
        if self.rotation is not None:
            whole(self, "rotation")
        if self.rank > self.dimension:
            fail(f"LowRank: rank = {self.rank} is above dimension = {self.dimension}; lower it")

    def root(self) -> FloatArray:
        """L [d, d], or its diagonal [d] where it is not rotated."""
        spread = (np.arange(self.dimension) < self.rank) * ((1.0 - self.floor) / self.rank)
        values = self.sigma2 * (spread + self.floor / self.dimension)
        return _anisotropic_root(tuple(float(v) for v in values), self.rotation)


@dataclass(frozen=True, kw_only=True)
class Dense(_Gaussian):
    r"""Gaussian noise of any covariance; singular ones are allowed.

    .. math:: \mathrm{Cov}(e) = \Sigma, \qquad E|e|^2 = \mathrm{tr}\,\Sigma

    Args:
        matrix: :math:`\Sigma`, d rows of d numbers, symmetric, positive semi-definite, gradient^2.

    Raises:
        GACError: Not square, not symmetric, not finite, or with a negative eigenvalue.

    Examples:
        >>> Dense(matrix=((2.0, 1.0), (1.0, 2.0))).covariance([0.0, 0.0]).round(12).tolist()
        [[2.0, 1.0], [1.0, 2.0]]
    """

    matrix: Rows
    kind: str = field(default="dense", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        object.__setattr__(self, "matrix", matrix_field(self, "matrix", self.matrix))

    @property
    def dimension(self) -> int:
        """Number of rows."""
        return len(self.matrix)

    def root(self) -> FloatArray:
        """L [d, d]."""
        return symmetric_root(self.matrix)


@lru_cache(maxsize=64)
def _anisotropic_root(variances: tuple[float, ...], seed: int | None) -> FloatArray:
    values: FloatArray = np.asarray(variances)
    if seed is None:
        return np.asarray(np.sqrt(values))
    return spectral_root(values, rotation(seed, len(variances)))


def _floats(owner: object, name: str, values: ArrayLike) -> tuple[float, ...]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        fail(f"{type(owner).__name__}: {name} = {values!r} is not numeric; pass a list of numbers")
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        fail(f"{type(owner).__name__}: {name} = {values!r}; pass a list of finite numbers")
    return tuple(float(x) for x in array)
