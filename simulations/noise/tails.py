r"""Heavier tails on any Gaussian shape: Student-t, Laplace and contaminated noise.

Each is a normal whose variance is multiplied by a random W with mean 1, so the covariance stays
that of `base`, and two tails on one base compare at equal :math:`\sigma^2`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines._fields import real
from gac_ref.errors import fail
from simulations.noise.base import Components, Noise
from simulations.noise.gaussian import Isotropic

__all__ = ["Contaminated", "Laplace", "StudentT"]


@dataclass(frozen=True, kw_only=True)
class _Tail(Noise):
    """The parts that all three have in common."""

    base: Noise = field(default_factory=Isotropic)
    elliptical: bool = True

    def __post_init__(self) -> None:
        """Validate."""
        label = type(self).__name__
        if not isinstance(self.base, Noise) or isinstance(self.base, _Tail):
            fail(f"{label}: base = {self.base!r} is not a Gaussian shape; pass one, e.g. Isotropic")
        if not isinstance(self.elliptical, bool):
            fail(f"{label}: elliptical = {self.elliptical!r} is not True or False; pass one")

    @abstractmethod
    def mixing(self, rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
        """Draws of the mixing variable W, `shape`, > 0, with mean 1."""

    @property
    def dimension(self) -> int:
        """That of the base."""
        return self.base.dimension

    @property
    def shared(self) -> bool:
        """Whether one W multiplies the whole vector."""
        return self.elliptical

    @property
    def diagonal(self) -> bool:
        """Whether L is diagonal."""
        return self.base.diagonal

    def factor(self, gradient: ArrayLike) -> FloatArray:
        """L of the base."""
        return self.base.factor(gradient)

    def color(self, latent: FloatArray, gradient: ArrayLike) -> FloatArray:
        """The noise of a latent draw."""
        return self.base.color(latent, gradient)

    def mix(self, rng: np.random.Generator, normal: FloatArray) -> FloatArray:
        """Normals times the root of W: one W a vector, or one a coordinate."""
        shape = (*normal.shape[:-1], 1) if self.elliptical else normal.shape
        return normal * np.sqrt(self.mixing(rng, shape))


@dataclass(frozen=True, kw_only=True)
class StudentT(_Tail):
    r"""Student-t noise.

    .. math::
        W = \frac{\nu - 2}{\chi^2_\nu}, \quad E W = 1, \quad
        E\sqrt W = \sqrt{\tfrac{\nu - 2}{2}}\, \frac{\Gamma((\nu - 1)/2)}{\Gamma(\nu/2)}, \quad
        E W^2 = \frac{\nu - 2}{\nu - 4} \ (\nu > 4)

    Args:
        base: The Gaussian shape, which gives the covariance (not the scale matrix).
        elliptical: One W a vector (the multivariate t), or one a coordinate.
        df: Degrees of freedom :math:`\nu`, > 2. At :math:`\nu \le 4` the squared noise has an
            infinite variance, and no sample variance of it has a standard error.

    Raises:
        GACError: A field is invalid; df <= 2, where there is no finite covariance.

    Examples:
        >>> noise = StudentT(base=Isotropic(dimension=1, sigma2=2.0), df=6.0)
        >>> round(float(noise.sigma2_at([0.0])), 12), round(float(noise.fourth_moment([0.0])), 12)
        (2.0, 24.0)
    """

    df: float = 5.0
    kind: str = field(default="student_t", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        super().__post_init__()
        real(self, "df", above=2.0)

    @property
    def mixing_root_mean(self) -> float:
        r""":math:`E\sqrt W`."""
        log = math.lgamma((self.df - 1.0) / 2.0) - math.lgamma(self.df / 2.0)
        return math.sqrt((self.df - 2.0) / 2.0) * math.exp(log)

    @property
    def mixing_square_mean(self) -> float:
        """:math:`E W^2`, infinite for df <= 4."""
        return (self.df - 2.0) / (self.df - 4.0) if self.df > 4.0 else math.inf

    @property
    def mixing_components(self) -> Components | None:
        """None: W is continuous."""
        return None

    def mixing(self, rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
        """Draws of W."""
        return (self.df - 2.0) / rng.chisquare(self.df, shape)


@dataclass(frozen=True, kw_only=True)
class Laplace(_Tail):
    r"""Laplace noise: exponential tails, kurtosis 6 in one dimension.

    .. math:: W \sim \mathrm{Exp}(1), \quad E\sqrt W = \sqrt\pi / 2, \quad E W^2 = 2

    Args:
        base: The Gaussian shape, which gives the covariance.
        elliptical: One W a vector (the symmetric multivariate Laplace law), or one a coordinate
            (on a diagonal base: independent Laplace coordinates, the usual choice).

    Raises:
        GACError: A field is invalid.

    Examples:
        >>> noise = Laplace(base=Isotropic(dimension=1, sigma2=1.0))
        >>> round(float(noise.fourth_moment([0.0])), 12)
        6.0
    """

    elliptical: bool = False
    kind: str = field(default="laplace", init=False, repr=False)

    @property
    def mixing_root_mean(self) -> float:
        r""":math:`E\sqrt W`."""
        return math.sqrt(math.pi) / 2.0

    @property
    def mixing_square_mean(self) -> float:
        """:math:`E W^2`."""
        return 2.0

    @property
    def mixing_components(self) -> Components | None:
        """None: W is continuous."""
        return None

    def mixing(self, rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
        """Draws of W."""
        return rng.standard_exponential(shape)


@dataclass(frozen=True, kw_only=True)
class Contaminated(_Tail):
    r"""Mostly one Gaussian, now and then a much wider one (Tukey's contaminated normal).

    .. math::
        W = \frac{V}{1 - p + p q}, \quad V = q \text{ with probability } p, \text{ else } 1

    Args:
        base: The Gaussian shape, which gives the covariance of the mixture.
        elliptical: Whole vectors are outliers, or single coordinates.
        share: p, the probability of an outlier, in [0, 1].
        ratio: q, the variance of an outlier over that of the rest, > 0.

    Raises:
        GACError: A field is invalid.

    Examples:
        >>> noise = Contaminated(base=Isotropic(dimension=1), share=0.5, ratio=3.0)
        >>> noise.mixing_components, noise.mixing_square_mean
        (((0.5, 0.5), (0.5, 1.5)), 1.25)
    """

    share: float = 0.05
    ratio: float = 100.0
    kind: str = field(default="contaminated", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        super().__post_init__()
        real(self, "share", low=0.0, high=1.0)
        real(self, "ratio", above=0.0)

    @property
    def mixing_components(self) -> Components:
        """(probability, W) of the rest and of the outliers."""
        scale = 1.0 - self.share + self.share * self.ratio
        return ((1.0 - self.share, 1.0 / scale), (self.share, self.ratio / scale))

    @property
    def mixing_root_mean(self) -> float:
        r""":math:`E\sqrt W`."""
        return sum(p * math.sqrt(w) for p, w in self.mixing_components)

    @property
    def mixing_square_mean(self) -> float:
        """:math:`E W^2`."""
        return sum(p * w * w for p, w in self.mixing_components)

    def mixing(self, rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
        """Draws of W."""
        (_, rest), (_, outlier) = self.mixing_components
        return np.where(rng.random(shape) < self.share, outlier, rest)
