r"""Three words for a claim, by a rule that is the same for all and looks at no claim's name.

An effect is counted in the claimed direction: positive is as claimed. Where the paper claims a
number c ("-28 %"), the smallest effect of interest is c / 2: a toy that shows half of it shows the
mechanism. Where it claims a threshold ("more than 70 %"), the effect that is judged is the excess
over the threshold, and the smallest of interest is 0.

supported
    The interval is above 0, the effect is at least the smallest of interest, and p, adjusted for
    the false discovery rate over all tested rows, is at most 0.05.
refuted
    The whole interval is below the smallest effect of interest: as large as claimed, it is not
    here. Whether anything is left, or the sign is the other one, is said beside it.
not testable here
    Everything else: the toy has nothing that corresponds to the claim, or its interval holds
    effects on both sides of the smallest of interest.

A claim "about c" has a tolerance: supported where the interval lies within it, refuted where the
two do not meet. A number without sampling error has an interval of no width, and no p.
"""

from __future__ import annotations

import math

from gac_ref.errors import fail

__all__ = [
    "NOT_TESTABLE",
    "REFUTED",
    "SUPPORTED",
    "judge",
    "judge_about",
    "smallest_of_interest",
]

SUPPORTED, REFUTED, NOT_TESTABLE = "supported", "refuted", "not testable here"

LEVEL = 0.05
"""Of the false discovery rate."""


def smallest_of_interest(claimed: float) -> float:
    """The effect below which a claimed number is not met.

    Examples:
        >>> smallest_of_interest(0.28)
        0.14
    """
    return claimed / 2.0


def judge(value: float, low: float, high: float, p: float, *, least: float) -> str:
    """The verdict on a claim of an effect of at least a size.

    Args:
        value: The effect, positive as claimed.
        low: Lower end of its interval.
        high: Upper end.
        p: Adjusted p of the test against no effect; NaN for a number without sampling error.
        least: Smallest effect of interest.

    Raises:
        GACError: The effect or its interval is not finite, or they are not in order.

    Examples:
        >>> judge(0.3, 0.2, 0.4, 0.001, least=0.14)
        'supported'
        >>> judge(0.1, 0.05, 0.13, 0.001, least=0.14)
        'refuted'
        >>> judge(0.1, -0.1, 0.3, 0.4, least=0.14)
        'not testable here'
    """
    _ordered(value, low, high)
    found = p <= LEVEL or (math.isnan(p) and low == high)
    if low > 0.0 and value >= least and found:
        return SUPPORTED
    return REFUTED if high < least else NOT_TESTABLE


def judge_about(value: float, low: float, high: float, *, claimed: float, tolerance: float) -> str:
    """The verdict on a claim that something is about a number.

    Raises:
        GACError: As `judge`.

    Examples:
        >>> judge_about(0.16, 0.15, 0.17, claimed=0.15, tolerance=0.05)
        'supported'
        >>> judge_about(0.5, 0.49, 0.51, claimed=0.85, tolerance=0.05)
        'refuted'
    """
    _ordered(value, low, high)
    if claimed - tolerance <= low and high <= claimed + tolerance:
        return SUPPORTED
    apart = high < claimed - tolerance or low > claimed + tolerance
    return REFUTED if apart else NOT_TESTABLE


def _ordered(value: float, low: float, high: float) -> None:
    if not all(math.isfinite(x) for x in (value, low, high)) or not low <= value <= high:
        fail(f"effect {value!r} with interval [{low!r}, {high!r}]; pass finite numbers in order")
