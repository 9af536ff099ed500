"""The controllers on the real small transformer: outcomes, comparisons, and how they are told."""

from __future__ import annotations

import doctest
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gac_ref.errors import GACError
from simulations.analysis import transformer
from simulations.analysis.question import Finding, Section
from simulations.analysis.results import Results, compute_parts
from simulations.analysis.transformer import figures, outcomes
from simulations.analysis.transformer.answer import answer
from simulations.recording.study import observer, store
from simulations.recording.study.store import load_study

ROUNDING = 1e-9
"""Two orders of the same float64 sums."""


def finding(section: Section, label: str) -> Finding:
    """The one finding with that label."""
    (found,) = [item for item in section.findings if item.label == label]
    return found


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    """The outcomes of the shipped study."""
    (part,) = transformer.parts()
    return dict(part.compute(**part.settings))


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> Section:
    """The answer from saved results."""
    results = Results(tmp_path_factory.mktemp("transformer"))
    assert compute_parts(transformer.parts(), results) == 1
    return transformer.section(results)


@pytest.mark.parametrize("module", [figures, transformer])
def test_examples_in_the_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_outcomes_are_those_of_the_runs(saved: dict[str, Any]) -> None:
    study = load_study()
    c, seed = 1, 2
    mu, kl = (study.series[name][c, seed] for name in ("mu", "kl"))
    assert saved["held_reward"][c, seed] == study.held_reward[c, seed, -1]
    assert saved["kl_area"][c, seed] == pytest.approx(math.fsum(kl), rel=ROUNDING)
    large = sum(abs(b - a) >= 0.02 for a, b in itertools.pairwise(mu))
    assert saved["large_changes"][c, seed] == pytest.approx(large / (mu.size - 1), rel=ROUNDING)
    assert saved["reward"][c, seed] == pytest.approx(
        study.series["reward"][c, seed, -30:].mean(), rel=ROUNDING
    )


def test_means_and_paired_differences_are_scipys(section: Section, saved: dict[str, Any]) -> None:
    names = saved["controllers"].tolist()
    ours, theirs = (
        saved["held_reward"][names.index(name)] for name in ("gac_documented", "chord_mu")
    )
    mean = finding(section, "held-out reward at the end, chord_mu")
    low, high = stats.t.interval(0.95, theirs.size - 1, theirs.mean(), stats.sem(theirs))
    assert (mean.value, mean.low, mean.high) == pytest.approx((theirs.mean(), low, high))
    difference = finding(section, "held-out reward at the end, gac_documented less chord_mu")
    found = stats.ttest_rel(ours, theirs).confidence_interval()
    assert (difference.low, difference.high) == pytest.approx((found.low, found.high))
    p = finding(section, "permutation p, held-out reward, gac_documented and chord_mu")
    oracle = stats.permutation_test(
        (ours, theirs),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert p.value == pytest.approx(oracle.pvalue, rel=ROUNDING)


def test_it_says_how_little_the_seeds_can_show(section: Section, saved: dict[str, Any]) -> None:
    n = saved["seeds"].size
    least = finding(section, "least p of a two-sided sign permutation test at this number of seeds")
    assert least.value == 2.0 / 2**n
    p = [f.value for f in section.findings if f.label.startswith("permutation p")]
    assert min(p) >= least.value
    assert least.text() in section.answer[-1]
    assert "no evidence that two rules are equal" in section.answer[-1]


def test_the_ranking_is_by_held_out_reward(section: Section, saved: dict[str, Any]) -> None:
    order = np.argsort(-saved["held_reward"].mean(axis=1))
    places = [section.answer[1].index(f"{saved['controllers'][c]} ") for c in order]
    assert places == sorted(places)


def test_the_order_is_held_against_the_dose(section: Section, saved: dict[str, Any]) -> None:
    (found,) = [f for f in section.findings if f.label.startswith("Spearman")]
    last = saved["mu"][:, :, -30:].mean(axis=(1, 2))
    oracle = stats.spearmanr(last, saved["held_reward"].mean(axis=1)).statistic
    assert found.value == pytest.approx(oracle, rel=ROUNDING)
    assert found.n == saved["controllers"].size


def test_every_finding_is_a_number_with_a_label_of_its_own(section: Section) -> None:
    assert all(math.isfinite(item.value) for item in section.findings)
    labels = [item.label for item in section.findings]
    assert len(set(labels)) == len(labels)


def test_a_clear_difference_is_called_one_and_an_unclear_one_is_not(
    saved: dict[str, Any],
) -> None:
    (part,) = transformer.parts()
    names = saved["controllers"].tolist()
    seeds = saved["seeds"].size
    jitter = 1e-3 * np.random.default_rng(0).standard_normal((len(names), seeds))
    held = 0.5 + jitter
    held[names.index("chord_mu")] -= 0.2
    held[names.index("fixed_0.1")] += 0.2
    text = answer(transformer.title, part, {**saved, "held_reward": held}).answer[2]
    verdict = text.partition("Intervals that leave out 0:")[2]
    assert "chord_mu" in verdict.partition("GAC below")[0]
    assert "fixed_0.1" in verdict.partition("GAC below")[2]
    # Every other rule has the very numbers of GAC, and the rest differ with changing sign.
    place = np.add.outer(np.arange(len(names)), np.arange(seeds))
    noisy = 0.5 + 0.1 * (-1.0) ** place
    text = answer(transformer.title, part, {**saved, "held_reward": noisy}).answer[2]
    assert "No interval leaves out 0." in text


def test_pictures_draw_every_controller(section: Section, saved: dict[str, Any]) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for figure in section.figures:
        drawn, axes = plt.subplots(1, figure.panels, figsize=figure.size)
        assert figure.draw(axes) is axes
        for ax in np.atleast_1d(axes):
            assert ax.get_xlabel()
        legend = np.atleast_1d(axes)[-1].get_legend()
        if legend is not None:
            assert len(legend.get_texts()) == saved["controllers"].size
        drawn.canvas.draw()
        plt.close(drawn)


def damaged_study(path: Path, **changes: Any) -> Path:
    """A small study, some arrays of every run replaced."""
    rng = np.random.default_rng(0)
    runs = {}
    for name in ("gac_documented", "fixed_0.1"):
        for seed in (0, 1):
            arrays = {key: rng.random(4).astype(np.float32) for key in observer.SERIES}
            arrays |= {f"true_{key}": rng.random(1) for key in observer.TRUTHS}
            arrays |= {"held_exact": np.full(2, 0.1), "held_reward": np.full(2, 0.1 + 0.1 * seed)}
            runs[name, seed] = {**arrays, **changes.get(name, {})}
    meta = {key: "x" for key in ("command", "versions", "plan", "rules", "description")}
    store.pack(path, runs, evaluated=(0, 4), oracle_steps=(2,), meta=meta)
    return path


@pytest.mark.parametrize(
    ("changes", "last", "message"),
    [
        ({}, 9, "last = 9 but the runs have 4 steps"),
        ({"fixed_0.1": {"held_reward": np.array([0.9, 0.1])}}, 2, "start from different models"),
        ({"fixed_0.1": {"kl": np.float32([1, np.nan, 1, 1])}}, 2, r"kl\[1, 0, 1\] = nan"),
    ],
)
def test_a_study_that_cannot_be_compared_is_refused(
    tmp_path: Path, changes: dict[str, Any], last: int, message: str
) -> None:
    path = damaged_study(tmp_path / "study.npz", **changes)
    with pytest.raises(GACError, match=message):
        outcomes.outcomes(results="", last=last, large_change=0.02, path=path)
