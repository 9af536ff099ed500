"""All drafts of the pack, in the order of the stages."""

from __future__ import annotations

from collections.abc import Iterator

from . import (
    advantages,
    estimate,
    guards,
    losses,
    proxies,
    smoothing,
    steps,
    streams,
    tokens,
    trajectories,
)
from .draft import Draft

STAGES = (tokens, streams, proxies, smoothing, estimate, guards)
WHOLE = (steps, trajectories)
BESIDE = (advantages, losses)


def drafts() -> Iterator[Draft]:
    for family in (*STAGES, *WHOLE, *BESIDE):
        yield from family.drafts()
