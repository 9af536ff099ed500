"""One port against the pack, in one dtype, and what became of it."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

from gac_ref.conformance.check import Report, run_check
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.pack import Pack, load_pack
from gac_ref.conformance.port import Port
from gac_ref.conformance.power.controls import controls
from gac_ref.conformance.power.impostors import impostors
from gac_ref.conformance.power.mutants import mutants
from gac_ref.conformance.power.planted import ESTIMATOR, PlantedFault, planted
from gac_ref.conformance.stages import PIPELINE, STAGES

__all__ = ["Job", "Outcome", "Planting", "jobs", "judged", "plantings", "run_job", "telling"]

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


class Planting(NamedTuple):
    """A port whose own source is changed, fault by fault.

    Args:
        name: What reports call it.
        faults: Its table.
        opened: The port with a fault in it, as a context.
        dtypes: In which each fault is run; a build or a process a fault makes all four too dear.
    """

    name: str
    faults: Sequence[PlantedFault]
    opened: Callable[[PlantedFault], AbstractContextManager[Port]]
    dtypes: tuple[str, ...] = tuple(FORMATS)


def plantings() -> tuple[Planting, ...]:
    """The estimator, and each port whose framework, compiler or interpreter is installed."""
    from gac_ref.conformance.power import (
        cuda_faults,
        estimator_faults,
        javascript_faults,
        jax_faults,
        torch_faults,
    )

    found = [Planting("the estimator", estimator_faults.FAULTS, partial(planted, ESTIMATOR))]
    if importlib.util.find_spec("torch") is not None:
        found.append(
            Planting("the torch port", torch_faults.FAULTS, partial(planted, torch_faults.PLANT))
        )
    if importlib.util.find_spec("jax") is not None:
        found.append(
            Planting("the JAX port", jax_faults.FAULTS, jax_faults.planted_port, ("fp32",))
        )
    if shutil.which("g++") is not None:
        found.append(
            Planting("the CUDA port", cuda_faults.FAULTS, cuda_faults.planted_port, ("bf16",))
        )
    if shutil.which("node") is not None:
        found.append(
            Planting(
                "the JavaScript port",
                javascript_faults.FAULTS,
                javascript_faults.planted_port,
                ("fp64",),
            )
        )
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
    )
    for group, library in libraries:
        step = every if group == "mutant" else max(every // 4, 1)
        for index in range(0, len(library), step):
            seen = getattr(library[index], "dtypes", tuple(FORMATS))
            found.append(Job(group, index, tuple(d for d in dtypes if d in seen)))
    for planting in plantings():
        for index in range(0, len(planting.faults), every):
            seen = _dtypes(planting, planting.faults[index])
            group = f"planted in {planting.name}"
            found.append(Job(group, index, tuple(d for d in dtypes if d in seen)))
    return [job for job in found if job.dtypes]


def _dtypes(planting: Planting, fault: PlantedFault) -> tuple[str, ...]:
    """Where a fault is run: in the port's dtypes that show it, else in the first that does."""
    return tuple(d for d in planting.dtypes if d in fault.dtypes) or fault.dtypes[:1]


def run_job(job: Job, pack: Pack | None = None) -> list[Outcome]:
    """Run one port in its dtypes."""
    pack = load_pack() if pack is None else pack
    if job.group == "control":
        control = controls()[job.place]
        reports = [run_check(control.port(), dtype=d, pack=pack, **_PLAIN) for d in job.dtypes]
        return _outcomes(job, control.name, "", reports)
    if job.group == "impostor":
        pretender = impostors()[job.place]
        alone = [case.id for case in pack.cases if case.kind == "stage"]
        reports = [judged(pretender.port(), d, pack, alone) for d in job.dtypes]
        return _outcomes(job, pretender.name, "", reports)
    if job.group == "mutant":
        mutant = mutants()[job.place]
        first = telling(mutant.stage, pack)
        reports = [judged(mutant.port(), d, pack, first) for d in job.dtypes]
        return _outcomes(job, mutant.name, mutant.stage, reports)
    (planting,) = (found for found in plantings() if job.group == f"planted in {found.name}")
    fault = planting.faults[job.place]
    first = telling(fault.stage, pack)
    with planting.opened(fault) as port:
        reports = [judged(port, d, pack, first) for d in job.dtypes]
    return _outcomes(job, fault.name, fault.stage, reports)


_PLAIN: Mapping[str, Any] = {"hints": False, "minimum": 0}


def judged(port: Port, dtype: str, pack: Pack, first: Sequence[str]) -> Report:
    """The check of a faulty port: of the `first` cases where these fail, else of the whole pack."""
    chosen = [case.id for case in pack.select(dtype=dtype) if case.id in set(first)]
    if chosen:
        report = run_check(port, dtype=dtype, pack=pack, ids=chosen, **_PLAIN)
        if report.verdict != "ok":
            return report
    return run_check(port, dtype=dtype, pack=pack, **_PLAIN)


def telling(stage: str, pack: Pack) -> list[str]:
    """Ids of the cases that can name the origin of a fault; none where only the whole pack can.

    Of a fault in a stage: its own cases and those of the stages before it, one of which might be
    accused. Of one in the wiring or the order: the whole steps.
    """
    if stage in WITHIN_A_STEP:
        return [case.id for case in pack.cases if case.kind == "step"]
    if stage not in STAGES:
        return []
    upstream = PIPELINE[: PIPELINE.index(stage) + 1] if stage in PIPELINE else tuple(STAGES)
    return [case.id for case in pack.cases if case.kind == "stage" and case.stage in upstream]


def _outcomes(job: Job, name: str, stage: str, reports: Sequence[Report]) -> list[Outcome]:
    return [
        Outcome(
            group=job.group,
            name=name,
            stage=stage,
            dtype=dtype,
            failed=report.verdict != "ok",
            origin=report.origin,
            failures=report.failed,
            worst=report.worst,
            headline=report.headline,
        )
        for dtype, report in zip(job.dtypes, reports, strict=True)
    ]
