"""Batches of consecutive steps, and what several trajectories share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .batches import HOSTILE, batch
from .draft import Values

SHORT: Values = {"prior_warmup": 4, "prior_decay": 9, "prior_peak": 0.8, "prior_valley": 0.2}
"""A schedule that a dozen steps run through."""


def run(
    seed: Any,
    steps: Sequence[int],
    shapes: Sequence[tuple[int, int, int]] = ((7, 5, 3), (9, 4, 5), (5, 7, 2)),
    *,
    padding: Sequence[float] = HOSTILE,
    experts: Callable[[int], int | None] = lambda i: None,
    kl: Callable[[int], float] | None = None,
    **options: Any,
) -> list[Values]:
    """A batch a step; the noise of both branches drifts, so that the estimate moves."""
    out = []
    for i, step in enumerate(steps):
        rows, tokens, usual = shapes[i % len(shapes)]
        chosen = experts(i)
        fields = batch(
            (seed, i),
            rows,
            tokens,
            experts=usual if chosen is None else min(chosen, rows),
            padding=padding,
            scalar=i % 4 == 2,
            **{"surprise": 0.4 + 0.25 * (i % 7), "spread": 1.9 - 0.3 * (i % 5), **options},
        )
        out.append(fields | ({} if kl is None else {"batch_kl": kl(i)}) | {"step": step})
    return out
