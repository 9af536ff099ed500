"""The command: compute what is missing, build, and say where it is."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gac_ref._parser import Parser
from gac_ref.errors import GACError, fail
from paper_figures.build import build, refuse_columns
from paper_figures.catalog import FIGURES, figures_named
from paper_figures.computing import compute_missing, require_folder, stale
from paper_figures.floats import engine_here
from paper_figures.venues import VENUES, venue_named
from simulations.analysis.results import Results
from simulations.arguments import RESULTS

__all__ = ["main"]

PROGRAM = "python -m paper_figures"

OUT = Path("out") / "figures"


def main(argv: Sequence[str] | None = None) -> int:
    """Build figures and tables.

    Args:
        argv: The arguments after the program's name; None takes them from the command line.

    Returns:
        The exit code: 0, 2 for an error, 130 when interrupted.

    Examples:
        >>> main(["nonsense"])  # the error goes to stderr
        2
    """
    try:
        return _run(_parser().parse_args(argv))
    except SystemExit as stop:  # argparse: --help, usage errors
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; what was computed is saved", file=sys.stderr)
        return 130
    except ImportError as error:
        print(f"{PROGRAM}: error: {error}; install requirements/figures.lock", file=sys.stderr)
        return 2
    except (GACError, OSError, MemoryError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{PROGRAM}: error: {message}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace) -> int:
    start = time.monotonic()
    figures = figures_named(arguments.names)
    venues = [venue_named(name) for name in dict.fromkeys(arguments.venue)]
    results = Results(arguments.results)
    if arguments.columns not in (None, 1, 2):
        fail(f"--columns {arguments.columns}: a page has one or two; pass 1 or 2")
    if arguments.workers < 1:
        fail(f"--workers {arguments.workers} is below 1; pass how many processes to start")
    refuse_columns(venues, arguments.columns)
    if arguments.compile:
        engine_here()
    require_folder(arguments.out, "--out")
    computed = compute_missing(
        figures,
        results,
        workers=arguments.workers,
        saved_only=arguments.saved_only,
        again=arguments.again,
    )
    old = stale(figures, results)
    if old:
        print(
            f"computed by other source code than today's: {', '.join(old)}; compute them again "
            "with --again",
            file=sys.stderr,
        )
    files = build(
        figures,
        venues,
        arguments.out,
        results,
        columns=arguments.columns,
        compiled=arguments.compile,
        note=lambda text: print(text, flush=True),
    )
    print(
        f"{len(files) - 1} files in {time.monotonic() - start:.0f} s ({computed} results "
        f"computed), listed in {files[0]}"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    top = Parser(
        prog=PROGRAM,
        description="Figures and tables for a paper, from saved results; computes what is missing.",
        epilog=f"figures: {', '.join(FIGURES)}",
    )
    top.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    top.add_argument(
        "--venue",
        nargs="+",
        default=["icml"],
        metavar="VENUE",
        help=f"sizes: {', '.join(VENUES)} (default: icml)",
    )
    top.add_argument(
        "--columns",
        type=int,
        metavar="1|2",
        help="columns that every picture spans (default: what suits each); tables keep theirs",
    )
    top.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"default: {OUT}")
    top.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help=f"default: {RESULTS}"
    )
    top.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default: 2)")
    which = top.add_mutually_exclusive_group()
    which.add_argument("--saved-only", action="store_true", help="refuse to compute anything")
    which.add_argument("--again", action="store_true", help="compute what is there as well")
    top.add_argument(
        "--compile", action="store_true", help="proof.pdf of all captions and tables, with TeX"
    )
    return top
