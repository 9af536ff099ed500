"""What a paper figure is: where its numbers come from, how tall it is, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from gac_ref._typing import AnyArray

__all__ = ["PaperFigure", "Read", "Saved"]


class Saved(NamedTuple):
    """A saved part.

    Args:
        settings: What it was computed with.
        arrays: What was computed.
    """

    settings: Mapping[str, Any]
    arrays: Mapping[str, AnyArray]


Read: TypeAlias = Mapping[str, Saved]
"""Name of a part -> what is saved of it."""


class PaperFigure(NamedTuple):
    """One figure, one table, or both, of the same numbers.

    Args:
        name: Of its files and of its module.
        caption: What a reader needs beside the picture, or the table where there is no picture, in
            LaTeX.
        parts: Names of the saved parts that it reads; none for exact formulas.
        columns: How many columns of a venue with two it spans, 1 or 2.
        heights: In inches: in a column of a venue with two, and across the page.
        draw: Draws on an empty figure; None where there is only a table.
        table: The body of a LaTeX table; None where there is only a picture.
        table_caption: What a reader needs beside the table, where there is a picture as well.

    Examples:
        >>> from paper_figures.catalog import figure_named
        >>> figure_named("stability_map").parts
        ('convergence.additive_noise', 'convergence.row_noise')
    """

    name: str
    caption: str
    parts: tuple[str, ...]
    columns: int
    heights: tuple[float, float] = (0.0, 0.0)
    draw: Callable[[Read, Any], None] | None = None
    table: Callable[[Read], str] | None = None
    table_caption: str = ""
