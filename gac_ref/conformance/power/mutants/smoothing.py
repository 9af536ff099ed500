"""Faults in the statistics EMA."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gac_ref.conformance.formats import narrow, widen
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import fault, under

__all__ = ["FAULTS"]

_fault = partial(fault, "statistics_ema")


def _changed(change: Callable[[Model, Any, dict[str, Any]], dict[str, Any]]) -> Any:
    """The outputs of the plain port, changed afterwards."""

    def statistics_ema(port: Model, v: Any) -> dict[str, Any]:
        outputs = Model.statistics_ema(port, v)
        return {**outputs, **change(port, v, outputs)}

    return statistics_ema


def _bias_corrected(port: Model, smoothed: Any, value: Any, count: int) -> Any:
    """Adam's: a zero start, divided by 1 - beta^n."""
    beta = port.config.ema_beta
    raw = smoothed * (1.0 - beta**count)
    return port.ema(raw, value) / (1.0 - beta ** (count + 1))


def _unsmoothed_when_missing(
    port: Model, name: str, smoothed: Any, count: int, value: Any, has: bool
) -> Any:
    """A held branch decays as if zero had come, and is not counted."""
    if not has and port.config.missing_branch == "hold" and count:
        return port.ema(smoothed, 0.0), count
    return Model.smooth(port, name, smoothed, count, value, has)


def _counted_when_missing(
    port: Model, name: str, smoothed: Any, count: int, value: Any, has: bool
) -> Any:
    kept, _ = Model.smooth(port, name, smoothed, count, value, has)
    return kept, count + 1


def _repeated(port: Model, name: str, smoothed: Any, count: int, value: Any, has: bool) -> Any:
    """The proxy itself is held: the last value enters again."""
    if not has and port.config.missing_branch == "zero":
        return Model.smooth(port, name, smoothed, count, smoothed, True)
    return Model.smooth(port, name, smoothed, count, value, has)


def _negative(of: Callable[[Any], Any]) -> Callable[..., Any]:
    def smooth(port: Model, name: str, smoothed: Any, count: int, value: Any, has: bool) -> Any:
        if has and value < 0.0:
            value = of(value)
            if count == 0:
                return value, 1
            return port.ema(smoothed, value), count + 1
        return Model.smooth(port, name, smoothed, count, value, has)

    return smooth


def _rounded(dtype: str) -> Callable[..., Any]:
    return lambda s, old, new, n: s.real(float(widen(narrow(s.ema(old, new), dtype), dtype)))


def _due(of: Callable[[Model, Any, int], bool]) -> Callable[[Model, Any], bool]:
    """A refresh where `of` says, and before any."""
    return lambda port, v: bool(
        v["previous_last_refresh"] < 0 or of(port, v, v["step"] - v["previous_last_refresh"])
    )


_STAND_INS = {"sigma_s2": "s", "sigma_r2": "r", "delta_g2": "delta"}


def _stand_in(value: float) -> Callable[..., dict[str, Any]]:
    return lambda s, v, out: {
        name: s.real(value) for name, branch in _STAND_INS.items() if not out[f"count_{branch}"]
    }


def _swapped(port: Model, v: Any) -> dict[str, Any]:
    crossed = {
        **v,
        "proxy_sigma_s2": v["proxy_sigma_r2"],
        "proxy_sigma_r2": v["proxy_sigma_s2"],
    }
    return Model.statistics_ema(port, crossed)


def _stale(port: Model, v: Any, out: dict[str, Any]) -> dict[str, Any]:
    """What is used is the average before this refresh, once there is one."""
    return {
        name: v[f"previous_{name}"]
        for name, branch in _STAND_INS.items()
        if v[f"previous_count_{branch}"]
    }


FAULTS = (
    _fault("EMA off by one refresh", "The average before this batch is used.",
           statistics_ema=_changed(_stale)),
    _fault("seed EMA with zero", "The first value enters with weight 1 - beta.",
           seed=lambda s, x: s.ema(s.real(0.0), x)),
    _fault("seed EMA with one", "The first value is averaged with 1.",
           seed=lambda s, x: s.ema(s.real(1.0), x)),
    _fault("bias-corrected EMA", "Adam's correction.", statistic_ema=_bias_corrected),
    _fault("cumulative mean instead of EMA", "Every refresh counts the same.",
           statistic_ema=lambda s, old, new, n: old + (new - old) / (n + 1)),
    _fault("statistics EMA weights swapped", "beta on the new value.",
           statistic_ema=lambda s, old, new, n: s.ema(new, old)),
    _fault("no statistics EMA", "The last batch alone.", statistic_ema=lambda s, old, new, n: new),
    _fault("statistics beta fixed at 0.9", "The configuration is not read.",
           statistic_ema=under("statistic_ema", ema_beta=0.9)),
    _fault("statistics beta fixed at 0.99", "The configuration is not read.",
           statistic_ema=under("statistic_ema", ema_beta=0.99)),
    _fault("statistics EMA by elapsed steps", "beta to the power of the refresh interval.",
           statistic_ema=under("statistic_ema", ema_beta=lambda c: c.ema_beta**c.mu_update_freq)),
    _fault("statistics EMA of the logarithms", "A geometric mean.",
           statistic_ema=lambda s, old, new, n: s.real(
               np.exp(s.ema(np.log(max(old, 1e-30)), np.log(max(new, 1e-30)))))),
    _fault("statistics EMA in float32", "The smoothed value is stored in float32.",
           statistic_ema=_rounded("fp32")),
    _fault("statistics EMA in bfloat16", "The smoothed value is stored in bfloat16.",
           statistic_ema=_rounded("bf16")),
    _fault("seed in float32", "The first value is stored in float32.",
           seed=lambda s, x: s.real(float(np.float32(x)))),
    _fault("delta_g2 not smoothed", "Only the variances have an EMA.",
           smooth=lambda s, name, old, n, x, has: (
               (x, n + 1) if name == "delta_g2" and has and x >= 0.0
               else Model.smooth(s, name, old, n, x, has))),
    _fault("missing branch fed zero instead of held", "The released behaviour.",
           smooth=under("smooth", missing_branch="zero")),
    _fault("missing branch held instead of fed zero", "Not the released behaviour.",
           smooth=under("smooth", missing_branch="hold")),
    _fault("missing branch fed one", "A stand-in enters the average.",
           missing_value=lambda s: s.real(1.0)),
    _fault("missing branch fed the floor", "eps enters the average.",
           dtypes=("fp64", "fp32", "fp16", "bf16"),
           missing_value=lambda s: s.real(s.config.eps)),
    _fault("missing branch fed its own average", "The last value enters again.", smooth=_repeated),
    _fault("held statistic decays", "Held in count, not in value.",
           smooth=_unsmoothed_when_missing),
    _fault("missing branches counted", "The count grows although nothing came.",
           smooth=_counted_when_missing),
    _fault("negative disagreement let in", "An unbiased estimate below zero is not clipped.",
           smooth=_negative(lambda x: x)),
    _fault("absolute value of a negative disagreement", "|x| instead of 0.", smooth=_negative(abs)),
    _fault("refresh one step late", "> instead of >=.",
           due=_due(lambda s, v, gap: gap > s.config.mu_update_freq)),
    _fault("refresh one step early", "A gap of mu_update_freq - 1 is enough.",
           due=_due(lambda s, v, gap: gap >= s.config.mu_update_freq - 1)),
    _fault("refresh at multiples of the frequency", "step % freq == 0.",
           due=_due(lambda s, v, gap: v["step"] % s.config.mu_update_freq == 0)),
    _fault("refresh at every step", "The frequency is not read.", due=lambda s, v: True),
    _fault("refresh once", "Only the first batch enters.", due=_due(lambda s, v, gap: False)),
    _fault("refresh every tenth step whatever is asked", "The frequency is not read.",
           due=_due(lambda s, v, gap: gap >= 10)),
    _fault("first refresh waits", "Nothing enters before step mu_update_freq.",
           due=lambda s, v: Model.due(s, v) and bool(
               v["previous_last_refresh"] >= 0 or v["step"] >= s.config.mu_update_freq - 1)),
    _fault("last refresh not recorded", "It stays where it was.",
           statistics_ema=_changed(
               lambda s, v, out: {"last_refresh": v["previous_last_refresh"]})),
    _fault("last refresh always this step", "Recorded where nothing was due, too.",
           statistics_ema=_changed(lambda s, v, out: {"last_refresh": v["step"]})),
    _fault("last refresh on the grid", "Rounded down to a multiple of the frequency.",
           statistics_ema=_changed(lambda s, v, out: {
               "last_refresh": out["last_refresh"] // s.config.mu_update_freq
               * s.config.mu_update_freq if out["last_refresh"] >= 0 else -1})),
    _fault("zero stand-ins", "A variance never seen is 0.",
           statistics_ema=_changed(_stand_in(0.0))),
    _fault("unit stand-in for the disagreement", "A disagreement never seen is 1.",
           statistics_ema=_changed(_stand_in(1.0))),
    _fault("ready when any statistic was seen", "not_ready waits for all three to be missing.",
           statistics_ema=_changed(lambda s, v, out: {
               "not_ready": not any(out[f"count_{b}"] for b in ("s", "r", "delta"))})),
    _fault("ready from the start", "not_ready stays off.",
           statistics_ema=_changed(lambda s, v, out: {"not_ready": False})),
    _fault("disagreement not waited for", "not_ready looks at the variances only.",
           statistics_ema=_changed(lambda s, v, out: {
               "not_ready": not (out["count_s"] and out["count_r"])})),
    _fault("proxies crossed on the way in", "sigma_s2 feeds sigma_r2's average.",
           statistics_ema=_swapped),
)  # fmt: skip
