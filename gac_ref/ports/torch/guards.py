r"""The scalar stages of a step, on Python floats: float64 everywhere, whatever the device.

Each is a pure function; the order is written in :mod:`gac_ref.ports.torch.controller`. A NaN
passes through every one of them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from gac_ref.config import GACConfig
from gac_ref.ports.torch.proxies import Proxies
from gac_ref.ports.torch.state import GACState

__all__ = [
    "Smoothed",
    "cap_change",
    "clip",
    "closed_form",
    "holds",
    "kl_alpha",
    "prior_blend",
    "refresh_due",
    "refreshed",
    "smoothed",
    "weight_ema",
]

KL_ERROR_CLIP = 0.2
"""Bound of the relative KL error (Ziegler et al., arXiv:1909.08593, section 2.2)."""


class Smoothed(NamedTuple):
    """The statistics as the closed form uses them, with stand-ins for those never seen."""

    sigma_s2: float
    sigma_r2: float
    delta_g2: float
    not_ready: bool


def refresh_due(config: GACConfig, state: GACState, step: int) -> bool:
    """Whether the statistics take this step's batch in.

    Examples:
        >>> state = GACState(0.5, 0.5, 0.5, last_refresh=3)
        >>> [refresh_due(GACConfig(mu_update_freq=2), state, step) for step in (4, 5)]
        [False, True]
    """
    return state.last_refresh < 0 or step - state.last_refresh >= config.mu_update_freq


def refreshed(config: GACConfig, state: GACState, new: Proxies, step: int) -> GACState:
    """The state after one batch's proxies have entered the statistics EMA.

    Examples:
        >>> state = GACState(0.5, 0.5, 0.5)
        >>> new = Proxies(1.0, 2.0, 3.0, True, False, True)
        >>> refreshed(GACConfig(), state, new, 0)[3:]
        (1.0, 0.0, 3.0, 1, 0, 1, 0)
    """
    s = _smooth(config, state.sigma_s2, state.count_s, new.sigma_s2, new.has_s)
    r = _smooth(config, state.sigma_r2, state.count_r, new.sigma_r2, new.has_r)
    # An unbiased estimate, in the space of gradients, may be negative; it enters as 0.
    delta_g2 = 0.0 if new.delta_g2 < 0.0 else new.delta_g2
    d = _smooth(config, state.delta_g2, state.count_delta, delta_g2, new.has_delta)
    return state._replace(
        sigma_s2=s[0],
        sigma_r2=r[0],
        delta_g2=d[0],
        count_s=s[1],
        count_r=r[1],
        count_delta=d[1],
        last_refresh=step,
    )


def smoothed(state: GACState) -> Smoothed:
    """The statistics, 1 standing in for a variance never seen and 0 for the disagreement.

    Examples:
        >>> smoothed(GACState(0.5, 0.5, 0.5))
        Smoothed(sigma_s2=1.0, sigma_r2=1.0, delta_g2=0.0, not_ready=True)
    """
    return Smoothed(
        sigma_s2=state.sigma_s2 if state.count_s > 0 else 1.0,
        sigma_r2=state.sigma_r2 if state.count_r > 0 else 1.0,
        delta_g2=state.delta_g2 if state.count_delta > 0 else 0.0,
        not_ready=min(state.count_s, state.count_r, state.count_delta) == 0,
    )


def kl_alpha(config: GACConfig, alpha: float, kl: float) -> tuple[float, bool]:
    r"""The target ratio, and whether a bound acted; held where the KL is NaN.

    .. math:: \alpha \leftarrow \mathrm{clip}\bigl(\alpha\,(1 + g\,
              \mathrm{clip}(\mathrm{KL}/\mathrm{KL}_{target} - 1, -0.2, 0.2))\bigr)

    Examples:
        >>> kl_alpha(GACConfig(alpha_mode="kl"), 0.5, 0.04)
        (0.51, False)
    """
    if config.alpha_mode == "static" or math.isnan(kl):
        return alpha, False
    error, _ = clip(kl / config.kl_target - 1.0, -KL_ERROR_CLIP, KL_ERROR_CLIP)
    return clip(alpha * (1.0 + config.kl_gain * error), config.alpha_min, config.alpha_max)


def closed_form(
    config: GACConfig, statistics: Smoothed, alpha: float
) -> tuple[float, float, bool, bool]:
    r"""Disagreement cap and :math:`(\alpha\Delta^2 + \sigma_r^2)/(\Delta^2 + \sigma_s^2 +
    \sigma_r^2)`.

    Returns:
        The capped disagreement, mu_raw, whether the cap acted, whether the risk is flat.

    Examples:
        >>> closed_form(GACConfig(), Smoothed(1.0, 3.0, 0.0, False), 0.5)
        (0.0, 0.75, False, False)
    """
    s, r, d = statistics[:3]
    limit = config.delta_g2_cap_ratio * (s + r + config.eps)
    capped = config.delta_g2_cap_ratio > 0.0 and d > limit
    if capped:
        d = limit
    flat = all(value <= 2.0 * config.eps for value in (s, r, d))
    top, bottom = alpha * d + r, d + s + r
    if config.flat_risk == "zero":
        bottom += config.eps
    elif flat:
        return d, alpha, capped, flat
    return d, top / (bottom if bottom != 0.0 else 1.0), capped, flat


def holds(config: GACConfig, not_ready: bool) -> bool:
    """Whether the weight EMA stays where it is, for want of a statistic.

    Examples:
        >>> holds(GACConfig(), True), holds(GACConfig.released(), True)
        (True, False)
    """
    return config.unseen_statistic == "hold" and not_ready


def weight_ema(
    config: GACConfig, mu: float, mu_ada: float, mu_raw: float, *, hold: bool
) -> tuple[float, bool]:
    """The adaptive weight within its bounds, and whether one acted; unmoved where held.

    Examples:
        >>> weight_ema(GACConfig(ema_beta=0.75), 0.4, 0.5, 0.8, hold=False)
        (0.5, False)
    """
    previous = mu_ada if config.weight_ema == "internal" else mu
    if hold:
        value = previous
    elif config.weight_ema == "off":
        value = mu_raw
    else:
        value = _ema(previous, mu_raw, config.ema_beta)
    return clip(value, config.mu_min, config.mu_max)


def prior_blend(config: GACConfig, mu_ada: float, step: int) -> tuple[float, float]:
    """The schedule prior at this step (NaN without one), and its blend with the adaptive weight.

    Examples:
        >>> prior_blend(GACConfig(), 0.5, 200)
        (0.85, 0.675)
    """
    if config.prior == "none":
        return math.nan, mu_ada
    since = step - config.prior_warmup
    if since < 0:
        prior = step / max(1, config.prior_warmup) * config.prior_peak
    elif since >= config.prior_decay:
        prior = config.prior_valley
    else:
        half_cosine = 0.5 * (1.0 + math.cos(math.pi * (since / max(1, config.prior_decay))))
        prior = config.prior_valley + (config.prior_peak - config.prior_valley) * half_cosine
    weight = config.blend_weight
    return prior, (1.0 - weight) * prior + weight * mu_ada


def cap_change(config: GACConfig, candidate: float, mu: float) -> tuple[float, bool]:
    """The candidate no further than the cap from the weight applied last, and whether it acted.

    Examples:
        >>> cap_change(GACConfig(), 0.9, 0.5)
        (0.51, True)
    """
    change = candidate - mu
    if abs(change) > config.mu_change_cap:
        return mu + math.copysign(config.mu_change_cap, change), True
    return candidate, False


def clip(value: float, low: float, high: float) -> tuple[float, bool]:
    """`value` in [low, high], and whether a bound acted; NaN stays NaN.

    Examples:
        >>> clip(0.95, 0.05, 0.9)
        (0.9, True)
    """
    if value < low:
        return low, True
    if value > high:
        return high, True
    return value, False


def _ema(previous: float, value: float, beta: float) -> float:
    return beta * previous + (1.0 - beta) * value


def _smooth(
    config: GACConfig, mean: float, count: int, value: float, present: bool
) -> tuple[float, int]:
    """One statistic and its count: seeded by its first value; a missing one is held, or fed 0."""
    if not present:
        if config.missing_branch == "hold":
            return mean, count
        value = 0.0
    return (_ema(mean, value, config.ema_beta) if count else value), count + 1
