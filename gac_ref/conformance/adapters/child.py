"""A child process that is spoken to in lines: written, read with a deadline, and always ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence

from gac_ref.conformance.adapters import guard
from gac_ref.conformance.adapters.wire import MAX_REPLY

__all__ = ["Child", "Ended", "Overlong", "Silent"]

KEPT_LINES = 40
"""Last lines of stderr that are kept."""

LAST_WORDS = 0.5
"""Seconds that a child has to end, or to say what it held back, once its input is closed."""

_CHUNK = 1 << 16
_TICK_MS = 200  # how often a wait looks whether the child is still there
_STDERR_LINE = 400
_LAST_CHUNKS = 16  # of what a dead child left in its pipes


class Silent(Exception):
    """The deadline passed without a whole line."""


class Ended(Exception):
    """The child closed its output, or ended."""


class Overlong(Exception):
    """The line grew beyond the limit."""


class Child:
    """A process in a group of its own, with its three standard streams as pipes.

    Args:
        command: The program and its arguments; no shell reads them.
        environment: The whole environment, or None for ours.
        limit: Bytes that one line of its output may have.

    Raises:
        OSError: The program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        limit: int = MAX_REPLY,
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            bufsize=0,
            start_new_session=True,
        )
        guard.watch(self._process.pid)
        streams = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (stream.fileno() for stream in streams if stream)
        os.set_blocking(self._in, False)
        os.set_blocking(self._err, False)
        self._limit = limit
        self._buffer = bytearray()
        self._errors: deque[str] = deque(maxlen=KEPT_LINES)
        self._error_rest = b""
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._poll.register(self._err, select.POLLIN)

    @property
    def pid(self) -> int:
        """The process id, which is that of its group, too."""
        return self._process.pid

    @property
    def unfinished(self) -> bytes:
        """What it wrote after its last whole line."""
        return bytes(self._buffer)

    @property
    def stderr(self) -> tuple[str, ...]:
        """The last lines of its standard error."""
        rest = self._error_rest.decode("utf-8", "replace").strip()
        return (*self._errors, rest) if rest else tuple(self._errors)

    def send(self, line: bytes, deadline: float) -> None:
        """Write a line; a child that does not read it is Silent, one that is gone Ended."""
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                self._wait(deadline, writing=True)
            except BrokenPipeError:
                raise Ended from None

    def receive(self, deadline: float) -> bytes:
        """The next whole line of its output, without the newline."""
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                return line
            searched = len(self._buffer)
            if searched > self._limit:
                raise Overlong
            self._wait(deadline)

    def _wait(self, deadline: float, *, writing: bool = False) -> None:
        """Until something can be read (or written); what comes is put away."""
        if writing:
            self._poll.register(self._in, select.POLLOUT)
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Silent
                events = self._poll.poll(min(left * 1000 + 1, _TICK_MS))
                ready = dict(events)
                if self._err in ready:
                    self._take_stderr()
                if self._out in ready:
                    return self._take_stdout()
                if self._in in ready:
                    return None
                # A grandchild may hold the pipes of a child that has ended.
                if not events and not self._alive():
                    raise Ended
        finally:
            if writing:
                self._poll.unregister(self._in)

    def _take_stdout(self) -> None:
        data = os.read(self._out, _CHUNK)
        if not data:
            raise Ended
        self._buffer += data

    def _take_stderr(self) -> None:
        try:
            data = os.read(self._err, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._err)
            return
        *lines, rest = (self._error_rest + data).split(b"\n")
        self._error_rest = rest[-_STDERR_LINE:]
        for line in lines[-KEPT_LINES:]:
            text = line[-_STDERR_LINE:].decode("utf-8", "replace").rstrip()
            if text:
                self._errors.append(text)

    def last_words(self) -> bytes | None:
        """A line that comes once the input is closed: it was held back in a buffer."""
        self._close_input()
        try:
            return self.receive(time.monotonic() + LAST_WORDS)
        except (Silent, Ended, Overlong):
            return None

    def end(self) -> int | None:
        """End it and all that it started; its exit status, or None where it had to be killed."""
        self._close_input()
        end = time.monotonic() + LAST_WORDS
        while self._alive() and time.monotonic() < end:
            self._drain(0.002)
        alive = self._alive()
        status = self.kill()
        return None if alive else status

    def kill_group(self) -> None:
        """Kill it and all that it started; another thread that waits for it sees it end."""
        # Only ever called while the child is unreaped: its id cannot be another process's yet.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> int:
        """End it and all that it started at once; its exit status, negative for a signal."""
        self.kill_group()
        status = self._process.wait()
        guard.release(self._process.pid)
        for _ in range(_LAST_CHUNKS):
            self._drain(0.0)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream and not stream.closed:
                stream.close()
        return status

    def _alive(self) -> bool:
        # WNOWAIT leaves it unreaped, so that its group is still its own when it is killed.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is None

    def _drain(self, seconds: float) -> None:
        """Take what stderr holds, and throw away what comes on stdout."""
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if descriptor == self._err:
                self._take_stderr()
            elif not os.read(self._out, _CHUNK):
                self._poll.unregister(self._out)

    def _close_input(self) -> None:
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
