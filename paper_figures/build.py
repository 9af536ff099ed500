"""Draw, save and list: the only place that writes outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gac_ref.errors import GACError, fail
from paper_figures.computing import part_named, read
from paper_figures.manifest import Provenance, commit, digest, seeds_in, update
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import rc
from paper_figures.tables import compile_tables, float_of
from paper_figures.venues import Venue
from simulations.analysis.results import Results

__all__ = ["FORMATS", "build", "save"]

FORMATS = ("pdf", "svg", "png")


def build(
    figures: Sequence[PaperFigure],
    venues: Sequence[Venue],
    out: Path,
    results: Results,
    *,
    columns: int | None = None,
    compiled: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Build figures and tables from saved results alone.

    Args:
        figures: Which.
        venues: In whose sizes; each gets a folder.
        out: The folder of the outputs and the manifest.
        results: Where parts are saved.
        columns: How many columns each spans; what suits each when None.
        compiled: Whether to compile the tables with TeX as well.
        note: Called with a line for people.

    Returns:
        The files, the manifest first.

    Raises:
        GACError: A result is missing, a venue has not that many columns, or `out` is not writable.
    """
    for venue in venues:
        if columns == 2 and venue.columns == 1:
            fail(f"--columns 2: {venue.label} has one column; leave out --columns")
    entries: dict[str, dict[str, Any]] = {}
    try:
        for figure in figures:
            saved = read(figure, results)
            for venue in venues:
                span = figure.columns if columns is None else columns
                made = provenance(figure, venue, columns)
                for file in _written(figure, saved, venue, span, made, _stem(figure, columns), out):
                    note(str(file))
                    entries[file.relative_to(out).as_posix()] = _entry(figure, venue, file, made)
        listed = update(out, entries)
    except OSError as error:
        raise GACError(
            f"{error.filename or out}: cannot write ({error.strerror or error}); pass another --out"
        ) from error
    files = [out / name for name in entries]
    if compiled:
        files += _compiled(files, venues, out)
    return [listed, *files]


def _stem(figure: PaperFigure, columns: int | None) -> str:
    return figure.name if columns is None else f"{figure.name}-{columns}col"


def provenance(figure: PaperFigure, venue: Venue, columns: int | None) -> Provenance:
    """What an output of a figure carries."""
    settings = {name: part_named(name).settings for name in figure.parts}
    seeds = seeds_in(settings)
    words = ["python -m paper_figures", figure.name, "--venue", venue.name]
    words += [] if columns is None else ["--columns", str(columns)]
    return Provenance(
        commit=commit(),
        configuration=digest({"parts": settings, "venue": venue, "columns": columns}),
        seed=", ".join(map(str, seeds)) or "none",
        command=" ".join(words),
    )


def _entry(figure: PaperFigure, venue: Venue, file: Path, made: Provenance) -> dict[str, Any]:
    return {
        "figure": figure.name,
        "venue": venue.name,
        "format": file.suffix[1:],
        "caption": figure.caption,
        "results": list(figure.parts),
        **made._asdict(),
    }


def _written(
    figure: PaperFigure,
    saved: Read,
    venue: Venue,
    span: int,
    made: Provenance,
    stem: str,
    out: Path,
) -> list[Path]:
    folder = out / venue.name
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    if figure.draw is not None:
        files += save(figure, saved, venue, span, made, folder / stem)
    if figure.table is not None:
        # A table has the width that its cells need, whatever --columns says of the figures.
        file = folder / f"{figure.name}.tex"
        body = figure.table(saved)
        text = float_of(figure.name, body, figure.caption, venue, figure.columns, made)
        file.write_text(text, encoding="utf-8")
        files.append(file)
    return files


def save(
    figure: PaperFigure, saved: Read, venue: Venue, span: int, made: Provenance, stem: Path
) -> list[Path]:
    """Draw one figure once and save it in every format; the same numbers, the same bytes.

    Args:
        figure: What to draw.
        saved: Its numbers.
        venue: Its sizes.
        span: Columns.
        made: What the files carry.
        stem: Path without ending.

    Returns:
        The files.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert figure.draw is not None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style file must not change a paper
        settings: dict[Any, Any] = matplotlib.rcParams
        settings.update(rc(venue))
        drawing = Figure(figsize=venue.size(span, figure.heights))
        FigureCanvasAgg(drawing)
        figure.draw(saved, drawing)
        # Laid out once, so that all formats are one picture, and not laid out again for each.
        drawing.draw_without_rendering()
        drawing.set_layout_engine("none")
        files = []
        for ending in FORMATS:
            file = stem.with_name(f"{stem.name}.{ending}")
            drawing.savefig(file, metadata=_metadata(ending, figure, made))
            files.append(file)
    return files


def _metadata(ending: str, figure: PaperFigure, made: Provenance) -> dict[str, Any]:
    """No dates; and no key that a format does not know."""
    text = "; ".join(made.lines())
    if ending == "pdf":
        return {"Title": figure.name, "Keywords": text, "CreationDate": None, "ModDate": None}
    if ending == "svg":
        return {"Title": figure.name, "Description": text, "Date": None}
    return {"Title": figure.name, **{key.title(): value for key, value in made._asdict().items()}}


def _compiled(files: Sequence[Path], venues: Sequence[Venue], out: Path) -> list[Path]:
    made = []
    for venue in venues:
        tables = [f for f in files if f.suffix == ".tex" and f.parent.name == venue.name]
        if tables:
            made.append(compile_tables(tables, venue, out / venue.name / "tables.pdf"))
    return made
