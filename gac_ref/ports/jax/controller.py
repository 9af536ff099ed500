"""The stages from proxies to mu, and their order, written once in `advance`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gac_ref.config import GACConfig
from gac_ref.ports.jax.batch import (
    Batch,
    Rows,
    coefficients,
    require_batch,
    row_statistics,
)
from gac_ref.ports.jax.proxies import Proxies, disagreement_rows, kl_of, proxies
from gac_ref.ports.jax.pytree import Settings, settings

__all__ = ["Info", "State", "init", "update"]

ERROR_CLIP = 0.2  # of the relative KL error
Info = dict[str, jax.Array]


class State(NamedTuple):
    """What a step hands to the next: a pytree of scalars (or of batches of them, under vmap)."""

    mu: jax.Array
    mu_ada: jax.Array
    alpha: jax.Array
    sigma_s2: jax.Array
    sigma_r2: jax.Array
    delta_g2: jax.Array
    count_s: jax.Array
    count_r: jax.Array
    count_delta: jax.Array
    last_refresh: jax.Array


def init(config: GACConfig | Settings) -> State:
    """The state before the first step; float64 where 64-bit mode is on, else float32."""
    config = settings(config)
    zero, none = jnp.zeros_like(config.init_mu), jnp.zeros_like(config.mu_update_freq)
    return State(
        config.init_mu, config.init_mu, config.alpha, zero, zero, zero, none, none, none, none - 1
    )


def update(
    config: GACConfig | Settings,
    state: State,
    batch: Batch,
    step: Any,
    *,
    axis_name: str | None = None,
) -> tuple[State, Info]:
    """One controller step.

    Args:
        config: A pytree from :func:`settings`, which shares one compilation with every other; or
            the configuration itself, as a constant of the compiled step.
        state: From `init` or the step before.
        batch: This device's sequences.
        step: The optimiser step, an integer, traced.
        axis_name: The mesh axis that the batch is split over, inside ``shard_map``: the ranks
            then gather one row of statistics a sequence, in one collective, and all compute the
            same mu, to the bit.

    Returns:
        The new state, and every intermediate by name; ``info["mu"]`` is the weight to apply. Where
        ``info["refused"]`` names a row that holds what it must not, mu is NaN, and the state is
        the old one.

    Raises:
        GACError: Shapes that do not belong together, or tokens that are not floating-point.

    Examples:
        >>> batch = Batch(jnp.full((2, 3), -1.0), jnp.ones((2, 3)), jnp.ones(2), jnp.arange(2) < 1)
        >>> state, info = update(GACConfig(), init(GACConfig()), batch, 0)
        >>> round(info["mu"].item(), 3)
        0.49
    """
    require_batch(batch)
    config, step = settings(config), jnp.asarray(step, jnp.int32)
    streams = coefficients(config, batch)
    rows = row_statistics(config, batch, streams)
    if axis_name is not None:
        rows = _gathered(rows, axis_name)
    measured = sequences(config, rows, batch)
    fresh = proxies(
        config,
        **{name: measured[name] for name in ("tokens", "nll", "advantage", "disagreement")},
        is_expert=rows.is_expert,
        is_rollout=rows.is_rollout,
    )
    new, info = advance(config, state, fresh, measured["kl"], step)
    bad = rows.refused.any()
    info = {
        "c_s": streams[0],
        "c_r": streams[1],
        **measured,
        **fresh._asdict(),
        **info,
        "refused": rows.refused,
        "mu": jnp.where(bad, jnp.nan, info["mu"]),
    }
    return jax.tree.map(lambda old, now: jnp.where(bad, old, now), state, new), info


def sequences(config: Settings, rows: Rows, batch: Batch) -> Info:
    """One number a sequence, and what is known of the batch as a whole."""
    per_row, constant_s, constant_r = disagreement_rows(config, rows)
    given, estimated = batch.kl is not None, batch.ref_logprob is not None
    return {
        "tokens": rows.tokens,
        "nll": rows.signal,
        "advantage": rows.signal,
        "disagreement": per_row,
        "sft_stream_constant": constant_s,
        "rl_stream_constant": constant_r,
        "kl": kl_of(config, rows, given=given, estimated=estimated),
    }


def _gathered(rows: Rows, axis_name: str) -> Rows:
    """The rows of all ranks, in rank order: one collective of a [B, 12] table."""
    dtype = rows.signal.dtype
    table = jnp.stack([column.astype(dtype) for column in rows], axis=-1)
    whole = jax.lax.all_gather(table, axis_name, tiled=True)
    columns = Rows(*jnp.moveaxis(whole, -1, 0))
    return Rows(*(now.astype(old.dtype) for now, old in zip(columns, rows, strict=True)))


def advance(
    config: Settings, state: State, fresh: Proxies, kl: jax.Array, step: Any
) -> tuple[State, Info]:
    """One step from proxies: the stages in their order."""
    target = alpha(config, state.alpha, kl)
    smoothed, smooth = statistics_ema(config, state, fresh, step)
    form = closed_form(
        config, smooth["sigma_s2"], smooth["sigma_r2"], smooth["delta_g2"], target["alpha"]
    )
    held = jnp.where(config.ema_internal, state.mu_ada, state.mu)
    unmoved = config.unseen_is_held & smooth["not_ready"]
    form["mu_raw"] = jnp.where(unmoved, held, form["mu_raw"])
    ada = weight_ema(config, state.mu, state.mu_ada, form["mu_raw"], smooth["not_ready"])
    blend = prior_blend(config, ada["mu_ada"], step)
    capped = change_cap(config, blend["mu_candidate"], state.mu)
    applied = clip(config, capped["mu_capped"])
    state = smoothed._replace(
        mu=applied["mu"].astype(state.mu.dtype),
        mu_ada=ada["mu_ada"].astype(state.mu.dtype),
        alpha=target["alpha"].astype(state.mu.dtype),
    )
    return state, {**target, **smooth, **form, **ada, **blend, **capped, **applied}


def statistics_ema(config: Settings, state: State, fresh: Proxies, step: Any) -> tuple[State, Info]:
    """The statistics EMA where a refresh is due; a missing branch is held, or fed 0."""
    due = (state.last_refresh < 0) | (step - state.last_refresh >= config.mu_update_freq)

    def smooth(
        old: jax.Array, count: jax.Array, value: jax.Array, present: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        feeds = due & (present | config.missing_is_zero)
        value = jnp.where(present, value, 0.0)
        mean = config.ema_beta * old + config.ema_rest * value
        mean = jnp.where(count == 0, value, mean)
        return jnp.where(feeds, mean, old).astype(old.dtype), count + feeds.astype(count.dtype)

    s, n_s = smooth(state.sigma_s2, state.count_s, fresh.proxy_sigma_s2, fresh.has_s)
    r, n_r = smooth(state.sigma_r2, state.count_r, fresh.proxy_sigma_r2, fresh.has_r)
    positive = jnp.maximum(fresh.proxy_delta_g2, 0.0)
    d, n_d = smooth(state.delta_g2, state.count_delta, positive, fresh.has_delta)
    last = jnp.where(due, step, state.last_refresh).astype(state.last_refresh.dtype)
    state = state._replace(
        sigma_s2=s, sigma_r2=r, delta_g2=d,
        count_s=n_s, count_r=n_r, count_delta=n_d, last_refresh=last,
    )  # fmt: skip
    return state, {
        "sigma_s2": jnp.where(n_s == 0, 1.0, s),
        "sigma_r2": jnp.where(n_r == 0, 1.0, r),
        "delta_g2": jnp.where(n_d == 0, 0.0, d),
        "count_s": n_s,
        "count_r": n_r,
        "count_delta": n_d,
        "last_refresh": last,
        "not_ready": (n_s == 0) | (n_r == 0) | (n_d == 0),
    }


def alpha(config: Settings, previous: jax.Array, kl: jax.Array) -> Info:
    """Static, or multiplied by 1 + gain * clip(KL / target - 1); held where the KL is unknown."""
    error = jnp.clip(kl / config.kl_target - 1.0, -ERROR_CLIP, ERROR_CLIP)
    proposed = previous * (1.0 + config.kl_gain * error)
    low, high = config.alpha_min, config.alpha_max
    known = config.kl_driven & ~jnp.isnan(kl)
    outside = (proposed < low) | (proposed > high)
    value = jnp.where(known, jnp.clip(proposed, low, high), previous)
    return {"alpha": value, "alpha_clipped": known & outside}


def closed_form(
    config: Settings, s: jax.Array, r: jax.Array, delta: jax.Array, target: jax.Array
) -> Info:
    """(alpha D2 + s2_r) / (D2 + s2_s + s2_r), after the cap of the disagreement."""
    limit = config.delta_g2_cap_ratio * (s + r + config.eps)
    capped = (delta > limit) & (config.delta_g2_cap_ratio > 0)
    d = jnp.where(capped, limit, delta)
    flat = jnp.maximum(jnp.maximum(s, r), d) <= 2.0 * config.eps
    top, bottom = target * d + r, d + s + r
    bottom += jnp.where(config.flat_is_alpha, 0.0, config.eps)
    raw = top / jnp.where(bottom == 0, 1.0, bottom)
    raw = jnp.where(config.flat_is_alpha & flat, target, raw)
    return {"delta_g2_capped": d, "mu_raw": raw, "disagreement_capped": capped, "flat_risk": flat}


def weight_ema(
    config: Settings, mu: jax.Array, mu_ada: jax.Array, mu_raw: jax.Array, not_ready: jax.Array
) -> Info:
    """The weight EMA and its clip; unmoved where there is no estimate yet and that is held."""
    previous = jnp.where(config.ema_internal, mu_ada, mu)
    smoothed = config.ema_beta * previous + config.ema_rest * mu_raw
    value = jnp.where(config.ema_off, mu_raw, smoothed)
    value = jnp.where(config.unseen_is_held & not_ready, previous, value)
    low, high = config.mu_min, config.mu_max
    outside = (value < low) | (value > high)
    return {"mu_ada": jnp.clip(value, low, high), "mu_ada_clipped": outside}


def prior_blend(config: Settings, mu_ada: jax.Array, step: Any) -> Info:
    """The prior at this step, and (1 - lambda) prior + lambda mu_ada."""
    t = jnp.asarray(step).astype(mu_ada.dtype)
    warmup, decay = config.prior_warmup, config.prior_decay
    peak, valley = config.prior_peak, config.prior_valley
    rising = t / jnp.maximum(1, warmup) * peak
    turned = math.pi * ((t - warmup) / jnp.maximum(1, decay))
    falling = valley + (peak - valley) * (0.5 * (1.0 + jnp.cos(turned)))
    prior = jnp.where(t < warmup, rising, jnp.where(t >= warmup + decay, valley, falling))
    blend = config.blend_rest * prior + config.blend_weight * mu_ada
    return {
        "prior": jnp.where(config.has_prior, prior, jnp.nan),
        "mu_candidate": jnp.where(config.has_prior, blend, mu_ada),
    }


def change_cap(config: Settings, candidate: jax.Array, mu: jax.Array) -> Info:
    """At most `mu_change_cap` away from the weight applied last."""
    change = candidate - mu
    acted = jnp.abs(change) > config.mu_change_cap
    moved = mu + jnp.copysign(config.mu_change_cap, change)
    return {"mu_capped": jnp.where(acted, moved, candidate), "change_capped": acted}


def clip(config: Settings, value: jax.Array) -> Info:
    """The bounds of mu."""
    outside = (value < config.mu_min) | (value > config.mu_max)
    return {"mu": jnp.clip(value, config.mu_min, config.mu_max), "mu_clipped": outside}
