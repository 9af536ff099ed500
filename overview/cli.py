"""The command line: ``make run``.

Exit codes: 0 all was done and agrees; 1 a log or a port differs from the reference, or a part
failed (the page says which); 2 usage, or the page cannot be written; 130 interrupted.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from gac_ref._parser import Parser
from gac_ref.conformance.dtypes import dtype_named
from gac_ref.errors import GACError, fail
from gac_ref.traces import TraceReader
from overview.job import Found, Job, run_job

__all__ = ["main"]

PROGRAM = "python -m overview"
TRACE = Path("simulations") / "recording" / "trace"

BESIDE = (
    ("the questions asked and answered", Path("report") / "report.html"),
    ("the documentation", Path("docs") / "index.html"),
)
"""Pages of other commands, linked where they were made."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job and write its page.

    Args:
        argv: The arguments after the program's name; None takes them from the command line.

    Returns:
        The exit code.

    Examples:
        >>> main(["--workers", "0"])  # the error goes to stderr
        2
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(_job(words))
    except SystemExit as stop:  # argparse: --help, usage errors
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; what was computed is saved", file=sys.stderr)
        return 130
    except (GACError, OSError) as error:
        print(f"{PROGRAM}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _run(job: Job) -> int:
    page = job.out / "report.html"
    TraceReader(job.trace)  # a path that is none is said now, and not after minutes
    _require_writable(page)
    found = run_job(job, say=lambda text: print(text, flush=True))
    from overview.page import render

    beside = [(label, job.out / path) for label, path in BESIDE if (job.out / path).is_file()]
    page.write_text(render(found, job.out, beside=beside), encoding="utf-8")
    print(f"\n{_verdict(found)} in {found.seconds:.0f} s; the page: {page}")
    return 0 if found.agrees and not found.failures else 1


def _verdict(found: Found) -> str:
    if found.failures:
        return f"{len(found.failures)} of the parts failed"
    return "All agrees" if found.agrees else "Something differs from the reference"


def _require_writable(page: Path) -> None:
    """Before minutes of work."""
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        fail(f"{page}: cannot write ({error.strerror or error}); pass another --out")


def _job(words: Sequence[str]) -> Job:
    parser = Parser(
        prog=PROGRAM,
        description="Replay a recording, check the ports that are installed, draw the figures, and "
        "write one page that shows and links it all.",
    )
    parser.add_argument(
        "trace", nargs="?", type=Path, default=TRACE, metavar="TRACE", help=f"default: {TRACE}"
    )
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="default: out")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="saved results (default: OUT/analysis)"
    )
    parser.add_argument("--dtype", default="all", help="in which ports are checked (default: all)")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes (default: 2)"
    )
    found = parser.parse_args(words)
    if found.workers < 1:
        fail(f"--workers {found.workers} is below 1; pass how many processes to start")
    if found.dtype != "all":
        dtype_named(found.dtype)
    return Job(
        trace=found.trace,
        out=found.out,
        results=found.results or found.out / "analysis",
        dtype=found.dtype,
        workers=found.workers,
        command=shlex.join([*PROGRAM.split(), *words]),
    )
