"""What can go wrong between the suite and a port, by name."""

from __future__ import annotations

from collections.abc import Sequence

from gac_ref.errors import GACError

__all__ = [
    "AbiMismatch",
    "AdapterFailure",
    "BadReply",
    "Crashed",
    "NotFound",
    "PortError",
    "TimedOut",
    "WrongArchitecture",
    "failure_named",
]

SHOWN_LINES = 3
"""Lines of a dead port's stderr that its one-line message repeats; `stderr` holds more."""


class AdapterFailure(GACError):
    """The port could not answer; one line says what happened and what to do.

    Attributes:
        status: The word for it in a report: "error", "timeout", "crash" or "bad_reply".
        stderr: The last lines that the port wrote to its standard error.

    Examples:
        >>> TimedOut("no reply to run clip within 10 s").status
        'timeout'
    """

    status = "error"

    def __init__(self, message: str, *, stderr: Sequence[str] = ()) -> None:
        line = " ".join(message.split())
        if stderr:
            last = " | ".join(text.strip() for text in _telling(stderr))
            line = f"{line}; its stderr ends: {last}"
        super().__init__(line)
        self.stderr = tuple(stderr)


class Crashed(AdapterFailure):
    """The port's process ended where an answer was due.

    Attributes:
        exit_code: What it exited with, or None where a signal ended it.
        signal: The name of that signal, such as "SIGSEGV", or None.
    """

    status = "crash"

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None = None,
        signal: str | None = None,
        stderr: Sequence[str] = (),
    ) -> None:
        super().__init__(message, stderr=stderr)
        self.exit_code = exit_code
        self.signal = signal


class TimedOut(AdapterFailure):
    """No answer within the time-out; the port's process was ended."""

    status = "timeout"


class BadReply(AdapterFailure):
    """What came back is not an answer: junk, the wrong shape, kind or name, or nothing at all."""

    status = "bad_reply"


class PortError(AdapterFailure):
    """The port itself said that it failed: an exception, or an error reply."""


class NotFound(AdapterFailure):
    """There is no such module, attribute, file, program or symbol."""


class WrongArchitecture(AdapterFailure):
    """The file is not a shared library that this machine can load."""


class AbiMismatch(AdapterFailure):
    """The library was built against another version of ``gac_port.h``."""


_BY_NAME: dict[str, type[AdapterFailure]] = {
    kind.__name__: kind for kind in (AbiMismatch, BadReply, NotFound, PortError, WrongArchitecture)
}


def _telling(lines: Sequence[str]) -> Sequence[str]:
    """The lines that say most: the last, or the head of the stack that a fatal signal leaves."""
    for at, line in enumerate(lines):
        if line.startswith("Fatal Python error"):
            frames = [text for text in lines[at:] if text.lstrip().startswith("File ")]
            return (*lines[max(0, at - 1) : at + 1], *frames[:1])
    return lines[-SHOWN_LINES:]


def failure_named(kind: object, message: str) -> AdapterFailure:
    """The failure that a host process reports by name; an unknown name is a `PortError`.

    Examples:
        >>> failure_named("NotFound", "no module named port")
        NotFound('no module named port')
    """
    return _BY_NAME.get(str(kind), PortError)(message)
