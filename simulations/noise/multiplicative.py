"""Noise in proportion to the gradient itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines._fields import real, whole
from gac_ref.errors import fail
from simulations.noise.base import Noise

__all__ = ["Multiplicative"]


@dataclass(frozen=True, kw_only=True)
class Multiplicative(Noise):
    r"""Noise of a fixed relative size, which vanishes with the gradient.

    .. math::
        e = c\, \xi \odot g \ \text{ or }\ e = c\, \xi_1 g, \qquad E|e|^2 = c^2 |g|^2

    with standard normal :math:`\xi`. The covariance is :math:`c^2 \mathrm{diag}(g)^2` with one
    :math:`\xi` a coordinate, and :math:`c^2 g g^\top` with one for all. Put a tail around it for
    heavier ones, and add it to other noise with :class:`simulations.noise.PairSum`.

    Args:
        dimension: d, >= 1.
        relative: c, the standard deviation over the gradient, dimensionless, >= 0.
        common: One factor for the whole gradient (its length is noisy, not its direction), or
            one a coordinate.

    Raises:
        GACError: A field is out of its range.

    Examples:
        >>> noise = Multiplicative(dimension=2, relative=0.5)
        >>> float(noise.sigma2_at([3.0, 4.0])), float(noise.sigma2_at([0.0, 0.0]))
        (6.25, 0.0)
    """

    dimension: int = 8
    relative: float = 0.5
    common: bool = False
    kind: str = field(default="multiplicative", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "dimension", low=1)
        real(self, "relative", low=0.0)
        if not isinstance(self.common, bool):
            fail(f"Multiplicative: common = {self.common!r} is not True or False; pass one")

    @property
    def diagonal(self) -> bool:
        """Whether L is diagonal."""
        return not self.common

    def factor(self, gradient: ArrayLike) -> FloatArray:
        """L, [..., d, d]: the gradient on the diagonal, or in the first column."""
        scaled = self.relative * np.asarray(gradient, dtype=np.float64)[..., None]
        places = np.eye(self.dimension)
        return np.asarray(scaled * (places[0] if self.common else places))

    def color(self, latent: FloatArray, gradient: ArrayLike) -> FloatArray:
        """The noise of a latent draw, [..., d]; of it, a common factor reads the first number."""
        scaled = self.relative * np.asarray(gradient, dtype=np.float64)
        return np.asarray(scaled * (latent[..., :1] if self.common else latent))
