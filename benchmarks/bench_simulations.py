"""Speed of the simulations, as ratios measured in one run: written to out/bench_simulations.json.

Each ratio compares two things timed alternately, the minimum of several rounds each; CPU time
where one process does the work, wall time where several do.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from policy_loop import Loop  # noqa: E402
from timing import Ratio, measure, minima  # noqa: E402

from simulations.engine.controllers import build_controllers  # noqa: E402
from simulations.engine.run import Chunk, Plan  # noqa: E402
from simulations.engine.settings import RunSettings  # noqa: E402
from simulations.engine.streams import BLOCK, BlockStreams  # noqa: E402
from simulations.models.quadratic import Quadratic  # noqa: E402
from simulations.models.token_policy import TokenPolicy  # noqa: E402
from simulations.sweeps.backends import Backend, processes  # noqa: E402
from simulations.sweeps.cell import blocks_at_once  # noqa: E402
from simulations.sweeps.run import run_study  # noqa: E402
from simulations.sweeps.store import Store  # noqa: E402
from simulations.sweeps.study import find_study  # noqa: E402

TRAJECTORIES, STEPS, ROUNDS = 10_000, 150, 7
POLICY_STEPS = 40
LOOP_TRAJECTORIES = 8
"""Of the plain loop: both timings of a ratio then take about as long."""


def simulate(plan: Plan) -> None:
    size = blocks_at_once(plan)
    for first in range(0, len(plan.blocks), size):
        Chunk(plan, plan.blocks[first : first + size]).advance(plan.settings.horizon)


def engine_over_draws() -> float:
    """10,000 quadratic trajectories under GAC against drawing their random numbers alone."""
    plan = Plan(
        problem=Quadratic(dimension=16),
        controllers=build_controllers({"gac": {}}),
        settings=RunSettings(horizon=STEPS, seeds=TRAJECTORIES),
    )
    size = blocks_at_once(plan)

    def draw() -> None:
        for first in range(0, len(plan.blocks), size):
            generators = BlockStreams(0, plan.blocks[first : first + size]).generators["draw"]
            for step in range(STEPS):
                for rng in generators:
                    plan.problem.draw(rng, BLOCK, step)

    ours, floor = minima(ROUNDS, lambda: simulate(plan), draw, clock=time.process_time)
    return ours / floor


def policy_over_python_loop() -> float:
    """How many times faster a trajectory-step of the token policy is than plain Python's."""
    plan = Plan(
        problem=TokenPolicy(),
        controllers=build_controllers({"gac": {}}),
        settings=RunSettings(horizon=POLICY_STEPS, seeds=512, learning_rate=0.5),
    )
    settings, problem, config = plan.settings, plan.problem, plan.controllers[0].rule
    rng = np.random.default_rng(0)
    tokens = problem.horizon * (problem.experts + problem.groups * problem.group_size)
    count = problem.groups + problem.experts + tokens + problem.groups * problem.group_size

    def loop() -> None:
        for _ in range(LOOP_TRAJECTORIES):
            trajectory = Loop(
                problem,
                config,
                problem.start(rng, 1)[0].tolist(),
                rate=settings.learning_rate,
                alpha=settings.alpha,
                measure_every=settings.measure_every,
                large_change=settings.large_change,
            )
            for step in range(POLICY_STEPS):
                trajectory.step(step, rng.random(count).tolist())

    ours, theirs = minima(ROUNDS, lambda: simulate(plan), loop, clock=time.process_time)
    return (theirs / LOOP_TRAJECTORIES) / (ours / plan.size)


def memory_over_horizon() -> float:
    """Peak memory at 40 times the horizon over that at the horizon.

    The interpreter keeps up to 2,000 freed tuples of each length for reuse; a collection empties
    these pools, which would otherwise fill up over the first thousands of steps.
    """

    def peak(horizon: int) -> int:
        plan = Plan(
            problem=Quadratic(dimension=16),
            controllers=build_controllers({"gac": {}}),
            settings=RunSettings(horizon=horizon, seeds=1024, curve_points=10),
        )
        tracemalloc.start()
        chunk = Chunk(plan, plan.blocks)
        while not chunk.done:
            chunk.advance(50)
            gc.collect()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(100)  # caches are filled
    return peak(4000) / peak(100)


def workers_speedup() -> float:
    """Wall time of a study with one worker process over that with two, pools included."""
    study = find_study("default").with_settings(["horizon=400"])

    def run(backend: Backend) -> Callable[[], object]:
        def work() -> None:
            with tempfile.TemporaryDirectory() as folder:
                run_study(study, Store(folder), backend=backend)

        return work

    one, two = minima(2, run(processes(1)), run(processes(2)), clock=time.perf_counter)
    return one / two


def default_study_seconds() -> float:
    """Wall time of the whole default study on two local workers."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run_study(find_study("default"), Store(folder), backend=processes(2))
        return time.perf_counter() - start


def main() -> int:
    wanted: dict[str, Ratio] = {
        "quadratic_over_draws": (engine_over_draws, 1.5, "lower"),
        "policy_over_python_loop": (policy_over_python_loop, 100.0, "higher"),
        "memory_over_horizon": (memory_over_horizon, 1.05, "lower"),
        "two_workers_over_one": (workers_speedup, 1.7, "higher"),
        "default_study_seconds": (default_study_seconds, 120.0, "lower"),
    }
    return measure(wanted, description=__doc__.splitlines()[0], out="out/bench_simulations.json")


if __name__ == "__main__":
    sys.exit(main())
