"""A new port: it starts, fails by the stage until it is filled in, and writes over nothing."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from _small_pack import small_pack

from gac_ref import GACConfig
from gac_ref.cli import main
from gac_ref.conformance.adapters.scaffold import KINDS, WRITTEN, new_port
from gac_ref.conformance.adapters.templates import header_folder
from gac_ref.conformance.check import run_check
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.reference import Reference
from gac_ref.conformance.stages import PIPELINE, STAGES

CLAIMED = (*PIPELINE, "step", "trajectory")
UNWRITTEN = [name for name in CLAIMED if name not in WRITTEN]
UNFILLED_EXIT = 3  # as the README of a new port says
Captured = pytest.CaptureFixture[str]


def spec_of(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The spec that the new port's own README names, its library built."""
    monkeypatch.chdir(folder)
    if kind == "python":
        monkeypatch.setenv("PYTHONPATH", str(Path(header_folder()).parents[2]))
        return "port:Port"
    if kind == "c":
        if shutil.which("cc") is None or shutil.which("make") is None:
            pytest.skip("no C compiler")
        flags = "FLAGS=-std=c11 -O1 -Wall -Wextra -Werror -pedantic"
        subprocess.run(["make", flags], check=True, capture_output=True)
        return "./libport.so"
    return f"stdio: ./{'port.mjs' if kind == 'node' else 'port.sh'}"


def made(kind: str, folder: Path) -> list[str]:
    if kind == "node" and shutil.which("node") is None:
        pytest.skip("no Node")
    return new_port("stdio" if kind in ("node", "shell") else kind, folder, node=kind == "node")


@pytest.mark.parametrize("kind", ["python", "c", "node", "shell"])
def test_a_new_port_passes_smoke_and_has_one_failure_a_stage_that_is_not_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    printed = made(kind, tmp_path / "new")
    spec = spec_of(kind, tmp_path / "new", monkeypatch)
    assert f"next: gac-ref check {spec!r}".replace("'", "") in (p.replace("'", "") for p in printed)
    assert main(["adapter", "smoke", spec]) == 0
    said = capsys.readouterr().out
    assert sum("not written yet" in line for line in said.splitlines()) == len(UNWRITTEN)
    assert main(["check", spec, "--stage", "clip", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["unsupported"] == 0
    if kind == "shell":  # a process a value: the whole pack takes half a minute
        few = load_pack().select(dtype="fp64", stages=["advantages", "change_cap"])
        cases = [part for case in few for part in ("--case", case.id)]
        assert main(["check", spec, *cases, "--format", "json"]) == UNFILLED_EXIT
        assert json.loads(capsys.readouterr().out)["failed"] == 1  # advantages is not claimed
        return
    assert main(["check", spec, "--format", "json"]) == UNFILLED_EXIT
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["failed"]) == ("adapter_failure", len(UNWRITTEN))
    assert found["executed"] > found["failed"]


def _loaded(file: Path) -> Any:
    wanted = importlib.util.spec_from_file_location(f"new_port_{file.parent.name}", file)
    assert wanted is not None
    assert wanted.loader is not None
    module = importlib.util.module_from_spec(wanted)
    wanted.loader.exec_module(module)
    return module.Port()


def _filled(file: Path, names: list[str]) -> Any:
    """The port with some stages answered by the reference, as its author would write them."""
    port = _loaded(file)
    reference = Reference()
    for name in names:
        call = lambda inputs, name=name: reference.run(name, inputs)  # noqa: E731
        setattr(port, f"stage_{name}", call)
    reset = port.reset

    def both() -> None:
        reset()
        reference.configure(port.config, dtype=port.dtype, device=port.device)

    port.reset = both
    return port


def test_every_stage_that_is_filled_in_is_one_failure_less(tmp_path: Path) -> None:
    new_port("python", tmp_path)
    # Whole steps report what is not asked for by its stage: those two come last, as in the port.
    for count in range(len(UNWRITTEN) + 1):
        port = _filled(tmp_path / "port.py", UNWRITTEN[:count])
        report = run_check(port, pack=small_pack(), hints=False)
        left = UNWRITTEN[count:]
        declined = {row["stage"] for row in report.stages if row["passed"] == 0}
        assert report.failed == len(left), report.headline
        assert declined >= set(left)
        assert report.verdict == ("adapter_failure" if left else "ok")


def test_a_stage_filled_in_wrong_is_the_origin(tmp_path: Path) -> None:
    new_port("python", tmp_path)
    port = _filled(tmp_path / "port.py", UNWRITTEN[:6])
    assert UNWRITTEN[5] == "closed_form"
    right = port.stage_closed_form
    port.stage_closed_form = lambda x: {**right(x), "mu_raw": right(x)["mu_raw"] * 1.01}
    report = run_check(port, pack=small_pack(), hints=False)
    assert (report.verdict, report.origin) == ("divergence", "closed_form")


@pytest.mark.parametrize("kind", ["python", "c", "node", "shell"])
def test_each_stage_is_named_with_all_that_it_takes_and_returns(kind: str, tmp_path: Path) -> None:
    made(kind, tmp_path)
    text = next(tmp_path.glob("port.*")).read_text("utf-8")
    assert "@" not in text.replace('"$@"', "")
    assert all(name in text for name in CLAIMED)
    if kind != "shell":
        words = set(text.replace(",", " ").replace(".", " ").split())
        for name in CLAIMED:
            stage = STAGES[name]
            assert {field.name for field in (*stage.inputs, *stage.outputs)} <= words, name


def test_the_new_python_port_is_formatted_as_this_project_is(tmp_path: Path) -> None:
    pytest.importorskip("ruff", reason="needs ruff")
    new_port("python", tmp_path)
    for check in (["format", "--check"], ["check"]):
        command = [sys.executable, "-m", "ruff", *check, "--line-length", "100", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_new_c_port_carries_the_header_of_the_package(tmp_path: Path) -> None:
    new_port("c", tmp_path)
    shipped = Path(header_folder(), "gac_port.h").read_bytes()
    assert (tmp_path / "gac_port.h").read_bytes() == shipped


def test_clip_of_a_new_port_follows_the_reference_beyond_numbers(tmp_path: Path) -> None:
    new_port("python", tmp_path)
    port, reference = _loaded(tmp_path / "port.py"), Reference()
    for each in (port, reference):
        each.configure(GACConfig().to_dict(), dtype="fp64", device="cpu")
    for value in (float("nan"), float("inf"), float("-inf"), 0.05, 0.95):
        inputs = {"mu_capped": value}
        assert repr(port.run("clip", inputs)) == repr(reference.run("clip", inputs))


# What cannot be written


def error(captured: Captured) -> str:
    out, err = captured.readouterr()
    assert out == ""
    assert err.startswith("gac-ref: error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_is_written_over_and_none_beside_it(
    kind: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert main(["adapter", "new", kind, str(tmp_path)]) == 2
    assert f"{tmp_path / 'README.md'} is there already" in error(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_broken_link_is_not_written_through(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "port.py").symlink_to(tmp_path / "elsewhere")
    assert main(["adapter", "new", "python", str(tmp_path)]) == 2
    assert "is there already" in error(capsys)
    assert not (tmp_path / "elsewhere").exists()


def test_an_unknown_kind_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    assert main(["adapter", "new", "rust", str(tmp_path / "new")]) == 2
    assert "unknown kind 'rust' of a port; pass one of python, c, stdio" in error(capsys)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_one_line(
    place: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["adapter", "new", "c", str(tmp_path / place)]) == 2
    assert str(tmp_path / place) in error(capsys)


def test_the_commands_are_for_the_folder_that_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not any(line.startswith("next: cd") for line in new_port("python", "."))
    assert "next: cd below" in new_port("python", "below")
