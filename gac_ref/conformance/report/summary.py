"""Events of a check, aggregated: one small record a run, from which every report is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gac_ref.conformance.report.events import cleaned, real
from gac_ref.conformance.stages import PIPELINE, STAGES

__all__ = [
    "Check",
    "Run",
    "StageRow",
    "runs_from",
    "worst_verdict",
]

Event = Mapping[str, Any]

VERDICTS = ("ok", "too_few", "adapter_failure", "incomplete", "divergence")
"""From best to worst; "incomplete" is a run whose events stop before its end."""

ISOLATED = ("injected", "consistent")
"""The modes in which a stage is judged by itself, whatever came before it."""

MODES = ("injected", "consistent", "tapped", "black_box", "ranks", "guard")


class Check(NamedTuple):
    """One comparison: a stage of a case in one mode.

    Args:
        exchange: Which call of the case.
        ratio: Largest error over its bound; NaN if nothing was compared, infinite where what
            must be exact differs.
        status: "pass", "fail", "propagated" (wrong because of an earlier stage), "unsupported",
            "skipped", "expected", or one of :data:`~gac_ref.conformance.events.BROKEN`.
        place: The element of the output, () for a scalar.
    """

    case: str
    exchange: int
    stage: str
    mode: str
    step: int | None
    status: str
    ratio: float
    output: str
    place: tuple[int, ...]
    got: Any
    expected: Any
    bound: Any
    reason: str
    replay: str
    comment: str

    @property
    def failed(self) -> bool:
        """Wrong or broken, expected divergences aside; so is a status that nobody knows."""
        return self.status not in ("pass", "unsupported", "skipped", "expected")

    @property
    def element(self) -> str:
        """The element as one would index it, such as "c_s[3, 17]"."""
        index = f"[{', '.join(map(str, self.place))}]" if self.place else ""
        return f"{self.output}{index}" if self.output else "-"


class StageRow(NamedTuple):
    """The checks of one stage in one mode, counted."""

    stage: str
    mode: str
    passed: int
    failed: int
    propagated: int
    unsupported: int
    other: int
    worst: float

    @property
    def heard(self) -> bool:
        """Whether anything was answered, or should have been."""
        return bool(self.passed or self.failed or self.propagated or self.other)


class Run(NamedTuple):
    """One port in one dtype on one device."""

    start: Event
    end: Event
    checks: tuple[Check, ...]
    stages: tuple[StageRow, ...]
    first: Check | None

    @property
    def silent(self) -> tuple[str, ...]:
        """The stages that the port does not support at all, in order."""
        heard = {row.stage for row in self.stages if row.heard}
        return tuple(dict.fromkeys(row.stage for row in self.stages if row.stage not in heard))

    @property
    def heard(self) -> tuple[StageRow, ...]:
        """The rows of the other stages."""
        silent = self.silent
        return tuple(row for row in self.stages if row.stage not in silent)

    @property
    def label(self) -> str:
        """Port, device and dtype, "torch/cuda/bf16", and how many ranks."""
        label = "/".join(str(self.start.get(key, "?")) for key in ("port", "device", "dtype"))
        ranks = self.start.get("ranks")
        return f"{label} on {ranks} ranks" if ranks else label

    @property
    def dtype(self) -> str:
        """The dtype under test."""
        return str(self.start.get("dtype", "?"))

    @property
    def verdict(self) -> str:
        """One of :data:`VERDICTS`."""
        verdict = str(self.end.get("verdict", "incomplete"))
        return verdict if verdict in VERDICTS else "incomplete"

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """What is to be said of a run that is not ok: what the origin rests on, and the hint."""
        if self.verdict == "ok":
            return ()
        found = (("Why", self.end.get("statement")), ("Hint", self.end.get("hint")))
        return tuple((name, str(text)) for name, text in found if text)

    @property
    def headline(self) -> str:
        """The line that says it all."""
        counted = self.counts
        return str(self.end.get("headline") or "") or (
            f"INCOMPLETE {self.label} - the events stop before the end; "
            f"{counted['failed']} of {counted['executed']} failed so far"
        )

    @property
    def failures(self) -> tuple[Check, ...]:
        """What is wrong or broken, those that are only propagated last."""
        wrong = [check for check in self.checks if check.failed]
        return tuple(sorted(wrong, key=lambda check: check.status == "propagated"))

    @property
    def worst(self) -> float:
        """The largest error over its bound; NaN if nothing was compared."""
        return real(self.end["worst"]) if "worst" in self.end else _largest(self.checks)

    @property
    def counts(self) -> dict[str, int]:
        """executed, total, unsupported, skipped, failed; from the checks if there is no end."""
        status = [check.status for check in self.checks]
        unsupported, skipped = status.count("unsupported"), status.count("skipped")
        counted = {
            "executed": len(status) - unsupported - skipped,
            "total": len(status),
            "unsupported": unsupported,
            "skipped": skipped,
            "failed": sum(check.failed for check in self.checks),
            "expected_failures": status.count("expected"),
        }
        return {name: _whole(self.end.get(name), count) for name, count in counted.items()}


def runs_from(events: Iterable[Event]) -> tuple[Run, ...]:
    """The runs of a stream of events; each begins with its start event.

    Examples:
        >>> start = {"event": "start", "port": "p", "dtype": "fp64", "device": "cpu"}
        >>> [run.label for run in runs_from([start, {"event": "end", "verdict": "ok"}])]
        ['p/cpu/fp64']
    """
    grouped: list[list[Event]] = []
    for event in events:
        if event["event"] == "start":
            grouped.append([])
        if grouped:  # a port may say anything: from here on text is text
            grouped[-1].append(cleaned(event))
    return tuple(_run(group) for group in grouped)


def worst_verdict(runs: Sequence[Run]) -> str:
    """The worst verdict of several runs.

    Examples:
        >>> worst_verdict(())
        'too_few'
    """
    return max((run.verdict for run in runs), key=VERDICTS.index, default="too_few")


def _run(events: Sequence[Event]) -> Run:
    end = next((event for event in reversed(events) if event["event"] == "end"), {})
    checks = tuple(_check(event) for event in events if event["event"] == "check")
    checks = _marked(checks, str(end.get("origin") or ""))
    return Run(events[0], end, checks, _rows(checks), _first(checks, str(end.get("origin") or "")))


def _check(event: Event) -> Check:
    step, index = event.get("step"), event.get("index")
    if isinstance(index, int) and not isinstance(index, bool):
        index = [index]
    places = index if isinstance(index, list | tuple) else ()
    text = {name: str(event.get(name) or "") for name in ("output", "reason", "replay", "comment")}
    return Check(
        case=str(event["case"]),
        exchange=_whole(event.get("exchange"), 0),
        stage=str(event["stage"]),
        mode=str(event["mode"]),
        step=step if isinstance(step, int) else None,
        status=str(event["status"]),
        ratio=real(event.get("ratio")),
        place=tuple(int(real(place)) for place in places if math.isfinite(real(place))),
        got=event.get("got"),
        expected=event.get("expected"),
        bound=event.get("bound"),
        **text,
    )


def _order(stage: str) -> int:
    names = list(STAGES)
    return names.index(stage) if stage in names else len(names)


def _marked(checks: Sequence[Check], origin: str) -> tuple[Check, ...]:
    """The same, with what an earlier stage explains as "propagated".

    A wrong value that the port reported within a step is explained where it follows from the
    values that the port reported before it; the end of a step, wherever a stage is the origin.
    """
    follows = {
        (check.case, check.exchange, check.stage)
        for check in checks
        if check.mode == "consistent" and check.status == "pass"
    }

    def explained(check: Check) -> bool:
        if check.status != "fail" or check.mode not in ("tapped", "black_box"):
            return False
        if check.mode == "black_box":
            return origin in PIPELINE
        return (check.case, check.exchange, check.stage) in follows

    return tuple(
        check._replace(status="propagated") if explained(check) else check for check in checks
    )


def _rows(checks: Sequence[Check]) -> tuple[StageRow, ...]:
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.stage, check.mode), []).append(check)

    def place(key: tuple[str, str]) -> tuple[int, str, int, str]:
        stage, mode = key
        return _order(stage), stage, MODES.index(mode) if mode in MODES else len(MODES), mode

    return tuple(_row(*key, groups[key]) for key in sorted(groups, key=place))


def _row(stage: str, mode: str, checks: Sequence[Check]) -> StageRow:
    status = [check.status for check in checks]
    passed, propagated = status.count("pass"), status.count("propagated")
    failed = sum(check.failed for check in checks) - propagated
    unsupported = status.count("unsupported")
    other = len(status) - passed - failed - propagated - unsupported
    return StageRow(stage, mode, passed, failed, propagated, unsupported, other, _largest(checks))


def _largest(checks: Iterable[Check]) -> float:
    return max((check.ratio for check in checks if check.ratio == check.ratio), default=math.nan)


def _first(checks: Sequence[Check], origin: str) -> Check | None:
    """The first failure to look at: of the origin by itself, of the origin, of all."""
    wrong = [check for check in checks if check.failed]
    at_origin = [check for check in wrong if check.stage == origin]
    alone = [check for check in at_origin if check.mode in ISOLATED]
    explained = [check for check in wrong if check.status != "propagated"]
    return next(iter(alone or at_origin or explained or wrong), None)


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default
