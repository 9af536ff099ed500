"""LaTeX tables: booktabs rules, bold for the best, marks for what the declared test finds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gac_ref.errors import GACError, fail
from paper_figures.manifest import Provenance
from paper_figures.venues import Venue

__all__ = ["bold", "compile_tables", "escape", "float_of", "interval", "tabular"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}

ENGINES = ("pdflatex", "lualatex", "xelatex", "tectonic")
"""What can compile a table, the first that is installed."""


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
            if len(cells) != len(head):
                fail(f"a row of {len(cells)} cells under a header of {len(head)}: {list(cells)!r}")
            lines.append(_row(cells))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def float_of(
    name: str, body: str, caption: str, venue: Venue, columns: int, made: Provenance
) -> str:
    """The table as a paper includes it, with what it was made from in comments.

    Args:
        name: For its label.
        body: What :func:`tabular` gave.
        caption: In LaTeX.
        venue: Where it is printed.
        columns: How many columns it spans.
        made: Where its numbers come from.
    """
    kind = "table*" if columns == 2 and venue.columns == 2 else "table"
    comments = [f"% {line}" for line in made.lines()]
    return "\n".join(
        [
            *comments,
            r"% needs \usepackage{booktabs}",
            f"\\begin{{{kind}}}[t]",
            "\\centering",
            "\\footnotesize",
            "\\setlength{\\tabcolsep}{4pt}",
            f"\\caption{{{caption}}}",
            f"\\label{{tab:{name.replace('_', '-')}}}",
            body,
            f"\\end{{{kind}}}",
            "",
        ]
    )


def document(files: Sequence[Path], venue: Venue) -> str:
    """A page of the venue's measures with the tables on it."""
    two = venue.columns == 2
    inputs = "\n".join(f"\\input{{{file.name}}}" for file in files)
    gap = venue.widths[1] - 2.0 * venue.widths[0] if two else 0.0
    return "\n".join(
        [
            f"\\documentclass[10pt{',twocolumn' if two else ''}]{{article}}",
            f"\\usepackage[textwidth={venue.widths[1]:.4f}in,textheight=9in]{{geometry}}",
            f"\\setlength{{\\columnsep}}{{{gap:.4f}in}}",
            "\\usepackage{booktabs}",
            "\\begin{document}",
            inputs,
            "\\end{document}",
            "",
        ]
    )


def compile_tables(files: Sequence[Path], venue: Venue, target: Path) -> Path:
    """Compile tables into one PDF, with the TeX that is installed.

    Args:
        files: The tables.
        venue: Whose measures the page has.
        target: The PDF.

    Raises:
        GACError: No TeX is installed, or it does not accept a table.
    """
    engine = next((name for name in ENGINES if shutil.which(name)), None)
    if engine is None:
        fail(
            f"--compile: no TeX is installed ({', '.join(ENGINES)}); install one with booktabs, or "
            "leave out --compile: the figures and tables need none"
        )
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            shutil.copy(file, folder)
        page = Path(folder) / "tables.tex"
        page.write_text(document(files, venue), encoding="utf-8")
        extra = [] if engine == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
        done = subprocess.run(
            [engine, *extra, page.name],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
            env={**os.environ, "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"},
        )
        if done.returncode != 0 or not page.with_suffix(".pdf").is_file():
            said = done.stdout.splitlines() + done.stderr.splitlines()
            first = next((line for line in said if line.startswith(("!", "error"))), "no reason")
            raise GACError(f"{engine} refuses the tables of {venue.label}: {first.strip()}")
        shutil.copy(page.with_suffix(".pdf"), target)
    return target
