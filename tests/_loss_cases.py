"""Token arrays for the loss tests, and the oracles they are held against."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import BoolArray, FloatArray
from gac_ref.losses import AGGREGATIONS, Loss, clipped_surrogate_loss

# A token loss, its weight and one exactly rounded sum round a handful of times each.
ROUNDING = 32 * np.finfo(np.float64).eps
# Adding the pieces of a split rounds once a piece, of sums that are exactly rounded themselves.
SPLIT = 64 * np.finfo(np.float64).eps
# 1e-8 is added to counts of at least 1, so a mean moves by at most that share.
COUNT_EPS = 1.01e-8
# Central differences with this step err by step**2 / 6 of third derivatives below 10, and by
# the rounding of losses below 10 divided by the step.
STEP = 1e-5
DIFFERENCE = 2e-9
# The finite-difference point stays this many nats away from a kink of the clip.
KINK_MARGIN = 1e-3

ALL = sorted(AGGREGATIONS)
B, T = 6, 7


class Case(NamedTuple):
    """Token arrays of distinct sizes with ragged rows, a hole and a fully masked row."""

    logprob: FloatArray
    old: FloatArray
    ref: FloatArray
    advantages: FloatArray
    mask: BoolArray
    expert: BoolArray


def make(seed: int, *, ragged: bool = True) -> Case:
    """A case drawn from `seed`; without `ragged`, every position is unmasked."""
    rng = np.random.default_rng(seed)
    logprob, old, ref = (-rng.gamma(2.0, 0.6, size=(B, T)) - 0.01 for _ in range(3))
    advantages = rng.normal(size=(B, T))
    mask = np.ones((B, T), dtype=np.bool_)
    if ragged:
        mask = np.arange(T) < np.array([7, 1, 3, 0, 4, 2])[:, np.newaxis]
        mask[0, 2] = False
    expert = np.array([False, True, False, True, True, False])
    return Case(logprob, old, ref, advantages, mask, expert)


def loop_aggregate(values: FloatArray, mask: BoolArray, name: str) -> float:
    """Every aggregation as its trainer states it, by Python loops over rows."""
    rows: list[list[float]] = [
        [float(v) for v, m in zip(r, k, strict=True) if m]
        for r, k in zip(values, mask, strict=True)
    ]
    total = math.fsum(v for row in rows for v in row)
    tokens = sum(len(row) for row in rows)
    filled = [row for row in rows if row]
    if name == "token_mean":
        return total / tokens
    if name == "trinity_token_mean":
        return total / (tokens + 1e-8)
    if name in ("bnpo", "dapo"):
        return total / max(tokens, 1.0)
    if name == "seq_mean_token_sum":
        return math.fsum(sum(row) for row in filled) / len(filled)
    if name == "trinity_seq_mean_token_sum":
        return math.fsum(sum(row) for row in rows) / len(rows)
    if name == "seq_mean_token_mean":
        return math.fsum(sum(row) / (len(row) + 1e-8) for row in filled) / len(filled)
    if name == "trinity_seq_mean_token_mean":
        return math.fsum(sum(row) / (len(row) + 1e-8) for row in rows) / len(rows)
    if name == "grpo":
        return math.fsum(sum(row) / max(len(row), 1.0) for row in rows) / len(rows)
    width = int(values.shape[1])
    return total / (width if name == "seq_mean_token_sum_norm" else width * len(rows))


def surrogate(case: Case, logprob: FloatArray, **options: Any) -> Loss:
    """The surrogate of `case` at `logprob`, with every term on unless `options` says otherwise."""
    defaults: dict[str, Any] = {"clip_high": 0.3, "dual_clip": 2.0, "kl_coef": 0.05}
    return clipped_surrogate_loss(
        logprob,
        case.old,
        case.advantages,
        case.mask,
        **(defaults | {"ref_logprob": case.ref} | options),
    )


def numeric_gradient(
    value: Callable[[FloatArray], float], point: FloatArray, mask: BoolArray
) -> FloatArray:
    """Central differences of `value` at the unmasked positions of `point`."""
    gradient = np.zeros_like(point)
    for index in zip(*np.nonzero(mask), strict=True):
        up, down = point.copy(), point.copy()
        up[index] += STEP
        down[index] -= STEP
        gradient[index] = (value(up) - value(down)) / (2.0 * STEP)
    return gradient
