"""The report as Markdown, for a pull request or a job summary."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gac_ref.conformance.report import words
from gac_ref.conformance.report.summary import Check, Run

__all__ = ["render"]

SHOWN = 20
"""Failures listed a run; the events hold them all."""


def render(runs: Sequence[Run]) -> str:
    r"""The report of one run or several, as GitHub's Markdown.

    Examples:
        >>> render(())
        '# Conformance of a port to gac-ref\n\nNothing was checked.\n'
    """
    lines = ["# Conformance of a port to gac-ref", ""]
    if not runs:
        return "\n".join([*lines, "Nothing was checked.", ""])
    lines += [f"* **{escaped(run.headline)}**" for run in runs]
    for run in runs:
        lines += ["", *_run(run)]
    return "\n".join([*lines, ""])


def escaped(text: str) -> str:
    r"""`text` on one line, without meaning to Markdown or HTML.

    Examples:
        >>> escaped("a|b_c <i>")
        'a\\|b\\_c &lt;i&gt;'
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in text)


def code(text: str) -> str:
    """`text` as a code span, whatever backticks it holds."""
    fence = "`"
    while fence in text:
        fence += "`"
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _run(run: Run) -> Iterator[str]:
    yield f"## {escaped(run.label)}"
    yield ""
    if run.stages:
        yield "| stage | mode | passed | failed | propagated | unsupported | worst error/bound |"
        yield "|---|---|---:|---:|---:|---:|---:|"
        for row in run.heard:
            numbers = (row.passed, row.failed, row.propagated, row.unsupported)
            name = escaped(row.stage)
            if row.failed:
                name = f"**{name}**"
            cells = [name, row.mode.replace("_", " "), *map(words.count, numbers)]
            yield f"| {' | '.join(cells)} | {words.ratio(row.worst)} |"
    if run.silent:
        yield f"\nNot supported: {escaped(', '.join(run.silent))}"
    for name, note in run.notes:
        yield f"\n{name}: {escaped(note)}"
    if run.first is not None:
        yield f"\n### First: {escaped(words.title(run.first))}\n"
        yield from _failure(run.first)
    others = [check for check in run.failures if check is not run.first]
    if others:
        yield f"\n<details><summary>{len(others)} more</summary>\n"
        yield "| case | stage | mode | status | element | error/bound |"
        yield "|---|---|---|---|---|---:|"
        for check in others[:SHOWN]:
            names = (check.case, check.stage, check.mode.replace("_", " "), check.status)
            cells = [*map(escaped, (*names, check.element)), words.ratio(check.ratio)]
            yield f"| {' | '.join(cells)} |"
        if len(others) > SHOWN:
            yield f"\n... and {len(others) - SHOWN} more, in the events."
        yield "\n</details>"
    yield "\n| with | |\n|---|---|"
    yield from (f"| {escaped(name)} | {escaped(text)} |" for name, text in words.provenance(run))


def _failure(check: Check) -> Iterator[str]:
    if check.comment:
        yield f"{escaped(check.comment)}\n"
    for name, text in words.details(check):
        yield f"* {name}: {code(text) if name != 'reason' else escaped(text)}"
    if check.replay:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", check.replay)), default=0))
        yield f"\n{fence}\n{check.replay}\n{fence}"
