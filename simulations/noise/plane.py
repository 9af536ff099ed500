"""Gradients, disagreement and bias as moving vectors of one plane in d dimensions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail
from simulations.noise._linalg import rotation
from simulations.noise.regimes import Constant, Regime

__all__ = ["PlaneVector", "plane_basis"]


@dataclass(frozen=True, kw_only=True)
class PlaneVector:
    r"""A vector of given size and angle over time.

    .. math:: v_t = r_t\, (\cos\varphi_t\; u_1 + \sin\varphi_t\; u_2)

    with the orthonormal :math:`u_1, u_2` of :func:`plane_basis`; so :math:`|v_t| = r_t` exactly.

    Args:
        size: :math:`r_t`, gradient units; never negative.
        angle: :math:`\varphi_t`, radians.

    Raises:
        GACError: A field that is no regime, or a size that can become negative.

    Examples:
        >>> PlaneVector(size=Constant(value=2.0)).at(0, plane_basis(3, None)).tolist()
        [2.0, 0.0, 0.0]
    """

    size: Regime = field(default_factory=Constant)
    angle: Regime = field(default_factory=lambda: Constant(value=0.0))
    kind: str = field(default="plane_vector", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        for name in ("size", "angle"):
            if not isinstance(getattr(self, name), Regime):
                value = getattr(self, name)
                fail(f"PlaneVector: {name} = {value!r} is not a regime; pass one, e.g. Constant()")
        if not self.size.lowest >= 0.0:
            fail(
                f"PlaneVector: size can fall to {self.size.lowest!r}; pass a regime that stays "
                ">= 0, and turn the vector with its angle"
            )

    def at(self, steps: ArrayLike, basis: FloatArray) -> FloatArray:
        """The vector at each step, [..., d], in a basis [2, d]."""
        size, angle = self.size.at(steps)[..., None], self.angle.at(steps)[..., None]
        return np.asarray(size * np.cos(angle) * basis[0] + size * np.sin(angle) * basis[1])


def plane_basis(dimension: int, seed: int | None) -> FloatArray:
    """Two orthonormal rows, [2, d]: a uniformly drawn plane, or the first two axes for None.

    Raises:
        GACError: Fewer than two dimensions.

    Examples:
        >>> plane_basis(3, None).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    if dimension < 2:
        fail(f"dimension = {dimension!r} has no plane for the gradients; pass at least 2")
    return rotation(seed, dimension)[:2]
