"""Named laws of the number of response tokens, with their exact probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from gac_ref._typing import FloatArray, IntArray
from gac_ref.baselines._fields import choice, ordered, real, whole

__all__ = ["LengthLaw"]


@dataclass(frozen=True, kw_only=True)
class LengthLaw:
    r"""A law of response lengths on ``low .. high`` tokens.

    =========== ==========================================================================
    uniform     all lengths equally likely
    geometric   :math:`P(L = l) \propto (1 - 1/\text{mean})^l`: ends with a fixed chance a token
    lognormal   :math:`P(L = l) \propto \frac1l \exp(-\frac{(\ln l - \ln \text{mean})^2}{2 s^2})`
    two_point   `low` or `high`, half each: the most ragged law of a width
    =========== ==========================================================================

    Args:
        law: One of the names above.
        low: Shortest length, tokens, >= 1.
        high: Longest length, tokens, >= low; the truncation of the laws. Equal ends: constant.
        mean: Mean (geometric) or median (lognormal) before the truncation, tokens, > 1.
        spread: s, the standard deviation of ln L (lognormal), > 0.

    Raises:
        GACError: An unknown law, or a field out of its range.

    Examples:
        >>> law = LengthLaw(law="uniform", low=1, high=4)
        >>> law.probabilities.tolist(), law.moment(1), law.moment(-1)
        ([0.25, 0.25, 0.25, 0.25], 2.5, 0.5208333333333333)
    """

    law: str = "uniform"
    low: int = 4
    high: int = 16
    mean: float = 8.0
    spread: float = 0.5
    kind: str = field(default="length_law", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        choice(self, "law", ("uniform", "geometric", "lognormal", "two_point"))
        whole(self, "low", "high", low=1)
        ordered(self, "low", "high")
        real(self, "mean", above=1.0)
        real(self, "spread", above=0.0)

    @property
    def lengths(self) -> IntArray:
        """``low .. high``, ascending."""
        return np.arange(self.low, self.high + 1, dtype=np.int64)

    @property
    def probabilities(self) -> FloatArray:
        """Probability of each of `lengths`; sums to 1 up to rounding."""
        return _probabilities(self)

    def moment(self, power: int) -> float:
        """Exact :math:`E[L^p]`; -1 and -2 enter the variance of sequence means."""
        return float(np.sum(self.probabilities * self.lengths.astype(np.float64) ** power))

    def draw(self, rng: np.random.Generator, n: int) -> IntArray:
        """Draw n lengths, [n], by inverse CDF."""
        rank = np.searchsorted(np.cumsum(self.probabilities)[:-1], rng.random(n), side="right")
        return np.asarray(self.low + rank, dtype=np.int64)


@lru_cache(maxsize=64)
def _probabilities(law: LengthLaw) -> FloatArray:
    lengths = np.arange(law.low, law.high + 1, dtype=np.float64)
    if law.law == "uniform":
        log = np.zeros_like(lengths)
    elif law.law == "geometric":
        log = lengths * math.log1p(-1.0 / law.mean)
    elif law.law == "lognormal":
        deviation = (np.log(lengths) - math.log(law.mean)) / law.spread
        log = -0.5 * deviation**2 - np.log(lengths)
    else:
        log = np.where((lengths == law.low) | (lengths == law.high), 0.0, -np.inf)
    weight = np.exp(log - log.max())
    share: FloatArray = weight / weight.sum()
    share.flags.writeable = False
    return share
