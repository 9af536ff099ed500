"""The answer, read from saved parts: a table of verdicts, and what they can and cannot mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.claims import figures
from simulations.analysis.claims.assemble import Evaluated, evaluated, headline, rows_of
from simulations.analysis.claims.criterion import smallest_passing_d
from simulations.analysis.claims.declared import ALONE, FULL, RULES, criterion_settings
from simulations.analysis.claims.rows import Row
from simulations.analysis.claims.verdict import NOT_TESTABLE, REFUTED, SUPPORTED
from simulations.analysis.palette import look
from simulations.analysis.question import Figure, Finding, Section
from simulations.analysis.statistics import (
    Profile,
    bootstrap_interval,
    dolan_more_profile,
    iqm,
    mean_estimate,
    performance_ratios,
    score_profile,
    seeds_needed,
)

__all__ = ["answer"]

Parts = Mapping[str, Mapping[str, AnyArray]]

SEED = 0
"""Of the bootstrap."""

SHOWN = (*RULES, ALONE, FULL, "gac_decoupled")
"""Methods in the profiles."""

LABELS: dict[str, str] = {
    "alone": "reward: alone, against best rule",
    "full": "reward: full, against HPT",
    "full_sft_then_rl": "reward: full, against SFT, then RL",
    "kl_hpt": "KL area: full, against HPT",
    "kl_sft_then_rl": "KL area: full, against SFT, then RL",
    "events_hpt": "large changes: full, against HPT",
    "start": "first mu near 0.85",
    "start_peak": "peak of mu near 0.85",
    "end": "last mu near 0.15",
    "end_alone": "last mu near 0.15, no prior",
    "driver_raw": "s2_r drives the estimate",
    "driver_mu": "the estimate leads mu",
    "driver_recording": "s2_r drives, recording",
    "proxy": "r of D2~ and D2, recording",
}
"""What the forest plot shows, top to bottom."""


def answer(title: str, parts: Parts) -> Section:
    """The section.

    Args:
        title: The question.
        parts: Short name of each part -> its arrays.
    """
    rows = rows_of(parts)
    by_key = {row.key: row for row in rows}
    x = evaluated(parts["study"])
    extra = _extra(x, parts)
    found = {finding.label: finding for finding in extra}
    shown = [_finding(row) for row in rows if row.verdict != NOT_TESTABLE or row.n]
    text = (
        _summary(rows),
        _table(rows),
        _how(x, parts, rows),
        *_prose(by_key, x, parts, found),
    )
    return Section(title, text, (*shown, *extra), _pictures(by_key, x, parts))


def _summary(rows: Sequence[Row]) -> str:
    lines = []
    for word in (SUPPORTED, REFUTED, NOT_TESTABLE):
        mine = [row for row in headline(rows) if row.verdict == word]
        labels = "; ".join(LABELS.get(row.key, row.claim) for row in mine) or "none"
        lines.append(f"{word.capitalize()} ({len(mine)}): {labels}.")
    return " ".join(lines)


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| claim | verdict | effect | p | d | n |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in headline(rows):
        effect = _finding(row).text() if row.n else "none"
        p = "none" if math.isnan(row.p) else f"{row.p:.2g}"
        d = "none" if math.isnan(row.d) else f"{row.d:.2f}"
        lines.append(f"| {row.claim} | {row.verdict} | {effect} | {p} | {d} | {row.n or 'none'} |")
    return "\n".join(lines)


def _how(x: Evaluated, parts: Parts, rows: Sequence[Row]) -> str:
    n = x.reward[FULL].shape[1]
    tuning = parts["study"]["reward_final"].shape[-1] - n
    tested = sum(not math.isnan(row.p) for row in rows)
    cells = ", ".join(f"`{str(name)[:12]}`" for name in parts["study"]["cells"][:, 0])
    return (
        "How: each method with a knob got three settings of it (one of them the published value "
        "where there is one), and the one with the best mean final reward on "
        f"{tuning} tuning seeds was kept, regime by regime; SFT, then RL is one of the methods. "
        f"The learning rate is common. The answers are read from {n} other seeds, under common "
        "random numbers. p is of the sign-flip permutation test of the paired differences, of the "
        "t test where a series is held against a threshold, and of the binomial test for the "
        f"recording, adjusted by Benjamini and Hochberg over all {tested} tested rows, those of "
        "single regimes included. d is the pooled d of two methods, in units of the spread of "
        "single runs, and d_z where one series is held against a threshold. A claimed number is "
        "supported from half of it on; a claimed threshold has to be passed. "
        "`python -m simulations run claims` computes the same cells; those that answers are read "
        f"from begin with {cells}."
    )


def _prose(
    rows: Mapping[str, Row], x: Evaluated, parts: Parts, found: Mapping[str, Finding]
) -> tuple[str, ...]:
    def at(key: str) -> str:
        return _finding(rows[key]).text()

    best = ", ".join(
        f"{look(method).label} in {regime}"
        for regime, method in zip(x.regimes, x.best_rule, strict=True)
    )
    ends = {name: found[f"last mu of {name}, mean over regimes"].text() for name in (FULL, "hpt")}
    signs = {
        math.copysign(1.0, row.effect)
        for key, row in rows.items()
        if key.startswith(("alone/", "full/", "full_sft_then_rl/"))
    }
    same = "the same in every regime" if len(signs) == 1 else "not the same in every regime"
    return (
        f"Reward. Against the best tuned rule ({best}) the noise-aware controller alone changes "
        f"the final reward by {at('alone')}; the full system against HPT by {at('full')}, and "
        f"against SFT, then RL by {at('full_sft_then_rl')}. The sign is {same}. A likely reason: "
        "the experts of these tasks err, so a policy that is pulled to them to the end stays below "
        f"the best, and the full system ends with mu = {ends[FULL]}, near the valley of its prior, "
        f"HPT with {ends['hpt']}. This is about small tasks with a verifier that RL can solve, a "
        "constant learning rate, and the published valley and bounds. It says nothing about points "
        "on AMC, where the expert may be better than what the policy can become in its budget.",
        f"KL-drift. The area is smaller than HPT's by a share of {at('kl_hpt')}, and than that of "
        f"SFT, then RL by {at('kl_sft_then_rl')}; which controller the paper's 28 % refers to is "
        "not known to us. A policy that learns less drifts less, so this is no merit by itself: "
        "read it with the reward.",
        "Large changes of mu (above 0.05 in a step). With the guards there are none, by "
        "construction: the cap forbids them. HPT has "
        f"{found['large changes of mu, hpt'].text()} over all regimes, the estimate without guards "
        f"{found['large changes of mu, gac_unguarded'].text()}. CHORD-mu and fixed weights have "
        "none either, and SFT, then RL has one: the claim is one against gates, and no advantage "
        "over a schedule.",
        f"The path of mu. With default guards over {parts['weight']['mu'].shape[1]} steps the "
        f"first weight is {at('start')} (init_mu is 0.5, the cap 0.01 and the prior starts at 0), "
        f"the peak {at('start_peak')} and the end {at('end')}. Without the prior it ends at "
        f"{at('end_alone')}. Of all movement that goes into mu, a share of "
        f"{found['share of the prior in the steps of mu'].text()} is the prior's, and "
        f"{found['share of the estimate in the steps of mu'].text()} the estimate's; "
        f"{found['share of the cap in the steps of mu'].text()} is what the change cap takes off "
        "and gives back.",
        "What drives mu. Each change of the closed form is split among its statistics by Shapley's "
        f"rule. s2_r has the largest part in a share of {at('driver_raw')} of the refreshes, and "
        f"in {at('driver_recording')} of those of the recording of a small transformer, where they "
        f"are of one run; D2~ has it in {found['share of refreshes driven by D2~'].text()}. Of mu "
        "itself the estimate, whichever statistic moves it, leads a share of "
        f"{at('driver_mu')} of the steps; while the schedule moves, the prior does. How the paper "
        "counts is not known to us; this is the definition here.",
        f"Overhead. In the recording the estimator takes {at('overhead')} of the wall time, and "
        f"{found['overhead, with handing over the tensors'].text()} with the handing over of the "
        "tensors, which the verdict does not count. It is one run of a two-layer model, whose "
        "steps are as cheap as steps get, so for a real model both are upper limits; there is no "
        "spread over runs to report.",
        f"Proxy. In the recording D2~ and the gradients' D2 have r = {at('proxy')} over the steps "
        "with an oracle. They are of one series, so the interval is too narrow; the question of "
        "fidelity looks closer.",
        "The criterion. With three seeds p < 0.05 needs d_z above "
        f"{smallest_passing_d(3):.2f} (paired) or d above "
        f"{smallest_passing_d(3, paired=False):.2f} (unpaired), so d > 0.8 adds nothing to it. "
        f"Without any effect {found['criterion passed without effect'].text()} of the experiments "
        f"pass in the claimed direction; with a true d_z of 0.8 {at('criterion')} do, and those "
        f"report a mean d of {found['mean d of those that pass, true d 0.8'].text()}. For p < 0.05 "
        f"alone to see 0.8 with a power of 80 % takes {seeds_needed(0.8)} pairs, or "
        f"{seeds_needed(0.8, paired=False)} seeds of each method where seeds are not paired. With "
        "many seeds d > 0.8 is what binds, and a true 0.8 passes about half the time.",
    )


def _finding(row: Row) -> Finding:
    return Finding(row.claim, row.effect, row.low, row.high, row.n, row.unit, row.part)


def _extra(x: Evaluated, parts: Parts) -> list[Finding]:
    weight, recording, criterion = parts["weight"], parts["recording"], parts["criterion"]
    at = [str(name) for name in weight["variants"]].index("gac_documented")
    names = [str(name) for name in parts["study"]["controllers"]]
    n = x.reward[FULL].shape[1]
    out = []
    for method in (FULL, "hpt"):
        places = [names.index(name) for name in x.settings[method]]
        last = parts["study"]["mu_final"][np.arange(len(places)), places, :n].mean(axis=0)
        out.append(_mean(f"last mu of {method}, mean over regimes", last, "1", "claims.study"))
    for method in ("hpt", "gac_unguarded"):
        counts = x.events[method].sum(axis=0)
        out.append(_mean(f"large changes of mu, {method}", counts, "1", "claims.study"))
    strata = np.repeat(np.arange(len(x.regimes)), n)
    for method in SHOWN:
        found = bootstrap_interval(
            x.reward[method].ravel(), iqm, rng=np.random.default_rng(SEED), resamples=1000,
            strata=strata,
        )  # fmt: skip
        label = f"interquartile mean of the final reward over all runs, {look(method).label}"
        out.append(Finding(label, *found, "pp", "claims.study"))
    for index, label in ((1, "prior"), (0, "estimate"), (3, "cap")):
        share = weight["path"][at, index]
        out.append(_mean(f"share of the {label} in the steps of mu", share, "1", "claims.weight"))
    share = weight["driver"][at, 2]
    out.append(_mean("share of refreshes driven by D2~", share, "1", "claims.weight"))
    handed = float(recording["share_with_handover"])
    label = "overhead, with handing over the tensors"
    out.append(Finding(label, handed, math.nan, math.nan, 1, "1", "claims.recording"))
    settings = criterion_settings()
    large, runs = settings["effects"].index(0.8), settings["runs"]
    label, none = "criterion passed without effect", float(criterion["share"][0, 0, 0])
    error = 1.959964 * math.sqrt(none * (1.0 - none) / runs)
    out.append(Finding(label, none, none - error, none + error, runs, "1", "claims.criterion"))
    label, mean_d = "mean d of those that pass, true d 0.8", float(criterion["mean_d"][0, 0, large])
    passed = round(runs * float(criterion["share"][0, 0, large]))
    out.append(Finding(label, mean_d, math.nan, math.nan, passed, "1", "claims.criterion"))
    return out


def _mean(label: str, values: FloatArray, unit: str, part: str) -> Finding:
    return Finding(label, *mean_estimate(values), unit, part)


def _pictures(rows: Mapping[str, Row], x: Evaluated, parts: Parts) -> tuple[Figure, ...]:
    settings, criterion = criterion_settings(), parts["criterion"]
    return (
        Figure(
            "claims_forest",
            "Effects with 95 % intervals, in units of what the paper claims. Most intervals are "
            "narrower than their marks.",
            partial(figures.draw_forest, list(LABELS.values()), [rows[key] for key in LABELS]),
            (6.5, 3.8),
        ),
        Figure(
            "claims_score_profile",
            "Share of runs (five regimes together) that end above a reward, with pointwise 95 % "
            "bands of a bootstrap stratified by regime.",
            partial(figures.draw_score_profiles, _score_profiles(x)),
        ),
        Figure(
            "claims_ratio_profile",
            "Share of runs whose shortfall, 1 less the reward, is within a factor of the best "
            "method's on the same seed and regime (Dolan and More), with pointwise 95 % bands.",
            partial(figures.draw_ratio_profiles, _ratio_profiles(x)),
        ),
        Figure(
            "claims_criterion",
            "How often paired experiments meet p < 0.05 and d > 0.8; marks are simulated, lines "
            "exact. The dotted line is a power of 80 %.",
            partial(
                figures.draw_passing,
                np.array(settings["effects"]),
                settings["counts"],
                criterion["share"][0],
                criterion["curve_effects"],
                criterion["curve"][0],
            ),
        ),
    )


def _score_profiles(x: Evaluated) -> dict[str, Profile]:
    points = np.linspace(0.0, 1.0, 101)
    return {
        method: score_profile(
            x.reward[method] / 100.0, points, rng=np.random.default_rng(SEED), resamples=800
        )
        for method in SHOWN
    }


def _ratio_profiles(x: Evaluated) -> dict[str, Profile]:
    points = np.geomspace(1.0, 12.0, 101)
    ratios = performance_ratios(np.stack([1.0 - x.reward[m].ravel() / 100.0 for m in SHOWN]))
    return {
        method: dolan_more_profile(row, points, rng=np.random.default_rng(SEED), resamples=800)
        for method, row in zip(SHOWN, ratios, strict=True)
    }
