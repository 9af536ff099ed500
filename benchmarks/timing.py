"""What the benchmarks share: timing things alternately, and writing down what was found."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Ratio = tuple[Callable[[], float | None], float, str]
"""What measures it, its limit, and which of the two is better: "lower" or "higher"."""


def minima(
    rounds: int, *functions: Callable[[], object], clock: Callable[[], float] = time.thread_time
) -> list[float]:
    """The fastest time of each function, called alternately."""
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for index, function in enumerate(functions):
            start = clock()
            function()
            best[index] = min(best[index], clock() - start)
    return best


def save(path: Path, results: Mapping[str, object]) -> None:
    """Write the results as JSON, and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {path}")


def measure(wanted: Mapping[str, Ratio], *, description: str, out: str) -> int:
    """The command of a benchmark: each ratio measured, judged, printed and saved.

    A ratio that cannot be measured is None, has said why, and is left out.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--only", help="a comma-separated list of names")
    args = parser.parse_args()
    results: dict[str, dict[str, object]] = {}
    for name, (ratio, limit, better) in wanted.items():
        if args.only and name not in args.only.split(","):
            continue
        value = ratio()
        if value is None:
            continue
        met = value <= limit if better == "lower" else value >= limit
        results[name] = {"ratio": round(value, 3), "limit": limit, "better": better}
        sign = "<=" if better == "lower" else ">="
        print(
            f"{name:<28} {value:8.2f}   {sign} {limit:<6g} {'met' if met else 'MISSED'}", flush=True
        )
    save(args.out, results)
    return 0
