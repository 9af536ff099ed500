"""Convergence: where mixed SGD settles, how fast, when it does not, and whether mu can keep up."""

from __future__ import annotations

from simulations.analysis.question import Part, Section
from simulations.analysis.results import Results

__all__ = ["name", "parts", "section", "title"]

name = "convergence"

title = "Where does mixed SGD settle, how fast, when does it diverge, and can mu keep up?"


def parts() -> tuple[Part, ...]:
    """What is computed and saved."""
    from simulations.analysis.convergence.declared import BY_NAME

    return tuple(BY_NAME.values())


def section(results: Results) -> Section:
    """The answer, from saved results only.

    Raises:
        GACError: A part is missing or damaged.
    """
    from simulations.analysis.convergence.answer import answer

    return answer(results)
