"""Draw, save and list: the only place that writes outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gac_ref.errors import GACError, fail
from paper_figures.computing import part_named, read
from paper_figures.floats import compile_proof, figure_float, table_float
from paper_figures.manifest import Provenance, commit, digest, seeds_in, update
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import rc
from paper_figures.venues import Venue
from simulations.analysis.results import Results

__all__ = ["FORMATS", "build", "refuse_columns", "save"]

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
        compiled: Whether to compile the floats with TeX as well, into ``proof.pdf``.
        note: Called with a line for people.

    Returns:
        The files, the manifest first.

    Raises:
        GACError: A result is missing, a venue has not that many columns, or `out` is not writable.
    """
    refuse_columns(venues, columns)
    entries: dict[str, dict[str, Any]] = {}
    try:
        for figure in figures:
            saved = read(figure, results)
            for venue in venues:
                for file, made in _written(figure, saved, venue, columns, out):
                    note(str(file))
                    entries[file.relative_to(out).as_posix()] = _entry(figure, venue, file, made)
        if compiled:
            for venue in venues:
                file, entry = _proof(figures, venue, columns, entries, out)
                note(str(file))
                entries[file.relative_to(out).as_posix()] = entry
        listed = update(out, entries)
    except OSError as error:
        raise GACError(
            f"{error.filename or out}: cannot write ({error.strerror or error}); pass another --out"
        ) from error
    return [listed, *(out / name for name in entries)]


def refuse_columns(venues: Sequence[Venue], columns: int | None) -> None:
    """Raise where a venue has fewer columns than were asked for.

    Raises:
        GACError: It has.
    """
    for venue in venues:
        if columns == 2 and venue.columns == 1:
            fail(f"--columns 2: {venue.label} has one column; leave out --columns")


def provenance(figure: PaperFigure, venue: Venue, columns: int | None) -> Provenance:
    """What an output of a figure carries."""
    settings = {name: part_named(name).settings for name in figure.parts}
    seeds = seeds_in(settings)
    return Provenance(
        commit=commit(),
        configuration=digest({"parts": settings, "venue": venue, "columns": columns}),
        seed=", ".join(map(str, seeds)) or "none",
        command=_command([figure.name], venue, columns),
    )


def _command(names: Sequence[str], venue: Venue, columns: int | None, *more: str) -> str:
    words = ["python -m paper_figures", *names, "--venue", venue.name]
    return " ".join([*words, *([] if columns is None else ["--columns", str(columns)]), *more])


def _entry(figure: PaperFigure, venue: Venue, file: Path, made: Provenance) -> dict[str, Any]:
    return {
        "figure": figure.name,
        "venue": venue.name,
        "format": file.suffix[1:],
        "caption": _caption(figure, file),
        "results": list(figure.parts),
        **made._asdict(),
    }


def _caption(figure: PaperFigure, file: Path) -> str:
    table = file.suffix == ".tex" and not file.stem.endswith("-float")
    return figure.table_caption or figure.caption if table else figure.caption


def _written(
    figure: PaperFigure, saved: Read, venue: Venue, columns: int | None, out: Path
) -> list[tuple[Path, Provenance]]:
    """The files of a figure, and what each carries."""
    folder = out / venue.name
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    if figure.draw is not None:
        made = provenance(figure, venue, columns)
        span = figure.columns if columns is None else columns
        stem = figure.name if columns is None else f"{figure.name}-{columns}col"
        text = figure_float(figure.name, stem, figure.caption, venue, span, made)
        pictures = save(figure, saved, venue, span, made, folder / stem)
        files += [(file, made) for file in (*pictures, _text(folder / f"{stem}-float.tex", text))]
    if figure.table is not None:
        # A table has the width that its cells need, whatever --columns says of the figures.
        made = provenance(figure, venue, None)
        caption = figure.table_caption or figure.caption
        text = table_float(figure.name, figure.table(saved), caption, venue, figure.columns, made)
        files.append((_text(folder / f"{figure.name}.tex", text), made))
    return files


def _text(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


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


def _proof(
    figures: Sequence[PaperFigure],
    venue: Venue,
    columns: int | None,
    entries: Mapping[str, Mapping[str, Any]],
    out: Path,
) -> tuple[Path, dict[str, Any]]:
    """All floats of a venue on its pages, and the manifest's entry of that."""
    floats = [out / name for name, entry in entries.items() if _is_float(entry, venue)]
    mine = [entry for entry in entries.values() if _is_float(entry, venue)]
    seeds = {seed for entry in mine for seed in entry["seed"].split(", ")}
    made = Provenance(
        commit=commit(),
        configuration=digest([entry["configuration"] for entry in mine]),
        seed=", ".join(sorted(seeds - {"none"}, key=int)) or "none",
        command=_command([figure.name for figure in figures], venue, columns, "--compile"),
    )
    file = compile_proof(floats, venue, made, out / venue.name / "proof.pdf")
    about = {"figure": "all", "venue": venue.name, "format": "pdf", "caption": "", "results": []}
    return file, {**about, **made._asdict()}


def _is_float(entry: Mapping[str, Any], venue: Venue) -> bool:
    return bool(entry["venue"] == venue.name and entry["format"] == "tex")
