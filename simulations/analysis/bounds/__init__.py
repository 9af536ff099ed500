"""Bounds: how loose they are, what their minimisers cost, and what independence and clipping do."""

from __future__ import annotations

from simulations.analysis.question import Part, Section
from simulations.analysis.results import Results

__all__ = ["name", "parts", "section", "title"]

name = "bounds"

title = "How tight are the bounds on the biased risk, and what does minimising them cost?"


def parts() -> tuple[Part, ...]:
    """What is computed and saved."""
    from simulations.analysis.bounds.declared import BY_NAME

    return tuple(BY_NAME.values())


def section(results: Results) -> Section:
    """The answer, from saved results only.

    Raises:
        GACError: A part is missing or damaged.
    """
    from simulations.analysis.bounds.answer import answer

    return answer(results)
