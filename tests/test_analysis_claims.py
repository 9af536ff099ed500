"""The claims: rule of the verdicts, tuning, the split of movements, the criterion, bad input."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from _asserts import PROPERTY
from hypothesis import given
from hypothesis import strategies as st

from gac_ref import GACConfig, closed_form
from gac_ref.errors import GACError
from simulations.analysis import claims as question
from simulations.analysis.claims import computed, declared
from simulations.analysis.claims.assemble import evaluated, headline, rows_of
from simulations.analysis.claims.criterion import (
    exact_passing,
    simulate_criterion,
    smallest_passing_d,
)
from simulations.analysis.claims.driver import drivers, raw_estimate, split_movement
from simulations.analysis.claims.rows import adjusted, compared, exceeds, fewer, often, reduced
from simulations.analysis.claims.tuning import best_of, choose, split
from simulations.analysis.claims.verdict import NOT_TESTABLE, REFUTED, SUPPORTED, judge, judge_about
from simulations.analysis.results import Results
from simulations.analysis.statistics import benjamini_hochberg
from simulations.sweeps.study import find_study

ROUNDING = 1e-12
"""A few dozen roundings of numbers of order 1."""
STANDARD_ERRORS = 4.0
"""Simulation against the exact share; a right value is further off once in 16,000 draws."""

SEEDS = declared.EVALUATION + 16


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Verdicts


@given(
    st.floats(-2.0, 2.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)  # fmt: skip
@PROPERTY
def test_exactly_one_verdict_and_each_only_where_its_definition_says(
    value: float, below: float, above: float, p: float, least: float
) -> None:
    low, high = value - below, value + above
    verdict = judge(value, low, high, p, least=least)
    supported = low > 0.0 and value >= least and p <= 0.05
    refuted = high < least
    assert not (supported and refuted)
    wanted = SUPPORTED if supported else REFUTED if refuted else NOT_TESTABLE
    assert verdict == wanted


@pytest.mark.parametrize("value", [0.3, 0.7])
def test_a_large_p_never_supports(value: float) -> None:
    assert judge(value, 0.1, 0.9, 0.051, least=0.1) == NOT_TESTABLE
    assert judge(value, 0.1, 0.9, 0.049, least=0.1) == SUPPORTED


def test_about_a_number_is_a_statement_of_the_whole_interval() -> None:
    for low, high, wanted in (
        (0.81, 0.89, SUPPORTED),
        (0.79, 0.89, NOT_TESTABLE),
        (0.70, 0.79, REFUTED),
        (0.91, 0.95, REFUTED),
        (0.60, 0.99, NOT_TESTABLE),
    ):
        middle = (low + high) / 2.0
        assert judge_about(middle, low, high, claimed=0.85, tolerance=0.05) == wanted


# Rows


def normal(mean: float, seed: int, spread: float = 1.0) -> np.ndarray:
    return mean + spread * rng(seed).normal(size=64)


def test_effects_are_positive_in_the_claimed_direction() -> None:
    more, less = normal(5.0, 1, 0.1), normal(3.0, 2, 0.1)
    better = compared("a", "", more, less, claimed=1.0, unit="pp", part="x")
    worse = compared("a", "", less, more, claimed=1.0, unit="pp", part="x")
    assert better.effect == -worse.effect > 0.0
    assert better.d == pytest.approx(-worse.d, rel=ROUNDING)
    drift = reduced("b", "", less, more, claimed=0.28, part="x")
    assert drift.effect == pytest.approx(0.4, abs=0.02)
    assert drift.d > 0.0
    fewer_events = fewer("c", "", np.zeros(64), more, threshold=0.7, part="x")
    assert (fewer_events.effect, fewer_events.low) == (1.0, 1.0)
    assert fewer_events.d > 0.0
    assert [row.verdict for row in adjusted([better, worse, drift, fewer_events])] == [
        SUPPORTED,
        REFUTED,
        SUPPORTED,
        SUPPORTED,
    ]


def test_a_reduction_is_the_geometric_one() -> None:
    b = np.exp(normal(0.0, 3))
    row = reduced("b", "", 0.75 * b * np.exp(normal(0.0, 4, 1e-3)), b, claimed=0.28, part="x")
    log_ratio = np.log(1.0 - row.effect)
    assert log_ratio == pytest.approx(math.log(0.75), abs=5e-4)


def test_a_threshold_is_missed_from_either_side_and_met_from_above_only() -> None:
    for mean, wanted in ((0.80, REFUTED), (0.97, SUPPORTED), (0.93, NOT_TESTABLE)):
        row = exceeds("d", "", normal(mean, 5, 0.02), threshold=0.93, unit="1", part="x")
        assert row.low < row.effect < row.high
        assert adjusted([row])[0].verdict == wanted, mean


@pytest.mark.parametrize(("hits", "wanted"), [(0, REFUTED), (93, NOT_TESTABLE), (100, SUPPORTED)])
def test_a_share_of_hits_is_judged_at_zero_and_one_too(hits: int, wanted: str) -> None:
    row = often("f", "", np.arange(100) < hits, threshold=0.93, part="x")
    assert row.effect == hits / 100
    assert 0.0 <= row.low < row.high <= 1.0
    assert adjusted([row])[0].verdict == wanted


def test_p_is_adjusted_over_all_tested_rows_and_over_no_other() -> None:
    tested = [
        compared(str(i), "", normal(0.3 * i, i), normal(0.0, 9), claimed=1.0, unit="1", part="x")
        for i in range(4)
    ]
    exact = exceeds("e", "", np.full(64, 0.5), threshold=0.93, unit="1", part="x")
    found = adjusted([*tested[:2], exact, *tested[2:]])
    wanted = benjamini_hochberg([row.p for row in tested])
    np.testing.assert_allclose([row.p for row in found if row.key != "e"], wanted, rtol=ROUNDING)
    assert math.isnan(found[2].p)
    assert found[2].verdict == REFUTED


# Tuning


def test_settings_are_chosen_by_regime_and_on_the_tuning_seeds_alone() -> None:
    scores = rng().normal(size=(2, 3, 10))
    scores[0, 1, 6:] += 100.0
    scores[1, 0, 6:] += 100.0
    scores[:, 2] -= 50.0
    evaluation, tuning = split(scores, 6)
    names, families = ["a_1", "a_2", "b"], {"a": ["a_1", "a_2"], "b": ["b"]}
    tuned = choose(tuning, names, families)
    assert tuned["a"].settings.tolist() == [1, 0]
    assert best_of(tuned, ["b", "a"])[0] == ["a", "a"]
    assert evaluation.shape[-1] + tuning.shape[-1] == 10
    np.testing.assert_array_equal(evaluation, scores[..., :6])


def test_every_method_with_a_knob_has_three_settings_and_the_study_runs_them_all() -> None:
    sizes = {len(members) for members in declared.FAMILIES.values()}
    assert sizes == {1, 3}
    study = find_study("claims")
    assert set(study.controllers) == {n for family in declared.FAMILIES.values() for n in family}
    for members in declared.FAMILIES.values():
        tables = [dict(study.controllers[name]) for name in members]
        keys = set().union(*tables)
        varied = [key for key in keys if len({str(table.get(key)) for table in tables}) > 1]
        assert len(varied) == (len(members) > 1), members
    assert study.run["seeds"] > declared.EVALUATION
    # The first cell holds the seeds that answers are read from, and no other.
    assert study.run["seeds_per_cell"] == declared.EVALUATION


# What moved the raw estimate


def statistics(steps: int, seed: int = 0) -> np.ndarray:
    generator = rng(seed)
    values = np.exp(generator.normal(size=(4, steps, 3)))
    values[3] = generator.uniform(0.1, 0.9, (steps, 3))
    return values


def test_the_raw_estimate_is_the_closed_form() -> None:
    s, r, delta, alpha = statistics(5)
    wanted = closed_form(s, r, delta, alpha)
    np.testing.assert_allclose(raw_estimate(GACConfig(), statistics(5)), wanted, rtol=ROUNDING)


def test_parts_sum_to_the_change_and_are_means_over_all_orders() -> None:
    config, values = GACConfig(), statistics(4)
    parts = split_movement(config, values)
    raw = raw_estimate(config, values)
    np.testing.assert_allclose(parts.sum(axis=0), np.diff(raw, axis=0), atol=ROUNDING)
    old, new = values[:, 0], values[:, 1]
    wanted = np.zeros_like(old)
    for order in itertools.permutations(range(4)):
        now = old.copy()
        for k in order:
            before = raw_estimate(config, now)
            now[k] = new[k]
            wanted[k] += (raw_estimate(config, now) - before) / 24.0
    np.testing.assert_allclose(parts[:, 0], wanted, atol=ROUNDING)


def test_a_statistic_that_stands_still_drives_nothing_and_the_only_mover_drives_all() -> None:
    values = np.repeat(statistics(1), 6, axis=1)
    values[1] *= np.exp(rng(1).normal(size=(6, 3)))
    driver, moved = drivers(split_movement(GACConfig(), values))
    assert moved.all()
    assert (driver[1] == 1.0).all()
    still, moved = drivers(np.zeros((4, 5)))
    assert not moved.any()
    assert not still.any()


def test_the_weight_part_replays_the_guards_and_its_shares_are_shares() -> None:
    settings = {**declared.WEIGHT, "horizon": 60, "seeds": 2}
    found = computed.weight(**settings)
    assert found["mu"].shape == (4, 60, 2)
    np.testing.assert_allclose(found["driver"].sum(axis=1), 1.0, rtol=ROUNDING)
    np.testing.assert_allclose(found["path"].sum(axis=1), 1.0, rtol=ROUNDING)
    # Default guards: init_mu 0.5, the prior starts at 0, so the cap takes 0.01 off.
    np.testing.assert_allclose(found["mu"][0, 0], 0.49, rtol=ROUNDING)
    alone = found["variants"].tolist().index("gac_no_prior")
    assert (found["path"][alone, 1] == 0.0).all()


# The criterion of three seeds


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [3, 5, 26])
def test_the_simulated_criterion_agrees_with_the_exact_share(seeds: int, paired: bool) -> None:
    effects, runs = [0.0, 0.8, 2.0], 4000
    found = simulate_criterion(effects, seeds, rng=rng(), runs=runs, paired=paired)
    for share, effect in zip(found.share, effects, strict=True):
        exact = exact_passing(effect, seeds, paired=paired)
        error = math.sqrt(max(exact * (1.0 - exact), 1.0 / runs) / runs)
        assert abs(share - exact) < STANDARD_ERRORS * error


def test_with_three_seeds_a_large_d_adds_nothing_to_p() -> None:
    for paired in (True, False):
        assert smallest_passing_d(3, paired=paired) > 0.8
        found = simulate_criterion([0.0, 0.5, 2.0], 3, rng=rng(1), runs=2000, paired=paired)
        np.testing.assert_array_equal(found.share, found.p_alone)
    assert exact_passing(0.0, 3) == pytest.approx(0.025, rel=1e-6)
    assert found.mean_d[0] > smallest_passing_d(3, paired=False)


# From saved parts to claims.json


def synthetic_study() -> dict[str, Any]:
    names = [name for family in declared.FAMILIES.values() for name in family]
    shape = (2, len(names), SEEDS)
    generator = rng(2)
    reward = 0.5 + 0.01 * generator.normal(size=shape)
    events = np.full(shape, 10.0) + generator.integers(0, 3, shape)
    for i, name in enumerate(names):
        if name.startswith("gac_documented"):
            reward[:, i] += 0.1
            events[:, i] = 0.0
        if name.endswith(("_0.1", "_100", "_90", "_1")):
            reward[:, i] += 0.005
    return {
        "reward_final": reward,
        "kl_area": np.exp(0.01 * generator.normal(size=shape)),
        "large_mu_changes": events,
        "mu_final": np.full(shape, 0.2) + 0.001 * generator.normal(size=shape),
        "controllers": np.array(names),
        "regimes": np.array(["one", "two"]),
        "cells": np.array([["a" * 64, "b" * 64], ["c" * 64, "d" * 64]]),
        "first_seeds": np.array([0, 64]),
    }


def synthetic_parts() -> dict[str, Any]:
    settings = {**declared.WEIGHT, "horizon": 30, "seeds": 8}
    criterion = {**declared.criterion_settings(), "runs": 500}
    return {
        "study": synthetic_study(),
        "weight": computed.weight(**settings),
        "recording": computed.recording(question.RECORDING),
        "criterion": computed.criterion(**criterion),
    }


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return synthetic_parts()


def test_a_planted_advantage_is_supported_and_a_planted_tie_is_refuted(
    parts: dict[str, Any],
) -> None:
    rows = {row.key: row for row in rows_of(parts)}
    assert rows["full"].verdict == SUPPORTED
    assert rows["full"].effect == pytest.approx(10.0, abs=0.5)
    assert rows["full/one"].verdict == SUPPORTED
    assert rows["alone"].verdict == REFUTED  # no difference: as large as claimed, it is not
    assert rows["kl_hpt"].verdict == REFUTED
    assert rows["events_hpt"].verdict == SUPPORTED
    assert rows["amc_7B"].verdict == NOT_TESTABLE
    assert rows["start"].verdict == REFUTED


def test_the_best_rule_is_chosen_without_the_seeds_that_answers_are_read_from(
    parts: dict[str, Any],
) -> None:
    study = dict(parts["study"])
    before = evaluated(study)
    reward = study["reward_final"].copy()
    reward[..., : declared.EVALUATION] = rng(7).random((*reward.shape[:2], declared.EVALUATION))
    after = evaluated({**study, "reward_final": reward})
    assert after.best_rule == before.best_rule
    assert after.settings == before.settings


def saved(folder: Any, parts: dict[str, Any]) -> Results:
    results = Results(folder)
    for part in question.parts():
        results.write(part, parts[part.name.partition(".")[2]])
    return results


def test_every_claim_has_its_keys_and_a_command_that_names_its_part(
    tmp_path: Any, parts: dict[str, Any]
) -> None:
    found = question.claims(saved(tmp_path, parts))
    keys = ["claim", "verdict", "effect", "low", "high", "p", "d", "n", "command"]
    assert len(found) == len(headline(rows_of(parts))) == len({row["claim"] for row in found})
    commands = {part.command for part in question.parts()}
    for row in found:
        assert list(row) == keys
        assert row["verdict"] in (SUPPORTED, REFUTED, NOT_TESTABLE)
        assert row["command"] in commands or row["n"] == 0
        assert row["n"] == 0 or row["low"] <= row["effect"] <= row["high"]
    assert all(row["verdict"] == NOT_TESTABLE for row in found if row["n"] == 0)


def test_the_section_reads_saved_parts_and_draws(tmp_path: Any, parts: dict[str, Any]) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    section = question.section(saved(tmp_path, parts))
    names = {part.name for part in question.parts()}
    assert {finding.part for finding in section.findings} <= names
    assert all(math.isfinite(finding.value) for finding in section.findings)
    assert "nan" not in " ".join(section.answer)
    for figure in section.figures:
        drawing, axes = pyplot.subplots(figsize=figure.size)
        assert figure.draw(axes) is axes
        assert axes.get_xlabel()
        assert axes.has_data()
        pyplot.close(drawing)


# A small study through the part


def test_the_study_part_stacks_the_cells_that_the_command_computes() -> None:
    tree = find_study("claims").to_tree()
    tree["run"] |= {"horizon": 4, "seeds": 66}
    tree["controllers"] = {name: tree["controllers"][name] for name in ("fixed_0.1", "hpt_0")}
    tree["regimes"] = {"bandit": tree["regimes"]["bandit"], "good_expert": {}}
    found, again = computed.study(tree), computed.study(tree)
    assert found["reward_final"].shape == (2, 2, 66)
    assert found["cells"].shape == (2, 2)
    assert found["first_seeds"].tolist() == [0, 64]
    for name, value in found.items():
        assert value.tobytes() == again[name].tobytes(), name


# Refusals


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("kl_area"), "lacks 'kl_area'"),
        (lambda s: s["reward_final"].__setitem__((0, 0, 0), np.nan), "1 of .* not finite"),
        (lambda s: s.update(controllers=np.array(["x"] * 22)), "lacks the controller"),
        (
            lambda s: s.update({k: s[k][..., :64] for k in ("reward_final", "kl_area")}),
            "leave some to tune on",
        ),
    ],
)
def test_a_damaged_study_is_refused(change: Any, text: str) -> None:
    study = synthetic_study()
    change(study)
    with pytest.raises(GACError, match=text) as refused:
        evaluated(study)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: judge(math.nan, 0.0, 1.0, 0.5, least=0.1), "finite numbers in order"),
        (lambda: judge(2.0, 0.0, 1.0, 0.5, least=0.1), "finite numbers in order"),
        (lambda: split(np.zeros((1, 1, 4)), 4), "leave some to tune on"),
        (lambda: split_movement(GACConfig(), np.ones((4, 1))), "T >= 2"),
        (lambda: split_movement(GACConfig(), np.full((4, 3), np.nan)), "not finite"),
        (lambda: smallest_passing_d(1), "at least 2"),
        (
            lambda: fewer("k", "", np.zeros(9), np.zeros(9), threshold=0.7, part=""),
            "9 of 9 seeds have nothing",
        ),
        (
            lambda: compared("k", "", np.zeros(3), np.ones(3), claimed=1.0, unit="1", part=""),
            "at least 6",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call: Any, text: str) -> None:
    with pytest.raises(GACError, match=text) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_a_part_that_was_not_computed_is_named(tmp_path: Any) -> None:
    with pytest.raises(GACError, match=r"analyse claims\.study"):
        question.claims(Results(tmp_path))
