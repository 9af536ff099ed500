"""The figures and tables of the paper, and what their manifest says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from paper_figures.build import build
from paper_figures.catalog import figures_named
from paper_figures.computing import compute_missing
from paper_figures.manifest import verified
from paper_figures.venues import venue_named
from simulations.analysis.results import Results

__all__ = ["VENUE", "Drawn", "build_figures", "read_manifest"]

VENUE = "icml"


class Drawn(NamedTuple):
    """One figure or table of the manifest.

    Args:
        name: Of the figure.
        caption: In LaTeX.
        files: Format -> file.
        wide: Whether it spans both columns of a page.
        commit: Of the checkout that drew it.
        command: What builds it again.
    """

    name: str
    caption: str
    wide: bool
    files: dict[str, Path]
    commit: str
    command: str

    @property
    def title(self) -> str:
        """The name, for people."""
        return self.name.replace("_", " ").capitalize()


def build_figures(out: Path, results: Path, *, workers: int) -> tuple[Path, int]:
    """Compute what is missing and build everything in one venue's sizes.

    Args:
        out: The folder of the figures.
        results: Where results are saved.
        workers: Processes that compute.

    Returns:
        The manifest, and how many results were computed.

    Raises:
        GACError: A result cannot be computed, or a file cannot be written.
    """
    figures, saved = figures_named([]), Results(results)
    venue = venue_named(VENUE)
    computed = compute_missing(figures, saved, workers=workers)
    manifest, *_ = build(figures, [venue], out, saved)
    return manifest, computed


def read_manifest(manifest: Path) -> list[Drawn]:
    """The figures of one venue that a manifest lists, in the order of the catalog.

    Raises:
        GACError: A file is missing, or is not what the manifest says.
    """
    verified(manifest.parent)
    outputs = json.loads(manifest.read_text(encoding="utf-8"))["outputs"]
    known = {figure.name: figure for figure in figures_named([])}
    found: dict[str, Drawn] = {}
    for path, entry in outputs.items():
        if entry["venue"] != VENUE or Path(path).stem != entry["figure"]:
            continue  # another venue, or another width of the same figure
        name, caption, commit, command = (
            entry[key] for key in ("figure", "caption", "commit", "command")
        )
        wide = known[name].columns == 2
        drawn = found.setdefault(name, Drawn(name, caption, wide, {}, commit, command))
        drawn.files[entry["format"]] = manifest.parent / path
    return [found[name] for name in known if name in found]
