"""What a port whose stages are right by themselves got wrong: what they are fed, or their order.

Each explanation is tried by computing what the port should then have answered; it is given only
where that agrees with the port, within the tolerances of the check, on every step that is wrong
and on a sample of those that are right.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref.conformance.compare import compare, worst
from gac_ref.conformance.golden import TAPPED, moved, own_targets
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.session import StepRecord, own_values
from gac_ref.conformance.stages import BATCH, PIPELINE, STAGES, STATE, Field
from gac_ref.conformance.tolerance import Precision

__all__ = ["explain_order", "explain_wiring"]

CHAIN = ("weight_ema", "prior_blend", "change_cap", "clip")
"""The stages that take one weight in and give one out, so that their order can be exchanged."""

_SCALARS = TAPPED[TAPPED.index("statistics_ema") :]
_WEIGHT_IN = dict(zip(CHAIN, ("mu_raw", "mu_ada", "mu_candidate", "mu_capped"), strict=True))
_WEIGHT_OUT = dict(zip(CHAIN, ("mu_ada", "mu_candidate", "mu_capped", "mu"), strict=True))
_SAMPLE = 20  # steps that an explanation is tried on, wrong ones and right ones each

_FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        *BATCH,
        *STATE,
        *(f for name in PIPELINE for f in (*STAGES[name].inputs, *STAGES[name].outputs)),
    )
}


def explain_order(
    bad: Sequence[StepRecord], good: Sequence[StepRecord], precision: Precision
) -> str:
    """Which of two stages runs too early, if exchanging stages explains the weights; else ""."""
    # Weights that follow from the raw one in the right order say nothing about the order.
    if _agrees(lambda record: _in_order(record, CHAIN), bad, [], precision):
        return ""
    orders = sorted(itertools.permutations(range(len(CHAIN))), key=_inversions)[1:]
    for order in orders:
        names = [CHAIN[i] for i in order]

        def weights(record: StepRecord, names: Sequence[str] = names) -> dict[str, Any]:
            return _in_order(record, names)

        if _agrees(weights, bad, good, precision):
            early, late = next((a, b) for a, b in itertools.combinations(order, 2) if a > b)
            return f"{CHAIN[early]} runs before {CHAIN[late]}"
    return ""


def explain_wiring(
    stage: str | None, bad: Sequence[StepRecord], good: Sequence[StepRecord], precision: Precision
) -> str:
    """Which input of which stage holds another value, if one does; else "".

    Args:
        stage: The stage whose reported outputs do not follow from its inputs; None if nothing but
            mu is reported, and each stage behind the proxies is tried.
        bad: Steps that are wrong (at that stage, if there is one).
        good: Steps that are right.
        precision: What the port declares.
    """
    if stage is None:
        found = (_downstream(name, bad, good, precision) for name in _SCALARS)
        return next((text for text in found if text), "")
    for name, other, place in _swaps(stage, _base(bad[0])):
        if _fed(stage, name, other, place, bad[:_SAMPLE], good[:_SAMPLE], precision):
            return f"{stage} reads {place} where {name} is due"
    return ""


def _inversions(order: Sequence[int]) -> int:
    return sum(a > b for a, b in itertools.combinations(order, 2))


def _base(record: StepRecord) -> dict[str, Any]:
    """Values of a step: the port's own where it reports them, else golden."""
    call = record.call
    return {
        **call.exchange.expected,
        **own_values(call, {**call.state, **record.state}, record.outputs),
    }


def _in_order(record: StepRecord, order: Sequence[str]) -> dict[str, Any]:
    """What each stage returns if they run in that order, and the last weight as mu."""
    values = _base(record)
    weight = values.get("mu_raw", math.nan)  # a stand-in that the pack leaves out
    found: dict[str, Any] = {}
    for stage in order:
        inputs = {**values, _WEIGHT_IN[stage]: weight}
        found |= evaluate(stage, record.call.case.config, inputs)
        weight = found[_WEIGHT_OUT[stage]]
    return {**found, "mu": weight}


def _agrees(
    explained: Callable[[StepRecord], Mapping[str, Any]],
    bad: Sequence[StepRecord],
    good: Sequence[StepRecord],
    precision: Precision,
) -> bool:
    """Whether an explanation of the weights holds on every step that it is tried on."""
    for record in (*bad[:_SAMPLE], *good[:_SAMPLE]):
        goals = {
            goal.field.name: goal for targets in record.call.targets.values() for goal in targets
        }
        try:
            with np.errstate(all="ignore"):
                expected = explained(record)
        except Exception:  # a value where it was never meant to be
            return False
        for name in expected.keys() & goals.keys() & record.outputs.keys():
            goal = moved(goals[name], expected[name], precision)
            if compare(goal, record.outputs[name]).ratio > 1.0:
                return False
    return bool(bad)


def _swaps(stage: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Other values that an input could hold: its name, a way to look the value up, and words."""
    for field in STAGES[stage].inputs:
        if field.name not in values:
            continue
        if field.name == "step":
            for shift, word in ((1, "the step after"), (-1, "the step before")):
                yield field.name, lambda v, s=shift: v["step"] + s, word
        shape = np.shape(values[field.name])
        for name, value in values.items():
            other = _FIELDS.get(name)
            if other is None or name == field.name or np.shape(value) != shape:
                continue
            if {other.kind, field.kind} <= {"real", "token"} or other.kind == field.kind:
                yield field.name, lambda v, n=name: v[n], name


def _fed(
    stage: str,
    name: str,
    other: Callable[..., Any],
    place: str,
    bad: Sequence[StepRecord],
    good: Sequence[StepRecord],
    precision: Precision,
) -> bool:
    own = {field.name for field in STAGES[stage].outputs}
    for record in (*bad, *good):
        values = _base(record)
        if place in own:
            return False
        try:
            values[name] = other(values)
            goals = own_targets(stage, record.call.case.config, values, precision)
            found = worst(goals, record.outputs)
        except Exception:  # as above
            return False
        if found is not None and found.ratio > 1.0:
            return False
    return True


def _downstream(
    stage: str, bad: Sequence[StepRecord], good: Sequence[StepRecord], precision: Precision
) -> str:
    """As `explain_wiring`, from mu alone: the rest of the step is computed."""
    for name, other, place in _swaps(stage, _base(bad[0])):
        if place in STAGES[stage].output_names:
            continue

        def mu(
            record: StepRecord, name: str = name, other: Callable[..., Any] = other
        ) -> dict[str, Any]:
            values = _base(record)
            for current in _SCALARS[_SCALARS.index(stage) :]:
                inputs = {**values, name: other(values)} if current == stage else values
                values |= evaluate(current, record.call.case.config, inputs)
            return {"mu": values["mu"]}

        if _agrees(mu, bad, good, precision):
            return f"{stage} reads {place} where {name} is due"
    return ""
