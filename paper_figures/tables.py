"""LaTeX tables: booktabs rules, bold for the best, marks for what the declared test finds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gac_ref.errors import fail

__all__ = ["bold", "escape", "interval", "spanning", "tabular"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def escape(text: str) -> str:
    r"""Plain text for LaTeX.

    Examples:
        >>> escape("50 % of s2_r")
        '50 \\% of s2\\_r'
    """
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def bold(text: str) -> str:
    r"""The best of a column.

    Examples:
        >>> bold("$1$")
        '$\\mathbf{1}$'
        >>> bold("yes")
        '\\textbf{yes}'
    """
    found = re.fullmatch(r"\$([^$]*)\$", text)
    return f"$\\mathbf{{{found[1]}}}$" if found else f"\\textbf{{{text}}}"


def interval(value: float, low: float, high: float, decimals: int) -> str:
    r"""A value and half the width of its interval, as mathematics.

    Examples:
        >>> interval(1.234, 1.1, 1.368, 2)
        '$1.23 \\pm 0.13$'
    """
    half = max(high - value, value - low)
    return f"${value:.{decimals}f} \\pm {half:.{decimals}f}$"


def spanning(text: str, columns: int) -> str:
    r"""A cell over all columns: the title of a group.

    Examples:
        >>> spanning("supported", 3)
        '\\multicolumn{3}{@{}l}{\\emph{supported}}'
    """
    return f"\\multicolumn{{{columns}}}{{@{{}}l}}{{\\emph{{{text}}}}}"


def tabular(columns: str, head: Sequence[str], groups: Sequence[Sequence[Sequence[str]]]) -> str:
    r"""A table's body.

    Args:
        columns: LaTeX's column specification.
        head: Header cells.
        groups: Rows of cells, in groups with a rule between two of them.

    Raises:
        GACError: A row has more or fewer cells than the header.

    Examples:
        >>> print(tabular("lr", ["a", "b"], [[["x", "$1$"]]]))
        \begin{tabular}{lr}
        \toprule
        a & b \\
        \midrule
        x & $1$ \\
        \bottomrule
        \end{tabular}
    """
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _row(head), "\\midrule"]
    for index, group in enumerate(groups):
        lines += ["\\midrule"] if index else []
        for cells in group:
            if len(cells) != len(head) and not cells[0].startswith(f"\\multicolumn{{{len(head)}}}"):
                fail(f"a row of {len(cells)} cells under a header of {len(head)}: {list(cells)!r}")
            lines.append(_row(cells))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
