"""The records of a check: what happened in one comparison, and the events that reports read.

They travel as JSON lines; writing and reading them is
:class:`gac_ref.conformance.report.events.EventFile` and
:func:`gac_ref.conformance.report.events.read_events`.
"""

from __future__ import annotations

import math
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import gac_ref
from gac_ref.conformance.compare import Difference
from gac_ref.conformance.stages import PIPELINE

__all__ = [
    "BROKEN",
    "EXIT_CODES",
    "ORDER",
    "Result",
    "environment",
    "replay_command",
    "stage_rows",
    "start_event",
    "times",
]

EXIT_CODES: Mapping[str, int] = {
    "ok": 0,
    "divergence": 1,
    "incomplete": 1,
    "adapter_failure": 3,
    "too_few": 4,
}
"""The exit code of each verdict; 2 is a wrong call of the command. "incomplete" is said by reports,
of events that stop before their end."""

BROKEN = ("error", "timeout", "crash", "bad_reply")
"""The statuses of a check in which the port gave nothing that could be compared."""


ORDER: Mapping[str, int] = {name: i for i, name in enumerate((*PIPELINE, "advantages", "loss"))}
"""The stages in data-flow order; those beside the pipeline come last."""


class Result(NamedTuple):
    """One check: a call, or one stage of a whole step, in one mode.

    Args:
        case: Id of the case; "adapter/..." for what is checked of the port as a whole.
        exchange: Which call of the case.
        stage: The stage whose outputs were compared; "adapter" for the port as a whole.
        mode: "injected", one stage on golden inputs; "black_box", the mu of a whole step;
            "tapped", values that the port reported within a step; "consistent", the golden stage
            on the values that the port reported; "guard", a check of the port as a whole.
        status: "pass", "fail", "unsupported", "skipped", one of :data:`BROKEN`, or "expected".
        step: The optimiser step, in a trajectory.
        worst: The worst entry that was compared.
        reason: What is to be said beyond the numbers.
        kind: Of a failure: "value", "nan", "flag", "guard", or one of :data:`BROKEN`.
    """

    case: str
    exchange: int
    stage: str
    mode: str
    status: str
    step: int | None = None
    worst: Difference | None = None
    reason: str = ""
    kind: str = ""

    @property
    def failed(self) -> bool:
        """Wrong or broken, expected divergences aside."""
        return self.status == "fail" or self.status in BROKEN

    @property
    def executed(self) -> bool:
        """Whether the port was asked, and neither declined nor left out."""
        return self.status not in ("unsupported", "skipped")

    @property
    def ratio(self) -> float | None:
        """Error over bound of the worst entry; None if nothing was compared."""
        return None if self.worst is None else self.worst.ratio

    def event(self, replay: str = "") -> dict[str, Any]:
        """The event of this check."""
        worst = self.worst
        return {
            "event": "check",
            "case": self.case,
            "exchange": self.exchange,
            "stage": self.stage,
            "mode": self.mode,
            "step": self.step,
            "status": self.status,
            "kind": self.kind,
            "ratio": self.ratio,
            "output": None if worst is None else worst.output,
            "index": None if worst is None else list(worst.place),
            "got": None if worst is None else worst.got,
            "expected": None if worst is None else worst.expected,
            "bound": None if worst is None else worst.bound,
            "reason": self.reason,
            "replay": replay,
        }


def start_event(
    hello: Mapping[str, Any],
    *,
    spec: str,
    dtype: str,
    device: str,
    pack: Any,
    precision: Any,
) -> dict[str, Any]:
    """The event that opens a check.

    Examples:
        >>> from types import SimpleNamespace
        >>> pack = SimpleNamespace(version=1, sha256="ab")
        >>> event = start_event({"name": "p"}, spec="p", dtype="fp32", device="cpu", pack=pack,
        ...                     precision=None)
        >>> event["port"], event["command"]
        ('p', 'gac-ref check p --dtype fp32')
    """
    return {
        "event": "start",
        "port": str(hello.get("name", "?")),
        "version": str(hello.get("version", "?")),
        "spec": spec,
        "dtype": dtype,
        "device": device,
        "pack": pack.version,
        "pack_sha256": pack.sha256,
        "precision": None if precision is None else dict(precision._asdict()),
        "environment": environment(),
        "command": replay_command(spec, dtype, device),
    }


def environment() -> dict[str, str]:
    """The machine and the versions that an answer may depend on; nothing that names a user.

    Examples:
        >>> sorted(environment())
        ['cores', 'gac_ref', 'machine', 'numpy', 'python', 'system']
    """
    return {
        "gac_ref": gac_ref.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": sys.platform,
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
    }


def replay_command(spec: str, dtype: str, device: str, case: str = "") -> str:
    """The command that repeats a check, or one case of it.

    Examples:
        >>> replay_command("stdio: ./port", "bf16", "cuda", "clip/both-bounds")
        "gac-ref check 'stdio: ./port' --dtype bf16 --device cuda --case clip/both-bounds"
    """
    words = ["gac-ref", "check", spec or "PORT", "--dtype", dtype]
    if device != "cpu":
        words += ["--device", device]
    if case and not case.startswith("adapter/"):
        words += ["--case", case]
    return shlex.join(words)


def times(ratio: float) -> str:
    """An error over its bound, in a headline.

    Examples:
        >>> [times(x) for x in (0.314, 412.0, 3e7, float("inf"))]
        ['0.31x', '412x', '3e+07x', 'beyond any']
    """
    if math.isinf(ratio):
        return "beyond any"
    if ratio >= 100_000:
        return f"{ratio:.0e}x"
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.2g}x"


def stage_rows(results: Sequence[Result]) -> tuple[dict[str, Any], ...]:
    """For each stage and mode: passed, failed, propagated, unsupported, and the worst ratio.

    Propagated are reported values that differ from golden and follow from what their own stage
    was given.
    """
    follows = {
        (r.case, r.exchange, r.stage)
        for r in results
        if r.mode == "consistent" and r.status == "pass"
    }
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for result in results:
        row = rows.setdefault(
            (result.stage, result.mode),
            {
                "stage": result.stage,
                "mode": result.mode,
                **dict.fromkeys(("passed", "failed", "propagated", "unsupported", "other"), 0),
                "worst": 0.0,
            },
        )
        row[_column(result, follows)] += 1
        row["worst"] = max(row["worst"], result.ratio or 0.0)
    return tuple(sorted(rows.values(), key=lambda row: (ORDER.get(row["stage"], 99), row["mode"])))


def _column(result: Result, follows: set[tuple[str, int, str]]) -> str:
    if result.status == "pass":
        return "passed"
    if result.status == "unsupported":
        return "unsupported"
    if not result.failed:
        return "other"
    if result.mode == "tapped" and (result.case, result.exchange, result.stage) in follows:
        return "propagated"
    return "failed"
