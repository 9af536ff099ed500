"""The JavaScript port, through the protocol that any program speaks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gac_ref import ports
from gac_ref.conformance.adapters import open_port
from gac_ref.conformance.check import run_check
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.power.javascript_faults import FAULTS, planted_port
from gac_ref.conformance.power.jobs import judged, telling
from gac_ref.conformance.power.planted import PlantedFault, changed

FOLDER = Path(ports.__path__[0]) / "javascript"
SPEC = f"stdio: node {FOLDER / 'stdio.mjs'}"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")


@pytest.mark.parametrize("dtype", ["fp64", "bf16"])
def test_the_whole_pack_passes(dtype: str) -> None:
    with open_port(SPEC) as port:
        report = run_check(port, spec=SPEC, dtype=dtype)
    assert report.verdict == "ok", report.headline
    # It claims the controller whole, and not the trainer's advantages and loss.
    assert {row["stage"] for row in report.stages if row["unsupported"]} <= {"advantages", "loss"}


def test_the_mathematics_needs_nothing_but_the_language() -> None:
    for name in ("proxies.mjs", "controller.mjs"):  # a page loads these two
        text = (FOLDER / name).read_text(encoding="utf-8")
        imports = [line for line in text.splitlines() if line.startswith("import ")]
        assert all('from "./' in line for line in imports), name
        assert "process." not in text, name
        assert "require(" not in text, name


def test_a_broken_line_is_found_in_its_stage(tmp_path: Path) -> None:
    for file in FOLDER.glob("*.mjs"):
        shutil.copy(file, tmp_path)
    source = tmp_path / "controller.mjs"
    text = source.read_text(encoding="utf-8")
    right = "const top = target * d + r;"
    assert text.count(right) == 1
    source.write_text(text.replace(right, "const top = target * d + s;"), encoding="utf-8")
    spec = f"stdio: node {tmp_path / 'stdio.mjs'}"
    with open_port(spec) as port:
        report = run_check(port, spec=spec, stages=["closed_form", "step"], hints=False)
    assert (report.verdict, report.origin) == ("divergence", "closed_form")


# --- faults in its source ---

PLANTED = FAULTS if os.environ.get("GAC_ALL_FAULTS") else FAULTS[::12]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_text_of_each_fault_occurs_once(fault: PlantedFault) -> None:
    text = (FOLDER.parent.parent / fault.file).read_text("utf-8")
    assert changed(fault, text) != text


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_each_fault_is_caught_and_its_stage_named(fault: PlantedFault) -> None:
    pack = load_pack()
    with planted_port(fault) as port:
        report = judged(port, "fp64", pack, telling(fault.stage, pack))
    assert report.verdict != "ok"
    assert report.origin == fault.stage, report.headline
