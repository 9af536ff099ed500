"""``python -m simulations``: run, list, status, resume, summary, export, analyse, report."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gac_ref.errors import GACError, fail
from simulations.arguments import DEFAULT_OUT, PROGRAM, expanded, parser
from simulations.sweeps.backends import Backend, processes, serial
from simulations.sweeps.memory import check_before_start
from simulations.sweeps.progress import Progress
from simulations.sweeps.run import all_cells, run_study, status_of
from simulations.sweeps.store import Store
from simulations.sweeps.study import Point, Study, find_study, studies
from simulations.sweeps.summary import Row, chosen_weights, summarise
from simulations.sweeps.table import render

__all__ = ["main"]

MOST_NAMED = 16
"""Points whose best weights a footnote can list."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; None takes them from the command line.

    Returns:
        The exit code: 0, 2 for an error, 130 when interrupted.

    Examples:
        >>> main(["run", "nonsense"])  # the error goes to stderr
        2
    """
    try:
        arguments = parser().parse_args(expanded(sys.argv[1:] if argv is None else argv))
        code = _COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # argparse: --help, usage errors
        return int(stop.code or 0)
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (GACError, OSError, MemoryError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{PROGRAM}: error: {message}", file=sys.stderr)
        return 2
    return code


def _store(arguments: argparse.Namespace, name: str) -> Store:
    return Store(arguments.out if arguments.out is not None else DEFAULT_OUT / name)


def _stored(arguments: argparse.Namespace) -> tuple[Study, Store]:
    """The study as it was run last, from its store."""
    name = Path(arguments.study).stem
    store = _store(arguments, name)
    if arguments.out is None and not store.root.is_dir():
        name = find_study(arguments.study).name  # an unknown study is the likelier mistake
        store = _store(arguments, name)
    return Study.from_tree(store.read_manifest(), str(store.root / "study.json")), store


def _run(arguments: argparse.Namespace) -> int:
    study = find_study(arguments.study)
    study = study.keeping("controllers", arguments.controllers)
    study = study.keeping("regimes", arguments.regimes).with_settings(arguments.settings)
    return _compute(study, _store(arguments, study.name), arguments)


def _resume(arguments: argparse.Namespace) -> int:
    study, store = _stored(arguments)
    return _compute(study, store, arguments)


def _compute(study: Study, store: Store, arguments: argparse.Namespace) -> int:
    cells = all_cells(study.points())
    backend = _backend(arguments)
    progress = Progress(sys.stderr)
    room = None
    if arguments.scheduler is not None:
        from simulations.sweeps.cluster import worker_room

        room = worker_room(arguments.scheduler, timeout=arguments.timeout)
        if room.available is None:
            progress.note("a Dask worker has no memory limit, so whether cells fit is not checked")
    check_before_start(cells, at_once=min(arguments.workers or 1, len(cells)), room=room)
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        points = run_study(
            study,
            store,
            backend=backend,
            checkpoint_seconds=arguments.checkpoint,
            progress=progress,
            note=progress.note,
        )
    except KeyboardInterrupt:
        progress.clear()
        status = status_of(study.points(), store)
        out = "" if arguments.out is None else f" --out {arguments.out}"
        print(
            f"interrupted: {status.finished} of {status.total} cells are stored; go on with: "
            f"{PROGRAM} resume {study.name}{out}",
            file=sys.stderr,
        )
        return 130
    finally:
        progress.clear()
        signal.signal(signal.SIGTERM, previous)
    _print(study, points, store, arguments)
    return 0


def _terminated(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _backend(arguments: argparse.Namespace) -> Backend:
    if arguments.scheduler is not None:
        from simulations.sweeps.cluster import dask

        return dask(arguments.scheduler, timeout=arguments.timeout)
    if arguments.workers is None:
        return serial
    return processes(arguments.workers) if arguments.workers != 1 else serial


def _print(
    study: Study, points: Sequence[Point], store: Store, arguments: argparse.Namespace
) -> None:
    metrics = None
    if arguments.metrics == "all":
        study = _without_metrics(study)
    elif arguments.metrics is not None:
        metrics = [name.strip() for name in arguments.metrics.split(",")]
    rows = summarise(
        study, points, store, metrics=metrics, versus=arguments.versus, members=arguments.members
    )
    if arguments.format == "json":
        print(json.dumps([_plain(row) for row in rows], indent=1, allow_nan=False))
    else:
        problems = [point.cells[0].plan.problem for point in points]
        chosen = chosen_weights(study, points, store) if len(points) <= MOST_NAMED else {}
        lines = render(study, rows, versus=arguments.versus, problems=problems, chosen=chosen)
        print(*lines, sep="\n")


def _without_metrics(study: Study) -> Study:
    tree = study.to_tree()
    tree["summary"].pop("metrics", None)
    return Study.from_tree(tree, study.name)


def _plain(row: Row) -> dict[str, Any]:
    """JSON has no infinity: the interval of a single seed has null ends."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row._asdict().items()
    }


def _list(arguments: argparse.Namespace) -> int:
    for name in studies():
        study = find_study(name)
        points = study.points()
        cells = all_cells(points)
        plan = cells[0].plan
        print(
            f"{name:<16} {study.title}\n{'':<16} {len(plan.controllers)} controllers x "
            f"{len(points)} points x {sum(c.configuration['seeds'] for c in points[0].cells)} "
            f"seeds, {plan.settings.horizon} steps; {len(cells)} cells"
        )
    return 0


def _status(arguments: argparse.Namespace) -> int:
    study, store = _stored(arguments)
    status = status_of(study.points(), store)
    print(f"{study.name}: {status.finished} of {status.total} cells are stored in {store.root}")
    for count, text in (
        (status.held, "being computed now"),
        (status.started, "with a checkpoint to go on from"),
        (status.damaged, "damaged files set aside"),
    ):
        if count:
            print(f"  {count} {text}")
    return 0


def _summary(arguments: argparse.Namespace) -> int:
    study, store = _stored(arguments)
    _print(study, study.points(), store, arguments)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from simulations.sweeps.collect import collect, write_netcdf

    study, store = _stored(arguments)
    target = Path(arguments.to) if arguments.to else store.root / f"{study.name}.nc"
    if target.suffix != ".nc":
        fail(f"--to {target}: not a .nc file; pass one")
    write_netcdf(collect(study, study.points(), store), target)
    print(target)
    return 0


def _analyse(arguments: argparse.Namespace) -> int:
    from simulations.analysis.command import analyse

    return analyse(arguments)


def _report(arguments: argparse.Namespace) -> int:
    from simulations.analysis.command import report

    return report(arguments)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "resume": _resume,
    "list": _list,
    "status": _status,
    "summary": _summary,
    "export": _export,
    "analyse": _analyse,
    "report": _report,
}
