"""What a paper includes: a picture or a table with its caption, and a proof of all of them."""

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

__all__ = ["compile_proof", "engine_here", "figure_float", "table_float"]

ENGINES = ("pdflatex", "lualatex", "xelatex", "tectonic")
"""What can compile a proof, the first that is installed."""

SECONDS = 120
"""After which TeX is taken to hang."""


def table_float(
    name: str, body: str, caption: str, venue: Venue, columns: int, made: Provenance
) -> str:
    """A table as a paper includes it, with what it was made from in comments.

    Args:
        name: For its label.
        body: What :func:`paper_figures.tables.tabular` gave.
        caption: In LaTeX.
        venue: Where it is printed.
        columns: How many columns it spans.
        made: Where its numbers come from.
    """
    inner = [
        "\\footnotesize",
        "\\setlength{\\tabcolsep}{4pt}",
        "\\setlength{\\belowcaptionskip}{4pt}",  # article's own lets a caption touch the rule
        f"\\caption{{{caption}}}",
        f"\\label{{tab:{name.replace('_', '-')}}}",
        body,
    ]
    return _float("table", "booktabs", inner, venue, columns, made)


def figure_float(
    name: str, picture: str, caption: str, venue: Venue, columns: int, made: Provenance
) -> str:
    """A picture as a paper includes it, at its own size.

    Args:
        name: For its label.
        picture: Name of its file, without ending.
        caption: In LaTeX.
        venue: Where it is printed.
        columns: How many columns it spans.
        made: Where its numbers come from.
    """
    inner = [
        f"\\includegraphics{{{picture}}}",
        f"\\caption{{{caption}}}",
        f"\\label{{fig:{name.replace('_', '-')}}}",
    ]
    return _float("figure", "graphicx", inner, venue, columns, made)


def _float(
    kind: str, package: str, inner: Sequence[str], venue: Venue, columns: int, made: Provenance
) -> str:
    star = "*" if columns == 2 and venue.columns == 2 else ""
    return "\n".join(
        [
            *(f"% {line}" for line in made.lines()),
            f"% needs \\usepackage{{{package}}}",
            f"\\begin{{{kind}{star}}}[t]",
            "\\centering",
            *inner,
            f"\\end{{{kind}{star}}}",
            "",
        ]
    )


def document(names: Sequence[str], venue: Venue, made: Provenance) -> str:
    """Pages of the venue's measures with the floats on them, one a page."""
    two = venue.columns == 2
    about = "; ".join(made.lines()).replace("_", "\\_").replace("--", "-{}-")  # no dash
    gap = venue.widths[1] - 2.0 * venue.widths[0] if two else 0.0
    return "\n".join(
        [
            f"\\documentclass[10pt{',twocolumn' if two else ''}]{{article}}",
            f"\\usepackage[textwidth={venue.widths[1]:.4f}in,textheight=9in]{{geometry}}",
            f"\\setlength{{\\columnsep}}{{{gap:.4f}in}}",
            "\\usepackage{booktabs}",
            "\\usepackage{graphicx}",
            f"\\usepackage[pdfkeywords={{{about}}}]{{hyperref}}",
            # Otherwise the file's identity holds the folder that it was compiled in.
            "\\ifdefined\\pdftrailerid\\pdftrailerid{}\\fi",
            "\\hfuzz=0.5pt",
            "\\begin{document}",
            *(f"\\input{{{name}}}\\clearpage" for name in names),
            "\\end{document}",
            "",
        ]
    )


def engine_here() -> str:
    """The TeX that is installed.

    Raises:
        GACError: There is none.
    """
    engine = next((name for name in ENGINES if shutil.which(name)), None)
    if engine is None:
        fail(
            f"--compile: no TeX is installed ({', '.join(ENGINES)}); install one with booktabs, or "
            "leave out --compile: the figures and tables need none"
        )
    return engine


def compile_proof(files: Sequence[Path], venue: Venue, made: Provenance, target: Path) -> Path:
    """Compile floats into one PDF, with the TeX that is installed.

    Args:
        files: The floats; the pictures that they include lie beside them.
        venue: Whose measures the pages have.
        made: What the PDF carries.
        target: The PDF.

    Raises:
        GACError: No TeX is installed, it does not accept a float, or one is wider than its column.
    """
    engine = engine_here()
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            for each in (file, *file.parent.glob(f"{file.stem.removesuffix('-float')}.pdf")):
                shutil.copy(each, folder)
        page = Path(folder) / "proof.tex"
        page.write_text(document([file.name for file in files], venue, made), encoding="utf-8")
        said, succeeded = _run(engine, page)
        if not succeeded or not page.with_suffix(".pdf").is_file():
            first = next((line for line in said if line.startswith(("!", "error"))), "no reason")
            fail(f"{engine} refuses the floats of {venue.label}: {first.strip()}")
        wide = too_wide(said)
        if wide:
            fail(
                f"{wide[0]}: {wide[1]} pt wider than a column of {venue.label}; give its float "
                "fewer or narrower cells, or less width"
            )
        shutil.copy(page.with_suffix(".pdf"), target)
    return target


def _run(engine: str, page: Path) -> tuple[list[str], bool]:
    extra = [] if engine == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    # Lines as long as they come: TeX breaks names in the middle otherwise.
    env = {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "max_print_line": "1000"}
    try:
        done = subprocess.run(
            [engine, *extra, page.name], cwd=page.parent, capture_output=True, text=True,
            errors="replace", timeout=SECONDS, check=False, env={**os.environ, **env},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise GACError(
            f"{engine} did not finish within {SECONDS} s; leave out --compile, or mend the TeX"
        ) from error
    return done.stdout.splitlines() + done.stderr.splitlines(), done.returncode == 0


def too_wide(said: Sequence[str]) -> tuple[str, str] | None:
    r"""The first float that TeX found wider than its column, and by how many points.

    Examples:
        >>> too_wide(["(./a.tex) (./b.tex", "Overfull \\hbox (7.5pt too wide) in paragraph"])
        ('b.tex', '7.5')
        >>> too_wide(["(./a.tex)"]) is None
        True
    """
    inside = "?"
    for line in said:
        opened = re.findall(r"\(\./([\w-]+\.tex)", line)
        inside = opened[-1] if opened else inside
        found = re.match(r"Overfull \\hbox \(([\d.]+)pt too wide\)", line)
        if found:
            return inside, found[1]
    return None
