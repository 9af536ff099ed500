"""The sizes of the venues: widths of a column and of the page, and the size of text.

ICML and NeurIPS are tueplots' bundles. ACL is not among them: its widths and its caption size are
those of the ACL formatting guidelines (acl-org.github.io/ACLPUB/formatting.html, "Format of
electronic manuscript": column width 7.7 cm, gap between columns 0.6 cm; captions 10 pt), which
``acl.sty`` follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gac_ref.errors import fail
from simulations.registry import suggest

__all__ = ["VENUES", "Venue", "venue_named"]

_CM = 1.0 / 2.54


class Venue(NamedTuple):
    """A venue.

    Args:
        name: As the command line has it.
        label: As a reader knows it.
        widths: Width of a figure over one column and over the page, in inches; equal where the
            text has a single column.
        text: Size of all text in a figure, in points: one less than the venue's captions.
    """

    name: str
    label: str
    widths: tuple[float, float]
    text: float

    @property
    def columns(self) -> int:
        """Columns of the venue's text."""
        return 1 if self.widths[0] == self.widths[1] else 2

    def size(self, columns: int, heights: tuple[float, float]) -> tuple[float, float]:
        """Width and height of a figure, in inches.

        Args:
            columns: How many columns it spans.
            heights: Its height in one column of two, and across the page.

        Raises:
            GACError: The venue has fewer columns.

        Examples:
            >>> Venue("two", "Two", (3.25, 6.75), 8.0).size(1, (2.0, 2.5))
            (3.25, 2.0)
        """
        if self.columns == 1:
            return self.widths[0], heights[1]
        return self.widths[columns - 1], heights[columns - 1]


def _tueplots(name: str, label: str, sizes: tuple[str, str], text: str) -> Venue:
    """A venue as tueplots has it."""
    try:
        from tueplots import figsizes, fontsizes
    except ImportError as error:
        fail(f"the sizes of {label} need tueplots ({error}); install requirements/figures.lock")
    widths = tuple(float(getattr(figsizes, size)()["figure.figsize"][0]) for size in sizes)
    base: dict[str, Any] = getattr(fontsizes, text)()
    return Venue(name, label, (widths[0], widths[1]), float(base["font.size"]))


def _icml() -> Venue:
    return _tueplots("icml", "ICML", ("icml2024_half", "icml2024_full"), "icml2024")


def _neurips() -> Venue:
    return _tueplots("neurips", "NeurIPS", ("neurips2024", "neurips2024"), "neurips2024")


def _acl() -> Venue:
    return Venue("acl", "ACL", (7.7 * _CM, 16.0 * _CM), 9.0)


VENUES: dict[str, Callable[[], Venue]] = {"icml": _icml, "neurips": _neurips, "acl": _acl}
"""Name -> what makes the venue."""


def venue_named(name: str) -> Venue:
    """A venue by its name.

    Raises:
        GACError: There is none of that name.

    Examples:
        >>> [round(width, 2) for width in venue_named("acl").widths]
        [3.03, 6.3]
        >>> venue_named("iclr")
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: unknown venue 'iclr'; did you mean 'icml'? known: icml, \
neurips, acl
    """
    if name not in VENUES:
        fail(f"unknown venue {name!r}; {suggest(name, list(VENUES))}")
    return VENUES[name]()
