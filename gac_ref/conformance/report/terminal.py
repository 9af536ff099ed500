"""The report as plain text, 80 columns wide, and the progress line of a running check."""

from __future__ import annotations

import math
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from gac_ref.conformance.report import words
from gac_ref.conformance.report.summary import Check, Run, StageRow

__all__ = ["Paint", "Progress", "colours_wanted", "render"]

WIDTH = 80
BAR = 10
_GREEN, _RED, _YELLOW, _DIM, _BOLD = "32", "31", "33", "2", "1"


def colours_wanted(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream`: a terminal, and ``NO_COLOR`` is not set.

    Examples:
        >>> import io
        >>> colours_wanted(io.StringIO())
        False
    """
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Paint:
    """Colours, or none."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, *codes: str) -> str:
        """`text` in the given colours."""
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self._on and codes and text else text


def render(runs: Sequence[Run], *, colour: bool = False) -> str:
    r"""The report of one run or several, ending in a line break.

    Args:
        runs: From :func:`~gac_ref.conformance.report.summary.runs_from`.
        colour: Whether to use terminal colours.

    Examples:
        >>> render(())
        'nothing was checked\n'
    """
    paint = Paint(on=colour)
    blocks = ["\n".join(_run(run, paint)) for run in runs] or ["nothing was checked"]
    if len(runs) > 1:
        headlines = [_headline(run, paint) for run in runs]
        blocks.append("\n".join(line for lines in headlines for line in lines))
    return f"\n\n{'-' * WIDTH}\n\n".join(blocks) + "\n"


def _run(run: Run, paint: Paint) -> Iterator[str]:
    """Headline first and last, what explains it between."""
    yield from _headline(run, paint)
    if run.heard:
        yield ""
        yield paint(_HEAD, _DIM)
        named = ""
        for row in run.heard:
            yield _row(row, run, paint, name="" if row.stage == named else row.stage)
            named = row.stage
    if run.silent:
        yield ""
        yield from _field("Without", f"{', '.join(run.silent)}: not supported", paint)
    if run.first is not None:
        yield ""
        yield from _failure(run.first, paint)
    for name, note in run.notes:
        yield ""
        yield from _field(name, note, paint)
    if run.first is not None and run.first.replay:
        yield ""
        # Not wrapped: it is there to be copied.
        yield f"{paint('Replay', _BOLD)}  {run.first.replay}"
    facts = [f"{name} {text}" for name, text in words.provenance(run) if name not in _SHOWN]
    if facts:
        yield ""
        yield from _field("With", "; ".join(facts), paint)
    yield ""
    yield from _headline(run, paint)


_SHOWN = ("command", "dtype", "device", "spec")
_HEAD = f"{'stage':<15}{'mode':<11}{'pass':>5}{'fail':>6}{'prop':>6}{'unsup':>6}  worst error/bound"


def _headline(run: Run, paint: Paint) -> list[str]:
    text = run.headline
    lines = textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]
    codes = {"ok": _GREEN, "too_few": _YELLOW, "incomplete": _YELLOW}
    first, space, rest = lines[0].partition(" ")
    return [paint(first, _BOLD, codes.get(run.verdict, _RED)) + space + rest, *lines[1:]]


def _row(row: StageRow, run: Run, paint: Paint, *, name: str) -> str:
    numbers = (row.failed, row.propagated, row.unsupported)
    failed, propagated, unsupported = (f"{words.count(number):>6}" for number in numbers)
    bad = row.stage == run.end.get("origin") and row.failed
    return "".join(
        (
            paint(f"{name:<15}", *((_BOLD, _RED) if bad else ())),
            f"{row.mode.replace('_', ' '):<11}{words.count(row.passed):>5}",
            paint(failed, *((_RED,) if row.failed else ())),
            paint(propagated, *((_YELLOW,) if row.propagated else ())),
            paint(unsupported, *((_DIM,) if row.unsupported else ())),
            f"{words.ratio(row.worst):>8} ",
            paint(bar(row.worst), *((_RED,) if row.worst > 1 else (_GREEN,))),
        )
    ).rstrip()


def bar(worst: float) -> str:
    """The worst error in tenths of its bound; ">" where it is beyond.

    Examples:
        >>> [bar(x) for x in (0.0, 0.31, 1.0, 7.3, float("nan"))]
        ['|          |', '|###       |', '|##########|', '|##########>', '']
    """
    if math.isnan(worst):
        return ""
    if worst > 1:
        return f"|{'#' * BAR}>"
    # A trace of an error shows as one mark: an empty bar means exact.
    filled = max(int(worst * BAR), 1) if worst > 0 else 0
    return f"|{'#' * filled:<{BAR}}|"


def _failure(check: Check, paint: Paint) -> Iterator[str]:
    yield from _field("First", words.title(check), paint)
    if check.comment:
        yield from textwrap.wrap(
            check.comment, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8
        )
    for name, text in words.details(check):
        yield from textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"        {name:<9} ",
            subsequent_indent=" " * 18,
            break_on_hyphens=False,
        )


def _field(name: str, text: str, paint: Paint) -> Iterator[str]:
    lines = textwrap.wrap(text, WIDTH - 8, break_on_hyphens=False, break_long_words=False) or [""]
    yield paint(name, _BOLD) + " " * max(8 - len(name), 1) + lines[0]
    yield from (" " * 8 + line for line in lines[1:])


class Progress:
    """One terminal line while a check runs: cases done, time left; silent if not `shown`.

    Args:
        label: What runs.
        total: How many cases there are; a case counts once its first check is in.
        stream: Where the line goes.
        shown: Whether to draw at all.
    """

    def __init__(
        self, label: str, total: int, *, stream: TextIO | None = None, shown: bool = True
    ) -> None:
        self._label, self._total, self._shown = label, max(total, 1), shown
        self._stream = sys.stderr if stream is None else stream
        self._start = self._drawn = time.monotonic()
        self._width = self._failed = 0
        self._cases: set[str] = set()

    def add(self, case: str, *, failed: bool) -> None:
        """Count a check; redraw at most ten times a second."""
        self._cases.add(case)
        self._failed += failed
        now = time.monotonic()
        if not self._shown or now - self._drawn < 0.1:
            return
        self._drawn = now
        done = min(len(self._cases), self._total)
        left = (now - self._start) / done * (self._total - done)
        failures = f", {self._failed} wrong" if self._failed else ""
        text = f"{self._label}  {done} of {self._total} cases{failures}, {_duration(left)} left"
        self._write(text[: WIDTH - 1])

    def clear(self) -> None:
        """Leave an empty line for what is printed next."""
        if self._width:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

    def _write(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)


def _duration(seconds: float) -> str:
    """A time to come, rounded up.

    Examples:
        >>> _duration(3.2), _duration(125.0)
        ('4 s', '3 min')
    """
    return f"{math.ceil(seconds)} s" if seconds < 100 else f"{math.ceil(seconds / 60)} min"
