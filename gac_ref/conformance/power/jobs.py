"""One port against the pack, in one dtype, and what became of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

from gac_ref.conformance.check import Report, run_check
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.pack import Pack, load_pack
from gac_ref.conformance.port import Port
from gac_ref.conformance.power.controls import controls
from gac_ref.conformance.power.impostors import impostors
from gac_ref.conformance.power.mutants import mutants
from gac_ref.conformance.power.planted import ESTIMATOR, Plant, PlantedFault, planted
from gac_ref.conformance.stages import PIPELINE, STAGES

__all__ = ["Job", "Outcome", "jobs", "plants", "run_job"]

WITHIN_A_STEP = ("wiring", "order")
"""Origins that whole steps show, and no stage by itself."""


class Job(NamedTuple):
    """One thing to run.

    Args:
        group: "mutant", "impostor", "control", or "planted in X".
        place: Its place in the library.
        dtypes: In which dtypes, in this order.
    """

    group: str
    place: int
    dtypes: tuple[str, ...]


class Outcome(NamedTuple):
    """What a check said of one port in one dtype.

    Args:
        group: As in the job.
        name: Of the mutant, impostor or control.
        stage: The origin that should be named; "" where there is none.
        dtype: The dtype.
        failed: Whether the check failed the port.
        origin: The origin that was named.
        failures: How many checks failed.
        worst: The largest error over its bound.
        headline: The headline.
        cases: "part" where the cases of single stages, or of whole steps, were enough; else "pack".
    """

    group: str
    name: str
    stage: str
    dtype: str
    failed: bool
    origin: str | None
    failures: int
    worst: float
    headline: str
    cases: str


def plants() -> tuple[tuple[Plant, Sequence[PlantedFault]], ...]:
    """The packages that faults are planted in, each with its table; torch only where it is."""
    from gac_ref.conformance.power.estimator_faults import FAULTS

    found: list[tuple[Plant, Sequence[PlantedFault]]] = [(ESTIMATOR, FAULTS)]
    has_table = importlib.util.find_spec("gac_ref.conformance.power.torch_faults") is not None
    if has_table and importlib.util.find_spec("torch") is not None:
        from gac_ref.conformance.power import torch_faults

        found.append((torch_faults.PLANT, torch_faults.FAULTS))
    return tuple(found)


def jobs(*, every: int = 1, dtypes: Sequence[str] = tuple(FORMATS)) -> list[Job]:
    """What there is to run.

    Args:
        every: Take each k-th mutant only.
        dtypes: Of these dtypes only.
    """
    found = []
    libraries: tuple[tuple[str, Sequence[Any]], ...] = (
        ("control", controls()),
        ("impostor", impostors()),
        ("mutant", mutants()),
        *((f"planted in {plant.name}", faults) for plant, faults in plants()),
    )
    for group, library in libraries:
        step = every if group not in ("control", "impostor") else max(every // 4, 1)
        for index in range(0, len(library), step):
            seen = getattr(library[index], "dtypes", tuple(FORMATS))
            found.append(Job(group, index, tuple(d for d in dtypes if d in seen)))
    return [job for job in found if job.dtypes]


def run_job(job: Job, pack: Pack | None = None) -> list[Outcome]:
    """Run one port in its dtypes."""
    pack = load_pack() if pack is None else pack
    if job.group == "control":
        control = controls()[job.place]
        return [_checked(job, control.name, "", control.port(), d, pack) for d in job.dtypes]
    if job.group == "impostor":
        pretender = impostors()[job.place]
        return [_checked(job, pretender.name, "", pretender.port(), d, pack) for d in job.dtypes]
    if job.group == "mutant":
        mutant = mutants()[job.place]
        return [
            _checked(job, mutant.name, mutant.stage, mutant.port(), d, pack) for d in job.dtypes
        ]
    for plant, faults in plants():
        if job.group == f"planted in {plant.name}":
            fault = faults[job.place]
            with planted(plant, fault) as port:
                return [_checked(job, fault.name, fault.stage, port, d, pack) for d in job.dtypes]
    raise AssertionError(job)


def _checked(job: Job, name: str, stage: str, port: Port, dtype: str, pack: Pack) -> Outcome:
    """The cases that can name the origin first: where they fail, the rest adds nothing."""
    first = _first(job.group, stage, dtype, pack)
    if first:
        report = run_check(port, dtype=dtype, pack=pack, ids=first, hints=False, minimum=0)
        if report.verdict != "ok":
            return _outcome(job, name, stage, dtype, report, "part")
    report = run_check(port, dtype=dtype, pack=pack, hints=False, minimum=0)
    return _outcome(job, name, stage, dtype, report, "pack")


def _first(group: str, stage: str, dtype: str, pack: Pack) -> list[str]:
    """Ids of the cases that are run first; none where the whole pack is needed.

    Of a fault in a stage: its own cases and those of the stages before it, one of which might be
    accused. Of one in the wiring or the order: the whole steps. Of an impostor, which has no
    origin: the single stages.
    """
    cases = pack.select(dtype=dtype)
    if stage in WITHIN_A_STEP:
        return [case.id for case in cases if case.kind == "step"]
    if stage in PIPELINE:
        upstream = PIPELINE[: PIPELINE.index(stage) + 1]
        return [case.id for case in cases if case.kind == "stage" and case.stage in upstream]
    if stage in STAGES or group == "impostor":
        return [case.id for case in cases if case.kind == "stage"]
    return []


def _outcome(job: Job, name: str, stage: str, dtype: str, report: Report, cases: str) -> Outcome:
    return Outcome(
        group=job.group,
        name=name,
        stage=stage,
        dtype=dtype,
        failed=report.verdict != "ok",
        origin=report.origin,
        failures=report.failed,
        worst=report.worst,
        headline=report.headline,
        cases=cases,
    )
