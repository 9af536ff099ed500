"""Faults in the three proxies."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.formats import narrow, widen
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import WIDE_ONLY, fault

__all__ = ["FAULTS"]

_fault = partial(fault, "proxies")
Variance = Callable[[Model, AnyArray], Any]


def _sample(port: Model, x: AnyArray) -> Any:
    return port.variance(x) * x.dtype.type(x.size / max(x.size - 1, 1))


def _one_pass(dtype: Any) -> Variance:
    def variance(port: Model, values: AnyArray) -> Any:
        x = values.astype(dtype)
        n = x.dtype.type(x.size)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = x.sum() / n
            return values.dtype.type((x * x).sum() / n - mean * mean)

    return variance


def _low(dtype: str) -> Variance:
    """A two-pass variance whose every result is rounded to a narrow format."""

    def rounded(x: Any) -> AnyArray:
        return widen(narrow(x, dtype), dtype)

    def variance(port: Model, values: AnyArray) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            deviation = rounded(values - rounded(values.mean()))
            return values.dtype.type(rounded(np.mean(rounded(deviation * deviation))))

    return variance


def _shards(port: Model, x: AnyArray) -> Any:
    """The mean of the variances of two shards."""
    half = (x.size + 1) // 2
    parts = [part for part in (x[:half], x[half:]) if part.size]
    return sum(port.variance(part) for part in parts) / len(parts)


def _both(variance: Variance) -> dict[str, Any]:
    return {"nll_variance": variance, "advantage_variance": variance}


def _nlls(port: Model, v: Any) -> AnyArray:
    return np.sort(v["nll"][v["is_expert"]].astype(port.column))


def _one_side(low: bool) -> Callable[[Model, Any], Any]:
    def sigma_s2(port: Model, v: Any) -> Any:
        nll = _nlls(port, v)
        k = port.trimmed(nll.size)
        return port.nll_variance(nll[k:] if low else nll[: nll.size - k])

    return sigma_s2


def _winsorised(port: Model, v: Any) -> Any:
    nll = _nlls(port, v)
    k = port.trimmed(nll.size)
    return port.nll_variance(np.clip(nll, nll[k], nll[nll.size - 1 - k]))


def _unsorted(port: Model, v: Any) -> Any:
    nll = v["nll"][v["is_expert"]].astype(port.column)
    k = port.trimmed(nll.size)
    return port.nll_variance(nll[k : nll.size - k])


def _about_median(port: Model, x: AnyArray) -> Any:
    return np.square(x - np.median(x)).mean()


def _every_row(port: Model, v: Any) -> dict[str, Any]:
    return {**v, "is_expert": np.zeros_like(v["is_expert"])}


def _no_empty(port: Model, v: Any) -> Any:
    """Sequences without a token do not count."""
    full = v["tokens"] > 0
    names = ("tokens", "nll", "advantage", "disagreement", "is_expert")
    return {**v, **{name: v[name][full] for name in names}}


def _delta(of: Callable[[Model, AnyArray, AnyArray], Any]) -> Callable[[Model, Any], Any]:
    def delta_g2(port: Model, v: Any) -> Any:
        rows = port.compared(v)
        values = v["disagreement"][rows].astype(port.column)
        return of(port, values, v["tokens"][rows].astype(port.column))

    return delta_g2


def _changed(change: Callable[[Model, dict[str, Any]], dict[str, Any]]) -> Any:
    """The proxies of the plain port, changed afterwards."""

    def proxies(port: Model, v: Any) -> dict[str, Any]:
        outputs = Model.proxies(port, v)
        return {**outputs, **change(port, outputs)}

    return proxies


def _missing_is_floor(port: Model, out: dict[str, Any]) -> dict[str, Any]:
    eps = port.real(port.config.eps)
    return {f"proxy_sigma_{b}2": eps for b in "sr" if not out[f"has_{b}"]}


def _root(out: dict[str, Any]) -> dict[str, Any]:
    return {name: type(out[name])(math.sqrt(out[name])) if out[name] == out[name] else out[name]
            for name in ("proxy_sigma_s2", "proxy_sigma_r2")}  # fmt: skip


FAULTS = (
    _fault("sample instead of population variance of the advantages", "ddof 1.",
           advantage_variance=_sample),
    _fault("sample instead of population variance of the NLLs", "ddof 1.", nll_variance=_sample),
    _fault("sample instead of population variance", "ddof 1 in both, torch.var's default.",
           **_both(_sample)),
    _fault("one-pass variance in float32", "E[x^2] - E[x]^2 in float32.",
           **_both(_one_pass(np.float32))),
    _fault("one-pass variance in float64", dtypes=WIDE_ONLY,
           reason="what float64 cancels is below the float32 rounding of the other formats",
           description="E[x^2] - E[x]^2: cancels where the mean is large.",
           **_both(_one_pass(np.float64))),
    _fault("variance in bfloat16", "Every intermediate rounded to bfloat16.",
           **_both(_low("bf16"))),
    _fault("variance in float16", "Every intermediate rounded to float16.", **_both(_low("fp16"))),
    _fault("variance in float32", dtypes=WIDE_ONLY,
           reason="the port declares float32 for the other formats",
           description="Every intermediate rounded to float32.", **_both(_low("fp32"))),
    _fault("rank-local statistics", "The mean of the variances of two shards.", **_both(_shards)),
    _fault("mean square instead of variance", "Not centred.",
           **_both(lambda s, x: np.square(x).mean())),
    _fault("mean absolute deviation", "|x - mean| in place of its square.",
           **_both(lambda s, x: abs(x - x.mean()).mean())),
    _fault("NLL variance about the median", "Centred on the median.", nll_variance=_about_median),
    _fault("standard deviations instead of variances", "sigma for sigma^2.",
           proxies=_changed(lambda s, out: _root(out))),
    _fault("variance of the mean", "Divided by n once more.",
           **_both(lambda s, x: s.variance(x) / x.size)),
    _fault("trim rounds instead of truncating", "round(n * ratio).",
           trimmed=lambda s, n: round(n * s.config.trim_ratio) if n >= 4 else 0),
    _fault("trim rounds up", "ceil(n * ratio).",
           trimmed=lambda s, n: (
               min(math.ceil(n * s.config.trim_ratio), (n - 1) // 2) if n >= 4 else 0)),
    _fault("trim of half the ratio", "The ratio is split between the two ends.",
           trimmed=lambda s, n: int(n * s.config.trim_ratio / 2.0) if n >= 4 else 0),
    _fault("trim at least one", "One value goes at each end even where the floor is 0.",
           trimmed=lambda s, n: (
               max(int(n * s.config.trim_ratio), 1) if n >= 4 and s.config.trim_ratio else 0)),
    _fault("trim from three sequences on", "n < 4 is read as n < 3.",
           trimmed=lambda s, n: int(n * s.config.trim_ratio) if n >= 3 else 0),
    _fault("trim from five sequences on", "n < 4 is read as n <= 4.",
           trimmed=lambda s, n: int(n * s.config.trim_ratio) if n > 4 else 0),
    _fault("trim in float32",
           "The product n * ratio is rounded up to the next integer.",
           trimmed=lambda s,
           n: int(np.float32(n) * np.float32(s.config.trim_ratio)) if n >= 4 else 0),
    _fault("trim in exact arithmetic", "floor of the decimal product: 0.29 * 100 drops 29.",
           trimmed=lambda s, n: int(round(n * s.config.trim_ratio, 9)) if n >= 4 else 0),
    _fault("no trim", "The whole sample.", trimmed=lambda s, n: 0),
    _fault("trim ratio fixed at 0.1", "The configuration is not read.",
           trimmed=lambda s, n: int(n * 0.1) if n >= 4 else 0),
    _fault("trim one side only", "Only the largest values are dropped.",
           sigma_s2=_one_side(low=False)),
    _fault("trim the small values only", "Only the smallest values are dropped.",
           sigma_s2=_one_side(low=True)),
    _fault("winsorised instead of trimmed", "The ends are moved in, not dropped.",
           sigma_s2=_winsorised),
    _fault("trim of unsorted values", "The first and last rows are dropped.", sigma_s2=_unsorted),
    _fault("trimmed advantages", "The RL variance is trimmed, too.",
           advantage_variance=lambda s, x: s.variance(
               np.sort(x)[s.trimmed(x.size) : x.size - s.trimmed(x.size)])),
    _fault("expert rows in the advantage variance", "Every row enters.",
           sigma_r2=lambda s, v: Model.sigma_r2(s, _every_row(s, v))),
    _fault("rollouts in the NLL variance", "Every row enters.",
           sigma_s2=lambda s, v: Model.sigma_s2(
               s, {**v, "is_expert": np.ones_like(v["is_expert"])})),
    _fault("SFT and RL variances swapped", "Two names exchanged.",
           proxies=_changed(lambda s, out: {"proxy_sigma_s2": out["proxy_sigma_r2"],
                                            "proxy_sigma_r2": out["proxy_sigma_s2"]})),
    _fault("empty sequences left out", "Sequences without a token do not count as zeros.",
           proxies=lambda s, v: Model.proxies(s, _no_empty(s, v))),
    _fault("floor added instead of max", "variance + eps.",
           floored=lambda s,
           x: s.real(x + s.config.eps)),
    _fault("no floor", "A variance of zero stays.", floored=lambda s,
           x: s.real(x)),
    _fault("floor of 1e-6", "Another constant.", floored=lambda s,
           x: s.real(1e-6 if x < 1e-6 else x)),
    _fault("floor swallows NaN", "max(eps, NaN) is eps: a poisoned batch looks healthy.",
           floored=lambda s, x: s.real(x if x > s.config.eps else s.config.eps)),
    _fault("missing branch reports the floor", "eps instead of 0.",
           proxies=_changed(_missing_is_floor)),
    _fault("missing branches not noticed", "Every branch counts as measured.",
           proxies=_changed(lambda s, out: dict.fromkeys(("has_s", "has_r", "has_delta"), True))),
    _fault("floors not flagged", "The flags stay off.",
           proxies=_changed(lambda s, out: {"sigma_s2_floored": False, "sigma_r2_floored": False})),
    _fault("branch of empty sequences counts", "Rows are counted, not tokens.",
           measures=lambda s, v, rows: bool(rows.any())),
    _fault("branch of empty sequences does not count, as released it would",
           "Tokens are counted, not rows.",
           measures=lambda s, v, rows: bool(v["tokens"][rows].any())),
    _fault("two sequences needed", "A branch with one sequence counts as missing.",
           measures=lambda s, v, rows: Model.measures(s, v, rows) and int(rows.sum()) > 1),
    _fault("means over tokens instead of sequences", "Long sequences get more votes.",
           delta_g2=_delta(lambda s, d, n: (d * n).sum() / n.sum() if n.sum() else 0.0)),
    _fault("disagreement summed", "Not divided by the number of sequences.",
           delta_g2=_delta(lambda s, d, n: d.sum())),
    _fault("disagreement of the median sequence", "A median for the mean.",
           delta_g2=_delta(lambda s, d, n: np.median(d))),
    _fault("disagreement divided by the batch", "The demonstrations are counted below the line.",
           delta_g2=lambda s, v: Model.delta_g2(s, v) * (
               int(s.compared(v).sum()) / len(v["is_expert"]))),
    _fault("disagreement of every row",
           "The demonstrations enter.",
           delta_g2=lambda s,
           v: s.total(v["disagreement"]) / s.column(len(v["is_expert"]))),
    _fault("disagreement of the rollouts only",
           "The demonstrations never enter.",
           delta_g2=lambda s, v: (
               rows := v["disagreement"][~v["is_expert"]]).sum() / max(rows.size, 1)),
    _fault("root of the disagreement", "A distance, not its square.",
           delta_g2=lambda s, v: np.sqrt(Model.delta_g2(s, v))),
    _fault("disagreement floored", "eps is the least disagreement.",
           delta_g2=lambda s, v: s.floored(Model.delta_g2(s, v))),
    _fault("disagreement of non-empty rows", "Rows without a token leave the mean.",
           delta_g2=_delta(lambda s, d, n: d[n > 0].sum() / max(int((n > 0).sum()), 1))),
)  # fmt: skip
