"""The notebooks, and the cells of one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))


class Cell(NamedTuple):
    """A cell of a notebook in the percent format: "code" or "markdown", and its text."""

    kind: str
    text: str


def cells(source: str) -> list[Cell]:
    parts = re.split(r"^# %%( \[markdown\])?\n", source, flags=re.MULTILINE)[1:]
    found = []
    for mark, text in zip(parts[::2], parts[1::2], strict=True):
        if mark:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines())
        found.append(Cell("markdown" if mark else "code", text.strip()))
    return found
