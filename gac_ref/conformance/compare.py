"""Holding an answer against its golden value: which entries count, and how far off they are.

Exact are the positions of NaN and of infinities, flags and counts (unless a tolerance says that
the decision behind one is within its error), and whatever has a bound of 0; -0.0 equals 0.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import AnyArray, BoolArray
from gac_ref.config import GACConfig
from gac_ref.conformance.stages import Field

__all__ = ["Difference", "Target", "compare", "compared_rows", "decides_nothing", "target", "worst"]

Values = Mapping[str, Any]


class Difference(NamedTuple):
    """The worst entry of an answer.

    Args:
        ratio: Error over bound, the largest of all entries; infinite where what must be exact
            differs.
        output: The name of the output.
        place: The index of the entry, () for a scalar.
        got: Its value.
        expected: Its golden value.
        bound: How far apart the two may be.
        kind: "value"; "nan" where NaN or an infinity stands on one side only; "flag" for a
            boolean or a count.
    """

    ratio: float
    output: str
    place: tuple[int, ...]
    got: float
    expected: float
    bound: float
    kind: str


class Target(NamedTuple):
    """What an output is held against.

    Args:
        field: The output.
        expected: Golden value: a float, or the entries that count as a flat array.
        limit: Bound of each, in the same form.
        alternatives: Other values that are right as a whole, in the same form.
        where: Which entries count, in the output's shape; None for all.
        shape: Shape of the output; () for a scalar.
    """

    field: Field
    expected: Any
    limit: Any
    alternatives: tuple[Any, ...]
    where: BoolArray | None
    shape: tuple[int, ...]


def target(
    field: Field,
    expected: Any,
    limit: Any,
    *,
    alternatives: Iterable[Any] = (),
    where: BoolArray | None = None,
) -> Target:
    """The target of one output.

    Examples:
        >>> from gac_ref.conformance.stages import STAGES
        >>> compare(target(STAGES["clip"].output("mu"), 0.5, 0.01), 0.52).ratio
        2.0000000000000018
    """
    shape = np.shape(expected)
    if shape == ():
        others = tuple(float(value) for value in alternatives)
        return Target(field, float(expected), float(limit), others, None, ())

    def flat(value: Any) -> AnyArray:
        spread = np.broadcast_to(np.asarray(value, dtype=np.float64), shape)
        return spread.ravel() if where is None else spread[where]

    return Target(
        field,
        flat(expected),
        flat(limit),  # one that is not a number allows nothing, as 0 does
        tuple(flat(value) for value in alternatives),
        where,
        shape,
    )


def compare(goal: Target, got: Any) -> Difference:
    """How far `got` is from the golden value or the nearest of its alternatives.

    Args:
        goal: The target.
        got: The answer, of the target's shape.

    Returns:
        The worst entry. The answer is right if ``ratio <= 1``.

    Examples:
        >>> from gac_ref.conformance.stages import STAGES
        >>> flag = target(STAGES["clip"].output("mu_clipped"), True, 0.0)
        >>> compare(flag, False).kind, compare(flag, True).ratio
        ('flag', 0.0)
    """
    one: Callable[[Target, Any, Any], Difference] = _scalar if goal.shape == () else _array
    value: Any = float(got) if goal.shape == () else np.asarray(got, dtype=np.float64)
    best = one(goal, goal.expected, value)
    for other in goal.alternatives:
        if best.ratio <= 1.0:
            break
        found = one(goal, other, value)
        best = found if found.ratio < best.ratio else best
    return best


def worst(goals: Iterable[Target], outputs: Values) -> Difference | None:
    """The worst entry of those outputs that were answered; None if none was."""
    found = None
    for goal in goals:
        if goal.field.name in outputs:
            difference = compare(goal, outputs[goal.field.name])
            if found is None or difference.ratio > found.ratio:
                found = difference
    return found


def compared_rows(field: Field, config: GACConfig, values: Values) -> BoolArray | None:
    """Which entries of an output mean something, by its rows; None for all.

    Examples:
        >>> from gac_ref.conformance.stages import STAGES
        >>> nll = STAGES["sequences"].output("nll")
        >>> compared_rows(nll, GACConfig(), {"is_expert": [True, False]}).tolist()
        [True, False]
    """
    if field.rows == "all":
        return None
    if field.rows == "response":
        return np.asarray(values["response_mask"], dtype=np.bool_)
    expert = np.asarray(values["is_expert"], dtype=np.bool_)
    if field.rows == "experts":
        return expert
    if field.rows == "rollouts" or config.disagreement_rows == "rollouts":
        return ~expert
    return None


_STATISTICS = {"sigma_s2": "count_s", "sigma_r2": "count_r", "delta_g2": "count_delta"}
_CLOSED_FORM = ("delta_g2_capped", "mu_raw", "disagreement_capped", "flat_risk")


def decides_nothing(name: str, config: GACConfig, values: Values) -> bool:
    """Whether an output is a stand-in that no later stage reads, so that any value is right.

    A statistic never seen is one under ``unseen_statistic = "hold"``, and with it the closed
    form; so is the KL where alpha is static.

    Args:
        name: The output.
        config: The configuration.
        values: Golden values of the step by name.

    Examples:
        >>> decides_nothing("sigma_s2", GACConfig(), {"count_s": 0})
        True
    """
    if name == "kl":
        return config.alpha_mode == "static"
    if config.unseen_statistic != "hold":
        return False
    if name in _STATISTICS:
        return values.get(_STATISTICS[name]) == 0
    return name in _CLOSED_FORM and bool(values.get("not_ready", False))


def _scalar(goal: Target, expected: float, got: float) -> Difference:
    limit = goal.limit
    exact = goal.field.kind in ("flag", "count")
    kind = "flag" if exact else "value"
    error = abs(got - expected)
    if got == expected or error == 0.0:
        ratio = 0.0
    elif math.isfinite(error):
        ratio = error / limit if limit > 0.0 else math.inf
        if exact and ratio <= 1.0:
            ratio = 0.0  # either decision is right; that is not nearly wrong
    else:
        both = math.isnan(got) and math.isnan(expected)
        ratio, kind = (0.0, kind) if both else (math.inf, "nan")
    return Difference(ratio, goal.field.name, (), got, expected, limit, kind)


def _array(goal: Target, expected: AnyArray, got: AnyArray) -> Difference:
    entries = got.ravel() if goal.where is None else got[goal.where]
    if entries.size == 0:
        return Difference(0.0, goal.field.name, (), math.nan, math.nan, 0.0, "value")
    if np.array_equal(entries, expected):  # most are, and the rest costs ten times as much
        index = (0,) * len(goal.shape)
        values = (float(entries[0]), float(expected[0]), float(goal.limit[0]))
        return Difference(0.0, goal.field.name, index, *values, "value")
    exact = goal.field.kind in ("flag", "count")
    with np.errstate(all="ignore"):
        error = np.abs(entries - expected)
        same = (entries == expected) | (np.isnan(entries) & np.isnan(expected))
        ratios = np.where(goal.limit > 0.0, error / goal.limit, np.inf)
    ratios[~np.isfinite(error)] = np.inf
    ratios[same] = 0.0
    if exact:
        ratios[ratios <= 1.0] = 0.0
    at = int(np.argmax(ratios))
    place = at if goal.where is None else int(np.flatnonzero(goal.where)[at])
    beyond = not (same[at] or np.isfinite(error[at]))
    kind = "flag" if exact else "nan" if beyond else "value"
    index = tuple(int(i) for i in np.unravel_index(place, goal.shape))
    values = (float(entries[at]), float(expected[at]), float(goal.limit[at]))
    return Difference(float(ratios[at]), goal.field.name, index, *values, kind)
