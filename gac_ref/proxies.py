r"""From a batch to the three coefficient-space proxies, directly or by merging shards.

Every sequence contributes one scalar to each statistic, so that long sequences get no extra
vote. The three have different units (advantage^2, nats^2, coefficient^2), and nothing in the
method calibrates them to one another.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gac_ref._tiles import Scratch, keep, tiles
from gac_ref._typing import ArrayLike, BoolArray, FloatArray, IntArray
from gac_ref.batch import Batch
from gac_ref.config import GACConfig
from gac_ref.errors import fail
from gac_ref.reductions import Moments, divide_by_count, merge_values, trimmed_variance
from gac_ref.sequences import sequence_statistics

__all__ = [
    "Proxies",
    "ProxySums",
    "batch_kl",
    "merge",
    "partial_sums",
    "proxies",
    "proxies_from_sums",
]

SPREAD_RTOL = 2.0**-40
"""A stream whose spread is below this share of its magnitude has none: what is left is rounding.

Centred float64 sums leave about 2**-50 of the magnitude; z-scoring that would turn it into a
disagreement of order one.
"""


CHUNK_ROWS = 16_384
"""Rows whose per-sequence moments are held at a time; a batch is merged from such chunks the way
that it is merged from shards."""

CHOICES = ("use_phi", "coefficient_normalization", "disagreement_rows", "masking", "mask_eps")
"""The config fields that partial sums depend on."""


class Proxies(NamedTuple):
    r"""The three statistics of one batch (or of thousands of trajectories) and what is missing.

    Args:
        sigma_s2: Trimmed variance of the sequence NLLs over experts, nats^2, >= 0.
        sigma_r2: Variance of the sequence advantages over rollouts, advantage^2, >= 0.
        delta_g2: Mean squared difference of the coefficient streams, coefficient^2. An unbiased
            gradient-space estimate may be negative; the controller clips it at 0.
        has_s: False where the batch has no expert sequence.
        has_r: False where the batch has no rollout.
        has_delta: False where no row enters the disagreement.
        kl: KL to the reference policy, nats per token; NaN where unknown.
        sigma_s2_floored: The floor eps acted on sigma_s2.
        sigma_r2_floored: The floor eps acted on sigma_r2.
        sft_stream_constant: The SFT coefficients have no spread to normalise by.
        rl_stream_constant: The advantages have no spread to normalise by.

    Each is a scalar or an array of the trajectories' shape; they broadcast together.

    Examples:
        >>> Proxies(sigma_s2=0.4, sigma_r2=0.9, delta_g2=2.0).has_s
        True
    """

    sigma_s2: ArrayLike
    sigma_r2: ArrayLike
    delta_g2: ArrayLike
    has_s: BoolArray | bool = True
    has_r: BoolArray | bool = True
    has_delta: BoolArray | bool = True
    kl: ArrayLike = float("nan")
    sigma_s2_floored: BoolArray | bool = False
    sigma_r2_floored: BoolArray | bool = False
    sft_stream_constant: BoolArray | bool = False
    rl_stream_constant: BoolArray | bool = False


class ProxySums(NamedTuple):
    """Partial sums of a shard, enough to finish the proxies of the whole batch.

    Args:
        nll: Masked mean NLL of each expert sequence, sorted, [n_experts], nats. The values
            themselves: the trimmed variance needs order statistics, which no fixed-size sum has.
        advantage: Moments (k = 1) over rollouts of the masked mean advantage.
        tokens: Moments (k = 2) of (phi, A) over the response tokens of the chosen rows.
        sequences: The same with every token weighted by 1 / (length + mask_eps).
        squared_difference: Sum over the chosen rows of the masked mean of (c_s - c_r)^2.
        rows: How many rows were chosen.
        expert_tokens: Response tokens of the experts.
        rollout_tokens: Response tokens of the rollouts.
        kl: Moments (k = 1) of the KL estimate over the rollouts' response tokens.
        choices: The values of the config fields :data:`CHOICES` that the sums depend on.

    Only the pair that `coefficient_normalization` asks for is filled: `tokens` and `sequences`
    for "zscore", `squared_difference` for "none".

    Examples:
        >>> batch = Batch([[-1.0], [-2.0]], [[1], [1]], [0.0, 1.0], [True, False])
        >>> int(partial_sums(GACConfig(), batch).rows)
        1
    """

    nll: FloatArray
    advantage: Moments
    tokens: Moments
    sequences: Moments
    squared_difference: float
    rows: int
    expert_tokens: int
    rollout_tokens: int
    kl: Moments
    choices: tuple[object, ...]


def proxies(config: GACConfig, batch: Batch) -> Proxies:
    r"""The three proxies of a batch.

    .. math::
        \tilde\sigma_r^2 = \mathrm{Var}_{i \in \mathcal R} \overline{A}_i, \qquad
        \tilde\sigma_s^2 = \mathrm{Var}^{trim}_{i \in \mathcal S}\, \overline{(-\ell)}_i, \qquad
        \tilde\Delta^2 = \frac1{|\mathcal D|} \sum_{i \in \mathcal D} \overline{(c_s - c_r)^2}_i

    with the bar the masked mean over tokens, population variances floored at `eps`, and
    :math:`\mathcal D` the rollouts or all rows. Under "zscore" both streams are first normalised
    by the mean and spread over the response tokens of :math:`\mathcal D` (ddof 0), which makes
    :math:`\tilde\Delta^2` lie in [0, 4] when the sequences are of equal length.

    Args:
        config: Reads `eps`, `mask_eps`, `trim_ratio`, `use_phi`, `coefficient_normalization`,
            `disagreement_rows` and `masking`.
        batch: B sequences; B = 0 gives proxies with everything missing.

    Returns:
        Scalars, with 0.0 where a branch is missing.

    Examples:
        >>> batch = Batch(np.log([[0.5, 0.5], [0.25, 0.5]]), np.ones((2, 2)),
        ...               [[0.0, 0.0], [1.0, -1.0]], [True, False])
        >>> p = proxies(GACConfig(mask_eps=0.0), batch)
        >>> round(float(p.delta_g2), 12), p.sigma_r2_floored
        (4.0, True)

    References:
        The paper's sections 3.2 and 4; docs/method.md, section 3.
    """
    return proxies_from_sums(config, partial_sums(config, batch))


def partial_sums(config: GACConfig, batch: Batch) -> ProxySums:
    """One shard's contribution to the proxies of the whole batch.

    Examples:
        >>> empty = Batch(np.empty((0, 4)), np.empty((0, 4)), np.empty(0), np.empty(0))
        >>> partial_sums(GACConfig(), empty).nll.size
        0
    """
    starts = range(0, max(len(batch), 1), CHUNK_ROWS)
    chunks = [_chunk_sums(config, batch, start, start + CHUNK_ROWS) for start in starts]
    sums = chunks[0] if len(chunks) == 1 else merge(*chunks)
    return sums._replace(kl=_kl_moments(config, batch))


def _chunk_sums(config: GACConfig, batch: Batch, start: int, stop: int) -> ProxySums:
    """The partial sums of rows [start, stop), but for the KL."""

    def within(rows: IntArray) -> IntArray:
        return rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]

    expert_rows, rollout_rows = within(batch.expert_rows), within(batch.rollout_rows)
    experts = sequence_statistics(config, batch, expert=True, rows=expert_rows)
    rollouts = sequence_statistics(config, batch, expert=False, rows=rollout_rows)
    every = config.disagreement_rows == "all"
    compared = (experts, rollouts) if every else (rollouts,)
    streams = Moments(*map(np.concatenate, zip(*(b.streams for b in compared), strict=True)))
    per_row = divide_by_count(streams.weight > 0.0, streams.weight, config.mask_eps)
    return ProxySums(
        nll=np.sort(experts.mean),
        advantage=Moments.of(rollouts.mean[:, None]),
        tokens=streams.pool(),
        sequences=streams.scaled(per_row).pool(),
        squared_difference=sum(float(branch.squared_difference.sum()) for branch in compared),
        rows=sum(branch.mean.size for branch in compared),
        expert_tokens=int(batch.lengths[expert_rows].sum()),
        rollout_tokens=int(batch.lengths[rollout_rows].sum()),
        kl=Moments.empty(1),
        choices=_choices(config),
    )


def _choices(config: GACConfig) -> tuple[object, ...]:
    return tuple(getattr(config, name) for name in CHOICES)


def merge(*sums: ProxySums) -> ProxySums:
    """The partial sums of all shards together; shards may be empty, and come in any order.

    Raises:
        GACError: No shards, or shards of different configurations.

    Examples:
        >>> batch = Batch([[-1.0], [-3.0]], [[1], [1]], [0.0, 1.0], [True, True])
        >>> one = partial_sums(GACConfig(), batch)
        >>> merge(one, one).nll.round(6).tolist()
        [1.0, 1.0, 3.0, 3.0]
    """
    if not sums:
        fail("merge got no partial sums; pass one a shard")
    for part in sums[1:]:
        _require_choices(part, sums[0].choices, "the first shard")
    return ProxySums(
        nll=merge_values(*(part.nll for part in sums)),
        advantage=Moments.merge(*(part.advantage for part in sums)),
        tokens=Moments.merge(*(part.tokens for part in sums)),
        sequences=Moments.merge(*(part.sequences for part in sums)),
        squared_difference=math.fsum(part.squared_difference for part in sums),
        rows=sum(part.rows for part in sums),
        expert_tokens=sum(part.expert_tokens for part in sums),
        rollout_tokens=sum(part.rollout_tokens for part in sums),
        choices=sums[0].choices,
        kl=Moments.merge(*(part.kl for part in sums)),
    )


def proxies_from_sums(config: GACConfig, sums: ProxySums) -> Proxies:
    """Finish the proxies from the merged partial sums; nothing here depends on the split.

    Raises:
        GACError: The sums were made under another configuration.

    Examples:
        >>> batch = Batch([[-1.0], [-3.0]], [[1], [1]], [0.0, 1.0], [True, True])
        >>> config = GACConfig(mask_eps=0.0)
        >>> float(proxies_from_sums(config, partial_sums(config, batch)).sigma_s2)
        1.0
    """
    _require_choices(sums, _choices(config), "the config")
    has_s, has_r, has_delta = _present(config, sums)
    sigma_s2 = trimmed_variance(sums.nll, config.trim_ratio) if has_s else 0.0
    sigma_r2 = float(sums.advantage.covariance[0, 0]) if has_r else 0.0
    delta_g2, constant = 0.0, np.zeros(2, dtype=np.bool_)
    if has_delta and config.coefficient_normalization == "zscore":
        delta_g2, constant = _normalised_disagreement(sums)
    elif has_delta:
        delta_g2 = sums.squared_difference / sums.rows
    return Proxies(
        # np.maximum, not max: it lets the NaN of a poisoned batch through.
        sigma_s2=float(np.maximum(sigma_s2, config.eps)) if has_s else 0.0,
        sigma_r2=float(np.maximum(sigma_r2, config.eps)) if has_r else 0.0,
        delta_g2=delta_g2,
        has_s=has_s,
        has_r=has_r,
        has_delta=has_delta,
        kl=float(sums.kl.mean[0]) if sums.kl.weight > 0.0 else float("nan"),
        sigma_s2_floored=has_s and sigma_s2 < config.eps,
        sigma_r2_floored=has_r and sigma_r2 < config.eps,
        sft_stream_constant=bool(constant[0]),
        rl_stream_constant=bool(constant[1]),
    )


def _present(config: GACConfig, sums: ProxySums) -> tuple[bool, bool, bool]:
    """Whether each statistic has something to measure.

    Sequences without a response token (as overlong filtering leaves them) measure nothing: a
    branch that has only such is missing. The released code counts them as sequences of value 0.
    """
    chosen = sums.rollout_tokens
    if config.disagreement_rows == "all":
        chosen += sums.expert_tokens
    if config.missing_branch == "zero":
        return sums.nll.size > 0, bool(sums.advantage.weight > 0.0), sums.rows > 0
    return sums.expert_tokens > 0, sums.rollout_tokens > 0, chosen > 0


def _require_choices(sums: ProxySums, choices: tuple[object, ...], whose: str) -> None:
    for name, ours, theirs in zip(CHOICES, sums.choices, choices, strict=True):
        if ours != theirs:
            fail(
                f"partial sums were made with {name} = {ours!r} but {whose} has {theirs!r}; "
                "use one configuration throughout"
            )


@np.errstate(over="ignore", invalid="ignore")  # an overflow is answered by NaN, and flagged
def _normalised_disagreement(sums: ProxySums) -> tuple[float, BoolArray]:
    r"""Mean over rows of the masked mean of :math:`(z_s - z_r)^2`, from moments alone.

    With u = (1/sd_s, -1/sd_r), the difference of the two z-scores is u . (x - m), so its weighted
    sum of squares is ``u' S u + W (u . (m_sequences - m))^2``: centred, hence without cancellation.
    """
    pooled, sequences = sums.tokens, sums.sequences
    spread = np.sqrt(np.diagonal(pooled.covariance))
    constant = np.isfinite(spread) & (spread <= SPREAD_RTOL * np.hypot(pooled.mean, spread))
    u = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, spread)) * np.array([1.0, -1.0])
    offset = u @ (sequences.mean - pooled.mean)
    total = u @ sequences.scatter @ u + sequences.weight * offset**2
    return float(np.maximum(total, 0.0) / sums.rows), constant


def batch_kl(config: GACConfig, batch: Batch) -> float:
    """KL to the reference policy on the rollouts, nats per token; NaN where it is unknown.

    Examples:
        >>> batch = Batch([[-1.0]], [[1]], [1.0], [False], kl=0.03)
        >>> batch_kl(GACConfig(), batch)
        0.03
    """
    moments = _kl_moments(config, batch)
    return float(moments.mean[0]) if moments.weight > 0.0 else float("nan")


def _kl_moments(config: GACConfig, batch: Batch) -> Moments:
    r"""KL per token on the rollouts: as given, or the k3 estimate from `ref_logprob`.

    k3 is :math:`e^{d} - d - 1` with :math:`d = \ell_{ref} - \ell`: never negative, and unbiased
    where the tokens were sampled from the current policy (Schulman, "Approximating KL
    divergence", 2020).
    """
    rows = batch.rollout_rows
    count = float(batch.lengths[rows].sum())
    if count == 0.0 or (batch.kl is None and batch.source("ref_logprob") is None):
        return Moments.empty(1)
    if batch.kl is not None:
        return Moments.of([[batch.kl]], count)
    if config.alpha_mode == "static":
        return Moments.empty(1)
    total, scratch = 0.0, Scratch(2, batch.shape)
    for tile in tiles(rows, batch.shape[1]):
        keeper = scratch.keeper(batch.mask_of(tile), "select")
        here = keep(scratch.load(0, tile.of(batch.source("logprob"))), keeper)
        there = keep(scratch.load(1, tile.of(batch.source("ref_logprob"))), keeper)
        d = np.subtract(there, here, out=there)
        total += float((np.expm1(d, out=here) - d).sum())
    return Moments.of([[total / count]], count)
