"""The figures of a section as SVG files; the same numbers, the same bytes."""

from __future__ import annotations

from pathlib import Path

from simulations.analysis.question import Figure

__all__ = ["save_figure"]

STYLE = {
    "svg.hashsalt": "gac",  # ids in the file, otherwise random
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "lines.linewidth": 1.4,
    "figure.constrained_layout.use": True,
}


def save_figure(figure: Figure, folder: Path) -> Path:
    """Draw one figure.

    Args:
        figure: Its name, size and drawing.
        folder: Where ``NAME.svg`` goes.

    Returns:
        The file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.style.context(STYLE):
        drawing, axes = pyplot.subplots(1, figure.panels, figsize=figure.size)
        try:
            figure.draw(axes)
            target = folder / f"{figure.name}.svg"
            drawing.savefig(target, metadata={"Date": None, "Creator": None})
        finally:
            pyplot.close(drawing)
    return target
