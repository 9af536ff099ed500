"""``gac-ref check``: which dtypes and cases, one run each, and what is made of the events."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gac_ref.conformance.adapters import AdapterFailure, open_port
from gac_ref.conformance.check import run_check
from gac_ref.conformance.dtypes import dtype_named, dtypes_of
from gac_ref.conformance.events import BROKEN, EXIT_CODES
from gac_ref.conformance.pack import Pack, load_pack
from gac_ref.conformance.port import Port
from gac_ref.conformance.report.deliver import deliver, targets
from gac_ref.conformance.report.events import EventFile, real
from gac_ref.conformance.report.summary import runs_from, worst_verdict
from gac_ref.conformance.report.terminal import Progress
from gac_ref.conformance.report.words import ratio
from gac_ref.conformance.stages import stage_named
from gac_ref.conformance.vectors_command import case_named
from gac_ref.errors import GACError

__all__ = ["check"]

Event = dict[str, Any]
Sink = Callable[[Event], None]


def check(arguments: argparse.Namespace) -> int:
    """Run the command.

    Args:
        arguments: As :mod:`gac_ref.conformance.cli` parses them.

    Returns:
        The exit code: of the worst verdict.

    Raises:
        GACError: An option that cannot be met, before any port is started.
    """
    wanted = [dtype if dtype == "all" else dtype_named(dtype) for dtype in arguments.dtypes]
    for stage in arguments.stages or ():
        stage_named(stage)
    pack, found = _chosen(load_pack(), arguments.cases or ())
    files = targets(arguments)
    events: list[Event] = []
    with contextlib.ExitStack() as stack:
        record: Sink = lambda event: None  # noqa: E731
        if arguments.jsonl:
            record = stack.enter_context(EventFile(arguments.jsonl)).write

        def keep(event: Event) -> None:
            events.append(event)
            record(event)

        _run(arguments, pack, wanted, _with_comments(pack, found, keep))
    runs = runs_from(events)
    deliver(runs, files, form=arguments.format)
    return EXIT_CODES[worst_verdict(runs)]


def _chosen(pack: Pack, names: Iterable[str]) -> tuple[Pack, dict[str, str]]:
    """The pack, or only the cases of those ids and files; and which id came from which file."""
    cases = {name: case_named(name) for name in names}
    if not cases:
        return pack, {}
    unique = {case.id: case for case in cases.values()}
    files = {case.id: name for name, case in cases.items() if name != case.id}
    return pack._replace(cases=tuple(unique.values())), files


def _with_comments(pack: Pack, files: Mapping[str, str], keep: Sink) -> Sink:
    """Add to each failure what its case is for; one from a file is repeated from that file."""
    comments = {case.id: case.comment for case in pack.cases}

    def kept(event: Event) -> None:
        case = event.get("case")
        if event.get("replay") and case in comments:
            event = {**event, "comment": comments[case]}
            if case in files:
                event["replay"] = event["replay"].replace(case, shlex.quote(files[case]))
        keep(event)

    return kept


def _run(arguments: argparse.Namespace, pack: Pack, wanted: Sequence[str], keep: Sink) -> None:
    try:
        with open_port(
            arguments.spec, timeout=arguments.timeout, in_process=arguments.in_process
        ) as port:
            for dtype in dtypes_of(port, wanted):
                _run_one(arguments, pack, port, dtype, keep)
    except AdapterFailure as failure:
        for event in _unanswered(arguments, wanted, failure):
            keep(event)


def _run_one(arguments: argparse.Namespace, pack: Pack, port: Port, dtype: str, keep: Sink) -> None:
    total = len(pack.select(dtype=dtype, stages=arguments.stages))
    with _progress(f"{dtype}", total) as progress:

        def on_event(event: Event) -> None:
            if event["event"] == "check":
                bad = event["status"] not in ("pass", "unsupported", "skipped", "expected")
                progress.add(event["case"], failed=bad)
            keep(event)

        report = run_check(
            port,
            spec=arguments.spec,
            dtype=dtype,
            device=arguments.device,
            pack=pack,
            stages=arguments.stages,
            divergences=arguments.divergences,
            minimum=arguments.minimum,
            on_event=on_event,
        )
    for ranks in arguments.ranks or ():
        _run_ranks(arguments, pack, report.events[0], ranks, keep)


@contextlib.contextmanager
def _progress(label: str, total: int) -> Iterator[Progress]:
    progress = Progress(label, total, stream=sys.stderr, shown=sys.stderr.isatty())
    try:
        yield progress
    finally:
        progress.clear()


def _run_ranks(
    arguments: argparse.Namespace, pack: Pack, start: Event, ranks: int, keep: Sink
) -> None:
    """One run more: the same port as so many data-parallel processes."""
    from gac_ref.conformance.adapters.distributed import check_ranks

    keep({**start, "ranks": ranks, "command": f"{start['command']} --ranks {ranks}"})
    checks = []
    if any("shards" in case.tags for case in pack.select(dtype=start["dtype"])):
        for event in check_ranks(
            arguments.spec,
            ranks,
            dtype=start["dtype"],
            device=arguments.device,
            pack=pack,
            timeout=arguments.timeout,
        ):
            checks.append(event)
            keep(event)
    keep(_ranks_end(checks, runs_from([{**start, "ranks": ranks}])[0].label))


def _ranks_end(checks: Sequence[Event], label: str) -> Event:
    """The verdict on the checks of several ranks; whatever is wrong there is the ranks' doing."""
    status = [check["status"] for check in checks]
    counts = {name: status.count(name) for name in ("unsupported", "skipped")}
    executed = len(status) - sum(counts.values())
    wrong = [check for check in checks if check["status"] in ("fail", *BROKEN)]
    worst = max((real(check["ratio"]) for check in checks if check["ratio"] is not None), default=0)
    ran = f"executed {executed} of {len(status)}"
    if wrong:
        verdict = "divergence" if "fail" in status else "adapter_failure"
        headline = f"FAIL {label} - origin: ranks, {len(wrong)} of {executed} failed; {ran}"
    elif executed:
        verdict, headline = "ok", f"OK {label} - {ran}; worst {ratio(worst)} bound"
    else:
        verdict, headline = "too_few", f"TOO FEW CHECKS {label} - {ran}; {_reason(checks)}"
    return {
        "event": "end",
        "verdict": verdict,
        "executed": executed,
        "total": len(status),
        **counts,
        "failed": len(wrong),
        "expected_failures": 0,
        "origin": "ranks" if wrong else None,
        "first_bad_step": None,
        "hint": "",
        "statement": "every rank must find the weight of the whole batch" if wrong else "",
        "headline": headline,
        "worst": worst,
    }


def _reason(checks: Sequence[Event]) -> str:
    return str(checks[0]["reason"]) if checks else "no case chosen is made to be dealt to ranks"


def _unanswered(
    arguments: argparse.Namespace, wanted: Sequence[str], failure: GACError
) -> Iterator[Event]:
    """The events of a port that could not be opened, for every dtype that was asked for."""
    for dtype in wanted or ["all"]:
        label = f"{arguments.spec}/{arguments.device}/{dtype}"
        yield {
            "event": "start",
            "port": arguments.spec,
            "version": "",
            "spec": arguments.spec,
            "dtype": dtype,
            "device": arguments.device,
        }
        yield {
            "event": "end",
            "verdict": "adapter_failure",
            **dict.fromkeys(("executed", "total", "unsupported", "skipped", "failed"), 0),
            "origin": None,
            "first_bad_step": None,
            "hint": f"gac-ref adapter smoke {arguments.spec!r} says what to do first",
            "headline": f"FAIL {label} - the port did not answer: {failure}",
            "worst": None,
        }
