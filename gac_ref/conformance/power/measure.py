"""Measuring the suite: how many faults it finds, whom it accuses, and what it lets pass."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.pack import Pack, load_pack
from gac_ref.conformance.power.equivalent import EQUIVALENT
from gac_ref.conformance.power.jobs import Job, Outcome, jobs, run_job
from gac_ref.conformance.power.resolution import Resolution, resolutions

__all__ = ["PowerReport", "main", "measure"]

QUICK = 48
"""One mutant in so many is run by the quick measurement, one control and impostor in 12."""

Progress = Callable[[str], None]


class PowerReport(NamedTuple):
    """What was measured.

    Args:
        outcomes: Every run.
        resolution: Per stage and dtype.
        pack_version: Of the pack.
        pack_sha256: Of the pack.
        seconds: Wall clock.
        quick: Whether only a part of the library was run.
    """

    outcomes: tuple[Outcome, ...]
    resolution: tuple[Resolution, ...]
    pack_version: int
    pack_sha256: str
    seconds: float
    quick: bool

    def of(self, *groups: str) -> list[Outcome]:
        """The outcomes of these groups; "mutant" includes the planted ones."""
        return [o for o in self.outcomes if any(o.group.startswith(g) for g in groups)]

    @property
    def faulty(self) -> list[Outcome]:
        """Runs of mutants, of the library and planted, but for those proved equivalent."""
        return [o for o in self.of("mutant", "planted") if o.name not in EQUIVALENT]

    @property
    def survivors(self) -> list[Outcome]:
        """Mutants that the pack does not see."""
        return [o for o in self.faulty if not o.failed]

    @property
    def false_positives(self) -> list[Outcome]:
        """Correct ports that were failed."""
        return [o for o in self.of("control") if o.failed]

    @property
    def origin_accuracy(self) -> float:
        """Share of the killed runs whose origin is the stage of the fault."""
        killed = [o for o in self.faulty if o.failed]
        return sum(o.origin == o.stage for o in killed) / len(killed) if killed else 0.0

    @property
    def worst_resolution(self) -> float:
        """The largest multiple of the noise floor."""
        return max((r.multiple for r in self.resolution), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the keys are stable."""
        faulty, survivors = self.faulty, self.survivors
        alive = {(o.group, o.name) for o in survivors}
        pretenders = self.of("impostor")
        names = {(o.group, o.name) for o in faulty}
        return {
            "mutants": len(names),
            "killed": len(names - alive),
            "survivors": [_brief(o) for o in survivors],
            "impostors": len({o.name for o in pretenders}),
            "impostors_killed": len({o.name for o in pretenders})
            - len({o.name for o in pretenders if not o.failed}),
            "controls": len({o.name for o in self.of("control")}),
            "false_positives": len({o.name for o in self.false_positives}),
            "origin_accuracy": self.origin_accuracy,
            "resolution": {
                stage: {
                    r.dtype: {
                        "output": r.output,
                        "fault": r.fault,
                        "noise": r.noise,
                        "multiple": r.multiple,
                        "typical": r.typical,
                    }
                    for r in self.resolution
                    if r.stage == stage
                }
                for stage in dict.fromkeys(r.stage for r in self.resolution)
            },
            "worst_resolution": self.worst_resolution,
            "runs": len(self.outcomes),
            "mutant_runs": len(faulty),
            "mutant_runs_killed": len(faulty) - len(survivors),
            "groups": dict(Counter(group for group, _ in names)),
            "surviving_impostors": [_brief(o) for o in pretenders if not o.failed],
            "failed_controls": [_brief(o) for o in self.false_positives],
            "misattributed": [_brief(o) for o in faulty if o.failed and o.origin != o.stage],
            "equivalent": dict(EQUIVALENT),
            "kill_matrix": self.kill_matrix(),
            "confusion": self.confusion(),
            "pack": {"version": self.pack_version, "sha256": self.pack_sha256},
            "seconds": round(self.seconds, 1),
            "quick": self.quick,
        }

    def kill_matrix(self) -> dict[str, dict[str, list[int]]]:
        """Killed and run, by the stage of the fault and the dtype."""
        table: dict[str, dict[str, list[int]]] = {}
        for o in self.faulty:
            cell = table.setdefault(o.stage, {}).setdefault(o.dtype, [0, 0])
            cell[0] += o.failed
            cell[1] += 1
        return table

    def confusion(self) -> dict[str, dict[str, int]]:
        """Runs by the stage of the fault and the origin that was named."""
        table: dict[str, Counter[str]] = {}
        for o in self.faulty:
            if o.failed:
                table.setdefault(o.stage, Counter())[o.origin or "none"] += 1
        return {stage: dict(row) for stage, row in table.items()}


def _brief(outcome: Outcome) -> dict[str, Any]:
    names = ("group", "name", "stage", "dtype", "origin", "headline")
    return {name: getattr(outcome, name) for name in names}


def measure(
    *,
    quick: bool = False,
    dtypes: Sequence[str] = tuple(FORMATS),
    workers: int | None = None,
    progress: Progress | None = None,
) -> PowerReport:
    """Run the library.

    Args:
        quick: A sample in fp64 alone; see :data:`QUICK`.
        dtypes: In which dtypes.
        workers: Processes; by default one a core.
        progress: Called with a line now and then.

    Returns:
        The report.
    """
    started = time.monotonic()
    pack = load_pack()
    dtypes = ("fp64",) if quick else dtypes
    every = QUICK // 4 if quick else 1
    todo = jobs(every=QUICK if quick else 1, dtypes=dtypes)
    workers = workers or os.cpu_count() or 1
    outcomes: list[Outcome] = []
    found: list[Resolution] = []
    if workers == 1:
        outcomes = [o for job in todo for o in run_job(job, pack)]
        found = [r for dtype in dtypes for r in resolutions(pack, dtype, every=every)]
    else:
        for done, result in enumerate(_in_parallel(todo, dtypes, workers, every), start=1):
            for item in result:
                (outcomes if isinstance(item, Outcome) else found).append(item)  # type: ignore[arg-type]
            if progress is not None and (done % 20 == 0 or done == len(todo)):
                progress(f"{done} of {len(todo) + len(dtypes)} ports, "
                         f"{time.monotonic() - started:.0f} s")  # fmt: skip
    order = {name: i for i, name in enumerate(FORMATS)}
    outcomes.sort(key=lambda o: (o.group, o.stage, o.name, order[o.dtype]))
    found.sort(key=lambda r: order[r.dtype])
    return PowerReport(
        tuple(outcomes),
        tuple(found),
        pack.version,
        pack.sha256,
        time.monotonic() - started,
        quick,
    )


_pack: Pack | None = None


def _start() -> None:
    global _pack
    _pack = load_pack()


def _job(job: Job) -> list[Outcome]:
    return run_job(job, _pack)


def _resolution(dtype: str, every: int) -> list[Resolution]:
    assert _pack is not None
    return resolutions(_pack, dtype, every=every)


def _in_parallel(
    todo: Iterable[Job], dtypes: Iterable[str], workers: int, every: int
) -> Iterable[Sequence[Outcome | Resolution]]:
    """Results as they come, from processes of their own; "spawn" works everywhere."""
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start) as pool:
        futures = [pool.submit(_resolution, dtype, every) for dtype in dtypes]
        waiting: list[Any] = [*futures, *(pool.submit(_job, job) for job in todo)]
        for future in as_completed(waiting):
            yield future.result()


def main(argv: Sequence[str]) -> int:
    """`gac-ref power`: measure, print, and write the Markdown page.

    Args:
        argv: ``--format text|json``, ``--quick``, ``--jobs N``, ``--markdown FILE``.

    Returns:
        0 if every mutant and impostor is found and no correct port is failed, else 1.
    """
    from gac_ref.conformance.power.page import as_markdown, as_text

    parser = argparse.ArgumentParser(prog="gac-ref power")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--quick", action="store_true", help="a sample, in seconds")
    parser.add_argument("--jobs", type=int, default=None, metavar="N", help="processes")
    parser.add_argument("--markdown", metavar="FILE", help="write the published page")
    arguments = parser.parse_args(argv)

    def tell(line: str) -> None:
        print(f"power: {line}", file=sys.stderr, flush=True)

    report = measure(quick=arguments.quick, workers=arguments.jobs, progress=tell)
    if arguments.markdown:
        Path(arguments.markdown).write_text(as_markdown(report), "utf-8")
    if arguments.format == "json":
        print(json.dumps(report.to_dict(), indent=1))
    else:
        print(as_text(report))
    alive = [o for o in report.of("impostor") if not o.failed]
    return 1 if report.survivors or alive or report.false_positives else 0
