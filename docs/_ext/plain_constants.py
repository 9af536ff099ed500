"""What is said of a constant is a sentence: a colon in it does not set a type apart.

Napoleon reads ``In a stratum: below, ...`` as a type, "In a stratum", and a description. Here types
are annotations.
"""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring


def as_written(docstring: GoogleDocstring) -> list[str]:
    """The lines of a constant's description, without what they are indented by."""
    return docstring._dedent(docstring._consume_to_end())


def setup(app: Sphinx) -> dict[str, bool]:
    """Put this in the place of napoleon's reading."""
    GoogleDocstring._parse_attribute_docstring = as_written  # type: ignore[method-assign]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
