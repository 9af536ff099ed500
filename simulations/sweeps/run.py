"""Running a study: every missing cell computed once, stored, and read back whole."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gac_ref._typing import AnyArray
from simulations.sweeps.backends import Backend, Job, serial
from simulations.sweeps.cell import Cell, compute_cell
from simulations.sweeps.files import Damaged
from simulations.sweeps.provenance import source_digest
from simulations.sweeps.store import FileCheckpoint, Store
from simulations.sweeps.study import Point, Study

__all__ = ["CHECKPOINT_SECONDS", "Status", "compute_and_checkpoint", "run_study", "status_of"]

CHECKPOINT_SECONDS = 10.0
"""Between two checkpoints of a running cell; one costs some milliseconds."""

WAIT_SECONDS = 0.2
"""Between two looks at cells that another run holds."""

Note = Callable[[str], None]


class Status(NamedTuple):
    """How far a study is in a store.

    Args:
        finished: Cells that are stored.
        total: Cells of the study.
        started: Unfinished cells that have a checkpoint.
        held: Unfinished cells that a run is computing now.
        damaged: Files that were set aside.
    """

    finished: int
    total: int
    started: int
    held: int
    damaged: int


def all_cells(points: Sequence[Point]) -> list[Cell]:
    """Every cell once, in order; points of a design may share cells."""
    return list({cell.name: cell for point in points for cell in point.cells}.values())


def status_of(points: Sequence[Point], store: Store) -> Status:
    """How far the points are, from what lies in the store."""
    cells = all_cells(points)
    missing = [cell for cell in cells if not store.has(cell)]
    return Status(
        finished=len(cells) - len(missing),
        total=len(cells),
        started=sum(store.partial(cell).is_file() for cell in missing),
        held=sum(store.locked(cell) for cell in missing),
        damaged=len(list((store.root / "damaged").glob("*.npz"))),
    )


def compute_and_checkpoint(
    configuration: dict[str, Any], partial: str | None, seconds: float
) -> dict[str, AnyArray]:
    """What a worker does: a cell, with checkpoints where it can see the store's folder."""
    checkpoint = None
    if partial is not None and Path(partial).parent.is_dir():
        checkpoint = FileCheckpoint(Path(partial), seconds)
    return compute_cell(configuration, checkpoint=checkpoint)


def run_study(
    study: Study,
    store: Store,
    *,
    backend: Backend = serial,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: Callable[[int, int], None] = lambda finished, total: None,
    note: Note = lambda text: None,
) -> list[Point]:
    """Compute what the store lacks of a study.

    A finished cell is read, verified and left alone; a damaged one is set aside and computed
    again. A cell that another run on the same store is computing is waited for.

    Args:
        study: What to run.
        store: Where cells are kept.
        backend: Where they are computed.
        checkpoint_seconds: Seconds between two checkpoints of a cell.
        progress: Called with (finished, total) whenever a cell is finished.
        note: Called with a line for people, e.g. on a damaged cell.

    Returns:
        The study's points; every cell of theirs is stored.

    Examples:
        >>> import tempfile
        >>> study = Study(name="tiny", problem={"kind": "quadratic"}, controllers={"fixed": {}},
        ...               run={"horizon": 2, "seeds": 3})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = Store(folder)
        ...     status_of(run_study(study, store), store).finished
        1
    """
    points = study.points()
    store.prepare()
    store.write_manifest(study.to_tree())
    cells = all_cells(points)
    sources: set[str] = set()
    waiting = [cell for cell in cells if not _usable(cell, store, note, sources)]
    if sources - {source_digest()}:
        note(
            "some stored cells were computed by other source code; remove the store to compute "
            "them again"
        )
    progress(len(cells) - len(waiting), len(cells))
    while waiting:
        todo, waiting = waiting, []
        with contextlib.ExitStack() as stack:
            locks: dict[str, contextlib.ExitStack] = {}

            def free(
                cells: list[Cell] = todo,
                later: list[Cell] = waiting,
                stack: contextlib.ExitStack = stack,
                locks: dict[str, contextlib.ExitStack] = locks,
            ) -> Iterator[Job]:
                for cell in cells:
                    own = contextlib.ExitStack()
                    if own.enter_context(store.lock(cell)) and not store.has(cell):
                        locks[cell.name] = stack.enter_context(own)
                        partial = str(store.partial(cell).absolute())
                        arguments = (dict(cell.configuration), partial, checkpoint_seconds)
                        yield Job(cell.name, arguments)
                        continue
                    own.close()
                    later.append(cell)

            by_name = {cell.name: cell for cell in todo}
            done = len(cells) - len(todo)
            finished = backend(compute_and_checkpoint, free())
            # Closed here and now, so that workers end before an error is reported.
            with contextlib.closing(finished):  # type: ignore[type-var]
                for job, arrays in finished:
                    store.write(by_name[job.key], arrays)
                    locks.pop(job.key).close()
                    done += 1
                    progress(done, len(cells))
        waiting = [cell for cell in waiting if not _usable(cell, store, note, sources)]
        progress(len(cells) - len(waiting), len(cells))
        if waiting and not locks:
            time.sleep(WAIT_SECONDS)
    return points


def _usable(cell: Cell, store: Store, note: Note, sources: set[str]) -> bool:
    """Whether the cell is stored and sound; a damaged file is set aside."""
    if not store.has(cell):
        return False
    try:
        sources.add(json.loads(str(store.read(cell)["computed_with"]))["source"])
    except Damaged as error:
        try:
            kept = store.set_aside(cell)
        except FileNotFoundError:  # another run was faster
            return False
        note(f"cell {cell.name[:12]} was damaged ({error}); kept as {kept}, computing it again")
        return False
    return True
