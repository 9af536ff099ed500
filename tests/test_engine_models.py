"""Every model through the engine: grouping of seeds and controllers never shows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from gac_ref import GACError
from simulations.engine.controllers import build_controllers
from simulations.engine.run import Chunk, Plan
from simulations.engine.settings import RunSettings
from simulations.engine.streams import BlockStreams
from simulations.models.token_policy import TokenPolicy
from simulations.registry import PROBLEMS, build_problem, describe_problem

MOVE_TOL = 1e-13
"""A few roundings of logits of order one."""

TABLES: dict[str, dict[str, Any]] = {
    "gac": {},
    "gac_released": {"kind": "gac", "variant": "released"},
    "inverse_variance": {},
    "oracle_gac": {},
    "sasr": {"warmup_steps": 2},
    "mgda": {},
    "amft": {"kind": "fixed", "mu": 0.3},
    "chord_phi": {"mu": 0.3},
}


PROBLEM_TABLES: dict[str, dict[str, Any]] = {
    **{kind: {"kind": kind} for kind in PROBLEMS},
    "estimated": {"kind": "quadratic", "proxy": "estimated", "correlation": 0.5},
    "scenario": {"kind": "scenario", "scenario": "student_t"},
    "heavy": {
        "kind": "noisy_quadratic",
        "noise": {"kind": "independent", "sft": {"kind": "student_t", "df": 3.0}},
        "level_r": {"kind": "ramp", "start": 1.0, "end": 4.0, "begin": 0, "length": 5},
    },
    "wandering": {"kind": "noisy_quadratic", "level_r": {"kind": "random_walk", "spread": 0.5}},
}


@pytest.mark.parametrize("name", PROBLEM_TABLES)
def test_company_changes_no_bit(name: str) -> None:
    plan = Plan(
        problem=build_problem(PROBLEM_TABLES[name]),
        controllers=build_controllers(TABLES),
        settings=RunSettings(horizon=4, seeds=67, measure_every=2),
    )
    whole = Chunk(plan, plan.blocks)
    whole.advance(4)
    expected = whole.result()
    for index, controller in enumerate(plan.controllers):
        alone = dataclasses.replace(plan, controllers=(controller,))
        for block, seeds in ((0, slice(0, 64)), (1, slice(64, 67))):
            chunk = Chunk(alone, [block])
            chunk.advance(4)
            for key, value in chunk.result().items():
                if key.startswith("metric/"):
                    wanted = np.ascontiguousarray(expected[key][index, seeds])
                    assert value[0].tobytes() == wanted.tobytes(), (controller.name, key)


@pytest.mark.parametrize("name", PROBLEM_TABLES)
def test_a_description_rebuilds_the_problem(name: str) -> None:
    problem = build_problem(PROBLEM_TABLES[name])
    assert build_problem(describe_problem(problem)) == problem


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "the problem has no kind"),
        ({"kind": "cubic"}, "problem kind 'cubic' is unknown"),
        ({"kind": "quadratic", "dimensions": 3}, "did you mean 'dimension'"),
        ({"kind": "quadratic", "correlation": 2.0}, "correlation = 2.0 is outside"),
        ({"kind": "scenario", "scenario": "storm"}, "scenario 'storm' is unknown"),
        (
            {"kind": "synthetic", "noise": {"kind": "joint_gaussian", "matrix": [[1, 2], [2, 1]]}},
            "noise:",
        ),
        ({"kind": "noisy_quadratic", "level_r": {"kind": "constant", "value": -1.0}}, "level_r"),
        ({"kind": "noisy_quadratic", "level_r": 3.0}, "is not a Regime"),
    ],
)
def test_an_impossible_problem_is_a_one_line_error(table: dict[str, Any], message: str) -> None:
    with pytest.raises(GACError, match=message) as caught:
        build_problem(table)
    assert "\n" not in str(caught.value)


def test_chord_phi_moves_by_the_weighted_gradient_where_there_are_tokens() -> None:
    """One step of the engine, against the move computed from the model's own sample."""
    model = TokenPolicy()
    tables = {"chord_phi": {"mu": 0.3}, "fixed": {"mu": 0.3}}
    settings = RunSettings(horizon=1, seeds=64, learning_rate=0.5)
    plan = Plan(problem=model, controllers=build_controllers(tables), settings=settings)
    chunk = Chunk(plan, plan.blocks)
    start = chunk.tiles[0].theta.copy()
    draw = model.draw(BlockStreams(settings.seed, [0]).generators["draw"][0], 64, 0)
    sample = model.sample(start, 0, draw)
    chunk.advance(1)
    assert sample.move is not None
    weighted = sample.move(np.ones((2, 64)), 1.0, [0])[0]  # mu 1 and rate 1: the gradient
    of_sft = {"chord_phi": weighted, "fixed": sample.grad_s[1]}
    for c, name in enumerate(tables):
        moved = start[c] - 0.5 * (0.3 * of_sft[name] + 0.7 * sample.grad_r[c])
        np.testing.assert_allclose(chunk.tiles[0].theta[c], moved, rtol=0.0, atol=MOVE_TOL)
    assert np.abs(of_sft["chord_phi"] - of_sft["fixed"]).max() > 100 * MOVE_TOL
