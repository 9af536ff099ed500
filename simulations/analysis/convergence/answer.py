"""The answer, read from the saved parts."""

from __future__ import annotations

from simulations.analysis.convergence import title
from simulations.analysis.convergence.answer_runs import losses, policies, stability
from simulations.analysis.convergence.answer_tracking import switching, tracking
from simulations.analysis.convergence.declared import BY_NAME
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
        losses(saved["quadratic"], saved["settled"]),
        policies(saved["tokens"], saved["bandit"]),
        stability(saved["additive_noise"], saved["row_noise"]),
        tracking(saved["tracking"], saved["recorded"]),
        switching(saved["switch"]),
    )
    return Section(
        title=title,
        answer=tuple(text for piece in pieces for text in piece[0]),
        findings=tuple(finding for piece in pieces for finding in piece[1]),
        figures=tuple(figure for piece in pieces for figure in piece[2]),
    )
