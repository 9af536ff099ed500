"""The JAX port: through the pack, under its transformations, bent, and as its page shows it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax", reason="JAX is not installed")

import gac_ref
from gac_ref.conformance.adapters import open_port
from gac_ref.conformance.check import run_check
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.power.jax_faults import FAULTS, SHARDED, planted_port
from gac_ref.conformance.power.jobs import judged, telling
from gac_ref.conformance.power.planted import changed

ROOT = Path(gac_ref.__file__).parents[1]
TRANSFORMS = Path(__file__).parent / "_ports" / "jax_transforms.py"
PAGE = (ROOT / "docs" / "ports" / "jax.md").read_text("utf-8")
UNCLAIMED = {"advantages", "loss"}
ALL = bool(os.environ.get("GAC_ALL_FAULTS"))
DTYPES = (
    ("adapter", "bf16"),
    *((("adapter", "fp32"), ("adapter", "fp16")) if ALL else ()),
    *((("adapter_x64", "fp64"), ("adapter_x64", "fp32")) if ALL else ()),
)
"""Each takes about 35 s of CPU, most of it compiling; `make check-ports` runs all of them."""

RANKS = (
    "every_rank_has_the_mu_of_the_whole_batch",
    "the_kl_of_ranks_is_averaged_by_their_rollouts_tokens",
)
IN_X64 = (
    RANKS[0],
    "numbers_have_the_width_of_the_mode",
    "steps_states_and_configurations_share_one_trace",
)
"""What another width could change; the rest holds in it for the same reasons."""


def _run(program: list[str], root: Path = ROOT) -> str:
    # Without the caller's flags: the program chooses its own number of devices.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, *program],
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _transforms(*arguments: str, root: Path = ROOT) -> dict[str, str]:
    found: dict[str, str] = json.loads(_run([str(TRANSFORMS), *arguments], root))
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("adapter", "dtype"), DTYPES)
def test_the_port_passes_the_whole_pack(adapter: str, dtype: str) -> None:
    with open_port(f"gac_ref.ports.jax:{adapter}", timeout=120.0) as port:
        report = run_check(port, dtype=dtype)
    assert report.verdict == "ok", report.headline
    declined = {e["stage"] for e in report.events if e.get("status") == "unsupported"}
    assert declined <= UNCLAIMED


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("arguments", [(), ("x64", "only", *IN_X64)], ids=["float32", "x64"])
def test_every_property_holds_under_jit_vmap_and_shard_map(arguments: tuple[str, ...]) -> None:
    found = _transforms(*arguments)
    assert len(found) == (len(IN_X64) if arguments else 12)
    assert not any(found.values()), {name: why for name, why in found.items() if why}


@pytest.mark.slow
def test_every_code_block_of_its_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    _run(["-c", "\n".join(blocks)])


# --- faults in its source ---

PLANTED = FAULTS if ALL else FAULTS[::21]
"""Each compiles anew: 1 to 40 s of CPU."""


@pytest.mark.parametrize("fault", [*FAULTS, *SHARDED], ids=lambda fault: fault.name)
def test_the_text_of_each_fault_occurs_once(fault: Any) -> None:
    text = (ROOT / "gac_ref" / fault.file).read_text("utf-8")
    assert changed(fault, text) != text


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_each_fault_is_caught_and_its_stage_named(fault: Any) -> None:
    pack = load_pack()
    with planted_port(fault) as port:
        report = judged(port, fault.dtypes[-1], pack, telling(fault.stage, pack))
    assert report.verdict != "ok"
    assert report.origin == fault.stage, report.headline


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", SHARDED if ALL else SHARDED[:1], ids=lambda fault: fault.name)
def test_each_fault_of_several_devices_is_caught_by_their_properties(
    fault: Any, tmp_path: Path
) -> None:
    unread = shutil.ignore_patterns("__pycache__", "vectors")
    shutil.copytree(ROOT / "gac_ref", tmp_path / "gac_ref", ignore=unread)
    target = tmp_path / "gac_ref" / fault.file
    target.write_text(changed(fault, target.read_text("utf-8")), "utf-8")
    found = _transforms("only", *RANKS, root=tmp_path)
    assert any(found.values())
