"""Fidelity: honest intervals, falsified batches, exact models, and the answer they give."""

from __future__ import annotations

import dataclasses
import doctest
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gac_ref import GACConfig, proxies
from gac_ref.batch import Batch
from gac_ref.errors import GACError
from gac_ref.traces import TraceReader
from simulations.analysis import fidelity
from simulations.analysis.fidelity import (
    association,
    exact,
    falsify,
    measure,
    recorded,
)
from simulations.analysis.fidelity import figures as pictures
from simulations.analysis.question import Finding, Section
from simulations.analysis.results import Results
from simulations.analysis.statistics import pearson
from simulations.models import Bandit, TokenPolicy
from simulations.models.observation import to_batch
from simulations.recording import SHIPPED_TRACE
from simulations.recording.study.store import load_study

ROUNDING = 1e-12
"""Two orders of the same float64 sums over at most a few hundred terms."""

K = 5.0
"""Standard errors: one false alarm in 1.7 million for a normal mean."""

LEAST_COVERAGE = 0.90
"""Of 1,000 intervals of nominal 95 %; five standard errors of such a share are 0.035."""


# Association


@pytest.mark.parametrize("module", [association, falsify, fidelity])
def test_examples_in_the_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def autoregressive(rng: np.random.Generator, runs: int, n: int, rho: float) -> np.ndarray:
    """Stationary AR(1) series, [runs, n]."""
    noise = rng.standard_normal((runs, n)) * math.sqrt(1.0 - rho * rho)
    series = np.empty((runs, n))
    series[:, 0] = rng.standard_normal(runs)
    for t in range(1, n):
        series[:, t] = rho * series[:, t - 1] + noise[:, t]
    return series


@pytest.mark.parametrize("kind", association.KINDS)
def test_the_serial_interval_covers_where_the_naive_one_does_not(kind: str) -> None:
    rng = np.random.default_rng(0)
    a, b = (autoregressive(rng, 1000, 80, 0.8) for _ in range(2))
    serial = [association.serial_correlation(x, y, kind) for x, y in zip(a, b, strict=True)]
    covered = np.mean([found.low <= 0.0 <= found.high for found in serial])
    assert covered >= LEAST_COVERAGE
    if kind == "pearson":
        naive = [pearson(x, y) for x, y in zip(a, b, strict=True)]
        assert np.mean([found.low <= 0.0 <= found.high for found in naive]) < 0.75


def test_independent_pairs_keep_most_of_their_number() -> None:
    rng = np.random.default_rng(1)
    sizes = [association.effective_size(*rng.standard_normal((2, 200))) for _ in range(200)]
    assert max(sizes) <= 200.0
    assert np.mean(sizes) > 170.0


def test_effective_size_approaches_bartletts_for_ar1() -> None:
    rng = np.random.default_rng(2)
    n, rho = 4000, 0.6
    a, b = (autoregressive(rng, 20, n, rho) for _ in range(2))
    sizes = [association.effective_size(x, y) for x, y in zip(a, b, strict=True)]
    # 1 + 2 sum rho^2k = (1 + rho^2) / (1 - rho^2); sample autocorrelations add noise over n/4 lags.
    assert np.mean(sizes) == pytest.approx(n * (1.0 - rho**2) / (1.0 + rho**2), rel=0.1)


def test_correlations_are_scipys() -> None:
    x, y = np.random.default_rng(3).standard_normal((2, 40))
    y = y + x
    for kind, oracle in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        value = association.serial_correlation(x, y, kind).value
        assert value == pytest.approx(oracle(x, y).statistic, rel=ROUNDING)
        (row,) = association.correlations(x[None], y[None], kind)
        assert row == value


def test_mean_correlation_is_taken_on_fishers_scale() -> None:
    r = np.array([0.2, 0.5, 0.9])
    found = association.mean_correlation(r, "r")
    assert found.value == pytest.approx(np.tanh(np.arctanh(r).mean()), rel=ROUNDING)
    low, high = stats.t.interval(0.95, 2, np.arctanh(r).mean(), stats.sem(np.arctanh(r)))
    assert (found.low, found.high) == pytest.approx((np.tanh(low), np.tanh(high)), rel=1e-9)


def test_calibration_is_a_line_of_logarithms() -> None:
    rng = np.random.default_rng(4)
    truth, noise = rng.lognormal(size=50), rng.lognormal(sigma=0.1, size=50)
    proxy = 3.0 * truth**0.5 * noise
    found = association.calibration(proxy, truth, "x")
    oracle = stats.linregress(np.log(truth), np.log(proxy))
    assert found == pytest.approx((oracle.slope, oracle.intercept, oracle.rvalue**2), rel=1e-9)


def test_the_remainder_is_uncorrelated_with_what_is_given() -> None:
    given, values = np.random.default_rng(5).standard_normal((2, 60))
    left = association.remainder(values + 2.0 * given, given)
    assert abs(left @ (given - given.mean())) < 60 * ROUNDING
    assert association.explained(values, np.full(60, values.mean())) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: association.serial_correlation([1.0] * 6, range(6)), "a is constant"),
        (lambda: association.serial_correlation([1.0, 2.0], [2.0, 1.0]), "n = 2 is too few"),
        (lambda: association.serial_correlation([1.0, 2, 3, np.nan], range(4)), "not finite"),
        (lambda: association.serial_correlation(range(6), range(6), "tau"), "kind = 'tau'"),
        (
            lambda: association.mean_correlation(np.array([0.1, np.nan, 0.2]), "r of x"),
            "r of x: not defined in 1 of 3 runs",
        ),
        (lambda: association.mean_correlation(np.array([0.1]), "r"), "n = 1 is too few"),
        (
            lambda: association.calibration(np.array([1.0, 0.0]), np.array([1.0, 2.0]), "x"),
            "x: 1 of 2 values of the proxy are not positive",
        ),
        (
            lambda: association.calibration(np.array([1.0, 2.0]), np.array([2.0, 2.0]), "x"),
            "x: the truth is constant",
        ),
        (lambda: association.explained(np.ones(3), np.ones(3)), "the values are constant"),
        (
            lambda: exact.random_points(
                models={"lstm": {}}, seed=0, points=4, draws=1, start_spread=1.0
            ),
            "unknown model 'lstm'; pass one of bandit",
        ),
    ],
)
def test_bad_input_is_one_line(call: Any, message: str) -> None:
    with pytest.raises(GACError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


# Falsification


def ragged_batch(rng: np.random.Generator) -> Batch:
    """Ten rollouts and six demonstrations of unequal lengths."""
    mask = np.arange(7) < rng.integers(2, 8, size=(16, 1))
    return Batch(-rng.exponential(0.6, (16, 7)), mask, rng.normal(size=16), np.arange(16) >= 10)


def broken(name: str, batch: Batch) -> Batch:
    """The batch after one falsification."""
    return falsify.FALSIFICATIONS[name](batch, np.random.default_rng(9))


def test_shuffles_keep_the_values_and_move_them() -> None:
    batch = ragged_batch(np.random.default_rng(0))
    tokens = np.asarray(batch.response_mask)
    rollout, expert = tokens & ~batch.is_expert[:, None], tokens & batch.is_expert[:, None]
    before = np.broadcast_to(batch.advantages[:, None], batch.shape)
    after = broken("shuffled advantages", batch).advantages
    assert sorted(after[rollout]) == sorted(before[rollout])
    assert (after[rollout] != before[rollout]).any()
    moved = broken("permuted sequences", batch).advantages
    assert sorted(moved[:10, 0]) == sorted(batch.advantages[:10])
    assert (np.ptp(moved[:10], axis=1) == 0.0).all()
    shuffled = broken("shuffled phi", batch).logprob
    for place in (rollout, expert):
        assert sorted(shuffled[place]) == sorted(batch.logprob[place])
        assert (shuffled[place] != batch.logprob[place]).any()


def test_what_each_statistic_cannot_notice() -> None:
    batch = ragged_batch(np.random.default_rng(1))
    whole = falsify.read_proxies(batch)
    names = falsify.STATISTICS
    for name in falsify.FALSIFICATIONS:
        values = falsify.read_proxies(broken(name, batch), use_phi=name != "constant phi")
        same = {n for n, a, b in zip(names, values, whole, strict=True) if abs(a / b - 1) < 1e-7}
        expected = {
            "shuffled advantages": {"sigma_s2"},
            "permuted sequences": {"sigma_s2", "sigma_r2"},
            "shuffled phi": {"sigma_r2"},
            "constant advantages": {"sigma_s2"},
            "constant phi": {"sigma_s2", "sigma_r2"},
        }[name]
        assert same == expected, name


def test_constant_streams_disagree_by_one_whatever_they_are() -> None:
    batch = Batch(
        np.log(np.linspace(0.1, 0.9, 12)).reshape(4, 3), np.ones((4, 3)), [0.0, 1, 2, 3], [0] * 4
    )
    found = falsify.read_proxies(broken("constant advantages", batch))
    assert found[2] == pytest.approx(1.0, rel=1e-6)
    assert found[1] == GACConfig().eps


# Exact models


def test_readings_are_those_of_the_estimator() -> None:
    model = TokenPolicy(start_spread=0.5)
    theta = model.start(np.random.default_rng(0), 3)
    found = exact.readings(model, theta, 0, np.random.default_rng(7), draws=1)
    seen = model.observe(theta, model.draw(np.random.default_rng(7), 3, 0))
    truth = model.truth(theta, 0)
    for i in range(3):
        np.testing.assert_allclose(
            found["one"][:, i], falsify.read_proxies(to_batch(seen, (i,))), rtol=1e-9
        )
        spread = np.ptp(seen.rewards[i], axis=-1) > 0.0
        assert found["share"][i] == spread.mean()
    np.testing.assert_array_equal(found["truths"][2], truth.delta_g2)


def test_the_mean_rl_noise_proxy_is_the_exact_chance_of_spread() -> None:
    model = Bandit(contexts=1, groups=4, group_size=8)
    theta = model.start(np.random.default_rng(0), 1).repeat(4000, axis=0)
    found = exact.readings(model, theta, 0, np.random.default_rng(1), draws=1)
    z = theta[0] - theta[0].max()
    p = float(np.exp(z) / np.exp(z).sum() @ model.success()[0])
    spread = 1.0 - p**8 - (1.0 - p) ** 8
    values = found["one"][1]
    # The convention divides by the spread + 1e-4, which takes 4e-4 of the value at most.
    slack = 5e-4 + K * values.std() / math.sqrt(values.size)
    assert abs(values.mean() - 7.0 / 8.0 * spread) < slack


def test_mean_readings_average_the_draws_and_break_what_they_say() -> None:
    settings: dict[str, Any] = {
        "models": {"bandit": {}},
        "seed": 3,
        "points": 5,
        "start_spread": 1.0,
    }
    once = exact.random_points(**settings, draws=1)
    again = exact.random_points(**settings, draws=1)
    assert all(np.array_equal(once[key], again[key]) for key in once)
    np.testing.assert_array_equal(once["mean"][0, 0], once["one"][0])
    by_name = dict(zip(exact.EXACT_FALSIFICATIONS, once["mean"][0], strict=True))
    np.testing.assert_allclose(by_name["shuffled advantages"][:2], by_name["none"][:2], rtol=1e-9)
    np.testing.assert_allclose(by_name["constant advantages"][2], 1.0, rtol=1e-6)
    assert (by_name["shuffled phi"][2] != by_name["none"][2]).any()


def test_training_looks_at_the_run_that_it_makes() -> None:
    found = exact.training(
        models={"bandit": {}, "mlp": {}},
        seed=0,
        seeds=3,
        steps=30,
        every=10,
        draws=2,
        mu=0.5,
        learning_rate=0.5,
    )
    assert found["one"].shape == (2, 4, 3, 3)
    assert found["mean"].shape == (2, 5, 4, 3, 3)
    assert (found["truths"] > 0.0).all()
    moved = np.abs(np.diff(found["truths"], axis=-1))
    assert (moved > 0.0).all()


# The recording and the study


@pytest.fixture(scope="module")
def recording() -> dict[str, Any]:
    """The statistics of the shipped recording, few shuffles."""
    return recorded.recording(seed=0, shuffles=2)


def test_recorded_statistics_are_what_the_live_controller_saw(recording: dict[str, Any]) -> None:
    reader = TraceReader(SHIPPED_TRACE)
    assert recording["proxies"].shape == (4, len(reader.steps))
    for item in reader:
        if "proxy_sigma_r2" not in item.logged:
            continue
        logged = [item.logged[f"proxy_{name}"] for name in falsify.STATISTICS[:3]]
        np.testing.assert_allclose(recording["proxies"][:3, item.step], logged, rtol=1e-9)
        if item.oracle:
            at = recording["known"].tolist().index(item.step)
            assert recording["truths"][0, at] == item.oracle["sigma_s2"]
            released = proxies(GACConfig.released(), item.batch).delta_g2
            assert recording["proxies"][3, item.step] == released
    assert recording["known"].size == 30


def test_the_share_of_groups_is_the_recorded_rl_noise(recording: dict[str, Any]) -> None:
    predicted = 7.0 / 8.0 * recording["share"]
    # The trainer divides by a group's spread + 1e-4.
    assert np.abs(recording["proxies"][1] - predicted).max() < 5e-3


def test_the_studys_rows_stay_with_their_truths() -> None:
    held = load_study()
    found = recorded.study(results="")
    points = held.oracle_steps.size
    for seed in range(held.seeds.size):
        for c in range(len(held.controllers)):
            rows = slice(c * points, (c + 1) * points)
            np.testing.assert_array_equal(
                found["truths"][1, seed, rows], held.truths["sigma_r2"][c, seed]
            )
            np.testing.assert_array_equal(
                found["proxies"][2, seed, rows],
                held.series["delta_g2"][c, seed, held.oracle_steps],
            )
            assert set(found["controller"][rows]) == {held.controllers[c]}


def test_the_far_points_are_left_out_by_name() -> None:
    held = recorded.study(results="")
    part = fidelity.parts()[3]
    kept = held["controller"] != "sft_then_rl"
    proxy, truth = held["proxies"][0][:, kept], held["truths"][0][:, kept]
    r = [stats.pearsonr(a, b).statistic for a, b in zip(proxy, truth, strict=True)]
    found = measure.repeated_runs(held, part)["without sigma_s2"]
    assert found.value == pytest.approx(np.tanh(np.arctanh(r).mean()), rel=1e-9)
    assert kept.sum() == kept.size - held["truths"].shape[2] // np.unique(held["controller"]).size


# The answer


@pytest.fixture(scope="module")
def answered(
    tmp_path_factory: pytest.TempPathFactory, recording: dict[str, Any]
) -> tuple[Section, dict[str, Any]]:
    """The section from parts computed with fewer draws."""
    results = Results(tmp_path_factory.mktemp("fidelity"))
    training, random, recorded_part, study = fidelity.parts()
    few = {**training.settings, "seeds": 4, "steps": 60, "draws": 2}
    results.write(training, training.compute(**few))
    results.write(random, random.compute(**{**random.settings, "points": 40, "draws": 2}))
    results.write(recorded_part, recording)
    results.write(study, study.compute(**study.settings))
    return fidelity.section(results), recording


@pytest.fixture(scope="module")
def section(answered: tuple[Section, dict[str, Any]]) -> Section:
    """The section alone."""
    return answered[0]


def finding(section: Section, label: str) -> Finding:
    """The one finding with that label."""
    (found,) = [item for item in section.findings if item.label == label]
    return found


def test_the_claim_is_answered_with_scipys_number(
    section: Section, recording: dict[str, Any]
) -> None:
    found = finding(section, "disagreement, recorded run, pearson")
    at = recording["known"]
    oracle = stats.pearsonr(recording["proxies"][2, at], recording["truths"][2])
    assert found.value == pytest.approx(oracle.statistic, rel=1e-9)
    assert found.text() in section.answer[0]
    assert found.low < found.value < found.high < measure.CLAIMED
    naive = oracle.confidence_interval()
    assert found.high - found.low >= (naive.high - naive.low) * (1.0 - 1e-9)


def test_every_finding_is_a_number_and_no_prose_says_nan(section: Section) -> None:
    assert all(math.isfinite(item.value) for item in section.findings)
    labels = [item.label for item in section.findings]
    assert len(set(labels)) == len(labels)
    assert not any("nan" in paragraph.lower().split() for paragraph in section.answer)


def test_nothing_is_left_of_the_rl_noise_once_the_share_is_known(section: Section) -> None:
    left = [item for item in section.findings if "leaves unexplained" in item.label]
    assert len(left) == 5
    for item in left:
        limit = 0.02 if "repeated" in item.label else 1e-3
        assert 0.0 <= item.value < limit, item.label


def test_a_constant_falsification_is_named_and_not_averaged(section: Section) -> None:
    text = "\n".join(section.answer)
    assert "Constant, so without a correlation: RL noise under constant advantages" in text
    assert not any("RL noise" in f.label and "constant adv" in f.label for f in section.findings)


def test_a_truth_that_is_not_finite_is_refused(tmp_path: Path, recording: dict[str, Any]) -> None:
    part = fidelity.parts()[2]
    truths = recording["truths"].copy()
    truths[1, 3] = np.nan
    with pytest.raises(GACError, match="truths of the recording: 1 of 150 values are not finite"):
        measure.recorded_run({**recording, "truths": truths}, part)


def test_pictures_draw_what_they_are_given(section: Section) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for figure in section.figures:
        drawn, axes = plt.subplots(1, figure.panels, figsize=figure.size)
        assert figure.draw(axes) is axes
        for ax in np.atleast_1d(axes):
            assert ax.get_xlabel()
        drawn.canvas.draw()
        plt.close(drawn)
    drawn, ax = plt.subplots()
    row = Finding("x", 0.5, 0.2, 0.7, 9, "1", "a.b")
    pictures.draw_forest([("a", row, False), ("b", row, True)], 0.84, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    plt.close(drawn)


def test_parts_are_named_after_the_question_and_plain() -> None:
    for part in fidelity.parts():
        assert part.name.startswith(f"{fidelity.name}.")
        assert not any(dataclasses.is_dataclass(value) for value in part.settings.values())
