"""Faults from the weight EMA to the bounds of mu."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import fault, under

__all__ = ["FAULTS"]

_ema = partial(fault, "weight_ema")
_prior = partial(fault, "prior_blend")
_cap = partial(fault, "change_cap")
_clip = partial(fault, "clip")

Values = Any
Outputs = dict[str, Any]


def _other_state(port: Model, v: Values) -> Any:
    return v["previous_mu" if port.config.weight_ema == "internal" else "previous_mu_ada"]


def _clip_first(port: Model, previous: Any, raw: Any) -> Any:
    return port.ema(previous, port.bounded(raw, port.config.mu_min, port.config.mu_max)[0])


def _single(value: Any) -> float:
    return float(np.float32(value))


def _prior_is(of: Callable[[Model, int], Any]) -> dict[str, Any]:
    return {"prior": lambda port, step: of(port, step)}


def _endless(port: Model, step: int) -> Any:
    c = port.config
    if step < c.prior_warmup:
        return Model.prior(port, step)
    return port.falling((step - c.prior_warmup) / max(c.prior_decay, 1))


def _decay_from_start(port: Model, step: int) -> Any:
    c = port.config
    if step < c.prior_warmup or step >= c.prior_warmup + c.prior_decay:
        return Model.prior(port, step)
    return port.falling(step / (c.prior_warmup + c.prior_decay))


def _valley_start(port: Model, step: int) -> Any:
    c = port.config
    return c.prior_valley + (c.prior_peak - c.prior_valley) * (step / c.prior_warmup)


def _blended_without_prior(port: Model, v: Values) -> Outputs:
    if port.config.prior == "none":
        return {"prior": math.nan, "mu_candidate": port.blend(port.real(0.0), v["mu_ada"])}
    return Model.prior_blend(port, v)


def _cap_is(of: Callable[[Model, Any, Any, float], Any]) -> dict[str, Any]:
    """Another value where the cap acts."""

    def change_cap(port: Model, v: Values) -> Outputs:
        outputs = Model.change_cap(port, v)
        if outputs["change_capped"]:
            value = of(port, v["previous_mu"], v["mu_candidate"], port.config.mu_change_cap)
            outputs["mu_capped"] = port.real(value)
        return outputs

    return {"change_cap": change_cap}


def _one_way(up: bool) -> Callable[[Model, Values], Outputs]:
    def change_cap(port: Model, v: Values) -> Outputs:
        if (v["mu_candidate"] > v["previous_mu"]) == up:
            return Model.change_cap(port, v)
        return {"mu_capped": v["mu_candidate"], "change_capped": False}

    return change_cap


def _clip_is(of: Callable[[Model, Any], tuple[Any, bool]]) -> dict[str, Any]:
    def clip(port: Model, v: Values) -> Outputs:
        mu, acted = of(port, v["mu_capped"])
        return {"mu": mu, "mu_clipped": acted}

    return {"clip": clip}


FAULTS = (
    _ema("weight EMA fed by mu_raw", "The raw weight is its own past: no smoothing at all.",
         mu_ema=lambda s, previous, raw: s.ema(raw, raw)),
    _ema("internal/applied swapped", "The EMA is fed by the other state.", ema_input=_other_state),
    _ema("weight EMA always fed by the applied weight", "The choice is not read.",
         ema_input=lambda s, v: v["previous_mu"]),
    _ema("weight EMA always fed by itself", "The choice is not read.",
         ema_input=lambda s, v: v["previous_mu_ada"]),
    _ema("weight EMA fed by the initial weight", "Its past is forgotten at every step.",
         ema_input=lambda s, v: s.real(s.config.init_mu)),
    _ema("weight EMA weights swapped", "beta on the new value.",
         mu_ema=lambda s, previous, raw: s.ema(raw, previous)),
    _ema("weight beta fixed at 0.9", "The configuration is not read.",
         mu_ema=under("mu_ema", ema_beta=0.9)),
    _ema("weight beta fixed at 0.99", "The configuration is not read.",
         mu_ema=under("mu_ema", ema_beta=0.99)),
    _ema("weight EMA where it is off", "The choice is not read.",
         adaptive=lambda s,
         v: s.ema_input(v) if s.held(v) else s.mu_ema(s.ema_input(v), v["mu_raw"])),
    _ema("no weight EMA", "The raw weight passes.",
         adaptive=lambda s, v: s.ema_input(v) if s.held(v) else v["mu_raw"]),
    _ema("weight EMA not clipped", "Its bounds are not applied.",
         weight_ema=lambda s, v: {"mu_ada": s.adaptive(v), "mu_ada_clipped": False}),
    _ema("weight EMA clipped to [0, 1]", "The bounds are not read.",
         weight_ema=under("weight_ema", mu_min=0.0, mu_max=1.0)),
    _ema("weight EMA clipped from above only", "The lower bound is lost.",
         weight_ema=under("weight_ema", mu_min=0.0)),
    _ema("weight EMA clipped from below only", "The upper bound is lost.",
         weight_ema=under("weight_ema", mu_max=1.0)),
    _ema("clip before EMA", "The raw weight is clipped, the average not yet.", mu_ema=_clip_first),
    _ema("clip of the weight EMA not flagged", "The flag stays off.",
         weight_ema=lambda s, v: {**Model.weight_ema(s, v), "mu_ada_clipped": False}),
    _ema("not-ready steps move the weight", "Stand-ins decide although nothing was seen.",
         held=lambda s, v: False),
    _ema("not-ready steps hold, as released they would not", "The choice is not read.",
         held=lambda s, v: bool(v["not_ready"])),
    _ema("weight EMA in float32", "The average is rounded to float32.",
         mu_ema=lambda s, previous, raw: s.real(_single(s.ema(previous, raw)))),
    _ema("beta in float32", "1 - beta is taken of a float32 beta.",
         mu_ema=under("mu_ema", ema_beta=lambda c: _single(c.ema_beta))),
    _prior("prior cosine off by pi/2", "A sine.", cosine=lambda s, angle: math.sin(angle)),
    _prior("prior cosine over a whole period", "It comes back up.",
           cosine=lambda s, angle: math.cos(2.0 * angle)),
    _prior("prior cosine over half the fall", "It ends half-way.",
           cosine=lambda s, angle: math.cos(0.5 * angle)),
    _prior("prior cosine of degrees", "The angle is in the wrong unit.",
           cosine=lambda s, angle: math.cos(math.radians(angle))),
    _prior("prior falls linearly", "A straight line for the cosine.",
           cosine=lambda s, angle: 1.0 - 2.0 * angle / math.pi),
    _prior("prior without the half", "The fall has twice its height.",
           falling=lambda s, x: s.config.prior_valley + (
               s.config.prior_peak - s.config.prior_valley) * (1.0 + s.cosine(math.pi * x))),
    _prior("peak and valley swapped", "It rises where it should fall.",
           prior=under("prior", prior_peak=lambda c: c.prior_valley,
                       prior_valley=lambda c: c.prior_peak)),
    _prior("warm-up off by one", "(t + 1) / warmup.", rising=lambda s, t: Model.rising(s, t + 1)),
    _prior("warm-up missing", "It starts at the peak.", rising=lambda s, t: s.config.prior_peak),
    _prior("warm-up from the valley", "It starts at the valley, not at 0.", rising=_valley_start),
    _prior("warm-up squared", "A parabola for the line.",
           rising=lambda s, t: Model.rising(s, t) * t / s.config.prior_warmup),
    _prior("prior one step late", "The schedule is read at t - 1 (Trinity, issue 402).",
           **_prior_is(lambda s, t: Model.prior(s, max(t - 1, 0)))),
    _prior("prior one step early", "The schedule is read at t + 1.",
           **_prior_is(lambda s, t: Model.prior(s, t + 1))),
    _prior("prior without an end", "The cosine goes on after the decay.", **_prior_is(_endless)),
    _prior("decay counted from the start", "The warm-up is part of the cosine.",
           **_prior_is(_decay_from_start)),
    _prior("decay ends at warm-up", "The valley is reached after `decay` steps in all.",
           **_prior_is(lambda s, t: s.config.prior_valley
                       if t >= max(s.config.prior_decay, s.config.prior_warmup)
                       else Model.prior(s, t))),
    _prior("prior frozen at the peak", "The schedule is not read after the warm-up.",
           falling=lambda s, x: s.config.prior_peak),
    _prior("prior of the refresh schedule", "The step is divided by mu_update_freq.",
           **_prior_is(lambda s, t: Model.prior(s, t // s.config.mu_update_freq))),
    _prior("prior in float32", "The schedule is rounded to float32.",
           **_prior_is(lambda s, t: _single(Model.prior(s, t)))),
    _prior("prior in float16", "The schedule is rounded to float16.",
           **_prior_is(lambda s, t: float(np.float16(Model.prior(s, t))))),
    _prior("blend weights swapped", "lambda on the prior.",
           blend=lambda s, p, a: Model.blend(s, a, p)),
    _prior("blend weight fixed at 0.5", "The configuration is not read.",
           blend=under("blend", blend_weight=0.5)),
    _prior("no blend", "The adaptive weight passes.", blend=lambda s, p, a: a),
    _prior("prior alone", "The adaptive weight is left out.", blend=lambda s, p, a: p),
    _prior("blend adds", "prior + lambda (adaptive).",
           blend=lambda s, p, a: p + s.config.blend_weight * a),
    _prior("blend geometric", "A weighted mean of the logarithms.",
           blend=lambda s, p, a: s.real(
               max(p, 0.0) ** (1.0 - s.config.blend_weight) * a**s.config.blend_weight)),
    _prior("blend with 0 where there is no prior", "A missing prior counts as 0.",
           prior_blend=_blended_without_prior),
    _cap("cap relative", "A share of the last weight.", cap=lambda s,
         mu: s.config.mu_change_cap * mu),
    _cap("cap missing", "The change is not limited.", cap=lambda s, mu: math.inf),
    _cap("cap doubled", "Twice the width.", cap=lambda s, mu: 2.0 * s.config.mu_change_cap),
    _cap("cap halved", "Half the width: the interval, not its half, was meant.",
         cap=lambda s, mu: 0.5 * s.config.mu_change_cap),
    _cap("cap fixed at 0.01", "The configuration is not read.", cap=lambda s, mu: 0.01),
    _cap("cap per refresh", "The cap of a step is multiplied by mu_update_freq.",
         cap=lambda s, mu: s.config.mu_change_cap * s.config.mu_update_freq),
    _cap("cap asymmetric", "Only rises are limited.", change_cap=_one_way(up=True)),
    _cap("cap on falls only", "Only falls are limited.", change_cap=_one_way(up=False)),
    _cap("cap loses the sign", "A capped fall becomes a rise.",
         **_cap_is(lambda s, previous, candidate, cap: previous + cap)),
    _cap("cap sign reversed", "The weight moves away.",
         **_cap_is(lambda s, p, c, cap: p - math.copysign(cap, c - p))),
    _cap("cap returns the change", "The last weight is not added.",
         **_cap_is(lambda s, p, c, cap: math.copysign(cap, c - p))),
    _cap("cap stops the change", "A capped step does not move.",
         **_cap_is(lambda s, p, c, cap: p)),
    _cap("cap from the candidate", "candidate - cap.",
         **_cap_is(lambda s, p, c, cap: c - math.copysign(cap, c - p))),
    _cap("soft cap", "cap tanh(change / cap).",
         **_cap_is(lambda s, p, c, cap: p + cap * math.tanh((c - p) / cap))),
    _cap("cap not flagged", "The flag stays off.",
         change_cap=lambda s, v: {**Model.change_cap(s, v), "change_capped": False}),
    _cap("cap in float32", "The capped weight is rounded to float32.",
         **_cap_is(lambda s, p, c, cap: _single(p + math.copysign(cap, c - p)))),
    _clip("clip bounds swapped", "A value below the lower bound gets the upper one, and back.",
          **_clip_is(lambda s, x: (s.real(s.config.mu_max), True) if x < s.config.mu_min else
                     (s.real(s.config.mu_min), True) if x > s.config.mu_max else (x, False))),
    _clip("clip missing", "The bounds are not applied.", **_clip_is(lambda s, x: (x, False))),
    _clip("clip from above only", "The lower bound is lost.", clip=under("clip", mu_min=0.0)),
    _clip("clip from below only", "The upper bound is lost.", clip=under("clip", mu_max=1.0)),
    _clip("clip to [0, 1]", "The bounds are not read.", clip=under("clip", mu_min=0.0, mu_max=1.0)),
    _clip("clip to the default bounds", "The configuration is not read.",
          **_clip_is(lambda s, x: s.bounded(x, 0.05, 0.9))),
    _clip("clip to the bounds of alpha", "The wrong pair of bounds.",
          **_clip_is(lambda s, x: s.bounded(x, s.config.alpha_min, s.config.alpha_max))),
    _clip("clip not flagged", "The flag stays off.",
          clip=lambda s, v: {**Model.clip(s, v), "mu_clipped": False}),
    _clip("clip flags a value on its bound", ">= for >.",
          clip=lambda s, v: {**Model.clip(s, v), "mu_clipped": not (
              s.config.mu_min < v["mu_capped"] < s.config.mu_max)}),
    _clip("clip repairs NaN", "A poisoned weight becomes the lower bound.",
          **_clip_is(lambda s, x: (s.real(s.config.mu_min), True) if x != x else
                     s.bounded(x, s.config.mu_min, s.config.mu_max))),
    _clip("clip returns the initial weight", "A weight out of bounds is reset.",
          **_clip_is(lambda s, x: (x, False) if s.config.mu_min <= x <= s.config.mu_max
                     else (s.real(s.config.init_mu), True))),
)  # fmt: skip
