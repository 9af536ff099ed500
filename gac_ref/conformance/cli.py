"""The commands that check a port: ``gac-ref check``, ``vectors``, ``tolerance``, ``fuzz``,
``adapter``, ``report`` and ``power``.

Parsers only; what a command needs is imported when it runs, so that ``gac-ref --version`` does not
wait for it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

__all__ = ["add_commands"]

Command = Callable[[argparse.Namespace], int]

_SPEC = (
    "the port: package.module:attribute, a path to a shared library, or 'stdio: COMMAND ARGS' for "
    "a program that speaks JSON lines"
)


def add_commands(
    subparsers: Any, parser_class: type[argparse.ArgumentParser] = argparse.ArgumentParser
) -> None:
    """Add the commands to the program's subparsers.

    Args:
        subparsers: What ``ArgumentParser.add_subparsers`` returned.
        parser_class: The parser of nested commands; its `error` words usage errors.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_commands(parser.add_subparsers())
        >>> parser.parse_args(["check", "my.port:adapter", "--dtype", "all"]).dtypes
        ['all']
    """
    _add_check(subparsers)
    _add_vectors(subparsers, parser_class)
    _add_others(subparsers, parser_class)


def _add(subparsers: Any, name: str, run: Command, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, allow_abbrev=False, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    parser.set_defaults(run=run)
    return parser


def _add_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help=_SPEC)
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="S", help="of one call (default 10 s)"
    )
    parser.add_argument("--device", default="cpu", help="passed on to the port (default cpu)")


def _add_check(subparsers: Any) -> None:
    check = _add(subparsers, "check", _check, "check a port against the golden reference")
    _add_port(check)
    check.add_argument(
        "--dtype",
        dest="dtypes",
        action="append",
        default=[],
        metavar="DTYPE",
        help="fp64, fp32, fp16, bf16 or all (that the port claims); may be repeated (default: the "
        "widest that it claims)",
    )
    check.add_argument(
        "--stage", dest="stages", action="append", metavar="STAGE", help="only this; repeatable"
    )
    check.add_argument(
        "--case",
        dest="cases",
        action="append",
        metavar="ID|FILE",
        help="only this case, or one that the fuzzer wrote; repeatable",
    )
    check.add_argument("--format", choices=("text", "json"), default="text")
    check.add_argument("--jsonl", metavar="FILE", help="write the events as they come")
    for name in ("html", "markdown", "junit"):
        check.add_argument(f"--{name}", metavar="FILE", help=f"write the report as {name}")
    check.add_argument(
        "--divergences", metavar="FILE", help="expected divergences, with reasons and expiry (TOML)"
    )
    check.add_argument(
        "--minimum", type=_count, metavar="N", help="fail with 4 if fewer checks are executed"
    )
    check.add_argument(
        "--in-process",
        action="store_true",
        help="run a Python port in this process",
    )
    check.add_argument(
        "--ranks",
        type=_ranks,
        metavar="R,...",
        help="also split batches over so many data-parallel processes, such as 2,3",
    )


def _add_vectors(subparsers: Any, parser_class: type[argparse.ArgumentParser]) -> None:
    vectors = subparsers.add_parser(
        "vectors",
        allow_abbrev=False,
        help="list, show, verify or export the released cases",
        description="The released cases.",
    )
    inner = vectors.add_subparsers(required=True, metavar="COMMAND", parser_class=parser_class)
    listing = _add(inner, "list", _vectors_list, "list the cases")
    listing.add_argument("--stage", dest="stages", action="append", metavar="STAGE")
    listing.add_argument("--tag", dest="tags", action="append", metavar="TAG")
    listing.add_argument("--format", choices=("text", "json"), default="text")
    showing = _add(inner, "show", _vectors_show, "show one case: inputs and golden outputs")
    showing.add_argument("id", metavar="ID", help="a case id, or a file that the fuzzer wrote")
    showing.add_argument("--dtype", metavar="DTYPE", help="default: the widest that it has")
    _add(inner, "verify", _vectors_verify, "verify every hash, and both oracles' agreement")
    export = _add(inner, "export", _vectors_export, "copy the pack to a directory")
    export.add_argument("directory", metavar="DIR")


def _add_others(subparsers: Any, parser_class: type[argparse.ArgumentParser]) -> None:
    tolerance = _add(subparsers, "tolerance", _tolerance, "derive the tolerance of one case")
    tolerance.add_argument("id", metavar="ID")
    tolerance.add_argument("--dtype", default="fp64", metavar="DTYPE", help="default fp64")

    fuzz = _add(subparsers, "fuzz", _fuzz, "search for the input on which a port is worst")
    _add_port(fuzz)
    fuzz.add_argument("--dtype", metavar="DTYPE", help="default: the widest that it claims")
    fuzz.add_argument("--seconds", type=_seconds, default=60.0, metavar="S", help="default 60")
    fuzz.add_argument("--seed", type=_count, default=0, metavar="N", help="default 0")
    fuzz.add_argument("--out", metavar="FILE", help="where the worst case goes, to be replayed")
    fuzz.add_argument("--in-process", action="store_true", help="run a Python port in this process")

    adapter = subparsers.add_parser(
        "adapter", allow_abbrev=False, help="begin or diagnose an adapter", description="Adapters."
    )
    inner = adapter.add_subparsers(required=True, metavar="COMMAND", parser_class=parser_class)
    smoke = _add(inner, "smoke", _smoke, "call a half-finished adapter, and say what to do next")
    smoke.add_argument("spec", metavar="SPEC", help=_SPEC)
    new = _add(inner, "new", _new, "write a new port, to be filled in stage by stage")
    new.add_argument("kind", metavar="KIND", help="python, c or stdio")
    new.add_argument("directory", metavar="DIR", help="made where it is missing")

    report = _add(subparsers, "report", _report, "make reports of the events of earlier checks")
    report.add_argument("events", metavar="EVENTS.jsonl", nargs="+", help="from check --jsonl")
    for name in ("html", "markdown", "junit"):
        report.add_argument(f"--{name}", metavar="FILE", help=f"write the report as {name}")
    report.add_argument("--format", choices=("text", "json"), default="text")

    power = _add(
        subparsers, "power", _power, "measure which faults the suite finds, and what it lets pass"
    )
    power.add_argument("--format", choices=("text", "json"), default="text")
    power.add_argument("--quick", action="store_true", help="a small part of the library")
    power.add_argument("--jobs", type=_count, metavar="N", help="processes (default: one a core)")
    power.add_argument("--markdown", metavar="FILE", help="write the page of the documentation")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 on")
    return int(text)


def _ranks(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and 2 <= int(part) <= 64 for part in parts):
        raise argparse.ArgumentTypeError(f"{text} is not a list of numbers from 2 to 64")
    return tuple(map(int, parts))


def _check(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance.check_command import check

    return check(arguments)


def _vectors_list(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance import vectors_command

    return vectors_command.listing(arguments.stages, arguments.tags, form=arguments.format)


def _vectors_show(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance import vectors_command

    return vectors_command.show(arguments.id, arguments.dtype)


def _vectors_verify(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance import vectors_command

    return vectors_command.verify()


def _vectors_export(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance import vectors_command

    return vectors_command.export(arguments.directory)


def _tolerance(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance import vectors_command

    return vectors_command.tolerance(arguments.id, arguments.dtype)


def _fuzz(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance.fuzz_command import run

    return run(arguments)


def _smoke(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance.adapters import smoke

    lines = smoke(arguments.spec)
    print(*lines, sep="\n")
    return 3 if any(line.startswith("FAIL") for line in lines) else 0


def _new(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance.adapters.scaffold import new_port

    print(*new_port(arguments.kind, arguments.directory), sep="\n")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance.report.deliver import deliver, targets
    from gac_ref.conformance.report.events import read_events
    from gac_ref.conformance.report.summary import runs_from

    files = targets(arguments)
    runs = runs_from(read_events(arguments.events))
    deliver(runs, files, form=None if files and arguments.format == "text" else arguments.format)
    return 0


def _power(arguments: argparse.Namespace) -> int:
    from gac_ref.conformance.power.measure import main

    argv = ["--format", arguments.format, *(["--quick"] if arguments.quick else [])]
    for option in ("jobs", "markdown"):
        if getattr(arguments, option) is not None:
            argv += [f"--{option}", str(getattr(arguments, option))]
    return main(argv)
