r"""Authority: how much of the noise-aware estimate the guard stack lets through.

Between bounds, and while the cap does not act, the guards are linear in the raw estimate and the
prior, so their steady state is a weighted mean of the two, and the weight of the estimate is its
authority. With the weight EMA fed by the *applied* mu, the prior is averaged in again at every
step, and the released defaults leave the estimate 0.99 % of mu.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gac_ref import guards
from gac_ref._typing import FloatArray
from gac_ref.config import GACConfig
from gac_ref.schedules import prior_at

__all__ = ["WEAK_AUTHORITY", "Authority", "authority"]

WEAK_AUTHORITY = 0.05
"""Below this weight the estimate moves mu by less than 5 % of its own movement: a warning."""

SETTLING_BAND = 0.02
"""A response has settled once it stays within 2 % of its final value."""


class Authority(NamedTuple):
    r"""The linear theory of a configuration's guard stack.

    Args:
        weight: Steady-state :math:`\partial\mu / \partial\mu_{raw}`, in [0, 1].
        prior_weight: Steady-state weight of the prior, 1 - weight.
        pole: Share of a deviation of the weight loop that survives a step, in [0, 1).
        settling_steps: Steps until mu has taken up all but 2 % of a step in the raw estimate.
        statistics_settling_steps: Steps until the smoothed statistics have taken up all but 2 %
            of a step in the proxies (a refresh every `mu_update_freq` steps).
        largest_change: Supremum of :math:`|\mu_{cand} - \mu_{t-1}|` over all steps and all
            sequences of raw estimates in [0, 1], were there no cap.
        cap_can_bind: Whether that exceeds the cap.
        first_binding_step: The first step at which it can, or None.
        weak: Whether `weight` is below :data:`WEAK_AUTHORITY`.
    """

    weight: float
    prior_weight: float
    pole: float
    settling_steps: int
    statistics_settling_steps: int
    largest_change: float
    cap_can_bind: bool
    first_binding_step: int | None
    weak: bool


def authority(config: GACConfig) -> Authority:
    r"""Steady-state weight of the raw estimate, settling times, and whether the cap can bind.

    With :math:`\lambda` the blend weight (1 without a prior) and :math:`\beta` the EMA's:

    ============  =============================================  ===================
    weight EMA    weight                                         pole
    ============  =============================================  ===================
    applied       :math:`\lambda(1-\beta)/(1-\lambda\beta)`      :math:`\lambda\beta`
    internal      :math:`\lambda`                                :math:`\beta`
    off           :math:`\lambda`                                0
    ============  =============================================  ===================

    The theory is of the guards after the closed form; how far the raw estimate itself moves is a
    matter of the statistics. Whether the cap can bind is exact: the set of weights that some
    sequence of raw estimates in [0, 1] can reach is an interval, and the largest change on it,
    piecewise linear, is found at its ends and kinks, step by step.

    Args:
        config: The configuration.

    Returns:
        The authority.

    Examples:
        >>> round(authority(GACConfig.released()).weight, 4)
        0.0099
        >>> authority(GACConfig.decoupled()).weight
        0.5

    References:
        The specification's section 4.
    """
    beta = config.ema_beta
    lam = config.blend_weight if config.prior != "none" else 1.0
    weight, pole = {
        "applied": (lam * (1.0 - beta) / (1.0 - lam * beta), lam * beta),
        "internal": (lam, beta),
        "off": (lam, 0.0),
    }[config.weight_ema]
    changes = list(_largest_changes(config, lam))
    binding = [step for step, change in changes if change > config.mu_change_cap]
    return Authority(
        weight=weight,
        prior_weight=1.0 - weight,
        pole=pole,
        settling_steps=_settling(pole),
        statistics_settling_steps=(_settling(beta) - 1) * config.mu_update_freq + 1,
        largest_change=max(change for _, change in changes),
        cap_can_bind=bool(binding),
        first_binding_step=min(binding, default=None),
        weak=weight < WEAK_AUTHORITY,
    )


def _settling(pole: float) -> int:
    """The least n with pole ** n <= SETTLING_BAND."""
    return 1 if pole <= SETTLING_BAND else math.ceil(math.log(SETTLING_BAND) / math.log(pole))


def _largest_changes(config: GACConfig, lam: float) -> Iterator[tuple[int, float]]:
    """For each step, the largest uncapped change of mu that any raw estimates can cause.

    Walks the interval of reachable carried weights (the applied mu, or the EMA's own state). Once
    the prior is constant the interval moves monotonically to a limit, which stands for all later
    steps; the step named for it is the first after the schedule.
    """
    horizon = 1 + (config.prior_warmup + config.prior_decay if config.prior != "none" else 0)
    low = high = config.init_mu
    previous_prior = math.nan  # no blend happened before step 0: mu is init_mu as it is
    for step in range(horizon + 1):
        prior = prior_at(config, step) if config.prior != "none" else 0.0
        if step == horizon:
            low, high = _limit(config, lam, prior, low), _limit(config, lam, prior, high, up=True)
        carried = _ends_and_kinks(config, lam, previous_prior, low, high)
        applied = carried
        if config.weight_ema != "applied" and step > 0:
            applied = _clip(config, _blend(carried, previous_prior, lam))
        adaptive = _adaptive(config, carried[:, None], np.array([0.0, 1.0]))
        candidate = _blend(adaptive, prior, lam)
        yield step, float(np.abs(candidate - applied[:, None]).max())
        following = _clip(config, candidate) if config.weight_ema == "applied" else adaptive
        low, high = float(following.min()), float(following.max())
        previous_prior = prior


def _ends_and_kinks(
    config: GACConfig, lam: float, prior: float, low: float, high: float
) -> FloatArray:
    """Where, on [low, high], the change can have its extremes: it is linear in between."""
    beta = config.ema_beta
    points = [low, high]
    for bound in (config.mu_min, config.mu_max):
        if config.weight_ema != "off" and beta > 0.0:
            points += [bound / beta, (bound - (1.0 - beta)) / beta]
        if config.weight_ema != "applied" and lam > 0.0 and not math.isnan(prior):
            points.append((bound - (1.0 - lam) * prior) / lam)
    return np.asarray(np.clip(np.array(points), low, high))


def _limit(config: GACConfig, lam: float, prior: float, start: float, *, up: bool = False) -> float:
    """The fixed point that the lowest (or highest) raw estimate leads the carried weight to."""
    raw = 1.0 if up else 0.0
    if config.weight_ema != "applied":
        return float(_clip(config, np.asarray(raw)))
    # mu = clip((1 - lam) prior + lam clip(beta mu + (1 - beta) raw)): solved with the inner clip
    # inactive, then active; the map is a contraction, so the self-consistent one is the limit.
    beta = config.ema_beta
    linear = ((1.0 - lam) * prior + lam * (1.0 - beta) * raw) / (1.0 - lam * beta)
    inner = beta * linear + (1.0 - beta) * raw
    if not config.mu_min <= inner <= config.mu_max:
        linear = (1.0 - lam) * prior + lam * float(_clip(config, np.asarray(inner)))
    return float(_clip(config, np.asarray(linear)))


def _adaptive(config: GACConfig, carried: FloatArray, raw: FloatArray) -> FloatArray:
    if config.weight_ema == "off":
        return _clip(config, np.broadcast_to(raw, np.broadcast_shapes(carried.shape, raw.shape)))
    return _clip(config, guards.ema(carried, raw, config.ema_beta))


def _blend(adaptive: FloatArray, prior: float, lam: float) -> FloatArray:
    return guards.blend(adaptive, prior, lam)


def _clip(config: GACConfig, value: FloatArray) -> FloatArray:
    return guards.clip(value, config.mu_min, config.mu_max)[0]
