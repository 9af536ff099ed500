"""Whole steps whose rows data-parallel ranks divide among themselves."""

from __future__ import annotations

import numpy as np

from .batches import batch, whole_step
from .draft import Draft, draft


def shards(attempt: int) -> Draft:
    seed = ("shards", attempt)
    fields = batch(seed, 13, 5, experts=7)
    order = np.argsort(fields["is_expert"], kind="stable")[::-1]
    # The first rows have no rollout and the last no demonstration; the middle is mixed.
    order = np.concatenate([order[:4], order[4:9][[0, 3, 1, 4, 2]], order[9:]])
    fields = {name: value[order] for name, value in fields.items()}
    return draft(
        "step/shards-without-a-branch",
        """The first ranks of any split have no rollouts, the last no demonstrations: all three
        statistics are those of the whole batch, and no rank waits for one that skips.""",
        whole_step(fields, seed),
        tags="section-5 shards",
        ema_beta=0.4,
        mu_change_cap=0.4,
    )


def short_ranks(attempt: int) -> Draft:
    seed = ("short-ranks", attempt)
    lengths = (29, 31, 30, 28, 27, 2, 1, 3, 1, 2, 1)
    return draft(
        "step/per-rank-mean-then-average",
        """Long rows first and short ones last: a mean per rank, then over ranks, gives short ranks
        too much weight, as users of public trainers report.""",
        whole_step(batch(seed, 11, 33, experts=4, lengths=lengths), seed),
        tags="user-report shards",
        ema_beta=0.4,
        mu_change_cap=0.4,
    )


def empty_ranks(attempt: int) -> Draft:
    seed = ("few-rows", attempt)
    return draft(
        "step/masked-rows-on-one-rank",
        "The first rows have no response tokens: the rank that has them still takes part.",
        whole_step(batch(seed, 9, 5, experts=4, empty=(0, 1, 2)), seed),
        tags="shards",
        ema_beta=0.4,
        mu_change_cap=0.4,
    )
