"""Every model through the engine: grouping of seeds and controllers never shows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from gac_ref import GACError
from simulations.controllers import build_controllers
from simulations.engine import Chunk, Plan
from simulations.landscape import NoisyQuadratic
from simulations.noise import Constant, Independent, Multiplicative, Step
from simulations.registry import PROBLEMS, build_problem, describe_problem
from simulations.settings import RunSettings

MONTE_CARLO_SIGMAS = 5.0
"""Of a mean over 20,000 draws: one false alarm in 10^6 comparisons."""

TABLES: dict[str, dict[str, Any]] = {
    "gac": {},
    "oracle_gac": {},
    "sasr": {"warmup_steps": 2},
    "mgda": {},
    "amft": {"kind": "fixed", "mu": 0.3},
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


def test_the_noise_of_the_landscape_has_the_moments_that_its_truth_states() -> None:
    problem = NoisyQuadratic(
        noise=build_problem(PROBLEM_TABLES["heavy"]).noise,  # type: ignore[attr-defined]
        level_s=Constant(value=2.0),
        level_r=Step(before=1.0, after=4.0, begin=1),
    )
    n, step = 20_000, 1
    rng = np.random.default_rng(1)
    theta = problem.start(rng, n)
    draw = problem.draw(rng, n, step)
    truth, sample = problem.truth(theta, step), problem.sample(theta, step, draw)
    error_s, error_r = sample.grad_s - truth.g_s, sample.grad_r - truth.g_r
    assert sample.signals.proxies is not None
    measured = {
        "sigma_s2": ((error_s**2).sum(axis=-1), truth.sigma_s2),
        "sigma_r2": ((error_r**2).sum(axis=-1), truth.sigma_r2),
        "kappa": ((error_s * error_r).sum(axis=-1), np.asarray(truth.kappa)),
        "estimate of sigma_s2": (draw.sigma_s2, truth.sigma_s2),
        "estimate of sigma_r2": (draw.sigma_r2, truth.sigma_r2),
        "estimate of delta_g2": (np.asarray(sample.signals.proxies.delta_g2), truth.delta_g2),
    }
    for name, (values, exact) in measured.items():
        off = values - exact
        tolerance = MONTE_CARLO_SIGMAS * off.std() / np.sqrt(n)
        assert abs(off.mean()) <= tolerance, name


def test_noise_that_follows_the_gradient_is_refused() -> None:
    noise = Independent(sft=Multiplicative(relative=0.5), rl=Multiplicative(relative=0.5))
    with pytest.raises(GACError, match="the noise depends on the gradient"):
        NoisyQuadratic(noise=noise)


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
