"""The job: replay, ports, figures, in this order; what fails is said, and the rest goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from gac_ref.errors import GACError
from overview.ports import PORTS, Checked, Port, check_port
from overview.recording import Replayed, replay_recording

__all__ = ["Found", "Job", "run_job"]

T = TypeVar("T")


class Job(NamedTuple):
    """What to do.

    Args:
        trace: The recording.
        out: The folder of everything that is written.
        results: The saved results that figures are drawn from.
        dtype: In which ports are checked: one, or "all" that each offers.
        workers: Processes that compute what is missing.
        command: How the job was asked for.
    """

    trace: Path
    out: Path
    results: Path
    dtype: str
    workers: int
    command: str


class Found(NamedTuple):
    """Everything that a job found; a part that failed is None or empty, with a line in `failures`.

    Args:
        replayed: The replay.
        checked: The ports that were checked.
        absent: Those that this machine cannot run, with what it misses.
        manifest: The list of the files of the figures.
        failures: What failed, and why; a line each.
        command: What was run.
        seconds: How long it took.
    """

    replayed: Replayed | None
    checked: tuple[Checked, ...]
    absent: tuple[tuple[Port, str], ...]
    manifest: Path | None
    failures: tuple[str, ...]
    command: str
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether the log and every port that was checked agree with the reference."""
        log = self.replayed is None or self.replayed.agrees is not False
        return log and all(each.agrees for each in self.checked)


def run_job(job: Job, *, say: Callable[[str], None]) -> Found:
    """Do all of it.

    Args:
        job: What to do.
        say: Called with a line for people as soon as there is one.
    """
    start = time.monotonic()
    failures: list[str] = []

    def attempt(what: str, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except ImportError as error:
            failures.append(f"{what}: {error}; install requirements/figures.lock")
        except (GACError, OSError, MemoryError) as error:
            failures.append(f"{what}: {' '.join(str(error).split()) or type(error).__name__}")
        print(failures[-1], file=sys.stderr, flush=True)
        return None

    say(f"1/3  Replay of {job.trace}")
    picture = job.out / "replay.svg"
    replayed = attempt("replay", lambda: replay_recording(job.trace, picture, say=say))

    say("\n2/3  Ports against the reference")
    checked, absent = [], []
    for port in PORTS:
        missing = port.missing()
        if missing:
            absent.append((port, missing))
            say(f"  {port.label}: not checked; {missing}")
            continue
        say(f"  {port.label}: checking")
        done = attempt(port.label, partial(check_port, port, job.out / "ports", dtype=job.dtype))
        if done is not None:
            checked.append(done)
            for run in done.runs:
                say(f"    {run.headline}")

    say("\n3/3  Figures: what is saved is read, what is missing is computed")
    manifest = attempt("figures", lambda: _drawn(job, say))
    seconds = time.monotonic() - start
    return Found(
        replayed, tuple(checked), tuple(absent), manifest, tuple(failures), job.command, seconds
    )


def _drawn(job: Job, say: Callable[[str], None]) -> Path:
    from overview.figures import build_figures  # here: the replay need not wait for SciPy

    manifest, computed = build_figures(job.out / "figures", job.results, workers=job.workers)
    say(f"  {computed} results computed; the files are listed in {manifest}")
    return manifest
