r"""Softmax contextual bandit with Bernoulli rewards and an imperfect expert; everything exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from gac_ref._checks import frozen
from gac_ref._typing import FloatArray, IntArray
from gac_ref.errors import fail
from simulations.models._checks import real, whole
from simulations.models.policy import PolicyModel
from simulations.models.policy_draw import Drawn
from simulations.models.policy_paths import over_controllers
from simulations.models.policy_tables import SequenceLaw, Shape
from simulations.models.tabular import TabularPolicy

__all__ = ["Bandit"]


@dataclass(frozen=True, kw_only=True)
class Bandit(TabularPolicy):
    r"""One action for each context; theta is the logits [contexts, arms], flattened.

    .. math::
        V = \frac1X \sum_x \sum_a \pi(a|x)\, \rho_{xa}, \qquad
        \frac{\partial V}{\partial z_{xa}} = \frac1X \pi(a|x)\,(\rho_{xa} - V_x)

    with :math:`\rho` the chance of a reward of 1: `best_reward` for the best arm of a context,
    evenly spread from `worst_reward` to below it for the others, in an order that `task_seed`
    shuffles. The expert plays its intended arm with chance `expert_accuracy` and each other arm
    equally often; it intends the best arm, but the second best in `expert_mistakes` contexts. The
    rewards of GRPO groups are drawn, so that every exact value comes from enumerating the numbers
    of successes.

    Args:
        contexts: X >= 1, drawn uniformly.
        arms: V >= 2.
        best_reward: In (0, 1].
        worst_reward: In [0, best_reward).
        expert_accuracy: In (0, 1].
        expert_mistakes: Contexts 0 .. expert_mistakes - 1 have a wrong expert; <= contexts.
        start_noise: Standard deviation of the reference policy's logits, >= 0.

    The other fields are those of :class:`~simulations.models.policy.PolicyModel`.

    Raises:
        GACError: A field is out of range.

    Examples:
        >>> bandit = Bandit(contexts=3, arms=4, advantage="value")
        >>> rng = np.random.default_rng(0)
        >>> theta = bandit.start(rng, 5)
        >>> sample = bandit.sample(theta, 0, bandit.draw(rng, 5, 0))
        >>> sample.grad_r.shape, bandit.truth(theta, 0).sigma_r2.shape
        ((5, 12), (5,))
        >>> Bandit(contexts=0)
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: Bandit: contexts = 0 is not a whole number >= 1; pass one

    References:
        Sutton and Barto, Reinforcement Learning, 2nd edition, section 2.8 (gradient bandits).
    """

    contexts: int = 4
    arms: int = 5
    best_reward: float = 0.9
    worst_reward: float = 0.1
    expert_accuracy: float = 0.8
    expert_mistakes: int = 1
    start_noise: float = 0.3

    name: ClassVar[str] = "bandit"

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "contexts", low=1)
        whole(self, "arms", low=2)
        whole(self, "expert_mistakes", low=0)
        real(self, "best_reward", "expert_accuracy", above=0.0, high=1.0)
        real(self, "worst_reward", low=0.0, high=1.0)
        real(self, "start_noise", low=0.0)
        if self.worst_reward >= self.best_reward:
            fail(
                f"Bandit: worst_reward = {self.worst_reward!r} is not below best_reward = "
                f"{self.best_reward!r}; lower it"
            )
        if self.expert_mistakes > self.contexts:
            fail(
                f"Bandit: expert_mistakes = {self.expert_mistakes} is above contexts = "
                f"{self.contexts}; lower it"
            )
        PolicyModel.__post_init__(self)

    @property
    def shape(self) -> Shape:
        """X contexts, one position and state, V arms."""
        return Shape.of(prompts=self.contexts, horizon=1, actions=self.arms)

    @property
    def levels(self) -> tuple[float, ...]:
        """Rewards are 0 or 1."""
        return (0.0, 1.0)

    def success(self) -> FloatArray:
        r"""The chance :math:`\rho` of a reward, [X, V], in [0, 1].

        Examples:
            >>> Bandit(arms=3, best_reward=1.0, worst_reward=0.0).success()[0].tolist()
            [0.0, 1.0, 0.5]
        """
        return _tables(self)[0]

    def reference(self) -> FloatArray:
        """Logits of the reference policy, [d]."""
        return _tables(self)[1]

    def expert(self) -> FloatArray:
        """The expert's probabilities, [X, 1, V]."""
        order = np.argsort(self.success(), axis=-1)
        wrong = np.arange(self.contexts) < self.expert_mistakes
        intended = np.where(wrong, order[:, -2], order[:, -1])
        is_intended = np.arange(self.arms) == intended[:, None]
        other = (1.0 - self.expert_accuracy) / (self.arms - 1)
        return np.where(is_intended, self.expert_accuracy, other)[:, None, :]

    def best_value(self) -> float:
        """The best arm's reward, everywhere."""
        return self.best_reward

    def sequence_law(self, p: FloatArray) -> SequenceLaw:
        """Failure and success; one visit of the only state."""
        chance = self.level_uses(p).sum(axis=-1)[..., 0]
        return SequenceLaw(chance, np.ones(p.shape[:-1]))

    def level_uses(self, p: FloatArray) -> FloatArray:
        """Pi (1 - rho) and pi rho, [..., X, 2, 1, V]."""
        success = self.success()[:, None, :]
        return np.stack((p * (1.0 - success), p * success), axis=-3)

    def rewards(self, prompts: IntArray, actions: IntArray, drawn: Drawn) -> FloatArray:
        """1 where the rollout's uniform is below its arm's chance, else 0, [P, G, ...]."""
        chance = self.success().reshape(-1).take(prompts * self.arms + actions[0])
        uniforms = over_controllers(drawn.part("rewards"), chance.shape[2:])
        return np.asarray(uniforms < chance, dtype=np.float64)


@lru_cache(maxsize=64)
def _tables(bandit: Bandit) -> tuple[FloatArray, FloatArray]:
    """Chances of a reward [X, V] and the reference logits [d]."""
    rng = np.random.default_rng(bandit.task_seed)
    step = (bandit.best_reward - bandit.worst_reward) / (bandit.arms - 1)
    ladder = bandit.best_reward - step * np.arange(bandit.arms)
    ladder[-1] = bandit.worst_reward
    success = rng.permuted(np.tile(ladder, (bandit.contexts, 1)), axis=-1)
    noise = rng.standard_normal(math.prod(success.shape))
    return frozen(success), frozen(bandit.start_noise * noise)
