r"""One step of the controller: the one place that knows the order of the stages.

Alpha, statistics EMA (when due), disagreement cap, closed form, weight EMA, prior blend, change
cap, clip. The state is explicit, and `info` is diagnosis that is never carried forward.
"""

from __future__ import annotations

import math
import operator
import zlib
from typing import Any, NamedTuple

import torch

from gac_ref.config import GACConfig
from gac_ref.errors import GACError, fail
from gac_ref.ports.torch import guards
from gac_ref.ports.torch.batch import Batch, require_batch
from gac_ref.ports.torch.distributed import MAX_ROWS, Gathered, Shard, gather
from gac_ref.ports.torch.proxies import Proxies, Sequences, proxies, sequences, total
from gac_ref.ports.torch.refusals import refuse
from gac_ref.ports.torch.state import GACState
from gac_ref.ports.torch.tokens import COLUMNS, row_table

__all__ = ["GACInfo", "batch_kl", "init", "measure", "update"]


class GACInfo(NamedTuple):
    """What one update did: every stage's value, and what acted. Floats are host float64.

    Args:
        refreshed: Whether the statistics took this step's batch in.
        sequences: The statistics of each sequence of all ranks, or None without a refresh.
        own: This rank's rows within `sequences`.
        proxies: This batch's proxies, or None without a refresh.
        kl: KL to the reference, nats a token; NaN where unknown or unused.
        sigma_s2: Smoothed SFT noise, as used; its stand-in 1 before it was ever seen.
        sigma_r2: Smoothed RL noise, as used.
        delta_g2: Smoothed disagreement, as used.
        not_ready: A statistic was never seen.
        alpha: Target ratio.
        delta_g2_capped: The disagreement after its cap.
        mu_raw: Closed form; where not ready and held, the value the weight EMA stays at.
        mu_ada: After the weight EMA and its clip.
        prior: The schedule prior; NaN without one.
        mu_candidate: After the prior blend.
        mu_capped: After the change cap.
        mu: The weight to apply now.
        flags: By name, whether a guard acted: ``alpha_clipped, disagreement_capped, flat_risk,
            mu_ada_clipped, change_capped, mu_clipped, non_finite``.

    Examples:
        >>> GACInfo._fields[-2:]
        ('mu', 'flags')
    """

    refreshed: bool
    sequences: Sequences | None
    own: slice
    proxies: Proxies | None
    kl: float
    sigma_s2: float
    sigma_r2: float
    delta_g2: float
    not_ready: bool
    alpha: float
    delta_g2_capped: float
    mu_raw: float
    mu_ada: float
    prior: float
    mu_candidate: float
    mu_capped: float
    mu: float
    flags: dict[str, bool]


def init(config: GACConfig) -> GACState:
    """The state before the first step.

    Examples:
        >>> init(GACConfig(init_mu=0.4)).mu
        0.4
    """
    return GACState(mu=config.init_mu, mu_ada=config.init_mu, alpha=config.alpha)


def update(
    config: GACConfig,
    state: GACState,
    batch: Batch,
    *,
    step: int,
    group: Any = None,
    max_rows: int = MAX_ROWS,
) -> tuple[GACState, GACInfo]:
    """One controller step.

    The tokens are read where a refresh is due (every `mu_update_freq` steps), or where alpha is
    driven by the KL; then the device is waited for once. Other steps touch no tensor.

    Args:
        config: The same on every rank.
        state: From `init`, `update` or `load_state_dict`; the same on every rank.
        batch: This rank's share of the batch, perhaps without rows.
        step: The optimiser step, >= 0.
        group: The data-parallel process group (``torch.distributed.group.WORLD`` for all ranks):
            all its ranks must call. None means that `batch` is the whole batch.
        max_rows: The most rows of any rank, the same on every rank. A rank may have more, at the
            price of a second collective.

    Returns:
        The new state, and what happened; bitwise the same on every rank, but for ``info.own``.

    Raises:
        GACError: `step` is invalid, the batch is malformed or holds values that it must not, or
            alpha is KL-driven and nothing tells the KL; on every rank if on one.

    Examples:
        >>> batch = Batch(torch.tensor([[-0.5, -1.0], [-2.0, -0.1]]), torch.ones(2, 2),
        ...               torch.tensor([0.0, 1.0]), torch.tensor([True, False]))
        >>> config = GACConfig.released()
        >>> state, info = update(config, init(config), batch, step=0)
        >>> round(info.mu, 6), info.refreshed
        (0.49, True)
    """
    step = _require_call(config, state, step, max_rows)
    due = guards.refresh_due(config, state, step)
    seen: Sequences | None = None
    new: Proxies | None = None
    kl, own = math.nan, slice(0, 0)
    if due or config.alpha_mode == "kl":
        fingerprint = zlib.crc32(repr((config, state, step)).encode()) & 0xFFFFFF
        gathered = measure(config, batch, fingerprint=fingerprint, group=group, max_rows=max_rows)
        kl, own = batch_kl(config, gathered), gathered.own
        if due:
            seen = sequences(config, gathered.rows)
            new = proxies(config, seen)
    return _advance(config, state, new, kl, step, seen, own)


def measure(
    config: GACConfig,
    batch: Batch,
    *,
    fingerprint: int = 0,
    group: Any = None,
    max_rows: int = MAX_ROWS,
) -> Gathered:
    """The token pass on this rank, and the rows of every rank.

    Examples:
        >>> batch = Batch(torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2), torch.ones(2))
        >>> measure(GACConfig(), batch).rows[:, 1].tolist()
        [3.0, 3.0]
    """
    error, kl, source = None, None, 0
    rows = torch.zeros(0, len(COLUMNS), dtype=torch.float64)
    try:
        batch = require_batch(batch)
        rows = row_table(config, batch)
        kl, source = batch.kl, 1 if batch.ref_logprob is not None else 0
        source = 2 if kl is not None else source
    except GACError as refusal:  # told to the other ranks first, who would wait for this one
        if group is None:
            raise
        error = refusal
    gathered = gather(Shard(rows, fingerprint, kl, source, error), group=group, max_rows=max_rows)
    refuse(config, batch, gathered)
    return gathered


def batch_kl(config: GACConfig, gathered: Gathered) -> float:
    """KL to the reference on the rollouts of all ranks, nats a token; NaN if unknown or unused.

    Where ranks pass their own means these are weighted by their rollout tokens.

    Examples:
        >>> batch = Batch(torch.zeros(1, 3), torch.ones(1, 3), torch.zeros(1), torch.zeros(1),
        ...               kl=0.5)
        >>> batch_kl(GACConfig(alpha_mode="kl"), measure(GACConfig(), batch))
        0.5
    """
    if config.alpha_mode == "static":
        return math.nan
    column = dict(zip(COLUMNS, gathered.rows.unbind(dim=-1), strict=True))
    rollouts = column["expert"] == 0.0
    count, sums, rank = (x[rollouts] for x in (column["tokens"], column["kl"], gathered.rank_of))
    tokens = total(count)
    if tokens == 0.0:
        return math.nan
    given = torch.tensor(gathered.kl, dtype=torch.float64)[rank]
    base = next((kl for kl in gathered.kl if not math.isnan(kl)), 0.0)
    # About one of the ranks' values, so that equal ones give that value to the bit.
    apart = torch.where(given.isnan(), sums - count * base, count * (given - base))
    return base + total(torch.where(count > 0.0, apart, 0.0)) / tokens


def _advance(
    config: GACConfig,
    state: GACState,
    new: Proxies | None,
    kl: float,
    step: int,
    seen: Sequences | None,
    own: slice,
) -> tuple[GACState, GACInfo]:
    """The scalar stages, in their order."""
    alpha, alpha_clipped = guards.kl_alpha(config, state.alpha, kl)
    if new is not None:
        state = guards.refreshed(config, state, new, step)
    statistics = guards.smoothed(state)
    delta_g2, mu_raw, capped, flat = guards.closed_form(config, statistics, alpha)
    held = guards.holds(config, statistics.not_ready)
    if held:  # stand-ins decide nothing
        mu_raw = state.mu_ada if config.weight_ema == "internal" else state.mu
        capped = flat = False
    mu_ada, ada_clipped = guards.weight_ema(config, state.mu, state.mu_ada, mu_raw, hold=held)
    prior, candidate = guards.prior_blend(config, mu_ada, step)
    limited, change_capped = guards.cap_change(config, candidate, state.mu)
    mu, clipped = guards.clip(limited, config.mu_min, config.mu_max)
    info = GACInfo(
        refreshed=new is not None,
        sequences=seen,
        own=own,
        proxies=new,
        kl=kl,
        sigma_s2=statistics.sigma_s2,
        sigma_r2=statistics.sigma_r2,
        delta_g2=statistics.delta_g2,
        not_ready=statistics.not_ready,
        alpha=alpha,
        delta_g2_capped=delta_g2,
        mu_raw=mu_raw,
        mu_ada=mu_ada,
        prior=prior,
        mu_candidate=candidate,
        mu_capped=limited,
        mu=mu,
        flags={
            "alpha_clipped": alpha_clipped,
            "disagreement_capped": capped,
            "flat_risk": flat,
            "mu_ada_clipped": ada_clipped,
            "change_capped": change_capped,
            "mu_clipped": clipped,
            "non_finite": math.isnan(mu),
        },
    )
    return state._replace(mu=mu, mu_ada=mu_ada, alpha=alpha), info


def _require_call(config: GACConfig, state: GACState, step: int, max_rows: int) -> int:
    if not isinstance(config, GACConfig):
        fail(f"config is a {type(config).__name__}; pass a gac_ref.GACConfig")
    if not isinstance(state, GACState):
        fail(f"state is a {type(state).__name__}; pass what init or update returned")
    try:
        number = operator.index(step)
    except TypeError:
        fail(f"step = {step!r} is not a whole number; pass the optimiser step")
    if number < 0:
        fail(f"step = {number} is negative; pass the optimiser step, counted from 0")
    if number < state.last_refresh:
        fail(
            f"step = {number} is before the last refresh at step {state.last_refresh}; "
            "pass steps in increasing order, or start from init"
        )
    if not isinstance(max_rows, int) or max_rows < 1:
        fail(f"max_rows = {max_rows!r} is not a whole number above 0; pass the most rows of a rank")
    return number
