"""Right values, the same bits, and clean memory on a device; each part says what it found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gpu_device import ROOT, has
from gpu_plan import BLOCKS, RUNS, Plan

from gac_ref import GACConfig, GACError
from gac_ref.conformance.adapters import open_port
from gac_ref.conformance.formats import narrow
from gac_ref.ports.cuda.binding import ROW, Library
from gac_ref.ports.cuda.build import build, sanitizer_environment
from gac_ref.ports.cuda.memory import DeviceArray

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
NAMES = {"fp64": "float64", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
TIMEOUT = "120"  # seconds of one call, which may compile
LIMIT = 1800.0  # seconds of one command

Arrays = dict[str, Any]


class Part(NamedTuple):
    """A part of the report."""

    title: str
    outcome: str
    lines: tuple[str, ...]


class Subject(NamedTuple):
    """A port that can be checked here, or the reason why it cannot."""

    name: str
    spec: str
    device: str
    missing: str = ""


def subjects(plan: Plan, library: Path | None, reason: str) -> tuple[Subject, ...]:
    """The ports; JAX in both of its widths."""
    torch, jax = (
        "" if has(name) else f"{name} is not installed; install it to run this part"
        for name in ("torch", "jax")
    )
    return (
        Subject("torch", "gac_ref.ports.torch:adapter", plan.device, torch),
        Subject("JAX, 32 bits", "gac_ref.ports.jax:adapter", plan.jax_device, jax),
        Subject("JAX, 64 bits", "gac_ref.ports.jax:adapter_x64", plan.jax_device, jax),
        Subject("CUDA C++", str(library), plan.device, reason if library is None else ""),
    )


def environment() -> dict[str, str]:
    """Of the processes started: the checkout can be imported, and JAX leaves memory to others."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def conformance(plan: Plan, subject: Subject) -> Part:
    """Every dtype that the port claims, through the front door."""
    title = f"Conformance: {subject.name}"
    if subject.missing:
        return Part(title, NOT_RUN, (subject.missing,))
    stages = [part for stage in plan.stages for part in ("--stage", stage)]
    arguments = ["--dtype", "all", "--device", subject.device, "--timeout", TIMEOUT]
    arguments += ["--format", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "gac_ref", "check", subject.spec, *arguments, *stages],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        timeout=LIMIT,
        check=False,
    )
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        return Part(title, FAILED, (f"exit code {done.returncode}: {' '.join(said)}",))
    lines = tuple(run["headline"] for run in found.get("runs") or [found])
    return Part(title, PASSED if done.returncode == 0 else FAILED, lines)


def arrays(dtype: str, rows: int, width: int) -> Arrays:
    """A batch of ragged rows in the storage of a dtype, two fifths demonstrations."""
    rng = np.random.default_rng(rows * width)
    length = rng.integers(0, width + 1, rows)
    return {
        "logprob": narrow(-rng.exponential(size=(rows, width)), dtype),
        "response_mask": np.arange(width) < length[:, None],
        "advantages": narrow(rng.normal(size=(rows, width)), dtype),
        "is_expert": np.arange(rows) % 5 < 2,
    }


def first_step(batch: Mapping[str, Any]) -> Arrays:
    """The inputs of the stage "step", from the state before the first."""
    config = GACConfig()
    before = {"mu": config.init_mu, "mu_ada": config.init_mu, "alpha": config.alpha}
    before |= dict.fromkeys(("sigma_s2", "sigma_r2", "delta_g2"), 0.0)
    counts = dict.fromkeys(("count_s", "count_r", "count_delta"), 0) | {"last_refresh": -1}
    state = {f"previous_{name}": value for name, value in (before | counts).items()}
    return {**batch, **state, "step": 0}


def bits(outputs: Mapping[str, Any]) -> bytes:
    """All that a port answered, as bytes."""
    return b"".join(
        name.encode() + np.asarray(value).tobytes() for name, value in sorted(outputs.items())
    )


def answers(count: int) -> str:
    return "the same bits" if count == 1 else f"{count} different answers"


def repeated(plan: Plan, subject: Subject) -> Part:
    """The same step, again and again: the same bits."""
    title = f"Determinism: {subject.name}, {RUNS} runs of one step"
    if subject.missing:
        return Part(title, NOT_RUN, (subject.missing,))
    lines, failed = [], False
    with open_port(subject.spec, timeout=float(TIMEOUT), environment=environment()) as port:
        for dtype in port.hello()["dtypes"]:
            port.configure(GACConfig().to_dict(), dtype=dtype, device=subject.device)
            inputs = first_step(arrays(dtype, *plan.repeated))
            different = len({bits(port.run("step", inputs)) for _ in range(RUNS)})
            lines.append(f"{dtype}: {answers(different)}")
            failed = failed or different > 1
    return Part(title, FAILED if failed else PASSED, tuple(lines))


def rows_of(library: Library, dtype: str, batch: Arrays, block: int = 0, grid: int = 0) -> Any:
    """One fused pass on the library's device."""
    names = {"logprob": NAMES[dtype], "advantages": NAMES[dtype]}
    there = {n: DeviceArray(library, v, names.get(n)) for n, v in batch.items()}
    with DeviceArray(library, np.full((len(batch["is_expert"]), len(ROW)), 7.0)) as rows:
        library.fused_rows(GACConfig(), there, rows, block=block, grid=grid)
        found = rows.numpy()
    for value in there.values():
        value.free()
    return found


def blocks(plan: Plan, library: Library) -> Part:
    """The fused pass in every block size, two grids, and many runs: the same bits."""
    lines, failed = [], False
    for dtype in NAMES:
        batch = arrays(dtype, *plan.repeated)
        launches = [(0, 0)] * RUNS + [(b, g) for b in BLOCKS for g in (0, 7)]
        seen = {rows_of(library, dtype, batch, *launch).tobytes() for launch in launches}
        lines.append(f"{dtype}: {answers(len(seen))} in {len(launches)} launches")
        failed = failed or len(seen) > 1
    title = f"Determinism: the fused pass over {len(BLOCKS)} block sizes and 2 grids"
    return Part(title, FAILED if failed else PASSED, tuple(lines))


def against_host(plan: Plan, library: Library, folder: Path) -> Part:
    """How far the device's bits are from those of the same source on the CPU; for information."""
    title = "The device's bits against the host build's"
    try:
        host = Library(build("host", folder))
    except GACError as error:
        return Part(title, NOT_RUN, (str(error),))
    lines = []
    for dtype in NAMES:
        batch = arrays(dtype, *plan.repeated)
        ours, theirs = (rows_of(each, dtype, batch) for each in (library, host))
        same = int((ours.view(np.int64) == theirs.view(np.int64)).sum())
        scale = np.abs(theirs).max(axis=0)
        gap = float((np.abs(ours - theirs) / np.where(scale == 0.0, 1.0, scale)).max())
        lines.append(
            f"{dtype}: {same} of {ours.size} numbers are the same bits; the largest difference is "
            f"{gap:.1e} of its column's largest value"
        )
    return Part(title, PASSED, tuple(lines))


def _sanitizers(plan: Plan) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    if plan.device == "cpu":
        yield "AddressSanitizer and UndefinedBehaviorSanitizer", [], sanitizer_environment()
        return
    for tool in TOOLS:
        yield f"compute-sanitizer {tool}", ["compute-sanitizer", "--tool", tool], {}


def sanitized(plan: Plan, folder: Path) -> Part:
    """Every kernel on ragged tensors of every dtype, under the sanitizers."""
    title = "Sanitizers"
    if plan.device == "cuda" and shutil.which("compute-sanitizer") is None:
        return Part(title, NOT_RUN, ("compute-sanitizer is not on the PATH",))
    try:
        library = build(plan.sanitized, folder)
    except GACError as error:
        return Part(title, NOT_RUN, (str(error),))
    lines, failed = [], False
    for name, prefix, more in _sanitizers(plan):
        guard = [*prefix, "--error-exitcode", "9"] if prefix else []
        done = subprocess.run(
            [
                *guard,
                sys.executable,
                str(Path(__file__).with_name("gpu_exercise.py")),
                str(library),
            ],
            capture_output=True,
            text=True,
            env={**environment(), **more},
            timeout=LIMIT,
            check=False,
        )
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if "ERROR" in line]
        clean = done.returncode == 0
        last = said[0].strip() if said else f"exit code {done.returncode}"
        lines.append(f"{name}: {'nothing found' if clean else last}")
        failed = failed or not clean
    return Part(title, FAILED if failed else PASSED, tuple(lines))
