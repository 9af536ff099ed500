"""The stages from proxies to mu, and their order, written once in `advance`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gac_ref.config import GACConfig
from gac_ref.ports.jax.batch import Batch, Rows, coefficients, row_statistics
from gac_ref.ports.jax.proxies import Proxies, disagreement_rows, kl_of, proxies

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


def init(config: GACConfig) -> State:
    """The state before the first step; float64 where 64-bit mode is on, else float32."""
    reals = (config.init_mu, config.init_mu, config.alpha, 0.0, 0.0, 0.0)
    counts = (0, 0, 0, -1)
    return State(
        *(jnp.asarray(value) for value in reals), *(jnp.asarray(n, jnp.int32) for n in counts)
    )


def update(
    config: GACConfig, state: State, batch: Batch, step: Any, *, axis_name: str | None = None
) -> tuple[State, Info]:
    """One controller step.

    Args:
        config: Static.
        state: From `init` or the step before.
        batch: This device's sequences.
        step: The optimiser step, an integer, traced.
        axis_name: The mesh axis that the batch is split over, inside ``shard_map``: the ranks
            then gather one row of statistics a sequence, in one collective, and all compute the
            same mu, to the bit.

    Returns:
        The new state, and every intermediate by name; ``info["mu"]`` is the weight to apply.
    """
    streams = coefficients(config, batch)
    rows = row_statistics(config, batch, streams)
    if axis_name is not None:
        rows = _gathered(rows, axis_name)
    per_row, constant_s, constant_r = disagreement_rows(config, rows)
    fresh = proxies(
        config,
        tokens=rows.tokens,
        nll=rows.signal,
        advantage=rows.signal,
        disagreement=per_row,
        is_expert=rows.is_expert,
    )
    kl = kl_of(config, rows, batch.kl, batch.ref_logprob is not None)
    state, info = advance(config, state, fresh, kl, step)
    info |= {
        "c_s": streams[0],
        "c_r": streams[1],
        "tokens": rows.tokens,
        "nll": rows.signal,
        "advantage": rows.signal,
        "disagreement": per_row,
        "sft_stream_constant": constant_s,
        "rl_stream_constant": constant_r,
        **fresh._asdict(),
    }
    return state, info


def _gathered(rows: Rows, axis_name: str) -> Rows:
    """The rows of all ranks, in rank order: one collective of a [B, 10] table."""
    dtype = rows.signal.dtype
    table = jnp.stack([column.astype(dtype) for column in rows], axis=-1)
    whole = jax.lax.all_gather(table, axis_name, tiled=True)
    columns = Rows(*jnp.moveaxis(whole, -1, 0))
    return columns._replace(
        is_expert=columns.is_expert > 0, tokens=columns.tokens.astype(rows.tokens.dtype)
    )


def advance(
    config: GACConfig, state: State, fresh: Proxies, kl: jax.Array, step: Any
) -> tuple[State, Info]:
    """One step from proxies: the stages in their order."""
    target = alpha(config, state.alpha, kl)
    smoothed, smooth = statistics_ema(config, state, fresh, step)
    form = closed_form(
        config, smooth["sigma_s2"], smooth["sigma_r2"], smooth["delta_g2"], target["alpha"]
    )
    if config.unseen_statistic == "hold":
        held = state.mu_ada if config.weight_ema == "internal" else state.mu
        form["mu_raw"] = jnp.where(smooth["not_ready"], held, form["mu_raw"])
    ada = weight_ema(config, state.mu, state.mu_ada, form["mu_raw"], smooth["not_ready"])
    blend = prior_blend(config, ada["mu_ada"], step)
    capped = change_cap(config, blend["mu_candidate"], state.mu)
    applied = clip(config, capped["mu_capped"])
    state = smoothed._replace(
        mu=applied["mu"].astype(state.mu.dtype),
        mu_ada=ada["mu_ada"].astype(state.mu.dtype),
        alpha=target["alpha"].astype(state.mu.dtype),
    )
    return state, {"kl": kl, **target, **smooth, **form, **ada, **blend, **capped, **applied}


def statistics_ema(
    config: GACConfig, state: State, fresh: Proxies, step: Any
) -> tuple[State, Info]:
    """The statistics EMA where a refresh is due; a missing branch is held, or fed 0."""
    due = (state.last_refresh < 0) | (step - state.last_refresh >= config.mu_update_freq)

    def smooth(
        old: jax.Array, count: jax.Array, value: jax.Array, present: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        feeds = due & (present | (config.missing_branch == "zero"))
        value = jnp.where(present, value, 0.0)
        mean = config.ema_beta * old + (1.0 - config.ema_beta) * value
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


def alpha(config: GACConfig, previous: jax.Array, kl: jax.Array) -> Info:
    """Static, or multiplied by 1 + gain * clip(KL / target - 1); held where the KL is unknown."""
    if config.alpha_mode == "static":
        return {"alpha": previous, "alpha_clipped": jnp.zeros((), bool)}
    error = jnp.clip(kl / config.kl_target - 1.0, -ERROR_CLIP, ERROR_CLIP)
    proposed = previous * (1.0 + config.kl_gain * error)
    low, high = config.alpha_min, config.alpha_max
    known = ~jnp.isnan(kl)
    outside = (proposed < low) | (proposed > high)
    value = jnp.where(known, jnp.clip(proposed, low, high), previous)
    return {"alpha": value, "alpha_clipped": known & outside}


def closed_form(
    config: GACConfig, s: jax.Array, r: jax.Array, delta: jax.Array, target: jax.Array
) -> Info:
    """(alpha D2 + s2_r) / (D2 + s2_s + s2_r), after the cap of the disagreement."""
    limit = config.delta_g2_cap_ratio * (s + r + config.eps)
    capped = (delta > limit) & (config.delta_g2_cap_ratio > 0)
    d = jnp.where(capped, limit, delta)
    flat = jnp.maximum(jnp.maximum(s, r), d) <= 2.0 * config.eps
    top, bottom = target * d + r, d + s + r
    if config.flat_risk == "zero":
        bottom = bottom + config.eps
    raw = top / jnp.where(bottom == 0, 1.0, bottom)
    if config.flat_risk == "alpha":
        raw = jnp.where(flat, target, raw)
    return {"delta_g2_capped": d, "mu_raw": raw, "disagreement_capped": capped, "flat_risk": flat}


def weight_ema(
    config: GACConfig, mu: jax.Array, mu_ada: jax.Array, mu_raw: jax.Array, not_ready: jax.Array
) -> Info:
    """The weight EMA and its clip; unmoved where there is no estimate yet and that is held."""
    previous = mu_ada if config.weight_ema == "internal" else mu
    value = mu_raw
    if config.weight_ema != "off":
        value = config.ema_beta * previous + (1.0 - config.ema_beta) * mu_raw
    if config.unseen_statistic == "hold":
        value = jnp.where(not_ready, previous, value)
    low, high = config.mu_min, config.mu_max
    outside = (value < low) | (value > high)
    return {"mu_ada": jnp.clip(value, low, high), "mu_ada_clipped": outside}


def prior_blend(config: GACConfig, mu_ada: jax.Array, step: Any) -> Info:
    """The prior at this step, and (1 - lambda) prior + lambda mu_ada."""
    if config.prior == "none":
        return {"prior": jnp.full_like(mu_ada, jnp.nan), "mu_candidate": mu_ada}
    t = jnp.asarray(step).astype(mu_ada.dtype)
    warmup, decay = config.prior_warmup, config.prior_decay
    peak, valley = config.prior_peak, config.prior_valley
    rising = t / max(1, warmup) * peak
    falling = valley + (peak - valley) * (
        0.5 * (1.0 + jnp.cos(math.pi * ((t - warmup) / max(1, decay))))
    )
    prior = jnp.where(t < warmup, rising, jnp.where(t >= warmup + decay, valley, falling))
    weight = config.blend_weight
    return {"prior": prior, "mu_candidate": (1.0 - weight) * prior + weight * mu_ada}


def change_cap(config: GACConfig, candidate: jax.Array, mu: jax.Array) -> Info:
    """At most `mu_change_cap` away from the weight applied last."""
    change = candidate - mu
    acted = jnp.abs(change) > config.mu_change_cap
    moved = mu + jnp.copysign(config.mu_change_cap, change)
    return {"mu_capped": jnp.where(acted, moved, candidate), "change_capped": acted}


def clip(config: GACConfig, value: jax.Array) -> Info:
    """The bounds of mu."""
    outside = (value < config.mu_min) | (value > config.mu_max)
    return {"mu": jnp.clip(value, config.mu_min, config.mu_max), "mu_clipped": outside}
