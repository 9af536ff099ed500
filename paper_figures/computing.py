"""The saved parts that figures read; what is missing is computed first, in worker processes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gac_ref._typing import AnyArray
from gac_ref.errors import GACError, fail
from paper_figures import conformance, noise
from paper_figures.spec import PaperFigure, Saved
from simulations.analysis.catalog import part_named as analysis_part
from simulations.analysis.question import Part
from simulations.analysis.results import Results, sound
from simulations.sweeps.backends import Job, processes, serial
from simulations.sweeps.progress import Progress

__all__ = ["compute", "compute_missing", "part_named", "read", "require_folder", "stale"]

OWN = {conformance.NAME: conformance.part, noise.NAME: noise.part}
"""Results that no analysis saves."""

SLOWEST_FIRST = (noise.NAME, "claims.study", conformance.NAME)
"""Begun first, so that no worker ends alone with a long one."""


def part_named(name: str) -> Part:
    """A part of an analysis, or one that this package alone saves.

    Examples:
        >>> part_named("authority.linear").name
        'authority.linear'
    """
    return OWN[name]() if name in OWN else analysis_part(name)


def compute(name: str) -> dict[str, AnyArray]:
    """The arrays of a part; what a worker process is asked for.

    Raises:
        GACError: It cannot be computed here.
    """
    part = part_named(name)
    try:
        return dict(part.compute(**part.settings))
    except ImportError as error:
        fail(f"cannot compute {name}: {error}; install requirements/figures.lock")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"cannot compute {name}: {where}{error.strerror or error}; restore the checkout")


def compute_missing(
    figures: Sequence[PaperFigure],
    results: Results,
    *,
    workers: int,
    saved_only: bool = False,
    again: bool = False,
) -> int:
    """Compute and save the parts that figures read and that are not there.

    Args:
        figures: What is to be built.
        results: Where parts are saved.
        workers: Processes.
        saved_only: Refuse to compute anything.
        again: Compute what is there as well.

    Returns:
        How many parts were computed.

    Raises:
        GACError: A part is missing and cannot be computed, or cannot be saved.
    """
    names = dict.fromkeys(name for figure in figures for name in figure.parts)
    parts = {name: part_named(name) for name in names}
    missing = [name for name, part in parts.items() if again or not sound(part, results)]
    missing.sort(key=lambda name: name not in SLOWEST_FIRST)
    if not missing:
        return 0
    if saved_only:
        fail(
            f"{results.root}: no saved results for {', '.join(missing)}; leave out --saved-only to "
            "compute them"
        )
    require_folder(results.root, "--results")
    print(f"computing {len(missing)} results", file=sys.stderr, flush=True)
    progress = Progress(sys.stderr, what="results")
    progress(0, len(missing))
    backend = serial if min(workers, len(missing)) == 1 else processes(workers)
    jobs = (Job(name, (name,)) for name in missing)
    try:
        for done, (job, arrays) in enumerate(backend(compute, jobs), start=1):
            results.write(parts[job.key], arrays)
            progress(done, len(missing))
    finally:
        progress.clear()
    return len(missing)


def require_folder(root: Path, option: str) -> None:
    """Before minutes of work that could then not be saved.

    Raises:
        GACError: The folder cannot be made or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise GACError(
            f"{root}: cannot write ({error.strerror or error}); pass another {option}"
        ) from error


def read(figure: PaperFigure, results: Results) -> dict[str, Saved]:
    """What a figure draws.

    Raises:
        GACError: A part is missing or damaged.
    """
    parts = [part_named(name) for name in figure.parts]
    for part in parts:
        if not results.has(part):
            fail(
                f"{results.path(part)}: missing; compute it with: python -m paper_figures "
                f"{figure.name} --results {results.root}"
            )
    return {part.name: Saved(part.settings, results.read(part)) for part in parts}


def stale(figures: Sequence[PaperFigure], results: Results) -> list[str]:
    """The parts that other source code than today's computed."""
    names = dict.fromkeys(name for figure in figures for name in figure.parts)
    return [name for name in names if results.stale(part_named(name))]
