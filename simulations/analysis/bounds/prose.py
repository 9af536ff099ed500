"""Short forms that the answers share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from simulations.analysis.bounds.figures import TWO_SIDED
from simulations.analysis.question import Figure, Finding
from simulations.sweeps.summary import share_interval

__all__ = ["Piece", "Saved", "exact", "mean", "sampled", "share"]

Saved = Mapping[str, AnyArray]
"""The arrays of a part."""

Piece = tuple[tuple[str, ...], tuple[Finding, ...], tuple[Figure, ...]]
"""Paragraphs, findings and figures of a sub-question."""


def exact(label: str, value: Any, part: str, unit: str = "1") -> Finding:
    """A number without sampling error."""
    return Finding.exact(label, float(value), unit, f"bounds.{part}")


def share(label: str, count: int, total: int) -> Finding:
    """A share of the drawn settings, with its Wilson interval."""
    outcomes = (np.arange(total) < count).astype(np.float64)
    return Finding(label, *share_interval(outcomes), total, "1", "bounds.rules")


def sampled(label: str, value: Any, n: int, part: str, unit: str = "1") -> Finding:
    """A number from samples that has no interval, such as the largest of many."""
    return Finding(label, float(value), math.nan, math.nan, int(n), unit, f"bounds.{part}")


def mean(label: str, value: Any, error: Any, total: int) -> Finding:
    """A mean over the drawn settings, with the normal interval of so many."""
    half = TWO_SIDED * float(error)
    ends = float(value) - half, float(value) + half
    return Finding(label, float(value), *ends, total, "1", "bounds.rules")
