r"""What all policy models share: sampling, batch gradients, and the exact moments of both.

A policy is a table of logits :math:`z_{x s v}` over prompts x, states s (a position and what came
before it) and actions v; theta maps to the table (:meth:`PolicyModel.logits`) and a gradient of
the table back to theta (:meth:`PolicyModel.pullback`). The two losses are

.. math::
    L_s = -E_x E_{\text{expert}} \sum_t \ln \pi(a_t \mid s_t), \qquad
    L_r = -V = -E_x E_\pi[r]

summed over the tokens of a sequence and averaged over sequences ("seq_mean_token_sum"). Their
sampled gradients are of B demonstrations, and of P groups of G rollouts of one prompt,

.. math::
    G_s = -\frac1B \sum_b \nabla \ln \pi(\tau_b), \qquad
    G_r = -\frac1P \sum_p \frac1G \sum_i A_{pi} \nabla \ln \pi(\tau_{pi})

without importance ratio (each batch is used once, on-policy) and without a KL term in the loss.
`g_r` of the truth is always the gradient of -V. The mean of G_r equals it for the advantage
"value"; dividing by a group's spread, or centring on a mean that contains the rollout itself,
makes a bias, which is reported exactly as `bias_r`: the mean of G_r is ``g_r + bias_r``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray, IntArray
from gac_ref.baselines import Signals
from gac_ref.errors import fail
from simulations.models._checks import choice, draw_matches, flag, point, real, whole
from simulations.models.groups import ADVANTAGES, EXACT_BASELINE, composition_table
from simulations.models.layout import by_column, by_row, rows
from simulations.models.observation import Observation
from simulations.models.policy_batch import sampled_batch
from simulations.models.policy_draw import Drawn, PolicyDraw, make_draw, refill
from simulations.models.policy_outcomes import law_of, policy_outcomes
from simulations.models.policy_paths import codes_of
from simulations.models.policy_sampling import (
    PolicyReadings,
    observation,
    sample_rollouts,
    sequence_scores,
)
from simulations.models.policy_tables import SequenceLaw, Shape
from simulations.models.policy_truth import policy_truth
from simulations.models.softmax import log_and_softmax, log_softmax, softmax
from simulations.problem import Move, Sample, Truth

__all__ = ["PolicyModel"]


@dataclass(frozen=True, kw_only=True)
class PolicyModel(ABC):
    r"""A policy trained by demonstrations and by group-relative reinforcement; a `Problem`.

    Args:
        experts: Demonstrations in a batch, B >= 1.
        groups: Prompts in an RL batch, P >= 1, each drawn uniformly with replacement.
        group_size: Rollouts of a prompt, G; >= 2 for the group-relative advantages.
        advantage: "value" (reward minus the exact value of the prompt) or a convention of
            :data:`gac_ref.CONVENTIONS` whose spread is a group's own.
        paired: Whether demonstration j is of the prompt of group j (then `experts` must equal
            `groups`). The two branches' noise is correlated through the prompts: kappa is not 0.
        task_seed: Seed of the tables of the task, >= 0.
        start_spread: Standard deviation of the starting points around the reference policy, >= 0.

    Raises:
        GACError: A field is out of range.

    References:
        GRPO, arXiv:2402.03300; the policy gradient theorem, Sutton et al., NIPS 1999.
    """

    experts: int = 16
    groups: int = 4
    group_size: int = 8
    advantage: str = "trl"
    paired: bool = False
    task_seed: int = 0
    start_spread: float = 0.0

    name: ClassVar[str] = "policy"
    exact: ClassVar[bool] = True
    tokens: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "experts", "groups", "group_size", low=1)
        whole(self, "task_seed", low=0)
        choice(self, "advantage", ADVANTAGES)
        flag(self, "paired")
        real(self, "start_spread", low=0.0)
        if self.paired and self.experts != self.groups:
            fail(
                f"{type(self).__name__}: paired = True needs experts = groups, not {self.experts} "
                f"and {self.groups}; make them equal"
            )
        if self.advantage != EXACT_BASELINE:
            composition_table(self.levels, self.group_size, self.advantage)

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Prompts X, horizon T, states S of a prompt and actions V."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of parameters d."""

    @property
    @abstractmethod
    def levels(self) -> tuple[float, ...]:
        """The values that a reward takes, ascending."""

    @property
    def units(self) -> dict[str, str]:
        """Unit of each outcome."""
        return {
            "reward": "reward",
            "loss": "reward",
            "sft_loss": "nats per sequence",
            "kl": "nats per token",
            "entropy": "nats per token",
        }

    @abstractmethod
    def reference(self) -> FloatArray:
        """Parameters of the reference policy, [d], where training starts."""

    @abstractmethod
    def expert(self) -> FloatArray:
        """The expert's action probabilities, [X, S, V]."""

    @abstractmethod
    def best_value(self) -> float:
        """Largest value that any policy attains, reward."""

    @abstractmethod
    def logits(self, theta: FloatArray) -> FloatArray:
        """The table of logits, [..., X, S, V], of theta [..., d]."""

    @abstractmethod
    def pullback(self, theta: FloatArray, table: FloatArray) -> FloatArray:
        """Gradient with respect to theta, [..., d], from one with respect to the logits."""

    def laid(self, theta: FloatArray) -> FloatArray:
        """Theta as it lies best in memory: here in NumPy's own order."""
        return theta

    def as_read(self, op: np.ufunc, *tables: FloatArray) -> FloatArray:
        """The result of an operation on tables that lie by column, as `pullback` reads it best."""
        return by_row(op, *tables)

    @abstractmethod
    def scores(self, theta: FloatArray) -> FloatArray:
        r"""Every :math:`\nabla_\theta \ln \pi(v \mid x, s)`, [..., X, S, V, d]."""

    @abstractmethod
    def sequence_law(self, p: FloatArray) -> SequenceLaw:
        """Exact law of a sequence under the probabilities p, [..., X, S, V]."""

    @abstractmethod
    def level_uses(self, p: FloatArray) -> FloatArray:
        """Expected uses of each pair in sequences that end at each level, [..., X, L, S, V]."""

    @abstractmethod
    def rewards(self, prompts: IntArray, actions: IntArray, drawn: Drawn) -> FloatArray:
        """Rewards of the rollouts, [P, G, ...], trajectories last.

        Args:
            prompts: Their prompts; broadcasts with [P, G, ...].
            actions: Their actions, [T, P, G, ...].
            drawn: What the step's random numbers select.
        """

    @abstractmethod
    def score_gram(self, theta: FloatArray, joint: FloatArray, scores: FloatArray) -> FloatArray:
        r"""Inner products of :math:`\sum_{sv} J_{sv} \nabla \ln \pi(v|x, s)`, [..., X, R, R].

        Args:
            theta: [..., d].
            joint: R weightings J of each prompt's pairs, [..., X, R, S, V].
            scores: The same sums' gradients with respect to the logits, [..., X, R, S, V].
        """

    @abstractmethod
    def score_squares(self, theta: FloatArray, p: FloatArray, joint: FloatArray) -> FloatArray:
        r"""Mean of :math:`|\nabla \ln \pi(\tau)|^2` on each reward level, [..., X, L + 1].

        The last entry is its mean under the expert.

        Args:
            theta: [..., d].
            p: Probabilities, [..., X, S, V].
            joint: Expected uses of the pairs at each level, and by the expert,
                [..., X, L + 1, S, V].
        """

    def start(self, rng: np.random.Generator, n: int) -> FloatArray:
        """The reference policy's parameters plus `start_spread` times standard normals, [n, d]."""
        return self.reference() + self.start_spread * rng.standard_normal((n, self.dimension))

    def draw(self, rng: np.random.Generator, n: int, step: int) -> PolicyDraw:
        """Prompts, demonstrations and the uniforms that rollouts are sampled with, n seeds."""
        return make_draw(self, rng, n)

    def redraw(self, draw: PolicyDraw, rngs: Sequence[np.random.Generator], step: int) -> None:
        """Equal shares of the seeds, one a generator, into the numbers of `draw`."""
        refill(draw, rngs)

    def observe(self, theta: ArrayLike, draw: PolicyDraw) -> Observation:
        """Sample the step's sequences at theta [..., n, d].

        Raises:
            GACError: theta and the draw have different numbers of seeds.
        """
        logits = by_column(self.logits(self._at(theta, draw)))
        drawn = Drawn(self, *draw)
        rollouts = sample_rollouts(softmax(logits), drawn)
        return observation(log_softmax(logits), rollouts, drawn)

    def sample(
        self,
        theta: ArrayLike,
        step: int,
        draw: PolicyDraw,
        gradients_of: Sequence[int] | None = None,
    ) -> Sample:
        """Both sampled batch gradients at theta [..., n, d], and what controllers may read.

        Args:
            theta: [..., n, d].
            step: The step.
            draw: Its random numbers.
            gradients_of: Places of the controllers whose gradients are wanted, on the first of two
                leading axes; None for all.

        Raises:
            GACError: theta and the draw have different numbers of seeds.
        """
        array = self._at(theta, draw)
        logits = by_column(self.logits(array))
        batch = sampled_batch(array, softmax(logits), Drawn(self, *draw))
        readings = PolicyReadings(logits, batch.rollouts, batch.drawn)
        grad_s, grad_r = batch.gradients(gradients_of)
        return Sample(
            grad_s=grad_s,
            grad_r=grad_r,
            signals=Signals(),
            statistics=readings.proxies,
            on_demand=readings.signals,
            move=batch.move,
        )

    def move(self, theta: ArrayLike, step: int, draw: PolicyDraw) -> Move:
        """What moves theta [..., n, d] at this step, without the gradients of each branch.

        Raises:
            GACError: theta and the draw have different numbers of seeds.
        """
        array = self._at(theta, draw)
        logits = by_column(self.logits(array))
        p = softmax(logits, out=None if np.may_share_memory(logits, array) else logits)
        return sampled_batch(array, p, Drawn(self, *draw)).move

    def sample_gradients(self, theta: ArrayLike, draw: PolicyDraw) -> tuple[FloatArray, FloatArray]:
        r"""Per-sample gradients; their means over the samples are those of `sample`.

        Of a demonstration :math:`-\nabla \ln \pi(\tau_b)`, of a rollout
        :math:`-A_i \nabla \ln \pi(\tau_i)`. Rollouts of a group are dependent: for
        :func:`gac_ref.gradient_oracle` average each group first.

        Returns:
            [..., B, d] and [..., N, d].
        """
        array = self._at(theta, draw)
        lead, drawn = array.shape[:-1], Drawn(self, *draw)
        rollouts = sample_rollouts(softmax(by_column(self.logits(array))), drawn)
        table = self.scores(array).reshape(*lead, -1, self.dimension)
        codes_s, codes_r = (
            rows(codes_of(pairs, self.shape), 2) for pairs in (drawn.expert_pairs, rollouts.pairs)
        )
        x_s = sequence_scores(table, np.broadcast_to(codes_s, (*lead, *codes_s.shape[-2:])))
        advantages = rows(rollouts.advantages, 1)
        return -x_s, -advantages[..., None] * sequence_scores(table, codes_r)

    def truth(self, theta: ArrayLike, step: int, draw: Any = None) -> Truth:
        """Exact gradients, noise, disagreement, kappa and bias at theta [..., d]."""
        array = point(self, theta)
        p = softmax(by_column(self.logits(array)))
        return policy_truth(self, array, p, self.level_uses(p))

    def outcomes(self, theta: ArrayLike, step: int) -> dict[str, FloatArray]:
        """Exact outcomes at theta [..., d], each [...]; see :func:`policy_outcomes`."""
        logp, p = log_and_softmax(by_column(self.logits(point(self, theta))))
        return policy_outcomes(self, logp, p, self.sequence_law(p))

    def measure(
        self, theta: ArrayLike, step: int, draw: Any = None
    ) -> tuple[Truth, dict[str, FloatArray]]:
        """`truth` and `outcomes` at once: the probabilities and the law are worked out once."""
        array = point(self, theta)
        logp, p = log_and_softmax(by_column(self.logits(array)))
        uses = self.level_uses(p)
        outcomes = policy_outcomes(self, logp, p, law_of(uses))
        return policy_truth(self, array, p, uses), outcomes

    def _at(self, theta: ArrayLike, draw: PolicyDraw) -> FloatArray:
        array = point(self, theta)
        draw_matches(self, array, len(draw.numbers))
        return array
