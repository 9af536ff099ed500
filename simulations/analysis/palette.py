"""One colour, marker and place a method, in every picture.

The colours are Okabe and Ito's, which stay apart for colour-blind readers; their lightness differs,
and each method has a marker and a dash of its own, so that they stay apart in greyscale too.
"""

from __future__ import annotations

from typing import NamedTuple

from gac_ref.errors import fail

__all__ = ["METHODS", "Look", "look"]


class Look(NamedTuple):
    """How a method is drawn.

    Args:
        label: Its name as a reader sees it.
        color: Hexadecimal.
        marker: Matplotlib's marker.
        dash: Matplotlib's line style.
        order: Its place in legends and tables.
    """

    label: str
    color: str
    marker: str
    dash: str | tuple[int, tuple[int, ...]]
    order: int


_BLACK, _BLUE, _SKY, _GREEN = "#000000", "#0072B2", "#56B4E9", "#009E73"
_ORANGE, _RED, _PINK, _GREY = "#E69F00", "#D55E00", "#CC79A7", "#7F7F7F"

_LOOKS: tuple[tuple[str, str, str, str, str | tuple[int, tuple[int, ...]]], ...] = (
    ("gac_documented", "GAC (documented)", _BLUE, "o", "-"),
    ("gac_released", "GAC (released)", _SKY, "s", "--"),
    ("gac_decoupled", "GAC (decoupled)", _BLACK, "D", "-."),
    ("gac_no_prior", "GAC without prior", _BLUE, "v", ":"),
    ("fixed", "fixed weight", _GREY, "P", "-"),
    ("best_fixed", "best fixed weight", _GREY, "X", "--"),
    ("sft_then_rl", "SFT, then RL", _ORANGE, "^", "-"),
    ("linear", "linear schedule", _ORANGE, "<", "--"),
    ("chord_mu", "CHORD-mu", _RED, ">", "-"),
    ("chord_phi", "CHORD-phi", _RED, "d", "--"),
    ("inverse_variance", "inverse variance", _GREEN, "h", "-"),
    ("mgda", "MGDA", _PINK, "p", "-"),
    ("pcgrad", "PCGrad", _PINK, "*", "--"),
    ("imtl_g", "IMTL-G", _PINK, "H", ":"),
    ("cagrad", "CAGrad", _PINK, "x", "-."),
    ("nash_mtl", "Nash-MTL", _PINK, "|", (0, (1, 1))),
    ("upgrad", "UPGrad", _PINK, "_", (0, (3, 1, 1, 1))),
    ("srft", "SRFT", _GREEN, "1", "--"),
    ("hpt", "HPT", _GREEN, "2", ":"),
    ("kl_control", "KL control", _RED, "3", ":"),
    ("sasr", "SASR", _ORANGE, "4", ":"),
    ("amft", "AMFT", _SKY, "8", ":"),
    ("superrl", "SuperRL", _SKY, "+", (0, (3, 1, 1, 1))),
    ("oracle", "oracle", _BLACK, ".", (0, (1, 1))),
)

METHODS = {
    name: Look(label, color, marker, dash, order)
    for order, (name, label, color, marker, dash) in enumerate(_LOOKS)
}
"""Name of a controller -> its look."""


def look(name: str) -> Look:
    """How a controller is drawn; a parameter after "_" does not change it ("fixed_0.1" is "fixed").

    Raises:
        GACError: No such method.

    Examples:
        >>> look("fixed_0.1").label
        'fixed weight'
    """
    base = name if name in METHODS else name.rpartition("_")[0]
    if base not in METHODS:
        fail(f"no look for the method {name!r}; add it to simulations/analysis/palette.py")
    return METHODS[base]
