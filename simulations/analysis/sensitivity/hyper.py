"""The controller with a hyperparameter value a trajectory, real or complex.

`gac_ref.GACConfig` holds one value of each hyperparameter for all trajectories. Global indices need
thousands of values at once, and the complex-step derivative needs arithmetic that carries an
imaginary part through every branch. This is the same order of operations as `gac_ref.controller`,
and gives the same bits for real values; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import AnyArray
from gac_ref.errors import fail

__all__ = ["HYPERPARAMETERS", "HyperState", "Values", "advance", "begin", "hyperparameters"]

HYPERPARAMETERS = (
    "ema_beta",
    "blend_weight",
    "alpha",
    "prior_peak",
    "prior_valley",
    "init_mu",
    "mu_min",
    "mu_max",
    "mu_change_cap",
    "delta_g2_cap_ratio",
    "eps",
    "alpha_min",
    "alpha_max",
    "kl_target",
    "kl_gain",
    "mu_update_freq",
    "prior_warmup",
    "prior_decay",
)
"""What may differ from trajectory to trajectory; the last three are whole numbers. The rest of
GACConfig are choices, or act on tokens before the controller (`trim_ratio`, `mask_eps`)."""

ERROR_CLIP = 0.2
"""Of the proportional rule for alpha."""

Hyper = Mapping[str, AnyArray]


class HyperState(NamedTuple):
    """What is carried from step to step, [...] each; as `gac_ref.GACState`."""

    mu: AnyArray
    mu_ada: AnyArray
    alpha: AnyArray
    sigma_s2: AnyArray
    sigma_r2: AnyArray
    delta_g2: AnyArray


class Values(NamedTuple):
    """The proxies of a step, broadcastable against the trajectories; all branches present."""

    sigma_s2: Any
    sigma_r2: Any
    delta_g2: Any
    kl: Any = float("nan")


def hyperparameters(config: GACConfig, changes: Mapping[str, Any]) -> dict[str, AnyArray]:
    """Every hyperparameter as an array: those of a configuration, but for some.

    Raises:
        GACError: A name that is not one of :data:`HYPERPARAMETERS`.

    Examples:
        >>> hyperparameters(GACConfig(), {"alpha": [0.2, 0.3]})["alpha"].tolist()
        [0.2, 0.3]
    """
    for name in changes:
        if name not in HYPERPARAMETERS:
            fail(f"{name!r} cannot differ by trajectory; what can: {', '.join(HYPERPARAMETERS)}")
    return {name: np.asarray(changes.get(name, getattr(config, name))) for name in HYPERPARAMETERS}


def begin(h: Hyper, shape: tuple[int, ...]) -> HyperState:
    """The state before the first step, [...] of `shape`."""
    dtype = np.result_type(*h.values(), np.float64)
    mu, alpha = (np.full(shape, h[name], dtype=dtype) for name in ("init_mu", "alpha"))
    empty = np.zeros(shape, dtype=dtype)
    return HyperState(mu, mu, alpha, empty, empty, empty)


def advance(
    config: GACConfig, h: Hyper, state: HyperState, values: Values, step: int
) -> tuple[HyperState, AnyArray]:
    """One step of every trajectory.

    Args:
        config: The choices; its numbers are not read.
        h: The hyperparameters, broadcastable against the trajectories.
        state: The state; steps count from 0 without gaps.
        values: This step's proxies; read where a refresh is due.
        step: The step.

    Returns:
        The new state and the raw estimate, [...].

    Examples:
        >>> h = hyperparameters(GACConfig(), {"mu_change_cap": [0.01, 0.02]})
        >>> state, raw = advance(GACConfig(), h, begin(h, (2,)), Values(1.0, 1.0, 0.0), 0)
        >>> state.mu.tolist(), raw.tolist()
        ([0.49, 0.48], [0.5, 0.5])
    """
    alpha = state.alpha
    if config.alpha_mode == "kl":
        error = _clip(values.kl / h["kl_target"] - 1.0, -ERROR_CLIP, ERROR_CLIP)
        alpha = _clip(alpha * (1.0 + h["kl_gain"] * error), h["alpha_min"], h["alpha_max"])
    s, r, d = _smoothed(h, state, values, step)
    raw = _closed_form(config, h, s, r, d, alpha)

    beta, mu = h["ema_beta"], state.mu
    previous = state.mu_ada if config.weight_ema == "internal" else mu
    adaptive = raw if config.weight_ema == "off" else beta * previous + (1.0 - beta) * raw
    adaptive = _clip(adaptive, h["mu_min"], h["mu_max"])
    candidate = adaptive
    if config.prior != "none":
        lam = h["blend_weight"]
        candidate = (1.0 - lam) * _prior(h, step) + lam * adaptive
    change, cap = candidate - mu, h["mu_change_cap"]
    limited = mu + np.where(change.real < 0.0, -cap, cap)
    capped = np.where(np.abs(change.real) > cap.real, limited, candidate)
    applied = _clip(capped, h["mu_min"], h["mu_max"])
    return HyperState(applied, adaptive, alpha, s, r, d), raw


def _smoothed(
    h: Hyper, state: HyperState, values: Values, step: int
) -> tuple[AnyArray, AnyArray, AnyArray]:
    due = step % h["mu_update_freq"] == 0
    if not np.any(due):
        return state.sigma_s2, state.sigma_r2, state.delta_g2
    beta = h["ema_beta"]
    d = np.asarray(values.delta_g2)
    new = (values.sigma_s2, values.sigma_r2, np.where(d.real < 0.0, 0.0, d))
    out = []
    for smooth, value in zip(state[3:], new, strict=True):
        mean = value + np.zeros_like(smooth) if step == 0 else beta * smooth + (1.0 - beta) * value
        out.append(np.where(due, mean, smooth))
    return out[0], out[1], out[2]


def _closed_form(
    config: GACConfig, h: Hyper, s: AnyArray, r: AnyArray, d: AnyArray, alpha: AnyArray
) -> AnyArray:
    ratio, eps = h["delta_g2_cap_ratio"], h["eps"]
    limit = ratio * ((s + r) + eps)
    d = np.where((ratio.real != 0.0) & (d.real > limit.real), limit, d)
    top, bottom = alpha * d + r, d + s + r
    if config.flat_risk == "zero":
        bottom = bottom + eps
        return np.asarray(top / np.where(bottom == 0.0, 1.0, bottom))
    flat = np.maximum(np.maximum(s.real, r.real), d.real) <= 2.0 * eps.real
    return np.where(flat, alpha, top / np.where(bottom == 0.0, 1.0, bottom))


def _prior(h: Hyper, step: int) -> AnyArray:
    warmup, decay = h["prior_warmup"], h["prior_decay"]
    peak, valley = h["prior_peak"], h["prior_valley"]
    t = float(step)
    rising = (t / np.maximum(1, warmup)) * peak
    progress = (t - warmup) / np.maximum(1, decay)
    falling = valley + (peak - valley) * (0.5 * (1.0 + np.cos(np.pi * progress)))
    return np.where(t < warmup, rising, np.where(t >= warmup + decay, valley, falling))


def _clip(value: Any, low: Any, high: Any) -> AnyArray:
    """Clip by the real parts; what is clipped takes the bound with its imaginary part."""
    value, low, high = np.asarray(value), np.asarray(low), np.asarray(high)
    above = np.where(value.real > high.real, high, value)
    return np.asarray(np.where(above.real < low.real, low, above))
