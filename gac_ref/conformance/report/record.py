"""The one JSON object that ``--format json`` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gac_ref.conformance.events import EXIT_CODES
from gac_ref.conformance.report.summary import Run, worst_verdict

__all__ = ["overall"]


def overall(runs: Sequence[Run]) -> dict[str, Any]:
    """The one JSON object of ``--format json``: a run's record, or several under "runs".

    With several runs, the verdict is the worst, counts are summed, and origin, hint and headline
    are those of the first run with the worst verdict.
    """
    if len(runs) == 1:
        return _record(runs[0])
    verdict = worst_verdict(runs)
    chosen = next((run for run in runs if run.verdict == verdict), None)
    counts = [run.counts for run in runs]
    return {
        "verdict": verdict,
        **{name: sum(count[name] for count in counts) for name in (counts[0] if counts else ())},
        "origin": chosen.end.get("origin") if chosen else None,
        "first_bad_step": chosen.end.get("first_bad_step") if chosen else None,
        "worst": max((run.worst for run in runs if run.worst == run.worst), default=None),
        "hint": chosen.end.get("hint") if chosen else None,
        "headline": chosen.headline if chosen else "nothing was checked",
        "exit_code": EXIT_CODES[verdict],
        "runs": [_record(run) for run in runs],
    }


def _record(run: Run) -> dict[str, Any]:
    first = run.first
    return {
        "verdict": run.verdict,
        **run.counts,
        "origin": run.end.get("origin"),
        "first_bad_step": run.end.get("first_bad_step"),
        "worst": None if math.isnan(run.worst) else run.worst,
        "hint": run.end.get("hint"),
        "statement": run.end.get("statement"),
        "headline": run.headline,
        "exit_code": EXIT_CODES[run.verdict],
        **{key: run.start.get(key) for key in _PROVENANCE},
        "stages": [row._asdict() for row in run.stages],
        "first_failure": None if first is None else {**first._asdict(), "index": list(first.place)},
    }


_PROVENANCE = (
    *("port", "version", "spec", "dtype", "device", "pack", "pack_sha256", "precision"),
    *("environment", "command", "ranks"),
)
