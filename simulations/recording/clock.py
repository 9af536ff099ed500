"""Where the time of a step goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

OBSERVING = ("oracle", "writing")
"""Parts of a step that only the recording needs; they are not counted as the trainer's time."""


class Clock:
    """Wall time of each step, and of named parts inside it.

    Examples:
        >>> clock = Clock()
        >>> clock.begin()
        >>> with clock.part("estimator"):
        ...     pass
        >>> clock.end()
        >>> 0.0 <= clock.summary()["estimator_share"] <= 1.0
        True
    """

    def __init__(self) -> None:
        self._steps: list[dict[str, float]] = []
        self._parts: dict[str, float] = defaultdict(float)
        self._began = 0.0

    def begin(self) -> None:
        """Start a step."""
        self._parts.clear()
        self._began = time.perf_counter()

    def end(self) -> None:
        """End the step; its own time is the wall time less what only the recording needs."""
        wall = time.perf_counter() - self._began
        whole = wall - sum(self._parts[name] for name in OBSERVING)
        self._steps.append({"step": whole, **self._parts})

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure a part of the running step; several spans of one name add up."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._parts[name] += time.perf_counter() - began

    def summary(self) -> dict[str, float]:
        """Return totals and the estimator's share of the trainer's own time.

        Returns:
            `steps`; `step_seconds`, `estimator_seconds`, `handover_seconds`, `oracle_seconds` and
            `writing_seconds`, summed over the run; `estimator_share`, the ratio of the first two
            sums; and `estimator_share_median`, the median over steps of the share of each.
        """
        totals = {
            name: sum(step.get(name, 0.0) for step in self._steps)
            for name in ("step", "estimator", "handover", *OBSERVING)
        }
        shares = [step.get("estimator", 0.0) / step["step"] for step in self._steps]
        return {
            "steps": len(self._steps),
            **{f"{name}_seconds": round(value, 6) for name, value in totals.items()},
            "estimator_share": totals["estimator"] / totals["step"] if shares else 0.0,
            "estimator_share_median": median(shares) if shares else 0.0,
        }
