"""Short forms that the answers share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gac_ref._typing import AnyArray
from simulations.analysis.question import Figure, Finding
from simulations.analysis.statistics.estimate import Estimate

__all__ = ["Piece", "Saved", "exact", "found", "sampled", "sign"]

Saved = Mapping[str, AnyArray]
"""The arrays of a part."""

Piece = tuple[tuple[str, ...], tuple[Finding, ...], tuple[Figure, ...]]
"""Paragraphs, findings and figures of a sub-question."""


def exact(label: str, value: Any, part: str, unit: str = "1") -> Finding:
    """A number without sampling error."""
    return Finding.exact(label, float(value), unit, f"convergence.{part}")


def found(label: str, estimate: Estimate, part: str, unit: str) -> Finding:
    """An estimate with its interval."""
    return Finding(label, *estimate, unit, f"convergence.{part}")


def sign(finding: Finding) -> str:
    """Where the interval lies with respect to 0."""
    if finding.low > 0.0:
        return "higher"
    return "lower" if finding.high < 0.0 else "not told apart"


def sampled(label: str, value: Any, n: int, part: str, unit: str = "1") -> Finding:
    """A number from samples that has no interval, such as the largest of many."""
    return Finding(label, float(value), math.nan, math.nan, int(n), unit, f"convergence.{part}")
