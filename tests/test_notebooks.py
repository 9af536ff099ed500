"""The notebooks run as they are, each in a process of its own, and are built to be learned from.

A notebook asserts its own key numbers, so running it checks what its text says. What a script run
would not do, a reader's does: the figures are drawn here, too, and warnings are errors.
"""

from __future__ import annotations

import ast
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from _notebooks import NOTEBOOKS, cells

ROOT = Path(__file__).parents[1]

LIMIT = 120.0
"""Seconds of processor time: what a reader is promised. None needs a tenth of it, but the last one
where it trains. The clock on the wall would also measure whatever else the machine does."""

PATIENCE = 280.0
"""Seconds on the wall until a notebook counts as hanging."""

SLOW = ("3", "5", "6", "8")
"""Notebooks that take more than a few seconds: runs of controllers, and the whole recording."""

TOLERANCE = 0.11
"""A number in (0, this) inside an assertion is as good as a tolerance: it needs a reason."""

RUN = """
import runpy, sys
import matplotlib.pyplot as plt
runpy.run_path(sys.argv[1])
for number in plt.get_fignums():
    figure = plt.figure(number)
    figure.canvas.draw()
    assert any(ax.get_xlabel() for ax in figure.axes), f"figure {number} has no label on x"
assert plt.get_fignums(), "no figure"
"""


def run(path: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a folder of its own, so that nothing depends on where a reader starts."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, str(path)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MPLBACKEND": "agg",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


each = pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, id=p.stem, marks=pytest.mark.slow if p.stem[0] in SLOW else ())
        for p in NOTEBOOKS
    ],
)
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_eight_numbered_from_one():
    assert [path.stem[0] for path in NOTEBOOKS] == list("12345678")


@each
def test_it_runs_and_its_own_assertions_hold(path, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = run(path, tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout.strip()
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < LIMIT
    assert not list(tmp_path.iterdir()), "it left files where it was started"


FIGURE = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\n"
LABELS = "ax.set_xlabel('x')\nax.set_ylabel('y')\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{FIGURE}{LABELS}assert 1 + 1 == 3", "AssertionError"),
        (f"{FIGURE}{LABELS}import warnings; warnings.warn('old')", "UserWarning: old"),
        (FIGURE, "has no label on x"),
        ("print('nothing drawn')", "no figure"),
    ],
    ids=["assertion", "warning", "label", "figure"],
)
def test_a_broken_notebook_is_found(text, complaint, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text(text)
    found = run(path, tmp_path)
    assert found.returncode != 0
    assert complaint in found.stderr


@pytest.mark.parametrize(
    ("stem", "before", "after"),
    [
        ("1_shrinkage", "alpha = 1.0, 3.0, 0.5", "alpha = 1.0, 3.0, 0.6"),
        ("2_tokens_to_mu", "[0.30, 0.50, 0.20, 0.40, 0.60]", "[0.80, 0.90, 0.90, 0.70, 0.80]"),
    ],
    ids=["risk", "tokens"],
)
def test_text_cannot_go_stale(stem, before, after, tmp_path):
    """Another input makes other numbers: a copy whose text no longer fits must fail."""
    source = (ROOT / "notebooks" / f"{stem}.py").read_text()
    assert source.count(before) == 1
    path = tmp_path / f"{stem}.py"
    path.write_text(source.replace(before, after))
    assert "AssertionError" in run(path, tmp_path).stderr


@every
def test_it_has_a_title_exercises_with_hints_and_says_what_was_learned(path):
    found = cells(path.read_text())
    assert found[0].text.startswith(f"# {path.stem[0]}. ")
    last = found[-1].text
    _, exercises, learned = re.split(r"^## (?:Exercises|What was learned)$", last, flags=re.M)
    assert re.findall(r"^\*\*(\d)\.\*\*", exercises, flags=re.M) == ["1", "2", "3"]
    hint = re.compile(r"<details><summary>Hint</summary>\n\n.+?\n\n</details>", flags=re.DOTALL)
    assert len(hint.findall(exercises)) == 3
    assert learned.count("\n* ") >= 3


@every
def test_every_figure_and_half_of_the_cells_are_announced(path):
    """A reader is told what to expect before it is seen."""
    prose, announced, code = "", 0, 0
    for cell in cells(path.read_text()):
        if cell.kind == "markdown":
            prose = cell.text
            continue
        code += 1
        expected = "expect" in prose.lower()
        announced += expected
        assert expected or "plt.subplots" not in cell.text, f"not announced:\n{cell.text[:200]}"
    assert announced >= code / 2


def reasons(source: str) -> list[int]:
    """Lines of assertions with a tolerance that give no reason for it.

    The reason is a comment on the assertion, or above the block of assertions (or the loop over
    them) that it is in.
    """
    lines = source.splitlines()
    asserts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    within = {n for node in asserts for n in range(node.lineno, (node.end_lineno or 0) + 1)}
    bare = []
    for node in asserts:
        numbers = [n.value for n in ast.walk(node.test) if isinstance(n, ast.Constant)]
        if not any(isinstance(n, float) and 0.0 < n < TOLERANCE for n in numbers):
            continue
        line = node.lineno
        while line > 1 and (line - 1 in within or re.match(r"\s*for .*:$", lines[line - 2])):
            line -= 1
        block = lines[max(0, line - 2) : node.end_lineno]
        if not any("#" in text for text in block):
            bare.append(node.lineno)
    return bare


@every
def test_every_tolerance_has_a_reason(path):
    source = path.read_text()
    code = [cell.text for cell in cells(source) if cell.kind == "code"]
    assert sum(text.count("assert ") for text in code) >= 5
    assert [(text, reasons(text)) for text in code if reasons(text)] == []


def test_a_tolerance_without_a_reason_is_found():
    assert reasons("x = 1\nassert abs(x) < 1e-9") == [2]
    assert reasons("x = 1  # one\ny = 2\nassert abs(x) < 1e-9") == [3]
    assert reasons("# rounding\nassert abs(x) < 1e-9\nassert abs(y) < 1e-9") == []
    assert reasons("assert x == 3") == []


@every
def test_no_cell_ends_with_a_value_that_a_notebook_would_print(path):
    for cell in cells(path.read_text()):
        if cell.kind == "code":
            last = ast.parse(cell.text).body[-1]
            quiet = ("print(", "plt.rcParams.update(", "folder.cleanup()")
            shown = isinstance(last, ast.Expr) and not ast.unparse(last).startswith(quiet)
            assert not shown, ast.unparse(last)


@every
def test_prose_cites_no_number_with_three_digits_that_the_code_does_not_have(path):
    """A long number in the text is one that the code computes with or asserts."""
    found = cells(path.read_text())
    code = "\n".join(cell.text for cell in found if cell.kind == "code").replace("_", "")
    for cell in found:
        if cell.kind == "markdown":
            prose = re.sub(r"`[^`]*`|\$[^$]*\$|arXiv\S*", " ", cell.text.split("## Exercises")[0])
            for number in re.findall(r"\d[\d,]*(?:\.\d+)?", prose):
                plain = number.replace(",", "")
                assert len(plain.replace(".", "")) < 3 or plain in code, f"{number} in: {prose}"


@every
def test_jupytext_sees_the_same_cells(path):
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed")
    book = jupytext.read(path)
    mine = cells(path.read_text())
    assert [cell.cell_type for cell in book.cells] == [cell.kind for cell in mine]
    assert [cell.source.strip() for cell in book.cells] == [cell.text for cell in mine]
    assert jupytext.writes(book, fmt="py:percent").count("# %%") == len(mine)
