r"""Two quadratic bowls with noisy gradients: a problem whose SGD has exact moments.

.. math::
    L_k(\theta) = \tfrac12 (\theta - m_k)^\top H_k (\theta - m_k), \qquad
    G_k = H_k (\theta - m_k) + b_k + e_k, \qquad k \in \{s, r\}

The bowls themselves are in `quadratic_bowls`, the moments of SGD in `quadratic_moments`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines import Signals
from gac_ref.errors import fail
from simulations.models._checks import (
    CONDITION_MAX,
    choice,
    constant,
    draw_matches,
    finite,
    point,
    real,
    whole,
)
from simulations.models.quadratic_bowls import Bowls, Row, bowls, distance2, dot
from simulations.models.quadratic_noise import (
    QuadraticDraw,
    fill_gaussian_pair,
    noise_estimates,
)
from simulations.problem import Sample, Truth

__all__ = ["Quadratic"]


@dataclass(frozen=True, kw_only=True)
class Quadratic:
    r"""Quadratic SFT and RL losses with Gaussian gradient noise.

    The eigenvalues of :math:`H_k` are ``curvature_k * condition_k**(-i / (d - 1))``, i = 0..d-1.
    With u the unit vector of equal components and w that of alternating signs, the minima are
    :math:`\pm` ``separation / 2`` u (SFT on the positive side), the biases ``bias_k`` u, and the
    starting points ``start_distance`` w plus a Gaussian of ``start_spread``. The noise is
    isotropic: :math:`E e_k e_k^\top = (\sigma_k^2 / d) I` and
    :math:`E e_s e_r^\top = (\kappa / d) I`, :math:`\kappa = \rho\,\sigma_s \sigma_r`.

    The proxies that a controller reads are "exact", or "estimated": those that
    :func:`gac_ref.gradient_oracle` gives for `samples_k` per-sample gradients whose batch mean is
    this step's gradient. Being Gaussian, their scatter is independent of their mean, so it is
    drawn from its law, :math:`\hat\sigma_k^2 \sim \sigma_k^2 \chi^2_\nu / \nu` with
    :math:`\nu = (n - 1) d` (for correlated branches, whose samples are paired, the 2 x 2 Wishart
    law of the same :math:`\nu`), and
    :math:`\hat\Delta^2 = |G_s - G_r|^2 - \hat\sigma_s^2 - \hat\sigma_r^2 + 2\hat\kappa`, which may
    be negative.

    Args:
        dimension: d, >= 1.
        condition_s: Ratio of the largest to the smallest eigenvalue of H_s, in [1, 1e12]; 1 for
            d = 1.
        condition_r: The same of H_r.
        curvature_s: Largest eigenvalue of H_s, > 0.
        curvature_r: Largest eigenvalue of H_r, > 0.
        rotation: Angle by which the eigenvectors of H_r are turned, radians in [0, pi/2]; at pi/2
            the order of its eigenvalues is reversed, and the two commute again. 0 for d = 1.
        separation: Distance of the two minima, >= 0; 0 is a shared minimum.
        sigma_s2: :math:`E|e_s|^2`, gradient^2, >= 0.
        sigma_r2: :math:`E|e_r|^2`, gradient^2, >= 0.
        correlation: :math:`\rho`, in [-1, 1].
        bias_s: Signed size of the SFT bias along u, gradient.
        bias_r: Signed size of the RL bias along u, gradient.
        start_distance: Distance of the mean starting point from the middle of the minima, >= 0.
        start_spread: Root mean square distance of the starting points from their mean, >= 0.
        alpha: Weight of the SFT loss in the target loss, in [0, 1].
        proxy: "exact" or "estimated".
        samples_s: Per-sample SFT gradients behind an estimate, >= 2.
        samples_r: Per-sample RL gradients behind an estimate, >= 2; equal to `samples_s` where
            `correlation` is not 0.

    Raises:
        GACError: A field is out of range, or two of them exclude each other.

    Examples:
        >>> problem = Quadratic(dimension=2, condition_s=1.0, condition_r=1.0, separation=2.0)
        >>> truth = problem.truth(np.zeros((1, 2)), 0)
        >>> truth.g_s.round(4).tolist(), truth.delta_g2.round(12).tolist()
        ([[-0.7071, -0.7071]], [4.0])
        >>> Quadratic(proxy="perfect")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: Quadratic: proxy = 'perfect' is not one of 'exact', ...

    References:
        The specification's sections 1 and 2; Schaul, Zhang and LeCun, "No more pesky learning
        rates", arXiv:1206.1106 (noisy quadratics).
    """

    dimension: int = 16
    condition_s: float = 10.0
    condition_r: float = 10.0
    curvature_s: float = 1.0
    curvature_r: float = 1.0
    rotation: float = 0.0
    separation: float = 1.0
    sigma_s2: float = 1.0
    sigma_r2: float = 1.0
    correlation: float = 0.0
    bias_s: float = 0.0
    bias_r: float = 0.0
    start_distance: float = 3.0
    start_spread: float = 0.0
    alpha: float = 0.5
    proxy: str = "exact"
    samples_s: int = 8
    samples_r: int = 8

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "dimension", low=1)
        whole(self, "samples_s", "samples_r", low=2)
        real(self, "condition_s", "condition_r", low=1.0, high=CONDITION_MAX)
        real(self, "curvature_s", "curvature_r", above=0.0)
        real(self, "rotation", low=0.0, high=math.pi / 2.0)
        real(self, "separation", "start_distance", "start_spread", "sigma_s2", "sigma_r2", low=0.0)
        real(self, "bias_s", "bias_r")
        real(self, "correlation", low=-1.0, high=1.0)
        real(self, "alpha", low=0.0, high=1.0)
        choice(self, "proxy", ("exact", "estimated"))
        if self.dimension == 1:
            for name, only in (("condition_s", 1.0), ("condition_r", 1.0), ("rotation", 0.0)):
                if getattr(self, name) != only:
                    fail(
                        f"Quadratic: {name} = {getattr(self, name)!r} needs two directions and "
                        f"dimension is 1; pass {name}={only}"
                    )
        if self.proxy == "estimated" and self.correlation != 0.0:
            if self.samples_s != self.samples_r:
                fail(
                    f"Quadratic: samples_s = {self.samples_s} and samples_r = {self.samples_r} "
                    "differ, but correlated samples come in pairs; pass equal numbers"
                )
            if (self.samples_s - 1) * self.dimension < 2:
                fail(
                    f"Quadratic: samples_s = {self.samples_s} with dimension = 1 has one degree "
                    "of freedom, too few for a covariance; pass samples_s >= 3"
                )

    @property
    def name(self) -> str:
        """Short name."""
        return "quadratic"

    @property
    def exact(self) -> bool:
        """`truth` is exact."""
        return True

    @property
    def tokens(self) -> bool:
        """Gradients only: every GAC variant reads the same gradient-space values."""
        return False

    @property
    def units(self) -> dict[str, str]:
        """Unit of each outcome."""
        return {"loss": "loss", "loss_s": "loss", "loss_r": "loss", "distance": "parameter"}

    @property
    def kappa(self) -> float:
        r""":math:`E\langle e_s, e_r\rangle = \rho\,\sigma_s\sigma_r`, gradient^2."""
        return self.correlation * math.sqrt(self.sigma_s2) * math.sqrt(self.sigma_r2)

    @cached_property
    def _bowls(self) -> Bowls:
        return bowls(
            self.dimension,
            curvature=(self.curvature_s, self.curvature_r),
            condition=(self.condition_s, self.condition_r),
            rotation=self.rotation,
            separation=self.separation,
        )

    @property
    def separation_direction(self) -> FloatArray:
        """u, the unit vector of equal components, [d]."""
        return np.full(self.dimension, 1.0 / math.sqrt(self.dimension))

    @property
    def start_mean(self) -> FloatArray:
        """Mean of the starting points, [d]."""
        signs = 1.0 - 2.0 * (np.arange(self.dimension) % 2)
        return np.asarray(self.start_distance / math.sqrt(self.dimension) * signs)

    @property
    def start_covariance(self) -> FloatArray:
        """Covariance of the starting points, [d, d]."""
        return self.start_spread**2 / self.dimension * np.eye(self.dimension)

    @property
    def minimum_s(self) -> FloatArray:
        """:math:`m_s`, [d]."""
        return self._bowls.minimum_s.values

    @property
    def minimum_r(self) -> FloatArray:
        """:math:`m_r`, [d]."""
        return self._bowls.minimum_r.values

    @property
    def bias_vector_s(self) -> FloatArray:
        """:math:`b_s`, [d]."""
        return self.bias_s * self.separation_direction

    @property
    def bias_vector_r(self) -> FloatArray:
        """:math:`b_r`, [d]."""
        return self.bias_r * self.separation_direction

    @property
    def hessian_s(self) -> FloatArray:
        """:math:`H_s`, [d, d], diagonal."""
        return self._bowls.hessian_s()

    @property
    def hessian_r(self) -> FloatArray:
        """:math:`H_r`, [d, d]: a diagonal and an antidiagonal."""
        return self._bowls.hessian_r()

    def minimiser(self, mu: ArrayLike) -> FloatArray:
        r"""The minimum of :math:`\mu L_s + (1 - \mu) L_r`.

        Args:
            mu: Weight on SFT, [...], in [0, 1] (outside, the mixture may have no minimum).

        Returns:
            The minimum, [..., d].

        Raises:
            GACError: `mu` is not finite.

        Examples:
            >>> problem = Quadratic(dimension=1, condition_s=1.0, condition_r=1.0)
            >>> problem.minimiser([0.0, 0.5, 1.0]).tolist()
            [[-0.5], [0.0], [0.5]]
        """
        return self._bowls.minimiser(finite("Quadratic", "mu", mu))

    @property
    def optimum(self) -> FloatArray:
        """The minimum of the target loss, alpha L_s + (1 - alpha) L_r, [d]."""
        return self._optimum.values

    @cached_property
    def _optimum(self) -> Row:
        return Row(self.minimiser(self.alpha))

    def start(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Starting points of n seeds, [n, d]."""
        z = rng.standard_normal((n, self.dimension))
        return self.start_mean + self.start_spread / math.sqrt(self.dimension) * z

    def draw(self, rng: np.random.Generator, n: int, step: int) -> QuadraticDraw:
        """The noise of one step for n seeds, and the estimates of its size where asked for."""
        shape = n, self.dimension
        draw = QuadraticDraw(np.empty(shape), np.empty(shape))
        if self.proxy == "estimated":
            draw = QuadraticDraw(*draw[:2], np.empty(n), np.empty(n), np.empty(n))
        self.redraw(draw, (rng,), step)
        return draw

    def redraw(self, draw: QuadraticDraw, rngs: Sequence[np.random.Generator], step: int) -> None:
        """Equal shares of the seeds, one a generator, into the arrays of `draw`."""
        fill_gaussian_pair(rngs, draw.noise_s, draw.noise_r, self._scales, self.correlation)
        if draw.kappa is None:
            return
        sizes = math.sqrt(self.sigma_s2), math.sqrt(self.sigma_r2)
        degrees = (self.samples_s - 1) * self.dimension, (self.samples_r - 1) * self.dimension
        share = len(draw.kappa) // len(rngs)
        for index, rng in enumerate(rngs):
            found = noise_estimates(rng, share, sizes, self.correlation, degrees)
            for kept, new in zip(draw[2:], found, strict=True):
                assert kept is not None
                kept[index * share : (index + 1) * share] = new

    @cached_property
    def _scales(self) -> tuple[FloatArray, FloatArray]:
        # Arrays [], which a product takes at half the cost of a number.
        s, r = (np.array(math.sqrt(x / self.dimension)) for x in (self.sigma_s2, self.sigma_r2))
        return constant(s), constant(r)

    def truth(self, theta: FloatArray, step: int, draw: Any = None) -> Truth:
        """Exact values at theta [..., d]."""
        theta = point(self, theta)
        g_s, g_r = self._bowls.gradient_s(theta), self._bowls.gradient_r(theta)
        lead = theta.shape[:-1]
        return Truth(
            g_s=g_s,
            g_r=g_r,
            sigma_s2=np.full(lead, self.sigma_s2),
            sigma_r2=np.full(lead, self.sigma_r2),
            delta_g2=distance2(g_s, g_r),
            kappa=np.full(lead, self.kappa),
            bias_s=self.bias_vector_s if self.bias_s else 0.0,
            bias_r=self.bias_vector_r if self.bias_r else 0.0,
        )

    def sample(self, theta: FloatArray, step: int, draw: QuadraticDraw) -> Sample:
        """Noisy gradients and proxies at theta [..., n, d]."""
        theta = point(self, theta)
        return self.sample_into(theta, step, draw, (np.empty(theta.shape), np.empty(theta.shape)))

    def sample_into(
        self,
        theta: FloatArray,
        step: int,
        draw: QuadraticDraw,
        out: tuple[FloatArray, FloatArray],
    ) -> Sample:
        """As `sample`, with the gradients in `out`."""
        theta = point(self, theta)
        draw_matches(self, theta, len(draw.noise_s))
        grad_s, grad_r = out
        for gradient, exact, bias, noise in (
            (grad_s, self._bowls.gradient_s, self.bias_s, draw.noise_s),
            (grad_r, self._bowls.gradient_r, self.bias_r, draw.noise_r),
        ):
            exact(theta, out=gradient)
            if bias:
                gradient += bias / math.sqrt(self.dimension)
            gradient += noise
        if self.proxy == "estimated" and draw.kappa is None:
            fail("Quadratic: the draw has no estimates; pass one that this problem has drawn")

        def statistics(config: GACConfig, controllers: Sequence[int] | None = None) -> Proxies:
            def of(values: FloatArray) -> FloatArray:
                return values if controllers is None else values[list(controllers)]

            if self.proxy == "exact":
                here = of(theta)
                apart = self._bowls.gradient_s(here)
                apart -= self._bowls.gradient_r(here)
                return Proxies(self.sigma_s2, self.sigma_r2, dot(apart, apart))
            assert draw.sigma_s2 is not None
            assert draw.sigma_r2 is not None
            assert draw.kappa is not None
            noise_in_it = draw.sigma_s2 + draw.sigma_r2 - 2.0 * draw.kappa
            delta_g2 = distance2(of(grad_s), of(grad_r)) - noise_in_it
            return Proxies(draw.sigma_s2, draw.sigma_r2, delta_g2)

        return Sample(grad_s, grad_r, Signals(), statistics)

    def outcomes(self, theta: FloatArray, step: int) -> dict[str, FloatArray]:
        """Target loss, the two losses, and the distance from the target's minimum."""
        theta = point(self, theta)
        bowls, (away, pull) = self._bowls, np.empty((2, *theta.shape))
        bowls.minimum_s(np.subtract, theta, out=away)
        loss_s = 0.5 * dot(away, bowls.times_s(away, out=pull))
        bowls.minimum_r(np.subtract, theta, out=away)
        loss_r = 0.5 * dot(away, bowls.times_r(away, out=pull))
        self._optimum(np.subtract, theta, out=away)
        return {
            "loss": self.alpha * loss_s + (1.0 - self.alpha) * loss_r,
            "loss_s": loss_s,
            "loss_r": loss_r,
            "distance": np.sqrt(dot(away, away)),
        }
