"""Batches that make faults visible: nothing symmetric, nothing equal, no mean near 0."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .draft import Values, bell, between, choice, generator, shuffled, whole

HOSTILE = (float("nan"), float("inf"), float("-inf"), 7.0)
"""What a trainer may leave in the padding, and a port must not read."""

HARMLESS = (7.0, -3.0, 0.0)
"""Padding that multiplied masks survive."""


def batch(
    seed: Any,
    rows: int = 11,
    tokens: int = 17,
    *,
    experts: int | None = None,
    lengths: Sequence[int] | None = None,
    padding: Sequence[float] = HOSTILE,
    empty: Sequence[int] = (),
    scalar: bool = False,
    reference: bool = False,
    offset: float = 0.7,
    spread: float = 0.9,
    surprise: float = 1.0,
    holes: bool = True,
) -> Values:
    """A batch with ragged rows, padded left or right, some with holes.

    Args:
        seed: Names the batch.
        rows: B.
        tokens: T.
        experts: About how many rows are demonstrations; they are interleaved with the rollouts.
        lengths: Response tokens of each row; by default between 1 and T.
        padding: Values outside the response.
        empty: Rows without a response.
        scalar: One advantage a sequence, [B].
        reference: Whether there is a ref_logprob.
        offset: Mean of the advantages.
        spread: Standard deviation of the advantages.
        surprise: Scale of the log-probabilities, nats.
        holes: Whether a response may have holes.
    """
    rng = generator("batch", seed)
    expert = interleaved(rng, rows, _distinct(rows, tokens, experts))
    lengths = (
        [whole(rng, (tokens + 1) // 2, tokens) for _ in range(rows)] if lengths is None else lengths
    )
    mask = np.zeros((rows, tokens), dtype=np.bool_)
    for i, length in enumerate(lengths):
        mask[i] = _row_mask(rng, 0 if i in empty else length, tokens, holes)
    logprob, advantages, ref = (np.empty((rows, tokens)) for _ in range(3))
    for i in range(rows):
        level = between(rng, 0.15, 1.6) * surprise
        value = offset + 0.8 * spread * bell(rng)
        for j in range(tokens):
            logprob[i, j] = -(0.02 + level * (0.3 + 2.2 * rng.random() ** 2))
            advantages[i, j] = value + 0.6 * spread * bell(rng)
            ref[i, j] = min(-0.01, logprob[i, j] + 0.35 * bell(rng) - 0.05)
    out: Values = {
        "logprob": _padded(rng, logprob, mask, padding),
        "response_mask": mask,
        "advantages": advantages[:, 0].copy()
        if scalar
        else _padded(rng, advantages, mask, padding),
        "is_expert": np.array(expert, dtype=np.bool_),
    }
    if reference:
        out["ref_logprob"] = _padded(rng, ref, mask, padding)
    return out


def _distinct(rows: int, tokens: int, wanted: int | None) -> int:
    """As many experts as wanted, or one or two more or fewer, so that all sizes differ."""
    count = rows * 5 // 13 if wanted is None else wanted
    if rows < 4 or count in (0, rows):
        return count
    legal = [n for n in range(1, rows) if n != rows - n and tokens not in (n, rows - n)]
    return min(legal, key=lambda n: (abs(n - count), -n))


def interleaved(rng: Any, rows: int, experts: int) -> list[bool]:
    """Which rows are demonstrations: in random order, and not a block where that can be."""
    while True:
        expert = shuffled(rng, [i < experts for i in range(rows)])
        changes = sum(a != b for a, b in itertools.pairwise(expert))
        if changes >= min(3, 2 * min(experts, rows - experts), rows - 1):
            return expert


def _row_mask(rng: Any, length: int, tokens: int, holes: bool) -> list[bool]:
    if not 0 < length < tokens:
        return [length > 0] * tokens
    row = [True] * length + [False] * (tokens - length)
    style = whole(rng, 0, 2)
    if style == 0 or not holes:
        return row
    if style == 1:
        return row[::-1]
    return shuffled(rng, row)


def _padded(rng: Any, values: Any, mask: Any, padding: Sequence[float]) -> Any:
    out = values.copy()
    for i, j in zip(*np.nonzero(~mask), strict=True):
        out[i, j] = choice(rng, padding)
    return out


def state(seed: Any, **changes: Any) -> Values:
    """The state before a step, in which no two numbers are equal."""
    rng = generator("state", seed)
    values: Values = {
        "previous_mu": between(rng, 0.30, 0.38),
        "previous_mu_ada": between(rng, 0.55, 0.65),
        "previous_alpha": between(rng, 0.62, 0.72),
        "previous_sigma_s2": between(rng, 0.5, 0.8),
        "previous_sigma_r2": between(rng, 1.1, 1.6),
        "previous_delta_g2": between(rng, 1.9, 2.6),
        "previous_count_s": 3,
        "previous_count_r": 5,
        "previous_count_delta": 4,
        "previous_last_refresh": 6,
    }
    return values | changes


def whole_step(fields: Values, seed: Any, at: int = 57, **changes: Any) -> Values:
    """The inputs of a whole step: a batch, a state and the step number."""
    return fields | state(seed, **changes) | {"step": at}
