"""The store: whole files or none, locks, leftovers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from _studies import tiny

from simulations.sweeps.files import write_arrays
from simulations.sweeps.run import all_cells
from simulations.sweeps.store import FileCheckpoint, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_damaged_checkpoint_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    path.write_bytes(b"PK\x03\x04 nonsense")
    assert FileCheckpoint(path, seconds=1.0).load() is None


def test_a_locked_cell_is_left_to_its_holder(store: Store) -> None:
    cell = all_cells(tiny().points())[0]
    store.prepare()
    with store.lock(cell) as mine, Store(store.root).lock(cell) as theirs:
        assert mine
        assert not theirs
        assert store.locked(cell)
    with store.lock(cell) as again:
        assert again


def test_leftovers_of_dead_processes_are_cleared_and_others_kept(store: Store) -> None:
    store.prepare()
    host = os.uname().nodename.replace(".", "-")
    dead, alive, far, study = (
        store.root / name
        for name in (
            f"cells/.x.npz.{host}.999999999.tmp",
            f"cells/.x.npz.{host}.{os.getpid()}.tmp",
            "cells/.x.npz.elsewhere.999999999.tmp",
            f".study.json.{host}.999999999.tmp",
        )
    )
    for path in (dead, alive, far, study):
        path.touch()
    store.prepare()
    assert [path.exists() for path in (dead, alive, far, study)] == [False, True, True, False]


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    arrays = {"a": np.arange(3.0), "b": np.array("text")}
    for name in ("one.npz", "two.npz"):
        write_arrays(tmp_path / name, arrays)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
