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

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gac_ref._checks import frozen
from gac_ref._typing import BoolArray, FloatArray, IntArray
from gac_ref.errors import fail
from simulations.models._checks import choice, real, whole
from simulations.models.policy import PolicyModel
from simulations.models.policy_sampling import PolicyDraw
from simulations.models.policy_tables import SequenceLaw, Shape
from simulations.models.softmax import row_sum, slow_axes

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

    def rewards(self, codes: IntArray, draw: PolicyDraw) -> FloatArray:
        """The verifier: rewards [..., N] of the codes [..., T, N]."""
        matches = _task(self).hits.reshape(-1).take(codes).sum(axis=-2)
        return np.asarray(np.asarray(self.levels)[self.level_of_count()].take(matches))

    def sequence_law(self, p: FloatArray) -> SequenceLaw:
        """Forward over positions, previous tokens and counts of matches."""
        history = self._forward(p)
        visits = np.concatenate([row_sum(before) for before in history[:-1]], axis=-1)
        ends = row_sum(np.swapaxes(history[-1], -1, -2))
        at_level = np.eye(len(self.levels))[:, self.level_of_count()]
        return SequenceLaw(row_sum(ends[..., None, :] * at_level), visits)

    def level_uses(self, p: FloatArray) -> FloatArray:
        """Forward, then backward from the reward levels, [..., X, L, S, V]."""
        hit, history = _task(self).hit, self._forward(p)
        at_level = np.eye(len(self.levels))[:, self.level_of_count()]
        blocks = []
        # [..., X, L, V or 1, count]: by the token at t and the count that it leads to.
        shape = (*p.shape[:-2], *at_level[:, None].shape)
        after = slow_axes(np.broadcast_to(at_level[:, None], shape), 4)
        for t in reversed(range(self.horizon)):
            follow = np.where(hit[t][:, None], after[..., 1:], after[..., :-1])
            here = p[..., None, self.shape.block(t), :]
            before = history[t][..., None, :, :]
            ahead = _products(np.swapaxes(before, -1, -2), np.swapaxes(follow, -1, -2))
            blocks.append(here * ahead)
            after = _products(np.swapaxes(here, -1, -2), follow)
        return np.concatenate(blocks[::-1], axis=-2)

    def _forward(self, p: FloatArray) -> list[FloatArray]:
        """Chances of previous token and count before each position t, [..., X, 1 or V, t + 1].

        T + 1 of them; the last is after the last token.
        """
        before = np.ones_like(p[..., :1, :1])
        history = [before]
        for t in range(self.horizon):
            reached = _products(p[..., self.shape.block(t), :], before)
            before = _count(reached, _task(self).hit[t])
            history.append(before)
        return history


class _Task(NamedTuple):
    """Targets [X, T], whether a code hits the target [X, S, V], the same by position, expert."""

    targets: IntArray
    hits: IntArray
    hit: tuple[BoolArray, ...]  # [X, V, 1], one a position
    expert: FloatArray


@lru_cache(maxsize=64)
def _task(task: SequenceTask) -> _Task:
    shape = task.shape
    rng = np.random.default_rng(task.task_seed)
    targets = rng.integers(task.vocabulary, size=(task.prompts, task.horizon))
    intended = targets.copy()
    intended[: task.expert_mistakes, -1] += 1
    intended %= task.vocabulary
    tokens = np.arange(task.vocabulary)
    hits = np.empty((task.prompts, shape.states, task.vocabulary), dtype=np.int64)
    expert = np.empty(hits.shape)
    other = (1.0 - task.expert_accuracy) / (task.vocabulary - 1)
    for t in range(task.horizon):
        block = shape.block(t)
        hits[:, block] = (tokens == targets[:, t, None])[:, None, :]
        is_intended = tokens == intended[:, t, None]
        expert[:, block] = np.where(is_intended, task.expert_accuracy, other)[:, None, :]
    hit = tuple(frozen((tokens == targets[:, t, None])[:, :, None]) for t in range(task.horizon))
    return _Task(frozen(targets), frozen(hits), hit, frozen(expert))


def _products(a: FloatArray, b: FloatArray) -> FloatArray:
    """Sums over k of a[..., k, i] b[..., k, j], [..., i, j].

    Term by term for all trajectories at once: `matmul` would call the matrix library for each of
    these tiny products.
    """
    total = a[..., 0, :, None] * b[..., 0, None, :]
    for k in range(1, a.shape[-2]):
        total += a[..., k, :, None] * b[..., k, None, :]
    return total


def _count(chance: FloatArray, hit: BoolArray) -> FloatArray:
    """Move the chances [..., X, V, t + 1] of tokens that hit one count up, [..., X, V, t + 2]."""
    none = np.zeros_like(chance[..., :1])
    up, same = np.concatenate((none, chance), axis=-1), np.concatenate((chance, none), axis=-1)
    return np.where(hit, up, same)
