r"""What the noise of both branches states.

The exact :math:`\sigma_s^2 = E|e_s|^2`, :math:`\sigma_r^2 = E|e_r|^2` and
:math:`\kappa = E\langle e_s, e_r\rangle`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from simulations.noise.base import Noise

__all__ = ["PairMoments", "PairNoise"]


class PairMoments(NamedTuple):
    """Exact second moments of a pair, gradient^2.

    Args:
        sigma_s2: :math:`E|e_s|^2`, [...].
        sigma_r2: :math:`E|e_r|^2`, [...].
        kappa: :math:`E<e_s, e_r>`, [...].
    """

    sigma_s2: FloatArray
    sigma_r2: FloatArray
    kappa: FloatArray


class PairNoise(ABC):
    """Zero-mean noise of two branches in d dimensions.

    Examples:
        >>> from simulations.noise import Independent
        >>> isinstance(Independent(), PairNoise)
        True
    """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of coordinates d of each branch."""

    @property
    @abstractmethod
    def independent(self) -> bool:
        """Whether the two branches are independent (not merely uncorrelated)."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, shape: int | tuple[int, ...]) -> Any:
        """Random numbers: arrays with leading axes `shape`, made without any gradient."""

    @abstractmethod
    def noise(self, draw: Any, g_s: ArrayLike, g_r: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(e_s, e_r), each [..., d], of a draw at the true gradients [..., d]."""

    @abstractmethod
    def moments(self, g_s: ArrayLike, g_r: ArrayLike) -> PairMoments:
        """Exact second moments at the true gradients [..., d]."""

    @property
    def marginals(self) -> tuple[Noise, Noise] | None:
        """The noise of each branch on its own, where it is one of this library's."""
        return None
