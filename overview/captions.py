r"""Captions, which are written in LaTeX, as HTML: formulas become MathML, which browsers set."""

from __future__ import annotations

import re
from html import escape

from gac_ref.errors import fail

__all__ = ["caption_html"]

_TEXT = ((r"\,", "\u2009"), (r"\%", "%"), ("---", "\u2014"), ("--", "\u2013"), ("~", "\u00a0"))
"""What captions use outside formulas."""


def caption_html(caption: str) -> str:
    r"""One caption.

    Args:
        caption: LaTeX with formulas between single dollar signs.

    Raises:
        GACError: It has a command that this does not know; better than one shown as it is.

    Examples:
        >>> caption_html(r"Intervals are 95\,\%.")
        'Intervals are 95\u2009%.'
        >>> caption_html(r"The weight $\mu$.").startswith("The weight <math")
        True
        >>> caption_html(r"\emph{no}")
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: cannot set '\\emph{no}' in HTML; write text and formulas
    """
    from latex2mathml.converter import convert

    pieces = re.split(r"\$([^$]*)\$", caption)
    out = []
    for number, piece in enumerate(pieces):
        out.append(convert(piece) if number % 2 else _text(piece))
    return "".join(out)


def _text(piece: str) -> str:
    text = piece
    for latex, plain in _TEXT:
        text = text.replace(latex, plain)
    unknown = re.search(r"\\[A-Za-z]+\S*|[{}\\]", text)
    if unknown:
        fail(f"cannot set {unknown[0]!r} in HTML; write text and formulas")
    return escape(text, quote=False)
