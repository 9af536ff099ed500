"""Faults in the group-relative advantages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.advantages import AdvantageConvention
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import fault

__all__ = ["FAULTS"]

_fault = partial(fault, "advantages")
Rule = AdvantageConvention


def _changed(change: Callable[[Rule], dict[str, Any]]) -> dict[str, Any]:
    """Every convention with other settings."""

    def relative(port: Model, rule: Rule, *args: AnyArray) -> AnyArray:
        return Model.relative(port, dataclasses.replace(rule, **change(rule)), *args)

    return {"relative": relative}


def _inside(port: Model, rule: Rule, centred: AnyArray, spread: Any) -> AnyArray:
    """Eps under the root."""
    if not rule.divides:
        return centred
    return np.asarray(centred / np.sqrt(spread * spread + port.wide(rule.eps)))


def _runs(port: Model, v: Any) -> Any:
    """Groups are runs of equal ids: ids that come back start a new group."""
    ids = v["group_ids"]
    starts = np.concatenate(([True], ids[1:] != ids[:-1])) if ids.size else ids
    return Model.advantages(port, {**v, "group_ids": np.cumsum(starts)})


def _chunks(port: Model, v: Any) -> Any:
    """Groups are consecutive rows, as many in each."""
    ids = v["group_ids"]
    size = max(len(ids) // max(len(np.unique(ids)), 1), 1)
    return Model.advantages(port, {**v, "group_ids": np.arange(len(ids)) // size})


def _left_out(port: Model, rewards: AnyArray, pool: AnyArray) -> AnyArray:
    """RLOO: each reward against the mean of the others."""
    factor = pool.size / max(pool.size - 1, 1)
    return np.asarray(Model.centred(port, rewards, pool) * port.wide(factor))


def _without_experts(port: Model, v: Any) -> Any:
    outputs = Model.advantages(port, v)
    outputs["group_advantages"][v["is_expert"]] = 0.0
    return outputs


def _no_experts_known(port: Model, v: Any) -> Any:
    return Model.advantages(port, {**v, "is_expert": np.zeros_like(v["is_expert"])})


def _whole(port: Model, rule: Rule, rewards: AnyArray, pool: AnyArray, whole: AnyArray) -> AnyArray:
    return Model.relative(port, rule, rewards, whole, whole)


def _with_spread(port: Model, v: Any, spread: Literal["group", "batch"]) -> Any:
    rule = dataclasses.replace(port.convention(v), spread=spread)
    return Model.advantages(port, {**v, "convention": rule})


FAULTS = (
    _fault("advantages with ddof 0", "The population standard deviation.",
           ddof=lambda s, rule: 0),
    _fault("advantages with ddof 0 in a wide group", "n - 1 only below three.",
           group_spread=lambda s, rule, x: Model.group_spread(
               s, dataclasses.replace(rule, ddof=0 if x.size > 2 else rule.ddof), x)),
    _fault("advantages with eps 1e-8", "Another constant.", **_changed(lambda r: {"eps": 1e-8})),
    _fault("advantages with eps 1e-4 everywhere", "TRL's constant for all.",
           **_changed(lambda r: {"eps": 1e-4})),
    _fault("advantages with eps 1e-6 everywhere", "verl's constant for all.",
           **_changed(lambda r: {"eps": 1e-6})),
    _fault("eps inside the root", "sqrt(variance + eps).", divided=_inside),
    _fault("eps as a floor", "max(std, eps).",
           divided=lambda s, rule, c,
           spread: c / max(spread, s.wide(rule.eps)) if rule.divides else c),
    _fault("advantages divided by the variance", "The root is missing.",
           divided=lambda s, rule, c, spread: Model.divided(s, rule, c, spread * spread)),
    _fault("advantages not divided", "Dr. GRPO for all.", **_changed(lambda r: {"divides": False})),
    _fault("advantages always divided", "Dr. GRPO, too.",
           **_changed(lambda r: {} if r.divides else {"divides": True, "eps": 1e-6})),
    _fault("advantages not centred", "Rewards over their spread.",
           centred=lambda s, rewards, pool: rewards if rewards is not pool
           else Model.centred(s, rewards, pool)),
    _fault("group of one keeps its reward", "Mean 0 and spread 1 for all conventions.",
           **_changed(lambda r: {"singleton": "raw"})),
    _fault("group of one gets zero", "Centred on itself in all conventions.",
           **_changed(lambda r: {"singleton": "zero"})),
    _fault("group without spread divided by 1", "In all conventions.",
           **_changed(lambda r: {"no_spread": "unit"})),
    _fault("group without spread divided by eps", "In all conventions.",
           **_changed(lambda r: {"no_spread": "keep"})),
    _fault("variance not floored", "verl's two forms are taken for one.",
           variance_floor=lambda s, rule: 0.0),
    _fault("spread floored, not the variance", "The floor acts on the standard deviation.",
           variance_floor=lambda s, rule: rule.variance_floor**2),
    _fault("variance always floored", "verl's two forms are taken for one.",
           variance_floor=lambda s, rule: 1e-6),
    _fault("spread of the batch", "For all conventions.",
           advantages=lambda s, v: _with_spread(s, v, "batch")),
    _fault("spread of the group", "For all conventions.",
           advantages=lambda s, v: _with_spread(s, v, "group")),
    _fault("mean of the batch", "One baseline for all prompts.", relative=_whole),
    _fault("baseline of the others", "Leave one out.", centred=_left_out),
    _fault("median as baseline", "For the mean.",
           centred=lambda s, rewards, pool: rewards - np.median(pool)),
    _fault("best reward as baseline", "For the mean.",
           centred=lambda s, rewards, pool: rewards - pool.max()),
    _fault("groups must be contiguous", "An id that comes back starts a new group.",
           advantages=_runs),
    _fault("groups of equal size in row order", "The ids are not read.", advantages=_chunks),
    _fault("demonstrations get zero", "In all conventions.", advantages=_without_experts),
    _fault("demonstrations pooled", "The expert flag is not read.", advantages=_no_experts_known),
    _fault("advantages negated", "Mean less reward.",
           centred=lambda s, rewards, pool: -Model.centred(s, rewards, pool)),
    _fault("advantages in float16", "Rounded at the end.",
           advantages=lambda s, v: {"group_advantages": np.float16(
               Model.advantages(s, v)["group_advantages"]).astype(np.float64)}),
)  # fmt: skip
