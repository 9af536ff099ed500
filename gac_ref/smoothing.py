"""The statistics EMA: which batches enter it, and what it says before it has seen any."""

from __future__ import annotations

import numpy as np

from gac_ref import guards
from gac_ref._typing import ArrayLike, BoolArray, FloatArray, IntArray
from gac_ref.config import GACConfig
from gac_ref.proxies import Proxies
from gac_ref.state import GACState

__all__ = ["REFRESH_FLAGS", "refresh", "refresh_due", "smoothed_statistics"]

REFRESH_FLAGS = (
    "missing_s",
    "missing_r",
    "missing_delta",
    "sigma_s2_floored",
    "sigma_r2_floored",
    "sft_stream_constant",
    "rl_stream_constant",
    "delta_g2_negative",
)
"""Flags that a refresh can set; they are off at the steps between."""


def refresh_due(config: GACConfig, state: GACState, step: int) -> bool:
    """Whether the statistics take this step's batch in."""
    return state.last_refresh < 0 or step - state.last_refresh >= config.mu_update_freq


def refresh(
    config: GACConfig, state: GACState, new: Proxies, step: int
) -> tuple[GACState, dict[str, BoolArray]]:
    """Let one batch's proxies into the statistics EMA."""
    off = np.zeros(state.mu.shape, dtype=np.bool_)
    delta_g2 = np.asarray(new.delta_g2, dtype=np.float64)
    negative = (delta_g2 < 0.0) & np.asarray(new.has_delta)
    if negative.any():
        delta_g2 = np.where(negative, 0.0, delta_g2)
    sigma_s2, count_s = _smooth(config, state.sigma_s2, state.count_s, new.sigma_s2, new.has_s)
    sigma_r2, count_r = _smooth(config, state.sigma_r2, state.count_r, new.sigma_r2, new.has_r)
    smooth_delta, count_delta = _smooth(
        config, state.delta_g2, state.count_delta, delta_g2, new.has_delta
    )
    flags = {
        "missing_s": _absent(new.has_s),
        "missing_r": _absent(new.has_r),
        "missing_delta": _absent(new.has_delta),
        "sigma_s2_floored": new.sigma_s2_floored,
        "sigma_r2_floored": new.sigma_r2_floored,
        "sft_stream_constant": new.sft_stream_constant,
        "rl_stream_constant": new.rl_stream_constant,
        "delta_g2_negative": negative,
    }
    state = state._replace(
        sigma_s2=sigma_s2,
        sigma_r2=sigma_r2,
        delta_g2=smooth_delta,
        count_s=count_s,
        count_r=count_r,
        count_delta=count_delta,
        last_refresh=step,
    )
    return state, {name: _spread(flag, off) for name, flag in flags.items()}


def smoothed_statistics(
    config: GACConfig, state: GACState
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """The smoothed statistics with stand-ins for those not seen, and where any is not."""
    counts = (state.count_s, state.count_r, state.count_delta)
    if all(count.min(initial=1) > 0 for count in counts):
        off = np.zeros(state.mu.shape, dtype=np.bool_)
        return state.sigma_s2, state.sigma_r2, state.delta_g2, off
    unseen = tuple(count == 0 for count in counts)
    not_ready = unseen[0] | unseen[1] | unseen[2]
    sigma_s2, sigma_r2, delta_g2 = (
        np.where(absent, unit, value)
        for absent, unit, value in zip(
            unseen, (1.0, 1.0, 0.0), (state.sigma_s2, state.sigma_r2, state.delta_g2), strict=True
        )
    )
    return sigma_s2, sigma_r2, delta_g2, not_ready


def _smooth(
    config: GACConfig, smoothed: FloatArray, count: IntArray, value: ArrayLike, has: ArrayLike
) -> tuple[FloatArray, IntArray]:
    """One statistic's EMA, seeded by its first value; a missing branch is held or fed 0."""
    present = np.asarray(has, dtype=np.bool_)
    value = np.asarray(value, dtype=np.float64)
    if not present.all():
        value = np.where(present, value, 0.0)
    mean = guards.ema(smoothed, value, config.ema_beta)
    if count.min(initial=1) == 0:
        mean = np.where(count == 0, value, mean)
    if config.missing_branch == "zero" or present.all():
        return mean, count + 1
    return np.where(present, mean, smoothed), count + present


def _absent(has: BoolArray | bool) -> BoolArray | bool:
    return False if has is True else np.logical_not(has)


def _spread(flag: BoolArray | bool, off: BoolArray) -> BoolArray:
    """A flag in the trajectories' shape; most are a plain False, which costs nothing."""
    return off if flag is False or not np.any(flag) else np.asarray(flag | off)
