"""Claims: what the paper says of GAC, tested on a toy where a toy can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulations.analysis.claims import computed, declared
from simulations.analysis.question import Part, Section

if TYPE_CHECKING:
    from simulations.analysis.results import Results

__all__ = ["claims", "name", "parts", "section", "title"]

name = "claims"
title = "Which of the paper's claims hold on a toy, which do not, and which can it not test?"

RECORDING = "simulations/recording/trace"


def parts() -> tuple[Part, ...]:
    """The declared study, the weight at full length, the recording, and the criterion.

    Examples:
        >>> [part.name for part in parts()]
        ['claims.study', 'claims.weight', 'claims.recording', 'claims.criterion']
    """
    from simulations.sweeps.study import find_study

    declaration = find_study("claims").to_tree()
    return (
        Part("claims.study", computed.study, {"declaration": declaration}),
        Part("claims.weight", computed.weight, declared.WEIGHT),
        Part("claims.recording", computed.recording, {"path": RECORDING}),
        Part("claims.criterion", computed.criterion, declared.criterion_settings()),
    )


def section(results: Results) -> Section:
    """The answer, from saved results only."""
    from simulations.analysis.claims.answer import answer

    return answer(title, _read(results))


def claims(results: Results) -> list[dict[str, Any]]:
    """One object a claim, as ``claims.json`` has them.

    Returns:
        ``claim``, ``verdict``, ``effect``, ``low``, ``high``, ``p`` (adjusted for the false
        discovery rate over all tested rows, those of single regimes included), ``d``, ``n`` and
        ``command``; NaN where there is none, and no command where there is nothing to compute.
    """
    from simulations.analysis.claims.assemble import headline, rows_of

    commands = {part.name: part.command for part in parts()} | {"": ""}
    return [
        {
            "claim": row.claim,
            "verdict": row.verdict,
            "effect": row.effect,
            "low": row.low,
            "high": row.high,
            "p": row.p,
            "d": row.d,
            "n": row.n,
            "command": commands[row.part],
        }
        for row in headline(rows_of(_read(results)))
    ]


def _read(results: Results) -> dict[str, dict[str, Any]]:
    return {part.name.partition(".")[2]: results.read(part) for part in parts()}
