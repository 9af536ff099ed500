"""The host's side of the JSON-lines protocol: a child process as a port."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self

from gac_ref.conformance.adapters.child import Child, Ended, Overlong, Silent
from gac_ref.conformance.adapters.failures import (
    AdapterFailure,
    BadReply,
    Crashed,
    NotFound,
    PortError,
    TimedOut,
    failure_named,
)
from gac_ref.conformance.adapters.hello import checked_hello
from gac_ref.conformance.adapters.wire import (
    MAX_REPLY,
    decode_values,
    encode_values,
    parse,
    shown,
)
from gac_ref.conformance.port import Skipped, Unsupported

__all__ = ["ProcessPort"]

START_TIMEOUT = 60.0
"""Seconds for hello and for the first configure, which may import a framework or wake a device."""

STARTS = 3
"""Starts in a row without one answer, after which a port is not started again."""

_KEPT_STRAY = 20
_compact = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class ProcessPort:
    """A port in a process of its own; after a crash or a time-out, the next call starts it again.

    Args:
        command: The program and its arguments.
        environment: Its environment; None for ours.
        timeout: Seconds for one call.
        start_timeout: Seconds for hello, and for the first configure after a start.
        limit: Bytes that one reply line may have.

    Attributes:
        stray: What the port printed to its standard output besides replies, as far as a host
            process of ours could keep it apart.
        starts: How often the process was started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        start_timeout: float = START_TIMEOUT,
        limit: int = MAX_REPLY,
    ) -> None:
        self._command = list(command)
        self._environment = environment
        self._timeout = timeout
        self._start_timeout = max(start_timeout, timeout)
        self._limit = limit
        self._child: Child | None = None
        self._hello: dict[str, Any] | None = None
        self._lists = False
        self._configuration: dict[str, Any] | None = None
        self._id = 0
        self._fruitless: list[AdapterFailure] = []
        self.stray: list[str] = []
        self.starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hello(self) -> dict[str, Any]:
        """Who it is and what it claims; asked once."""
        if self._hello is None:
            self._ready()
        assert self._hello is not None  # a start without a valid hello raises
        return self._hello

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        """Take a configuration, and start a new trajectory."""
        first = self._configuration is None
        self._ready()
        self._configuration = {"config": dict(config), "dtype": dtype, "device": device}
        self._call("configure", self._start_timeout if first else self._timeout)

    def reset(self) -> None:
        """Forget everything but the configuration."""
        self._ready()
        self._call("reset", self._timeout)

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of a stage by name."""
        self._ready()
        values = encode_values(inputs, lists=self._lists)
        reply = self._call("run", self._timeout, {"stage": stage, "inputs": values})
        try:
            return decode_values(reply, what="ok")
        except BadReply as failure:
            raise BadReply(f"run {stage}: {failure}") from None

    def close(self) -> None:
        """Ask it to stop, then end it and everything that it started."""
        child, self._child = self._child, None
        if child is None:
            return
        self._id += 1
        with contextlib.suppress(Silent, Ended):
            child.send(_line({"id": self._id, "call": "stop"}), time.monotonic())
        child.end()

    def kill(self) -> None:
        """End it at once; a call in progress (in another thread) ends as a crash."""
        if self._child is not None:
            self._child.kill_group()

    def _ready(self) -> None:
        """A running child that has said hello and knows the configuration."""
        if self._child is not None:
            return
        if len(self._fruitless) >= STARTS:
            raise self._fruitless[-1]
        self.starts += 1
        try:
            self._child = Child(self._command, environment=self._environment, limit=self._limit)
        except FileNotFoundError:
            raise NotFound(f"there is no program {self._command[0]!r}; check the command") from None
        except OSError as error:
            raise NotFound(f"cannot start {self._command[0]!r}: {error.strerror}") from None
        try:
            hello = checked_hello(self._call("hello", self._start_timeout))
            self._hello, self._lists = hello, hello.get("arrays") == "lists"
            if self._configuration is not None:
                self._call("configure", self._start_timeout)
        except AdapterFailure as failure:
            self._fruitless.append(failure)
            self._drop()
            raise

    def _call(self, call: str, timeout: float, extra: Mapping[str, Any] | None = None) -> Any:
        child = self._child
        assert child is not None
        self._id += 1
        request = {"id": self._id, "call": call}
        if call == "configure":
            request |= self._configuration or {}
        what = f"{call} {extra['stage']}" if extra else call
        line = _line({**request, **(extra or {})})
        deadline = time.monotonic() + timeout
        try:
            child.send(line, deadline)
            answer = child.receive(deadline)
        except Silent:
            self._timed_out(child, what, timeout)
        except Ended:
            self._crashed(child, what)
        except Overlong:
            self._drop()
            raise BadReply(
                f"the reply to {what} is longer than {self._limit} bytes; it starts "
                f"{shown(child.unfinished[:200])}"
            ) from None
        return self._answer(answer, what)

    def _answer(self, line: bytes, what: str) -> Any:
        try:
            reply = parse(line)
            if reply.get("id") != self._id or isinstance(reply["id"], bool):
                raise BadReply(
                    f"the line {shown(line)} answers id {shown(reply.get('id'))} and not "
                    f"{self._id}; write one reply a request, with its id"
                )
        except BadReply as failure:
            self._drop()  # what else is under way can no longer be told apart
            raise BadReply(
                f"{what}: {failure}; standard output carries replies only, so print to stderr"
            ) from None
        if "stray" in reply:
            self.stray = [*self.stray, str(reply["stray"])][-_KEPT_STRAY:]
        if what != "hello":
            self._fruitless.clear()
        if "ok" in reply:
            return reply["ok"]
        if "unsupported" in reply:
            raise Unsupported(_reason(reply["unsupported"]))
        if "skipped" in reply:
            raise Skipped(_reason(reply["skipped"]))
        if "error" in reply:
            raise PortError(f"{what}: {_reason(reply['error'])}")
        if isinstance(named := reply.get("failure"), dict):
            raise failure_named(named.get("kind"), f"{what}: {_reason(named.get('message'))}")
        raise BadReply(
            f"{what}: the line {shown(line)} holds none of ok, unsupported, skipped, error"
        )

    def _timed_out(self, child: Child, what: str, timeout: float) -> NoReturn:
        partial = child.unfinished
        held_back = None if partial else child.last_words()
        self._drop(at_once=True)
        said = f"no reply to {what} within {timeout:g} s"
        if partial:
            said += f"; it wrote {shown(partial)} without a newline: end each reply with one"
        elif held_back is not None:
            said += (
                f"; it wrote {shown(held_back)} only when its input was closed, so it is not "
                "hanging: its standard output is buffered, flush it after every line"
            )
        else:
            said += (
                "; it hangs, or is slower than the time-out, or has not flushed its standard output"
            )
        raise TimedOut(said, stderr=child.stderr) from None

    def _crashed(self, child: Child, what: str) -> NoReturn:
        partial = child.unfinished
        status = self._drop()
        name = signal.Signals(-status).name if status is not None and status < 0 else None
        how = "closed its standard output" if status is None else f"ended with exit code {status}"
        how = f"died of {name}" if name else how
        said = f"the port {how} where the reply to {what} was due"
        if partial:
            said += f"; it wrote {shown(partial)} without a newline"
        raise Crashed(
            said, exit_code=None if name else status, signal=name, stderr=child.stderr
        ) from None

    def _drop(self, *, at_once: bool = False) -> int | None:
        child, self._child = self._child, None
        if child is None:
            return None
        return child.kill() if at_once else child.end()


def _line(request: Mapping[str, Any]) -> bytes:
    return (_compact(request) + "\n").encode("ascii")


def _reason(text: object) -> str:
    return text if isinstance(text, str) else shown(text)
