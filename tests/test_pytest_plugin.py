"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.pytest_plugin import check_case, parametrize_with_vectors
from gac_ref.conformance.reference import Reference
from gac_ref.errors import GACError

ROOT = Path(__file__).resolve().parents[1]
TESTS = Path(__file__).parent

OWN_TEST = """
from gac_ref.conformance.pytest_plugin import check_case, parametrize_with_vectors

@parametrize_with_vectors(stages=["closed_form"], dtypes=["fp32", "bf16"])
def test_mine(gac_port, gac_device, case, dtype):
    check_case(gac_port, case, dtype, device=gac_device)
"""


def run(folder: Path, *arguments: str, plugin: bool = True) -> subprocess.CompletedProcess[str]:
    """A pytest of its own, that finds the plugin by its name and no other."""
    loaded = ["-p", "_gac_ref_pytest"] if plugin else []
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", *loaded, "-p", "no:cacheprovider", "-q", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many tests passed, failed and so on, by pytest's last line."""
    last = done.stdout.strip().splitlines()[-1]
    return {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", last)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own")
    (path / "test_own.py").write_text(OWN_TEST)
    return path


@pytest.fixture(scope="module")
def cases() -> int:
    return len(load_pack().select(stages=["closed_form"], dtype="fp64"))


def test_a_right_port_passes_every_case(folder: Path, cases: int) -> None:
    done = run(folder, "--gac-port", "gac_ref.conformance.reference:Reference", "test_own.py")
    assert counts(done)["passed"] == 2 * cases
    assert done.returncode == 0


def test_a_wrong_port_fails_readably_and_its_other_dtypes_are_skipped(
    folder: Path, cases: int
) -> None:
    done = run(folder, "--gac-port", "_bad_ports:WrongClosedForm", "test_own.py", "-rs")
    text = done.stdout
    assert "origin: closed_form" in text
    for part in ("element   mu_raw", "got  ", "expected  ", "bound  ", "replay    gac-ref check"):
        assert part in text
    assert "Traceback" not in text
    assert "check_case(" not in text
    found = counts(done)
    assert found["skipped"] == cases
    assert found["failed"] + found.get("passed", 0) == cases
    assert found["failed"] > cases // 2
    assert "the port claims fp64, fp32, not bf16" in text


def test_without_a_port_tests_are_skipped_and_nothing_fails(folder: Path, cases: int) -> None:
    done = run(folder, "test_own.py")
    assert counts(done)["skipped"] == 2 * cases
    assert done.returncode == 0


def test_a_dtype_can_be_chosen(folder: Path, cases: int) -> None:
    done = run(folder, "--collect-only", "--gac-dtype", "fp32", "test_own.py")
    found = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(found) == cases
    assert all(line.endswith("-fp32]") for line in found)


def test_an_unknown_dtype_is_named(folder: Path) -> None:
    done = run(folder, "--gac-dtype", "fp8", "test_own.py")
    assert done.returncode != 0
    assert "unknown dtype 'fp8'" in done.stdout + done.stderr


def test_a_port_that_is_not_there_is_an_error_in_one_line(folder: Path) -> None:
    done = run(folder, "--gac-port", "none_such:port", "test_own.py", "-x")
    assert done.returncode == 1
    assert "none_such:port does not answer" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_port_can_be_checked_without_a_test_of_ones_own(tmp_path: Path) -> None:
    suite = ["--pyargs", "gac_ref.conformance.suite", "-k", "clip/ and fp16"]
    done = run(tmp_path, "--gac-port", "gac_ref.conformance.reference:Reference", *suite)
    assert counts(done)["passed"] == len(load_pack().select(stages=["clip"], dtype="fp16"))


def test_ids_are_those_of_the_cases() -> None:
    mark = parametrize_with_vectors(stages=["clip"], dtypes=["fp32", "bf16"])
    ids = [parameter.id for parameter in mark.args[1]]
    listed = [case.id for case in load_pack().select(stages=["clip"])]
    assert ids == [f"{name}-{dtype}" for dtype in ("fp32", "bf16") for name in listed]


@pytest.mark.parametrize(
    "wrong", [{"stages": ["warp"]}, {"dtypes": ["fp8"]}, {"tags": ["no-such-tag"]}]
)
def test_what_does_not_exist_is_refused(wrong: dict[str, list[str]]) -> None:
    with pytest.raises(GACError):
        parametrize_with_vectors(**wrong)


@parametrize_with_vectors(stages=["clip"], dtypes=["fp64"])
def test_the_decorator_works_without_the_options(case, dtype) -> None:
    check_case(Reference(), case, dtype)


def test_a_run_that_does_not_use_the_plugin_imports_nothing_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_other():\n"
        "    assert '_gac_ref_pytest' in sys.modules\n"
        "    assert 'numpy' not in sys.modules\n"
        "    assert not any(name.startswith('gac_ref') for name in sys.modules)\n"
    )
    done = run(tmp_path, "test_other.py")
    assert counts(done) == {"passed": 1}, done.stdout


def test_the_plugin_is_declared_under_a_name_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"gac_ref": "_gac_ref_pytest"}
    targets = project["tool"]["hatch"]["build"]["targets"]
    assert "_gac_ref_pytest.py" in targets["wheel"]["packages"]
    assert "_gac_ref_pytest.py" in targets["sdist"]["include"]
