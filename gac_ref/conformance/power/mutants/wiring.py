"""Whole steps that are wired wrongly, although every stage is right by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import fault

__all__ = ["FAULTS"]

_wiring = partial(fault, "wiring")
_order = partial(fault, "order")

Outputs = dict[str, Any]
_STAGES = Model.order


def _fed(stage: str, change: Callable[[Model, Any], Outputs]) -> dict[str, Any]:
    """Within a step, `stage` gets other inputs; by itself it is right."""

    def step(port: Model, v: Any) -> Outputs:
        kept = getattr(port, stage)

        def fed(values: Any) -> Outputs:
            result: Outputs = kept({**values, **change(port, values)})
            return result

        setattr(port, stage, fed)
        try:
            return Model.step(port, v)
        finally:
            delattr(port, stage)

    return {"step": step}


def _reports(change: Callable[[Model, Any, Outputs], Outputs]) -> dict[str, Any]:
    """A step that ends in other outputs."""

    def step(port: Model, v: Any) -> Outputs:
        outputs = Model.step(port, v)
        return {**outputs, **change(port, v, outputs)}

    return {"step": step}


def _exchanged(*order: str) -> dict[str, Any]:
    """The stages from the raw weight to mu in another order, as one chain of values."""
    into = {
        "weight_ema": ("mu_raw", "mu_ada"),
        "prior_blend": ("mu_ada", "mu_candidate"),
        "change_cap": ("mu_candidate", "mu_capped"),
        "clip": ("mu_capped", "mu"),
    }

    def chain(port: Model, v: Any) -> Outputs:
        weight = v["mu_raw"]
        outputs: Outputs = {}
        for stage in order:
            taken, given = into[stage]
            result = getattr(port, stage)({**v, taken: weight})
            weight = result[given]
            outputs |= result
        return {**outputs, "mu": weight}

    return {"order": (*_STAGES[:4], "chain"), "chain": chain}


def _early(port: Model, v: Any) -> Outputs:
    """The closed form sees the statistics as they were before this step."""
    old = Model.statistics_ema(port, {**v, "step": v["previous_last_refresh"]})
    if v["previous_last_refresh"] < 0:
        return {}
    return {name: old[name] for name in ("sigma_s2", "sigma_r2", "delta_g2")}


def _kl_at_refreshes(port: Model, v: Any) -> Outputs:
    return {} if port.due(v) else {"kl": math.nan}


def _unmasked_rows(port: Model, v: Any) -> Outputs:
    return {"is_expert": np.zeros_like(v["is_expert"])}


def _raw_proxies(port: Model, v: Any) -> Outputs:
    if not port.due(v):
        return {}
    branches = {"sigma_s2": "s", "sigma_r2": "r", "delta_g2": "delta"}
    return {name: v[f"proxy_{name}"] for name, b in branches.items() if v[f"has_{b}"]}


FAULTS = (
    _order("clip before cap", "The bounds act, then the cap.",
           **_exchanged("weight_ema", "prior_blend", "clip", "change_cap")),
    _order("blend before EMA", "The raw weight is blended, then averaged.",
           **_exchanged("prior_blend", "weight_ema", "change_cap", "clip")),
    _order("cap before blend", "The adaptive weight is capped, then blended.",
           **_exchanged("weight_ema", "change_cap", "prior_blend", "clip")),
    _order("cap before EMA", "The raw weight is capped, then averaged.",
           **_exchanged("change_cap", "weight_ema", "prior_blend", "clip")),
    _order("blend last", "The prior escapes the cap and the bounds.",
           **_exchanged("weight_ema", "change_cap", "clip", "prior_blend")),
    _order("EMA last", "The guards act on the raw weight.",
           **_exchanged("prior_blend", "change_cap", "clip", "weight_ema")),
    _wiring("alpha updated after use", "The closed form uses the alpha of the last step.",
            **_fed("closed_form", lambda s, v: {"alpha": v["previous_alpha"]})),
    _wiring("closed form with the configured alpha", "The KL-driven alpha goes nowhere.",
            **_fed("closed_form", lambda s, v: {"alpha": s.real(s.config.alpha)})),
    _wiring("statistics updated after use", "The closed form uses those of the last step.",
            **_fed("closed_form", _early)),
    _wiring("closed form of the raw proxies", "The statistics EMA is left out.",
            **_fed("closed_form", _raw_proxies)),
    _wiring("variances crossed on the way to the closed form", "Two arguments in the wrong order.",
            **_fed("closed_form", lambda s, v: {"sigma_s2": v["sigma_r2"],
                                                "sigma_r2": v["sigma_s2"]})),
    _wiring("disagreement not passed to the closed form", "A default of 0 stands in.",
            **_fed("closed_form", lambda s, v: {"delta_g2": s.real(0.0)})),
    _wiring("weight EMA of the raw weight of flat risk", "alpha is averaged in place of mu_raw.",
            **_fed("weight_ema", lambda s, v: {"mu_raw": v["alpha"]})),
    _wiring("weight EMA does not hear that statistics are missing", "not_ready is not passed on.",
            **_fed("weight_ema", lambda s, v: {"not_ready": False, "mu_raw": s.mu_raw(
                v["sigma_s2"], v["sigma_r2"], v["delta_g2_capped"], v["alpha"])})),
    _wiring("weight EMA reads mu for mu_ada", "Both states are the applied weight.",
            **_fed("weight_ema", lambda s, v: {"previous_mu_ada": v["previous_mu"]})),
    _wiring("blend of the raw weight", "The weight EMA is left out of the blend.",
            **_fed("prior_blend", lambda s, v: {"mu_ada": v["mu_raw"]})),
    _wiring("prior at the step before", "The step is counted up too late (Trinity, issue 402).",
            **_fed("prior_blend", lambda s, v: {"step": max(v["step"] - 1, 0)})),
    _wiring("prior at the step after", "The step is counted up too early.",
            **_fed("prior_blend", lambda s, v: {"step": v["step"] + 1})),
    _wiring("prior at the last refresh", "The schedule moves with the statistics.",
            **_fed("prior_blend", lambda s, v: {"step": max(v["last_refresh"], 0)})),
    _wiring("cap against mu_ada", "The change from the weight EMA's last value is limited.",
            **_fed("change_cap", lambda s, v: {"previous_mu": v["previous_mu_ada"]})),
    _wiring("cap against the new mu_ada", "The blend is limited, not the change.",
            **_fed("change_cap", lambda s, v: {"previous_mu": v["mu_ada"]})),
    _wiring("cap against the initial weight", "The weight never leaves its start.",
            **_fed("change_cap", lambda s, v: {"previous_mu": s.real(s.config.init_mu)})),
    _wiring("cap of the adaptive weight", "The blend is left out.",
            **_fed("change_cap", lambda s, v: {"mu_candidate": v["mu_ada"]})),
    _wiring("clip of the candidate", "The cap is left out.",
            **_fed("clip", lambda s, v: {"mu_capped": v["mu_candidate"]})),
    _wiring("mu before its clip", "The capped weight is returned.",
            **_reports(lambda s, v, out: {"mu": out["mu_capped"]})),
    _wiring("mu before its cap", "The candidate is returned.",
            **_reports(lambda s, v, out: {"mu": s.bounded(
                out["mu_candidate"], s.config.mu_min, s.config.mu_max)[0]})),
    _wiring("adaptive weight returned as mu", "mu_ada is returned.",
            **_reports(lambda s, v, out: {"mu": out["mu_ada"]})),
    _wiring("raw weight returned as mu", "mu_raw is returned.",
            **_reports(lambda s, v, out: {"mu": out["mu_raw"]})),
    _wiring("mu of the RL branch returned", "1 - mu: the weights of the branches exchanged.",
            **_reports(lambda s, v, out: {"mu": s.real(1.0) - out["mu"]})),
    _wiring("KL read at refreshes only", "Alpha rests between them.",
            **_fed("alpha", _kl_at_refreshes)),
    _wiring("KL of the target", "The measured KL is not passed on.",
            **_fed("alpha", lambda s, v: {"kl": s.real(s.config.kl_target)})),
    _wiring("proxies see no demonstrations", "The expert flag is not passed on.",
            **_fed("proxies", _unmasked_rows)),
    _wiring("proxies of the other stream", "Advantages are passed for NLLs.",
            **_fed("proxies", lambda s, v: {"nll": v["advantage"]})),
    _wiring("streams exchanged", "c_s is passed for c_r: the constant streams exchange names.",
            **_fed("sequences", lambda s, v: {"c_s": v["c_r"], "c_r": v["c_s"]})),
    _wiring("missing branches not passed on", "The statistics EMA takes everything for measured.",
            **_fed("statistics_ema",
                   lambda s, v: dict.fromkeys(("has_s", "has_r", "has_delta"), True)
                   if s.due(v) else {})),
)  # fmt: skip
