"""The events of a check as JSON lines, written as they come and read back.

JSON has no infinities, so a number that is not finite travels as the string "inf", "-inf" or
"nan". Whatever else is in a file that another program may have written is refused by name.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from gac_ref.errors import GACError, fail

__all__ = ["EventFile", "cleaned", "plain", "printable", "read_events", "real"]

Event = Mapping[str, Any]

_KINDS = ("start", "check", "end")
_LINE_LIMIT = 1 << 20  # an event is a few hundred bytes; a longer line is not one
_REQUIRED = {
    "start": (("port", str), ("dtype", str), ("device", str)),
    "check": (("case", str), ("stage", str), ("mode", str), ("status", str)),
    "end": (("verdict", str),),
}


def plain(value: Any) -> Any:
    """`value` as what JSON can say: NumPy values as Python's, infinities and NaN as strings.

    Examples:
        >>> plain({"ratio": float("inf"), "index": (1, 2)})
        {'ratio': 'inf', 'index': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return plain(value.tolist())
    return str(value)


def real(value: Any) -> float:
    """A number of an event as a float; NaN where there is none.

    Examples:
        >>> real(0.5), real("inf"), real(None)
        (0.5, inf, nan)
    """
    if isinstance(value, bool | int | float):
        return float(value)
    if value in ("inf", "-inf", "nan", "Infinity", "-Infinity", "NaN"):
        return float(value)
    return math.nan


def printable(text: str) -> str:
    r"""`text` of unknown origin, on one line and without terminal controls or
    halves of characters.

    Examples:
        >>> printable("a\x1b[31m\n b")
        'a?[31m b'
    """
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def cleaned(value: Any) -> Any:
    """An event with every text in it :func:`printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): cleaned(item) for key, item in value.items()}
    return [cleaned(item) for item in value] if isinstance(value, list | tuple) else value


class EventFile:
    """A JSON lines file that is whole after every event, so that a crash loses none.

    Args:
        path: Where to write; an existing file is replaced.

    Raises:
        GACError: The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._stream: TextIO = Path(path).open("w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            fail(f"{os.fspath(path)}: cannot be written ({error.strerror}); pass another file")

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, event: Event) -> None:
        """Append one event."""
        self._stream.write(json.dumps(plain(event), allow_nan=False) + "\n")
        self._stream.flush()


def read_events(paths: Iterable[str | os.PathLike[str]]) -> list[dict[str, Any]]:
    """The events of one file or several, in order; "-" in place of a path is not special.

    Raises:
        GACError: A file cannot be read, or a line of it is no event of a check.

    Examples:
        >>> read_events([])
        []
    """
    return [event for path in paths for event in _read(Path(path))]


def _read(path: Path) -> list[dict[str, Any]]:
    events = []
    try:
        with path.open(encoding="utf-8") as stream:
            number = 0
            while text := stream.readline(_LINE_LIMIT + 1):
                number += 1
                if len(text) > _LINE_LIMIT:
                    fail(f"{path}: line {number} is longer than {_LINE_LIMIT} characters; {_HELP}")
                if text.strip():
                    events.append(_parsed(text, f"{path}: line {number}"))
    except OSError as error:
        fail(f"{path}: cannot be read ({error.strerror}); pass the file that --jsonl wrote")
    except UnicodeDecodeError:
        fail(f"{path}: is not UTF-8 text; {_HELP}")
    if not events:
        fail(f"{path}: holds no events; {_HELP}")
    if events[0]["event"] != "start":
        fail(f"{path}: does not begin with a start event; {_HELP}")
    return events


_HELP = "pass the file that gac-ref check --jsonl wrote"


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GACError(f"{where} is not JSON; {_HELP}") from error
    if not isinstance(event, dict) or event.get("event") not in _KINDS:
        fail(f"{where} is no event (one of {', '.join(_KINDS)}); {_HELP}")
    for name, kind in _REQUIRED[event["event"]]:
        if not isinstance(event.get(name), kind):
            fail(f"{where}: {name!r} of a {event['event']} event is missing or no text; {_HELP}")
    return event
