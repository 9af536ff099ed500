r"""Authority: how much of the noise-aware estimate the guard stack lets through.

Between bounds, and while the cap does not act, the guards are linear in the raw estimate and the
prior, so their steady state is a weighted mean of the two, and the weight of the estimate is its
authority. With the weight EMA fed by the *applied* mu, the prior is averaged in again at every
step, and the released defaults leave the estimate 0.99 % of mu.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

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
    largest, first = _largest_change(config, lam)
    return Authority(
        weight=weight,
        prior_weight=1.0 - weight,
        pole=pole,
        settling_steps=_settling(pole),
        statistics_settling_steps=(_settling(beta) - 1) * config.mu_update_freq + 1,
        largest_change=largest,
        cap_can_bind=first is not None,
        first_binding_step=first,
        weak=weight < WEAK_AUTHORITY,
    )


def _settling(pole: float) -> int:
    """The least n with pole ** n <= SETTLING_BAND."""
    return 1 if pole <= SETTLING_BAND else math.ceil(math.log(SETTLING_BAND) / math.log(pole))


def _largest_change(config: GACConfig, lam: float) -> tuple[float, int | None]:
    """The supremum of the uncapped change over all steps, and the first step above the cap.

    Once the prior is constant the reachable interval moves monotonically to a limit, which bounds
    all later steps; only where that bound is above the cap are they walked.
    """
    schedule = 1 + (config.prior_warmup + config.prior_decay if config.prior != "none" else 0)
    walk = _changes(config, lam)
    changes = list(itertools.islice(walk, schedule + 1))
    prior = _prior(config, schedule)
    limits = (_limit(config, lam, prior, 0.0), _limit(config, lam, prior, 1.0))
    largest = max(*changes, _change(config, lam, prior, prior, *limits))
    if largest <= config.mu_change_cap:
        return largest, None
    walked = enumerate(itertools.chain(changes, walk))
    return largest, next((step for step, change in walked if change > config.mu_change_cap), None)


def _changes(config: GACConfig, lam: float) -> Iterator[float]:
    """The largest uncapped change of mu at step 0, 1, ..., until nothing moves any more.

    Carries the interval of reachable weights: of the applied mu, or of the EMA's own state.
    """
    low = high = config.init_mu
    before = math.nan  # no blend happened before step 0: mu is init_mu as it is
    for step in itertools.count():
        prior = _prior(config, step)
        yield _change(config, lam, before, prior, low, high)
        ends = _advance(config, lam, prior, low, 0.0), _advance(config, lam, prior, high, 1.0)
        if ends == (low, high) and prior == before and step > config.prior_warmup:
            return
        low, high = ends
        before = prior


def _change(
    config: GACConfig, lam: float, before: float, prior: float, low: float, high: float
) -> float:
    """The largest uncapped change of mu from a carried weight in [low, high].

    It is monotone in the raw estimate, and piecewise linear in the carried weight, with a kink
    where the clip of the weight applied before sets in.
    """
    carried = [low, high]
    own_state = config.weight_ema != "applied" and not math.isnan(before)
    if own_state and lam > 0.0:
        kinks = ((bound - (1.0 - lam) * before) / lam for bound in (config.mu_min, config.mu_max))
        carried += [kink for kink in kinks if low < kink < high]
    largest = 0.0
    for weight, raw in itertools.product(carried, (0.0, 1.0)):
        applied = _clip(config, _blend(weight, before, lam)) if own_state else weight
        candidate = _blend(_adaptive(config, weight, raw), prior, lam)
        largest = max(largest, abs(candidate - applied))
    return largest


def _advance(config: GACConfig, lam: float, prior: float, carried: float, raw: float) -> float:
    """The carried weight one step on; monotone in the carried weight and in the raw estimate."""
    adaptive = _adaptive(config, carried, raw)
    return (
        _clip(config, _blend(adaptive, prior, lam)) if config.weight_ema == "applied" else adaptive
    )


def _limit(config: GACConfig, lam: float, prior: float, raw: float) -> float:
    """The fixed point that a constant raw estimate leads the carried weight to."""
    if config.weight_ema != "applied":
        return _clip(config, raw)
    # mu = clip((1 - lam) prior + lam clip(beta mu + (1 - beta) raw)): solved with the inner clip
    # inactive, then active; the map is a contraction, so the self-consistent one is the limit.
    beta = config.ema_beta
    linear = ((1.0 - lam) * prior + lam * (1.0 - beta) * raw) / (1.0 - lam * beta)
    inner = beta * linear + (1.0 - beta) * raw
    if not config.mu_min <= inner <= config.mu_max:
        linear = _blend(_clip(config, inner), prior, lam)
    return _clip(config, linear)


# The guards once more, on plain floats: a walk of thousands of steps would spend its time in
# NumPy's call overhead. A test holds them against gac_ref.guards.


def _adaptive(config: GACConfig, carried: float, raw: float) -> float:
    if config.weight_ema == "off":
        return _clip(config, raw)
    return _clip(config, config.ema_beta * carried + (1.0 - config.ema_beta) * raw)


def _blend(adaptive: float, prior: float, lam: float) -> float:
    return (1.0 - lam) * prior + lam * adaptive


def _clip(config: GACConfig, value: float) -> float:
    return min(max(value, config.mu_min), config.mu_max)


def _prior(config: GACConfig, step: int) -> float:
    return prior_at(config, step) if config.prior != "none" else 0.0
