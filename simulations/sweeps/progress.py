"""A progress bar with the time left, on a terminal only."""

from __future__ import annotations

import time
from typing import TextIO

__all__ = ["Progress", "duration"]

WIDTH = 28


class Progress:
    """One line that is rewritten in place; silent where the stream is no terminal.

    Examples:
        >>> import io
        >>> stream = io.StringIO()
        >>> bar = Progress(stream, shown=True)
        >>> bar(0, 4); bar(1, 4); bar.clear()
        >>> "1/4 cells" in stream.getvalue()
        True
    """

    def __init__(self, stream: TextIO, *, shown: bool | None = None, what: str = "cells") -> None:
        self.stream, self.what = stream, what
        self.shown = stream.isatty() if shown is None else shown
        self._start = time.monotonic()
        self._first: int | None = None
        self._length = 0

    def __call__(self, finished: int, total: int) -> None:
        """Show that `finished` of `total` cells are there."""
        if self._first is None:
            self._first = finished
        if not self.shown or total == 0:
            return
        filled = WIDTH * finished // total
        line = f"[{'#' * filled}{'.' * (WIDTH - filled)}] {finished}/{total} {self.what}"
        fresh = finished - self._first
        if fresh > 0 and finished < total:
            left = (time.monotonic() - self._start) / fresh * (total - finished)
            line += f", {duration(left)} left"
        self._write(line)

    def note(self, text: str) -> None:
        """A line for people, above the bar."""
        self.clear()
        print(text, file=self.stream, flush=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self.shown and self._length:
            self._write("")

    def _write(self, line: str) -> None:
        self.stream.write("\r" + line.ljust(self._length) + ("" if line else "\r"))
        self.stream.flush()
        self._length = len(line)


def duration(seconds: float) -> str:
    """A time for people.

    Examples:
        >>> duration(75), duration(4000)
        ('1 min 15 s', '1 h 6 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
