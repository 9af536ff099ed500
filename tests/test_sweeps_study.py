"""Studies and designs: what is declared, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _studies import tiny

from gac_ref import GACError, baselines
from simulations.sweeps.design import design_points
from simulations.sweeps.run import all_cells
from simulations.sweeps.study import Study, find_study, studies


def test_every_declared_study_builds() -> None:
    for name in studies():
        study = find_study(name)
        assert study.name == name
        points = study.points()
        assert len({cell.name for cell in all_cells(points)}) == len(all_cells(points))
        assert Study.from_tree(study.to_tree(), name) == study


def test_the_policies_study_has_every_rule() -> None:
    kinds = {table["kind"] for table in find_study("policies").controllers.values()}
    assert kinds == {*baselines.RULES, "fixed_grid"}


def test_the_default_study_is_large_enough() -> None:
    study = find_study("default")
    points = study.points()
    assert len(points) >= 8
    assert len(study.controllers) >= 12
    for point in points:
        assert sum(cell.configuration["seeds"] for cell in point.cells) >= 200


def test_grid_points_are_all_combinations() -> None:
    points = design_points({"kind": "grid", "parameters": {"a": [1, 2], "b": [3, 4, 5]}})
    assert len(points) == 6
    assert points[4] == {"a": 2, "b": 4}


@pytest.mark.parametrize("kind", ["latin_hypercube", "sobol"])
def test_space_filling_points_hit_every_stratum(kind: str) -> None:
    ranges = {
        "a": {"low": 0.1, "high": 10.0, "scale": "log"},
        "b": {"low": 2, "high": 5},
        "c": {"low": 1, "high": 9, "integer": True},
    }
    design = {"kind": kind, "points": 16, "seed": 3, "parameters": ranges}
    points = design_points(design)
    assert points == design_points(design)
    assert points != design_points(design | {"seed": 4})
    unit = np.array([(np.log10(p["a"]) + 1.0) / 2.0 for p in points])
    assert sorted(np.floor(16 * unit)) == list(range(16))
    assert all(2.0 <= p["b"] <= 5.0 and type(p["c"]) is int and 1 <= p["c"] <= 9 for p in points)


def test_a_design_reaches_the_controllers() -> None:
    parameters = {"run.learning_rate": [0.01, 0.1], "controllers.gac.alpha": [0.2]}
    study = tiny(design={"parameters": parameters}, regimes={})
    points = study.points()
    assert [point.label for point in points] == ["base/0", "base/1"]
    first = points[0].cells[0].configuration
    assert first["run"]["learning_rate"] == 0.01
    assert first["controllers"][0]["alpha"] == 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"design": {"kind": "random", "parameters": {"a": [1]}}}, "design.kind = 'random'"),
        ({"design": {"parameters": {}}}, "design.parameters is empty"),
        ({"design": {"parameters": {"run.alpha": 0.5}}}, "is not a list"),
        ({"design": {"parameters": {"run.beta": [0.5]}}}, "unknown parameter 'run.beta'"),
        ({"design": {"kind": "sobol", "points": 6,
                     "parameters": {"run.alpha": {"low": 0, "high": 1}}}}, "not a power of two"),
        ({"design": {"kind": "sobol", "points": 2**40,
                     "parameters": {"run.alpha": {"low": 0, "high": 1}}}}, "not a whole number in"),
        ({"design": {"parameters": {"run.alpha": [0.5] * 100, "run.seed": [1] * 100}}},
         "have 10000 combinations"),
        ({"run": {"seeds": 10**12}}, "lower it, or raise run.seeds_per_cell"),
        ({"design": {"kind": "sobol", "points": 4, "parameters": {"run.alpha": {"low": 1}}}},
         "no low and high"),
        ({"design": {"kind": "latin_hypercube", "points": 4,
                     "parameters": {"run.alpha": {"low": 1, "high": 0}}}}, "pass low < high"),
        ({"regimes": {"x": {"noise": {}}}}, "regime 'x': 'noise' is unknown"),
        ({"regimes": {"x": {"problem": {"correlation": 3.0}}}}, "regime 'x': Quadratic"),
        ({"run": {"horizons": 3}}, "did you mean 'horizon'"),
    ],
)  # fmt: skip
def test_a_bad_study_is_a_one_line_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GACError, match=message) as caught:
        tiny(**changes).points()
    assert "\n" not in str(caught.value)


def test_settings_lie_over_everything() -> None:
    study = tiny().with_settings(["horizon=7", "problem.sigma_r2=2.5", "gac.alpha=0.25"])
    for point in study.points():
        tree = point.cells[0].configuration
        assert tree["run"]["horizon"] == 7
        assert tree["problem"]["sigma_r2"] == 2.5
        assert tree["controllers"][0]["alpha"] == 0.25
