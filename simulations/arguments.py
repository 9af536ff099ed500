"""The command line's grammar."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from gac_ref._parser import Parser
from simulations.sweeps.run import CHECKPOINT_SECONDS

__all__ = ["DEFAULT_OUT", "PROGRAM", "expanded", "parser"]

PROGRAM = "python -m simulations"
DEFAULT_OUT = Path("out") / "simulations"
RESULTS = Path("out") / "analysis"
REPORT = Path("out") / "report"


class _Parser(Parser):
    program = PROGRAM


def parser() -> argparse.ArgumentParser:
    """All commands; `command` of the result names the one that was given."""
    top = _Parser(prog=PROGRAM, description="Simulations of mixing-weight controllers.")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="compute what a study lacks and print its table")
    run.add_argument("study", metavar="STUDY", help="a name from `list`, or the path of a .toml")
    run.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a parameter of the run, the problem or a controller",
    )
    run.add_argument("--controllers", metavar="A,B", help="only these controllers")
    run.add_argument("--regimes", metavar="A,B", help="only these regimes")
    _add_backend(run)
    _add_table(run)
    run.set_defaults(command="run")

    resume = commands.add_parser("resume", help="go on with a study as it was run last")
    resume.add_argument("study", metavar="STUDY")
    _add_backend(resume)
    _add_table(resume)
    resume.set_defaults(command="resume")

    listing = commands.add_parser("list", help="the declared studies")
    listing.set_defaults(command="list")

    status = commands.add_parser("status", help="how far a study is")
    status.add_argument("study", metavar="STUDY")
    _add_out(status)
    status.set_defaults(command="status")

    summary = commands.add_parser("summary", help="the table of a finished study")
    summary.add_argument("study", metavar="STUDY")
    _add_out(summary)
    _add_table(summary)
    summary.set_defaults(command="summary")

    export = commands.add_parser("export", help="collect a finished study into one netCDF file")
    export.add_argument("study", metavar="STUDY")
    _add_out(export)
    export.add_argument("--to", metavar="FILE", help="the file (default: STORE/STUDY.nc)")
    export.set_defaults(command="export")

    analyse = commands.add_parser("analyse", help="compute what the report needs, and save it")
    _add_questions(analyse, "QUESTION[.PART]")
    analyse.add_argument(
        "--again", action="store_true", help="compute what is already there as well"
    )
    analyse.add_argument("--workers", type=int, default=1, metavar="N", help="local processes")
    analyse.add_argument(
        "--out", type=Path, default=RESULTS, metavar="DIR", help=f"default: {RESULTS}"
    )
    analyse.set_defaults(command="analyse")

    report = commands.add_parser("report", help="the page of answers, from saved results only")
    _add_questions(report, "QUESTION")
    report.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help=f"default: {RESULTS}"
    )
    report.add_argument(
        "--out", type=Path, default=REPORT, metavar="DIR", help=f"default: {REPORT}"
    )
    report.set_defaults(command="report")
    return top


def _add_questions(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("questions", nargs="*", metavar=name, help="default: all")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help=f"the study's store (default: {DEFAULT_OUT}/STUDY)"
    )


def _add_backend(parser: argparse.ArgumentParser) -> None:
    _add_out(parser)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--workers", type=int, metavar="N", help="local processes (default: 1)")
    place.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="a Dask scheduler: tcp://host:port or its scheduler file",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="to wait for the scheduler (default 10)",
    )
    parser.add_argument(
        "--checkpoint",
        type=_seconds,
        default=CHECKPOINT_SECONDS,
        metavar="SECONDS",
        help=f"between checkpoints of a cell (default {CHECKPOINT_SECONDS:g})",
    )


def _seconds(text: str) -> float:
    """A time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time above 0; pass seconds")
    return value


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--metrics", metavar="A,B", help="only these metrics, or: all")
    parser.add_argument(
        "--versus",
        metavar="CONTROLLER",
        help="paired differences from this controller, seed by seed",
    )
    parser.add_argument(
        "--members",
        action="store_true",
        help="list every weight of a fixed grid, not only the best",
    )


def expanded(argv: Sequence[str]) -> list[str]:
    """``--set a=1 b=2`` as ``--set a=1 --set b=2``."""
    out: list[str] = []
    in_settings = False
    for word in argv:
        if in_settings and out[-1] != "--set":
            in_settings = "=" in word and not word.startswith("-")
            if in_settings:
                out.append("--set")
        out.append(word)
        in_settings = in_settings or word == "--set"
    return out
