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

import numpy as np

from gac_ref import guards
from gac_ref.config import GACConfig
from gac_ref.controller import guarded_weights
from gac_ref.schedules import prior_at

__all__ = ["WEAK_AUTHORITY", "Authority", "authority"]

WEAK_AUTHORITY = 0.05
"""Below this weight the estimate moves mu by less than 5 % of its own movement: a warning."""

SETTLING_BAND = 0.02
"""A response has settled once it stays within 2 % of its final value."""


ENDS = np.array([0.0, 1.0])
"""The ends of the range of raw estimates."""


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

    def lines(self, config: GACConfig, name: str) -> list[str]:
        """The report in plain text, with a warning where the estimate hardly moves mu.

        Args:
            config: What the report is of.
            name: The configuration's name for a reader.

        Examples:
            >>> config = GACConfig.released()
            >>> print(authority(config).lines(config, "released")[1])
              steady state  mu = 0.0099 raw estimate + 0.9901 prior, while neither a bound \
(0.05, 0.9) nor the cap acts
        """
        prior = f" + {self.prior_weight:.4f} prior" if config.prior != "none" else ""
        change = f"largest change of mu in a step {self.largest_change:.4g}"
        cap = f"the cap {config.mu_change_cap:g}"
        lines = [
            f"Authority of the noise-aware estimate ({name})",
            f"  steady state  mu = {self.weight:.4f} raw estimate{prior}, while neither a bound "
            f"({config.mu_min:g}, {config.mu_max:g}) nor the cap acts",
            f"  settling      {_steps(self.settling_steps)} after a change of the estimate; "
            f"{_steps(self.statistics_settling_steps)} for the statistics behind it",
            f"  change cap    {change}; {cap} can bind, at step {self.first_binding_step} first"
            if self.cap_can_bind
            else f"  change cap    {change}; {cap} can never bind",
        ]
        if self.weak:
            lines.append(
                f"  WARNING       the noise-aware estimate moves mu by {self.weight:.2%} of its "
                f"own movement (less than {WEAK_AUTHORITY:.0%}): mu is the schedule in all but name"
            )
        return lines


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


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
        docs/method.md, section 4.
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
    walk = _changes(config)
    changes = list(itertools.islice(walk, schedule + 1))
    prior = prior_at(config, schedule)
    limits = (_limit(config, lam, prior, 0.0), _limit(config, lam, prior, 1.0))
    largest = max(*changes, _change(config, prior, prior, *limits))
    if largest <= config.mu_change_cap:
        return largest, None
    walked = enumerate(itertools.chain(changes, walk))
    return largest, next((step for step, change in walked if change > config.mu_change_cap), None)


def _changes(config: GACConfig) -> Iterator[float]:
    """The largest uncapped change of mu at step 0, 1, ..., until nothing moves any more.

    Carries the interval of reachable weights: of the applied mu, or of the EMA's own state.
    """
    low = high = config.init_mu
    before = None  # no blend happened before step 0: mu is init_mu as it is
    for step in itertools.count():
        prior = prior_at(config, step)
        yield _change(config, before, prior, low, high)
        ends = guarded_weights(config, np.array([low, high]), np.array([low, high]), ENDS, prior)
        carried = ends.mu_ada
        if config.weight_ema == "applied":  # as it would be without a cap
            carried = np.clip(ends.mu_candidate, config.mu_min, config.mu_max)
        if carried.tolist() == [low, high] and step > config.prior_warmup + config.prior_decay:
            return
        (low, high), before = carried.tolist(), prior


def _change(
    config: GACConfig, before: float | None, prior: float, low: float, high: float
) -> float:
    """The largest uncapped change of mu from a carried weight in [low, high].

    It is monotone in the raw estimate, and piecewise linear in the carried weight, with a kink
    where the clip of the weight applied before sets in.
    """
    carried = np.array([low, high])
    applied = carried
    if config.weight_ema != "applied" and config.prior != "none" and before is not None:
        lam, bounds = config.blend_weight, np.array([config.mu_min, config.mu_max])
        if lam > 0.0:
            kinks = (bounds - (1.0 - lam) * before) / lam
            carried = np.concatenate((carried, np.clip(kinks, low, high)))
        applied = np.clip(guards.blend(carried, before, lam), *bounds)
    after = guarded_weights(config, carried[:, None], carried[:, None], ENDS, prior)
    return float(np.abs(after.mu_candidate - applied[:, None]).max())


def _limit(config: GACConfig, lam: float, prior: float, raw: float) -> float:
    """The fixed point that a constant raw estimate leads the carried weight to."""
    low, high = config.mu_min, config.mu_max
    if config.weight_ema != "applied":
        return min(max(raw, low), high)
    # mu = clip((1 - lam) prior + lam clip(beta mu + (1 - beta) raw)): solved with the inner clip
    # inactive, then active; the map is a contraction, so the self-consistent one is the limit.
    beta = config.ema_beta
    pull = (1.0 - lam) * prior if lam < 1.0 else 0.0
    mu = (pull + lam * (1.0 - beta) * raw) / (1.0 - lam * beta)
    inner = beta * mu + (1.0 - beta) * raw
    if not low <= inner <= high:
        mu = pull + lam * min(max(inner, low), high)
    return min(max(mu, low), high)
