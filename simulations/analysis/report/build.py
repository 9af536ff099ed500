"""Report: sections read, figures drawn, page and claims written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gac_ref.errors import GACError, fail
from simulations.analysis.question import Part, Question, Section
from simulations.analysis.report.page import html, markdown
from simulations.analysis.report.pictures import save_figure
from simulations.analysis.results import Results

__all__ = ["write_report"]


def write_report(
    questions: Sequence[Question],
    results: Results,
    out: Path,
    *,
    note: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write ``report.md``, ``report.html``, ``figures/*.svg`` and ``claims.json``.

    Args:
        questions: What to answer.
        results: The saved results; nothing is computed here.
        out: The folder.
        note: Called with a line for people.

    Returns:
        The files, the HTML page first.

    Raises:
        GACError: A result is missing or not usable, or the folder cannot be written.
    """
    sections: dict[str, Section] = {}
    parts: dict[str, Part] = {}
    for asked in questions:
        note(f"{asked.name}: {asked.title}")
        sections[asked.name] = asked.section(results)
        parts |= {part.name: part for part in asked.parts()}
    stale = [name for name, part in parts.items() if results.stale(part)]
    if stale:
        note(f"computed by other source code than today's: {', '.join(stale)}")
    files = {name: results.path(part).name for name, part in parts.items()}
    commands = {name: part.command for name, part in parts.items()}
    text = markdown(sections, results, files, commands)
    try:
        (out / "figures").mkdir(parents=True, exist_ok=True)
        drawn = [
            save_figure(figure, out / "figures")
            for section in sections.values()
            for figure in section.figures
        ]
        written = [_write(out / "report.html", html(text, out)), _write(out / "report.md", text)]
        for asked in questions:
            if asked.name == "claims":
                rows = [_plain(row) for row in asked.claims(results)]  # type: ignore[attr-defined]
                written.append(_write(out / "claims.json", json.dumps(rows, indent=1) + "\n"))
    except OSError as error:
        raise GACError(
            f"{out}: cannot write ({error.strerror or error}); pass another --out"
        ) from error
    if len(drawn) != len({file.name for file in drawn}):
        fail("two figures have one name; name each figure after its question")
    return [*written, *drawn]


def _write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has neither NaN nor infinity."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
