"""Running a study: nothing twice, nothing damaged, nothing lost; in one process."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _studies import StopHere, files, tiny

from gac_ref import GACError
from simulations.sweeps import run as sweeps_run
from simulations.sweeps.backends import serial
from simulations.sweeps.cell import Cell
from simulations.sweeps.files import Damaged
from simulations.sweeps.run import all_cells, run_study, status_of
from simulations.sweeps.store import Store, StoreFull
from simulations.sweeps.summary import summarise


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_second_run_computes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_study(tiny(), store)
    before = files(store)
    assert len(before) == 6

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a finished cell was computed again")

    monkeypatch.setattr(sweeps_run, "compute_and_checkpoint", refuse)
    seen: list[tuple[int, int]] = []
    run_study(tiny(), store, progress=lambda finished, total: seen.append((finished, total)))
    assert seen[0] == (6, 6)
    assert files(store) == before


def test_a_cell_that_another_run_finished_in_between_is_not_computed_again(store: Store) -> None:
    victim = all_cells(run_study(tiny(), store))[1]
    content = store.path(victim).read_bytes()
    store.path(victim).unlink()

    class Late(Store):
        def lock(self, cell: Cell) -> AbstractContextManager[bool]:
            if cell.name == victim.name:  # after this run looked, and before it holds the lock
                self.path(cell).write_bytes(content)
            return super().lock(cell)

    def backend(function: Any, jobs: Any) -> Any:
        assert not [job.key for job in jobs]
        yield from ()

    run_study(tiny(), Late(store.root), backend=backend)
    assert store.path(victim).read_bytes() == content


def test_more_seeds_compute_only_what_is_missing(store: Store) -> None:
    run_study(tiny(run={**tiny().run, "seeds": 128}), store)
    before = files(store)
    run_study(tiny(run={**tiny().run, "seeds": 192}), store)
    after = files(store)
    assert len(before) == 4
    assert len(after) == 6
    assert before.items() <= after.items()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path) -> None:
    other = next(p for p in sorted(path.parent.iterdir()) if p != path)
    path.write_bytes(other.read_bytes())


def alter(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    arrays["metric/loss_final"] = arrays["metric/loss_final"] + 1e-9
    np.savez(path, **arrays)


@pytest.mark.parametrize("damage", [truncate, flip, empty, swap, alter])
def test_a_damaged_cell_is_found_set_aside_and_computed_again(
    store: Store, damage: Callable[[Path], None]
) -> None:
    points = run_study(tiny(), store)
    before = files(store)
    victim = all_cells(points)[1]
    damage(store.path(victim))
    broken = store.path(victim).read_bytes()
    with pytest.raises(Damaged):
        store.read(victim)
    with pytest.raises(GACError, match="damaged"):
        summarise(tiny(), points, store)
    notes: list[str] = []
    run_study(tiny(), store, note=notes.append)
    assert files(store) == before
    assert len(notes) == 1
    assert victim.name[:12] in notes[0]
    kept = list((store.root / "damaged").iterdir())
    assert [path.read_bytes() for path in kept] == [broken]
    assert status_of(points, store).damaged == 1


def test_a_full_disk_is_one_line_and_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(tiny(regimes={"calm": {}}), store)
    before = files(store)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull, match=r"No space left on device\); what is stored is whole") as e:
        run_study(tiny(), store)
    assert "\n" not in str(e.value)
    monkeypatch.undo()
    assert files(store) == before
    assert not list(store.root.glob("*/.*.tmp"))
    run_study(tiny(), store)
    assert before.items() <= files(store).items()


def test_an_error_in_a_cell_keeps_the_others(store: Store) -> None:
    study = tiny()

    def backend(function: Any, jobs: Any) -> Any:
        for number, pair in enumerate(serial(function, jobs)):
            if number == 2:
                raise StopHere
            yield pair

    with pytest.raises(StopHere):
        run_study(study, store, backend=backend)
    assert status_of(study.points(), store).finished == 2
    assert status_of(study.points(), store).held == 0
