"""One engine run from plain tables, with moments over seeds: what the sub-questions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.question import finite
from simulations.engine.controllers import build_controllers
from simulations.engine.curves import merge_curves
from simulations.engine.run import Chunk, Plan
from simulations.engine.settings import RunSettings
from simulations.problem import Problem

__all__ = ["FEWEST_SEEDS", "Table", "Trajectories", "simulated"]

Table = Mapping[str, Any]
"""A declaration as TOML or JSON holds it."""

FEWEST_SEEDS = 8
"""Below, a standard error is itself uncertain by more than a quarter."""


class Trajectories(NamedTuple):
    """Means over seeds, with their standard errors, and every seed's own outcomes.

    Args:
        steps: Steps that were measured, [T].
        mean: Curve -> mean over seeds, [C, T].
        error: Curve -> standard error of that mean, [C, T].
        metrics: Metric -> one number a trajectory, [C, n].
    """

    steps: FloatArray
    mean: dict[str, FloatArray]
    error: dict[str, FloatArray]
    metrics: dict[str, FloatArray]


def simulated(problem: Problem, controllers: Mapping[str, Table], run: Table) -> Trajectories:
    """Run the engine and summarise its curves.

    Args:
        problem: The model.
        controllers: Declarations by name, as a study has them.
        run: Fields of :class:`simulations.engine.settings.RunSettings`.

    Returns:
        The trajectories of every controller.

    Raises:
        GACError: Fewer than `FEWEST_SEEDS` seeds, or a curve that is not a number.

    Examples:
        >>> from simulations.models import Quadratic
        >>> found = simulated(Quadratic(), {"fixed": {"mu": 0.5}}, {"horizon": 20, "seeds": 8})
        >>> found.steps.tolist(), found.mean["loss"].shape
        ([0.0, 10.0], (1, 2))
    """
    settings = RunSettings(**run)
    if settings.seeds < FEWEST_SEEDS:
        fail(
            f"run.seeds = {settings.seeds} is too few for a standard error; pass at least "
            f"{FEWEST_SEEDS}"
        )
    plan = Plan(problem=problem, controllers=build_controllers(controllers), settings=settings)
    chunk = Chunk(plan, plan.blocks)
    chunk.advance(settings.horizon)
    result = chunk.result()
    curves = merge_curves([result])
    weight = curves["curve_weight"][0]
    spread = np.sqrt(curves["curve_scatter"][0] / (weight - 1.0) / weight)
    mean, error = {}, {}
    for index, name in enumerate(chunk.curves.names):
        mean[name] = finite(curves["curve_mean"][0][index].T, f"{name} over time")
        error[name] = finite(spread[index].T, f"standard error of {name} over time")
    times = settings.times(settings.curve_every)
    return Trajectories(
        steps=np.array(times, dtype=np.float64),
        mean=mean,
        error=error,
        metrics={
            name.removeprefix("metric/"): value
            for name, value in result.items()
            if name.startswith("metric/")
        },
    )
