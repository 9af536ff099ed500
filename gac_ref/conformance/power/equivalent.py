"""Mutants that no vector can tell from a correct port, each with the proof."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["EQUIVALENT"]

EQUIVALENT: Mapping[str, str] = MappingProxyType(
    {
        "group without spread divided by 1": (
            "Where the spread of a group is 0 all its members have the same reward, so the "
            "numerator of each of them is exactly 0, whatever divides it. Only a demonstration "
            "that is measured against the group without being part of it has another numerator; "
            "that is luffy_split, which divides by 1 already. The conventions that take the "
            "spread of the batch have a spread of 0 only where all rewards are equal."
        ),
    }
)
"""By the name of the mutant."""
