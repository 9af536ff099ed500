"""Displayed equations of several lines, aligned at ``&``, as Sphinx's other renderers take them."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class AlignedMath(SphinxPostTransform):
    """Wrap what has line ends or alignment marks and no environment of its own."""

    default_priority = 400
    formats = ("html",)

    def run(self, **options: Any) -> None:
        """Rewrite the text of each such block."""
        for block in self.document.findall(nodes.math_block):
            text = block.astext()
            if ("\\\\" in text or "&" in text) and "\\begin{" not in text:
                block.children = [nodes.Text(f"\\begin{{aligned}}{text}\\end{{aligned}}")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the transform."""
    app.add_post_transform(AlignedMath)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
