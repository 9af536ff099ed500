"""Naming the origin of what is wrong, from three kinds of runs.

In this order:

1. A stage that fails by itself, on golden inputs, is wrong. The first of them is the origin, unless
   an earlier one that cannot be run by itself does not follow from what it reports to have read.
2. A stage whose reported outputs are not what the golden stage makes of its reported inputs is
   wrong, if it was not seen to be right by itself. What differs from golden but does follow is
   propagated.
3. Where every such stage is right by itself, what it is fed is wrong ("wiring"), or stages are
   exchanged ("order"); or, if whole steps are right from a given state and trajectories are not,
   what is carried from step to step ("state").

A port that reports nothing but mu gets the explanation that fits, if a single one does, and else
what the failing cases have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gac_ref.conformance.axes import common_axis
from gac_ref.conformance.carried import explain_state
from gac_ref.conformance.events import BROKEN, ORDER, Result, stage_rows
from gac_ref.conformance.evidence import (
    Evidence,
    fails_at,
    first_inconsistent,
    first_tapped,
    in_order,
    wrong_alone_too,
)
from gac_ref.conformance.golden import TAPPED
from gac_ref.conformance.session import Session, StepRecord
from gac_ref.conformance.stages import PIPELINE, STAGES
from gac_ref.conformance.wiring import explain_order, explain_wiring

__all__ = ["Finding", "localise"]


class Finding(NamedTuple):
    """Where the fault is.

    Args:
        origin: A stage, "wiring", "order", "state" or "adapter"; None if nothing can be said.
        statement: What that rests on.
        first_bad_step: The first wrong step of a trajectory.
        worst: The check that shows the origin best.
        stages: The summary by stage and mode.
    """

    origin: str | None
    statement: str
    first_bad_step: int | None = None
    worst: Result | None = None
    stages: tuple[dict[str, Any], ...] = ()


def localise(session: Session) -> Finding:
    """The origin of the failures of a session."""
    evidence = Evidence(session)
    origin, statement = _origin(evidence)
    return Finding(
        origin,
        statement,
        first_bad_step=evidence.first_bad_step,
        worst=_shown(evidence, origin),
        stages=stage_rows(session.results),
    )


def _origin(seen: Evidence) -> tuple[str | None, str]:
    if not seen.failed:
        return None, "nothing failed"
    forgetful = {r.case.split("-", 1)[1] for r in seen.memory()} - {"step"}
    if len(forgetful) > 1:
        return "adapter", f"answers do not follow from the inputs: {seen.memory()[0].reason}"
    alone = next((stage for stage in seen.wrong_alone if stage in PIPELINE), None)
    first = first_inconsistent([*seen.steps_bad, *seen.first_bad])
    if alone is not None:
        if first is not None and first not in seen.isolated and ORDER[first] < ORDER[alone]:
            return first, _inconsistent(first)
        return alone, f"{alone} is wrong by itself, on golden inputs"
    if seen.steps_bad:
        return _within_a_step(seen)
    if seen.first_bad:
        return _between_steps(seen)
    if seen.wrong_alone:
        return seen.wrong_alone[0], f"{seen.wrong_alone[0]} is wrong by itself"
    return _of_the_port(seen)


def _within_a_step(seen: Evidence) -> tuple[str | None, str]:
    session, bad, good = seen.session, seen.steps_bad, seen.steps_good
    stage = first_inconsistent(bad)
    if stage is not None and stage not in seen.isolated:
        return stage, _inconsistent(stage)
    if stage is not None and wrong_alone_too(session, stage, bad):
        return stage, _alone_on_these(stage)
    if stage is None:
        stage = first_tapped(bad)
        if stage is not None and stage not in seen.isolated:
            return stage, f"{stage} is the first reported value that is wrong{_gap(bad, stage)}"
    order = explain_order(bad, good, session.precision)
    if order:
        return "order", f"{order}: agrees on all {len(bad)} wrong steps"
    there = [r for r in bad if stage is None or fails_at(r, stage)]
    wired = explain_wiring(stage, there, good, session.precision) if there else ""
    if wired:
        return "wiring", f"{wired}: agrees on all {len(there)} wrong steps"
    if stage is not None:
        return "wiring", f"{stage} is right by itself, and wrong within a step"
    unseen = [name for name in TAPPED if name not in seen.isolated]
    if not unseen:
        return "wiring", "every stage is right by itself, and the step is wrong"
    if len(unseen) == 1:
        return unseen[0], f"every stage but {unseen[0]} is right by itself"
    return None, _black_box(bad, good)


def _between_steps(seen: Evidence) -> tuple[str | None, str]:
    """Only trajectories are wrong."""
    stage = first_inconsistent(seen.first_bad)
    asked = bool(seen.steps_good)
    if (
        stage is not None
        and stage in seen.isolated
        and wrong_alone_too(seen.session, stage, seen.first_bad)
    ):
        return stage, _alone_on_these(stage)
    precision = seen.session.precision
    carried = explain_state(seen.runs_bad, precision, stage)
    if carried:
        return "state", carried
    order = explain_order(seen.first_bad, [], precision)
    if order:
        return "order", f"{order}: agrees on the first wrong step of every trajectory"
    if stage is not None and stage in seen.isolated and not _reads_state(stage):
        steps = [record for run in seen.runs for record in run.steps]
        there = [record for record in steps if fails_at(record, stage)]
        right = [record for record in steps if not fails_at(record, stage)]
        wired = explain_wiring(stage, there, right, precision)
        return "wiring", wired or f"{stage} is right by itself, and wrong within a step"
    if stage is not None and stage not in seen.isolated and not _reads_state(stage):
        return stage, _inconsistent(stage)
    if asked or (stage is not None and stage in seen.isolated):
        return "state", f"steps from a given state are right; {_where(seen, stage)}"
    if stage is not None:
        return stage, _inconsistent(stage)
    tapped = first_tapped(seen.first_bad)
    if tapped is not None and tapped not in seen.isolated:
        gap = _gap(seen.first_bad, tapped)
        return tapped, f"{tapped} is the first reported value that is wrong{gap}"
    good = [record for run in seen.runs if run.first_bad is None for record in run.steps]
    if all(name in seen.isolated for name in TAPPED):
        return "state", f"every stage is right by itself; {_where(seen, None)}"
    return None, _black_box(seen.first_bad, good)


def _of_the_port(seen: Evidence) -> tuple[str | None, str]:
    """No number of the pack is wrong; the guards or the adapter have something to say."""
    for name in ("reset", "configure", "steps"):
        found = seen.guard(name)
        if found is not None:
            return "state", found.reason
    for result in (*seen.memory(), *seen.failed):
        if result.stage == "adapter":
            return "adapter", result.reason
    broken = in_order(r.stage for r in seen.failed if r.status in BROKEN)
    if broken:
        first = next(r for r in seen.failed if r.stage == broken[0])
        return broken[0], f"{broken[0]} gave no answer to compare: {first.reason}"
    first = seen.failed[0]
    return None, first.reason or f"{first.case}: {first.status}"


def _gap(records: Sequence[StepRecord], stage: str) -> str:
    """The stages just before one that report nothing, and so may be the origin instead."""
    reported = {
        name
        for record in records
        for (mode, name), result in record.results.items()
        if mode == "tapped" and result.status != "unsupported"
    }
    silent: list[str] = []
    for name in reversed(TAPPED[: TAPPED.index(stage)]):
        if name in reported:
            break
        silent.insert(0, name)
    return f"; {', '.join(silent)} before it report nothing" if silent else ""


def _inconsistent(stage: str) -> str:
    return f"{stage} reports what does not follow from the values that it was given"


def _reads_state(stage: str) -> bool:
    return any(field.name.startswith("previous_") for field in STAGES[stage].inputs)


def _alone_on_these(stage: str) -> str:
    return f"{stage} is wrong by itself on the values that it was given within a step"


def _where(seen: Evidence, stage: str | None) -> str:
    place = "mu" if stage is None else stage
    return f"in trajectories {place} goes wrong first at step {seen.first_bad_step}"


def _black_box(bad: Sequence[StepRecord], good: Sequence[StepRecord]) -> str:
    axis = common_axis([r.call.case for r in bad], [r.call.case for r in good])
    more = f"; {axis}" if axis else ""
    return f"mu is wrong, and the port reports too little to say where{more}"


def _shown(seen: Evidence, origin: str | None) -> Result | None:
    """The failure to show with the origin: by itself, then as it follows, then as reported."""
    if origin in STAGES:
        own = [r for r in seen.failed if r.stage == origin]
        for mode in ("injected", "consistent", "tapped", "black_box"):
            found = [r for r in own if r.mode == mode and r.ratio is not None]
            if found:
                return max(found, key=lambda r: r.ratio or 0.0)
    first = [*seen.steps_bad, *seen.first_bad]
    for record in first:
        for mode in ("consistent", "tapped", "black_box"):
            for (kind, _), result in record.results.items():
                if kind == mode and result.failed:
                    return result
    return next(iter(seen.failed), None)
