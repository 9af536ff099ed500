"""Ways to deal the rows of a batch to ranks.

Ranks that average what they should sum, keep a statistic to themselves, or leave out a collective
for want of rows, agree with the reference in one process and in every even split. So the rows are
dealt unevenly, and so that ranks lack a branch, or everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray, BoolArray
from gac_ref.conformance.stages import BATCH

__all__ = ["deals", "shard"]

_ROWS = {field.name for field in BATCH if field.shape[:1] == ("B",)}


def deals(is_expert: BoolArray, ranks: int) -> dict[str, list[AnyArray]]:
    """Ways to deal rows to ranks: for each, the rows of every rank.

    Args:
        is_expert: [B], which rows are demonstrations.
        ranks: How many ranks, at least 2.

    Examples:
        >>> rows = deals(np.array([True, True, True, False, False, False]), 2)
        >>> [part.tolist() for part in rows["uneven"]]
        [[0, 1, 3, 4], [2, 5]]
        >>> [part.tolist() for part in rows["a rank without rollouts"]]
        [[0, 1, 3, 4, 5], [2]]
        >>> [part.tolist() for part in rows["an empty rank"]]
        [[0, 1, 2, 3, 4, 5], []]
    """
    experts, rollouts = np.flatnonzero(is_expert), np.flatnonzero(~np.asarray(is_expert))
    falling = np.arange(ranks, 0, -1)
    even = np.ones(ranks)
    first, last = even.copy(), even.copy()
    first[0] = 0
    last[-1] = 0
    weights = {
        "uneven": (falling, falling),
        "a rank without experts": (first, even),
        "a rank without rollouts": (even, last),
        "an empty rank": (last, last),
        "all on the last rank": (1 - last, 1 - last),
    }
    return {
        name: [
            np.sort(np.concatenate(parts))
            for parts in zip(_split(experts, of_s), _split(rollouts, of_r), strict=True)
        ]
        for name, (of_s, of_r) in weights.items()
    }


def _split(rows: AnyArray, weights: AnyArray) -> list[AnyArray]:
    ends = np.round(np.cumsum(weights)[:-1] / np.sum(weights) * len(rows)).astype(int)
    return list(np.split(rows, ends))


def shard(inputs: Mapping[str, Any], rows: AnyArray) -> dict[str, Any]:
    """The inputs of the rank that has these rows; what is no row goes to every rank.

    Examples:
        >>> shard({"is_expert": np.array([True, False]), "step": 3}, np.array([1]))
        {'is_expert': array([False]), 'step': 3}
    """
    return {
        name: np.ascontiguousarray(value[rows]) if name in _ROWS else value
        for name, value in inputs.items()
    }
