"""Checking one port on the whole pack: the verdict, the origin, and what was and was not asked.

The exit code answers one question, "can this port be used?", so the verdicts have an order. A
divergence outranks an adapter failure: it is a finding about the port's numbers that no repair of
the adapter takes away, while a crash elsewhere is still counted, reported and in the headline. An
adapter failure outranks too few checks, which is often its consequence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gac_ref.conformance.adapters import BadReply
from gac_ref.conformance.divergences import Divergence, Divergences, load_divergences
from gac_ref.conformance.events import (
    BROKEN,
    EXIT_CODES,
    Result,
    replay_command,
    start_event,
    times,
)
from gac_ref.conformance.formats import format_named
from gac_ref.conformance.guards import guard_results
from gac_ref.conformance.hints import mutant_hint
from gac_ref.conformance.localise import Finding, localise
from gac_ref.conformance.pack import Pack, load_pack
from gac_ref.conformance.port import Port
from gac_ref.conformance.runner import Answer, Runner
from gac_ref.conformance.session import Session
from gac_ref.conformance.tolerance import Precision
from gac_ref.errors import GACError

__all__ = ["Report", "exit_code", "run_check"]

ENOUGH = 3
"""One check must be executed for so many exchanges of the selected cases, unless a minimum is
given."""

OnEvent = Callable[[dict[str, Any]], object]


class Report(NamedTuple):
    """What a check found.

    Args:
        verdict: "ok", "divergence", "adapter_failure" or "too_few".
        executed: Checks in which the port was asked and answered, or failed to.
        total: All checks of the selected cases.
        unsupported: Checks of what the port does not offer or report.
        skipped: Checks left out, by the port or after a stage was given up.
        failed: Checks that failed, the expected ones aside.
        expected_failures: Checks that failed as a divergence file says.
        origin: The stage that is wrong; "wiring", "order" or "state" where the stages are right
            and what they are fed, their order or what is carried between steps is not; "adapter"
            where its answers do not follow from its inputs; None if all is well or nothing can
            be said.
        first_bad_step: In a trajectory, the first step that is wrong.
        worst: The largest error over its bound; NaN if nothing was compared.
        hint: What the fault looks like; "" if like nothing known.
        headline: All of it in one line.
        events: Every event, as the reports read them.
        statement: What the origin rests on, in a sentence.
        stages: For each stage and mode: passed, failed, propagated, unsupported and the worst
            ratio.
        adapter_failures: Checks in which the port gave nothing to compare.
    """

    verdict: str
    executed: int
    total: int
    unsupported: int
    skipped: int
    failed: int
    expected_failures: int
    origin: str | None
    first_bad_step: int | None
    worst: float
    hint: str
    headline: str
    events: list[dict[str, Any]]
    statement: str = ""
    stages: tuple[dict[str, Any], ...] = ()
    adapter_failures: int = 0


def exit_code(report: Report) -> int:
    """0 ok, 1 divergence, 3 adapter failure, 4 too few checks executed."""
    return EXIT_CODES[report.verdict]


def run_check(
    port: Port,
    *,
    spec: str = "",
    dtype: str = "fp64",
    device: str = "cpu",
    pack: Pack | None = None,
    stages: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    divergences: str | Path | Sequence[Divergence] | None = None,
    minimum: int | None = None,
    on_event: OnEvent | None = None,
    hints: bool = True,
) -> Report:
    """Check a port in one dtype.

    Args:
        port: The port: an object, or what `open_port` gives.
        spec: How the port was named, for the commands that repeat a check.
        dtype: "fp64", "fp32", "fp16" or "bf16".
        device: Handed to the port.
        pack: The pack; by default the one in the package.
        stages: Only cases of these stages; "step" and "trajectory" are stages.
        ids: Only cases with these ids.
        divergences: Expected divergences, or the TOML file that has them.
        minimum: Checks that must be executed for a verdict; by default a third as many as the
            selected cases have exchanges, which whole steps and trajectories alone exceed, and no
            single stage does. (A port that answers those alone has far fewer checks than one that
            reports its stages, so a share of all checks would refuse it.)
        on_event: Called with each event as it happens.
        hints: Whether to look for a known mutant that agrees with a port that is wrong.

    Returns:
        The report.

    Raises:
        GACError: An unknown dtype, stage or case, or a malformed divergence file.

    Examples:
        >>> from gac_ref.conformance.reference import Reference
        >>> report = run_check(Reference(), stages=["clip"])
        >>> report.verdict, report.executed == report.total, exit_code(report)
        ('ok', True, 0)
    """
    format_named(dtype)
    pack = load_pack() if pack is None else pack
    cases = pack.select(dtype=dtype, stages=stages, ids=ids)
    expected = Divergences(load_divergences(divergences), pack, cases, dtype)
    runner = Runner(port, dtype=dtype, device=device)
    precision = _precision(runner, dtype)
    events: list[dict[str, Any]] = []

    def emit(event: dict[str, Any]) -> None:
        events.append(event)
        if on_event is not None:
            on_event(event)

    def judged(result: Result) -> Result:
        result = expected.judge(result)
        replay = replay_command(spec, dtype, device, result.case) if result.failed else ""
        emit(result.event(replay))
        return result

    emit(
        start_event(
            runner.hello, spec=spec, dtype=dtype, device=device, pack=pack, precision=precision
        )
    )
    session = Session(runner, dtype=dtype, precision=precision, on_result=judged)
    for case in cases:
        session.run(case)
    for result in guard_results(session, cases):
        session.add(result)
    for result in expected.complaints():
        session.add(result)
    finding = localise(session)
    hint = mutant_hint(session, finding.origin, cases) if hints and finding.origin else ""
    exchanges = sum(len(case.exchanges(dtype)) for case in cases)
    enough = -(-exchanges // ENOUGH) if minimum is None else minimum
    report = _report(session.results, finding, hint, enough, runner, dtype, device)
    emit({"event": "end", **_end(report)})
    return report._replace(events=events)


def _precision(runner: Runner, dtype: str) -> Precision:
    """What the port declares; a declaration that cannot be read is a bad reply to every call."""
    dtypes = runner.hello.get("dtypes", (dtype,))
    if runner.fault is None and dtype not in dtypes:
        runner.fault = Answer("unsupported", {}, f"its hello does not name {dtype}")
    try:
        return Precision.declared(runner.hello, dtype)
    except GACError as error:
        runner.refuse(Answer(BadReply.status, {}, str(error)))
        return Precision.declared({}, dtype)


def _report(
    results: Sequence[Result],
    finding: Finding,
    hint: str,
    minimum: int,
    runner: Runner,
    dtype: str,
    device: str,
) -> Report:
    status = Counter(result.status for result in results)
    executed = sum(result.executed for result in results)
    broken = sum(status[name] for name in BROKEN)
    ratios = [r.ratio for r in results if r.ratio is not None and r.status != "expected"]
    if status["fail"]:
        verdict = "divergence"
    elif broken:
        verdict = "adapter_failure"
    elif executed < minimum:
        verdict = "too_few"
    else:
        verdict = "ok"
    report = Report(
        verdict=verdict,
        executed=executed,
        total=len(results),
        unsupported=status["unsupported"],
        skipped=status["skipped"],
        failed=sum(result.failed for result in results),
        expected_failures=status["expected"],
        origin=finding.origin,
        first_bad_step=finding.first_bad_step,
        worst=max(ratios, default=math.nan),
        hint=hint,
        headline="",
        events=[],
        statement=finding.statement,
        stages=finding.stages,
        adapter_failures=broken,
    )
    name = f"{runner.hello.get('name', 'port')}/{device}/{dtype}"
    return report._replace(headline=_headline(report, name, finding, minimum))


_WORDS = {
    "ok": "OK",
    "divergence": "FAIL",
    "adapter_failure": "ADAPTER FAILURE",
    "too_few": "TOO FEW CHECKS",
}


def _headline(report: Report, name: str, finding: Finding, minimum: int) -> str:
    parts = []
    if report.failed:
        origin = report.origin or "not found"
        if finding.worst is not None and finding.worst.worst is not None:
            difference = finding.worst.worst
            origin += f" ({difference.output}, {times(difference.ratio)} bound)"
        where = "" if report.first_bad_step is None else f", first at step {report.first_bad_step}"
        parts.append(f"origin: {origin}{where}, {report.failed} of {report.executed} failed")
    ran = f"executed {report.executed} of {report.total}"
    if report.verdict == "too_few":
        ran += f", and {minimum} are asked for"
    parts.append(ran)
    for count, what in (
        (report.unsupported, "unsupported"),
        (report.skipped, "skipped"),
        (report.adapter_failures, "adapter failures"),
        (report.expected_failures, "failed as expected"),
    ):
        if count:
            parts.append(f"{count} {what}")
    if not report.failed and not math.isnan(report.worst):
        parts.append(f"worst {times(report.worst)} bound")
    return f"{_WORDS[report.verdict]} {name} - {'; '.join(parts)}"


def _end(report: Report) -> dict[str, Any]:
    record = report._asdict()
    del record["events"]
    record["stages"] = list(record["stages"])
    return record
