"""Cells: their names, and their bits in any chunking and after any interruption."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from _studies import StopHere, tiny

from simulations.sweeps.cell import Cell, blocks_at_once, compute_cell
from simulations.sweeps.files import read_arrays
from simulations.sweeps.run import all_cells
from simulations.sweeps.store import FileCheckpoint


def test_chunking_and_checkpoints_change_no_bit(tmp_path: Path) -> None:
    study = tiny(run={**tiny().run, "seeds": 200, "seeds_per_cell": 256})
    cell = all_cells(study.points())[0]
    assert blocks_at_once(cell.plan) > 2
    whole = compute_cell(cell.configuration)
    small = compute_cell(cell.configuration, chunk_blocks=1)
    checkpoint = FileCheckpoint(tmp_path / "part.npz", seconds=0.0)
    saved = compute_cell(cell.configuration, chunk_blocks=1, checkpoint=checkpoint, steps_between=7)
    resumed = compute_cell(cell.configuration, chunk_blocks=1, checkpoint=checkpoint)
    for other in (small, saved, resumed):
        assert other.keys() == whole.keys()
        for name, value in whole.items():
            assert other[name].tobytes() == value.tobytes(), name


def test_a_cell_goes_on_from_its_checkpoint_in_the_middle(tmp_path: Path) -> None:
    study = tiny(run={**tiny().run, "seeds": 200, "seeds_per_cell": 256})
    cell = all_cells(study.points())[0]
    whole = compute_cell(cell.configuration, chunk_blocks=2)

    class Crash(FileCheckpoint):
        saves = 0

        def save(self, arrays: Any) -> None:
            super().save(arrays)
            self.saves += 1
            if self.saves == 5:  # in the second of two chunks
                raise StopHere

    path = tmp_path / "part.npz"
    with pytest.raises(StopHere):
        compute_cell(
            cell.configuration,
            chunk_blocks=2,
            checkpoint=Crash(path, seconds=0.0),
            steps_between=5,
        )
    kept = read_arrays(path)
    assert int(kept["parts"]) == 1
    assert 0 < int(kept["chunk/step"]) <= 20
    resumed = compute_cell(
        cell.configuration, chunk_blocks=2, checkpoint=FileCheckpoint(path, seconds=1e9)
    )
    for name, value in whole.items():
        assert resumed[name].tobytes() == value.tobytes(), name


def test_a_checkpoint_of_other_code_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a cell would carry the digest of code that made only its end."""
    cell = all_cells(tiny().points())[0]
    whole = compute_cell(cell.configuration)
    checkpoint = FileCheckpoint(tmp_path / "part.npz", seconds=0.0)
    with monkeypatch.context() as other:
        other.setattr("simulations.sweeps.cell.computed_with", lambda: {"source": "other"})
        compute_cell(cell.configuration, checkpoint=checkpoint, steps_between=7)
    kept = read_arrays(checkpoint.path)
    kept["chunk/tally/sum/mu"] = kept["chunk/tally/sum/mu"] + 1.0  # what its bugs would leave
    checkpoint.save(kept)
    again = compute_cell(cell.configuration, checkpoint=checkpoint)
    for name, value in whole.items():
        assert again[name].tobytes() == value.tobytes(), name


def test_a_full_disk_costs_a_checkpoint_and_not_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    cell = all_cells(tiny().points())[0]
    arrays = compute_cell(
        cell.configuration, checkpoint=FileCheckpoint(tmp_path / "part.npz", seconds=0.0)
    )
    assert arrays["metric/loss_final"].shape == (5, 64)
    assert not list(tmp_path.iterdir())


def test_the_name_is_the_hash_of_everything_that_matters() -> None:
    def name(**changes: Any) -> str:
        cell: Cell = tiny(**changes).points()[0].cells[0]
        return cell.name

    base = name()
    run = dict(tiny().run)
    assert name(title="another title") == base
    assert name(run={**run, "seeds": 200}) == base  # the first cell's seeds are the same
    different = [
        name(run={**run, "seed": 1}),
        name(run={**run, "horizon": 21}),
        name(problem={**tiny().problem, "sigma_s2": 1.1}),
        name(controllers={"gac": {"alpha": 0.4}, "oracle_gac": {}}),
    ]
    assert len({base, *different}) == 5
