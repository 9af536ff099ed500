"""A small quadratic problem with two minima, for the engine's own tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gac_ref import Proxies
from gac_ref._typing import FloatArray
from gac_ref.baselines import Signals
from simulations.problem import Sample, Truth


class Draw(NamedTuple):
    s: FloatArray
    r: FloatArray


@dataclass(frozen=True, kw_only=True)
class Toy:
    """L_k = |theta - c_k|^2 / 2 with c_s = gap e, c_r = 0; isotropic Gaussian noise."""

    dimension: int = 3
    gap: float = 1.0
    noise_s: float = 0.5
    noise_r: float = 1.0
    spread: float = 1.0
    growth: float = 1.0

    @property
    def name(self) -> str:
        return "toy"

    @property
    def exact(self) -> bool:
        return True

    @property
    def tokens(self) -> bool:
        return False

    @property
    def units(self) -> dict[str, str]:
        return {"loss": "1", "distance": "1", "kl": "nat"}

    def start(self, rng: np.random.Generator, n: int) -> FloatArray:
        return self.spread * rng.standard_normal((n, self.dimension))

    def draw(self, rng: np.random.Generator, n: int, step: int) -> Draw:
        z = rng.standard_normal((n, 2, self.dimension))
        return Draw(z[:, 0], z[:, 1])

    def truth(self, theta: FloatArray, step: int, draw: Any = None) -> Truth:
        lead = theta.shape[:-1]
        return Truth(
            g_s=self.growth * (theta - self.gap),
            g_r=self.growth * theta,
            sigma_s2=np.full(lead, self.dimension * self.noise_s**2),
            sigma_r2=np.full(lead, self.dimension * self.noise_r**2),
            delta_g2=np.full(lead, self.dimension * (self.growth * self.gap) ** 2),
        )

    def sample(self, theta: FloatArray, step: int, draw: Any) -> Sample:
        grad_s = self.growth * (theta - self.gap) + self.noise_s * draw.s
        grad_r = self.growth * theta + self.noise_r * draw.r
        lead = theta.shape[:-1]
        proxies = Proxies(
            np.full(lead, self.dimension * self.noise_s**2),
            self.noise_r**2 * np.broadcast_to((draw.r**2).sum(axis=-1), lead),
            np.full(lead, self.dimension * self.gap**2),
        )
        signals = Signals(
            proxies=proxies, kl=0.5 * (theta**2).sum(axis=-1), entropy=np.full(lead, 0.5)
        )
        return Sample(grad_s, grad_r, signals)

    def outcomes(self, theta: FloatArray, step: int) -> dict[str, FloatArray]:
        square = (theta**2).sum(axis=-1)
        return {"loss": 0.5 * square, "distance": np.sqrt(square), "kl": 0.5 * square}
