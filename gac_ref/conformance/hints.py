"""What a fault looks like: a known mutant that gives the answers that the port gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref.conformance.adapters import decoded
from gac_ref.conformance.case import Case
from gac_ref.conformance.compare import Target, compare
from gac_ref.conformance.golden import stage_calls, step_calls
from gac_ref.conformance.session import Session
from gac_ref.conformance.stages import STAGES

__all__ = ["TELLING", "mutant_hint"]

TELLING = 3
"""Calls on which a mutant must itself be wrong before agreement with it says anything."""

_WHOLE = ("wiring", "order", "state")
_CANDIDATES = 60  # mutants of one stage that are tried at most

# One call: the case, its place, the stage that is called, its inputs, and the golden targets.
_Asked = tuple[Case, int, str, Mapping[str, Any], Sequence[Target]]


def mutant_hint(session: Session, origin: str | None, cases: Iterable[Case]) -> str:
    """The known mutant that agrees with the port on every call of the origin, in words; else "".

    Agreement is within the tolerances of the check, on calls that failed and on calls that passed,
    and the mutant must be wrong by itself on at least :data:`TELLING` of them. A library that is
    missing or raises gives no hint, and never fails a check.

    Args:
        session: The port, with its answers.
        origin: The origin that was found.
        cases: The cases that were run.
    """
    if origin is None or (origin not in STAGES and origin not in _WHOLE):
        return ""
    try:
        from gac_ref.conformance.power.mutants import mutants

        asked = list(_asked(session, origin, list(cases)))
        # Where the port is wrong first, so that a mutant of another kind is dropped at once.
        asked.sort(key=lambda call: not _wrong(call[4], _answer(session, call)))
        for mutant in itertools.islice(mutants(origin), _CANDIDATES):
            if _agrees(session, mutant, asked, whole=origin in _WHOLE):
                return f"agrees with {mutant.name!r} on {len(asked)} of {len(asked)} calls"
    except Exception:  # a hint is a courtesy: whatever is wrong with the library stays with it
        return ""
    return ""


def _asked(session: Session, origin: str, cases: Sequence[Case]) -> Iterator[_Asked]:
    """The calls of the origin that the port answered."""
    for case in cases:
        if case.kind == "stage" and case.stage == origin:
            calls = stage_calls(case, session.dtype, session.precision)
            every = [(case, i, origin, call.sent, call.targets) for i, call in enumerate(calls)]
        elif case.kind == "step":
            every = []
            for step in step_calls(case, session.dtype, session.precision):
                if origin in _WHOLE:
                    inputs = step.exchange.inputs
                    every.append((case, step.place, "step", inputs, (step.mu,)))
                elif origin in step.injected:
                    call = step.injected[origin]
                    every.append((case, step.place, origin, call.sent, call.targets))
        elif case.kind == "trajectory" and origin in _WHOLE:
            every = [
                (case, step.place, "trajectory", step.exchange.inputs, (step.mu,))
                for step in step_calls(case, session.dtype, session.precision)
            ]
        else:
            continue
        yield from (call for call in every if _answer(session, call))


def _answer(session: Session, call: _Asked) -> Mapping[str, Any]:
    case, index, stage, _, _ = call
    return session.answers.get((case.id, index, stage), {})


def _wrong(targets: Iterable[Target], outputs: Mapping[str, Any]) -> bool:
    return any(
        compare(goal, outputs[goal.field.name]).ratio > 1.0
        for goal in targets
        if goal.field.name in outputs
    )


def _agrees(session: Session, mutant: Any, asked: Sequence[_Asked], *, whole: bool) -> bool:
    port, current, telling = mutant.port(), None, 0
    if whole:  # a trajectory runs in its order, on its own
        asked = sorted(asked, key=lambda call: (call[0].kind == "trajectory", call[0].id, call[1]))
    for call in asked:
        case, _, stage, inputs, targets = call
        if case is not current:
            port.configure(case.config.to_dict(), dtype=session.dtype, device="cpu")
            port.reset()
            current = case
        outputs = decoded(stage, port.run(stage, inputs), inputs)
        telling += _wrong(targets, outputs)
        if _wrong(_around(targets, outputs), _answer(session, call)):
            return False
    return telling >= TELLING


def _around(targets: Sequence[Target], outputs: Mapping[str, Any]) -> Iterator[Target]:
    """The same bounds around what the mutant answers."""
    for goal in targets:
        if goal.field.name not in outputs:
            continue
        value = outputs[goal.field.name]
        if goal.shape == ():
            yield goal._replace(expected=float(value), alternatives=())
        else:
            wide = np.asarray(value, dtype=np.float64)
            flat = wide.ravel() if goal.where is None else wide[goal.where]
            yield goal._replace(expected=flat, alternatives=())
