"""The conformance check of a correct port, in every dtype, as a saved result."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from simulations.analysis.question import Part
from simulations.sweeps.provenance import digest_of

__all__ = ["NAME", "arrays_of", "check_port", "part"]

NAME = "conformance.check"

APART = ("gac_ref/ports/", "gac_ref/replay/", "gac_ref/conformance/report/")
"""What the check of a NumPy port does not run."""


def check_port(
    control: str, dtypes: list[str], source: str = "", stages: list[str] | None = None
) -> dict[str, AnyArray]:
    """Check a correct NumPy port that rounds as its dtype does.

    Args:
        control: Name of a correct port of :mod:`gac_ref.conformance.power.controls`.
        dtypes: Of the tensors that it is handed.
        source: Digest of the suite; another suite, another saved result.
        stages: What is checked; all when None.

    Returns:
        See :func:`arrays_of`.

    Examples:
        >>> found = check_port("plain", ["bf16"], stages=["clip"])
        >>> bool((found["ratio"] <= 1.0).all()), set(found["stage"].tolist())
        (True, {'clip'})
    """
    del source
    from gac_ref.conformance.check import run_check
    from gac_ref.conformance.power.controls import controls

    (chosen,) = [each for each in controls() if each.name == control]
    events: list[dict[str, Any]] = []
    for dtype in dtypes:
        run_check(
            chosen.port(), spec=control, dtype=dtype, stages=stages, hints=False,
            on_event=events.append,
        )  # fmt: skip
    return arrays_of(events)


def arrays_of(events: list[dict[str, Any]]) -> dict[str, AnyArray]:
    """The compared checks of an events file.

    Args:
        events: As ``gac-ref check --jsonl`` writes them.

    Returns:
        ``dtype``, ``stage``, ``mode`` and ``ratio`` of every check that compared numbers, [n], and
        ``port`` and ``pack``.

    Examples:
        >>> start = {"event": "start", "dtype": "bf16", "port": "p", "pack": 1}
        >>> check = {"event": "check", "stage": "clip", "mode": "injected", "ratio": 0.5}
        >>> arrays_of([start, check])["ratio"].tolist()
        [0.5]
    """
    from gac_ref.conformance.report.events import real

    rows, dtype, port, pack = [], "", "", ""
    for event in events:
        if event["event"] == "start":
            dtype, port, pack = event["dtype"], event["port"], str(event.get("pack", ""))
        elif event["event"] == "check" and event.get("ratio") is not None:
            rows.append((dtype, event["stage"], event["mode"], real(event["ratio"])))
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    return {
        "dtype": np.array(columns[0], dtype=np.str_),
        "stage": np.array(columns[1], dtype=np.str_),
        "mode": np.array(columns[2], dtype=np.str_),
        "ratio": np.array(columns[3], dtype=np.float64),
        "port": np.array(port),
        "pack": np.array(pack),
    }


@cache
def part() -> Part:
    """The check as a saved part."""
    settings = {
        "control": "plain",
        "dtypes": ["fp64", "fp32", "fp16", "bf16"],
        "source": digest_of("gac_ref", apart=APART),
    }
    return Part(NAME, check_port, settings)
