"""How numbers, counts and environments are worded, in every form of the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gac_ref.conformance.report.events import printable, real
from gac_ref.conformance.report.summary import Check, Run

__all__ = ["count", "details", "excess", "provenance", "ratio", "title", "value"]


def ratio(worst: float) -> str:
    """An error over its bound: "0.31x"; "differs" for what must be exact and is not.

    Examples:
        >>> [ratio(x) for x in (0.0, 0.3142, 7.25, 412.4, 3e7, float("inf"), float("nan"))]
        ['0x', '0.31x', '7.2x', '412x', '3e+07x', 'differs', '-']
    """
    if math.isnan(worst):
        return "-"
    if math.isinf(worst):
        return "differs"
    if worst and (worst < 0.001 or worst >= 100_000):
        return f"{worst:.0e}x"
    return f"{worst:.0f}x" if worst >= 100 else f"{worst:.2g}x"


def excess(check: Check) -> str:
    """By how much a check is out, in words."""
    if math.isinf(check.ratio):
        return "where it must be exact"
    return "nothing to compare" if math.isnan(check.ratio) else f"{ratio(check.ratio)} the bound"


def count(number: int) -> str:
    """A count of a table: "-" for none."""
    return str(number) if number else "-"


def value(item: Any) -> str:
    r"""A value of an event, as one would write it, on one line.

    Examples:
        >>> value(0.1), value(True), value(None), value("a\n b")
        ('0.1', 'true', '-', 'a b')
    """
    if item is None:
        return "-"
    if isinstance(item, bool):
        return str(item).lower()
    if isinstance(item, float):
        return repr(item)
    return printable(str(item))


def title(check: Check) -> str:
    """Case, stage and mode of a check, and the step of a trajectory."""
    step = "" if check.step is None else f", step {check.step}"
    return f"{check.case} ({check.stage}, {check.mode.replace('_', ' ')}{step})"


def details(check: Check) -> Iterator[tuple[str, str]]:
    """What there is to know of a failure, as names and values."""
    if check.output:
        yield "element", check.element
        yield "got", value(check.got)
        yield "expected", value(check.expected)
        error = abs(real(check.got) - real(check.expected))
        size = f"; the error is {error:.3g}, {excess(check)}"
        bound = real(check.bound)
        limit = value(check.bound) if math.isnan(bound) else f"{bound:.4g}"
        yield "bound", limit + (size if math.isfinite(error) else "")
    if check.reason:
        yield "reason", check.reason


def provenance(run: Run) -> Iterator[tuple[str, str]]:
    """Where a run comes from: port, pack, precision, environment, as names and values."""
    start = run.start
    yield "port", " ".join(value(start[key]) for key in ("port", "version") if start.get(key))
    for key in ("spec", "dtype", "device"):
        if start.get(key):
            yield key, value(start[key])
    pack = value(start.get("pack"))
    digest = str(start.get("pack_sha256") or "")
    yield "vectors", f"version {pack}" + (f", sha256 {digest[:16]}" if digest else "")
    if start.get("precision"):
        yield "precision", _flat(start["precision"])
    environment = start.get("environment")
    if isinstance(environment, Mapping):
        for key, item in environment.items():
            yield str(key), _flat(item)
    elif environment:
        yield "environment", value(environment)
    if start.get("command"):
        yield "command", value(start["command"])


def _flat(item: Any) -> str:
    if isinstance(item, Mapping):
        return ", ".join(f"{key} {_flat(part)}" for key, part in item.items())
    if isinstance(item, list | tuple):
        return ", ".join(_flat(part) for part in item)
    return value(item)
