"""The page in Markdown, and the same page in HTML with its figures inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from gac_ref.conformance.report.style import STYLE
from gac_ref.errors import fail
from simulations.analysis.question import Finding, Section
from simulations.analysis.results import Results

__all__ = ["html", "markdown"]

INTRODUCTION = """\
Every number below is read from a saved file; the folded tables name the file and the command that
computes it again. An interval in brackets is a 95 % interval; a number without one is exact,
unless it says otherwise. *n* counts independent observations.
"""

MORE_STYLE = """
main { max-width: 860px; } img { max-width: 100%; background: #fff; border-radius: 6px; }
h1 { font-size: 26px; font-weight: 700; color: var(--ink); } h2 { margin-top: 56px; }
table { display: block; overflow-x: auto; margin: 14px 0; } td { font-size: 13px; }
details { margin: 6px 0; border: 0; }
summary { display: block; padding: 2px 0; color: var(--soft); font-size: 13px; }
summary::before { display: inline-block; margin-right: 8px; }
"""


def markdown(
    sections: Mapping[str, Section],
    results: Results,
    files: Mapping[str, str],
    commands: Mapping[str, str],
) -> str:
    """The page.

    Args:
        sections: Question name -> answer, in order.
        results: Where the numbers were read from, for the header.
        files: Part -> name of its saved file.
        commands: Part -> what computes it again.
    """
    lines = ["# What GAC does, asked and answered", "", INTRODUCTION]
    lines += [f"- [{section.title}](#{name})" for name, section in sections.items()]
    lines += ["", f"Results: `{results.root}`", ""]
    for name, section in sections.items():
        lines += [f'<a id="{name}"></a>', "", f"## {section.title}", ""]
        for paragraph in section.answer:
            lines += [paragraph, ""]
        for figure in section.figures:
            lines += [f"![{figure.name}](figures/{figure.name}.svg)", "", f"*{figure.caption}*", ""]
        lines += _table(section.findings, files, commands)
    return "\n".join(lines)


def _table(
    findings: Sequence[Finding], files: Mapping[str, str], commands: Mapping[str, str]
) -> list[str]:
    """The numbers, by the file that they come from; folded, as there are many."""
    lines = []
    for part in dict.fromkeys(finding.part for finding in findings):
        found = [finding for finding in findings if finding.part == part]
        what = "1 number" if len(found) == 1 else f"{len(found)} numbers"
        lines += [
            f"<details><summary>{what} from <code>{files[part]}</code>, computed again by "
            f"<code>{commands[part]}</code></summary>",
            "",
            "| number | value | n |",
            "| --- | --- | --- |",
            *(f"| {x.label} | {x.text()} | {x.n or 'exact'} |" for x in found),
            "",
            "</details>",
            "",
        ]
    return lines


def html(text: str, folder: Path) -> str:
    """The Markdown page as one self-contained HTML page.

    Args:
        text: What `markdown` made.
        folder: Where the figures that it links lie.

    Raises:
        GACError: markdown-it-py is not installed.
    """
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        fail(f"the HTML page needs markdown-it-py ({error}); install requirements/sim.lock")
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    body = re.sub(r'src="(figures/[^"]+\.svg)"', lambda found: _inside(folder / found[1]), body)
    title = escape(text.splitlines()[0].lstrip("# "))
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f"<title>{title}</title><style>{STYLE}{MORE_STYLE}</style></head><body><main>",
            body,
            "</main></body></html>\n",
        )
    )


def _inside(file: Path) -> str:
    content = base64.b64encode(file.read_bytes()).decode("ascii")
    return f'src="data:image/svg+xml;base64,{content}"'
