"""The fastest of several rounds, two or more things timed alternately."""

from __future__ import annotations

import time
from collections.abc import Callable


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
