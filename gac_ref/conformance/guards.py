"""Checks of a port as a whole: does it answer what it was asked, every time, and only that?

A port can give right answers for wrong reasons (a cache, a state that outlives `reset`, inputs
edited in place), and these are found by asking again: out of order, after other cases, after
`reset` alone and after `configure` alone. The same call must give the same bits; an answer that is
near is not enough, because the weight of the next step, and of the other ranks, hangs on it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref.conformance.case import Case
from gac_ref.conformance.events import Result
from gac_ref.conformance.golden import step_calls
from gac_ref.conformance.session import Session
from gac_ref.conformance.stages import STAGES

__all__ = ["GUARDS", "guard_results"]

GUARDS = ("hello", "claims", "inputs", "repeat", "order", "reset", "configure", "steps")
"""What is checked: the port says what it is; each claimed stage is answered somewhere; inputs stay
as they were; the same call twice gives the same bits; so does a call made earlier, among others; a
trajectory runs the same after `reset`; after another configuration; and around a whole step that is
asked for from a given state."""

_ASKED_AGAIN = 6  # calls of each stage that are repeated
_STEPS = 12  # steps of a trajectory that are repeated
_DECLINED = 5  # calls of a stage that must be declined before its claim is called empty
_SEED = 0


def guard_results(session: Session, cases: Sequence[Case]) -> Iterator[Result]:
    """One result for each of :data:`GUARDS` (one a stage for "repeat" and "order").

    Args:
        session: The port, with the answers that it has given.
        cases: The cases that were run.
    """
    broken = session.runner.broken
    if broken is not None:
        yield _guard("hello", broken.status, broken.reason)._replace(kind=broken.status)
        return
    yield _guard("hello", "pass")
    yield _inputs(session)
    yield from _again(session, cases)
    yield from _trajectories(session, cases)
    yield from _claims(session)


def _guard(name: str, status: str, reason: str = "", what: str = "") -> Result:
    kind = "" if status in ("pass", "unsupported", "skipped") else "guard"
    case = f"adapter/{name}-{what}" if what else f"adapter/{name}"
    return Result(case, 0, "adapter", "guard", status, reason=reason, kind=kind)


def _inputs(session: Session) -> Result:
    if not session.answers and not session.mutated:
        return _guard("inputs", "unsupported", "nothing was answered")
    if not session.mutated:
        return _guard("inputs", "pass")
    case, stage, names = session.mutated[0]
    calls = len(session.mutated)
    return _guard(
        "inputs", "fail", f"{stage} changes its input {names[0]} in {case} ({calls} calls in all)"
    )


def _claims(session: Session) -> Iterator[Result]:
    """A stage that hello names and that every call of was declined."""
    if session.runner.fault is not None:  # a dtype that is not claimed: nothing was asked
        return
    tried: dict[str, list[str]] = {}
    for result in session.results:
        if result.mode in ("injected", "black_box"):
            tried.setdefault(result.stage, []).append(result.status)
    for stage in STAGES:
        status = tried.get(stage, [])
        declined = len(status) >= _DECLINED and set(status) == {"unsupported"}
        if session.runner.claims(stage) and declined:
            reason = f"hello names {stage}, and all {len(status)} calls were answered unsupported"
            yield _guard("claims", "bad_reply", reason, stage)._replace(kind="bad_reply")


def _again(session: Session, cases: Sequence[Case]) -> Iterator[Result]:
    """Calls of every stage made again in another order, and each twice in a row."""
    by_id = {case.id: case for case in cases}
    chosen: list[tuple[str, int, str]] = []
    asked: list[str] = []
    for stage in STAGES:
        known = [key for key in session.answers if key[2] == stage and key[0] in by_id]
        if stage == "trajectory" or not known:
            continue
        asked.append(stage)
        stride = max(1, len(known) // _ASKED_AGAIN)
        chosen += known[::stride][:_ASKED_AGAIN]
    random.Random(_SEED).shuffle(chosen)
    found: dict[tuple[str, str], str] = {}
    for key in chosen:
        case_id, _, stage = key
        case = by_id[case_id]
        if session.runner.configure(case.config) is not None:
            continue
        inputs = _inputs_of(session, case, key)
        first, second = (session.runner.call(stage, inputs) for _ in range(2))
        if "ok" in (first.status, second.status) and first.status != second.status:
            broken = first if first.status != "ok" else second
            found.setdefault(("repeat", stage), f"{case_id}: {broken.status}, {broken.reason}")
        if first.status != "ok" or second.status != "ok":
            continue
        if name := _differs(first.outputs, second.outputs):
            found.setdefault(
                ("repeat", stage), f"{case_id}: {name} differs when the call is made twice in a row"
            )
        elif name := _differs(session.answers[key], first.outputs):
            found.setdefault(
                ("order", stage),
                f"{case_id}: {name} differs when the call comes after others: the answer depends "
                "on more than its inputs",
            )
    for stage in asked:
        for name in ("repeat", "order"):
            reason = found.get((name, stage), "")
            yield _guard(name, "fail" if reason else "pass", reason, stage)


def _inputs_of(session: Session, case: Case, key: tuple[str, int, str]) -> Mapping[str, Any]:
    _, index, stage = key
    if case.kind == "step" and stage != "step":
        injected = step_calls(case, session.dtype, session.precision)[index].injected
        return injected[stage].sent
    return case.exchanges(session.dtype)[index].inputs


def _trajectories(session: Session, cases: Sequence[Case]) -> Iterator[Result]:
    """Two trajectories, run again after `reset` alone, and after another `configure` alone."""
    chosen = [case for case in cases if case.kind == "trajectory"]
    done = [case for case in chosen if _answered(session, case)]
    if not chosen:
        return
    if not done:
        for name in ("reset", "configure", "steps"):
            yield _guard(name, "unsupported", "no trajectory was answered")
        return
    # The two that move the state the most, so that what is left of it shows.
    done.sort(key=lambda case: -_movement(session, case))
    one = done[0]
    elsewhere = [case for case in done if case.config.init_mu != one.config.init_mu]
    other = (elsewhere or done)[-1]
    runner = session.runner
    runner.configure(one.config)
    _run(session, one)
    runner.reset()
    yield _same("reset", session, one, _run(session, one))
    runner.configure(other.config)
    _run(session, other)
    runner.configure(one.config)
    yield _same("configure", session, one, _run(session, one))
    if runner.claims("step"):
        runner.configure(one.config)
        runner.reset()
        yield _same("steps", session, one, _run(session, one, around_a_step=True))
    else:
        yield _guard("steps", "unsupported", "its hello does not name step")


def _answered(session: Session, case: Case) -> bool:
    count = min(_STEPS, len(case.exchanges(session.dtype)))
    return all((case.id, index, "trajectory") in session.answers for index in range(count))


def _movement(session: Session, case: Case) -> float:
    count = min(_STEPS, len(case.exchanges(session.dtype)))
    last = session.answers[case.id, count - 1, "trajectory"].get("mu", case.config.init_mu)
    moved = abs(float(last) - case.config.init_mu)
    return moved if moved == moved else 0.0


def _run(session: Session, case: Case, *, around_a_step: bool = False) -> list[dict[str, Any]]:
    calls = step_calls(case, session.dtype, session.precision)
    found = []
    for call in calls[:_STEPS]:
        found.append(session.runner.call("trajectory", call.exchange.inputs).outputs)
        if around_a_step:
            session.runner.call("step", {**calls[-1].exchange.inputs, **calls[-1].state})
    return found


def _same(name: str, session: Session, case: Case, again: Sequence[Mapping[str, Any]]) -> Result:
    for index, outputs in enumerate(again):
        before = session.answers[case.id, index, "trajectory"]
        if output := _differs(before, outputs):
            step = case.exchanges(session.dtype)[index].inputs["step"]
            when = f"again {'around whole steps' if name == 'steps' else f'after {name}'}"
            reason = f"{case.id}: {output} differs at step {step} when it is run {when}"
            return _guard(name, "fail", reason)
    return _guard(name, "pass")


def _differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first output that is not the same to the bit; "" if all are."""
    if one.keys() != other.keys():
        return min(one.keys() ^ other.keys())
    for name, value in one.items():
        if np.asarray(value).tobytes() != np.asarray(other[name]).tobytes():
            return name
    return ""
