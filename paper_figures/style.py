"""How every figure looks: fonts, lines, and one look a method (from the project's palette)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from paper_figures.venues import Venue
from simulations.analysis.palette import Look, look

__all__ = [
    "DISTANCE",
    "GREY",
    "MINUS",
    "SERIES",
    "letters",
    "lightness",
    "line",
    "log_ticks",
    "rc",
    "told_apart",
    "wide",
]

GREY = "#7F7F7F"

SERIES: tuple[tuple[str, str, Any], ...] = (
    ("#000000", "o", "-"),
    ("#0072B2", "s", "--"),
    ("#D55E00", "^", "-."),
    ("#009E73", "D", ":"),
    ("#E69F00", "v", (0, (3, 1, 1, 1))),
    (GREY, "P", (0, (1, 1))),
)
"""Colour, marker and dash of families that are no methods; the colours are Okabe and Ito's."""

DISTANCE = 0.15
"""Lightness (0 to 1) by which two greys must differ to be told apart without a marker."""

MINUS = "\u2212"
"""The sign of a negative number, which is not a hyphen."""

WIDE = 4.5
"""Inches from which on panels stand side by side."""


STROKES = "1234+x"
"""Markers without an area, which need a wider and longer stroke to be seen."""


def rc(venue: Venue) -> dict[str, Any]:
    """Matplotlib's settings: one text size, embedded TrueType, a fixed salt for ids.

    tueplots' bundles set ticks and legends two points smaller than labels; here all text has the
    size that reads beside a caption. STIX, which Matplotlib ships, stands for Times, so that the
    same bytes come out on a machine with and without Times.
    """
    size = venue.text
    return {
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.h_pad": 0.02,
        "figure.constrained_layout.w_pad": 0.02,
        "figure.dpi": 300.0,
        "savefig.dpi": 300.0,
        "savefig.bbox": None,  # "tight" would change the width that the venue asks for
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "pdf.compression": 6,
        "svg.fonttype": "path",
        "svg.hashsalt": "gac",
        "text.usetex": False,
        "font.family": "STIXGeneral",
        "mathtext.fontset": "stix",
        "font.size": size,
        "axes.labelsize": size,
        "axes.titlesize": size,
        "legend.fontsize": size,
        "legend.title_fontsize": size,
        "xtick.labelsize": size,
        "ytick.labelsize": size,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.minor.size": 1.5,
        "ytick.minor.size": 1.5,
        "xtick.major.pad": 2.0,
        "ytick.major.pad": 2.0,
        "axes.labelpad": 2.0,
        "axes.grid": False,
        "lines.linewidth": 1.1,
        "lines.markersize": 3.5,
        "hatch.linewidth": 0.5,
        "legend.frameon": False,
        "legend.handlelength": 2.2,
        "legend.handletextpad": 0.4,
        "legend.columnspacing": 1.0,
        "legend.labelspacing": 0.25,
        "legend.borderaxespad": 0.0,
    }


def wide(figure: Any) -> bool:
    """Whether panels go side by side."""
    return bool(figure.get_figwidth() >= WIDE)


def line(method: str) -> dict[str, Any]:
    """Keywords of `plot` for a method: its one colour, marker, dash and label.

    Examples:
        >>> line("fixed_0.5")["marker"] == line("fixed")["marker"]
        True
    """
    drawn = look(method)
    out = {
        "color": drawn.color,
        "marker": drawn.marker,
        "linestyle": drawn.dash,
        "label": drawn.label,
    }
    strokes = {"markeredgewidth": 1.4, "markersize": 5.5}
    return {**out, **strokes} if drawn.marker in STROKES else out


def letters(axes: Sequence[Any]) -> None:
    """(a), (b), ... above the left edge of each panel, to be cited in the text."""
    for letter, ax in zip("abcdefgh", axes, strict=False):
        ax.set_title(f"({letter})", loc="left", fontweight="bold", pad=3.0)


def log_ticks(axis: Any, values: Sequence[float]) -> None:
    """Plain numbers at some places of a logarithmic axis, and nothing between them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS)))
    axis.set_minor_locator(NullLocator())


def lightness(color: str) -> float:
    r"""CIE lightness of a colour over 100: what a greyscale print leaves of it.

    Examples:
        >>> lightness("#000000"), round(lightness("#FFFFFF"), 3)
        (0.0, 1.0)
    """
    from matplotlib.colors import to_rgb

    rgb: AnyArray = np.asarray(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return (1.16 * y ** (1.0 / 3.0) - 0.16) if y > 0.008856 else 9.033 * y


def told_apart(a: Look, b: Look) -> bool:
    """Whether two looks differ without colour: in marker, in dash, or in lightness.

    Examples:
        >>> told_apart(look("gac_documented"), look("gac_no_prior"))
        True
    """
    if a.marker != b.marker or a.dash != b.dash:
        return True
    return abs(lightness(a.color) - lightness(b.color)) >= DISTANCE
