"""The sequences that a step's random numbers select under a policy, and what is read of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import FloatArray, IntArray
from gac_ref.baselines import Signals
from simulations.folds import row_sum
from simulations.models.groups import EXACT_BASELINE, advantages_of
from simulations.models.layout import by_column, columns, flat, rows
from simulations.models.observation import (
    Observation,
    TokenStreams,
    observed_proxies,
    observed_signals,
)
from simulations.models.policy_draw import Drawn
from simulations.models.policy_paths import codes_of, over_controllers, places_of, sample_paths
from simulations.models.policy_tables import constants
from simulations.models.softmax import cumulative, entropy, log_softmax

__all__ = [
    "PolicyReadings",
    "Rollouts",
    "observation",
    "sample_rollouts",
    "sequence_scores",
    "token_streams",
]


class Rollouts(NamedTuple):
    """The rollouts of a step, and what they earned; [...] are the axes of the trajectories.

    Args:
        places: Where their state-action pairs stand among the tables of all trajectories,
            [T, N, ...].
        rewards: [N, ...].
        advantages: [N, ...].

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit(contexts=1, arms=2, groups=1, group_size=3)
        >>> drawn = Drawn(bandit, *bandit.draw(np.random.default_rng(0), 2, 0))
        >>> sample_rollouts(np.full((2, 1, 1, 2), 0.5), drawn).places.shape
        (1, 3, 2)
    """

    places: IntArray
    rewards: FloatArray
    advantages: FloatArray

    @property
    def pairs(self) -> IntArray:
        """Their state-action pairs, [T, N, ...]."""
        return self.places // math.prod(self.places.shape[2:])


def sample_rollouts(p: FloatArray, drawn: Drawn) -> Rollouts:
    """The rollouts under the probabilities p, [..., n, X, S, V]."""
    model, lead = drawn.model, p.shape[:-3]
    shape = model.shape
    lanes = math.prod(lead)
    # A group's rollouts share their prompt, [P, 1, ...]: what hangs on it alone is done once.
    prompts = over_controllers(drawn.prompts_r.T[:, None], lead)
    start = places_of(prompts * shape.states, lead)
    uniforms = over_controllers(drawn.part("rollouts"), lead)
    places, actions = sample_paths(flat(cumulative(p)), start, uniforms, shape, lanes)
    rewards = model.rewards(prompts, actions, drawn)
    if model.advantage == EXACT_BASELINE:
        value = row_sum(model.sequence_law(p).chance * np.asarray(model.levels))
        place = np.broadcast_to(prompts, start.shape)
        advantages = rewards - np.take_along_axis(columns(value, 1)[:, None], place, axis=0)
    else:
        advantages = advantages_of(rewards, model.levels, model.advantage)
    every = (model.groups * model.group_size, *lead)
    return Rollouts(places.reshape(-1, *every), rewards.reshape(every), advantages.reshape(every))


def observation(logp: FloatArray, rollouts: Rollouts, drawn: Drawn) -> Observation:
    """The step's sequences with their log-probabilities; logp [..., n, X, S, V].

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit(contexts=1, arms=2, groups=1, group_size=3)
        >>> drawn = Drawn(bandit, *bandit.draw(np.random.default_rng(0), 2, 0))
        >>> p = np.full((2, 1, 1, 2), 0.5)
        >>> observation(np.log(p), sample_rollouts(p, drawn), drawn).logprob_r.shape
        (2, 1, 3)
    """
    model, lead = drawn.model, logp.shape[:-3]
    shape = model.shape
    pairs_s, pairs_r = drawn.expert_pairs, rollouts.pairs
    streams = token_streams(logp, pairs_s, pairs_r, rollouts.advantages)
    codes_s, codes_r = (rows(codes_of(pairs, shape), 2) for pairs in (pairs_s, pairs_r))
    row = pairs_r % (shape.prompts * shape.states)
    at_tokens = flat(entropy(logp)[..., None]).take(places_of(row, lead))
    reference = constants(model).reference_logp.reshape(-1)
    return Observation(
        demonstrations=codes_s,
        rollouts=codes_r,
        logprob_s=streams.logprob_s,
        logprob_r=streams.logprob_r,
        ref_logprob_s=reference.take(codes_s),
        ref_logprob_r=reference.take(codes_r),
        advantages=streams.advantages,
        rewards=rows(rollouts.rewards, 1).reshape(*lead, model.groups, model.group_size),
        entropy=rows(at_tokens, 2).reshape(*lead, -1).mean(axis=-1),
        prompts_s=drawn.prompts_s,
        prompts_r=drawn.prompts_r,
    )


def token_streams(
    logp: FloatArray, pairs_s: IntArray, pairs_r: IntArray, advantages: FloatArray
) -> TokenStreams:
    """What the proxies read of a step.

    Args:
        logp: Log-probabilities, [..., n, X, S, V].
        pairs_s: State-action pairs of the demonstrations, [T, B, n].
        pairs_r: State-action pairs of the rollouts, [T, N, ..., n].
        advantages: [N, ..., n].

    Examples:
        >>> logp, pairs = np.log(np.full((2, 1, 1, 2), 0.5)), np.zeros((1, 3, 2), np.int64)
        >>> token_streams(logp, pairs, pairs, np.zeros((3, 2))).logprob_r.shape
        (2, 1, 3)
    """
    lead, table = logp.shape[:-3], flat(logp)
    return TokenStreams(
        logprob_s=rows(table.take(places_of(over_controllers(pairs_s, lead), lead)), 2),
        logprob_r=rows(table.take(places_of(pairs_r, lead)), 2),
        advantages=rows(advantages, 1),
    )


class PolicyReadings(NamedTuple):
    """What controllers may read of a step, computed when one of them does.

    Args:
        logits: The table of logits, [..., n, X, S, V].
        rollouts: The rollouts.
        drawn: What the step's random numbers select.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit()
        >>> rng = np.random.default_rng(0)
        >>> theta = np.stack([bandit.start(rng, 3)] * 4)
        >>> sample = bandit.sample(theta, 0, bandit.draw(rng, 3, 0))
        >>> sample.statistics(GACConfig.released(), [1, 3]).delta_g2.shape
        (2, 3)
    """

    logits: FloatArray
    rollouts: Rollouts
    drawn: Drawn

    def proxies(self, config: GACConfig, controllers: Sequence[int] | None = None) -> Proxies:
        """:func:`observed_proxies`, of the controllers at these places, or of all."""
        rollouts = self.rollouts
        logits, pairs, advantages = self.logits, rollouts.pairs, rollouts.advantages
        if controllers is not None and len(controllers) < len(logits):
            chosen = list(controllers)
            logits = logits[chosen]
            pairs, advantages = pairs[..., chosen, :], advantages[..., chosen, :]
        logp = log_softmax(by_column(logits))
        streams = token_streams(logp, self.drawn.expert_pairs, pairs, advantages)
        return observed_proxies(config, streams)

    def signals(self, names: Collection[str]) -> Signals:
        """:func:`observed_signals`, as far as they are asked for."""
        if not {"kl", "entropy", "solved", "any_rewarded"} & set(names):
            return Signals()
        logp = log_softmax(by_column(self.logits))
        return observed_signals(observation(logp, self.rollouts, self.drawn))


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
