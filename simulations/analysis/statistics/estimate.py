"""What a statistic answers with: an estimate with its interval, or the outcome of a test."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Estimate", "Outcome"]


class Estimate(NamedTuple):
    """A number with its interval.

    Args:
        value: The estimate.
        low: Lower end of its interval.
        high: Upper end.
        n: Independent observations (pairs, where they are paired).

    Examples:
        >>> Estimate(0.5, 0.4, 0.6, 20).n
        20
    """

    value: float
    low: float
    high: float
    n: int


class Outcome(NamedTuple):
    """What a test found.

    Args:
        statistic: Its statistic.
        p: Two-sided p-value, in [0, 1].
        n: Observations (pairs, where they are paired).

    Examples:
        >>> Outcome(2.1, 0.04, 30).p
        0.04
    """

    statistic: float
    p: float
    n: int
