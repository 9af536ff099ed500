"""The page from an empty folder to a checked port: each way is walked, command by command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "first_port.md").read_text(encoding="utf-8")
NEEDED = {"python": (), "c": ("make", "cc", "g++"), "node": ("node",), "trainer": ()}
PATIENCE = 120.0  # seconds of one command, on a busy machine

_BLOCK = re.compile(r"(?:<!-- (in|write)[ :]+(.*?) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
_FUNCTIONS = {
    ".py": r"    def {}\(.*?(?=\n    def |\Z)",
    ".c": r"static int32_t {}\(.*?\n}}\n",
    ".mjs": r"  {}: unwritten,\n",
}


class Step(NamedTuple):
    """One block: what to do with it, where, and its text."""

    verb: str
    where: str
    text: str


def steps(way: str) -> Iterator[Step]:
    section = TEXT.split(f"<!-- way: {way} -->")[1].split("<!-- way: ")[0]
    for verb, where, language, text in _BLOCK.findall(section):
        yield Step("run" if language == "console" else verb, where, text)


def edit(folder: Path, step: Step) -> None:
    """Change a file as the line above the block says."""
    name, _, place = step.where.partition(", ")
    file = folder / name
    text, (how, _, what) = file.read_text(encoding="utf-8"), place.partition(": ")
    if how == "after":
        changed = text.replace(what, f"{what}\n{step.text}", 1)
    elif how == "the text":
        assert text.count(what) == 1
        changed = text.replace(what, step.text.rstrip("\n"))
    else:
        assert how == "in place of"
        pattern = _FUNCTIONS[file.suffix].format(what)
        changed, count = re.subn(pattern, lambda _: step.text, text, flags=re.DOTALL)
        assert count == 1
    assert changed != text
    file.write_text(changed, encoding="utf-8")


def plain(text: str) -> str:
    """Counts and errors vary with the vectors and the machine; what is said of them does not."""
    text = re.sub(r"(executed|of|worst|with) [\d.e+-]+x?", r"\1 #", text)
    return re.sub(r"[\d.]+ of #", "# of #", text).rstrip()


def require_shown(shown: list[str], printed: str) -> None:
    """Every line of the page was printed, in order; "..." is any number of others."""
    left = [plain(line) for line in printed.splitlines()]
    free = False
    for line in shown:
        if line == "...":
            free = True
            continue
        head, elided, _ = plain(line).partition(" ...")
        matches = [i for i, other in enumerate(left) if other.startswith(head)]
        matches = [i for i in matches if elided or left[i] == head]
        assert matches, f"{line!r} was not printed:\n{printed}"
        assert free or matches[0] == 0, f"before {line!r} there is {left[0]!r}"
        left, free = left[matches[0] + 1 :], False
    assert free or not left, f"also printed: {left}"


def run(folder: Path, block: str, environment: dict[str, str]) -> Path:
    """The commands of a block, each with its output; the folder where they end."""
    commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    assert commands
    for command in commands:
        line, _, shown = command.partition("\n")
        if line.startswith("cd "):
            folder = folder / line.removeprefix("cd ")
            continue
        if line.startswith("nvcc") and shutil.which("nvcc") is None:
            continue
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        require_shown(shown.splitlines(), done.stdout)
        assert done.stderr == "", line
        assert done.returncode == 0, line
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """`gac-ref` on the PATH, of this checkout."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script = tools / "gac-ref"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gac_ref "$@"\n')
    script.chmod(0o755)
    path = os.pathsep.join((str(tools), os.environ["PATH"]))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    # Under `make test` an inner make would say which directory it enters, as its reader's does not.
    return {**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("way", NEEDED)
def test_the_way_ends_at_a_checked_port(
    way: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    missing = [tool for tool in NEEDED[way] if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"there is no {missing[0]}")
    if way in ("python", "trainer"):
        pytest.importorskip("torch")
    folder, walked = tmp_path, 0
    for step in steps(way):
        walked += 1
        if step.verb == "run":
            folder = run(folder, step.text, environment)
        elif step.verb == "write":
            (folder / step.where).write_text(step.text, encoding="utf-8")
        else:
            edit(folder, step)
    assert walked >= 3


def test_every_block_belongs_to_a_way_and_every_way_is_linked() -> None:
    ways = re.findall(r"<!-- way: (\w+) -->", TEXT)
    assert ways == list(NEEDED)
    assert "```" not in TEXT.split("<!-- way: ")[0]
    headings = {h.lower().replace(",", "").replace(" ", "-") for h in re.findall(r"^## (.+)$", TEXT, re.M)}  # fmt: skip  # noqa: E501
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) == headings
    for link in re.findall(r"\]\(([\w/]+\.md)\)", TEXT):
        assert (ROOT / "docs" / link).is_file(), link


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["a", "b"], "b\na\n"),
        (["a"], "a\nb\n"),
        (["a", "...", "d"], "a\nb\nc\n"),
        (["exit code 3"], "exit code 1\n"),
        (["FAIL - 13 of 30 failed"], "OK - 13 of 30 failed\n"),
    ],
)
def test_output_that_is_not_what_the_page_shows_is_found(shown: list[str], printed: str) -> None:
    with pytest.raises(AssertionError):
        require_shown(shown, printed)


def test_output_with_other_counts_is_what_the_page_shows() -> None:
    require_shown(["OK x - executed 9 of 9; worst 0.39x bound", "..."], "OK x - executed 12 of 12; worst 0x bound\nmore\n")  # fmt: skip  # noqa: E501
