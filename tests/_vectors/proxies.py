"""The stage from one number a sequence to the three proxies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .batches import interleaved
from .draft import Draft, Values, between, draft, generator


def drafts() -> Iterator[Draft]:
    yield from _variances()
    yield from _trimming()
    yield from _floors()
    yield from _presence()


def rows(
    seed: Any,
    n: int,
    experts: int,
    *,
    nll: Sequence[float] | None = None,
    advantage: Sequence[float] | None = None,
    empty: Sequence[int] = (),
    level: float = 1.3,
    offset: float = 0.8,
) -> Values:
    """Per-sequence numbers; those of the other branch are 7.0, which nobody may read."""
    rng = generator("rows", seed)
    expert = np.array(interleaved(rng, n, experts), dtype=np.bool_)
    tokens = np.array([0 if i in empty else 1 + int(rng.random() * 40) for i in range(n)])
    mine = [between(rng, 0.4, 2.1) * level for _ in range(experts)] if nll is None else nll
    other = (
        [offset + between(rng, -1.4, 1.9) for _ in range(n - experts)]
        if advantage is None
        else advantage
    )
    columns = {name: np.full(n, 7.0) for name in ("nll", "advantage")}
    columns["nll"][expert] = mine
    columns["advantage"][~expert] = other
    for i in empty:
        columns["nll" if expert[i] else "advantage"][i] = 0.0
    return {
        "tokens": tokens.astype(np.int64),
        **columns,
        "disagreement": np.array([between(rng, 0.2, 3.9) for _ in range(n)]),
        "is_expert": expert,
    }


def _variances() -> Iterator[Draft]:
    yield draft(
        "proxies/sample-or-population",
        "Both variances are those of a population: n below, not n - 1, which shows at small n.",
        [rows("small", 5, 2), rows("small-two", 7, 3), rows("small-three", 11, 4)],
    )
    yield draft(
        "proxies/long-sequences-get-no-extra-vote",
        "Every sequence counts once, however many tokens it has.",
        [rows("vote", 9, 4) | {"tokens": np.array([1, 90, 2, 70, 3, 1, 50, 40, 2])}],
    )
    for every in ("rollouts", "all"):
        yield draft(
            f"proxies/disagreement-{every}",
            "The mean over the rollouts, or over all rows; not over those of the other branch.",
            [rows(("delta", every), 9, 4), rows(("delta-two", every), 13, 3, empty=(2, 7))],
            disagreement_rows=every,
        )
    yield draft(
        "proxies/large-offset",
        "NLLs about 300 and advantages about -500 with spreads of 1: two passes, or the digits go.",
        [
            rows(
                "offset",
                9,
                4,
                nll=[300.25, 301.75, 299.5, 302.0],
                advantage=[-500.5, -498.25, -501.0, -499.75, -500.125],
            )
        ],
    )
    yield draft(
        "proxies/masked-rows-count",
        "A fully masked sequence has the value 0 and still counts.",
        [rows("masked", 9, 4, empty=(0, 1, 5)), rows("masked-two", 7, 3, empty=(2,))],
    )
    yield draft(
        "proxies/poisoned-rows",
        "A NaN among the rows makes that statistic NaN, and no other.",
        [
            rows("poison", 7, 3, nll=[float("nan"), 1.1, 0.4]),
            rows("poison-two", 7, 3, advantage=[0.3, 1.9, float("nan"), -0.7]),
            rows("poison-three", 7, 3),
        ],
        masking="multiply",
    )


def _trimming() -> Iterator[Draft]:
    for n, ratio, name in (
        (3, 0.3, "three-are-not-trimmed"),
        (4, 0.3, "four-are"),
        (5, 0.19, "floor-is-zero"),
        (5, 0.2, "odd"),
        (7, 0.45, "leaves-one"),
        (19, 0.1, "default-of-19"),
        (20, 0.1, "default-of-20"),
    ):
        values = [0.3 + 0.07 * i * i + (8.0 if i == n - 1 else 0.0) for i in range(n)]
        order = generator("trim", name)
        mixed = [x for _, x in sorted((order.random(), x) for x in values)]
        yield draft(
            f"proxies/trim-{name}",
            f"{n} demonstrations at trim_ratio {ratio}: int(n ratio) at each end, none below 4.",
            [rows(("trim", name), n + 6, n, nll=mixed)],
            trim_ratio=ratio,
        )
    yield draft(
        "proxies/three-experts-are-not-trimmed",
        "Below 4 demonstrations nothing is trimmed, although int(3 * 0.4) is 1.",
        [
            rows("three", 8, 3, nll=[0.4, 2.9, 1.1]),
            rows("two", 7, 2, nll=[1.7, 0.3]),
            rows("four", 9, 4, nll=[0.4, 2.9, 1.1, 0.7]),
        ],
        trim_ratio=0.4,
    )
    for n, ratio in ((100, 0.29), (50, 0.14), (10, 0.3)):
        yield draft(
            f"proxies/trim-truncates-{n}-at-{round(100 * ratio)}",
            f"int({n} * {ratio}) in float64 is {int(n * ratio)}.",
            [rows(("truncate", n), n + 3, n)],
            trim_ratio=ratio,
        )
    yield draft(
        "proxies/trim-is-of-sorted-values",
        "The extremes are dropped wherever they stand; equal values are dropped one by one.",
        [
            rows("sorted", 9, 6, nll=[9.0, 0.5, 0.75, 0.5, 0.01, 1.25]),
            rows("ties", 9, 6, nll=[2.0, 2.0, 0.5, 0.5, 0.5, 1.25]),
        ],
        trim_ratio=0.2,
    )
    yield draft(
        "proxies/rollouts-are-not-trimmed",
        "An outlier among the rollouts stays.",
        [rows("outlier", 13, 2, advantage=[0.1 * i for i in range(10)] + [25.0])],
        trim_ratio=0.2,
    )
    yield draft(
        "proxies/nan-sorts-last",
        "A NaN sorts after every number, so that trimming can drop it.",
        [
            rows("nan-last", 9, 5, nll=[0.4, float("nan"), 1.9, 0.7, 1.2]),
            rows("nan-last-two", 9, 5),
        ],
        trim_ratio=0.2,
        masking="multiply",
    )


def _floors() -> Iterator[Draft]:
    yield draft(
        "proxies/floors",
        "Both variances are floored at eps and the flags say so; the disagreement is not floored.",
        [
            rows("floor", 5, 2, nll=[0.8, 0.9], advantage=[0.1, 0.3, 0.2])
            | {"disagreement": np.array([1e-3, 2e-3, 4e-3, 1e-3, 3e-3])},
            rows("floor-two", 5, 2, nll=[0.8, 1.9], advantage=[0.1, 0.3, 0.2]),
            rows("floor-three", 5, 2, nll=[0.8, 0.9], advantage=[0.1, 2.3, 0.2]),
        ],
        eps=0.05,
    )
    yield draft(
        "proxies/single-sequence-is-floored",
        "One sequence has variance 0, which is floored.",
        [rows("single", 5, 1), rows("single-two", 5, 4), rows("single-three", 2, 1)],
    )
    yield draft(
        "proxies/eps-zero",
        "With eps = 0 a variance of 0 stays 0, and no floor acted.",
        [rows("no-floor", 5, 1), rows("no-floor-two", 4, 3)],
        eps=0.0,
    )
    yield draft(
        "proxies/on-the-floor",
        "On the floor nothing acted; within rounding of it either flag is right.",
        [
            rows("on", 5, 2, nll=[0.5, 1.5], advantage=[0.25, 0.75, 3.25]),
            rows("on-two", 5, 2, nll=[0.5, 1.4999999999], advantage=[0.25, 0.75, 3.25]),
            rows("on-three", 5, 2, nll=[0.5, 2.5], advantage=[0.25, 0.75, 0.25]),
        ],
        tags="near_kink",
        eps=0.25,
    )


def _presence() -> Iterator[Draft]:
    for rule in ("hold", "zero"):
        yield draft(
            f"proxies/presence-{rule}",
            """Under "hold" a branch is there if it has a response token, under "zero" if it has a
            sequence; what is missing is 0 and not floored.""",
            [
                rows((rule, "no-experts"), 5, 0),
                rows((rule, "no-rollouts"), 5, 5),
                rows((rule, "masked"), 4, 2, empty=(0, 1, 2, 3)),
                rows((rule, "none"), 0, 0),
                rows((rule, "both"), 5, 2),
            ],
            missing_branch=rule,
            eps=1e-3,
        )
        yield draft(
            f"proxies/presence-all-rows-{rule}",
            "With all rows compared the experts alone measure the disagreement.",
            [rows((rule, "experts"), 5, 5), rows((rule, "rollouts"), 5, 0)],
            missing_branch=rule,
            disagreement_rows="all",
        )
