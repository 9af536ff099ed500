r"""The controller: the one place that knows the order of the stages.

A step is: alpha, statistics EMA (when due), disagreement cap, closed form, weight EMA, prior
blend, change cap, clip. Each stage is a pure function elsewhere; the state is explicit; `info` is
diagnosis and never carried forward.
"""

from __future__ import annotations

import math
import operator
from typing import NamedTuple

import numpy as np

from gac_ref import guards
from gac_ref._typing import ArrayLike, BoolArray, FloatArray, IntArray
from gac_ref.alpha import kl_alpha
from gac_ref.batch import Batch
from gac_ref.config import GACConfig
from gac_ref.errors import fail
from gac_ref.proxies import Proxies, batch_kl, proxies
from gac_ref.schedules import prior_at
from gac_ref.smoothing import REFRESH_FLAGS, refresh, refresh_due, smoothed_statistics
from gac_ref.state import GACState

__all__ = ["GACInfo", "init", "update", "update_from_proxies"]


class GACInfo(NamedTuple):
    """What one update did: the statistics as used, each intermediate, and what acted.

    Args:
        refreshed: Whether the statistics took this step's batch in.
        proxies: This step's proxies, or None where they were not due.
        sigma_s2: Smoothed SFT noise, as the closed form used it, [...]. A statistic not seen yet
            shows its stand-in: 1 for a variance, 0 for the disagreement.
        sigma_r2: Smoothed RL noise, as used, [...].
        delta_g2: Smoothed disagreement, before its cap, [...].
        delta_g2_capped: The disagreement after its cap, as used, [...].
        alpha: Target ratio, as used, [...].
        mu_raw: Closed form, [...], in [0, 1]. Where `not_ready` and held there is no estimate,
            and this is the value that the weight EMA stays at.
        mu_ada: After the weight EMA and its clip, [...].
        prior: The schedule prior at this step; NaN without one.
        mu_candidate: After the prior blend, [...].
        mu_capped: After the change cap, [...].
        mu: The weight to apply, [...], in [mu_min, mu_max].
        flags: For each guard and each degenerate case, by name, where it acted, [...].

    The flags are ``missing_s, missing_r, missing_delta`` (the batch lacks the branch),
    ``sigma_s2_floored, sigma_r2_floored``, ``sft_stream_constant, rl_stream_constant`` (no spread
    to normalise by), ``delta_g2_negative`` (an unbiased estimate, taken as 0), ``kl_missing``,
    ``alpha_clipped``, ``delta_g2_capped``, ``not_ready`` (a statistic not seen yet),
    ``flat_risk``, ``mu_ada_clipped``, ``change_capped``, ``mu_clipped`` and ``non_finite``.

    Examples:
        >>> config = GACConfig(init_mu=0.2)
        >>> _, info = update_from_proxies(config, init(config), Proxies(1.0, 3.0, 0.0), step=600)
        >>> float(info.mu_raw), info.acted()
        (0.75, ['change_capped'])
    """

    refreshed: bool
    proxies: Proxies | None
    sigma_s2: FloatArray
    sigma_r2: FloatArray
    delta_g2: FloatArray
    delta_g2_capped: FloatArray
    alpha: FloatArray
    mu_raw: FloatArray
    mu_ada: FloatArray
    prior: float
    mu_candidate: FloatArray
    mu_capped: FloatArray
    mu: FloatArray
    flags: dict[str, BoolArray]

    def acted(self) -> list[str]:
        """Names of the flags that are set on any trajectory, sorted."""
        return sorted(name for name, flag in self.flags.items() if np.any(flag))


def init(config: GACConfig, shape: tuple[int, ...] = ()) -> GACState:
    """The state before the first step.

    Args:
        config: Reads `init_mu` and `alpha`.
        shape: Shape of the trajectories; () for one.

    Returns:
        The state, every array of `shape`.

    Examples:
        >>> float(init(GACConfig(init_mu=0.4)).mu)
        0.4
    """

    def counts() -> IntArray:
        return np.zeros(shape, dtype=np.int64)

    return GACState(
        mu=np.full(shape, config.init_mu),
        mu_ada=np.full(shape, config.init_mu),
        alpha=np.full(shape, config.alpha),
        sigma_s2=np.zeros(shape),
        sigma_r2=np.zeros(shape),
        delta_g2=np.zeros(shape),
        count_s=counts(),
        count_r=counts(),
        count_delta=counts(),
        last_refresh=-1,
    )


def update(
    config: GACConfig, state: GACState, batch: Batch, *, step: int
) -> tuple[GACState, GACInfo]:
    """One controller step from a training batch.

    The proxies are computed only where a refresh is due (every `mu_update_freq` steps), and the
    KL only where alpha is driven by it; other steps cost microseconds.

    Args:
        config: The configuration.
        state: The state of one trajectory, from `init`, `update` or `load_state`.
        batch: The batch of this step.
        step: The optimiser step, >= 0; the prior and the refresh schedule follow it.

    Returns:
        The new state, and what happened. ``info.mu`` is the weight to apply now.

    Raises:
        GACError: `step` is invalid or before the last refresh, or alpha is KL-driven and the
            batch has rollouts but neither `kl` nor `ref_logprob`.

    Examples:
        >>> batch = Batch([[-0.5, -1.0], [-2.0, -0.1]], np.ones((2, 2)), [0.0, 1.0], [True, False])
        >>> config = GACConfig.released()
        >>> state, info = update(config, init(config), batch, step=0)
        >>> round(float(info.mu), 6), info.refreshed
        (0.49, True)

    References:
        arXiv:2605.26184, sections 3.2-3.4; docs/method.md, sections 3 and 4.
    """
    if not isinstance(batch, Batch):
        fail(f"batch is a {type(batch).__name__}; pass a gac_ref.Batch")
    step = _step(config, state, step)
    unknown_kl = batch.kl is None and batch.source("ref_logprob") is None
    if config.alpha_mode == "kl" and unknown_kl and batch.rollout_rows.size:
        fail("alpha_mode = 'kl' but the batch has neither kl nor ref_logprob; pass one of them")
    if refresh_due(config, state, step):
        return _advance(config, state, proxies(config, batch), step)
    kl = batch_kl(config, batch) if config.alpha_mode == "kl" else math.nan
    return _advance(config, state, Proxies(0.0, 0.0, 0.0, kl=kl), step)


def update_from_proxies(
    config: GACConfig, state: GACState, proxies: Proxies, *, step: int
) -> tuple[GACState, GACInfo]:
    """One controller step from proxies, for any number of trajectories at once.

    This is where data-parallel ranks enter (after merging their partial sums), and simulations
    (with exact or sampled gradient-space values, for thousands of trajectories).

    Args:
        config: The configuration, common to all trajectories.
        state: The state, with arrays of shape [...].
        proxies: Scalars or arrays that broadcast against [...]. Read only where a refresh is
            due, but for `kl`, which is read at every step where alpha is KL-driven.
        step: The optimiser step, >= 0, common to all trajectories.

    Returns:
        The new state, and what happened.

    Raises:
        GACError: A variance is negative or NaN, the disagreement is NaN, a shape does not
            broadcast, or `step` is invalid.

    Examples:
        >>> config = GACConfig(prior="none", weight_ema="off", mu_change_cap=1.0)
        >>> values = Proxies(sigma_s2=1.0, sigma_r2=[1.0, 3.0], delta_g2=0.0)
        >>> _, info = update_from_proxies(config, init(config, (2,)), values, step=0)
        >>> info.mu.tolist()
        [0.5, 0.75]
    """
    if not isinstance(proxies, Proxies):
        fail(f"proxies is a {type(proxies).__name__}; pass gac_ref.Proxies")
    step = _step(config, state, step)
    if refresh_due(config, state, step):
        for name, has, minimum in _STATISTICS:
            value = getattr(proxies, name)
            _require_statistic(config, state, name, value, getattr(proxies, has), minimum)
        for name in ("has_s", "has_r", "has_delta"):
            _require_shape(name, getattr(proxies, name), state)
    if config.alpha_mode == "kl":
        _require_shape("kl", proxies.kl, state)
    return _advance(config, state, proxies, step)


def _advance(
    config: GACConfig, state: GACState, new: Proxies, step: int
) -> tuple[GACState, GACInfo]:
    """The stages, in their order."""
    off = np.zeros(state.mu.shape, dtype=np.bool_)
    flags: dict[str, BoolArray] = {}

    alpha, flags["kl_missing"], flags["alpha_clipped"] = _alpha(config, state, new, off)

    refreshed = refresh_due(config, state, step)
    if refreshed:
        state, refresh_flags = refresh(config, state, new, step)
    else:
        refresh_flags = {}
    for name in REFRESH_FLAGS:
        flags[name] = refresh_flags.get(name, off)

    sigma_s2, sigma_r2, delta_g2, not_ready = smoothed_statistics(config, state)
    capped, flags["delta_g2_capped"] = guards.cap_disagreement(
        delta_g2, sigma_s2, sigma_r2, ratio=config.delta_g2_cap_ratio, eps=config.eps
    )
    mu_raw, flags["flat_risk"] = guards.guarded_closed_form(
        sigma_s2, sigma_r2, capped, alpha, flat_risk=config.flat_risk, eps=config.eps
    )

    flags["not_ready"] = not_ready
    held = config.unseen_statistic == "hold" and not_ready.any()
    if held:  # stand-ins decide nothing
        mu_raw = np.where(not_ready, _ema_input(config, state.mu, state.mu_ada), mu_raw)
        for name in ("delta_g2_capped", "flat_risk"):
            flags[name] = flags[name] & ~not_ready
    prior = prior_at(config, step)
    weights = guarded_weights(
        config, state.mu, state.mu_ada, mu_raw, prior, hold=not_ready if held else None
    )
    flags |= {name: getattr(weights, name) for name in _WEIGHT_FLAGS}
    flags["non_finite"] = np.isnan(weights.mu)

    info = GACInfo(
        refreshed=refreshed,
        proxies=new if refreshed else None,
        sigma_s2=sigma_s2,
        sigma_r2=sigma_r2,
        delta_g2=delta_g2,
        delta_g2_capped=capped,
        alpha=alpha,
        mu_raw=mu_raw,
        mu_ada=weights.mu_ada,
        prior=prior,
        mu_candidate=weights.mu_candidate,
        mu_capped=weights.mu_capped,
        mu=weights.mu,
        flags=flags,
    )
    return state._replace(mu=weights.mu, mu_ada=weights.mu_ada, alpha=alpha), info


class GuardedWeights(NamedTuple):
    """The stages from the raw estimate to the applied weight, and which of them acted."""

    mu_ada: FloatArray
    mu_candidate: FloatArray
    mu_capped: FloatArray
    mu: FloatArray
    mu_ada_clipped: BoolArray
    change_capped: BoolArray
    mu_clipped: BoolArray


_WEIGHT_FLAGS = ("mu_ada_clipped", "change_capped", "mu_clipped")


def guarded_weights(
    config: GACConfig,
    mu: ArrayLike,
    mu_ada: ArrayLike,
    mu_raw: ArrayLike,
    prior: float,
    *,
    hold: BoolArray | None = None,
) -> GuardedWeights:
    """Weight EMA, prior blend, change cap and clip, in their order.

    Args:
        config: The configuration.
        mu: The weight applied last, [...].
        mu_ada: The weight EMA's last value, [...].
        mu_raw: The raw estimate, [...].
        prior: The schedule prior; not read with ``prior = "none"``.
        hold: Where the weight EMA does not move, [...], or None for nowhere.

    Returns:
        Each intermediate, and the flags.

    Examples:
        >>> config = GACConfig(prior="none")
        >>> float(guarded_weights(config, 0.5, 0.5, 1.0, 0.0).mu)
        0.505
    """
    previous = _ema_input(config, mu, mu_ada)
    if config.weight_ema == "off":
        adaptive = np.asarray(mu_raw)
    else:
        adaptive = guards.ema(previous, mu_raw, config.ema_beta)
    if hold is not None:
        adaptive = np.where(hold, previous, adaptive)
    adaptive, ada_clipped = guards.clip(adaptive, config.mu_min, config.mu_max)
    candidate = adaptive
    if config.prior != "none":
        candidate = guards.blend(adaptive, prior, config.blend_weight)
    capped, change_capped = guards.cap_change(candidate, mu, config.mu_change_cap)
    applied, clipped = guards.clip(capped, config.mu_min, config.mu_max)
    return GuardedWeights(adaptive, candidate, capped, applied, ada_clipped, change_capped, clipped)


def _ema_input(config: GACConfig, mu: ArrayLike, mu_ada: ArrayLike) -> ArrayLike:
    """What feeds the weight EMA: its own last value, or the weight applied last."""
    return mu_ada if config.weight_ema == "internal" else mu


def _alpha(
    config: GACConfig, state: GACState, new: Proxies, off: BoolArray
) -> tuple[FloatArray, BoolArray, BoolArray]:
    """This step's alpha; held where the KL is unknown."""
    if config.alpha_mode == "static":
        return state.alpha, off, off
    kl = np.asarray(new.kl, dtype=np.float64)
    unknown = np.isnan(kl) | off
    alpha, clipped = kl_alpha(
        state.alpha,
        np.where(unknown, config.kl_target, kl),
        target=config.kl_target,
        gain=config.kl_gain,
        low=config.alpha_min,
        high=config.alpha_max,
    )
    return np.where(unknown, state.alpha, alpha), unknown, clipped & ~unknown


def _step(config: GACConfig, state: GACState, step: int) -> int:
    if not isinstance(config, GACConfig):
        fail(f"config is a {type(config).__name__}; pass a gac_ref.GACConfig")
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
    return number


_STATISTICS = (
    ("sigma_s2", "has_s", 0.0),
    ("sigma_r2", "has_r", 0.0),
    ("delta_g2", "has_delta", -math.inf),
)


def _require_statistic(
    config: GACConfig,
    state: GACState,
    name: str,
    value: ArrayLike,
    has: ArrayLike,
    minimum: float,
) -> None:
    """Refuse a value that is present and out of range."""
    array = np.asarray(value, dtype=np.float64)
    _require_shape(name, array, state)
    # NaN fails the comparisons; two reductions spare the elementwise ones in the common case.
    low, high = array.min(initial=math.inf), array.max(initial=-math.inf)
    if array.size == 0 or (minimum <= low and -math.inf < low and high < math.inf):
        return
    bad = ~((array >= minimum) & np.isfinite(array)) & np.asarray(has)
    if config.masking == "multiply":  # a NaN is what multiplied masks make of an infinity
        bad &= ~np.isnan(array)
    if bad.any():
        first = float(np.broadcast_to(array, bad.shape)[bad].flat[0])
        bound = "finite" if minimum == -math.inf else "finite and >= 0"
        fail(
            f"{name} = {first!r} is not {bound}; pass a {bound} value, or set its has_ field False"
        )


def _require_shape(name: str, value: ArrayLike, state: GACState) -> None:
    shape = np.shape(value)
    if shape in ((), state.mu.shape):
        return
    try:
        fits = np.broadcast_shapes(shape, state.mu.shape) == state.mu.shape
    except ValueError:
        fits = False
    if not fits:
        fail(
            f"{name} has shape {shape}, which does not broadcast to the trajectories' shape "
            f"{state.mu.shape}; pass that shape, or init with a wider one"
        )
