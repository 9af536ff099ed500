"""``report.html``: one page that shows what the run found, and links every file behind it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from gac_ref.conformance.events import environment, times
from gac_ref.conformance.report.style import STYLE
from gac_ref.conformance.report.summary import Run
from overview.captions import caption_html
from overview.figures import Drawn, read_manifest
from overview.job import Found
from overview.ports import Checked
from overview.recording import Replayed
from paper_figures.manifest import commit

__all__ = ["render"]

MORE_STYLE = """
h1 { font-size: 28px; font-weight: 700; color: var(--ink); margin: 0 0 4px; }
.lead { font-size: 16px; color: var(--soft); margin: 0 0 24px; max-width: 62em; }
a { color: var(--fp64); } nav a { margin-right: 18px; }
.card img { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px; }
.said { white-space: pre-wrap; margin: 0; background: none; padding: 0; }
.runs { grid-template-columns: repeat(auto-fit, minmax(min(100%, 290px), 1fr)); }
.gallery { display: grid; gap: 16px; grid-auto-flow: dense;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
figure { margin: 0; display: flex; flex-direction: column; }
figure.wide { grid-column: 1 / -1; }
figure img { padding: 10px; }
figcaption { font-size: 13.5px; margin-top: 12px; max-width: 62em; }
figcaption b { display: block; font-size: 15px; margin-bottom: 2px; }
.files { font-size: 13px; margin-top: auto; padding-top: 10px; overflow-wrap: anywhere; }
.files a { margin-right: 12px; }
math { font-size: 1.05em; }
"""


def render(found: Found, folder: Path, *, beside: Sequence[tuple[str, Path]] = ()) -> str:
    """The page.

    Args:
        found: What to show.
        folder: Where the page will lie; links are relative to it.
        beside: Further pages worth a link, each with what it is.

    Raises:
        GACError: A figure is missing, or is not what the manifest says.
    """
    drawn = read_manifest(found.manifest) if found.manifest else []
    body = [
        "<h1>GAC, replayed, cross-checked and drawn</h1>",
        f'<p class="lead">{_lead(found)}</p>',
        *_cards(found, drawn),
        *_failures(found),
        *_replay(found, folder),
        *_ports(found, folder),
        *_figures(drawn, found.manifest, folder),
        *_beside(beside, folder),
        *_provenance(found),
    ]
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            "<title>GAC, replayed, cross-checked and drawn</title>",
            f"<style>{STYLE}{MORE_STYLE}</style></head><body><main>",
            *body,
            "</main></body></html>\n",
        )
    )


def _lead(found: Found) -> str:
    recording = escape(found.replayed.source) if found.replayed else "no recording"
    return (
        f"The recording: {recording}. mu is the weight of supervised fine-tuning in "
        "L = (1 \u2212 mu) L<sub>RL</sub> + mu L<sub>SFT</sub>: 1 is pure SFT, 0 is pure RL."
    )


def _cards(found: Found, drawn: Sequence[Drawn]) -> Iterator[str]:
    """One verdict each for the replay, the ports and the figures."""
    yield '<div class="runs">'
    if found.replayed:
        yield _replay_card(found.replayed)
    if found.checked:
        yield _ports_card(found.checked)
    if drawn:
        files = sum(len(each.files) for each in drawn)
        facts = {"figures and tables": str(len(drawn)), "files": str(files)}
        yield _card("good", "Figures", "Drawn", facts, "PDF, SVG, PNG and LaTeX, with their sha256")
    yield "</div>"


def _replay_card(replayed: Replayed) -> str:
    summary, agrees = replayed.summary, replayed.agrees
    verdict = {True: "Agrees", False: "Differs", None: "Replayed"}[agrees]
    assert summary.last is not None
    facts = {
        "steps": str(summary.steps),
        "mu": f"{summary.low:.3f} to {summary.high:.3f}",
        "last": f"{summary.last.mu:.3f}",
        "authority of the estimate": f"{replayed.authority.weight:.2%}",
    }
    said = {
        True: "the live controller's log is the reference's, to rounding",
        False: str(replayed.comparison.first),
        None: "the recording logs nothing of its controller to compare",
    }[agrees]
    return _card("bad" if agrees is False else "good", "Replay", verdict, facts, said)


def _ports_card(checked: Sequence[Checked]) -> str:
    runs = [run for each in checked for run in each.runs]
    bad = [run for run in runs if run.verdict != "ok"]
    executed = sum(run.counts["executed"] for run in runs)
    worst = max((run.worst for run in runs if not math.isnan(run.worst)), default=math.nan)
    facts = {
        "ports": str(len(checked)),
        "runs, one a dtype": str(len(runs)),
        "checks": f"{executed:,}",
        "worst": "-" if math.isnan(worst) else f"{times(worst)} bound",
    }
    said = "; ".join(run.headline for run in bad) or "every error is within its derived bound"
    diverge = any(run.verdict == "divergence" for run in bad)
    verdict = "Diverge" if diverge else "Not all answer" if bad else "Agree"
    return _card("bad" if bad else "good", "Ports", verdict, facts, said)


def _card(kind: str, title: str, verdict: str, facts: dict[str, str], said: str) -> str:
    shown = "".join(f"<span>{escape(k)} <b>{escape(v)}</b></span>" for k, v in facts.items())
    return (
        f'<section class="card run {kind}"><h3>{title}</h3><div class="verdict">{verdict}</div>'
        f'<div class="facts">{shown}</div><p class="headline soft">{escape(said)}</p></section>'
    )


def _failures(found: Found) -> Iterator[str]:
    if found.failures:
        yield "<h2>What failed</h2>"
        for line in found.failures:
            yield f'<p class="hint">{escape(line)}</p>'


def _replay(found: Found, folder: Path) -> Iterator[str]:
    if found.replayed is None:
        return
    it = found.replayed
    lines = [
        *it.authority.lines(it.config, f"variant {it.variant}"),
        "",
        *it.summary.lines(),
        "",
        *it.comparison.lines(),
    ]
    yield "<h2>The weight over training</h2>"
    yield f'<section class="card">{_image(it.picture, folder, "mu over the recorded training")}'
    yield '<details class="table"><summary>The same in words</summary><div>'
    said = escape("\n".join(lines))
    yield f'<pre class="said">{said}</pre></div></details></section>'


def _ports(found: Found, folder: Path) -> Iterator[str]:
    yield "<h2>Ports against the reference</h2>"
    yield '<section class="card"><div class="scroll"><table><thead><tr>'
    for name in ("port", "dtype", "verdict"):
        yield f"<th>{name}</th>"
    for name in ("executed", "failed", "unsupported", "worst error over bound"):
        yield f'<th class="number">{name}</th>'
    yield "<th>report</th></tr></thead><tbody>"
    for each in found.checked:
        for number, run in enumerate(each.runs):
            yield _port_row(each, run, folder, first=number == 0)
    for port, missing in found.absent:
        yield f'<tr><td>{escape(port.label)}</td><td class="soft" colspan="7">'
        yield f"not checked: {escape(missing)}</td></tr>"
    yield "</tbody></table></div></section>"


def _port_row(each: Checked, run: Run, folder: Path, *, first: bool) -> str:
    counts, bad = run.counts, run.verdict != "ok"
    cells = [f"<td>{escape(each.port.label) if first else ''}</td><td>{escape(run.dtype)}</td>"]
    cells.append(f"<td>{'OK' if not bad else escape(run.verdict.replace('_', ' '))}</td>")
    executed = f"{counts['executed']:,} of {counts['total']:,}"
    worst = "-" if math.isnan(run.worst) else times(run.worst)
    for text in (executed, f"{counts['failed']:,}", f"{counts['unsupported']:,}", worst):
        cells.append(f'<td class="number">{escape(text)}</td>')
    cells.append(f"<td>{_link(each.page, folder, 'page') if first else ''}</td>")
    kind = ' class="bad"' if bad else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _figures(drawn: Sequence[Drawn], manifest: Path | None, folder: Path) -> Iterator[str]:
    if manifest is None:
        return
    yield "<h2>Figures and tables</h2>"
    listed = _link(manifest, folder, "manifest.json")
    yield f'<p class="soft">Drawn at commit {escape(drawn[0].commit)}, listed in {listed}.</p>'
    yield '<div class="gallery">'
    for each in drawn:
        yield from _figure(each, folder)
    yield "</div>"


def _figure(each: Drawn, folder: Path) -> Iterator[str]:
    yield f'<figure class="card{" wide" if each.wide else ""}">'
    if "svg" in each.files:
        yield _image(each.files["svg"], folder, each.title)
    yield f"<figcaption><b>{escape(each.title)}</b>{caption_html(each.caption)}</figcaption>"
    links = [_link(file, folder, kind.upper()) for kind, file in sorted(each.files.items())]
    yield f'<div class="files">{"".join(links)}<br/><code>{escape(each.command)}</code></div>'
    yield "</figure>"


def _beside(beside: Sequence[tuple[str, Path]], folder: Path) -> Iterator[str]:
    if beside:
        yield "<h2>Read on</h2><nav>"
        yield from (_link(path, folder, label) for label, path in beside)
        yield "</nav>"


def _provenance(found: Found) -> Iterator[str]:
    rows = {
        "command": found.command,
        "commit": commit(),
        **environment(),
        "written": datetime.now().astimezone().isoformat(timespec="seconds"),
        "took": f"{found.seconds:.0f} s",
    }
    yield '<h2>Provenance</h2><section class="card"><dl>'
    yield from (f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items())
    yield "</dl></section>"


def _address(path: Path, folder: Path) -> str:
    return escape(Path(os.path.relpath(path, folder)).as_posix(), quote=True)


def _link(path: Path, folder: Path, label: str) -> str:
    return f'<a href="{_address(path, folder)}">{escape(label)}</a>'


def _image(path: Path, folder: Path, alt: str) -> str:
    source = _address(path, folder)
    return f'<a href="{source}"><img src="{source}" alt="{escape(alt, quote=True)}"/></a>'
