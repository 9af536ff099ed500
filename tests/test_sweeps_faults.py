"""Faults on real processes: whatever happens, the cells end up as a serial run makes them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from _processes import (
    PATIENCE,
    ROOT,
    cells,
    children,
    environment,
    running,
    simulate,
    started,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

STUDY = """
name = "faults"
[problem]
kind = "quadratic"
dimension = 4
proxy = "estimated"
[run]
horizon = 800
seeds = 256
seeds_per_cell = 64
[controllers]
gac = { kind = "gac" }
sasr = { kind = "sasr", warmup_steps = 20 }
oracle_gac = {}
[summary]
primary = "loss_final"
metrics = ["loss_final"]
"""

CELLS = 4


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "faults.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def expected(study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The cells of an uninterrupted serial run."""
    store = tmp_path_factory.mktemp("serial")
    result = simulate("run", study, "--out", store)
    assert result.returncode == 0, result.stderr
    found = cells(store)
    assert len(found) == CELLS
    return found


def test_workers_change_no_byte(study: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    result = simulate("run", study, "--out", tmp_path, "--workers", "2")
    assert result.returncode == 0, result.stderr
    assert cells(tmp_path) == expected


def test_a_killed_worker_is_replaced(
    study: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with started("run", study, "--out", tmp_path, "--workers", "2", "--checkpoint", "0.1") as run:
        wait_until(lambda: list((tmp_path / "partial").glob("*.npz")), "a cell in progress")
        victim = children(run.pid)[0]
        os.kill(victim, signal.SIGKILL)
        out, err = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, err
        assert "loss_final" in out
    assert cells(tmp_path) == expected


def test_a_run_killed_twice_and_resumed_ends_byte_identical(
    study: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    options = ("--out", tmp_path, "--workers", "2", "--checkpoint", "0.05")
    partial = tmp_path / "partial"
    for first in (("run", study), ("resume", "faults")):
        before = {path.name: path.read_bytes() for path in partial.glob("*.npz")}
        with started(*first, *options) as run:
            wait_until(
                lambda b=before: any(
                    b.get(path.name) != path.read_bytes() for path in partial.glob("*.npz")
                ),
                "a checkpoint",
            )
            workers = children(run.pid)
            os.kill(run.pid, signal.SIGKILL)
            run.wait(timeout=PATIENCE)
            wait_until(lambda w=workers: not any(map(running, w)), "orphans to end")
        assert len(cells(tmp_path)) < CELLS
    result = simulate("resume", "faults", *options)
    assert result.returncode == 0, result.stderr
    assert cells(tmp_path) == expected
    assert not list(partial.iterdir())
    assert not list(tmp_path.glob("*/.*.tmp"))


def test_two_runs_on_one_store_at_once(
    study: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with (
        started("run", study, "--out", tmp_path) as one,
        started("run", study, "--out", tmp_path) as two,
    ):
        for run in (one, two):
            out, err = run.communicate(timeout=PATIENCE)
            assert run.returncode == 0, err
            assert "loss_final" in out
    assert cells(tmp_path) == expected


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_leaves_a_store_to_go_on_from(
    study: Path, expected: dict[str, bytes], tmp_path: Path, workers: str
) -> None:
    options = ("--out", tmp_path, "--checkpoint", "0.05")
    with started("run", study, *options, "--workers", workers) as run:
        wait_until(lambda: list((tmp_path / "partial").glob("*.npz")), "a cell in progress")
        os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to the whole group
        _, err = run.communicate(timeout=PATIENCE)
        assert run.returncode == 130
        assert err.count("\n") == 1, err
        assert f"of {CELLS} cells are stored; go on with: python -m simulations resume" in err
    status = simulate("status", "faults", "--out", tmp_path)
    assert "with a checkpoint to go on from" in status.stdout
    assert simulate("resume", "faults", *options).returncode == 0
    assert cells(tmp_path) == expected


def test_a_full_disk_is_one_line_and_loses_nothing(
    study: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """The largest file that the process may write stands for the disk's last bytes."""
    smallest = min(map(len, expected.values()))

    def no_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (smallest // 2, smallest // 2))

    result = simulate("run", study, "--out", tmp_path, preexec_fn=no_room)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "cannot write" in result.stderr
    assert "make room there and resume" in result.stderr
    assert not list(tmp_path.glob("*/.*.tmp"))
    assert simulate("resume", "faults", "--out", tmp_path).returncode == 0
    assert cells(tmp_path) == expected


@contextlib.contextmanager
def dask_cluster(
    folder: Path, *, workers: int, options: tuple[str, ...] = ()
) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A scheduler and workers on loopback, each a process of its own."""
    file = folder / "scheduler.json"
    python = (sys.executable, "-m")
    scheduler = [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    worker = [*python, "distributed.cli.dask_worker", "--scheduler-file", str(file)]
    settings = environment() | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}
    processes: list[subprocess.Popen[bytes]] = []

    def start(line: list[str]) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            line, cwd=ROOT, env=settings, stdout=quiet, stderr=quiet, start_new_session=True
        )
        processes.append(process)
        return process

    try:
        first = start([*scheduler, "--no-dashboard", "--scheduler-file", str(file)])
        wait_until(file.is_file, "the scheduler")
        for _ in range(workers):
            start(
                [
                    *worker,
                    "--nthreads",
                    "1",
                    "--no-dashboard",
                    "--local-directory",
                    str(folder),
                    *options,
                ]
            )
        waiting = (
            f"from distributed import Client; c = Client(scheduler_file={str(file)!r}, timeout=60);"
            f"c.wait_for_workers({workers}, timeout=60)"
        )
        subprocess.run([sys.executable, "-c", waiting], cwd=ROOT, env=settings, check=True)
        yield file, first
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_dask_on_loopback_equals_serial_with_a_worker_killed(
    study: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    store = tmp_path / "store"
    options = ("--out", store, "--checkpoint", "0.1")
    with (
        dask_cluster(tmp_path, workers=2) as (file, _),
        started("run", study, *options, "--scheduler", file) as run,
    ):
        wait_until(lambda: list((store / "partial").glob("*.npz")), "a cell in progress")
        victims = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _is_worker(entry, tmp_path)
        ]
        os.kill(victims[0], signal.SIGKILL)
        out, err = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, err
        assert "loss_final" in out
    assert cells(store) == expected


def _is_worker(entry: Path, folder: Path) -> bool:
    """A process that a nanny of this cluster spawned to compute."""
    with contextlib.suppress(OSError):
        line = (entry / "cmdline").read_bytes()
        parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        nanny = Path(f"/proc/{parent}/cmdline").read_bytes()
        return b"spawn_main" in line and str(folder).encode() in nanny
    return False


def test_what_does_not_fit_a_dask_worker_is_refused_before_the_start(
    study: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    options = ("--out", tmp_path / "store", "--set", "seeds_per_cell=6400000", "seeds=6400000")
    limit = ("--memory-limit", "1 GiB")
    with dask_cluster(tmp_path, workers=1, options=limit) as (file, _):
        result = simulate("run", study, *options, "--scheduler", file)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "1 GiB are free on the Dask worker with least memory a thread" in result.stderr


def test_a_scheduler_that_goes_away_is_one_line(
    study: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    store = tmp_path / "store"
    options = ("--out", store, "--checkpoint", "0.1")
    with (
        dask_cluster(tmp_path, workers=1) as (file, scheduler),
        started("run", study, *options, "--scheduler", file, "--timeout", "3") as run,
    ):
        wait_until(lambda: list((store / "partial").glob("*.npz")), "a cell in progress")
        os.killpg(scheduler.pid, signal.SIGKILL)
        _, err = run.communicate(timeout=PATIENCE)
        assert run.returncode == 2
        assert err.count("\n") == 1, err
        assert "went away; what is stored is whole" in err
    result = simulate("resume", "faults", *options)
    assert result.returncode == 0, result.stderr
    assert cells(store) == expected


def test_what_is_no_scheduler_is_one_line(study: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    with caller:
                        caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)

        threading.Thread(target=talk, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        options = ("--out", tmp_path / "store", "--timeout", "2")
        result = simulate("run", study, *options, "--scheduler", address)
        server.shutdown(socket.SHUT_RDWR)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert f"scheduler {address} does not answer within 2 s" in result.stderr
    result = simulate("run", study, *options, "--scheduler", study)
    assert result.stderr.count("\n") == 1, result.stderr
    assert "not a scheduler file, which has an address" in result.stderr


def test_a_scheduler_that_does_not_answer_is_one_line(study: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    options = ("--out", tmp_path, "--scheduler", "tcp://127.0.0.1:9", "--timeout", "1")
    result = simulate("run", study, *options)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "scheduler tcp://127.0.0.1:9 does not answer within 1 s" in result.stderr
