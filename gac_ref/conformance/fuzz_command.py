"""``gac-ref fuzz``: the search, and what it found in plain text."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gac_ref.conformance.adapters import AdapterFailure, open_port
from gac_ref.conformance.dtypes import dtype_named, dtypes_of
from gac_ref.conformance.events import replay_command
from gac_ref.conformance.fuzz import FuzzReport, fuzz
from gac_ref.conformance.report import words
from gac_ref.conformance.report.events import printable
from gac_ref.errors import fail

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Args:
        arguments: As :mod:`gac_ref.conformance.cli` parses them.

    Returns:
        0 if nothing wrong was found, 1 if something was, 3 if the port does not answer.
    """
    wanted = [dtype_named(arguments.dtype)] if arguments.dtype else []
    if arguments.out is not None and not Path(arguments.out).parent.is_dir():
        fail(f"--out {arguments.out}: there is no directory {Path(arguments.out).parent}")
    progress = _Progress(arguments.seconds, shown=sys.stderr.isatty())
    try:
        with open_port(
            arguments.spec, timeout=arguments.timeout, in_process=arguments.in_process
        ) as port:
            dtypes = dtypes_of(port, wanted)
            if not dtypes:
                fail(f"{arguments.spec}: its hello names no dtype; pass one as --dtype")
            report = fuzz(
                port,
                dtype=dtypes[0],
                device=arguments.device,
                seconds=arguments.seconds,
                seed=arguments.seed,
                out=arguments.out,
                on_event=progress.event,
            )
    except AdapterFailure as failure:
        progress.clear()
        print(f"gac-ref: {arguments.spec} does not answer: {failure}", file=sys.stderr)
        return 3
    progress.clear()
    print(*lines(report, arguments, dtypes[0]), sep="\n")
    return 1 if report.failures else 0


def lines(report: FuzzReport, arguments: argparse.Namespace, dtype: str) -> Iterator[str]:
    """What a search found, as lines of text."""
    tried = sum(report.examples.values())
    label = f"{arguments.spec}/{arguments.device}/{dtype}"
    after = f"{tried} inputs in {report.seconds:.0f} s, seed {arguments.seed}"
    if report.failures:
        wrong = ", ".join(failure.stage for failure in report.failures)
        yield f"FAIL {label} - wrong in {wrong}; {after}"
    else:
        worst = max((value for value in report.worst.values()), default=math.nan)
        yield f"OK {label} - nothing wrong found in {after}; worst {words.ratio(worst)} bound"
    yield ""
    yield f"{'stage':<15}{'inputs':>8}{'undecided':>11}  worst error/bound"
    for stage, examples in report.examples.items():
        worst = report.worst.get(stage, math.nan)
        undecided = words.count(report.undecided.get(stage, 0))
        yield f"{stage:<15}{examples:>8}{undecided:>11}  {words.ratio(worst)}"
    for failure in report.failures:
        index = f"[{', '.join(map(str, failure.index))}]" if failure.index else ""
        yield ""
        yield f"{failure.stage}: {failure.output}{index}, {words.ratio(failure.ratio)}"
        if failure.output:
            yield f"  got {failure.got!r}, expected {failure.expected!r}, bound {failure.bound:.4g}"
        if failure.reason:
            yield f"  {printable(failure.reason)}"
    if report.path is not None:
        yield ""
        what = "Replay" if report.failures else "Closest to its bound"
        command = replay_command(arguments.spec, dtype, arguments.device)
        yield f"{what}  {command} --case {shlex.quote(report.path)}"


class _Progress:
    def __init__(self, seconds: float, *, shown: bool) -> None:
        self._seconds, self._shown, self._start = seconds, shown, time.monotonic()

    def event(self, event: dict[str, Any]) -> None:
        if self._shown:
            left = max(self._seconds - (time.monotonic() - self._start), 0)
            stage = printable(str(event.get("stage", "")))
            sys.stderr.write(f"\r{f'fuzzing {stage}, {left:.0f} s left':<60}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write(f"\r{'':60}\r")
            sys.stderr.flush()
