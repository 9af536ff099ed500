"""Noise of both branches at once: independent, correlated, of one covariance, and sums."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines._fields import real
from gac_ref.errors import fail
from simulations.noise._linalg import Rows, matrix_field, symmetric_root, transform
from simulations.noise.base import Noise
from simulations.noise.gaussian import Dense, Isotropic
from simulations.noise.pair import PairMoments, PairNoise

__all__ = ["Correlated", "Independent", "JointGaussian", "PairSum"]


@dataclass(frozen=True, kw_only=True)
class Correlated(PairNoise):
    r"""Two branches whose normals are correlated, coordinate by coordinate.

    With :math:`e_k = L_k (\sqrt{W_k} \odot z_k)`, :math:`\mathrm{Corr}(z_{s,i}, z_{r,i}) = \rho`
    and independent mixing variables,

    .. math::
        E[e_s e_r^\top] = \rho\, E\sqrt{W_s}\, E\sqrt{W_r}\; L_s L_r^\top, \qquad
        \kappa = \rho\, E\sqrt{W_s}\, E\sqrt{W_r}\; \langle L_s, L_r\rangle_F

    which for two isotropic Gaussians is :math:`\rho\, \sigma_s \sigma_r`.

    Args:
        sft: Noise of the SFT branch.
        rl: Noise of the RL branch, of the same dimension.
        correlation: :math:`\rho` of the normals, in [-1, 1]. Tails and differently shaped
            covariances make :math:`\kappa / (\sigma_s \sigma_r)` smaller.

    Raises:
        GACError: Unequal dimensions, a correlation outside [-1, 1], or a field that is no noise.

    Examples:
        >>> pair = Correlated(sft=Isotropic(dimension=2, sigma2=4.0),
        ...                   rl=Isotropic(dimension=2, sigma2=9.0), correlation=-0.5)
        >>> round(float(pair.moments([0.0, 0.0], [0.0, 0.0]).kappa), 12)
        -3.0
    """

    sft: Noise = field(default_factory=Isotropic)
    rl: Noise = field(default_factory=Isotropic)
    correlation: float = 0.0
    kind: str = field(default="correlated", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        _check_branches(self, self.sft, self.rl)
        real(self, "correlation", low=-1.0, high=1.0)

    @property
    def dimension(self) -> int:
        """That of the branches."""
        return self.sft.dimension

    @property
    def independent(self) -> bool:
        """Whether the correlation is 0."""
        return self.correlation == 0.0

    @property
    def marginals(self) -> tuple[Noise, Noise]:
        """The noise of each branch."""
        return self.sft, self.rl

    def draw(
        self, rng: np.random.Generator, shape: int | tuple[int, ...]
    ) -> tuple[FloatArray, FloatArray]:
        """Latent vectors of both branches, each ``[*shape, d]``."""
        shape = (shape,) if isinstance(shape, int) else shape
        z_s = rng.standard_normal((*shape, self.dimension))
        z_r = rng.standard_normal((*shape, self.dimension))
        if not self.independent:
            rho = self.correlation
            z_r = rho * z_s + math.sqrt((1.0 - rho) * (1.0 + rho)) * z_r
        return self.sft.mix(rng, z_s), self.rl.mix(rng, z_r)

    def noise(self, draw: Any, g_s: ArrayLike, g_r: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(e_s, e_r), each [..., d]."""
        return self.sft.color(draw[0], g_s), self.rl.color(draw[1], g_r)

    def moments(self, g_s: ArrayLike, g_r: ArrayLike) -> PairMoments:
        """Exact second moments."""
        l_s, l_r = self.sft.factor(g_s), self.rl.factor(g_r)
        rho = self.correlation * self.sft.mixing_root_mean * self.rl.mixing_root_mean
        return PairMoments(
            self.sft.sigma2_at(g_s),
            self.rl.sigma2_at(g_r),
            np.asarray(rho * np.sum(l_s * l_r, axis=(-2, -1))),
        )


@dataclass(frozen=True, kw_only=True)
class Independent(Correlated):
    r"""Two independent branches, :math:`\kappa = 0`.

    Args:
        sft: Noise of the SFT branch.
        rl: Noise of the RL branch, of the same dimension.

    Raises:
        GACError: Unequal dimensions, or a field that is no noise.

    Examples:
        >>> pair = Independent(rl=Isotropic(dimension=8, sigma2=2.0))
        >>> [round(float(x), 12) for x in pair.moments(0.0, 0.0)]
        [1.0, 2.0, 0.0]
    """

    correlation: float = field(default=0.0, init=False, repr=False)
    kind: str = field(default="independent", init=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class JointGaussian(PairNoise):
    r"""Gaussian noise of any joint covariance.

    .. math::
        \mathrm{Cov}\binom{e_s}{e_r} = \begin{pmatrix} A & C \\ C^\top & B \end{pmatrix}, \qquad
        \sigma_s^2 = \mathrm{tr} A,\quad \sigma_r^2 = \mathrm{tr} B,\quad \kappa = \mathrm{tr}\, C

    Args:
        matrix: 2d rows of 2d numbers, the SFT coordinates first; gradient^2.

    Raises:
        GACError: Not square, of odd size, not symmetric, not finite, or with a negative
            eigenvalue: no pair of noises has it.

    Examples:
        >>> [float(x) for x in JointGaussian(matrix=((4.0, 1.0), (1.0, 9.0))).moments(0.0, 0.0)]
        [4.0, 9.0, 1.0]
    """

    matrix: Rows
    kind: str = field(default="joint_gaussian", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        rows = matrix_field(self, "matrix", self.matrix)
        if len(rows) % 2:
            fail(f"JointGaussian: matrix has {len(rows)} rows; pass 2d, those of SFT first")
        object.__setattr__(self, "matrix", rows)

    @property
    def dimension(self) -> int:
        """d, half the rows of the matrix."""
        return len(self.matrix) // 2

    @property
    def independent(self) -> bool:
        """Whether C is 0; uncorrelated Gaussians are independent."""
        d = self.dimension
        return not np.any(np.asarray(self.matrix)[:d, d:])

    @property
    def marginals(self) -> tuple[Noise, Noise]:
        """The two diagonal blocks."""
        d = self.dimension
        sft = Dense(matrix=tuple(row[:d] for row in self.matrix[:d]))
        return sft, Dense(matrix=tuple(row[d:] for row in self.matrix[d:]))

    def draw(self, rng: np.random.Generator, shape: int | tuple[int, ...]) -> FloatArray:
        """Standard normals, ``[*shape, 2d]``."""
        shape = (shape,) if isinstance(shape, int) else shape
        return rng.standard_normal((*shape, 2 * self.dimension))

    def noise(self, draw: Any, g_s: ArrayLike, g_r: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(e_s, e_r), each [..., d], whatever the gradients."""
        both = transform(symmetric_root(self.matrix), draw)
        return both[..., : self.dimension], both[..., self.dimension :]

    def moments(self, g_s: ArrayLike, g_r: ArrayLike) -> PairMoments:
        """Exact second moments, scalars."""
        whole, d = np.asarray(self.matrix), self.dimension
        blocks = whole[:d, :d], whole[d:, d:], whole[:d, d:]
        return PairMoments(*(np.asarray(np.trace(block)) for block in blocks))


@dataclass(frozen=True, kw_only=True)
class PairSum(PairNoise):
    """The sum of independent pairs; every second moment is the sum of theirs.

    Args:
        parts: At least one pair, all of one dimension.

    Raises:
        GACError: No parts, a part that is no pair, or unequal dimensions.

    Examples:
        >>> pair = PairSum(parts=(Independent(), Correlated(correlation=0.5)))
        >>> [round(float(x), 12) for x in pair.moments(0.0, 0.0)]
        [2.0, 2.0, 0.5]
    """

    parts: tuple[PairNoise, ...]
    kind: str = field(default="pair_sum", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        if isinstance(self.parts, list):
            object.__setattr__(self, "parts", tuple(self.parts))
        given = self.parts if isinstance(self.parts, tuple) else ()
        if not given or not all(isinstance(part, PairNoise) for part in given):
            fail(f"PairSum: parts = {self.parts!r}; pass at least one pair of noises")
        sizes = sorted({part.dimension for part in self.parts})
        if len(sizes) > 1:
            fail(f"PairSum: the parts have dimensions {sizes}; pass parts of one dimension")

    @property
    def dimension(self) -> int:
        """That of the branches."""
        return self.parts[0].dimension

    @property
    def independent(self) -> bool:
        """Whether every part has independent branches."""
        return all(part.independent for part in self.parts)

    def draw(self, rng: np.random.Generator, shape: int | tuple[int, ...]) -> tuple[Any, ...]:
        """One draw a part."""
        return tuple(part.draw(rng, shape) for part in self.parts)

    def noise(self, draw: Any, g_s: ArrayLike, g_r: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(e_s, e_r), each [..., d]."""
        noises = [p.noise(own, g_s, g_r) for p, own in zip(self.parts, draw, strict=True)]
        e_s, e_r = noises[0]
        for more_s, more_r in noises[1:]:
            e_s, e_r = e_s + more_s, e_r + more_r
        return e_s, e_r

    def moments(self, g_s: ArrayLike, g_r: ArrayLike) -> PairMoments:
        """Exact second moments."""
        each = [part.moments(g_s, g_r) for part in self.parts]
        return PairMoments(*(np.asarray(sum(values)) for values in zip(*each, strict=True)))


def _check_branches(owner: object, sft: Noise, rl: Noise) -> None:
    label = type(owner).__name__
    for name, noise in (("sft", sft), ("rl", rl)):
        if not isinstance(noise, Noise):
            fail(f"{label}: {name} = {noise!r} is not a noise; pass one, e.g. Isotropic()")
    if sft.dimension != rl.dimension:
        fail(
            f"{label}: sft has dimension {sft.dimension} and rl has {rl.dimension}; "
            "pass equal dimensions"
        )
