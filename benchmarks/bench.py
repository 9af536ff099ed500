"""Speed as ratios measured in one run: `make bench`, written to out/bench.json.

Absolute times say more about the machine than about the code. Every ratio is of two things timed
alternately in one run, the minimum of several rounds each; what runs in this process is charged
the CPU time of its one thread, so that a busy neighbour disturbs neither side.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from timing import minima, save

import gac_ref
from gac_ref import Batch, GACConfig, Proxies

B, T = 512, 4096
ROUNDS = 21
EXP_BLOCK = 32_768  # 256 KiB of float64: in cache, as the floor's definition asks
TRAJECTORIES = 10_000


def inputs(dtype: type[np.floating]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A quarter demonstrations; ragged responses, three quarters of T on average."""
    rng = np.random.default_rng(0)
    logprob = -rng.exponential(size=(B, T)).astype(dtype)
    mask = np.arange(T) < rng.integers(T // 2, T + 1, size=(B, 1))
    advantages = np.repeat(rng.normal(size=(B, 1)), T, axis=1).astype(dtype)
    return logprob, mask, advantages, np.arange(B) < B // 4


def floor(logprob: np.ndarray, mask: np.ndarray, advantages: np.ndarray) -> None:
    """One read of the inputs, plus one in-cache float64 exp per element."""
    mask.view(np.uint8).max()
    advantages.max()
    logprob.max()
    block = logprob.ravel()[:EXP_BLOCK].astype(np.float64)
    out = np.empty_like(block)
    for _ in range(logprob.size // EXP_BLOCK):
        np.exp(block, out=out)


def proxies_over_floor(dtype: type[np.floating], config: GACConfig) -> tuple[float, float]:
    """Ratio of the proxies to the floor, and of Batch plus proxies to the floor."""
    logprob, mask, advantages, is_expert = inputs(dtype)
    batch = Batch(logprob, mask, advantages, is_expert)

    def from_arrays() -> object:
        return gac_ref.proxies(config, Batch(logprob, mask, advantages, is_expert))

    low, work, whole = minima(
        ROUNDS,
        lambda: floor(logprob, mask, advantages),
        lambda: gac_ref.proxies(config, batch),
        from_arrays,
    )
    return work / low, whole / low


def scratch_megabytes() -> float:
    """Peak memory of Batch plus proxies beyond the inputs."""
    logprob, mask, advantages, is_expert = inputs(np.float32)
    tracemalloc.start()
    gac_ref.proxies(GACConfig(), Batch(logprob, mask, advantages, is_expert))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def eager_torch_ratio() -> float:
    """How many times faster than eager PyTorch (released variant, float64, one thread each)."""
    import torch
    from eager_torch import released_proxies

    torch.set_num_threads(1)
    logprob, mask, advantages, is_expert = inputs(np.float64)
    tensors = [torch.from_numpy(x) for x in (logprob, mask, advantages, is_expert)]
    config = GACConfig.released()
    batch = Batch(logprob, mask, advantages, is_expert)
    theirs, ours = minima(
        ROUNDS, lambda: released_proxies(*tensors), lambda: gac_ref.proxies(config, batch)
    )
    return theirs / ours


def control_nanoseconds() -> dict[str, float]:
    """Nanoseconds a trajectory for a step that refreshes the statistics, and one that does not."""
    rng = np.random.default_rng(0)
    config = GACConfig()
    values = Proxies(*rng.exponential(size=(3, TRAJECTORIES)))
    state = gac_ref.init(config, (TRAJECTORIES,))
    state, _ = gac_ref.update_from_proxies(config, state, values, step=0)
    times = minima(
        200,
        lambda: gac_ref.update_from_proxies(config, state, values, step=10),
        lambda: gac_ref.update_from_proxies(config, state, values, step=5),
    )
    return dict(zip(("refresh", "between"), (t / TRAJECTORIES * 1e9 for t in times), strict=True))


def children_seconds() -> float:
    """CPU seconds of the processes that were started from here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def import_ratio() -> float:
    """CPU time of `import gac_ref` over `import numpy`, each in fresh interpreters."""

    def run(module: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)

    numpy_time, ours = minima(15, run("numpy"), run("gac_ref"), clock=children_seconds)
    return ours / numpy_time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"))
    args = parser.parse_args()
    results: dict[str, dict[str, object]] = {}

    def report(name: str, ratio: float, limit: float, better: str = "lower") -> None:
        met = ratio <= limit if better == "lower" else ratio >= limit
        results[name] = {"ratio": round(ratio, 3), "limit": limit, "better": better}
        sign = "<=" if better == "lower" else ">="
        print(
            f"{name:<34} {ratio:8.2f}   {sign} {limit:<6g} {'met' if met else 'MISSED'}", flush=True
        )

    for dtype in (np.float64, np.float32):
        for variant in ("documented", "released"):
            work, whole = proxies_over_floor(dtype, GACConfig.variant(variant))
            name = f"proxies_{variant}_{dtype.__name__}"
            report(name, work, 2.5)
            report(f"{name}_with_batch", whole, 2.5)
    report("scratch_megabytes", scratch_megabytes(), 8.0)
    for kind, value in control_nanoseconds().items():
        report(f"control_ns_per_trajectory_{kind}", value, 40.0)
    report("import_over_numpy", import_ratio(), 1.3)
    try:
        report("speedup_over_eager_torch", eager_torch_ratio(), 4.0, "higher")
    except ImportError:
        print("speedup_over_eager_torch: torch is missing; install requirements/torch.txt")
    save(args.out, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
