"""A port as several data-parallel processes: one run more, with a verdict of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gac_ref.conformance.adapters.distributed import TAG, check_ranks
from gac_ref.conformance.events import BROKEN, times
from gac_ref.conformance.pack import Pack

__all__ = ["run_ranks"]

Event = dict[str, Any]


def run_ranks(
    spec: str,
    ranks: int,
    *,
    start: Mapping[str, Any],
    pack: Pack,
    timeout: float,
    on_event: Callable[[Event], object],
) -> Event:
    """Deal the cases that are made for it to so many processes of the port.

    Args:
        spec: The port, by name.
        ranks: How many processes, at least 2.
        start: The "start" event of the same port alone.
        pack: The cases.
        timeout: Seconds for one call.
        on_event: Called with each event as it happens.

    Returns:
        The "end" event, with the verdict. Whatever is wrong here is the ranks' doing.
    """
    on_event({**start, "ranks": ranks, "command": f"{start['command']} --ranks {ranks}"})
    checks: list[Event] = []
    if any(TAG in case.tags for case in pack.select(dtype=start["dtype"])):
        for event in check_ranks(
            spec,
            ranks,
            dtype=start["dtype"],
            device=start["device"],
            pack=pack,
            timeout=timeout,
        ):
            checks.append(event)
            on_event(event)
    name = "/".join(str(start[key]) for key in ("port", "device", "dtype"))
    end = _end(checks, f"{name} on {ranks} ranks")
    on_event(end)
    return end


def _end(checks: Sequence[Event], label: str) -> Event:
    status = [check["status"] for check in checks]
    counts = {name: status.count(name) for name in ("unsupported", "skipped")}
    executed = len(status) - sum(counts.values())
    wrong = [check for check in checks if check["status"] in ("fail", *BROKEN)]
    worst = max((check["ratio"] for check in checks if check["ratio"] is not None), default=0.0)
    ran = f"executed {executed} of {len(status)}"
    if wrong:
        verdict = "divergence" if "fail" in status else "adapter_failure"
        headline = f"FAIL {label} - origin: ranks, {len(wrong)} of {executed} failed; {ran}"
    elif executed:
        verdict, headline = "ok", f"OK {label} - {ran}; worst {times(worst)} bound"
    else:
        verdict, headline = "too_few", f"TOO FEW CHECKS {label} - {ran}; {_reason(checks)}"
    return {
        "event": "end",
        "verdict": verdict,
        "executed": executed,
        "total": len(status),
        **counts,
        "failed": len(wrong),
        "expected_failures": 0,
        "origin": "ranks" if wrong else None,
        "first_bad_step": None,
        "hint": "",
        "statement": "every rank must find the weight of the whole batch" if wrong else "",
        "headline": headline,
        "worst": worst,
    }


def _reason(checks: Sequence[Event]) -> str:
    return str(checks[0]["reason"]) if checks else "no case chosen is made to be dealt to ranks"
