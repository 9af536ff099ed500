"""Figures of the paper on pages of the site, drawn while building by the code of the paper's.

``paper-figure`` takes the name of a figure. Its saved parts are computed here, so only figures
whose parts take a second belong on a page.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

VENUE = "icml"  # 6.75 inches across the page, about as wide as a page of the site


def draw(name: str, file: Path) -> None:
    """Draw one figure, across the page, as an SVG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from paper_figures.catalog import figure_named
    from paper_figures.computing import compute, part_named
    from paper_figures.spec import Saved
    from paper_figures.style import rc
    from paper_figures.venues import venue_named

    figure, venue = figure_named(name), venue_named(VENUE)
    saved = {part: Saved(part_named(part).settings, compute(part)) for part in figure.parts}
    assert figure.draw is not None, f"{name} is a table"
    settings: dict[Any, Any] = rc(venue)
    with mpl.rc_context(settings):
        canvas = Figure(figsize=venue.size(2, figure.heights))
        figure.draw(saved, canvas)
        file.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(file, metadata={"Date": None})


class PaperFigure(SphinxDirective):
    """The picture, its alternative text, and the caption that is written below it."""

    required_arguments = 1
    has_content = True
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Draw the figure into the folder of the build and show it."""
        name = self.arguments[0]
        file = Path(self.env.doctreedir) / "paper-figures" / f"{name}.svg"
        draw(name, file)
        address = "/" + os.path.relpath(file, self.env.srcdir)
        image = nodes.image(uri=address, alt=self.options["alt"], candidates={})
        shown = nodes.figure("", image)
        if self.content:
            caption = nodes.caption()
            inline, messages = self.state.inline_text(" ".join(self.content), self.lineno)
            caption += inline
            shown += [caption, *messages]
        return [shown]


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("paper-figure", PaperFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
