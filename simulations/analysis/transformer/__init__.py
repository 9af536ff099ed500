"""Transformer: the controllers on the real small transformer that made the recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.analysis.question import Part, Section
from simulations.analysis.transformer import outcomes
from simulations.recording.study.store import study_digest

if TYPE_CHECKING:
    from simulations.analysis.results import Results

__all__ = ["name", "parts", "section", "title"]

name = "transformer"
title = "On a real small transformer, does GAC train better than simpler rules for mu?"


def parts() -> tuple[Part, ...]:
    """The outcomes of the shipped study.

    Examples:
        >>> [part.name for part in parts()]
        ['transformer.study']
    """
    settings = {"results": study_digest(), "last": 30, "large_change": 0.02}
    return (Part("transformer.study", outcomes.outcomes, settings),)


def section(results: Results) -> Section:
    """The answer, from saved results only."""
    from simulations.analysis.transformer.answer import answer

    (part,) = parts()
    return answer(title, part, results.read(part))
