"""The yardstick of the benchmark: a plain loop over tokens gives the engine's numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from gac_ref import GACConfig
from simulations.engine.controllers import build_controllers
from simulations.engine.run import Chunk, Plan
from simulations.engine.settings import RunSettings
from simulations.engine.streams import BLOCK, BlockStreams
from simulations.models.token_policy import TokenPolicy

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from policy_loop import Loop

LOOP_RTOL = 1e-9
"""Sums in another order: 25 steps amplify a rounding of 1e-16 little, and no sample flips."""

STEPS = 25


@pytest.mark.parametrize("required", [0, 2])
def test_the_engine_equals_a_loop_over_single_trajectories_token_by_token(required: int) -> None:
    problem = TokenPolicy(required=required)
    settings = RunSettings(horizon=STEPS, seeds=BLOCK, learning_rate=0.5, measure_every=5)
    plan = Plan(problem=problem, controllers=build_controllers({"gac": {}}), settings=settings)
    chunk = Chunk(plan, plan.blocks)
    chunk.advance(STEPS)
    result = chunk.result()
    streams = BlockStreams(settings.seed, [0]).generators
    starts = problem.start(streams["start"][0], BLOCK)
    tokens = problem.horizon * (problem.experts + problem.groups * problem.group_size)
    count = problem.groups + problem.experts + tokens + problem.groups * problem.group_size
    numbers = [streams["draw"][0].random((BLOCK, count)) for _ in range(STEPS)]
    for seed in (0, 41):
        loop = Loop(
            problem,
            GACConfig(),
            starts[seed].tolist(),
            rate=settings.learning_rate,
            alpha=settings.alpha,
            measure_every=settings.measure_every,
            large_change=settings.large_change,
        )
        for step in range(STEPS):
            loop.step(step, numbers[step][seed].tolist())
        found = {name: result[f"metric/{name}"][0, seed] for name in ("mu_final", "gradient_mse")}
        found |= {name: result[f"metric/{name}"][0, seed] for name in ("regret", "mu_gap")}
        found["drift"] = result["metric/drift_area"][0, seed] / STEPS
        assert loop.large_changes == result["metric/large_mu_changes"][0, seed]
        np.testing.assert_allclose(loop.mu, found.pop("mu_final"), rtol=LOOP_RTOL)
        found |= {
            name: result[f"metric/{name}_mean"][0, seed]
            for name in ("reward", "sft_loss", "kl", "entropy")
        }
        for name, value in found.items():
            mean = np.mean([measured[name] for measured in loop.measured])
            np.testing.assert_allclose(mean, value, rtol=LOOP_RTOL, err_msg=name)
