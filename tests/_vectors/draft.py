"""A case before its answers are known, and the small helpers that its families share."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from _oracles.controller import make_config

from gac_ref.conformance.formats import FORMATS

Values = dict[str, Any]

DTYPES = tuple(FORMATS)


class Draft(NamedTuple):
    """Inputs of a case; token arrays in float64, to be narrowed to each dtype."""

    id: str
    config: Values
    exchanges: tuple[Values, ...]
    comment: str
    tags: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = DTYPES

    @property
    def stage(self) -> str:
        return self.id.split("/")[0]


def draft(
    case_id: str,
    comment: str,
    exchanges: Sequence[Values] | Values,
    *,
    tags: str = "",
    variant: str = "documented",
    dtypes: tuple[str, ...] = DTYPES,
    **config: Any,
) -> Draft:
    """A draft; `tags` is a blank-separated list, `config` changes the variant."""
    several = (exchanges,) if isinstance(exchanges, dict) else tuple(exchanges)
    return Draft(
        case_id,
        make_config(variant, **config),
        several,
        " ".join(comment.split()),
        tuple(sorted(tags.split())),
        dtypes,
    )


def generator(*seed: Any) -> random.Random:
    """A generator of its own for each name."""
    return random.Random("/".join(map(str, seed)))


def between(rng: random.Random, low: float, high: float) -> float:
    """A uniform number; ``random.uniform`` is not promised to stay the same."""
    return low + (high - low) * rng.random()


def whole(rng: random.Random, low: int, high: int) -> int:
    """A whole number in [low, high]."""
    return low + int(rng.random() * (high - low + 1))


def bell(rng: random.Random) -> float:
    """Mean 0, variance 1, tails to 6: a sum of twelve uniforms, which needs no logarithm."""
    return sum(rng.random() for _ in range(12)) - 6.0


def choice(rng: random.Random, items: Sequence[Any]) -> Any:
    return items[int(rng.random() * len(items))]


def shuffled(rng: random.Random, items: Sequence[Any]) -> list[Any]:
    """A permutation, by sorting random keys."""
    return [item for _, _, item in sorted((rng.random(), i, x) for i, x in enumerate(items))]
