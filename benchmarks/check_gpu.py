"""The ports on a GPU: right values, the same bits, clean memory, speed: `make check-gpu`.

Writes docs/reports/gpu-NAME.md. Needs a GPU; torch, JAX, nvcc and compute-sanitizer each for its
part. `--device cpu` goes through the same code on the CPU, in small: a rehearsal, whose numbers
say nothing of a GPU.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the checkout is enough; nothing has to be installed

from gpu_checks import (  # noqa: E402
    FAILED,
    Part,
    Subject,
    against_host,
    blocks,
    conformance,
    repeated,
    sanitized,
    subjects,
)
from gpu_device import Device, commit, gpu, versions  # noqa: E402
from gpu_plan import CPU, GPU, Plan  # noqa: E402
from gpu_speed import speed  # noqa: E402

from gac_ref import GACError  # noqa: E402
from gac_ref.ports.cuda.binding import Library  # noqa: E402
from gac_ref.ports.cuda.build import build  # noqa: E402

NEEDS = (
    "check-gpu needs an NVIDIA GPU and its driver, and finds none here; with `--device cpu` it "
    "rehearses on the CPU"
)
REHEARSAL = (
    "**A rehearsal on the CPU, in small sizes. No number on this page is of a GPU, and none may be "
    "quoted as a speed.**"
)

UNFINISHED = "**Not finished: the parts that are not on this page have not run.**"


def guarded(title: str, part: Callable[[], Part]) -> Part:
    """A part; whatever ends it is its result, so that the others still run."""
    try:
        return part()
    except Exception as error:  # a framework on a device fails in its own ways
        text = " ".join(str(error).split())[:300]
        return Part(title, FAILED, (f"{type(error).__name__}: {text}",))


def parts(plan: Plan, folder: Path) -> Iterator[Part]:
    """All parts in order, each as it is done."""
    library: Library | None = None
    path, reason = None, ""
    try:
        path = build(plan.build, folder)
        library = Library(path)
    except (GACError, OSError) as error:
        reason = str(error)
    if library is not None:
        known = library
        yield guarded("blocks", lambda: blocks(plan, known))
        yield guarded("host", lambda: against_host(plan, known, folder))
    yield guarded("Speed", lambda: speed(plan, library, reason))
    steps: tuple[Callable[[Plan, Subject], Part], ...] = (repeated, conformance)
    for step in steps:
        for subject in subjects(plan, path, reason):
            title = f"{step.__name__}, {subject.name}"
            yield guarded(title, partial(step, plan, subject))
    yield guarded("Sanitizers", lambda: sanitized(plan, folder))


def page(device: Device | None, found: list[Part], *, whole: bool = True) -> str:
    """The report in Markdown; of the parts so far, unless it is whole."""
    title = f"The ports on {device.name}" if device else "The ports, rehearsed on the CPU"
    facts = {"commit": commit(), "date": f"{datetime.now(UTC):%Y-%m-%d}", **versions()}
    if device is not None:
        facts |= {
            "device": f"{device.name}, compute capability {device.capability}, "
            f"{device.multiprocessors} multiprocessors, {device.memory / 2**30:.1f} GiB, "
            f"L2 {device.l2 / 2**20:.0f} MiB",
            "driver's CUDA": device.driver,
        }
    lines = [f"# {title}", "", *([] if device else [REHEARSAL, ""])]
    lines += [] if whole else [UNFINISHED, ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""]
    lines += ["| part | |", "|---|---|", *(f"| {p.title} | {p.outcome} |" for p in found)]
    for part in found:
        lines += ["", f"## {part.title}", "", f"{part.outcome.capitalize()}.", ""]
        lines += [f"* {line}" for line in part.lines]
    return "\n".join(lines) + "\n"


def slug(name: str) -> str:
    """A device's name as part of a file's.

    Examples:
        >>> slug("NVIDIA H100 80GB HBM3")
        'nvidia-h100-80gb-hbm3'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="check_gpu.py", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, help="folder (default: docs/reports; out for the CPU)")
    chosen = parser.parse_args(argv)
    plan = CPU if chosen.device == "cpu" else GPU
    device = None if plan is CPU else gpu()
    if plan is GPU and device is None:
        print(NEEDS, file=sys.stderr)
        return 2
    folder = chosen.out or ROOT / ("out" if plan is CPU else "docs/reports")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if plan is CPU:
        print(REHEARSAL.replace("*", ""))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (f"gpu-{slug(device.name)}.md" if device else "gpu-rehearsal.md")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for part in parts(plan, Path(scratch)):
            found.append(part)
            print(f"{part.outcome:<8} {part.title}", *part.lines, sep="\n    ", flush=True)
            target.write_text(page(device, found, whole=False), encoding="utf-8")
    target.write_text(page(device, found), encoding="utf-8")
    print(f"written to {target}")
    return 1 if any(part.outcome == FAILED for part in found) else 0


if __name__ == "__main__":
    sys.exit(main())
