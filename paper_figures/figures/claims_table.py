"""The paper's claims and what a toy or the recording says of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from paper_figures.spec import PaperFigure, Read
from paper_figures.tables import bold, escape, spanning, tabular
from simulations.analysis.claims.assemble import headline, rows_of
from simulations.analysis.claims.rows import Row
from simulations.analysis.claims.verdict import NOT_TESTABLE, REFUTED, SUPPORTED

__all__ = ["FIGURE", "cells", "table_of"]

LEVEL = 0.05
"""False discovery rate at which an effect is marked."""

HEAD = ("claim, as tested here", r"effect [95\,\% interval]", "$p$", "$d$", "$n$")

NUMBERS = "2.9in"
"""Width of the columns of numbers; the claims are broken in what a venue leaves."""

ORDER = (SUPPORTED, REFUTED, NOT_TESTABLE)

SYMBOLS = {
    "s2_r": r"$\sigma_r^2$",
    "s2_s": r"$\sigma_s^2$",
    "D2~": r"$\tilde\Delta^2$",
    "D2": r"$\Delta^2$",
    "mu": r"$\mu$",
    "init_mu": r"$\mu_0$",
    "p": "$p$",
    "d": "$d$",
    "<": r"$<$",
    ">": r"$>$",
}


def text_of(claim: str) -> str:
    r"""A claim in LaTeX, its symbols as mathematics.

    Examples:
        >>> text_of("mu starts near 0.85: 93 % of s2_r")
        '$\\mu$ starts near 0.85: 93 \\% of $\\sigma_r^2$'
    """
    words = []
    for word in claim.split(" "):
        core = word.rstrip(".,:;")
        words.append(SYMBOLS.get(core, escape(core)) + word[len(core) :])
    return " ".join(words)


def claim_of(row: Row) -> str:
    """The claim, ragged, without the unit that its effect carries."""
    return rf"\raggedright {text_of(row.claim.replace(f' ({row.unit})', ''))}"


def effect_of(row: Row) -> str:
    """The effect with its interval, to the digits that the interval leaves, three at most."""
    if row.low == row.effect == row.high:
        text = f"{row.effect:.3g}"
    else:
        width = max(row.high - row.low, 1e-12)
        decimals = min(3, max(0, 1 - math.floor(math.log10(width))))
        value, low, high = (f"{x:.{decimals}f}" for x in (row.effect, row.low, row.high))
        text = f"{value} [{low}, {high}]"
    unit = "" if row.unit == "1" else rf"\,{row.unit}"
    return text.replace("-", "$-$") + unit


def cells(row: Row) -> list[str]:
    """Claim, effect with its interval, adjusted p, d and n; marked where the test finds it."""
    if not row.n:
        return [claim_of(row), "--", "--", "--", "--"]
    shown = effect_of(row)
    if not math.isnan(row.p) and row.p < LEVEL:
        shown += "$^{*}$"
    if row.verdict == SUPPORTED:
        shown = bold(shown)
    p = "--" if math.isnan(row.p) else "$<$0.001" if row.p < 0.001 else f"{row.p:.3f}"
    d = "--" if math.isnan(row.d) else f"${row.d:.2f}$"
    return [claim_of(row), shown, p, d, f"{row.n:,}".replace(",", r"\,")]


def table_of(rows: Sequence[Row]) -> str:
    """The claims in groups of one verdict."""
    groups = []
    for verdict in ORDER:
        mine = [row for row in rows if row.verdict == verdict]
        if mine:
            groups.append([[spanning(verdict, len(HEAD))], *(cells(row) for row in mine)])
    return tabular(rf"@{{}}p{{\dimexpr\linewidth-{NUMBERS}\relax}}lrrr@{{}}", HEAD, groups)


def _table(saved: Read) -> str:
    parts = {name.partition(".")[2]: part.arrays for name, part in saved.items()}
    return table_of(headline(rows_of(parts)))


FIGURE = PaperFigure(
    name="claims_table",
    caption=(
        r"Claims of the GAC paper (arXiv:2605.26184) at toy scale and on the recording of a small "
        r"transformer. Effects with 95\,\% intervals over $n$ seeds, refreshes, pairs or simulated "
        r"experiments. A star marks an effect that the declared test finds (paired permutation "
        r"test, or a $t$ or binomial test against a threshold; $p$ is adjusted by "
        r"Benjamini--Hochberg over all tested rows, false discovery rate 0.05); bold marks a "
        r"supported claim; $d$ is the standardised effect."
    ),
    parts=("claims.study", "claims.weight", "claims.recording", "claims.criterion"),
    columns=2,
    table=_table,
)
