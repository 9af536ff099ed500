"""How a replay is printed: table, JSON lines, CSV, and a progress bar; standard library only."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from gac_ref.replay.rows import ReplayRow
    from gac_ref.traces import TraceReader

COLUMNS = {
    **{"step": 6, "mu": 7, "prior": 7, "mu_raw": 7, "mu_ada": 7, "alpha": 7},
    **{"sigma_s2": 9, "sigma_r2": 9, "delta_g2": 9, "mu_oracle": 9, "flags": 0},
}


def every_for(steps: int) -> int:
    """The roundest distance that thins a long trace to 25 to 40 rows; 1 for a short one.

    Examples:
        >>> [every_for(n) for n in (1, 45, 60, 200, 1400, 100_000)]
        [1, 1, 2, 5, 50, 4000]
    """
    if steps <= 45:
        return 1
    low = math.ceil(steps / 40)
    high = max(steps // 25, low)
    for power in (int(10**exponent) for exponent in range(len(str(high)), -1, -1)):
        for unit in (power, power // 2, power // 5):
            if unit and high // unit * unit >= low:
                return high // unit * unit
    return low


def number(value: float, digits: int = 4) -> str:
    """A number with `digits` significant digits; "-" for NaN.

    Examples:
        >>> number(2.0), number(1e-8), number(float("nan"))
        ('2.000', '1.000e-08', '-')
    """
    return "-" if math.isnan(value) else f"{value:#.{digits}g}"


def fixed(value: float, places: int = 4) -> str:
    """A number with `places` decimals; "-" for NaN.

    Examples:
        >>> fixed(0.5)
        '0.5000'
    """
    return "-" if math.isnan(value) else f"{value:.{places}f}"


def printable(text: str) -> str:
    r"""`text` of unknown origin, without line breaks and terminal controls.

    Examples:
        >>> printable("a run\x1b[31m")
        'a run?[31m'
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One table row: right-aligned cells, the last one free.

    Examples:
        >>> line(["1", "0.5", "cap"], [4, 6, 0])
        '   1     0.5  cap'
    """
    padded = [cell.rjust(width) for cell, width in zip(cells[:-1], widths, strict=False)]
    return "  ".join(["".join(padded[:1]), *padded[1:], cells[-1]]).rstrip()


class Progress:
    """A progress bar with the time left, on one terminal line; silent if not `shown`.

    Args:
        total: How many steps there are.
        stream: Where the bar goes.
        shown: Whether to draw at all.
    """

    def __init__(self, total: int, stream: TextIO, *, shown: bool) -> None:
        self._total, self._stream, self._shown = total, stream, shown
        self._start = self._drawn = time.monotonic()
        self._width = 0

    def update(self, done: int) -> None:
        """Redraw, at most ten times a second, and not in the first half second."""
        now = time.monotonic()
        if not self._shown or now - self._start < 0.5 or now - self._drawn < 0.1:
            return
        self._drawn = now
        share = done / max(self._total, 1)
        seconds = round((now - self._start) * (1.0 - share) / max(share, 1e-9))
        bar = ("#" * round(30 * share)).ljust(30, ".")
        left = f"{seconds // 60}:{seconds % 60:02d} left"
        text = f"[{bar}] {done}/{self._total} {share:4.0%} {left}"
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def clear(self) -> None:
        """Take the bar away, so that other output has the line."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0


class Output(Protocol):
    """What prints the rows."""

    def wants(self, row: ReplayRow) -> bool:
        """Whether `add` prints this row."""

    def add(self, row: ReplayRow) -> None:
        """Print the row, if it is wanted."""

    def finish(self) -> None:
        """Print what is owed at the end."""


def output_for(kind: str, reader: TraceReader, *, every: int | None, title: str) -> Output:
    """The printer of one --format."""
    if kind == "jsonl":
        return JsonLines()
    return Csv(reader.scalar_names()) if kind == "csv" else Table(reader, every, title)


class JsonLines:
    """One strict JSON object a line."""

    def wants(self, row: ReplayRow) -> bool:
        """Whether `add` prints this row."""
        return True

    def add(self, row: ReplayRow) -> None:
        """Print the row, if it is wanted."""
        print(row.to_json())

    def finish(self) -> None:
        """Print what is owed at the end."""


class Csv:
    """One line a step; logged and true values as ``logged.NAME`` and ``oracle.NAME``."""

    def __init__(self, scalars: list[str]) -> None:
        """Start without a header; the first row writes it."""
        self._scalars = scalars
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._started = False

    def wants(self, row: ReplayRow) -> bool:
        """Whether `add` prints this row."""
        return True

    def add(self, row: ReplayRow) -> None:
        """Print the row, if it is wanted."""
        cells = row.to_dict()
        groups = {group: cells.pop(group) for group in ("logged", "oracle")}
        cells["flags"] = "+".join(cells["flags"])
        cells["refreshed"] = int(cells["refreshed"])
        for full in self._scalars:
            group, _, name = full.partition("/")
            cells[printable(f"{group}.{name}")] = groups[group].get(name)
        if not self._started:
            self._writer.writerow(cells)
            self._started = True
        # repr keeps every digit; None, which stands for NaN, becomes an empty cell.
        self._writer.writerow(
            [repr(cell) if isinstance(cell, float) else cell for cell in cells.values()]
        )

    def finish(self) -> None:
        """Print what is owed at the end."""


class Table:
    """Columns for people: thinned when long, with the first and the last step always there."""

    def __init__(self, reader: TraceReader, every: int | None, title: str) -> None:
        """Print the head of the table."""
        steps = len(reader)
        self._every = every or every_for(steps)
        truth = any(name.startswith("oracle/") for name in reader.scalar_names(steps=64))
        names = [name for name in COLUMNS if truth or name != "mu_oracle"]
        self._widths = {name: COLUMNS[name] for name in names}
        self._seen = 0
        self._held: ReplayRow | None = None
        print(printable(f"{reader.path}: {reader.source or 'no source given'}; {title}"))
        if self._every > 1:
            print(f"{steps} steps, one row in {self._every} (--every 1 shows all)")
        print(line(names, list(self._widths.values())))

    def wants(self, row: ReplayRow) -> bool:
        """Whether `add` prints this row."""
        return self._seen % self._every == 0

    def add(self, row: ReplayRow) -> None:
        """Print the row, if it is wanted."""
        shown = self.wants(row)
        self._held = None if shown else row
        self._seen += 1
        if shown:
            self._print(row)

    def finish(self) -> None:
        """Print what is owed at the end."""
        if self._held is not None:
            self._print(self._held)

    def _print(self, row: ReplayRow) -> None:
        cells = []
        for name in self._widths:
            if name == "step":
                cells.append(str(row.step))
            elif name == "flags":
                cells.append(", ".join(row.flags))
            elif name in ("sigma_s2", "sigma_r2", "delta_g2"):
                cells.append(number(getattr(row, name)))
            else:
                cells.append(fixed(getattr(row, name)))
        print(line(cells, list(self._widths.values())))
