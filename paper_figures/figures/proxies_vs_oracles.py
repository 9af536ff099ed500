"""Each proxy against the true value that it stands for, on real training."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import GREY, MINUS, log_ticks, wide
from simulations.analysis.fidelity.association import (
    correlations,
    mean_correlation,
    serial_correlation,
)
from simulations.analysis.statistics import Estimate

__all__ = ["FIGURE", "draw_pairs"]

AXES = (
    (r"true SFT noise $\sigma_s^2$", r"proxy $\tilde\sigma_s^2$"),
    (r"true RL noise $\sigma_r^2$", r"proxy $\tilde\sigma_r^2$"),
    (r"true disagreement $\Delta^2$", r"proxy $\tilde\Delta^2$"),
)
"""Truth (in squared gradient) and proxy (in squared nats, advantages and z-scores)."""

RUN, STUDY = "#0072B2", "#5A5A5A"
"""Colour of the recorded run, and of what is written of the repeated ones."""


def draw_pairs(
    run: tuple[FloatArray, FloatArray],
    others: tuple[FloatArray, FloatArray],
    labels: tuple[str, str],
    ax: Any,
) -> None:
    """Points of the recorded run upon those of the repeated runs, with both correlations.

    Args:
        run: Truth and proxy along the recorded run, [n] each.
        others: Truth and proxy of the repeated runs, [seeds, m] each.
        labels: Of the axes.
        ax: The axes.
    """
    size = ax.xaxis.label.get_size()
    ax.plot(*(values.ravel() for values in others), "^", color=GREY, markersize=3, alpha=0.7,
            markeredgewidth=0.0, label="repeated runs")  # fmt: skip
    ax.plot(*run, "o", color=RUN, markersize=3.6, markeredgecolor="white",
            markeredgewidth=0.4, label="the recorded run")  # fmt: skip
    for axis, values in zip((ax.xaxis, ax.yaxis), zip(run, others, strict=True), strict=True):
        _scaled(ax, axis, np.concatenate([each.ravel() for each in values]))
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    along = serial_correlation(run[1], run[0])
    within = mean_correlation(correlations(others[1], others[0]), labels[1])
    for place, (found, color) in enumerate(((within, STUDY), (along, RUN))):
        ax.annotate(
            _text(found), (0.0, 1.0), xycoords="axes fraction", color=color,
            xytext=(0.0, 4.0 + 1.3 * size * place), textcoords="offset points",
        )  # fmt: skip


def _text(found: Estimate) -> str:
    return f"$r$ = {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]".replace("-", MINUS)


def _scaled(ax: Any, axis: Any, values: FloatArray) -> None:
    """Logarithmic where the values span more than three times their least; plain ticks."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(values.min()), float(values.max())
    scale = ax.set_xscale if axis is ax.xaxis else ax.set_yscale
    if low <= 0.0 and high > 10.0:  # an unbiased estimate may be negative
        scale("symlog", linthresh=1.0)
        log_ticks(axis, [tick for tick in (-1.0, 0.0, 1.0, 10.0, 100.0) if tick <= high])
    elif low <= 0.0 or high < 3.0 * low:
        axis.set_major_locator(MaxNLocator(4))
    else:
        scale("log")
        heads = (1, 3) if high > 12.0 * low else (1, 2, 3, 5, 7)
        log_ticks(axis, [head * 10.0**power for power in range(-4, 5) for head in heads])


def _draw(saved: Read, figure: Any) -> None:
    recording, study = saved["fidelity.recording"].arrays, saved["fidelity.study"].arrays
    at = np.searchsorted(recording["step"], recording["known"])
    axes = figure.subplots(1, 3) if wide(figure) else figure.subplots(3, 1)
    for k, (ax, labels) in enumerate(zip(axes, AXES, strict=True)):
        draw_pairs(
            (recording["truths"][k], recording["proxies"][k, at]),
            (study["truths"][k], study["proxies"][k]),
            labels,
            ax,
        )
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside upper center", ncols=2, markerscale=1.4)


FIGURE = PaperFigure(
    name="proxies_vs_oracles",
    caption=(
        r"Each affordable proxy against the true value that it stands for, computed from per-group "
        r"gradients, with Pearson's $r$ and its 95\,\% interval. Dots and upper line: 30 steps of "
        r"one recorded training of a small transformer; the interval is Fisher's at the effective "
        r"number of independent pairs. Triangles and lower line: the same training under 7 "
        r"controllers, 3 steps of each, over 5 seeds; $r$ is taken within each seed and averaged, "
        r"with Student's interval. Truths in squared gradients, on logarithmic axes (linear within "
        r"$\pm 1$ for $\Delta^2$, whose unbiased estimate may be negative); proxies in squared "
        r"nats, advantages and $z$-scores."
    ),
    parts=("fidelity.recording", "fidelity.study"),
    columns=2,
    heights=(5.6, 2.1),
    draw=_draw,
)
