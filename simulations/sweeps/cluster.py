"""The backend for more than one machine: an existing Dask scheduler and its workers.

Dask sends pickles: use it on a trusted network, or with TLS addresses. Workers need this checkout
on their path; they send results back, and only the run itself writes to the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gac_ref.errors import GACError, fail
from simulations.sweeps.backends import Backend, Job, count_attempt
from simulations.sweeps.memory import Room

__all__ = ["dask", "worker_room"]

POLL = 0.02
"""Seconds between two looks at the jobs in flight; a cell takes seconds."""

RESULT_TIMEOUT = 60.0
"""Seconds to fetch a finished result, some megabytes."""


def dask(address: str, *, timeout: float = 10.0) -> Backend:
    """Compute on the workers of a Dask scheduler.

    Args:
        address: ``tcp://host:port``, ``tls://host:port``, or the path of a scheduler file.
        timeout: Seconds to wait for the scheduler, for a first worker, and for a scheduler that
            went away to come back.

    Raises:
        GACError: The scheduler does not answer, has no workers, or went away.
    """
    is_file = _is_file(address)

    def run(function: Callable[..., Any], jobs: Iterator[Job]) -> Iterator[tuple[Job, Any]]:
        with _client(address, is_file, timeout) as client:
            yield from _drive(client, function, jobs, address, timeout)

    return run


def worker_room(address: str, *, timeout: float = 10.0) -> Room:
    """Memory for one cell on the worker that has least of it: its limit over its threads.

    Raises:
        GACError: As `dask`, when it runs.
    """
    with _client(address, _is_file(address), timeout) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
    return least_room(list(workers.values()))


def least_room(workers: Sequence[Mapping[str, Any]]) -> Room:
    """The smallest share of a thread; unknown as soon as one worker has no limit.

    Examples:
        >>> least_room([{"memory_limit": 8, "nthreads": 2}, {"memory_limit": 6, "nthreads": 1}])[0]
        4
        >>> least_room([{"memory_limit": 8, "nthreads": 2}, {"memory_limit": 0, "nthreads": 1}])[0]
    """
    shares = [int(w.get("memory_limit") or 0) // max(1, w["nthreads"]) for w in workers]
    least = min(shares, default=0)
    return Room(least or None, "the Dask worker with least memory a thread")


def _is_file(address: str) -> bool:
    is_file = os.path.isfile(address)
    if not is_file and not address.startswith(("tcp://", "tls://")):
        fail(f"--scheduler {address!r} is neither tcp://host:port nor a scheduler file; pass one")
    return is_file


@contextlib.contextmanager
def _client(address: str, is_file: bool, timeout: float) -> Iterator[Any]:
    try:
        import distributed
    except ImportError:
        fail("--scheduler needs the package distributed, which is not installed; install it")
    import dask

    connect: Any = distributed.Client
    for name in ("distributed", "distributed.core", "distributed.client", "distributed.comm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    target = {"scheduler_file": address} if is_file else {"address": address}
    wait = f"{timeout:g}s"
    with dask.config.set({"distributed.comm.timeouts.connect": wait}):
        try:
            # A client that never opened prints a traceback when it is collected: knock first.
            asyncio.run(_knock(_listed(address) if is_file else address, timeout))
            client = connect(**target, timeout=timeout, set_as_default=False)
        except GACError:
            raise
        except Exception as error:  # what else listens there may say anything
            fail(
                f"scheduler {address} does not answer within {timeout:g} s "
                f"({type(error).__name__}); check the address, or leave out --scheduler"
            )
        try:
            try:
                client.wait_for_workers(1, timeout=timeout)
            except TimeoutError:
                fail(f"scheduler {address} has no workers; start some with: dask worker {address}")
            yield client
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=2)


def _listed(path: str) -> str:
    """The address in a scheduler file."""
    try:
        return str(json.loads(Path(path).read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError):
        fail(f"--scheduler {path}: not a scheduler file, which has an address; pass one")


async def _knock(address: str, timeout: float) -> None:
    """Open and drop one connection.

    Raises:
        OSError: Nobody is there, or not in time.
        Exception: Something else than Dask is there, and its words make no sense.
    """
    import distributed
    from distributed.comm import core

    security: Any = distributed.Security
    connect: Any = core.connect
    credentials = security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=timeout, **credentials), timeout)
    comm.abort()


def _drive(
    client: Any,
    function: Callable[..., Any],
    jobs: Iterator[Job],
    address: str,
    timeout: float,
) -> Iterator[tuple[Job, Any]]:
    import distributed

    attempts: Counter[str] = Counter()
    again: deque[Job] = deque()
    running: dict[Any, Job] = {}
    answered = time.monotonic()
    try:
        while True:
            if client.status == "running":
                answered = time.monotonic()
                while len(running) < max(1, _threads(client)):
                    job = again.popleft() if again else next(jobs, None)
                    if job is None:
                        break
                    # A key of its own: Dask must not hand back an earlier run's result.
                    key = f"gac-{job.key[:16]}-{uuid.uuid4().hex}"
                    running[client.submit(function, *job.arguments, key=key, pure=False)] = job
                if not running:
                    return
            elif time.monotonic() - answered > timeout:
                _gone(address)
            for future in [future for future in running if future.status != "pending"]:
                job = running.pop(future)
                if future.status == "finished":
                    yield job, future.result(timeout=RESULT_TIMEOUT)
                    continue
                if future.status == "error":
                    error = future.exception(timeout=RESULT_TIMEOUT)
                    if not isinstance(error, distributed.KilledWorker):
                        raise _readable(error)
                    count_attempt(attempts, job)
                again.append(job)  # lost with its worker, or with the connection
            time.sleep(POLL)
    except (OSError, TimeoutError) as error:  # Dask's communication errors are OSErrors
        _gone(f"{address} ({type(error).__name__})")
    finally:
        with contextlib.suppress(Exception):
            if client.status == "running":
                client.cancel(list(running), force=True)


def _threads(client: Any) -> int:
    info = client.scheduler_info(n_workers=-1)
    return sum(worker["nthreads"] for worker in info["workers"].values())


def _readable(error: BaseException) -> BaseException:
    if isinstance(error, ModuleNotFoundError):
        fail(f"a worker lacks {error.name!r}; start the workers from this checkout's folder")
    return error


def _gone(address: str) -> None:
    fail(f"scheduler {address} went away; what is stored is whole, so start it and resume")
