"""The measurement as text for a terminal, and as the published page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.power.equivalent import EQUIVALENT
from gac_ref.conformance.power.jobs import Outcome
from gac_ref.conformance.power.measure import PowerReport
from gac_ref.conformance.power.resolution import Resolution
from gac_ref.conformance.stages import PIPELINE

__all__ = ["as_markdown", "as_text"]

_ORDER = (*PIPELINE, "wiring", "order", "state", "advantages", "loss")
_SHOWN = 20  # rows of a list on a terminal


def as_text(report: PowerReport) -> str:
    """A summary that fits a terminal."""
    lines = [
        _headline(report),
        "",
        *_aligned(_kill_rows(report)),
        "",
        *_aligned(_resolution_rows(report)),
    ]
    for title, outcomes in _lists(report):
        if outcomes:
            lines += ["", f"{title}:"]
            lines += [f"  {_one(o)}" for o in outcomes[:_SHOWN]]
            if len(outcomes) > _SHOWN:
                lines.append(f"  and {len(outcomes) - _SHOWN} more (--format json lists all)")
    return "\n".join(lines)


def _headline(report: PowerReport) -> str:
    d = report.to_dict()
    return (
        f"{d['killed']} of {d['mutants']} mutants found ({d['mutant_runs_killed']} of "
        f"{d['mutant_runs']} runs); origin named right in {100 * d['origin_accuracy']:.1f} %; "
        f"{d['impostors_killed']} of {d['impostors']} impostors found; {d['false_positives']} of "
        f"{d['controls']} correct ports failed; resolution at worst "
        f"{_number(d['worst_resolution'])} times the noise"
        + ("; a quick sample" if report.quick else "")
    )


def _lists(report: PowerReport) -> list[tuple[str, Sequence[Outcome]]]:
    wrong = [o for o in report.faulty if o.failed and o.origin != o.stage]
    return [
        ("Mutants not found", report.survivors),
        ("Impostors not found", [o for o in report.of("impostor") if not o.failed]),
        ("Correct ports that were failed", report.false_positives),
        ("Mutants found, and another origin named", wrong),
    ]


def _one(outcome: Outcome) -> str:
    where = f"{outcome.stage}: " if outcome.stage else ""
    named = f", named {outcome.origin or 'none'}" if outcome.failed else ""
    library = f" ({outcome.group})" if outcome.group.startswith("planted") else ""
    return f"{where}{outcome.name}{library}, {outcome.dtype}{named}"


def _dtypes(report: PowerReport) -> list[str]:
    seen = {o.dtype for o in report.outcomes}
    return [dtype for dtype in FORMATS if dtype in seen]


def _kill_rows(report: PowerReport) -> list[list[str]]:
    table, dtypes = report.kill_matrix(), _dtypes(report)
    rows = [["found / run", *dtypes]]
    for stage in (name for name in _ORDER if name in table):
        cells = (table[stage].get(dtype, [0, 0]) for dtype in dtypes)
        rows.append([stage, *(f"{found} / {run}" if run else "-" for found, run in cells)])
    return rows


def _resolution_rows(report: PowerReport) -> list[list[str]]:
    table = {(r.stage, r.dtype): r for r in report.resolution}
    dtypes = _dtypes(report)
    rows = [["fault / noise", *dtypes]]
    for stage in (name for name in _ORDER if any(key[0] == name for key in table)):
        cells = (table.get((stage, dtype)) for dtype in dtypes)
        rows.append([stage, *("-" if r is None else _multiples(r) for r in cells)])
    return rows


def _multiples(resolution: Resolution) -> str:
    return f"{_number(resolution.multiple)} ({_number(resolution.typical)})"


def _confusion_rows(report: PowerReport) -> list[list[str]]:
    table = report.confusion()
    rows = [["fault in", "right", "named instead"]]
    for stage in (name for name in _ORDER if name in table):
        row = table[stage]
        others = ", ".join(f"{name} {n}" for name, n in sorted(row.items()) if name != stage)
        rows.append([stage, f"{row.get(stage, 0)} / {sum(row.values())}", others or "-"])
    return rows


def _number(value: float) -> str:
    return "none" if math.isinf(value) else f"{value:.2g}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = rows
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in body),
    ]


_INTRO = """# The power of the conformance suite

A green check says as much as the suite is able to turn red. This page is that ability, measured:
ports with one known fault each, ports that only pretend, and correct ports that differ in every way
that arithmetic allows, all run through `gac-ref check` on the released pack. It is written by
`gac-ref power --markdown docs/power.md`, and never by hand.

* **Mutants**: a plain NumPy port, written independently of the estimator
  (`gac_ref/conformance/power/model.py`), with one method overridden by a fault that ports are known
  to have; and single lines changed in the source text of the estimator and of the torch port. Each
  runs in every dtype in which it can be seen at all; the library says why not where it cannot.
* **Origin**: the stage that the check names must be the stage of the fault. Faults that no stage by
  itself shows are *wiring* (a stage is fed something else), *order* (stages are exchanged) and
  *state* (something is carried from step to step that should not be, or is not).
* **Impostors** give zeros, echoes, cached or remembered answers, edit their inputs, or report
  invented intermediate values.
* **Controls** are correct: other orders and algorithms of summation, variances by five algorithms,
  other forms of phi, masks, means and formulas, in float32 and float64, each declaring the
  precision that it has. Failing one is a false positive.
* **Resolution**: the right outputs of a stage are multiplied by 1 + f; the smallest f that the pack
  sees, divided by the largest relative error of a correct control at that output (at least the unit
  roundoff of the format that it computes in). The output of a stage that is resolved worst counts.
  In brackets the stricter figure, the median over single calls: the smallest fault that is seen in
  a call, over the largest error of a correct control in that same call.

A fault in a stage is first run against the cases of that stage and of those before it (which must
pass, or they would be accused), one in the wiring or the order against the whole steps, and an
impostor against the single stages; the rest of the pack only where these do not find it. Faults of
the state and correct ports are run against the whole pack.
"""


def as_markdown(report: PowerReport) -> str:
    """The published page."""
    d = report.to_dict()
    groups = ", ".join(f"{n} {'in the library' if g == 'mutant' else g}"
                       for g, n in sorted(d["groups"].items()))  # fmt: skip
    summary = [
        ["measured", "result"],
        ["mutants found", f"{d['killed']} of {d['mutants']} ({groups})"],
        ["runs of mutants found", f"{d['mutant_runs_killed']} of {d['mutant_runs']}"],
        ["origin named right", f"{100 * d['origin_accuracy']:.1f} %"],
        ["impostors found", f"{d['impostors_killed']} of {d['impostors']}"],
        ["correct ports failed", f"{d['false_positives']} of {d['controls']}"],
        ["worst resolution", f"{_number(d['worst_resolution'])} times the noise"],
        ["pack", f"version {d['pack']['version']}, sha256 {d['pack']['sha256'][:12]}"],
    ]
    lines = [_INTRO, *_table(summary)]
    lines += [
        "",
        "## Kill matrix",
        "",
        "Mutants found, of those run, by the stage of the fault.",
        "",
    ]
    lines += _table(_kill_rows(report))
    lines += ["", "## Origins", "", "Which origin was named, of the runs that were found.", ""]
    lines += _table(_confusion_rows(report))
    lines += [
        "",
        "## Resolution",
        "",
        "The smallest relative fault seen, over the noise; in brackets the same of a typical call.",
        "",
    ]
    lines += _table(_resolution_rows(report))
    lines += ["", "## What falls short", ""]
    listed = [(title, outcomes) for title, outcomes in _lists(report) if outcomes]
    for title, outcomes in listed:
        lines += [f"{title}:", "", *(f"* {_one(o)}" for o in outcomes), ""]
    if not listed:
        lines += ["Nothing in this measurement.", ""]
    if EQUIVALENT:
        lines += ["## Equivalent mutants", "", "No vector can tell these from a correct port.", ""]
        lines += [f"* *{name}*: {proof}" for name, proof in EQUIVALENT.items()]
        lines.append("")
    return "\n".join(lines)
