"""One seam for where cells are computed: here, in local processes, or on a Dask cluster.

A backend takes a function and an iterator of jobs, pulls a job only when it has room for it, and
yields each job with its result, in the order in which they finish. It survives a worker that is
killed, ends with one line where it cannot go on, and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, TypeAlias

from gac_ref.errors import fail

__all__ = ["ATTEMPTS", "Backend", "Job", "processes", "serial"]

ATTEMPTS = 5
"""How often a job may lose its worker. All jobs in flight lose theirs when one is killed, so a
harmless job needs some."""


class Job(NamedTuple):
    """A call to make: an identity and the arguments.

    Examples:
        >>> Job("cell", (1, 2)).arguments
        (1, 2)
    """

    key: str
    arguments: tuple[Any, ...]


Backend: TypeAlias = Callable[[Callable[..., Any], Iterator[Job]], Iterator[tuple[Job, Any]]]
"""What `serial`, `processes(...)` and `dask(...)` are."""


def serial(function: Callable[..., Any], jobs: Iterator[Job]) -> Iterator[tuple[Job, Any]]:
    """Compute in this process, one job after the other.

    Examples:
        >>> [(job.key, result) for job, result in serial(max, iter([Job("a", (1, 2))]))]
        [('a', 2)]
    """
    for job in jobs:
        yield job, function(*job.arguments)


def processes(workers: int) -> Backend:
    """Compute in local worker processes; a broken pool is rebuilt and its jobs given again.

    Workers are spawned, not forked: a fork would inherit the locks of the run, and keep them
    after it was killed.

    Args:
        workers: How many, >= 1.

    Raises:
        GACError: A job lost its worker `ATTEMPTS` times.
    """
    if workers < 1:
        fail(f"--workers {workers} is below 1; pass how many processes to start")

    def run(function: Callable[..., Any], jobs: Iterator[Job]) -> Iterator[tuple[Job, Any]]:
        attempts: Counter[str] = Counter()
        again: deque[Job] = deque()
        while True:
            with _pool(workers) as pool:
                running: dict[Future[Any], Job] = {}
                broken = False
                while not broken:
                    while len(running) < workers:
                        job = again.popleft() if again else next(jobs, None)
                        if job is None:
                            break
                        try:
                            running[pool.submit(function, *job.arguments)] = job
                        except BrokenProcessPool:
                            again.append(job)
                            broken = True
                            break
                    if not running and not broken:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job = running.pop(future)
                        try:
                            result = future.result()
                        except BrokenProcessPool:
                            broken = True
                            count_attempt(attempts, job)
                            again.append(job)
                            continue
                        yield job, result
                for job in running.values():
                    count_attempt(attempts, job)
                    again.append(job)

    return run


def count_attempt(attempts: Counter[str], job: Job) -> None:
    """Note that a job lost its worker; refuse it when that has happened too often."""
    attempts[job.key] += 1
    if attempts[job.key] >= ATTEMPTS:
        fail(
            f"cell {job.key[:12]} lost its worker {ATTEMPTS} times (killed, or out of memory); "
            "use fewer workers, or a smaller run.seeds_per_cell"
        )


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are gone afterwards, whatever happened."""
    before = {process.pid for process in multiprocessing.active_children()}
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_worker_starts
    )
    try:
        yield pool
    finally:
        # Without this an interrupted run would wait for the cells that its workers are at.
        for process in multiprocessing.active_children():
            if process.pid not in before:
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _worker_starts() -> None:
    """In a worker: leave Ctrl-C to the run, and end when the run is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
