"""Where SGD with a constant weight diverges: simulated shares below the exact boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import SERIES, wide
from simulations.analysis.convergence.figures import zero_crossing

__all__ = ["FIGURE", "draw_map"]

MEAN, SQUARE, PATH = SERIES[1], SERIES[2], SERIES[3]


def draw_map(mus: FloatArray, rates: FloatArray, share: FloatArray, ax: Any) -> None:
    """Share of diverged seeds: white where none does, dark where all do.

    Args:
        mus: Weights, [M].
        rates: Learning rates, [L].
        share: [L, M].
        ax: The axes.
    """
    ax.pcolormesh(
        mus, rates, share, cmap="Greys", vmin=0.0, vmax=1.6, shading="nearest",
        edgecolors="white", linewidth=0.3,
    )  # fmt: skip
    ax.set_xlim(-1.0 / 16.0, 1.0 + 1.0 / 16.0)
    ax.set_xticks([0.0, 0.5, 1.0])
    ax.set_ylim(float(rates[0]) - 0.05, float(rates[-1]) + 0.05)
    ax.set_xlabel(r"weight $\mu$")


def draw_boundary(
    mus: FloatArray, values: FloatArray, drawn: tuple[str, str, Any], text: str, ax: Any
) -> None:
    """A boundary that reads on white and on grey: with a white edge.

    Args:
        mus: Weights, [M].
        values: Learning rates, [M]; NaN is left out.
        drawn: Colour, marker and dash.
        text: For the legend; "" for none.
        ax: The axes.
    """
    from matplotlib.patheffects import Normal, Stroke

    color, marker, dash = drawn
    ax.plot(
        mus, values, color=color, marker=marker, linestyle=dash, markersize=4.5,
        markeredgecolor="white", markeredgewidth=0.7, label=text or None, linewidth=1.3,
        path_effects=[Stroke(linewidth=2.6, foreground="white"), Normal()],
    )  # fmt: skip


def _draw(saved: Read, figure: Any) -> None:
    additive, rows = saved["convergence.additive_noise"], saved["convergence.row_noise"]
    axes = figure.subplots(1, 3)
    mus, rates = _grid(additive.settings)
    draw_map(mus, rates, additive.arrays["share"][-1], axes[0])
    draw_boundary(mus, additive.arrays["limit"], MEAN, "", axes[0])
    axes[0].set_title("constant noise", pad=3.0)
    mus, rates = _grid(rows.settings)
    for index, (ax, batches) in enumerate(zip(axes[1:], rows.settings["batches"], strict=True)):
        draw_map(mus, rates, rows.arrays["share"][index], ax)
        mean = np.full(mus.size, float(rows.arrays["mean"]))
        growth = zero_crossing(rates, rows.arrays["growth"][index])
        for drawn, values, text in (
            (MEAN, mean, "mean (exact)"),
            (SQUARE, rows.arrays["mean_square"][index], "covariance (exact)"),
            (PATH, growth, "typical path (estimated)"),
        ):
            draw_boundary(mus, values, drawn, text, ax)
        ax.set_title(f"{batches[0]} + {batches[1]} rows", pad=3.0)
    axes[0].set_ylabel("learning rate")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if wide(figure) else 2)


def _grid(settings: Any) -> tuple[FloatArray, FloatArray]:
    return np.asarray(settings["mus"]), np.asarray(settings["learning_rates"])


FIGURE = PaperFigure(
    name="stability_map",
    caption=(
        r"Share of 32 seeds that diverge (grey: all, white: none) under SGD with a constant "
        r"weight, and the learning rates from which on moments diverge. Left: quadratic bowls with "
        r"noise that does not depend on the parameters; mean and covariance have one boundary. "
        r"Middle and right: linear regression on minibatches of so many rows for SFT + RL, "
        r"whose noise grows with the error; the covariance is lost before a typical path is."
    ),
    parts=("convergence.additive_noise", "convergence.row_noise"),
    columns=2,
    heights=(2.5, 2.3),
    draw=_draw,
)
