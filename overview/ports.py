"""The ports of this project that this machine can run, and what a check of each finds."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gac_ref.conformance.report.events import read_events
from gac_ref.conformance.report.summary import Run, runs_from
from gac_ref.errors import fail
from gac_ref.ports.cuda.build import build

__all__ = ["PORTS", "Checked", "Port", "check_port"]

ROOT = Path(__file__).resolve().parents[1]


class Port(NamedTuple):
    """A port that comes with the project.

    Args:
        name: Of its files.
        label: As a reader knows it.
        missing: What this machine lacks to run it, and what to do; "" where it can.
        spec: How ``gac-ref check`` is told of it; builds what there is to build, in a folder.
    """

    name: str
    label: str
    missing: Callable[[], str]
    spec: Callable[[Path], str]


class Checked(NamedTuple):
    """A port that was checked.

    Args:
        port: Which.
        runs: One a dtype.
        page: The HTML page of the check.
        events: What happened in it, as JSON lines.
    """

    port: Port
    runs: tuple[Run, ...]
    page: Path
    events: Path

    @property
    def agrees(self) -> bool:
        """Whether every run is OK."""
        return all(run.verdict == "ok" for run in self.runs)


def _needs_module(module: str, command: str) -> Callable[[], str]:
    def missing() -> str:
        if importlib.util.find_spec(module) is not None:
            return ""
        return f"{module} is not installed; {command} installs it"

    return missing


def _needs_program(program: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(program) else f"{program} is not on the PATH; install it"


def _program(name: str) -> str:
    return os.path.relpath(ROOT / "gac_ref" / "ports" / name)


PORTS = (
    Port(
        "javascript",
        "JavaScript",
        _needs_program("node"),
        lambda folder: f"stdio: node {shlex.quote(_program('javascript/stdio.mjs'))}",
    ),
    Port(
        "cuda",
        "CUDA C++, built for the host",
        _needs_program("g++"),
        lambda folder: os.fspath(build("host", folder)),
    ),
    Port(
        "torch",
        "PyTorch",
        _needs_module("torch", "make .venv/.torch"),
        lambda folder: "gac_ref.ports.torch:adapter",
    ),
    Port(
        "jax",
        "JAX",
        _needs_module("jax", "make .venv/.jax"),
        lambda folder: "gac_ref.ports.jax:adapter",
    ),
)
"""In the order in which they are checked: the quickest first."""


def check_port(port: Port, folder: Path, *, dtype: str = "all") -> Checked:
    """Check one port, in a process of its own, with the progress on this one's stderr.

    Args:
        port: One that misses nothing.
        folder: Where its events, its page and what is built of it go.
        dtype: A dtype, or "all" that the port offers.

    Raises:
        GACError: It cannot be built, or the check ended without a verdict.
    """
    folder.mkdir(parents=True, exist_ok=True)
    events, page = folder / f"{port.name}.jsonl", folder / f"{port.name}.html"
    words = ["check", port.spec(folder), "--dtype", dtype, "--timeout", "120"]
    words += ["--jsonl", os.fspath(events), "--html", os.fspath(page)]
    # One thread: these batches are small, and a port's numbers must not depend on the cores.
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "gac_ref", *words],
        env={**os.environ, **single},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1, 3, 4) or not page.is_file():
        fail(f"the check of {port.label} ended with code {done.returncode} and no verdict")
    ends = (event for event in read_events([events]) if event["event"] != "check")
    return Checked(port, runs_from(ends), page, events)
