"""Studies, designs, the store and the summary, in one process."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gac_ref import GACError
from simulations import sweep
from simulations.backends import serial
from simulations.cell import Cell, blocks_at_once, compute_cell
from simulations.design import design_points
from simulations.files import Damaged, read_arrays, write_arrays
from simulations.memory import check_before_start
from simulations.store import FileCheckpoint, Store, StoreFull
from simulations.study import Study, find_study, studies
from simulations.summary import Row, mean_interval, read_point, share_interval, summarise
from simulations.sweep import all_cells, run_study, status_of

INTERVAL_RTOL = 1e-12
"""Two implementations of one formula."""


def tiny(**changes: Any) -> Study:
    tables: dict[str, Any] = {
        "name": "tiny",
        "problem": {"kind": "quadratic", "dimension": 3, "proxy": "estimated"},
        "run": {"horizon": 20, "seeds": 130, "seeds_per_cell": 64, "measure_every": 5},
        "controllers": {"gac": {}, "oracle_gac": {}, "grid": {"kind": "fixed_grid", "points": 3}},
        "regimes": {"calm": {}, "noisy": {"problem": {"sigma_r2": 9.0}}},
        "summary": {"primary": "loss_final", "metrics": ["loss_final", "regret"]},
    }
    return Study(**{**tables, **changes})


def files(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((store.root / "cells").iterdir())}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_every_declared_study_builds() -> None:
    for name in studies():
        study = find_study(name)
        assert study.name == name
        points = study.points()
        assert len({cell.name for cell in all_cells(points)}) == len(all_cells(points))
        assert Study.from_tree(study.to_tree(), name) == study


def test_the_default_study_is_large_enough() -> None:
    study = find_study("default")
    points = study.points()
    assert len(points) >= 8
    assert len(study.controllers) >= 12
    for point in points:
        assert sum(cell.configuration["seeds"] for cell in point.cells) >= 200


def test_a_second_run_computes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_study(tiny(), store)
    before = files(store)
    assert len(before) == 6

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a finished cell was computed again")

    monkeypatch.setattr(sweep, "compute_and_checkpoint", refuse)
    seen: list[tuple[int, int]] = []
    run_study(tiny(), store, progress=lambda finished, total: seen.append((finished, total)))
    assert seen[0] == (6, 6)
    assert files(store) == before


def test_more_seeds_compute_only_what_is_missing(store: Store) -> None:
    run_study(tiny(run={**tiny().run, "seeds": 128}), store)
    before = files(store)
    run_study(tiny(run={**tiny().run, "seeds": 192}), store)
    after = files(store)
    assert len(before) == 4
    assert len(after) == 6
    assert before.items() <= after.items()


def test_chunking_and_checkpoints_change_no_bit(store: Store, tmp_path: Path) -> None:
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


class StopHere(Exception):
    """Stands for a crash."""


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


def test_a_damaged_checkpoint_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    path.write_bytes(b"PK\x03\x04 nonsense")
    assert FileCheckpoint(path, seconds=1.0).load() is None


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
    dead, alive, far = (
        store.root / "cells" / f".x.npz.{name}.tmp"
        for name in (f"{host}.999999999", f"{host}.{os.getpid()}", "elsewhere.999999999")
    )
    for path in (dead, alive, far):
        path.touch()
    store.prepare()
    assert [path.exists() for path in (dead, alive, far)] == [False, True, True]


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    arrays = {"a": np.arange(3.0), "b": np.array("text")}
    for name in ("one.npz", "two.npz"):
        write_arrays(tmp_path / name, arrays)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


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


def test_intervals_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, size=17)
    _, low, high = mean_interval(values)
    expected = stats.t.interval(0.95, 16, values.mean(), stats.sem(values))
    np.testing.assert_allclose((low, high), expected, rtol=INTERVAL_RTOL)
    for count in (0, 3, 17):
        _, low, high = share_interval((np.arange(17) < count).astype(float))
        wilson = stats.binomtest(count, 17).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(
            (low, high), (wilson.low, wilson.high), rtol=INTERVAL_RTOL, atol=1e-15
        )


def test_the_summary_is_what_the_seeds_say(store: Store) -> None:
    points = run_study(tiny(), store)
    rows = {
        (row.controller, row.regime, row.metric): row for row in summarise(tiny(), points, store)
    }
    assert len(rows) == 3 * 2 * 2
    values = read_point(points[1], store)
    loss = values.metrics["loss_final"]
    assert rows["gac", "noisy", "loss_final"] == Row(
        "gac", "noisy", "loss_final", *mean_interval(loss[0]), 130
    )
    members = [i for i, name in enumerate(values.controllers) if name.startswith("grid@")]
    assert rows["grid", "noisy", "loss_final"].estimate == min(loss[i].mean() for i in members)
    assert rows["oracle_gac", "noisy", "regret"].high == 0.0


def test_comparisons_are_paired(store: Store) -> None:
    points = run_study(tiny(), store)
    rows = summarise(tiny(), points, store, metrics=["loss_final"], versus="oracle_gac")
    gac = next(row for row in rows if row[:2] == ("gac", "calm"))
    loss = read_point(points[0], store).metrics["loss_final"]
    assert gac[3:] == (*mean_interval(loss[0] - loss[1]), 130)
    apart = mean_interval(loss[0])
    assert gac.high - gac.low < apart[2] - apart[1]


def test_grid_points_are_all_combinations() -> None:
    points = design_points({"kind": "grid", "parameters": {"a": [1, 2], "b": [3, 4, 5]}})
    assert len(points) == 6
    assert points[4] == {"a": 2, "b": 4}


@pytest.mark.parametrize("kind", ["latin_hypercube", "sobol"])
def test_space_filling_points_hit_every_stratum(kind: str) -> None:
    ranges = {
        "a": {"low": 0.1, "high": 10.0, "scale": "log"},
        "b": {"low": 2, "high": 5},
        "c": {"low": 1, "high": 9, "integer": True},
    }
    design = {"kind": kind, "points": 16, "seed": 3, "parameters": ranges}
    points = design_points(design)
    assert points == design_points(design)
    unit = np.array([(np.log10(p["a"]) + 1.0) / 2.0 for p in points])
    assert sorted(np.floor(16 * unit)) == list(range(16))
    assert all(2.0 <= p["b"] <= 5.0 and type(p["c"]) is int and 1 <= p["c"] <= 9 for p in points)


def test_a_design_reaches_the_controllers(store: Store) -> None:
    parameters = {"run.learning_rate": [0.01, 0.1], "controllers.gac.alpha": [0.2]}
    study = tiny(design={"parameters": parameters}, regimes={})
    points = study.points()
    assert [point.label for point in points] == ["base/0", "base/1"]
    first = points[0].cells[0].configuration
    assert first["run"]["learning_rate"] == 0.01
    assert first["controllers"][0]["alpha"] == 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"design": {"kind": "random", "parameters": {"a": [1]}}}, "design.kind = 'random'"),
        ({"design": {"parameters": {}}}, "design.parameters is empty"),
        ({"design": {"parameters": {"run.alpha": 0.5}}}, "is not a list"),
        ({"design": {"parameters": {"run.beta": [0.5]}}}, "unknown parameter 'run.beta'"),
        ({"design": {"kind": "sobol", "points": 6,
                     "parameters": {"run.alpha": {"low": 0, "high": 1}}}}, "not a power of two"),
        ({"run": {"seeds": 10**12}}, "lower it, or raise run.seeds_per_cell"),
        ({"design": {"kind": "sobol", "points": 4, "parameters": {"run.alpha": {"low": 1}}}},
         "no low and high"),
        ({"design": {"kind": "latin_hypercube", "points": 4,
                     "parameters": {"run.alpha": {"low": 1, "high": 0}}}}, "pass low < high"),
        ({"regimes": {"x": {"noise": {}}}}, "regime 'x': 'noise' is unknown"),
        ({"regimes": {"x": {"problem": {"correlation": 3.0}}}}, "regime 'x': Quadratic"),
        ({"run": {"horizons": 3}}, "did you mean 'horizon'"),
    ],
)  # fmt: skip
def test_a_bad_study_is_a_one_line_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GACError, match=message) as caught:
        tiny(**changes).points()
    assert "\n" not in str(caught.value)


def test_settings_lie_over_everything() -> None:
    study = tiny().with_settings(["horizon=7", "problem.sigma_r2=2.5", "gac.alpha=0.25"])
    for point in study.points():
        tree = point.cells[0].configuration
        assert tree["run"]["horizon"] == 7
        assert tree["problem"]["sigma_r2"] == 2.5
        assert tree["controllers"][0]["alpha"] == 0.25


def test_memory_is_refused_before_the_start_with_the_estimate() -> None:
    cells = all_cells(tiny().points())
    needed = check_before_start(cells)
    assert check_before_start(cells, at_once=2) > needed
    with pytest.raises(GACError, match=r"needs about .* of memory and 1000 B are free"):
        check_before_start(cells, available=1000)
    for setting in ("run.seeds_per_cell=64000000000 seeds=64000000000", "dimension=1000000000"):
        wide = all_cells(tiny().with_settings(setting.split()).points())
        with pytest.raises(GACError, match="lower one of these"):
            check_before_start(wide, available=2**36)
    settings = ["trace_every=5", "horizon=1000000000000"]
    with pytest.raises(GACError, match="horizon 1000000000000 with a trace point every 5 steps"):
        check_before_start(all_cells(tiny().with_settings(settings).points()), available=2**36)
    long = all_cells(tiny().with_settings(["horizon=1000000000000"]).points())
    assert check_before_start(long) < 2**30


def test_a_missing_signal_is_refused_before_the_start() -> None:
    cells = all_cells(tiny(controllers={"srft": {}}).points())
    with pytest.raises(GACError, match="controller 'srft' needs the signal 'entropy'"):
        check_before_start(cells)


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
