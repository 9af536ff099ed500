r"""What the engine asks of a problem: exact gradients and noise, and noisy samples of them.

A problem has two true gradients, :math:`g_s(\theta)` and :math:`g_r(\theta)`, and a sampler of
noisy ones. The engine moves :math:`\theta \leftarrow \theta - \eta\,(\mu G_s + (1 - \mu) G_r)`
for every controller and seed at once.

Shapes: theta is [C, n, d] or [n, d], for C controllers, n seeds and d parameters. A draw has
shape [n, ...]: it is made once a seed, never looks at theta, and is shared by all controllers
(common random numbers). Everything broadcasts over the leading axes, and element [c, i] must have
the same bits whatever C and n it is computed with: elementwise operations and sums over trailing
axes only, never a matrix product that has the seeds as an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import FloatArray
from gac_ref.baselines import Signals

__all__ = [
    "InPlace",
    "Measuring",
    "Move",
    "Moving",
    "Problem",
    "Redrawing",
    "Sample",
    "Statistics",
    "Truth",
]


class Truth(NamedTuple):
    r"""Exact gradient-space values at one theta and step; [...] are the leading axes of theta.

    Args:
        g_s: True gradient of the SFT loss, [..., d] (descent: ``theta -= lr * G``).
        g_r: True gradient of the RL loss, [..., d].
        sigma_s2: :math:`E|e_s|^2` of the sampled SFT batch gradient around its mean, [...].
        sigma_r2: :math:`E|e_r|^2` of the sampled RL batch gradient around its mean, [...].
        delta_g2: :math:`|g_s - g_r|^2` of the truths, biases excluded, [...].
        kappa: :math:`E\langle e_s, e_r\rangle`, [...].
        bias_s: Mean of the sampled SFT gradient minus `g_s`, [..., d] or 0.
        bias_r: Mean of the sampled RL gradient minus `g_r`, [..., d] or 0.

    Examples:
        >>> g = np.zeros((3, 2))
        >>> Truth(g, g, np.ones(3), np.ones(3), np.zeros(3)).kappa
        0.0
    """

    g_s: FloatArray
    g_r: FloatArray
    sigma_s2: FloatArray
    sigma_r2: FloatArray
    delta_g2: FloatArray
    kappa: FloatArray | float = 0.0
    bias_s: FloatArray | float = 0.0
    bias_r: FloatArray | float = 0.0


class Statistics(Protocol):
    """The proxies of one observation, computed when some controller is due to read them.

    Of a batch of tokens they are what :func:`gac_ref.proxies` gives for the configuration; without
    tokens they are gradient-space values, the same for every configuration.
    """

    def __call__(self, config: GACConfig, controllers: Sequence[int] | None = None) -> Proxies:
        """The proxies, [...]; to be called before theta moves.

        Args:
            config: The choices.
            controllers: Places on the first of two leading axes, theirs alone; None for all.
        """


class Move(Protocol):
    r"""The move that a step's sample makes of the weights: cheaper than both gradients.

    A gradient that is linear in the samples' weights is one backward pass for both branches.
    """

    def __call__(self, mu: FloatArray, rate: float, phi_weighted: Sequence[int] = ()) -> FloatArray:
        r""":math:`\eta\,(\mu G_s + (1 - \mu) G_r)`, [..., d]; to be called before theta moves.

        Args:
            mu: Weight on SFT, [...].
            rate: Learning rate.
            phi_weighted: Places of the controllers, on the first of two leading axes, in whose
                G_s each token is weighted by a detached phi(p) = p (1 - p), where there are
                tokens.
        """


class Sample(NamedTuple):
    """One noisy observation of both branches.

    Args:
        grad_s: Sampled SFT gradient, [..., d].
        grad_r: Sampled RL gradient, [..., d].
        signals: What a controller may read: `kl`, `entropy`, `solved`, ... where the model has
            them, and `proxies` where `statistics` is None. The engine adds what follows from the
            gradients and the truth (norms, the Gram matrix, exact values) and the random numbers.
        statistics: Gives the proxies; None where `signals` holds them, for every configuration.
        on_demand: Gives those of `signals`' fields, but the proxies, that are asked for by name;
            None where `signals` holds all that there is. To be called before theta moves.
        move: Gives the move; None where the engine makes it of the gradients.

    Examples:
        >>> Sample(np.zeros(2), np.ones(2), Signals()).grad_r.tolist()
        [1.0, 1.0]
    """

    grad_s: FloatArray
    grad_r: FloatArray
    signals: Signals
    statistics: Statistics | None = None
    on_demand: Callable[[Collection[str]], Signals] | None = None
    move: Move | None = None


@runtime_checkable
class Problem(Protocol):
    """The interface of a model.

    An implementation is a frozen, keyword-only dataclass of plain numbers and strings, validated
    with one-line errors: its fields are its configuration, and are hashed. Arrays that follow
    from the fields are built by cached helpers, never stored in fields.
    """

    @property
    def name(self) -> str:
        """Short name, as used in studies and tables."""

    @property
    def dimension(self) -> int:
        """Number of parameters d."""

    @property
    def exact(self) -> bool:
        """Whether `truth` is exact (it may be an estimate for models too large to enumerate)."""

    @property
    def tokens(self) -> bool:
        """Whether it observes batches of tokens: proxies then depend on a GAC variant's choices."""

    @property
    def units(self) -> dict[str, str]:
        """Unit of each of `outcomes`, by name."""

    def start(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Starting points of n seeds, [n, d]."""

    def draw(self, rng: np.random.Generator, n: int, step: int) -> Any:
        """The random numbers of one step for n seeds: a tuple or dict of arrays [n, ...]."""

    def truth(self, theta: FloatArray, step: int, draw: Any = None) -> Truth:
        """Exact values at theta [..., d].

        The step's draw is passed for problems whose noise differs from seed to seed; all others
        leave it alone.
        """

    def sample(self, theta: FloatArray, step: int, draw: Any) -> Sample:
        """One noisy observation at theta [..., n, d] from the draw of this step."""

    def outcomes(self, theta: FloatArray, step: int) -> dict[str, FloatArray]:
        """Named outcomes, each [...]: e.g. loss, distance, reward, kl, entropy."""


@runtime_checkable
class Redrawing(Protocol):
    """A problem that can also draw into arrays that it is given.

    Memory that is written again while it is in cache costs a fraction of fresh memory: the engine
    has all blocks of a tile draw into one array, step after step.
    """

    def redraw(self, draw: Any, rngs: Sequence[np.random.Generator], step: int) -> None:
        """Equal shares of the seeds, one a generator, into the arrays of `draw`.

        Each share has the numbers that `draw` would have given from its generator.
        """


@runtime_checkable
class InPlace(Protocol):
    """A problem that can also sample into arrays that it is given, for the same reason."""

    def sample_into(
        self, theta: FloatArray, step: int, draw: Any, out: tuple[FloatArray, FloatArray]
    ) -> Sample:
        """As `Problem.sample`, the gradients in `out`, two C-contiguous arrays of theta's shape."""


@runtime_checkable
class Moving(Protocol):
    """A problem that samples a move without the gradients of each branch."""

    def laid(self, theta: FloatArray) -> FloatArray:
        """The same theta, lying in memory as `move` reads and writes it best.

        The order of no sum may depend on it.
        """

    def sample(
        self,
        theta: FloatArray,
        step: int,
        draw: Any,
        gradients_of: Sequence[int] | None = None,
    ) -> Sample:
        """As `Problem.sample`, with the gradients of these controllers alone, in their order."""

    def move(self, theta: FloatArray, step: int, draw: Any) -> Move:
        """`Problem.sample(...).move`, to the bit."""


@runtime_checkable
class Measuring(Protocol):
    """A problem whose exact values and outcomes at one theta share most of their work."""

    def measure(
        self, theta: FloatArray, step: int, draw: Any = None
    ) -> tuple[Truth, dict[str, FloatArray]]:
        """`Problem.truth` and `Problem.outcomes`, up to rounding."""
