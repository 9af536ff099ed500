"""The answer, from saved results only."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.question import Finding, Part, Section
from simulations.analysis.statistics import (
    benjamini_hochberg,
    cohens_dz,
    mean_estimate,
    paired_difference,
    permutation_test,
    power_of_t_test,
    seeds_needed,
    spearman,
)
from simulations.analysis.transformer.outcomes import OUTCOMES
from simulations.analysis.transformer.pictures import section_figures

__all__ = ["answer"]

OURS = "gac_documented"
"""The controller that the others are compared with."""

LARGE_EFFECT = 0.8
"""Cohen's d that the paper asks for."""


def answer(title: str, part: Part, saved: Mapping[str, AnyArray]) -> Section:
    """Findings, paragraphs and figures of the question."""
    names = [str(name) for name in saved["controllers"]]
    means = {
        (key, name): _mean(key, name, saved[key][c], part)
        for key in OUTCOMES
        for c, name in enumerate(names)
    }
    others = [name for name in names if name != OURS]
    ours = names.index(OURS)
    differences = {
        (key, name): _difference(key, name, saved[key][ours], saved[key][names.index(name)], part)
        for key in OUTCOMES
        for name in others
        if not _same(saved[key][ours], saved[key][names.index(name)])
    }
    # Two rules with the very same outcomes (mu differed nowhere) have nothing to be tested.
    compared = [name for name in others if ("held_reward", name) in differences]
    tests = _tests(saved, names, compared, part)
    seeds = int(saved["seeds"].size)
    power = _power(seeds, part)
    start = _start(saved["held_start"], part)
    gains = {
        name: _gain(name, saved["held_reward"][c], saved["held_start"], part)
        for c, name in enumerate(names)
    }
    dose = _number(
        "Spearman's correlation over the rules of the last weight on SFT and the held-out reward",
        spearman(saved["last_mu"].mean(axis=1), saved["held_reward"].mean(axis=1)).value,
        len(names),
        part,
    )
    return Section(
        title,
        (
            _setting(names, seeds),
            f"{_ranking(means, gains, names, start)} {_dose(dose)}",
            _compared(differences, tests, compared),
            _side(means, differences, names),
            _little(power, seeds),
        ),
        (
            start,
            dose,
            *gains.values(),
            *means.values(),
            *differences.values(),
            *(finding for table in tests.values() for finding in table.values()),
            *power.values(),
        ),
        section_figures(saved, names, differences),
    )


def _mean(key: str, name: str, values: FloatArray, part: Part) -> Finding:
    text, unit, _ = OUTCOMES[key]
    return Finding(f"{text}, {name}", *mean_estimate(values), _unit(unit), part.name)


def _difference(key: str, name: str, ours: FloatArray, theirs: FloatArray, part: Part) -> Finding:
    text, unit, _ = OUTCOMES[key]
    found = paired_difference(ours, theirs)
    return Finding(f"{text}, {OURS} less {name}", *found, _unit(unit), part.name)


def _start(values: FloatArray, part: Part) -> Finding:
    text = "held-out reward before training"
    return Finding(text, *mean_estimate(values), "1", part.name)


def _gain(name: str, end: FloatArray, start: FloatArray, part: Part) -> Finding:
    text = f"held-out reward, end less start, {name}"
    return Finding(text, *paired_difference(end, start), "1", part.name)


def _tests(
    saved: Mapping[str, AnyArray], names: list[str], others: list[str], part: Part
) -> dict[str, dict[str, Finding]]:
    """For the held-out reward against each other controller: p, d_z, and p after correction."""
    values = saved["held_reward"]
    ours = values[names.index(OURS)]
    rng = np.random.default_rng(0)
    p, out = [], {}
    for name in others:
        theirs = values[names.index(name)]
        # The level is not held against p here: five pairs cannot reach 0.05, and the text says so.
        test = permutation_test(ours, theirs, rng=rng, level=0.5)
        p.append(test.p)
        out[name] = {
            "p": _number(
                f"permutation p, held-out reward, {OURS} and {name}", test.p, test.n, part
            ),
            "dz": Finding(
                f"Cohen's d_z, held-out reward, {OURS} less {name}",
                *cohens_dz(ours, theirs),
                "1",
                part.name,
            ),
        }
    for name, adjusted in zip(others, _adjusted(p), strict=True):
        out[name]["adjusted"] = _number(
            f"p after Benjamini-Hochberg, held-out reward, {OURS} and {name}",
            adjusted,
            int(saved["seeds"].size),
            part,
        )
    return out


def _adjusted(p: list[float]) -> list[float]:
    return [float(value) for value in benjamini_hochberg(np.array(p))]


def _power(seeds: int, part: Part) -> dict[str, Finding]:
    return {
        "least p": Finding.exact(
            "least p of a two-sided sign permutation test at this number of seeds",
            2.0 ** (1 - seeds),
            "1",
            part.name,
        ),
        "power": Finding.exact(
            f"power of a paired t test at d_z = {LARGE_EFFECT:g} and this number of seeds",
            power_of_t_test(LARGE_EFFECT, seeds),
            "1",
            part.name,
        ),
        "needed": Finding.exact(
            f"seeds for a power of 0.8 at d_z = {LARGE_EFFECT:g}",
            float(seeds_needed(LARGE_EFFECT)),
            "seeds",
            part.name,
        ),
    }


def _setting(names: list[str], seeds: int) -> str:
    return (
        f"{len(names)} rules for mu trained the recording's small Llama with TRL, {seeds} seeds "
        "each: one warm-started model a seed, the same prompts and demonstrations in the same "
        "order, the same hyperparameters. The GAC variants have the recording's schedule and "
        "guards; CHORD-mu is the very prior that GAC blends in, and SFT, then RL, spends the same "
        "total weight on demonstrations. Held-out problems were never shown: nearly all have two "
        "operands of two digits, which is harder than the mixture that is trained on. The "
        "hyperparameters are those of the recording, which were chosen with GAC in the loop; no "
        "rule was tuned, and a rule with little weight on demonstrations may want a smaller "
        "learning rate."
    )


def _ranking(
    means: Mapping[tuple[str, str], Finding],
    gains: Mapping[str, Finding],
    names: list[str],
    start: Finding,
) -> str:
    order = sorted(names, key=lambda name: -means["held_reward", name].value)
    rows = ", ".join(f"{name} {means['held_reward', name].text()}" for name in order)
    exact = ", ".join(f"{name} {means['held_exact', name].text()}" for name in order)
    above = [name for name in order if gains[name].low > 0.0]
    below = [name for name in order if gains[name].high < 0.0]
    return (
        f"Held-out reward at the end, best first: {rows}; before training it is {start.text()}. "
        f"Clearly above where they began: {_list(above)}; clearly below: {_list(below)} (intervals "
        f"of the paired difference). Exact answers: {exact}."
    )


def _dose(dose: Finding) -> str:
    return (
        "The order of the rules is to be read with how much weight they leave on demonstrations in "
        f"the last steps: over the {dose.n} rules the rank correlation of that weight and the "
        f"held-out reward is {dose.text()}. What looks like a better rule may be a larger dose."
    )


def _compared(
    differences: Mapping[tuple[str, str], Finding],
    tests: Mapping[str, Mapping[str, Finding]],
    compared: list[str],
) -> str:
    rows = "; ".join(
        f"{name} {differences['held_reward', name].text()} (d_z {tests[name]['dz'].text()}, p "
        f"{tests[name]['p'].text()}, {tests[name]['adjusted'].text()} after correction)"
        for name in compared
    )
    clear = [name for name in compared if _apart(differences["held_reward", name])]
    better = [name for name in clear if differences["held_reward", name].value > 0.0]
    worse = [name for name in clear if differences["held_reward", name].value < 0.0]
    verdict = (
        f"Intervals that leave out 0: GAC above {_list(better)}; GAC below {_list(worse)}."
        if clear
        else "No interval leaves out 0."
    )
    return f"Paired differences in held-out reward, {OURS} less each other: {rows}. {verdict}"


def _side(
    means: Mapping[tuple[str, str], Finding],
    differences: Mapping[tuple[str, str], Finding],
    names: list[str],
) -> str:
    def row(key: str) -> str:
        return ", ".join(f"{name} {means[key, name].text()}" for name in names)

    difference = differences.get(("kl_area", "chord_mu"))
    prior = (
        f"; the difference of {OURS} and CHORD-mu, which is its prior alone, is {difference.text()}"
        if difference
        else ""
    )
    return (
        f"Training reward of the last steps: {row('reward')}. KL to the start, summed over the "
        f"run: {row('kl_area')}{prior}. Share of steps in which mu changes by "
        f"0.02 or more: {row('large_changes')}."
    )


def _little(power: Mapping[str, Finding], seeds: int) -> str:
    return (
        f"How little {seeds} seeds can show: no permutation of signs has a two-sided p below "
        f"{power['least p'].text()}, and a paired t test sees a d_z of {LARGE_EFFECT:g} with a "
        f"chance of {power['power'].text()}; it would take {power['needed'].text()}. An interval "
        "that includes 0 here is no evidence that two rules are equal."
    )


def _same(a: FloatArray, b: FloatArray) -> bool:
    return bool(np.array_equal(a, b))


def _apart(finding: Finding) -> bool:
    return finding.low > 0.0 or finding.high < 0.0


def _number(label: str, value: float, n: int, part: Part) -> Finding:
    return Finding(label, float(value), math.nan, math.nan, n, "1", part.name)


def _unit(unit: str) -> str:
    return unit if unit not in ("reward", "share") else "1"


def _list(names: list[str]) -> str:
    if not names:
        return "none"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
