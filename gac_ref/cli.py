"""The command line: ``gac-ref replay``, ``explain``, and the commands that check a port
(:mod:`gac_ref.conformance.cli`); ``python -m gac_ref`` is the same.

Exit codes: 0 done; 1 ``--compare`` found a difference, or a port diverges; 2 usage or data error,
one line on stderr; 3 a port does not answer; 4 too few checks of a port were executed; 130
interrupted; 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gac_ref import __version__
from gac_ref._parser import Parser
from gac_ref.authority import authority
from gac_ref.config import VARIANTS, GACConfig
from gac_ref.conformance.cli import add_commands
from gac_ref.errors import GACError, fail

# What reads traces or draws is imported by the command that needs it, so that `--version` and a
# usage error do not wait for it.
if TYPE_CHECKING:
    from gac_ref.replay import Comparison
    from gac_ref.traces import TraceReader

__all__ = ["main"]

_SETTING = re.compile(r"[A-Za-z_]\w*=")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; None takes them from the command line.

    Returns:
        The exit code.

    Examples:
        >>> main(["explain", "--set", "ema_beta=2"])  # the error goes to stderr
        2
    """
    with contextlib.suppress(AttributeError):  # a stand-in for stdout may lack it
        # A source text must not fail to print where the terminal's encoding is narrow.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        arguments = _parser().parse_args(_expanded(sys.argv[1:] if argv is None else argv))
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # argparse: --help, --version, usage errors
        return int(stop.code or 0)
    except BrokenPipeError:
        # `gac-ref ... | head`. Python flushes stdout once more at exit; that must not fail again.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except (GACError, OSError) as error:
        return _complain(error)
    return code


class _Parser(Parser):
    program = "gac-ref"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gac-ref",
        allow_abbrev=False,
        description="The golden reference of the Guided Adaptive Controller.",
    )
    parser.add_argument("--version", action="version", version=f"gac-ref {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    replay = commands.add_parser(
        "replay",
        allow_abbrev=False,
        help="run the controller over a recording of real training",
        description="Run the reference controller over a gac-trace/1 recording.",
    )
    replay.add_argument("trace", metavar="TRACE", help="a gac-trace/1 directory")
    _add_config(replay, recorded=True)
    replay.add_argument("--format", choices=("table", "jsonl", "csv"), default="table")
    replay.add_argument(
        "--every", type=int, metavar="N", help="table rows N apart (default: 25 to 40 rows; 1: all)"
    )
    replay.add_argument("--plot", metavar="FILE", help="draw a .png, .pdf or .svg (matplotlib)")
    replay.add_argument(
        "--compare",
        action="store_true",
        help="hold the logged values against the reference; exit 1 where they differ",
    )
    replay.add_argument("--rtol", type=float, default=1e-9, help="of --compare (default 1e-9)")
    replay.add_argument("--atol", type=float, default=1e-12, help="of --compare (default 1e-12)")
    replay.add_argument(
        "--allow-gaps", action="store_true", help="read on after a missing step instead of failing"
    )
    replay.set_defaults(run=_replay)

    explain = commands.add_parser(
        "explain",
        allow_abbrev=False,
        help="how much the noise-aware estimate moves mu",
        description="What the guards let through: the steady-state weight of the raw estimate.",
    )
    _add_config(explain, recorded=False)
    explain.add_argument("--format", choices=("text", "json"), default="text")
    explain.set_defaults(run=_explain)
    add_commands(commands, _Parser)
    return parser


def _add_config(parser: argparse.ArgumentParser, *, recorded: bool) -> None:
    extra = ("recorded",) if recorded else ()
    parser.add_argument(
        "--variant",
        choices=(*VARIANTS, *extra),
        default="documented",
        help="where the settings start from (default: documented"
        + ("; recorded: the trace's meta.config)" if recorded else ")"),
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="field=value",
        help="change a field; may be repeated, and takes several field=value in a row",
    )


def _expanded(argv: Sequence[str]) -> list[str]:
    """``--set a=1 b=2`` as ``--set a=1 --set b=2``; nargs="+" would swallow a TRACE behind it."""
    out: list[str] = []
    in_settings = False
    for word in argv:
        if in_settings and out[-1] != "--set" and _SETTING.match(word):
            out.append("--set")
        elif in_settings and out[-1] != "--set":
            in_settings = False
        out.append(word)
        in_settings = in_settings or word == "--set"
    return out


def _complain(error: Exception) -> int:
    message = " ".join(str(error).split())
    print(f"gac-ref: error: {message}", file=sys.stderr)
    return 2


def _explain(arguments: argparse.Namespace) -> int:
    config = GACConfig.variant(arguments.variant).with_settings(arguments.settings)
    if arguments.format == "json":
        report = {"config": config.to_dict(), "authority": authority(config)._asdict()}
        print(json.dumps(report, allow_nan=False))
    else:
        print(*authority(config).lines(config, _name(arguments)), sep="\n")
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    if arguments.every is not None and arguments.every < 1:
        fail(f"--every {arguments.every} is below 1; pass how many steps lie between two rows")
    if arguments.every is not None and arguments.format != "table":
        fail(f"--every thins the table; {arguments.format} is always whole, so leave it out")
    from gac_ref.replay import Comparison, Summary, replay
    from gac_ref.replay.table import Progress, output_for, printable
    from gac_ref.traces import TraceReader

    reader = TraceReader(arguments.trace, allow_gaps=arguments.allow_gaps)
    config = _config(arguments, reader)
    comparison = Comparison(arguments.rtol, arguments.atol)
    plot = None
    if arguments.plot is not None:
        from gac_ref.replay.plot import ReplayPlot, check_target

        target, plot = check_target(arguments.plot), ReplayPlot()
    if not reader.steps:
        fail(f"{reader.path / 'steps'}: holds no steps; record some, or pass another trace")

    summary, failure = Summary(), None
    output = output_for(arguments.format, reader, every=arguments.every, title=_name(arguments))
    progress = Progress(len(reader), sys.stderr, shown=sys.stderr.isatty())
    try:
        for row in replay(reader, config):
            summary.add(row)
            comparison.add(row)
            if plot is not None:
                plot.add(row)
            if output.wants(row):
                progress.clear()
            output.add(row)
            progress.update(summary.steps)
    except GACError as error:  # what could be read is reported first
        failure = error
    finally:
        progress.clear()
    output.finish()
    # Rows are data for another program; everything else goes to people.
    people = sys.stdout if arguments.format == "table" else sys.stderr
    if arguments.format == "table" and summary.steps:
        found = authority(config).lines(config, _name(arguments))
        print("", *summary.lines(), "", *found, sep="\n")
    for note in _notes(reader, config):
        print(printable(note), file=people)
    if plot is not None and summary.steps:
        plot.save(target, _title(reader, _name(arguments)))
        print(f"Picture: {target}", file=people)
    if arguments.compare and comparison.steps:
        print(*comparison.lines(), sep="\n", file=people)
    if failure is not None:
        sys.stdout.flush()
        return _complain(failure)
    return _verdict(comparison, reader) if arguments.compare else 0


def _verdict(comparison: Comparison, reader: TraceReader) -> int:
    if not comparison.steps:
        from gac_ref.replay import QUANTITIES
        from gac_ref.replay.table import printable

        ignored = ", ".join(sorted(comparison.ignored)) or "nothing"
        fail(
            f"{reader.path}: nothing to compare, the trace logs {printable(ignored)}; log one of "
            f"{', '.join(QUANTITIES)} as logged/NAME"
        )
    return 0 if comparison.first is None else 1


def _config(arguments: argparse.Namespace, reader: TraceReader) -> GACConfig:
    if arguments.variant == "recorded":
        from gac_ref.replay import recorded_config

        base = recorded_config(reader)
    else:
        base = GACConfig.variant(arguments.variant)
    return base.with_settings(arguments.settings)


def _notes(reader: TraceReader, config: GACConfig) -> Iterator[str]:
    """What a reader of the numbers should know of the recording and the settings."""
    if reader.steps and reader.steps[0] > 0:
        yield f"Note: the recording starts at step {reader.steps[0]}; the controller starts there"
    if reader.ranks and "ranks" not in reader.meta:
        yield (
            f"Note: the recording has ranks {', '.join(map(str, reader.ranks))}, and no meta.ranks "
            "that would show whether one is missing"
        )
    recorded = reader.meta.get("config")
    if isinstance(recorded, dict):
        used = config.to_dict()
        changed = [f"{k}={v}" for k, v in recorded.items() if k in used and used[k] != v]
        if changed:
            yield (
                f"Note: the recording was made with {' '.join(changed)}; "
                "--variant recorded replays it with its own settings"
            )


def _title(reader: TraceReader, name: str) -> str:
    """Two lines that fit above the picture."""
    lines = (reader.source or str(reader.path), f"gac-ref replay, {name}")
    return "\n".join(text if len(text) <= 95 else f"{text[:92]}..." for text in lines)


def _name(arguments: argparse.Namespace) -> str:
    return ", ".join([f"variant {arguments.variant}", *arguments.settings])
