"""``python -m simulations analyse`` and ``report``: compute and save; read, write and link."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from simulations.analysis.catalog import QUESTIONS, compute_part, parts_of, question
from simulations.analysis.report.build import write_report
from simulations.analysis.results import Results, sound
from simulations.sweeps.backends import Job, processes, serial
from simulations.sweeps.progress import Progress

__all__ = ["analyse", "report"]


def analyse(arguments: argparse.Namespace) -> int:
    """Compute what is missing of the questions asked for, saving each part as it is done."""
    results = Results(arguments.out)
    parts = {part.name: part for part in parts_of(arguments.questions)}
    missing = [name for name, part in parts.items() if arguments.again or not sound(part, results)]
    backend = serial if arguments.workers == 1 else processes(arguments.workers)
    progress = Progress(sys.stderr, what="parts")
    progress(len(parts) - len(missing), len(parts))
    start = time.monotonic()
    try:
        jobs = (Job(name, (name,)) for name in missing)
        for done, (job, arrays) in enumerate(backend(compute_part, jobs), start=1):
            results.write(parts[job.key], arrays)
            progress(len(parts) - len(missing) + done, len(parts))
    finally:
        progress.clear()
    kept = len(parts) - len(missing)
    print(
        f"{len(missing)} parts computed in {time.monotonic() - start:.0f} s, {kept} were there; "
        f"saved in {results.root}"
    )
    stale = [name for name, part in parts.items() if results.stale(part)]
    if stale:
        print(
            f"computed by other source code than today's: {', '.join(stale)}; compute them again "
            "with --again",
            file=sys.stderr,
        )
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write the page from what is saved."""
    names = arguments.questions or QUESTIONS
    files = write_report(
        [question(name) for name in names],
        Results(arguments.results),
        Path(arguments.out),
        note=lambda text: print(text, file=sys.stderr, flush=True),
    )
    for file in files:
        print(file)
    return 0
