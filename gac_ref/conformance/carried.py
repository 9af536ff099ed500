"""What went wrong between two steps, where steps from a given state are right.

A field of the state can be lost (its start value is read), stale (a step late), left over from the
trajectory before, or overwritten by another value. Each is tried at the first step of a trajectory
that is wrong: the golden stages are run from the state so changed, and compared with all numbers
that the port reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gac_ref.config import GACConfig
from gac_ref.conformance.compare import Target, compare, decides_nothing
from gac_ref.conformance.golden import carried_state, moved, staged_step
from gac_ref.conformance.reference import state_inputs
from gac_ref.conformance.session import StepRecord
from gac_ref.conformance.stages import STAGES, STATE
from gac_ref.conformance.tolerance import Precision
from gac_ref.controller import init

__all__ = ["Trajectory", "explain_state", "trajectories"]

_REAL = tuple(field.name for field in STATE if field.kind == "real")
_TRIED = 6  # trajectories on which an explanation is tried


class Trajectory(NamedTuple):
    """The steps of one trajectory that were answered, and the state that the one before it left."""

    steps: tuple[StepRecord, ...]
    left: Mapping[str, Any]

    @property
    def first_bad(self) -> int | None:
        """The place of the first step that is wrong."""
        return next((i for i, record in enumerate(self.steps) if record.bad), None)


def trajectories(records: Sequence[StepRecord]) -> tuple[Trajectory, ...]:
    """The trajectories among the answered steps, in the order in which they ran."""
    groups: dict[str, list[StepRecord]] = {}
    for record in records:
        if record.call.case.kind == "trajectory":
            groups.setdefault(record.call.case.id, []).append(record)
    found: list[Trajectory] = []
    left: Mapping[str, Any] = {}
    for steps in groups.values():
        found.append(Trajectory(tuple(steps), left))
        last = steps[-1]
        left = carried_state({**last.call.exchange.expected, **last.outputs}, {})
    return tuple(found)


def explain_state(
    bad: Sequence[Trajectory], precision: Precision, reader: str | None = None
) -> str:
    """Which field of the state explains the first wrong step of every trajectory; else "".

    Args:
        bad: The trajectories that are wrong.
        precision: What the port declares.
        reader: The stage that is the first to go wrong, whose inputs alone come into question;
            None if that is not known.
    """
    tried = bad[:_TRIED]
    if not tried:
        return ""
    counts: dict[str, int] = {}
    for trajectory in tried:
        for text in dict.fromkeys(_explanations(trajectory, precision, reader)):
            counts[text] = counts.get(text, 0) + 1
    # The one tried first, of several: a field that is lost comes before one that is overwritten.
    best = next((text for text, count in counts.items() if count == len(tried)), "")
    many = f"the first wrong step of all {len(tried)} trajectories that are wrong"
    return f"{best}: agrees on {many}" if best else ""


def _explanations(
    trajectory: Trajectory, precision: Precision, reader: str | None
) -> Iterator[str]:
    at = trajectory.first_bad
    assert at is not None  # only trajectories that are wrong are explained
    record = trajectory.steps[at]
    call = record.call
    config = call.case.config
    goals = [
        goal
        for targets in call.targets.values()
        for goal in targets
        if goal.shape == () and goal.field.name in record.outputs
    ]
    before = {**call.state, **record.state, "step": int(call.exchange.inputs["step"])}
    read = None if reader is None else {field.name for field in STAGES[reader].inputs}
    if _agrees(goals, config, {**call.exchange.wide, **before}, record.outputs, precision):
        return  # it follows from the state that it should have read
    for text, changed in _changes(trajectory, at, before):
        if all(_same(changed[name], before.get(name)) for name in changed):
            continue
        if read is not None and not read & changed.keys():
            continue
        values = {**call.exchange.wide, **before, **changed}
        if _agrees(goals, config, values, record.outputs, precision):
            yield text


def _changes(
    trajectory: Trajectory, at: int, before: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    steps = trajectory.steps
    start = state_inputs(init(steps[at].call.case.config))
    stale = {**steps[at - 1].call.state, **steps[at - 1].state} if at else {}
    if trajectory.left and at == 0:
        yield "the state is left over from the trajectory before", dict(trajectory.left)
    for name in start:
        if trajectory.left and at == 0:
            yield f"{name} is left over from the trajectory before", {name: trajectory.left[name]}
        if at:
            yield f"{name} is lost: it holds its start value", {name: start[name]}
            yield f"{name} is a step late", {name: stale[name]}
    if at:
        yield "the state is lost: it holds its start values", start
        yield "the state is a step late", dict(stale)
        reported = {**steps[at - 1].call.exchange.expected, **steps[at - 1].outputs}
        for name in _REAL:
            for other, value in reported.items():
                if isinstance(value, float) and other != name.removeprefix("previous_"):
                    yield f"{name} holds {other}", {name: value}
    yield "the step is the number of calls since reset", {"step": steps[at].call.place}


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or (one != one and other != other)


def _agrees(
    goals: Sequence[Target],
    config: GACConfig,
    values: Mapping[str, Any],
    outputs: Mapping[str, Any],
    precision: Precision,
) -> bool:
    """Whether the golden step on `values` gives the numbers that the port reports."""
    try:
        golden = staged_step(config, values)
    except Exception:  # a state that no port could be in
        return False

    def right(goal: Target) -> bool:
        name = goal.field.name
        if decides_nothing(name, config, golden):
            return True
        if name not in golden:
            return False
        return compare(moved(goal, golden[name], precision), outputs[name]).ratio <= 1.0

    return bool(goals) and all(map(right, goals))
