"""The report as one self-contained HTML page: inline style and picture, no script, no request."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from gac_ref import __version__
from gac_ref.conformance.report import picture, words
from gac_ref.conformance.report.style import STYLE
from gac_ref.conformance.report.summary import Check, Run, StageRow
from gac_ref.conformance.stages import PIPELINE, STAGES

__all__ = ["render"]

SHOWN = 300
"""Failures listed a run; the events hold them all."""

# The page may load nothing at all, whatever a port wrote into its replies.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_KINDS = {"ok": "good", "too_few": "warn", "incomplete": "warn"}
_WORDS = {
    "ok": "Agrees",
    "divergence": "Diverges",
    "too_few": "Too few checks ran",
    "incomplete": "Stopped before the end",
    "adapter_failure": "The port did not answer",
}


def render(runs: Sequence[Run]) -> str:
    """The report of one run or several (such as one a dtype) as one page.

    The text is well-formed XML too, so that it can be parsed back.

    Examples:
        >>> render(()).startswith("<!DOCTYPE html>")
        True
    """
    ports = sorted({str(run.start.get("port", "?")) for run in runs})
    title = f"{', '.join(ports) or 'nothing'} against gac-ref"
    body = [f"<h1>{_text(title)}</h1>", *_cards(runs)]
    body += [part for run in runs for part in _story(run)]
    body += _pictured(runs)
    body += [part for run in runs for part in _tables(run)]
    body += [f'<p class="soft">Written by gac-ref {_text(__version__)}.</p>']
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en" xmlns="http://www.w3.org/1999/xhtml"><head><meta charset="utf-8"/>',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f"<title>{_text(title)}</title>",
            f"<style>{STYLE}</style></head><body><main>",
            *body,
            "</main></body></html>\n",
        )
    )


def _text(text: object) -> str:
    return escape(str(text))


def _cards(runs: Sequence[Run]) -> Iterator[str]:
    """The verdict of each run."""
    yield '<div class="runs">'
    for run in runs:
        counts = run.counts
        facts = [
            ("executed", f"{counts['executed']} of {counts['total']}"),
            ("failed", str(counts["failed"])),
            ("unsupported", str(counts["unsupported"])),
            ("worst", words.ratio(run.worst)),
        ]
        yield f'<section class="card run {_KINDS.get(run.verdict, "bad")}">'
        yield f"<h3>{_text(run.label)}</h3>"
        yield f'<div class="verdict">{_verdict(run)}</div>'
        yield '<div class="facts">'
        yield from (f"<span>{name} <b>{_text(text)}</b></span>" for name, text in facts)
        yield f'</div><p class="headline soft">{_text(run.headline)}</p></section>'
    yield "</div>"


def _verdict(run: Run) -> str:
    origin = run.end.get("origin")
    word = _WORDS[run.verdict]
    return f"{word} in {_text(origin)}" if run.verdict == "divergence" and origin else word


def _story(run: Run) -> Iterator[str]:
    """Where it goes wrong, for a run that does."""
    if run.first is None and run.verdict == "ok":
        return
    yield f"<h2>Where {_text(run.label)} goes wrong</h2>"
    yield '<section class="card">'
    yield from _flow(run)
    if run.first is not None:
        yield f"<h3>First: {_text(words.title(run.first))}</h3>"
        yield from _failure(run.first)
    else:
        yield f"<p>{_text(run.headline)}</p>"
    for name, note in run.notes:
        yield f'<p class="hint"><b>{name}</b> {_text(note)}</p>'
    yield "</section>"


def _flow(run: Run) -> Iterator[str]:
    """The stages in order, each with what became of it."""
    yield '<ol class="flow" aria-label="the stages in order">'
    for stage in (*PIPELINE, *(name for name in STAGES if name not in PIPELINE)):
        kind = _state([row for row in run.stages if row.stage == stage])
        if kind == "failed" and stage == run.end.get("origin"):
            kind = "origin"
        label = {"silent": "not run", "good": "passes"}.get(kind, kind)
        yield f'<li class="{kind}" title="{label}">{stage}</li>'
    yield "</ol>"


def _state(rows: Sequence[StageRow]) -> str:
    if any(row.failed for row in rows):
        return "failed"
    if any(row.propagated for row in rows):
        return "propagated"
    return "good" if any(row.passed for row in rows) else "silent"


def _failure(check: Check) -> Iterator[str]:
    if check.comment:
        yield f"<p>{_text(check.comment)}</p>"
    yield "<dl>"
    for name, text in words.details(check):
        shown = _text(text) if name == "reason" else f"<code>{_text(text)}</code>"
        yield f"<dt>{name}</dt><dd>{shown}</dd>"
    yield "</dl>"
    if check.replay:
        yield f"<pre>{_text(check.replay)}</pre>"


def _pictured(runs: Sequence[Run]) -> Iterator[str]:
    drawing = picture.draw(runs)
    if not drawing:
        return
    yield '<h2>Error over bound</h2><section class="card"><div class="legend">'
    for dtype in picture.lanes(runs):
        known = dtype if dtype in picture.DTYPES else "other"
        yield f"<span>{_swatch(f'dtype-{known}')}{_text(dtype)}</span>"
    wrong = {check.status for run in runs for check in run.checks if check.ratio > 1}
    if wrong:
        yield f"<span>{_swatch('swatch-out')}beyond its bound</span>"
    if "propagated" in wrong:
        yield f"<span>{_swatch('swatch-propagated')}propagated from an earlier stage</span>"
    yield f'</div><div class="scroll">{drawing}</div></section>'


def _swatch(name: str) -> str:
    return (
        f'<svg viewBox="0 0 10 10" aria-hidden="true"><circle class="{name}" cx="5" cy="5" '
        'r="4"/></svg>'
    )


def _tables(run: Run) -> Iterator[str]:
    yield f"<h2>{_text(run.label)}</h2>"
    if run.stages:
        shown = "" if run.verdict == "ok" else ' open="open"'
        yield f'<section class="card"><details class="table"{shown}>'
        yield f"<summary>{len(run.heard)} stages and modes</summary>"
        yield from _stages(run.heard)
        if run.silent:
            yield f'<p class="soft">Not supported: {_text(", ".join(run.silent))}</p>'
        yield "</details></section>"
    failures = run.failures
    if failures:
        yield f'<h3 class="gap">{len(failures)} failures</h3>'
        yield '<section class="card">'
        for check in failures[:SHOWN]:
            yield from _expandable(check)
        if len(failures) > SHOWN:
            yield f'<p class="soft">and {len(failures) - SHOWN} more, in the events</p>'
        yield "</section>"
    yield '<section class="card gap"><details class="table"><summary>Provenance</summary><div><dl>'
    yield from (
        f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in words.provenance(run)
    )
    yield "</dl></div></details></section>"


def _stages(rows: Iterable[StageRow]) -> Iterator[str]:
    yield '<div class="scroll"><table><thead><tr><th>stage</th><th>mode</th>'
    for name in ("passed", "failed", "propagated", "unsupported", "worst error over bound"):
        yield f'<th class="number">{name}</th>'
    yield '<th aria-label="as a bar"></th></tr></thead><tbody>'
    named = ""
    for row in rows:
        name, named = "" if row.stage == named else row.stage, row.stage
        numbers = (row.passed, row.failed, row.propagated, row.unsupported)
        cells = [*map(words.count, numbers), words.ratio(row.worst)]
        yield f"<tr{_BAD if row.failed else ''}><td>{_text(name)}</td>"
        yield f"<td>{_text(row.mode.replace('_', ' '))}</td>"
        yield "".join(f'<td class="number">{cell}</td>' for cell in cells)
        yield f"<td>{_meter(row.worst)}</td></tr>"
    yield "</tbody></table></div>"


_BAD = ' class="bad"'


def _meter(worst: float) -> str:
    if math.isnan(worst):
        return ""
    share, kind = min(worst, 1.0) * 90, "over" if worst > 1 else "fill"
    return (
        '<svg class="meter" viewBox="0 0 90 8" aria-hidden="true"><rect class="track" width="90" '
        f'height="8" rx="4"/><rect class="{kind}" width="{share:.1f}" height="8" rx="4"/></svg>'
    )


def _expandable(check: Check) -> Iterator[str]:
    tag = check.status.replace("_", " ")
    kind = " propagated" if check.status == "propagated" else ""
    step = "" if check.step is None else f", step {check.step}"
    yield (
        f"<details><summary><span>{_text(check.case)}</span>"
        f'<span class="where">{_text(check.stage)}, {_text(check.mode.replace("_", " "))}{step}'
        f'</span><span class="much number">{words.ratio(check.ratio)}</span>'
        f'<span class="tag{kind}">{_text(tag)}</span></summary><div>'
    )
    yield from _failure(check)
    yield "</div></details>"
