"""Where CI is set a missing tool is a failure; elsewhere it is a skip that says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_passes():
    pass

@pytest.fixture
def browser():
    pytest.importorskip("no_such_browser")

def test_in_a_fixture(browser):
    pass

@pytest.mark.skipif(True, reason="TeX is not installed")
def test_by_a_mark():
    pass

def test_excused():
    pytest.skip("there is no nvcc")

@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    assert False
"""
MODULE = "import pytest\npytest.importorskip('no_such_port')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    return tmp_path


def run(folder: Path, ci: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rsfE", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_where_ci_is_set_a_missing_tool_fails(folder: Path) -> None:
    found = run(folder, "true")
    assert "1 passed, 1 skipped, 1 xfailed, 2 errors" in found
    for reason in ("could not import 'no_such_browser'", "TeX is not installed"):
        assert f"CI is set and nothing may be missing. Skipped: {reason}" in found


@pytest.mark.parametrize("ci", ["", "false"])
def test_elsewhere_it_is_skipped_with_its_reason(folder: Path, ci: str) -> None:
    found = run(folder, ci)
    assert "1 passed, 3 skipped, 1 xfailed" in found
    assert "could not import 'no_such_browser'" in found
    assert "TeX is not installed" in found


@pytest.mark.parametrize(("ci", "last"), [("true", "1 error"), ("", "1 skipped")])
def test_a_module_that_is_left_out_as_a_whole_counts_too(folder: Path, ci: str, last: str) -> None:
    (folder / "test_some.py").write_text(MODULE)
    found = run(folder, ci)
    assert last in found.splitlines()[-1]
    assert "no_such_port" in found
