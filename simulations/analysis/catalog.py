"""The questions, by name, in the order in which the report asks them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import cast

from gac_ref.errors import fail
from simulations.analysis.question import Part, Question
from simulations.registry import suggest

__all__ = ["QUESTIONS", "compute_part", "part_named", "parts_of", "question"]

QUESTIONS = (
    "convergence",
    "bounds",
    "sensitivity",
    "authority",
    "fidelity",
    "transformer",
    "claims",
)


def question(name: str) -> Question:
    """The package of a question.

    Raises:
        GACError: There is none of that name.

    Examples:
        >>> question("bounds").name
        'bounds'
    """
    if name not in QUESTIONS:
        fail(f"unknown question {name!r}; {suggest(name, list(QUESTIONS))}")
    return cast(Question, import_module(f"simulations.analysis.{name}"))


def parts_of(names: Iterable[str]) -> list[Part]:
    """The parts of questions, and single parts, in the order of the report; all for no names.

    Args:
        names: ``QUESTION`` or ``QUESTION.PART``.

    Raises:
        GACError: There is no such question or part.
    """
    wanted = list(names)
    if not wanted:
        return [part for name in QUESTIONS for part in question(name).parts()]
    found: dict[str, Part] = {}
    for name in wanted:
        parts = question(name.partition(".")[0]).parts()
        chosen = [part for part in parts if name in (part.name, part.name.partition(".")[0])]
        if not chosen:
            fail(f"unknown part {name!r}; {suggest(name, [part.name for part in parts])}")
        found |= {part.name: part for part in chosen}
    return list(found.values())


def part_named(name: str) -> Part:
    """One part by its full name."""
    (part,) = parts_of([name])
    return part


def compute_part(name: str) -> dict[str, object]:
    """The arrays of a part; what a worker process is asked for."""
    part = part_named(name)
    return dict(part.compute(**part.settings))
