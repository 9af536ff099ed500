r"""Quadratic bowls under any noise of `simulations.noise`: where regimes meet a loss to minimise.

`simulations.models.Quadratic` has Gaussian noise of constant size and exact moments of SGD;
`simulations.noise.SyntheticGradients` has every noise and regime, but nothing to optimise. This is
the first one's landscape under the second one's noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import FloatArray
from gac_ref.baselines import Signals
from gac_ref.baselines._fields import whole
from gac_ref.errors import fail
from simulations.models.quadratic import Quadratic
from simulations.models.quadratic_bowls import dot
from simulations.noise import Constant, Independent, PairNoise, Regime
from simulations.problem import Sample, Truth

__all__ = ["NoisyDraw", "NoisyQuadratic"]


class NoisyDraw(NamedTuple):
    """The noise of one step, and what m samples tell of its size; none depends on theta.

    Args:
        noise_s: Noise of the SFT batch gradient, [n, d].
        noise_r: Noise of the RL batch gradient, [n, d].
        sigma_s2: Estimate of sigma_s2, [n].
        sigma_r2: Estimate of sigma_r2, [n].
        kappa: Estimate of kappa, [n].
        level_s: Factor on the variance of the SFT noise, [n] or the same number for all.
        level_r: Factor on the variance of the RL noise, [n] or the same number for all.
    """

    noise_s: FloatArray
    noise_r: FloatArray
    sigma_s2: FloatArray
    sigma_r2: FloatArray
    kappa: FloatArray
    level_s: FloatArray | float
    level_r: FloatArray | float


@dataclass(frozen=True, kw_only=True)
class NoisyQuadratic:
    r"""Two quadratic bowls whose gradients are sampled under scripted noise.

    .. math::
        x_{k,i} = H_k (\theta - m_k) + b_k + \sqrt{m\,\ell_k(t)}\;\epsilon_{k,i}, \qquad
        G_k = \frac1m \sum_{i=1}^m x_{k,i}, \qquad \sigma_k^2 = \ell_k(t)\,E|\epsilon_k|^2

    Controllers see the unbiased gradient-space estimates of :func:`gac_ref.gradient_oracle` from
    the m paired samples. There are no tokens: the choices by which GAC's variants take their
    statistics have nothing to act on, and all variants read the same. With a policy
    :math:`N(\theta, I)`, the KL to the policy at the mean starting point is
    :math:`|\theta - \bar\theta_0|^2 / 2`; it is a signal and an outcome.

    Args:
        noise: Noise of both branches, independent of the gradient; it sets the dimension.
        level_s: Factor on the variance of the SFT noise over time.
        level_r: Factor on the variance of the RL noise over time.
        samples: m, >= 2.
        condition: Ratio of the largest to the smallest eigenvalue of both Hessians, >= 1.
        curvature_s: Largest eigenvalue of H_s, > 0.
        curvature_r: Largest eigenvalue of H_r, > 0.
        rotation: Angle by which the eigenvectors of H_r are turned, radians in [0, pi/2].
        separation: Distance of the two minima, >= 0.
        bias_s: Signed size of the SFT bias, along the line between the minima.
        bias_r: Signed size of the RL bias, along the same line.
        start_distance: Distance of the mean starting point from the middle of the minima, >= 0.
        start_spread: Root mean square distance of the starting points from their mean, >= 0.
        alpha: Weight of the SFT loss in the target loss, in [0, 1].

    Raises:
        GACError: A field is out of range, or the noise depends on the gradient.

    Examples:
        >>> problem = NoisyQuadratic(level_r=Constant(value=4.0))
        >>> truth = problem.truth(np.zeros((1, problem.dimension)), 0)
        >>> round(float(truth.sigma_r2[0]), 12)
        4.0

    References:
        The specification's sections 1 and 2.
    """

    noise: PairNoise = field(default_factory=Independent)
    level_s: Regime = field(default_factory=Constant)
    level_r: Regime = field(default_factory=Constant)
    samples: int = 4
    condition: float = 10.0
    curvature_s: float = 1.0
    curvature_r: float = 1.0
    rotation: float = 0.0
    separation: float = 2.0
    bias_s: float = 0.0
    bias_r: float = 0.0
    start_distance: float = 3.0
    start_spread: float = 0.5
    alpha: float = 0.5

    name: ClassVar[str] = "noisy_quadratic"
    exact: ClassVar[bool] = True
    tokens: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Validate."""
        for each, kind in (("noise", PairNoise), ("level_s", Regime), ("level_r", Regime)):
            if not isinstance(getattr(self, each), kind):
                value = getattr(self, each)
                fail(f"NoisyQuadratic: {each} = {value!r} is not a {kind.__name__}; pass one")
        for each in ("level_s", "level_r"):
            if not getattr(self, each).lowest >= 0.0:
                low = getattr(self, each).lowest
                fail(f"NoisyQuadratic: {each} can fall to {low!r}; no variance does")
        whole(self, "samples", low=2)
        here = self.noise.moments(np.zeros(self.dimension), np.zeros(self.dimension))
        there = self.noise.moments(np.ones(self.dimension), np.full(self.dimension, 2.0))
        if any(np.any(a != b) for a, b in zip(here, there, strict=True)):
            fail(
                "NoisyQuadratic: the noise depends on the gradient, which the shared draws of the "
                "seeds cannot; use SyntheticGradients, or noise that does not"
            )
        _ = self._bowls

    @cached_property
    def _bowls(self) -> Quadratic:
        return Quadratic(
            dimension=self.dimension,
            condition_s=self.condition,
            condition_r=self.condition,
            curvature_s=self.curvature_s,
            curvature_r=self.curvature_r,
            rotation=self.rotation,
            separation=self.separation,
            sigma_s2=0.0,
            sigma_r2=0.0,
            bias_s=self.bias_s,
            bias_r=self.bias_r,
            start_distance=self.start_distance,
            start_spread=self.start_spread,
            alpha=self.alpha,
        )

    @property
    def dimension(self) -> int:
        """That of the noise."""
        return self.noise.dimension

    @property
    def units(self) -> dict[str, str]:
        """Unit of each outcome."""
        return {**self._bowls.units, "kl": "nat"}

    @cached_property
    def _moments(self) -> tuple[float, float, float]:
        zero = np.zeros(self.dimension)
        s, r, k = (float(x) for x in self.noise.moments(zero, zero))
        return s, r, k

    def start(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Starting points of n seeds, [n, d]."""
        return self._bowls.start(rng, n)

    def draw(self, rng: np.random.Generator, n: int, step: int) -> NoisyDraw:
        """Noise of the batch means, and the estimates of its size, for n seeds."""
        m, zero = self.samples, np.zeros(self.dimension)
        e_s, e_r = self.noise.noise(self.noise.draw(rng, (n, m)), zero, zero)
        level_s, level_r = (of.of_seeds(step, rng, n) for of in (self.level_s, self.level_r))
        scale_s, scale_r = np.sqrt(m * np.asarray(level_s)), np.sqrt(m * np.asarray(level_r))
        mean_s, mean_r = (np.add.reduce(e, axis=1) / m for e in (e_s, e_r))
        off_s, off_r = e_s - mean_s[:, None], e_r - mean_r[:, None]
        pairs = ((off_s, off_s), (off_r, off_r), (off_s, off_r))
        scatter = [dot(a.reshape(n, -1), b.reshape(n, -1)) / (m * (m - 1)) for a, b in pairs]
        return NoisyDraw(
            scale_s[..., None] * mean_s,
            scale_r[..., None] * mean_r,
            scale_s * scale_s * scatter[0],
            scale_r * scale_r * scatter[1],
            scale_s * scale_r * scatter[2],
            level_s,
            level_r,
        )

    def truth(self, theta: FloatArray, step: int, draw: Any = None) -> Truth:
        """Exact values at theta [..., d].

        A level that wanders has a path a seed, and its values are those of the draw; without one
        they are those of the path of the regime's own seed.
        """
        if draw is None:
            level_s, level_r = self.level_s.at(step), self.level_r.at(step)
        else:
            level_s, level_r = np.asarray(draw.level_s), np.asarray(draw.level_r)
        sigma_s2, sigma_r2, kappa = self._moments
        lead = theta.shape[:-1]
        return self._bowls.truth(theta, step)._replace(
            sigma_s2=np.broadcast_to(level_s * sigma_s2, lead),
            sigma_r2=np.broadcast_to(level_r * sigma_r2, lead),
            kappa=np.broadcast_to(np.sqrt(level_s) * np.sqrt(level_r) * kappa, lead),
        )

    def sample(self, theta: FloatArray, step: int, draw: NoisyDraw) -> Sample:
        """Noisy gradients, and the estimates that a controller reads, at theta [..., n, d]."""
        truth = self._bowls.truth(theta, step)
        grad_s = truth.g_s + truth.bias_s + draw.noise_s
        grad_r = truth.g_r + truth.bias_r + draw.noise_r

        def statistics(config: GACConfig, controllers: Sequence[int] | None = None) -> Proxies:
            places = slice(None) if controllers is None else list(controllers)
            apart = grad_s[places] - grad_r[places]
            delta_g2 = dot(apart, apart) - draw.sigma_s2 - draw.sigma_r2 + 2.0 * draw.kappa
            return Proxies(draw.sigma_s2, draw.sigma_r2, delta_g2)

        return Sample(grad_s, grad_r, Signals(kl=self._kl(theta)), statistics)

    def outcomes(self, theta: FloatArray, step: int) -> dict[str, FloatArray]:
        """Those of the bowls, and the KL to the mean start."""
        return {**self._bowls.outcomes(theta, step), "kl": self._kl(theta)}

    def _kl(self, theta: FloatArray) -> FloatArray:
        away = theta - self._bowls.start_mean
        return 0.5 * dot(away, away)
