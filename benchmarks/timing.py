"""What the benchmarks share: timing things alternately, and writing down what was found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path


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
