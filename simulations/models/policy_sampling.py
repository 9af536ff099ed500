"""The random numbers of a step, and the sequences that they select under a policy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gac_ref._typing import FloatArray, IntArray
from gac_ref.errors import fail
from simulations.models.groups import EXACT_BASELINE, relative_advantages
from simulations.models.observation import Observation
from simulations.models.policy_tables import Shape, constants, table_weights
from simulations.models.softmax import choose, entropy

if TYPE_CHECKING:
    from simulations.models.policy import PolicyModel

__all__ = ["PolicyDraw", "make_draw", "sample_observation", "sample_paths", "sequence_scores"]


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
    edges = np.cumsum(parts)[:-1]
    prompts_r, prompts_s, tokens, uniforms, rewards = np.split(
        rng.random((n, sum(parts))), edges, axis=-1
    )
    of_groups = _prompts(prompts_r, shape.prompts)
    of_experts = of_groups if model.paired else _prompts(prompts_s, shape.prompts)
    table = np.broadcast_to(constants(model).expert, (n, *constants(model).expert.shape))
    codes = sample_paths(table, of_experts, tokens.reshape(n, shape.horizon, experts), shape)
    return PolicyDraw(
        prompts_s=of_experts,
        prompts_r=of_groups,
        expert_codes=codes,
        expert_uses=table_weights(codes, np.ones((n, experts)), shape),
        uniforms=np.ascontiguousarray(uniforms).reshape(n, shape.horizon, size),
        reward_uniforms=np.ascontiguousarray(rewards),
    )


def sample_paths(p: FloatArray, prompts: IntArray, uniforms: FloatArray, shape: Shape) -> IntArray:
    """Sequences sampled token by token by inverse CDF; codes [..., T, N].

    Args:
        p: Probabilities, [..., X, S, V].
        prompts: Prompt of each sequence, [n, N].
        uniforms: [n, T, N], in [0, 1).
        shape: The table's extents.

    Returns:
        State-action codes, [..., T, N].

    Examples:
        >>> p = np.full((1, 1, 3, 2), 0.5)
        >>> shape = Shape.of(prompts=1, horizon=2, actions=2)
        >>> sample_paths(p, np.zeros((1, 1), np.int64), np.array([[[0.9], [0.1]]]), shape)[0, :, 0]
        array([1, 4])
    """
    lead = p.shape[:-3]
    cumulative = np.cumsum(p, axis=-1)
    rows = np.arange(cumulative[..., 0, 0, 0].size, dtype=np.int64).reshape(*lead, 1)
    start = prompts * shape.states
    offset = rows * (shape.prompts * shape.states) + start
    codes = np.empty((*lead, shape.horizon, prompts.shape[-1]), dtype=np.int64)
    action = np.zeros((), dtype=np.int64)
    for t in range(shape.horizon):
        state = shape.block(t).start + action
        action = choose(cumulative, offset + state, uniforms[:, t, :])
        codes[..., t, :] = (start + state) * shape.actions + action
    return codes


def sample_observation(model: PolicyModel, logp: FloatArray, draw: PolicyDraw) -> Observation:
    """The step's sequences under the log-probabilities logp, [..., n, X, S, V].

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit(contexts=1, arms=2, groups=1, group_size=3)
        >>> draw = bandit.draw(np.random.default_rng(0), 2, 0)
        >>> sample_observation(bandit, np.log(np.full((2, 1, 1, 2), 0.5)), draw).logprob_r.shape
        (2, 1, 3)
    """
    shape, lead = model.shape, logp.shape[:-3]
    grouped = (*lead, model.groups, model.group_size)
    per_rollout = np.repeat(draw.prompts_r, model.group_size, axis=-1)
    p = np.exp(logp)
    codes = sample_paths(p, per_rollout, draw.uniforms, shape)
    rewards = model.rewards(codes, draw)
    if model.advantage == EXACT_BASELINE:
        value = (model.sequence_law(p).chance * np.asarray(model.levels)).sum(axis=-1)
        place = np.broadcast_to(per_rollout, rewards.shape)
        advantages = rewards - np.take_along_axis(value, place, axis=-1)
    else:
        relative = relative_advantages(rewards.reshape(grouped), model.advantage)
        advantages = relative.reshape(rewards.shape)
    size = math.prod(shape.table)
    row = np.arange(math.prod(lead), dtype=np.int64).reshape(*lead, 1, 1) * size
    flat, place_r = logp.reshape(-1), codes + row
    at_tokens = entropy(logp).reshape(-1).take(place_r // shape.actions)
    reference = constants(model).reference_logp.reshape(-1)
    return Observation(
        demonstrations=draw.expert_codes,
        rollouts=codes,
        logprob_s=flat.take(draw.expert_codes + row),
        logprob_r=flat.take(place_r),
        ref_logprob_s=reference.take(draw.expert_codes),
        ref_logprob_r=reference.take(codes),
        advantages=advantages,
        rewards=rewards.reshape(grouped),
        entropy=at_tokens.reshape(*lead, -1).mean(axis=-1),
        prompts_s=draw.prompts_s,
        prompts_r=draw.prompts_r,
    )


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
