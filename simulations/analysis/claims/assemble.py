"""From saved parts to rows: every claim of the paper that a toy, or the recording, can speak to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from gac_ref.errors import fail
from simulations.analysis.claims.declared import (
    ALONE,
    CLAIMED,
    EVALUATION,
    FAMILIES,
    FULL,
    RULES,
    TOLERANCE,
)
from simulations.analysis.claims.rows import (
    Row,
    about,
    adjusted,
    compared,
    exact,
    exceeds,
    fewer,
    often,
    reduced,
    untested,
)
from simulations.analysis.claims.tuning import Tuned, best_of, choose, split
from simulations.analysis.question import finite
from simulations.analysis.statistics import Estimate, mean_estimate, pearson

__all__ = ["Evaluated", "evaluated", "headline", "rows_of"]

Parts = Mapping[str, Mapping[str, AnyArray]]

MODELS = ("1.5B", "7B", "14B")
POINTS = (2.2, 3.8, 3.3)


class Evaluated(NamedTuple):
    """The study, tuned, on the seeds that answers are read from.

    Args:
        regimes: Names, [R].
        reward: Method -> final reward in percentage points, [R, n].
        kl: Method -> KL area, [R, n].
        events: Method -> large changes of mu, [R, n].
        settings: Method -> chosen controller in each regime, [R].
        best_rule: The rule-based method that won on the tuning seeds, in each regime.
    """

    regimes: list[str]
    reward: dict[str, FloatArray]
    kl: dict[str, FloatArray]
    events: dict[str, FloatArray]
    settings: dict[str, list[str]]
    best_rule: list[str]


def evaluated(study: Mapping[str, AnyArray]) -> Evaluated:
    """Choose the settings on the tuning seeds, and take the other seeds' values.

    Raises:
        GACError: A method, a metric or a seed is missing, or a value is not finite.
    """
    absent = {"reward_final", "kl_area", "large_mu_changes", "controllers"} - study.keys()
    if absent:
        fail(f"study claims lacks {min(absent)!r}; run: python -m simulations analyse claims.study")
    names = [str(name) for name in study["controllers"]]
    tables = {
        metric: split(finite(study[metric], f"{metric} in study claims"), EVALUATION)
        for metric in ("reward_final", "kl_area", "large_mu_changes")
    }
    tuned = choose(tables["reward_final"][1], names, FAMILIES)
    winners, best = best_of(tuned, RULES)
    tuned["best_rule"] = best

    def taken(metric: str, factor: float = 1.0) -> dict[str, FloatArray]:
        table = factor * tables[metric][0]
        return {method: _at(table, choice) for method, choice in tuned.items()}

    return Evaluated(
        regimes=[str(name) for name in study["regimes"]],
        reward=taken("reward_final", 100.0),
        kl=taken("kl_area"),
        events=taken("large_mu_changes"),
        settings={method: [names[i] for i in found.settings] for method, found in tuned.items()},
        best_rule=winners,
    )


def _at(table: FloatArray, choice: Tuned) -> FloatArray:
    return np.asarray(table[np.arange(len(table)), choice.settings])


def rows_of(parts: Parts) -> list[Row]:
    """Every row, with p adjusted over all of them, and the verdicts.

    Args:
        parts: Short name of each part -> its arrays.
    """
    found = evaluated(parts["study"])
    return adjusted(
        [
            *_rewards(found),
            *_benchmarks(),
            *_drift(found),
            *_events(found),
            *_path(parts["weight"]),
            *_drivers(parts["weight"], parts["recording"]),
            *_rest(parts["recording"], parts["criterion"]),
        ]
    )


def headline(rows: Sequence[Row]) -> list[Row]:
    """The claims, without the rows of single regimes."""
    return [row for row in rows if "/" not in row.key]


def _rewards(x: Evaluated) -> list[Row]:
    contests = (
        ("alone", "noise-aware controller alone, against the best tuned rule", ALONE, "best_rule"),
        ("full", "full system, against HPT", FULL, "hpt"),
        ("full_sft_then_rl", "full system, against SFT, then RL (ours)", FULL, "sft_then_rl"),
    )
    out = []
    for key, text, ours, theirs in contests:
        claimed = CLAIMED[key.partition("_")[0]]
        a, b = x.reward[ours], x.reward[theirs]
        out.append(
            _reward(key, f"more reward (pp): {text}", a.mean(axis=0), b.mean(axis=0), claimed)
        )
        for r, regime in enumerate(x.regimes):
            label = f"more reward in {regime} (pp): {text}"
            out.append(_reward(f"{key}/{regime}", label, a[r], b[r], claimed))
    return out


def _reward(key: str, text: str, a: FloatArray, b: FloatArray, claimed: float) -> Row:
    return compared(key, text, a, b, claimed=claimed, unit="pp", part="claims.study")


def _benchmarks() -> list[Row]:
    return [
        untested(f"amc_{size}", f"AMC points over HPT at {size}", claimed=points, unit="pp")
        for size, points in zip(MODELS, POINTS, strict=True)
    ]


def _drift(x: Evaluated) -> list[Row]:
    out = []
    for other, label in (
        ("hpt", "HPT"),
        ("sft_then_rl", "SFT, then RL"),
        ("best_rule", "the best rule"),
    ):
        text = f"KL-drift area down (share): full system, against {label}"
        a, b = np.log(x.kl[FULL]).mean(axis=0), np.log(x.kl[other]).mean(axis=0)
        out.append(_less(f"kl_{other}", text, np.exp(a), np.exp(b)))
        if other == "hpt":
            for r, regime in enumerate(x.regimes):
                text = f"KL-drift area down in {regime} (share): full system, against {label}"
                out.append(_less(f"kl_{other}/{regime}", text, x.kl[FULL][r], x.kl[other][r]))
    return out


def _less(key: str, text: str, a: FloatArray, b: FloatArray) -> Row:
    return reduced(key, text, a, b, claimed=CLAIMED["kl"], part="claims.study")


def _events(x: Evaluated) -> list[Row]:
    return [
        fewer(
            f"events_{other}",
            f"large changes of mu down by more than 70 % (share): full system, against {label}",
            x.events[FULL].sum(axis=0),
            x.events[other].sum(axis=0),
            threshold=CLAIMED["events"],
            part="claims.study",
        )
        for other, label in (("hpt", "HPT"), ("gac_unguarded", "the estimate without guards"))
    ]


def _path(weight: Mapping[str, AnyArray]) -> list[Row]:
    variants = [str(name) for name in weight["variants"]]
    mu = finite(weight["mu"], "mu in claims.weight")
    full, alone = mu[variants.index("gac_documented")], mu[variants.index("gac_no_prior")]
    peak = full.max(axis=0)
    wanted = (
        ("start", "mu starts near 0.85: its first value, default guards", full[0], "start"),
        ("start_peak", "mu starts near 0.85: its peak, default guards", peak, "start"),
        ("end", "mu ends near 0.15: default guards", full[-1], "end"),
        ("end_alone", "mu ends near 0.15: default guards without the prior", alone[-1], "end"),
    )
    return [
        about(
            key,
            text,
            mean_estimate(values),
            claimed=CLAIMED[claim],
            tolerance=TOLERANCE[claim],
            unit="1",
            part="claims.weight",
        )
        for key, text, values, claim in wanted
    ]


def _drivers(weight: Mapping[str, AnyArray], recording: Mapping[str, AnyArray]) -> list[Row]:
    at = [str(name) for name in weight["variants"]].index("gac_documented")
    threshold = CLAIMED["driver"]
    return [
        exceeds(
            "driver_raw",
            "s2_r drives the raw estimate in more than 93 % of refreshes (share)",
            weight["driver"][at, 1],
            threshold=threshold,
            unit="1",
            part="claims.weight",
        ),
        exceeds(
            "driver_mu",
            "the estimate, by any statistic, leads mu in more than 93 % of steps (share)",
            weight["estimate_ahead"][at],
            threshold=threshold,
            unit="1",
            part="claims.weight",
        ),
        often(
            "driver_recording",
            "s2_r drives the raw estimate in more than 93 % of refreshes (share): recording",
            recording["driver"][1] == 1.0,
            threshold=threshold,
            part="claims.recording",
        ),
    ]


def _rest(recording: Mapping[str, AnyArray], criterion: Mapping[str, AnyArray]) -> list[Row]:
    from simulations.analysis.claims.declared import criterion_settings

    settings = criterion_settings()
    large = settings["effects"].index(0.8)
    runs = settings["runs"]
    power = float(criterion["share"][0, settings["counts"].index(3), large])
    error = 1.959964 * float(np.sqrt(power * (1.0 - power) / runs))
    over = power - CLAIMED["power"]
    excess = Estimate(over, over - error, over + error, runs)
    sees = Row(
        "criterion",
        "p < 0.05 and d > 0.8 over three seeds sees a d of 0.8 with a power of 80 % (ours)",
        power, power - error, power + error, "1", float("nan"), float("nan"), runs,
        CLAIMED["power"], excess, 0.0, "threshold", "claims.criterion",
    )  # fmt: skip
    return [
        exact(
            "overhead", "the estimator takes less than 1 % of a step (share): recording",
            float(recording["share"]), threshold=CLAIMED["overhead"], unit="1",
            part="claims.recording", n=1, sign=-1,
        ),
        about(
            "proxy", "correlation of D2~ with D2 about 0.84: recording",
            pearson(recording["proxy"], recording["oracle"]), claimed=CLAIMED["proxy"],
            tolerance=TOLERANCE["proxy"], unit="1", part="claims.recording",
        ),
        sees,
    ]  # fmt: skip
