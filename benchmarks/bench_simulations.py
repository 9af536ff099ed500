"""Speed of the simulations, as ratios measured in one run: written to out/bench_simulations.json.

Each ratio compares two things timed alternately, the minimum of several rounds each; CPU time
where one process does the work, wall time where several do.
"""

from __future__ import annotations

import argparse
import json
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

from gac_ref import baselines  # noqa: E402
from simulations.backends import Backend, processes  # noqa: E402
from simulations.cell import blocks_at_once  # noqa: E402
from simulations.controllers import build_controllers  # noqa: E402
from simulations.engine import Chunk, Plan  # noqa: E402
from simulations.models.quadratic import Quadratic  # noqa: E402
from simulations.models.token_policy import TokenPolicy  # noqa: E402
from simulations.settings import RunSettings  # noqa: E402
from simulations.store import Store  # noqa: E402
from simulations.streams import BLOCK, BlockStreams  # noqa: E402
from simulations.study import find_study  # noqa: E402
from simulations.sweep import run_study  # noqa: E402

TRAJECTORIES, STEPS, ROUNDS = 10_000, 200, 5


def minima(
    clock: Callable[[], float], *functions: Callable[[], object], rounds: int = ROUNDS
) -> list[float]:
    """The fastest time of each function, called alternately."""
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for index, function in enumerate(functions):
            start = clock()
            function()
            best[index] = min(best[index], clock() - start)
    return best


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

    ours, floor = minima(time.process_time, lambda: simulate(plan), draw)
    return ours / floor


def policy_over_loop() -> float:
    """How many times faster a trajectory-step of the token policy is than a loop over singles."""
    problem, steps, singles = TokenPolicy(), 20, 2
    plan = Plan(
        problem=problem,
        controllers=build_controllers({"gac": {}}),
        settings=RunSettings(horizon=steps, seeds=512, learning_rate=0.5),
    )
    rule = plan.controllers[0].rule

    def loop() -> None:
        for seed in range(singles):
            rng = np.random.default_rng(seed)
            theta, state = problem.start(rng, 1), baselines.init(rule, (1,))
            for step in range(steps):
                sample = problem.sample(theta, step, problem.draw(rng, 1, step))
                state, info = baselines.update(rule, state, sample.signals, step=step)
                mu = info.mu[:, None]
                if step % plan.settings.measure_every == 0:
                    problem.truth(theta, step)
                    problem.outcomes(theta, step)
                theta = theta - 0.5 * (mu * sample.grad_s + (1.0 - mu) * sample.grad_r)

    ours, theirs = minima(time.process_time, lambda: simulate(plan), loop)
    return (theirs / singles) / (ours / plan.size)


def memory_over_horizon() -> float:
    """Peak memory at 40 times the horizon over that at the horizon."""

    def plan(horizon: int) -> Plan:
        return Plan(
            problem=Quadratic(dimension=16),
            controllers=build_controllers({"gac": {}}),
            settings=RunSettings(horizon=horizon, seeds=1024, curve_points=25),
        )

    def peak(horizon: int) -> int:
        tracemalloc.start()
        simulate(plan(horizon))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    simulate(plan(10_000))  # the interpreter's own pools of freed objects are filled
    return peak(10_000) / peak(250)


def workers_speedup() -> float:
    """Wall time of a study with one worker process over that with two, pools included."""
    study = find_study("default").with_settings(["horizon=600"])

    def run(backend: Backend) -> Callable[[], object]:
        def work() -> None:
            with tempfile.TemporaryDirectory() as folder:
                run_study(study, Store(folder), backend=backend)

        return work

    one, two = minima(time.perf_counter, run(processes(1)), run(processes(2)), rounds=2)
    return one / two


def default_study_seconds() -> float:
    """Wall time of the whole default study on two local workers."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run_study(find_study("default"), Store(folder), backend=processes(2))
        return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/bench_simulations.json"))
    parser.add_argument("--only", help="a comma-separated list of names")
    args = parser.parse_args()
    wanted: dict[str, tuple[Callable[[], float], float, str]] = {
        "quadratic_over_draws": (engine_over_draws, 1.5, "lower"),
        "policy_over_single_loop": (policy_over_loop, 100.0, "higher"),
        "memory_over_horizon": (memory_over_horizon, 1.05, "lower"),
        "two_workers_over_one": (workers_speedup, 1.7, "higher"),
        "default_study_seconds": (default_study_seconds, 120.0, "lower"),
    }
    results: dict[str, dict[str, object]] = {}
    for name, (measure, limit, better) in wanted.items():
        if args.only and name not in args.only.split(","):
            continue
        value = measure()
        met = value <= limit if better == "lower" else value >= limit
        results[name] = {"ratio": round(value, 3), "limit": limit, "better": better}
        sign = "<=" if better == "lower" else ">="
        print(
            f"{name:<28} {value:8.2f}   {sign} {limit:<6g} {'met' if met else 'MISSED'}", flush=True
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
