"""Findings of this question, each from one saved part."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.fidelity.association import (
    Z,
    calibration,
    correlations,
    effective_size,
    explained,
    mean_correlation,
    remainder,
    serial_correlation,
)
from simulations.analysis.fidelity.exact import EXACT_FALSIFICATIONS
from simulations.analysis.fidelity.falsify import FALSIFICATIONS, STATISTICS
from simulations.analysis.question import Finding, Part, finite
from simulations.analysis.statistics import Estimate, pearson, spearman

__all__ = [
    "CLAIMED",
    "LABELS",
    "Table",
    "beyond_share",
    "exact_random",
    "exact_training",
    "flattened",
    "partial_correlation",
    "recorded_run",
    "repeated_runs",
    "truth_of",
    "unmoved",
]

Table = dict[str, Finding]

LABELS = {
    "sigma_s2": "SFT noise",
    "sigma_r2": "RL noise",
    "delta_g2": "disagreement",
    "delta_g2_released": "disagreement as released",
}
"""A proxy as a reader sees it."""

LEVERAGE = "sft_then_rl"
"""Its second stage forgets the demonstrations: truths and proxies far from all others."""

SAME_RTOL = 1e-6
"""Sequences of other lengths divide by another length + 1e-8; that is not a change."""

CLAIMED = 0.84
"""The paper's correlation of the disagreement proxy with the true disagreement."""


def truth_of(truths: FloatArray, statistic: str) -> FloatArray:
    """The truth that a statistic stands for, from truths in the order of the first three."""
    return np.asarray(truths[min(STATISTICS.index(statistic), 2)])


def recorded_run(values: Mapping[str, AnyArray], part: Part) -> Table:
    """Correlations, calibration and falsifications along the one recorded run."""
    proxies = finite(values["proxies"], "proxies of the recording")
    truths = finite(values["truths"], "truths of the recording")
    at = np.searchsorted(values["step"], values["known"])
    out: Table = {}
    for index, name in enumerate(STATISTICS):
        proxy, truth = proxies[index, at], truth_of(truths, name)
        for kind in ("pearson", "spearman"):
            found = serial_correlation(proxy, truth, kind)
            out[f"{kind} {name}"] = _finding(f"{LABELS[name]}, recorded run, {kind}", found, part)
        trend = values["known"].astype(np.float64)
        found = serial_correlation(remainder(proxy, trend), remainder(truth, trend))
        out[f"detrended {name}"] = _finding(
            f"{LABELS[name]}, recorded run, pearson without the linear trend", found, part
        )
        out[f"shift {name}"] = _number(
            f"{LABELS[name]}, recorded run, share of time shifts that correlate as much",
            _shift_share(proxy, truth),
            proxy.size - 1,
            part,
        )
        out |= _line(name, proxy, truth, f"{LABELS[name]}, recorded run", part, serial=True)
        out |= _falsified(name, values["falsified"][:, :, index], proxy, truth, part)
    for index, name in enumerate(STATISTICS[:3]):
        found = serial_correlation(values["smoothed"][index], truths[index])
        out[f"smoothed {name}"] = _finding(
            f"{LABELS[name]}, recorded run, pearson after the statistics EMA", found, part
        )
    grouped = {"sigma_r2": truths[3], "delta_g2": truths[4]}
    for name, truth in grouped.items():
        found = serial_correlation(proxies[STATISTICS.index(name), at], truth)
        out[f"groups {name}"] = _finding(
            f"{LABELS[name]}, recorded run, truth with whole groups as samples", found, part
        )
    return out


def repeated_runs(values: Mapping[str, AnyArray], part: Part) -> Table:
    """Correlations within each seed of the study, averaged over the seeds."""
    truths = finite(values["truths"], "truths of the study")
    out: Table = {}
    for index, name in enumerate(STATISTICS):
        proxy, truth = values["proxies"][index], truth_of(truths, name)
        for kind in ("pearson", "spearman"):
            label = f"{LABELS[name]}, repeated training, {kind}"
            found = mean_correlation(correlations(proxy, truth, kind), label)
            out[f"{kind} {name}"] = _finding(label, found, part)
        kept = values["controller"] != LEVERAGE
        label = f"{LABELS[name]}, repeated training without {LEVERAGE}, pearson"
        found = mean_correlation(correlations(proxy[:, kept], truth[:, kept]), label)
        out[f"without {name}"] = _finding(label, found, part)
    return out


def exact_training(values: Mapping[str, AnyArray], part: Part) -> Table:
    """Correlations along each run of the exact models, averaged over runs."""
    out: Table = {}
    for m, model in enumerate(part.settings["models"]):
        for index, name in enumerate(STATISTICS):
            truth = finite(truth_of(values["truths"][m], name), f"truths of {model}")
            label = f"{LABELS[name]}, {model}, along runs"
            for key, proxy in (
                ("one", values["one"][m, index]),
                ("mean", values["mean"][m, 0, index]),
            ):
                batches = "1 batch" if key == "one" else f"{part.settings['draws']} batches"
                found = mean_correlation(correlations(proxy, truth), label)
                out[f"{key} {model} {name}"] = _finding(f"{label}, {batches}", found, part)
            rank = mean_correlation(correlations(values["one"][m, index], truth, "spearman"), label)
            out[f"spearman {model} {name}"] = _finding(f"{label}, 1 batch, spearman", rank, part)
    return out


def exact_random(values: Mapping[str, AnyArray], part: Part) -> tuple[Table, list[str]]:
    """Correlations and lines over independent random points of the exact models.

    Returns:
        The findings, and the names of falsifications that leave a constant series.
    """
    out: Table = {}
    undefined: list[str] = []
    for m, model in enumerate(part.settings["models"]):
        for index, name in enumerate(STATISTICS):
            truth = finite(truth_of(values["truths"][m], name), f"truths of {model}")
            label = f"{LABELS[name]}, {model}, random points"
            batches = part.settings["draws"]
            proxy = values["mean"][m, 0, index]
            for kind, correlate in (("pearson", pearson), ("spearman", spearman)):
                found = correlate(proxy, truth)
                out[f"{kind} {model} {name}"] = _finding(
                    f"{label}, {batches} batches, {kind}", found, part
                )
            found = pearson(values["one"][m, index], truth)
            out[f"one {model} {name}"] = _finding(f"{label}, 1 batch, pearson", found, part)
            out |= _line(f"{model} {name}", proxy, truth, label, part, serial=False)
            if not name.startswith("delta_g2"):
                continue
            for f, falsification in enumerate(EXACT_FALSIFICATIONS[1:], start=1):
                (r,) = correlations(values["mean"][m, f, index][None], truth[None])
                if math.isnan(r):
                    undefined.append(f"{LABELS[name]} in {model} under {falsification}")
                    continue
                found = pearson(values["mean"][m, f, index], truth)
                out[f"{falsification} {model} {name}"] = _finding(
                    f"{label}, {falsification}", found, part
                )
    return out, undefined


def beyond_share(
    share: FloatArray, sigma_r2: FloatArray, group_size: int, where: str, part: Part
) -> Finding:
    """Variance of sigma_r2 that ((G - 1) / G) times the share, without any fit, leaves over."""
    predicted = (group_size - 1) / group_size * share.ravel()
    return _number(
        f"variance of the RL noise proxy that the share of groups leaves unexplained, {where}",
        1.0 - explained(sigma_r2.ravel(), predicted),
        sigma_r2.size,
        part,
    )


def partial_correlation(values: Mapping[str, AnyArray], part: Part) -> Table:
    """What the RL noise proxy of the recording says of the truth beyond the share of groups."""
    at = np.searchsorted(values["step"], values["known"])
    share, proxy = values["share"][at], values["proxies"][1, at]
    truth = values["truths"][1]
    alone = serial_correlation(share, truth)
    partial = serial_correlation(remainder(proxy, share), remainder(truth, share))
    return {
        "share alone": _finding("share of groups with spread, recorded run, pearson", alone, part),
        "partial": _finding(
            "RL noise, recorded run, pearson given the share of groups with spread", partial, part
        ),
        "left": _number(
            "spread of the RL noise proxy that the share leaves, recorded run",
            float(np.std(remainder(values["proxies"][1], values["share"]))),
            values["share"].size,
            part,
            unit="advantage^2",
        ),
    }


def _line(
    key: str, proxy: FloatArray, truth: FloatArray, where: str, part: Part, *, serial: bool
) -> Table:
    """Slope and R^2 of log proxy on log truth, on the points where both are positive."""
    good = (truth > 0.0) & (proxy > 0.0)
    x, y = truth[good], proxy[good]
    line = calibration(y, x, where)
    size = effective_size(np.log(x), np.log(y)) if serial else float(x.size)
    spread = float(np.std(np.log(y)) / np.std(np.log(x)))
    half = Z * spread * math.sqrt(max(1.0 - line.r2, 0.0) / max(size - 2.0, 1.0))
    text = f"{where}: log-log slope of proxy on truth ({x.size} of {truth.size} points positive)"
    return {
        f"slope {key}": Finding(
            text, line.slope, line.slope - half, line.slope + half, int(size), "1", part.name
        ),
        f"r2 {key}": _number(f"{where}: R^2 of that line", line.r2, x.size, part),
    }


def unmoved(values: Mapping[str, AnyArray], statistic: str) -> list[str]:
    """Falsifications that cannot change a statistic of the recording, by its definition."""
    at = np.searchsorted(values["step"], values["known"])
    index = STATISTICS.index(statistic)
    same = np.isclose(
        values["falsified"][:, :, index], values["proxies"][index, at], rtol=SAME_RTOL, atol=0.0
    )
    return [name for f, name in enumerate(FALSIFICATIONS) if same[f].all()]


def flattened(values: Mapping[str, AnyArray], statistic: str) -> list[str]:
    """Falsifications that leave a constant series, which correlates with nothing."""
    rows = values["falsified"][:, 0, STATISTICS.index(statistic)]
    r = correlations(rows, np.broadcast_to(values["known"], rows.shape))
    return [name for name, value in zip(FALSIFICATIONS, r, strict=True) if math.isnan(value)]


def _falsified(
    name: str, values: FloatArray, proxy: FloatArray, truth: FloatArray, part: Part
) -> Table:
    """Mean and central 95 % of r over the shuffles, [falsifications, shuffles, points]."""
    out: Table = {}
    for index, falsification in enumerate(FALSIFICATIONS):
        rows = values[index]
        if np.allclose(rows, proxy, rtol=SAME_RTOL, atol=0.0):
            continue
        r = correlations(rows, np.broadcast_to(truth, rows.shape))
        if np.isnan(r).any():
            continue
        low, high = np.quantile(r, [0.025, 0.975])
        out[f"{falsification} {name}"] = Finding(
            f"{LABELS[name]}, recorded run, pearson with {falsification} (range of shuffles)",
            float(r.mean()),
            float(low),
            float(high),
            r.size,
            "1",
            part.name,
        )
    return out


def _shift_share(x: FloatArray, y: FloatArray) -> float:
    """Share of the circular shifts of one series whose correlation is at least as large."""
    shifted = np.stack([np.roll(x, k) for k in range(x.size)])
    r = np.abs(correlations(shifted, np.broadcast_to(y, shifted.shape)))
    return float(np.mean(r[1:] >= r[0]))


def _finding(label: str, found: Estimate, part: Part) -> Finding:
    return Finding(label, *found, "1", part.name)


def _number(label: str, value: float, n: int, part: Part, unit: str = "1") -> Finding:
    return Finding(label, float(value), math.nan, math.nan, n, unit, part.name)
