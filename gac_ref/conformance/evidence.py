"""The failures of a session, sorted by what they say about their origin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gac_ref.conformance.carried import trajectories
from gac_ref.conformance.compare import worst
from gac_ref.conformance.events import ORDER, Result
from gac_ref.conformance.golden import own_targets
from gac_ref.conformance.session import Session, StepRecord, own_values
from gac_ref.conformance.stages import STAGES

__all__ = [
    "Evidence",
    "fails_at",
    "first_inconsistent",
    "first_tapped",
    "in_order",
    "wrong_alone_too",
]

_MEMORY = ("adapter/repeat-", "adapter/order-")
_PROBED = 3  # wrong steps whose values a stage is asked about by itself


class Evidence:
    """The failures, sorted by what they say."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.failed = [result for result in session.results if result.failed]
        alone = [r for r in session.results if r.mode == "injected" and r.executed]
        self.isolated = {r.stage for r in alone if r.status in ("pass", "fail", "expected")}
        self.wrong_alone = in_order(r.stage for r in alone if r.status == "fail")
        steps = [r for r in session.records if r.call.case.kind == "step"]
        self.steps_bad = [record for record in steps if record.bad]
        self.steps_good = [record for record in steps if not record.bad]
        self.runs = trajectories(session.records)
        self.runs_bad = [run for run in self.runs if run.first_bad is not None]

    @property
    def first_bad(self) -> list[StepRecord]:
        """The first wrong step of each trajectory that is wrong."""
        return [run.steps[run.first_bad] for run in self.runs_bad if run.first_bad is not None]

    @property
    def first_bad_step(self) -> int | None:
        """The smallest of their step numbers."""
        steps = [int(record.call.exchange.inputs["step"]) for record in self.first_bad]
        return min(steps, default=None)

    def memory(self) -> list[Result]:
        """Failed guards that say that a stage's answer depends on more than its inputs."""
        return [r for r in self.failed if r.case.startswith(_MEMORY) and r.status == "fail"]

    def guard(self, name: str) -> Result | None:
        """The failed guard of that name."""
        return next((r for r in self.failed if r.case == f"adapter/{name}"), None)


def first_inconsistent(records: Iterable[StepRecord]) -> str | None:
    """The earliest stage whose report does not follow from what it reports to have read."""
    return _earliest(records, "consistent")


def first_tapped(records: Sequence[StepRecord]) -> str | None:
    """The earliest stage whose report differs from golden; None if mu is all that is reported."""
    reported = {
        name
        for record in records
        for (mode, name), result in record.results.items()
        if mode == "tapped" and result.executed and result.worst is not None
    }
    return None if reported <= {"clip"} else _earliest(records, "tapped")


def _earliest(records: Iterable[StepRecord], mode: str) -> str | None:
    stages = {
        stage
        for record in records
        for (kind, stage), result in record.results.items()
        if kind == mode and result.status == "fail"
    }
    return min(stages, key=ORDER.__getitem__, default=None)


def fails_at(record: StepRecord, stage: str) -> bool:
    """Whether that stage is wrong in a step, in whatever mode."""
    return any(
        record.results[mode, stage].status == "fail"
        for mode in ("consistent", "tapped")
        if (mode, stage) in record.results
    )


def wrong_alone_too(session: Session, stage: str, records: Sequence[StepRecord]) -> bool:
    """Whether a stage is wrong by itself on what it was given where it was wrong within a step.

    The pack's own cases need not contain what a long trajectory leads to.
    """
    there = [record for record in records if fails_at(record, stage)][:_PROBED]
    return any(_probe(session, stage, record) for record in there)


def _probe(session: Session, stage: str, record: StepRecord) -> bool:
    config = record.call.case.config
    values = own_values(record.call, record.state, record.outputs)
    names = [f.name for f in STAGES[stage].inputs if f.name in values]
    sent = {**values, **record.call.exchange.inputs}
    if session.runner.configure(config) is not None:
        return False
    answer = session.runner.call(stage, {name: sent[name] for name in names})
    if answer.status != "ok":
        return False
    try:
        goals = own_targets(stage, config, values, session.precision)
    except Exception:  # a value that no stage would return
        return False
    found = worst(goals, answer.outputs)
    return found is not None and found.ratio > 1.0


def in_order(stages: Iterable[str]) -> list[str]:
    """Stages in data-flow order, each once; other names are dropped."""
    return sorted({stage for stage in stages if stage in ORDER}, key=lambda stage: ORDER[stage])
