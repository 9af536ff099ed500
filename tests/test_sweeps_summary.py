"""The table: intervals against SciPy, means, paired differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _studies import tiny
from scipy import stats

from simulations.sweeps.run import run_study
from simulations.sweeps.store import Store
from simulations.sweeps.summary import (
    Row,
    chosen_weights,
    mean_interval,
    read_point,
    share_interval,
    summarise,
)
from simulations.sweeps.table import render


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


INTERVAL_RTOL = 1e-12
"""Two implementations of one formula."""


def test_intervals_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, size=17)
    _, low, high = mean_interval(values)
    expected = stats.t.interval(0.95, 16, values.mean(), stats.sem(values))
    np.testing.assert_allclose((low, high), expected, rtol=INTERVAL_RTOL)
    for count in (0, 3, 17):
        _, low, high = share_interval((np.arange(17) < count).astype(float))
        wilson = stats.binomtest(count, 17).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(
            (low, high), (wilson.low, wilson.high), rtol=INTERVAL_RTOL, atol=1e-15
        )


def test_the_summary_is_what_the_seeds_say(store: Store) -> None:
    points = run_study(tiny(), store)
    rows = {
        (row.controller, row.regime, row.metric): row for row in summarise(tiny(), points, store)
    }
    assert len(rows) == 3 * 2 * 2
    values = read_point(points[1], store)
    loss = values.metrics["loss_final"]
    assert rows["gac", "noisy", "loss_final"] == Row(
        "gac", "noisy", "loss_final", *mean_interval(loss[0]), 130
    )
    members = [i for i, name in enumerate(values.controllers) if name.startswith("grid@")]
    assert rows["grid", "noisy", "loss_final"].estimate == min(loss[i].mean() for i in members)
    assert rows["oracle_gac", "noisy", "regret"].high == 0.0


def test_the_weight_that_was_best_in_hindsight_is_named(store: Store) -> None:
    points = run_study(tiny(), store)
    chosen = chosen_weights(tiny(), points, store)
    assert chosen.keys() == {"grid"}
    for point in points:
        values = read_point(point, store)
        best = values.controllers.index(f"grid@{chosen['grid'][point.label]}")
        means = values.metrics["loss_final"].mean(axis=1)
        assert means[best] == means[2:].min()
    assert chosen_weights(tiny(controllers={"gac": {}}), points, store) == {}
    most = tiny(summary={"primary": "loss_final", "maximise": True})
    for label, weight in chosen_weights(most, points, store)["grid"].items():
        point = next(point for point in points if point.label == label)
        values = read_point(point, store)
        means = values.metrics["loss_final"].mean(axis=1)
        assert means[values.controllers.index(f"grid@{weight}")] == means[2:].max()


def test_rounding_is_shown_as_zero_and_numbers_in_four_digits() -> None:
    rows = [
        Row("a", "calm", "regret", 5e-35, 4e-35, 6e-35, 9),
        Row("b", "calm", "regret", 0.5, 0.25, 1200.0, 9),
    ]
    text = "\n".join(render(tiny(), rows))
    assert "0 [0, 0]" in text
    assert "0.5000 [0.2500, 1200]" in text


def test_comparisons_are_paired(store: Store) -> None:
    points = run_study(tiny(), store)
    rows = summarise(tiny(), points, store, metrics=["loss_final"], versus="oracle_gac")
    gac = next(row for row in rows if row[:2] == ("gac", "calm"))
    loss = read_point(points[0], store).metrics["loss_final"]
    assert gac[3:] == (*mean_interval(loss[0] - loss[1]), 130)
    apart = mean_interval(loss[0])
    assert gac.high - gac.low < apart[2] - apart[1]
