r"""A problem without parameters to learn: gradients that follow a script, and noise that is known.

What a controller does cannot change what it will see, so its estimates and weights can be judged
against exact values at every step, whatever it did before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.baselines import Signals
from gac_ref.baselines._fields import choice, whole
from gac_ref.errors import fail
from gac_ref.oracles import gradient_oracle
from gac_ref.proxies import Proxies
from simulations.noise.clipped_pair import BranchLaw, SampledMoments, sampled_moments
from simulations.noise.clipping import Clipping
from simulations.noise.joint import Independent
from simulations.noise.pair import PairNoise
from simulations.noise.plane import PlaneVector, plane_basis
from simulations.noise.regimes import Constant, Regime
from simulations.problem import Sample, Truth

__all__ = ["SyntheticGradients"]


def _zero() -> PlaneVector:
    return PlaneVector(size=Constant(value=0.0))


@dataclass(frozen=True, kw_only=True)
class SyntheticGradients:
    r"""Scripted gradients under scripted noise, as a problem whose theta does not matter.

    At step t, with the level :math:`\ell_k(t)` and the noise :math:`\epsilon_k` of branch k, m
    samples are drawn for each branch,

    .. math::
        x_{k,i} = \mathrm{clip}\bigl(g_k(t) + b_k(t) + \sqrt{m\, \ell_k(t)}\; \epsilon_{k,i}\bigr),
        \qquad G_k = \frac1m \sum_i x_{k,i}

    so that without clipping, whatever m is,

    .. math::
        \sigma_k^2 = \ell_k(t)\, E|\epsilon_k|^2, \qquad
        \kappa = \sqrt{\ell_s \ell_r}\, E\langle \epsilon_s, \epsilon_r\rangle, \qquad
        \Delta^2 = |g_s - g_r|^2 = \text{delta.size}(t)^2

    With the default noise (:math:`E|\epsilon_k|^2 = 1`) the levels are the variances themselves.
    Clipping is per sample; :class:`simulations.noise.Clipping` says where its moments are exact.

    Args:
        name: The name in studies and tables.
        noise: Noise of both branches; its dimension is that of the problem, >= 2.
        level_s: Factor on the variance of the SFT noise over time; never negative.
        level_r: Factor on the variance of the RL noise over time; never negative.
        gradient_r: :math:`g_r` over time.
        delta: :math:`g_s - g_r` over time: size and angle of the disagreement, the angle
            measured in the same plane (0 is along :math:`u_1`).
        bias_s: Bias of the SFT gradient over time, in the same plane.
        bias_r: Bias of the RL gradient over time, in the same plane.
        clip_s: Clipping of the SFT samples, or None.
        clip_r: Clipping of the RL samples, or None.
        plane: Seed of the plane in which all these vectors move; None for the first two axes.
        samples: m, samples of a branch in a batch; at least 2 where they are observed.
        observe: What the proxies hold: "samples", the unbiased gradient-space estimates from
            the m samples (:func:`gac_ref.gradient_oracle`, paired; their disagreement contains
            the biases, and can be negative), or "exact", the truth.

    Raises:
        GACError: A field is invalid, or the dimensions do not match.

    A level that wanders follows the path of its own seed, the same in all trajectories: the exact
    moments at a step are computed once. `simulations.models.NoisyQuadratic` has a path each.

    Examples:
        >>> from simulations.noise import Isotropic, Ramp
        >>> problem = SyntheticGradients(
        ...     noise=Independent(sft=Isotropic(dimension=4), rl=Isotropic(dimension=4)),
        ...     level_r=Ramp(start=1.0, end=3.0, begin=0, length=10),
        ...     delta=PlaneVector(size=Constant(value=2.0)))
        >>> truth = problem.truth(np.zeros((5, 4)), 5)
        >>> truth.sigma_r2.round(12).tolist(), float(truth.delta_g2[0])
        ([2.0, 2.0, 2.0, 2.0, 2.0], 4.0)
        >>> draw = problem.draw(np.random.default_rng(0), 5, 5)
        >>> problem.sample(np.zeros((5, 4)), 5, draw).grad_s.shape
        (5, 4)
    """

    name: str = "synthetic"
    noise: PairNoise = field(default_factory=Independent)
    level_s: Regime = field(default_factory=Constant)
    level_r: Regime = field(default_factory=Constant)
    gradient_r: PlaneVector = field(default_factory=PlaneVector)
    delta: PlaneVector = field(default_factory=PlaneVector)
    bias_s: PlaneVector = field(default_factory=_zero)
    bias_r: PlaneVector = field(default_factory=_zero)
    clip_s: Clipping | None = None
    clip_r: Clipping | None = None
    plane: int | None = None
    samples: int = 4
    observe: str = "samples"
    kind: str = field(default="synthetic_gradients", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        label = type(self).__name__
        if not isinstance(self.name, str) or not self.name:
            fail(f"{label}: name = {self.name!r} is not a name; pass one")
        for fields, wanted in (
            (("noise",), PairNoise),
            (("level_s", "level_r"), Regime),
            (("gradient_r", "delta", "bias_s", "bias_r"), PlaneVector),
            (("clip_s", "clip_r"), Clipping | None),
        ):
            for each in fields:
                value = getattr(self, each)
                if not isinstance(value, wanted):
                    kind = getattr(wanted, "__name__", "Clipping, or None")
                    fail(f"{label}: {each} = {value!r} is not a {kind}; pass one")
        for each in ("level_s", "level_r"):
            lowest = getattr(self, each).lowest
            if not lowest >= 0.0:
                fail(f"{label}: {each} can fall to {lowest!r}; no variance does, so keep it >= 0")
        if self.plane is not None:
            whole(self, "plane")
        choice(self, "observe", ("samples", "exact"))
        whole(self, "samples", low=2 if self.observe == "samples" else 1)
        plane_basis(self.dimension, self.plane)

    @property
    def dimension(self) -> int:
        """That of the noise."""
        return self.noise.dimension

    @property
    def tokens(self) -> bool:
        """Gradients only: every GAC variant reads the same gradient-space values."""
        return False

    @property
    def exact(self) -> bool:
        """Whether `truth` is exact at every step; decided at step 0, see `truth_error`."""
        return self.truth_error(0) == 0.0

    @property
    def units(self) -> dict[str, str]:
        """Unit of each outcome."""
        return {"displacement": "gradient x learning rate"}

    def truth_error(self, step: int) -> float:
        """Largest standard error of a clipped moment of one sample; 0 where all are exact."""
        moments = _moments(self, _script(self, step))
        return 0.0 if moments.exact else moments.error

    def start(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Zeros, [n, d]."""
        return np.zeros((n, self.dimension))

    def draw(self, rng: np.random.Generator, n: int, step: int) -> Any:
        """The noise's draws for m samples of n seeds, leading axes [n, m]."""
        return self.noise.draw(rng, (n, self.samples))

    def truth(self, theta: FloatArray, step: int, draw: Any = None) -> Truth:
        """Exact values, the same at every theta [..., d]."""
        script = _script(self, step)
        one = _moments(self, script)
        lead, m = theta.shape[:-1], self.samples
        size = float(self.delta.size.at(step))
        return Truth(
            g_s=_spread(script.g_s, lead),
            g_r=_spread(script.g_r, lead),
            sigma_s2=np.full(lead, one.sigma_s2 / m),
            sigma_r2=np.full(lead, one.sigma_r2 / m),
            delta_g2=np.full(lead, size * size),
            kappa=np.full(lead, one.kappa / m),
            bias_s=_spread(script.mean_s - script.g_s + one.bias_s, lead),
            bias_r=_spread(script.mean_r - script.g_r + one.bias_r, lead),
        )

    def sample(self, theta: FloatArray, step: int, draw: Any) -> Sample:
        """The batch gradients of a draw, for every theta [..., n, d], and the proxies."""
        script = _script(self, step)
        e_s, e_r = self.noise.noise(draw, script.mean_s, script.mean_r)
        x_s = script.mean_s + np.sqrt(script.level_s * self.samples) * e_s
        x_r = script.mean_r + np.sqrt(script.level_r * self.samples) * e_r
        x_s = x_s if self.clip_s is None else self.clip_s.apply(x_s)
        x_r = x_r if self.clip_r is None else self.clip_r.apply(x_r)
        lead = theta.shape[:-1]
        if self.observe == "exact":
            truth = self.truth(theta, step)
            proxies = Proxies(truth.sigma_s2, truth.sigma_r2, truth.delta_g2)
        else:
            found = gradient_oracle(x_s, x_r, paired=True)
            proxies = Proxies(
                np.broadcast_to(found.sigma_s2, lead),
                np.broadcast_to(found.sigma_r2, lead),
                np.broadcast_to(found.delta_g2, lead),
            )
        return Sample(
            grad_s=np.broadcast_to(x_s.sum(axis=-2) / self.samples, theta.shape),
            grad_r=np.broadcast_to(x_r.sum(axis=-2) / self.samples, theta.shape),
            signals=Signals(proxies=proxies),
        )

    def outcomes(self, theta: FloatArray, step: int) -> dict[str, FloatArray]:
        """How far theta has moved, which nothing depends on."""
        return {"displacement": np.sqrt(np.sum(theta * theta, axis=-1))}


class _Script:
    """The vectors and levels of one step."""

    def __init__(self, problem: SyntheticGradients, step: int) -> None:
        basis = plane_basis(problem.dimension, problem.plane)
        self.g_r = problem.gradient_r.at(step, basis)
        self.g_s = self.g_r + problem.delta.at(step, basis)
        self.mean_s = self.g_s + problem.bias_s.at(step, basis)
        self.mean_r = self.g_r + problem.bias_r.at(step, basis)
        self.level_s = float(problem.level_s.at(step))
        self.level_r = float(problem.level_r.at(step))


@lru_cache(maxsize=1024)
def _script(problem: SyntheticGradients, step: int) -> _Script:
    return _Script(problem, step)


def _moments(problem: SyntheticGradients, script: _Script) -> SampledMoments:
    """Moments of one of the m samples, cached where the script repeats itself."""
    m = problem.samples
    return sampled_moments(
        problem.noise,
        BranchLaw(tuple(script.mean_s.tolist()), script.level_s * m, problem.clip_s),
        BranchLaw(tuple(script.mean_r.tolist()), script.level_r * m, problem.clip_r),
    )


def _spread(vector: FloatArray, lead: tuple[int, ...]) -> FloatArray:
    return np.broadcast_to(vector, (*lead, *vector.shape))
