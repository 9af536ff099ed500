"""The random numbers of a step, and the sequences that they select under a policy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import FloatArray, IntArray
from gac_ref.baselines import Signals
from gac_ref.errors import fail
from simulations.models.groups import EXACT_BASELINE, relative_advantages
from simulations.models.layout import slow_axes
from simulations.models.observation import (
    Observation,
    TokenStreams,
    observed_proxies,
    observed_signals,
)
from simulations.models.policy_tables import Shape, constants, table_weights
from simulations.models.softmax import choose, cumulative, entropy, log_softmax

if TYPE_CHECKING:
    from simulations.models.policy import PolicyModel

__all__ = [
    "PolicyDraw",
    "PolicyReadings",
    "Rollouts",
    "make_draw",
    "observation",
    "sample_paths",
    "sample_rollouts",
    "sequence_scores",
]


class PolicyDraw(NamedTuple):
    """The random numbers of one step; nothing here depends on theta.

    Args:
        prompts_s: Prompt of each demonstration, [n, B].
        prompts_r: Prompt of each group, [n, P].
        expert_codes: State-action codes of the demonstrations, [n, T, B].
        expert_uses: How often the demonstrations use each pair, [n, X, S, V].
        uniforms: For the rollouts' tokens, [n, T, N], in [0, 1).
        reward_uniforms: For the rollouts' rewards, [n, N], in [0, 1).

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> Bandit(experts=5).draw(np.random.default_rng(0), 3, 0).prompts_s.shape
        (3, 5)
    """

    prompts_s: IntArray
    prompts_r: IntArray
    expert_codes: IntArray
    expert_uses: FloatArray
    uniforms: FloatArray
    reward_uniforms: FloatArray


def make_draw(model: PolicyModel, rng: np.random.Generator, n: int) -> PolicyDraw:
    """All random numbers of a step from one call of the generator, [n, K] uniforms.

    Raises:
        GACError: n is below 1.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> make_draw(Bandit(groups=2), np.random.default_rng(0), 5).prompts_r.shape
        (5, 2)
    """
    if n < 1:
        fail(f"n = {n} seeds; pass at least 1")
    shape = model.shape
    experts, groups, size = model.experts, model.groups, model.groups * model.group_size
    parts = (groups, experts, shape.horizon * experts, shape.horizon * size, size)
    numbers, ends = rng.random((n, sum(parts))), itertools.accumulate(parts)
    prompts_r, prompts_s, tokens, uniforms, rewards = (
        np.ascontiguousarray(numbers[:, end - width : end])
        for width, end in zip(parts, ends, strict=True)
    )
    of_groups = _prompts(prompts_r, shape.prompts)
    of_experts = of_groups if model.paired else _prompts(prompts_s, shape.prompts)
    # One table for all seeds.
    start = of_experts * shape.states
    tokens = tokens.reshape(n, shape.horizon, experts)
    codes = sample_paths(constants(model).expert_edges, start, start, tokens, shape)
    return PolicyDraw(
        prompts_s=of_experts,
        prompts_r=of_groups,
        expert_codes=codes,
        expert_uses=table_weights(codes, np.ones((n, experts)), shape),
        uniforms=uniforms.reshape(n, shape.horizon, size),
        reward_uniforms=rewards,
    )


def sample_paths(
    edges: FloatArray, rows: IntArray, start: IntArray, uniforms: FloatArray, shape: Shape
) -> IntArray:
    """Sequences sampled token by token by inverse CDF; codes [..., T, N].

    Args:
        edges: Of all rows of the probabilities, from :func:`simulations.models.softmax.cumulative`.
        rows: Row of each sequence's first state, [..., N].
        start: The same row within one trajectory's table, which codes are counted in, [n, N].
        uniforms: [n, T, N], in [0, 1).
        shape: The table's extents.

    Returns:
        State-action codes, [..., T, N].

    Examples:
        >>> shape = Shape.of(prompts=1, horizon=2, actions=2)
        >>> zero = np.zeros((1, 1), np.int64)
        >>> edges = cumulative(np.full((3, 2), 0.5))
        >>> sample_paths(edges, zero, zero, np.array([[[0.9], [0.1]]]), shape)[0, :, 0]
        array([1, 4])
    """
    codes = np.empty((*rows.shape[:-1], shape.horizon, rows.shape[-1]), dtype=np.int64)
    action = np.zeros((), dtype=np.int64)
    first = start * shape.actions
    for t in range(shape.horizon):
        state = shape.block(t).start + action
        action = choose(edges, rows + state, uniforms[:, t, :])
        np.add(first + state * shape.actions, action, out=codes[..., t, :])
    return codes


class Rollouts(NamedTuple):
    """The rollouts of a step, and what they earned.

    Args:
        codes: State-action codes, [..., T, N].
        rewards: [..., P, G].
        advantages: [..., N].

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit(contexts=1, arms=2, groups=1, group_size=3)
        >>> draw = bandit.draw(np.random.default_rng(0), 2, 0)
        >>> sample_rollouts(bandit, np.full((2, 1, 1, 2), 0.5), draw).codes.shape
        (2, 1, 3)
    """

    codes: IntArray
    rewards: FloatArray
    advantages: FloatArray


def sample_rollouts(model: PolicyModel, p: FloatArray, draw: PolicyDraw) -> Rollouts:
    """The rollouts under the probabilities p, [..., n, X, S, V]."""
    shape, lead = model.shape, p.shape[:-3]
    grouped = (*lead, model.groups, model.group_size)
    per_rollout = np.repeat(draw.prompts_r, model.group_size, axis=-1)
    rows = shape.prompts * shape.states
    trajectory = np.arange(math.prod(lead), dtype=np.int64).reshape(*lead, 1)
    start = per_rollout * shape.states
    codes = sample_paths(cumulative(p), trajectory * rows + start, start, draw.uniforms, shape)
    rewards = model.rewards(codes, draw)
    if model.advantage == EXACT_BASELINE:
        value = (model.sequence_law(p).chance * np.asarray(model.levels)).sum(axis=-1)
        place = np.broadcast_to(per_rollout, rewards.shape)
        advantages = rewards - np.take_along_axis(value, place, axis=-1)
    else:
        relative = relative_advantages(rewards.reshape(grouped), model.advantage)
        advantages = relative.reshape(rewards.shape)
    return Rollouts(codes, rewards.reshape(grouped), advantages)


def observation(
    model: PolicyModel, logp: FloatArray, rollouts: Rollouts, draw: PolicyDraw
) -> Observation:
    """The step's sequences with their log-probabilities; logp [..., n, X, S, V].

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit(contexts=1, arms=2, groups=1, group_size=3)
        >>> draw = bandit.draw(np.random.default_rng(0), 2, 0)
        >>> p = np.full((2, 1, 1, 2), 0.5)
        >>> observation(bandit, np.log(p), sample_rollouts(bandit, p, draw), draw).logprob_r.shape
        (2, 1, 3)
    """
    shape, lead = model.shape, logp.shape[:-3]
    row = np.arange(math.prod(lead), dtype=np.int64).reshape(*lead, 1, 1) * math.prod(shape.table)
    flat, codes = logp.reshape(-1), rollouts.codes
    place = codes + row
    at_tokens = entropy(logp).reshape(-1).take(place // shape.actions)
    reference = constants(model).reference_logp.reshape(-1)
    return Observation(
        demonstrations=draw.expert_codes,
        rollouts=codes,
        logprob_s=flat.take(draw.expert_codes + row),
        logprob_r=flat.take(place),
        ref_logprob_s=reference.take(draw.expert_codes),
        ref_logprob_r=reference.take(codes),
        advantages=rollouts.advantages,
        rewards=rollouts.rewards,
        entropy=at_tokens.reshape(*lead, -1).mean(axis=-1),
        prompts_s=draw.prompts_s,
        prompts_r=draw.prompts_r,
    )


class PolicyReadings(NamedTuple):
    """What controllers may read of a step, computed when one of them does.

    Args:
        model: The model.
        logits: The table of logits, [..., n, X, S, V].
        rollouts: The rollouts.
        draw: The step's random numbers.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit()
        >>> rng = np.random.default_rng(0)
        >>> theta = np.stack([bandit.start(rng, 3)] * 4)
        >>> sample = bandit.sample(theta, 0, bandit.draw(rng, 3, 0))
        >>> sample.statistics(GACConfig.released(), [1, 3]).delta_g2.shape
        (2, 3)
    """

    model: PolicyModel
    logits: FloatArray
    rollouts: Rollouts
    draw: PolicyDraw

    def proxies(self, config: GACConfig, controllers: Sequence[int] | None = None) -> Proxies:
        """:func:`observed_proxies`, of the controllers at these places, or of all."""
        places = slice(None) if controllers is None else list(controllers)
        logp = np.ascontiguousarray(log_softmax(slow_axes(self.logits[places], 1)))
        table = math.prod(self.model.shape.table)
        row = np.arange(logp.size // table, dtype=np.int64).reshape(*logp.shape[:-3], 1, 1) * table
        streams = TokenStreams(
            logprob_s=logp.reshape(-1).take(self.draw.expert_codes + row),
            logprob_r=logp.reshape(-1).take(self.rollouts.codes[places] + row),
            advantages=self.rollouts.advantages[places],
        )
        return observed_proxies(config, streams)

    def signals(self, names: Collection[str]) -> Signals:
        """:func:`observed_signals`, as far as they are asked for."""
        if not {"kl", "entropy", "solved", "any_rewarded"} & set(names):
            return Signals()
        logp = log_softmax(self.logits)
        return observed_signals(observation(self.model, logp, self.rollouts, self.draw))


def sequence_scores(table: FloatArray, codes: IntArray) -> FloatArray:
    """Sum over a sequence's tokens of their scores, [..., N, d].

    Args:
        table: Scores of all pairs, [..., X S V, d].
        codes: [..., T, N], with the same leading axes.

    Examples:
        >>> sequence_scores(np.array([[1.0], [10.0]]), np.array([[0, 1], [1, 1]])).tolist()
        [[11.0], [20.0]]
    """
    total = np.zeros((*codes.shape[:-2], codes.shape[-1], table.shape[-1]))
    for t in range(codes.shape[-2]):
        total += np.take_along_axis(table, codes[..., t, :, None], axis=-2)
    return total


def _prompts(uniform: FloatArray, prompts: int) -> IntArray:
    return np.minimum((uniform * prompts).astype(np.int64), prompts - 1)
