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


def draw_map(mus: FloatArray, rates: FloatArray, share: FloatArray, ax: Any) -> Any:
    """Share of diverged seeds: white where none does, dark where all do.

    Args:
        mus: Weights, [M].
        rates: Learning rates, [L].
        share: [L, M].
        ax: The axes.

    Returns:
        What a colour bar is made of.
    """
    drawn = ax.pcolormesh(
        mus, rates, share, cmap=shades(), vmin=0.0, vmax=1.0, shading="nearest",
        edgecolors="face", linewidth=0.2,
    )  # fmt: skip
    half = float(mus[1] - mus[0]) / 2.0
    ax.set_xlim(float(mus[0]) - half, float(mus[-1]) + half)
    ax.set_xticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    ax.set_ylim(float(rates[0]) - 0.05, float(rates[-1]) + 0.05)
    ax.locator_params(axis="y", nbins=5)
    ax.set_xlabel(r"weight on SFT, $\mu$")
    return drawn


def shades() -> Any:
    """White to a grey on which coloured lines with a white edge still read.

    Examples:
        >>> [round(float(shades()(share)[0]), 2) for share in (0.0, 1.0)]
        [1.0, 0.46]
    """
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("share", ["#FFFFFF", "#767676"])


def draw_boundary(
    mus: FloatArray, values: FloatArray, drawn: tuple[str, str, Any], text: str, ax: Any
) -> None:
    """A boundary that reads on white and on grey: with a thin white edge.

    Args:
        mus: Weights, [M].
        values: Learning rates, [M]; NaN is left out.
        drawn: Colour, marker and dash.
        text: For the legend; "" for none.
        ax: The axes.
    """
    from matplotlib.patheffects import Normal, Stroke

    color, marker, dash = drawn
    ax.plot(mus, values, color="white", linewidth=2.2)
    ax.plot(
        mus, values, color=color, marker=marker, linestyle=dash, markersize=3.5,
        markeredgecolor="white", markeredgewidth=0.5, label=text or None, linewidth=1.3,
        markevery=2, path_effects=[Stroke(linewidth=2.0, foreground="white"), Normal()],
    )  # fmt: skip


def _draw(saved: Read, figure: Any) -> None:
    additive, rows = saved["convergence.additive_noise"], saved["convergence.row_noise"]
    left, middle, right = axes = figure.subplots(1, 3)
    right.sharey(middle)  # one grid of learning rates
    right.tick_params(labelleft=False)
    mus, rates = _grid(additive.settings)
    shown = draw_map(mus, rates, additive.arrays["share"][-1], left)
    draw_boundary(mus, additive.arrays["limit"], MEAN, "", left)
    left.set_title("constant noise", pad=3.0)
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
    left.set_ylabel("learning rate")
    handles, labels = axes[1].get_legend_handles_labels()
    if wide(figure):
        figure.colorbar(
            shown, ax=axes, label="seeds that diverge", ticks=[0.0, 0.5, 1.0],
            format=lambda share, _: f"{100.0 * share:.0f} %", aspect=18, pad=0.02,
        )  # fmt: skip
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    else:
        for ax in axes[::2]:  # three labels of this length would meet
            ax.set_xlabel("")
        figure.legend(handles, labels, loc="outside lower center", ncols=2)


def _grid(settings: Any) -> tuple[FloatArray, FloatArray]:
    return np.asarray(settings["mus"]), np.asarray(settings["learning_rates"])


FIGURE = PaperFigure(
    name="stability_map",
    caption=(
        r"Share of 32 seeds that diverge within 400 steps (grey: all, white: none) under SGD with "
        r"a constant weight, and the learning rates from which on moments diverge. Left: quadratic "
        r"bowls with noise that does not depend on the parameters; mean and covariance have one "
        r"boundary. Middle and right: linear regression on minibatches of so many rows for SFT + "
        r"RL, whose noise grows with the error; the covariance is lost before a typical path is. "
        r"The typical path's boundary is estimated from 16 chains of 400 steps, the others are "
        r"exact."
    ),
    parts=("convergence.additive_noise", "convergence.row_noise"),
    columns=2,
    heights=(2.5, 2.3),
    draw=_draw,
)
