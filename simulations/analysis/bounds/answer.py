"""The answer, read from the saved parts."""

from __future__ import annotations

from simulations.analysis.bounds import title
from simulations.analysis.bounds.answer_assumptions import clipping, independence
from simulations.analysis.bounds.answer_bounds import looseness, rules
from simulations.analysis.bounds.declared import BY_NAME
from simulations.analysis.question import Section
from simulations.analysis.results import Results

__all__ = ["answer"]


def answer(results: Results) -> Section:
    """Read every part and say what was found.

    Raises:
        GACError: A part is missing or damaged.
    """
    saved = {name: results.read(part) for name, part in BY_NAME.items()}
    pieces = (
        looseness(saved["dimension"], saved["bias"]),
        rules(saved["rules"], saved["maps"]),
        independence(saved["independence"]),
        clipping(saved["clipping"]),
    )
    return Section(
        title=title,
        answer=tuple(text for piece in pieces for text in piece[0]),
        findings=tuple(finding for piece in pieces for finding in piece[1]),
        figures=tuple(figure for piece in pieces for figure in piece[2]),
    )
