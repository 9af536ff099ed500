"""R processes of one adapter that answer together, as the ranks of a data-parallel job."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any, Self

from gac_ref.conformance.adapters import open_port
from gac_ref.conformance.adapters.failures import AdapterFailure, Crashed, TimedOut
from gac_ref.conformance.adapters.process import START_TIMEOUT, ProcessPort
from gac_ref.conformance.port import Skipped, Unsupported

__all__ = ["World"]

GRACE = 1.0
"""Seconds that the ranks still have once one of them has failed: most then wait in vain."""


class World:
    """The ranks of one job, each with its place in the environment.

    Args:
        spec: What :func:`~gac_ref.conformance.adapters.open_port` takes, but a port object.
        ranks: How many.
        timeout: Seconds for one call.
        start_timeout: Seconds for the first call, in which the ranks find one another.
    """

    def __init__(
        self,
        spec: str | Sequence[str],
        ranks: int,
        *,
        timeout: float = 10.0,
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(ranks)
        port = _free_port()
        self.ports: list[ProcessPort] = []
        for rank in range(ranks):
            opened = open_port(
                spec,
                timeout=timeout,
                start_timeout=start_timeout,
                environment={
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(ranks),
                    "LOCAL_WORLD_SIZE": str(ranks),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                },
            )
            assert isinstance(opened, ProcessPort)  # not in_process, and not an object
            self.ports.append(opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for port in self.ports:
            port.kill()
        list(self._pool.map(lambda port: port.close(), self.ports))
        self._pool.shutdown()

    def together(self, call: Callable[[int, ProcessPort], Any]) -> list[Any]:
        """What every rank answers to a call made at the same time.

        Args:
            call: Makes the call of one rank, from its number and port.

        Raises:
            TimedOut: Some ranks gave no answer, with which did.
            AdapterFailure: A rank failed, with which, and with who waited for it.
            Unsupported: A rank declined.
            Skipped: A rank could not.
        """
        calls = [self._pool.submit(call, rank, port) for rank, port in enumerate(self.ports)]
        _, pending = wait(calls, return_when=FIRST_EXCEPTION)
        if pending:
            _, pending = wait(pending, timeout=GRACE)
        left = [rank for rank, answer in enumerate(calls) if answer in pending]
        for rank in left:
            self.ports[rank].kill()
        wait(calls)
        return _answers(calls, left, self._timeout)


def _answers(calls: Sequence[Future[Any]], left: Sequence[int], timeout: float) -> list[Any]:
    """The results, or the one failure that explains the others."""
    errors = {rank: call.exception() for rank, call in enumerate(calls)}
    answered = [rank for rank, error in errors.items() if error is None]
    failed = {r: error for r, error in errors.items() if error is not None and r not in left}
    silent = [rank for rank, error in failed.items() if isinstance(error, TimedOut)]
    # What the others raise may follow from a rank that died; a clean refusal explains most.
    causes = sorted(failed.items(), key=lambda item: not isinstance(item[1], Crashed))
    for rank, error in causes:
        if isinstance(error, Unsupported | Skipped):
            raise type(error)(f"rank {rank}: {error}") from None
        if rank not in silent and isinstance(error, AdapterFailure):
            raise _told(rank, error, [*left, *silent])
        if rank not in silent:
            raise error
    if silent:
        silent = sorted([*silent, *left])
        heard = f"{_spoken(answered)} answered" if answered else "no rank answered"
        raise TimedOut(
            f"{_spoken(silent)} gave no answer within {timeout:g} s, {heard}: a rank waits in a "
            "collective that another does not enter; every rank must make the same collective "
            "calls, whatever rows it has"
        )
    return [call.result() for call in calls]


def _told(rank: int, error: AdapterFailure, waiting: Sequence[int]) -> AdapterFailure:
    text = f"rank {rank}: {error}"
    if waiting:
        text += f"; {_spoken(waiting)} waited for it"
    if isinstance(error, Crashed):
        return Crashed(text, exit_code=error.exit_code, signal=error.signal)
    return type(error)(text)


def _spoken(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, sorted(ranks)))}"


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
