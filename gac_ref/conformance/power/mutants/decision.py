"""Faults in alpha and in the closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import fault, under

__all__ = ["FAULTS"]

_alpha = partial(fault, "alpha")
_form = partial(fault, "closed_form")


def _unbounded(port: Model, v: Any) -> dict[str, Any]:
    previous, kl = v["previous_alpha"], v["kl"]
    if port.config.alpha_mode == "static" or math.isnan(kl):
        return Model.alpha(port, v)
    return {"alpha": port.scaled_alpha(previous, port.kl_error(kl)), "alpha_clipped": False}


def _relative(port: Model, kl: Any) -> Any:
    return kl / port.real(port.config.kl_target) - 1.0


def _error(of: Callable[[Model, Any], Any]) -> dict[str, Any]:
    """Another KL error, clipped as ever."""
    return {"kl_error": lambda port, kl: port.bounded(port.real(of(port, kl)), -0.2, 0.2)[0]}


def _clip_of(width: float) -> Callable[[Model, Any], Any]:
    return lambda port, kl: port.bounded(_relative(port, kl), -width, width)[0]


def _ratio(of: Callable[..., Any]) -> dict[str, Any]:
    """Another fraction wherever the risk is not flat."""

    def mu_raw(port: Model, s: Any, r: Any, d: Any, alpha: Any) -> Any:
        if port.config.flat_risk == "alpha" and port.flat(s, r, d):
            return alpha
        top, bottom = of(port, s, r, d, alpha)
        return top / bottom if bottom != 0.0 else port.real(top)

    return {"mu_raw": mu_raw}


def _eps(port: Model) -> float:
    return port.config.eps if port.config.flat_risk == "zero" else 0.0


def _flat_gives(value: float) -> dict[str, Any]:
    def mu_raw(port: Model, s: Any, r: Any, d: Any, alpha: Any) -> Any:
        if port.config.flat_risk == "alpha" and port.flat(s, r, d):
            return port.real(value)
        return Model.mu_raw(port, s, r, d, alpha)

    return {"mu_raw": mu_raw}


def _flat(of: Callable[[Model, Any, Any, Any], bool]) -> dict[str, Any]:
    return {"flat": lambda port, s, r, d: bool(of(port, s, r, d))}


def _changed(change: Callable[[Model, Any, dict[str, Any]], dict[str, Any]]) -> Any:
    def closed_form(port: Model, v: Any) -> dict[str, Any]:
        outputs = Model.closed_form(port, v)
        return {**outputs, **change(port, v, outputs)}

    return closed_form


def _cap_unused(port: Model, v: Any, out: dict[str, Any]) -> dict[str, Any]:
    mu_raw = port.mu_raw(v["sigma_s2"], v["sigma_r2"], v["delta_g2"], v["alpha"])
    return {"mu_raw": mu_raw}


def _limit(of: Callable[[Model, Any, Any], Any]) -> dict[str, Any]:
    return {"disagreement_limit": lambda port, s, r: port.real(of(port, s, r))}


def _cap_at_zero(port: Model, v: Any) -> dict[str, Any]:
    if port.config.delta_g2_cap_ratio > 0.0:
        return Model.closed_form(port, v)
    return {**Model.closed_form(port, {**v, "delta_g2": port.real(0.0)})}


def _clipped_early(port: Model, v: Any, out: dict[str, Any]) -> dict[str, Any]:
    return {"mu_raw": port.bounded(out["mu_raw"], port.config.mu_min, port.config.mu_max)[0]}


FAULTS = (
    _alpha("alpha not clipped", "Its bounds are not applied.", alpha=_unbounded),
    _alpha("KL error clip missing", "One large KL moves alpha at once.", kl_error=_relative),
    _alpha("KL error clipped at 0.1", "Another constant.", kl_error=_clip_of(0.1)),
    _alpha("KL error clipped at 1", "Another constant.", kl_error=_clip_of(1.0)),
    _alpha("KL error clipped from above only", "A small KL moves alpha without bound.",
           kl_error=lambda s, kl: min(_relative(s, kl), s.real(0.2))),
    _alpha("alpha additive", "alpha + gain e.",
           scaled_alpha=lambda s, a, e: a + s.config.kl_gain * e),
    _alpha("alpha exponential", "alpha exp(gain e).",
           scaled_alpha=lambda s, a, e: a * s.real(math.exp(s.config.kl_gain * e))),
    _alpha("alpha moves the wrong way", "More drift, less anchoring.",
           scaled_alpha=lambda s, a, e: a * (1.0 - s.config.kl_gain * e)),
    _alpha("alpha divided", "alpha / (1 + gain e).",
           scaled_alpha=lambda s, a, e: a / (1.0 + s.config.kl_gain * e)),
    _alpha("KL gain of 1", "The gain is not read.", scaled_alpha=lambda s, a, e: a * (1.0 + e)),
    _alpha("KL gain fixed at 0.1", "The gain is not read.",
           scaled_alpha=lambda s, a, e: a * (1.0 + 0.1 * e)),
    _alpha("absolute KL error", "KL - target, in nats.",
           **_error(lambda s,
           kl: kl - s.config.kl_target)),
    _alpha("KL error without its 1", "KL / target.",
           **_error(lambda s, kl: kl / s.config.kl_target)),
    _alpha("logarithmic KL error", "ln(KL / target).",
           **_error(lambda s, kl: math.log(max(kl, 1e-30) / s.config.kl_target))),
    _alpha("KL error inverted", "target / KL - 1.",
           **_error(lambda s, kl: s.config.kl_target / kl - 1.0 if kl else math.inf)),
    _alpha("KL target fixed at 0.02", "The target is not read.",
           kl_error=under("kl_error", kl_target=0.02)),
    _alpha("alpha within the bounds of mu", "The wrong pair of bounds.",
           alpha=under("alpha", alpha_min=lambda c: c.mu_min, alpha_max=lambda c: c.mu_max)),
    _alpha("alpha within [0, 1]", "The bounds are not read.",
           alpha=under("alpha", alpha_min=0.0, alpha_max=1.0)),
    _alpha("unknown KL taken for zero", "Alpha falls on batches without rollouts.",
           alpha=lambda s, v: Model.alpha(
               s, {**v, "kl": s.real(0.0) if math.isnan(v["kl"]) else v["kl"]})),
    _alpha("unknown KL makes alpha NaN", "NaN is not looked for.",
           alpha=lambda s, v: (
               {"alpha": math.nan, "alpha_clipped": False}
               if s.config.alpha_mode == "kl" and math.isnan(v["kl"]) else Model.alpha(s, v))),
    _alpha("alpha always static", "The mode is not read.",
           alpha=under("alpha", alpha_mode="static")),
    _alpha("alpha always driven", "The mode is not read.", alpha=under("alpha", alpha_mode="kl")),
    _alpha("alpha starts over at every step", "The configured value, not the last one, is scaled.",
           alpha=lambda s, v: Model.alpha(s, {**v, "previous_alpha": s.real(s.config.alpha)})),
    _alpha("bounds of alpha not flagged", "The flag stays off.",
           alpha=lambda s, v: {**Model.alpha(s, v), "alpha_clipped": False}),
    _alpha("alpha in float32", "The product is rounded to float32.",
           scaled_alpha=lambda s, a, e: s.real(float(np.float32(Model.scaled_alpha(s, a, e))))),
    _form("weights of SFT and RL exchanged", "The numerator holds the SFT noise: 1 - mu, nearly.",
          **_ratio(lambda p, s, r, d, a: (a * d + s, d + s + r + _eps(p)))),
    _form("alpha counts for RL", "1 - alpha in place of alpha.",
          **_ratio(lambda p, s, r, d, a: ((1.0 - a) * d + r, d + s + r + _eps(p)))),
    _form("alpha left out", "The whole disagreement is in the numerator.",
          **_ratio(lambda p, s, r, d, a: (d + r, d + s + r + _eps(p)))),
    _form("alpha fixed at 0.5", "The target ratio is not read.",
          **_ratio(lambda p, s, r, d, a: (0.5 * d + r, d + s + r + _eps(p)))),
    _form("inverse variances only", "The disagreement is left out.",
          **_ratio(lambda p, s, r, d, a: (r, s + r + _eps(p)))),
    _form("disagreement left out below the line", "It stays in the numerator.",
          **_ratio(lambda p, s, r, d, a: (a * d + r, s + r + _eps(p)))),
    _form("disagreement left out above the line", "It stays in the denominator.",
          **_ratio(lambda p, s, r, d, a: (r, d + s + r + _eps(p)))),
    _form("disagreement counted twice", "2 D2 below the line.",
          **_ratio(lambda p, s, r, d, a: (a * d + r, 2.0 * d + s + r + _eps(p)))),
    _form("standard deviations in the closed form", "sigma where sigma^2 belongs.",
          **_ratio(lambda p, s, r, d, a: (
              a * math.sqrt(d) + math.sqrt(r), math.sqrt(d) + math.sqrt(s) + math.sqrt(r)))),
    _form("eps added after", "eps is added to the quotient, not to the denominator.",
          mu_raw=lambda p, s, r, d, a: Model.mu_raw(p, s, r, d, a) + p.config.eps),
    _form("eps left out of the released form", "The denominator has no guard.",
          **_ratio(lambda p, s, r, d, a: (a * d + r, d + s + r))),
    _form("eps in the documented form", "The denominator has a guard that was not asked for.",
          **_ratio(lambda p, s, r, d, a: (a * d + r, d + s + r + p.config.eps))),
    _form("eps above the line, too", "The numerator is guarded as well.",
          **_ratio(lambda p, s, r, d, a: (a * d + r + _eps(p), d + s + r + _eps(p)))),
    _form("flat risk gives 0", "Nothing to choose by, and mu falls.", **_flat_gives(0.0)),
    _form("flat risk gives 1/2", "A constant where alpha is asked.", **_flat_gives(0.5)),
    _form("flat risk gives alpha, as released it would not", "The configuration is not read.",
          mu_raw=under("mu_raw", flat_risk="alpha")),
    _form("flat risk gives 0, as released", "The configuration is not read.",
          mu_raw=under("mu_raw", flat_risk="zero")),
    _form("risk flat at eps", "The bound is eps, so that the floor itself decides.",
          **_flat(lambda p, s, r, d: max(s, r, d) <= p.config.eps * 0.999)),
    _form("risk flat at ten eps", "The bound is too wide.",
          **_flat(lambda p, s, r, d: max(s, r, d) <= 10.0 * p.config.eps)),
    _form("risk flat where any is small", "any for all.",
          **_flat(lambda p, s, r, d: min(s, r, d) <= 2.0 * p.config.eps)),
    _form("risk flat without noise", "The disagreement is not looked at.",
          **_flat(lambda p, s, r, d: max(s, r) <= 2.0 * p.config.eps)),
    _form("risk flat without disagreement", "The noise is not looked at.",
          **_flat(lambda p, s, r, d: d <= 2.0 * p.config.eps)),
    _form("flat risk not flagged", "The flag stays off.",
          closed_form=_changed(lambda p, v, out: {"flat_risk": False})),
    _form("disagreement cap missing", "The ratio is not read.",
          closed_form=under("closed_form", delta_g2_cap_ratio=0.0)),
    _form("disagreement cap always on", "A ratio of 0 caps at 0.", closed_form=_cap_at_zero),
    _form("capped disagreement not used", "The closed form takes it uncapped.",
          closed_form=_changed(_cap_unused)),
    _form("disagreement cap not flagged", "The flag stays off.",
          closed_form=_changed(lambda p, v, out: {"disagreement_capped": False})),
    _form("disagreement cap by the SFT noise", "The RL noise is left out.",
          **_limit(lambda p, s, r: p.config.delta_g2_cap_ratio * (s + p.config.eps))),
    _form("disagreement cap by the larger noise", "max for the sum.",
          **_limit(lambda p, s, r: p.config.delta_g2_cap_ratio * (max(s, r) + p.config.eps))),
    _form("disagreement cap absolute", "The ratio itself is the cap.",
          **_limit(lambda p, s, r: p.config.delta_g2_cap_ratio)),
    _form("disagreement cap without eps", "No guard where both variances vanish.",
          **_limit(lambda p, s, r: p.config.delta_g2_cap_ratio * (s + r))),
    _form("disagreement cap with eps outside", "ratio (s + r) + eps.",
          **_limit(lambda p, s, r: p.config.delta_g2_cap_ratio * (s + r) + p.config.eps)),
    _form("raw weight clipped", "The bounds of mu act on the closed form.",
          closed_form=_changed(_clipped_early)),
    _form("closed form in float32", "The quotient is rounded to float32.",
          mu_raw=lambda p, s, r, d, a: p.real(float(np.float32(Model.mu_raw(p, s, r, d, a))))),
)  # fmt: skip
