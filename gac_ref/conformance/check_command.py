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
from gac_ref.conformance.events import EXIT_CODES
from gac_ref.conformance.pack import Pack, load_pack
from gac_ref.conformance.port import Port
from gac_ref.conformance.ranks import run_ranks
from gac_ref.conformance.report.deliver import deliver, targets
from gac_ref.conformance.report.events import EventFile
from gac_ref.conformance.report.summary import runs_from, worst_verdict
from gac_ref.conformance.report.terminal import Progress
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
        run_ranks(
            arguments.spec,
            ranks,
            start=report.events[0],
            pack=pack,
            timeout=arguments.timeout,
            on_event=keep,
        )


@contextlib.contextmanager
def _progress(label: str, total: int) -> Iterator[Progress]:
    progress = Progress(label, total, stream=sys.stderr, shown=sys.stderr.isatty())
    try:
        yield progress
    finally:
        progress.clear()


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
