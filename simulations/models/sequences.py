r"""The task of the token policies: prompts with target patterns, a verifier, an imperfect expert.

The reward of a sequence depends only on how many positions match the prompt's target, so the
running count c is all that dynamic programming has to add to the state: with
:math:`f_t(u, c)` the probability of previous token u and count c before position t, and
:math:`B_t(u, c, l)` the chance of ending at reward level l from there,

.. math::
    P(u, a \text{ at } t,\; l) = \pi_t(a|u) \sum_c f_t(u, c)\, B_{t+1}(a,\, c + [a = y_t],\, l)

in O(T V^2 T L) operations a prompt, and not V^T.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gac_ref._checks import frozen
from gac_ref._typing import FloatArray, IntArray
from gac_ref.errors import fail
from simulations.folds import row_sum
from simulations.models._checks import choice, real, whole
from simulations.models.layout import columns, tables
from simulations.models.policy import PolicyModel
from simulations.models.policy_draw import Drawn
from simulations.models.policy_tables import SequenceLaw, Shape

__all__ = ["REWARDS", "SequenceTask"]

REWARDS = ("threshold", "partial")
"""A reward of 1 from a number of matches on; or the share of positions that match."""


@dataclass(frozen=True, kw_only=True)
class SequenceTask(PolicyModel):
    r"""Sequences of `horizon` tokens, rewarded for matching the prompt's target pattern.

    The expert plays its intended token with chance `expert_accuracy` and each other token equally
    often, independently at each position. It intends the target, but for the first
    `expert_mistakes` prompts a wrong last token.

    Args:
        prompts: X >= 1, drawn uniformly; targets are drawn with `task_seed`.
        vocabulary: V >= 2.
        horizon: T >= 1.
        reward: "threshold": 1 where at least `required` positions match, else 0; "partial": the
            share of matching positions, a multiple of 1 / T.
        required: Matches for a threshold reward, in 1 .. T; 0 stands for all T.
        expert_accuracy: In (0, 1].
        expert_mistakes: In 0 .. X.

    Raises:
        GACError: A field is out of range.
    """

    prompts: int = 4
    vocabulary: int = 4
    horizon: int = 4
    reward: str = "threshold"
    required: int = 0
    expert_accuracy: float = 0.9
    expert_mistakes: int = 1

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "prompts", "horizon", low=1)
        whole(self, "vocabulary", low=2)
        whole(self, "required", "expert_mistakes", low=0)
        choice(self, "reward", REWARDS)
        real(self, "expert_accuracy", above=0.0, high=1.0)
        kind = type(self).__name__
        if self.expert_mistakes > self.prompts:
            fail(
                f"{kind}: expert_mistakes = {self.expert_mistakes} is above prompts = "
                f"{self.prompts}; lower it"
            )
        if self.required > self.horizon:
            fail(f"{kind}: required = {self.required} is above horizon = {self.horizon}; lower it")
        if self.required and self.reward != "threshold":
            fail(
                f"{kind}: required = {self.required} has no meaning for reward = "
                f"{self.reward!r}; pass 0"
            )
        PolicyModel.__post_init__(self)

    @property
    def shape(self) -> Shape:
        """X prompts, T positions, 1 + (T - 1) V states, V tokens."""
        return Shape.of(prompts=self.prompts, horizon=self.horizon, actions=self.vocabulary)

    @property
    def levels(self) -> tuple[float, ...]:
        """0 and 1, or the multiples of 1 / T."""
        if self.reward == "threshold":
            return (0.0, 1.0)
        return tuple(k / self.horizon for k in range(self.horizon + 1))

    def targets(self) -> IntArray:
        """The target token of each prompt and position, [X, T]."""
        return _task(self).targets

    def level_of_count(self) -> IntArray:
        """Reward level of each number of matches 0 .. T, [T + 1]."""
        matches = np.arange(self.horizon + 1)
        if self.reward == "partial":
            return matches
        return np.asarray(matches >= (self.required or self.horizon), dtype=np.int64)

    def expert(self) -> FloatArray:
        """The expert's probabilities, [X, S, V]."""
        return _task(self).expert

    def best_value(self) -> float:
        """A policy that always plays the target earns 1."""
        return 1.0

    def rewards(self, prompts: IntArray, actions: IntArray, drawn: Drawn) -> FloatArray:
        """The verifier: rewards [P, G, ...] of the actions [T, P, G, ...]."""
        task = _task(self)
        matches = np.zeros(actions.shape[1:], dtype=np.min_scalar_type(self.horizon))
        for action, target in zip(actions, task.targets.T.astype(actions.dtype), strict=True):
            matches += action == target.take(prompts)
        return np.asarray(task.reward.take(matches))

    def sequence_law(self, p: FloatArray) -> SequenceLaw:
        """Forward over positions, previous tokens and counts of matches."""
        history = self._forward(columns(p))
        visits = [row_sum(np.moveaxis(before, 2, -1)) for before in history[:-1]]
        ends, at_level = row_sum(np.moveaxis(history[-1], 1, -1)), self._at_level(p.ndim - 3)
        chance = _sum_of_products((ends[:, None, c], at_level[:, c]) for c in range(ends.shape[1]))
        return SequenceLaw(_last(chance), _last(np.concatenate(visits, axis=1)))

    def level_uses(self, p: FloatArray) -> FloatArray:
        """Forward, then backward from the reward levels, [..., X, L, S, V]."""
        table, each, levels = columns(p), np.arange(self.prompts), len(self.levels)
        history = self._forward(table)
        uses = np.empty((*table.shape[:2], levels, *table.shape[2:]))
        # [V, X, L, count, ...]: by the token at t and the count that it leads to.
        at_level = self._at_level(p.ndim - 3)
        after = np.broadcast_to(at_level, (*table.shape[:2], *at_level.shape))
        for t in reversed(range(self.horizon)):
            block, before, target = self.shape.block(t), history[t], self.targets()[:, t]
            here = table[:, :, block]
            follow = np.array(after[:, :, :, :-1])
            follow[target, each] = after[target, each, :, 1:]
            ahead = _sum_of_products(
                (follow[:, :, :, None, c], before[:, None, :, c]) for c in range(t + 1)
            )
            np.multiply(here[:, :, None], ahead, out=uses[:, :, :, block])
            behind = _sum_of_products(
                (here[v, :, :, None, None], follow[v, :, None]) for v in range(self.vocabulary)
            )
            after = behind.swapaxes(0, 1)
        return tables(uses, 4)

    def _forward(self, p: FloatArray) -> list[FloatArray]:
        """Chances of previous token and count before each position t, [X, 1 or V, t + 1, ...].

        T + 1 of them; the last is after the last token. Here p is [V, X, S, ...], as it lies.
        """
        each = np.arange(self.prompts)
        history = [np.ones((self.prompts, 1, 1, *p.shape[3:]))]
        for t in range(self.horizon):
            here, before, target = p[:, :, self.shape.block(t)], history[t], self.targets()[:, t]
            reached = _sum_of_products(
                (here[:, :, u, None], before[:, u]) for u in range(before.shape[1])
            )
            after = np.zeros((*reached.shape[:2], t + 2, *p.shape[3:]))
            after[:, :, :-1] = reached
            after[target, each, 0] = 0.0  # a hit moves the count one up
            after[target, each, 1:] = reached[target, each]
            history.append(after.swapaxes(0, 1))
        return history

    def _at_level(self, trailing: int) -> FloatArray:
        """Whether a count of matches ends at a level, [L, T + 1, 1, ...], 0 or 1."""
        at_level = np.eye(len(self.levels))[:, self.level_of_count()]
        return at_level.reshape(*at_level.shape, *(1,) * trailing)


class _Task(NamedTuple):
    """Arrays that follow from a task's fields."""

    targets: IntArray  # [X, T]
    expert: FloatArray  # its chances, [X, S, V]
    reward: FloatArray  # of each number of matches, [T + 1]


@lru_cache(maxsize=64)
def _task(task: SequenceTask) -> _Task:
    shape = task.shape
    rng = np.random.default_rng(task.task_seed)
    targets = rng.integers(task.vocabulary, size=(task.prompts, task.horizon))
    intended = targets.copy()
    intended[: task.expert_mistakes, -1] += 1
    intended %= task.vocabulary
    tokens = np.arange(task.vocabulary)
    expert = np.empty(shape.table)
    other = (1.0 - task.expert_accuracy) / (task.vocabulary - 1)
    for t in range(task.horizon):
        block = shape.block(t)
        is_intended = tokens == intended[:, t, None]
        expert[:, block] = np.where(is_intended, task.expert_accuracy, other)[:, None, :]
    reward = np.asarray(task.levels)[task.level_of_count()]
    return _Task(frozen(targets), frozen(expert), frozen(reward))


def _sum_of_products(pairs: Iterable[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Sum of a * b over pairs of arrays that broadcast, one after the other.

    Term by term for all trajectories at once: `matmul` would call the matrix library for each of
    these tiny products.
    """
    (a, b), *rest = pairs
    total = a * b
    term = np.empty_like(total)
    for a, b in rest:
        np.multiply(a, b, out=term)
        total += term
    return total


def _last(values: FloatArray) -> FloatArray:
    """A view with the first two axes last."""
    return np.moveaxis(values, (0, 1), (-2, -1))
