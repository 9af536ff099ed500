r"""What one training step shows: sampled sequences, and the statistics a controller reads.

Sequences here have equal lengths and no padding, which turns the proxies of
:func:`gac_ref.proxies` into plain moments over rectangular arrays, for thousands of trajectories
at once. Any single trajectory can be handed over as a :class:`gac_ref.Batch`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref import Batch, GACConfig, Proxies, phi
from gac_ref._typing import AnyArray, FloatArray, IntArray
from gac_ref.baselines import Signals
from gac_ref.errors import fail

__all__ = ["Observation", "TokenStreams", "observed_proxies", "observed_signals", "to_batch"]

SPREAD_RTOL = 2.0**-40
"""A stream with less spread than this share of its magnitude has none; as in the estimator."""


class Observation(NamedTuple):
    """The sequences of one step, [...] trajectories; B demonstrations, P groups of G rollouts.

    The token axis stands before the sequence axis, so that one position of all sequences is
    contiguous. N = P * G, the rollouts of a group adjacent.

    Args:
        demonstrations: State-action codes of the demonstrations, [n, T, B] (no controller axis).
        rollouts: State-action codes of the rollouts, [..., T, N].
        logprob_s: Log-probabilities of the demonstrations' tokens, [..., T, B], nats.
        logprob_r: Log-probabilities of the rollouts' tokens, [..., T, N], nats.
        ref_logprob_s: The same under the reference policy, [n, T, B], nats.
        ref_logprob_r: The same under the reference policy, [..., T, N], nats.
        advantages: [..., N], reward units (over their spread, where the convention divides).
        rewards: [..., P, G].
        entropy: Mean entropy of the policy at the rollouts' tokens, [...], nats.
        prompts_s: Prompt of each demonstration, [n, B].
        prompts_r: Prompt of each group, [n, P].

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit(groups=2, group_size=4)
        >>> rng = np.random.default_rng(0)
        >>> seen = bandit.observe(bandit.start(rng, 3), bandit.draw(rng, 3, 0))
        >>> seen.rewards.shape, seen.logprob_r.shape
        ((3, 2, 4), (3, 1, 8))
    """

    demonstrations: IntArray
    rollouts: IntArray
    logprob_s: FloatArray
    logprob_r: FloatArray
    ref_logprob_s: FloatArray
    ref_logprob_r: FloatArray
    advantages: FloatArray
    rewards: FloatArray
    entropy: FloatArray
    prompts_s: IntArray
    prompts_r: IntArray


class TokenStreams(NamedTuple):
    """The part of an observation that the proxies read.

    Args:
        logprob_s: Log-probabilities of the demonstrations' tokens, [..., T, B], nats.
        logprob_r: Log-probabilities of the rollouts' tokens, [..., T, N], nats.
        advantages: [..., N].

    Examples:
        >>> streams = TokenStreams(np.zeros((1, 2)), np.zeros((1, 2)), np.array([1.0, -1.0]))
        >>> float(observed_proxies(GACConfig(), streams).sigma_r2.round(6))
        1.0
    """

    logprob_s: FloatArray
    logprob_r: FloatArray
    advantages: FloatArray


def to_batch(observation: Observation, index: tuple[int, ...]) -> Batch:
    """One trajectory's step as the batch of a trainer: demonstrations first, then the rollouts.

    Prompt groups get their position as id; a demonstration has the id of a group of its own
    (P, P + 1, ...), a reward of 0, which nothing reads, and an advantage of 0.

    Args:
        observation: What :meth:`observe` gave.
        index: Position on the leading axes, (seed,) or (controller, seed).

    Returns:
        B + N sequences of T response tokens each.

    Raises:
        GACError: The index does not name one trajectory.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit(experts=2, groups=1, group_size=3)
        >>> rng = np.random.default_rng(0)
        >>> seen = bandit.observe(bandit.start(rng, 3), bandit.draw(rng, 3, 0))
        >>> to_batch(seen, (1,))
        Batch(B=5, T=1, experts=2, rollouts=3, response_tokens=5)
    """
    lead = observation.entropy.shape
    if len(index) != len(lead) or not all(0 <= i < n for i, n in zip(index, lead, strict=True)):
        fail(f"index = {index!r} is not a position in {lead}; pass one integer an axis")
    groups, size = observation.rewards.shape[-2:]
    seed = index[-1]
    experts = observation.prompts_s.shape[-1]

    def rows(of_experts: AnyArray, of_rollouts: AnyArray) -> FloatArray:
        return np.concatenate((of_experts.T, of_rollouts.T))

    return Batch(
        rows(observation.logprob_s[index], observation.logprob_r[index]),
        np.ones((experts + groups * size, observation.rollouts.shape[-2]), dtype=np.bool_),
        np.concatenate((np.zeros(experts), observation.advantages[index])),
        np.arange(experts + groups * size) < experts,
        group_ids=np.concatenate((groups + np.arange(experts), np.repeat(np.arange(groups), size))),
        rewards=np.concatenate((np.zeros(experts), observation.rewards[index].ravel())),
        old_logprob=rows(observation.logprob_s[index], observation.logprob_r[index]),
        ref_logprob=rows(observation.ref_logprob_s[seed], observation.ref_logprob_r[index]),
        entropy=max(float(observation.entropy[index]), 0.0),
    )


def observed_signals(observation: Observation) -> Signals:
    """What any controller may read of this step; norms and exact values are the engine's to add.

    `kl` is the k3 estimate on the rollouts' tokens; `solved` counts the rollouts of each group
    with reward >= 1; `any_rewarded` is whether any exceeds 0. The proxies are apart: they depend
    on a configuration.

    Returns:
        Signals with `kl`, `entropy`, `solved` and `any_rewarded`.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit()
        >>> rng = np.random.default_rng(0)
        >>> seen = bandit.observe(bandit.start(rng, 3), bandit.draw(rng, 3, 0))
        >>> observed_signals(seen).solved.shape
        (3, 4)
    """
    d = observation.ref_logprob_r - observation.logprob_r
    return Signals(
        kl=_token_mean(np.expm1(d) - d),
        entropy=observation.entropy,
        solved=(observation.rewards >= 1.0).sum(axis=-1).astype(np.float64),
        any_rewarded=(observation.rewards > 0.0).any(axis=-1).astype(np.float64),
    )


def observed_proxies(config: GACConfig, observation: Observation | TokenStreams) -> Proxies:
    r"""The three coefficient-space proxies of every trajectory; those of :func:`gac_ref.proxies`.

    With equal lengths every token has the same weight, so the normalised disagreement is
    :math:`\frac{T}{T + \epsilon}\, u^\top C u` with C the covariance of the two streams over
    tokens and u the signed reciprocal spreads. Nothing is masked and no branch is ever missing, so
    that `masking` and `missing_branch` make no difference.

    Args:
        config: Reads `eps`, `mask_eps`, `trim_ratio`, `use_phi`, `coefficient_normalization` and
            `disagreement_rows`.
        observation: The step, or the part of it that is read.

    Returns:
        Arrays of the trajectories' shape.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit()
        >>> rng = np.random.default_rng(0)
        >>> seen = bandit.observe(bandit.start(rng, 3), bandit.draw(rng, 3, 0))
        >>> observed_proxies(GACConfig(), seen).delta_g2.shape
        (3,)

    References:
        The specification's section 3.
    """
    length = observation.logprob_r.shape[-2]
    share = length / (length + config.mask_eps)
    nll = np.sort(-observation.logprob_s.sum(axis=-2) / (length + config.mask_eps), axis=-1)
    count = nll.shape[-1]
    cut = int(count * config.trim_ratio) if count >= 4 else 0
    sigma_s2 = _variance(np.ascontiguousarray(nll[..., cut : count - cut]))
    sigma_r2 = _variance(observation.advantages * share)
    every = config.disagreement_rows == "all"
    sft = _stream(config, observation.logprob_r)
    if every:
        sft = np.concatenate((_stream(config, observation.logprob_s), sft), axis=-1)
    rl = observation.advantages
    if every:
        rl = np.concatenate((np.zeros(nll.shape), rl), axis=-1)
    if config.coefficient_normalization == "zscore":
        delta_g2, no_sft, no_rl = _normalised(sft, rl)
    else:
        difference = sft - rl[..., None, :]
        delta_g2 = _token_mean(difference * difference)
        no_sft = no_rl = np.zeros(delta_g2.shape, dtype=np.bool_)
    return Proxies(
        sigma_s2=np.maximum(sigma_s2, config.eps),
        sigma_r2=np.maximum(sigma_r2, config.eps),
        delta_g2=delta_g2 * share,
        sigma_s2_floored=sigma_s2 < config.eps,
        sigma_r2_floored=sigma_r2 < config.eps,
        sft_stream_constant=no_sft,
        rl_stream_constant=no_rl,
    )


def _stream(config: GACConfig, logprob: FloatArray) -> FloatArray:
    """The SFT coefficients without their sign, [..., T, N]."""
    return phi(logprob) if config.use_phi else np.ones(logprob.shape)


def _normalised(sft: FloatArray, rl: FloatArray) -> tuple[FloatArray, AnyArray, AnyArray]:
    """Mean squared difference of the z-scores over tokens, and which stream has no spread."""
    mean_s, mean_r = _token_mean(sft), rl.mean(axis=-1)
    centred_s, centred_r = sft - mean_s[..., None, None], rl - mean_r[..., None]
    variance_s, variance_r = _token_mean(centred_s * centred_s), (centred_r**2).mean(axis=-1)
    covariance = (centred_s.mean(axis=-2) * centred_r).mean(axis=-1)
    flat_s, inverse_s = _reciprocal_spread(mean_s, variance_s)
    flat_r, inverse_r = _reciprocal_spread(mean_r, variance_r)
    total = (
        variance_s * inverse_s**2
        + variance_r * inverse_r**2
        - 2.0 * covariance * inverse_s * inverse_r
    )
    return np.maximum(total, 0.0), flat_s, flat_r


def _reciprocal_spread(mean: FloatArray, variance: FloatArray) -> tuple[AnyArray, FloatArray]:
    spread = np.sqrt(variance)
    flat = spread <= SPREAD_RTOL * np.hypot(mean, spread)
    return flat, np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, spread))


def _token_mean(values: FloatArray) -> FloatArray:
    """Mean over the last two axes, taken over one contiguous run a trajectory."""
    return np.asarray(values.reshape(*values.shape[:-2], -1).mean(axis=-1))


def _variance(values: FloatArray) -> FloatArray:
    """Population variance over the last axis."""
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.asarray((centred * centred).mean(axis=-1))
