"""Speed of the analysis, measured in one run: written to out/bench_analysis.json.

`recursion_over_monte_carlo`: the exact recursion of SGD's moments has no sampling error, so what
it replaces is a Monte Carlo run of some accuracy; here a relative standard error of 0.1 %. The
quantity is the expected excess of the target loss over its least value after the last of 1,000
steps under GAC's prior schedule (warm-up and cosine, 200 + 800), on bowls of 16 dimensions. (The
least value is known and the same for both; it would only add to what the error is relative to.)
One seed has the relative standard deviation v, so the run needs n = (v / 0.001)^2 seeds, and costs
n times what a seed costs when many run together. The ratio is that CPU time over the recursion's,
the minimum of several rounds each, timed alternately. The Monte Carlo run is not made whole: v and
the cost of a seed are measured on 4,096 seeds. The recursion gives every step's moments, the run
only its end's.

`report_seconds`: wall time of ``python -m simulations report`` from results that were saved
before; nothing is computed for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from timing import Ratio, measure, minima  # noqa: E402

from gac_ref import warmup_cosine  # noqa: E402
from simulations.arguments import RESULTS  # noqa: E402
from simulations.engine.controllers import build_controllers  # noqa: E402
from simulations.engine.run import Chunk, Plan  # noqa: E402
from simulations.engine.settings import RunSettings  # noqa: E402
from simulations.models import Quadratic, expected_outcomes, sgd_moments  # noqa: E402
from simulations.sweeps.cell import blocks_at_once  # noqa: E402

STEPS, SEEDS, ROUNDS = 1000, 4096, 3
WANTED = 1e-3
"""Relative standard error of the Monte Carlo run."""

AGREEMENT = 5.0
"""Standard errors within which the two must agree; else the ratio compares different things."""


def recursion_over_monte_carlo() -> float | None:
    """CPU time of a Monte Carlo run with a standard error of 0.1 % over the recursion's."""
    problem = Quadratic(dimension=16, separation=2.0, sigma_r2=4.0, rotation=0.5)
    rate = 0.05
    schedule = {"kind": "chord_mu", "warmup": 200, "decay": 800, "peak": 0.85, "valley": 0.15}
    plan = Plan(
        problem=problem,
        controllers=build_controllers({"prior": schedule}),
        # Only the end is wanted: measuring on the way would be charged to the Monte Carlo run.
        settings=RunSettings(
            horizon=STEPS, seeds=SEEDS, learning_rate=rate, measure_every=STEPS, trace_seeds=0
        ),
    )
    weights = warmup_cosine(np.arange(STEPS))
    nothing = np.zeros((problem.dimension, problem.dimension))
    least = float(expected_outcomes(problem, problem.optimum, nothing).loss)
    found: dict[str, Any] = {}

    def simulate() -> None:
        size, parts = blocks_at_once(plan), []
        for first in range(0, len(plan.blocks), size):
            chunk = Chunk(plan, plan.blocks[first : first + size])
            chunk.advance(STEPS)
            parts.append(chunk.result()["metric/loss_final"][0])
        found["simulated"] = np.concatenate(parts)

    def recurse() -> None:
        moments = sgd_moments(problem, weights, rate)
        end = expected_outcomes(problem, moments.mean[-1], moments.covariance[-1])
        found["exact"] = float(end.loss) - least

    ours, theirs = minima(ROUNDS, recurse, simulate, clock=time.process_time)
    losses, exact = found["simulated"] - least, found["exact"]
    error = losses.std(ddof=1) / np.sqrt(SEEDS)
    if abs(losses.mean() - exact) > AGREEMENT * error:
        raise SystemExit(f"simulated excess {losses.mean()} +- {error} is not the exact {exact}")
    needed = (losses.std(ddof=1) / exact / WANTED) ** 2
    print(
        f"  recursion {1e3 * ours:.1f} ms; {1e6 * theirs / SEEDS:.0f} us a seed, "
        f"{needed:.0f} seeds needed (relative standard deviation {WANTED * needed**0.5:.3f})"
    )
    return float(needed * theirs / SEEDS / ours)


def report_seconds() -> float | None:
    """Wall time of the report from saved results; None where there are none."""
    if not any((ROOT / RESULTS).glob("*.npz")):
        print(
            f"report_seconds: no results in {RESULTS}; save some with: "
            "python -m simulations analyse"
        )
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "simulations", "report", "--out", folder]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        print(f"report_seconds: the report failed with code {done.returncode}: {last}")
        return None
    return seconds


def main() -> int:
    wanted: dict[str, Ratio] = {
        "recursion_over_monte_carlo": (recursion_over_monte_carlo, 1000.0, "higher"),
        "report_seconds": (report_seconds, 60.0, "lower"),
    }
    return measure(wanted, description=__doc__.splitlines()[0], out="out/bench_analysis.json")


if __name__ == "__main__":
    sys.exit(main())
