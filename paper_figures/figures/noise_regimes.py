"""Controllers across the noise regimes: how far from the best weight each one steers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from paper_figures import noise
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import line, log_ticks, wide
from simulations.analysis.palette import look
from simulations.analysis.statistics import mean_estimate

__all__ = ["FIGURE", "draw_regrets"]

REGIMES = {
    "calm": "calm",
    "sft_noisy": "noisy SFT",
    "rl_noisy": "noisy RL",
    "rl_step": "RL noise: step",
    "rl_ramp": "RL noise: ramp",
    "rl_burst": "RL noise: bursts",
    "seasonal": "both: seasonal",
    "random_walk": "both: random walk",
    "student_t": "heavy tails",
    "contaminated": "outliers",
    "correlated": "correlated",
    "biased_teacher": "biased teacher",
}
"""Regime -> how a reader knows it."""


def draw_regrets(
    controllers: Sequence[str], regimes: Sequence[str], regret: FloatArray, ax: Any
) -> None:
    """A band a regime, top down, and in it a lane a controller, in the palette's order.

    Args:
        controllers: Names, [C].
        regimes: Names, [R].
        regret: [R, C, seeds], > 0.
        ax: The axes.
    """
    order = sorted(range(len(controllers)), key=lambda c: look(controllers[c]).order)
    lanes = 0.41 - 0.82 * np.arange(len(order)) / max(len(order) - 1, 1)
    places = np.arange(len(regimes))[::-1]
    for lane, c in zip(lanes, order, strict=True):
        drawn = {"markersize": 3.2, **line(controllers[c]), "linestyle": "none"}
        found = np.array([mean_estimate(seeds)[:3] for seeds in regret[:, c]])
        ax.hlines(places + lane, found[:, 1], found[:, 2], color=drawn["color"], linewidth=0.9)
        ax.plot(found[:, 0], places + lane, **drawn)
    for place in places[:-1]:
        ax.axhline(place - 0.5, color="#C9C9C9", linewidth=0.5, zorder=0)
    ax.set_xscale("log")
    log_ticks(ax.xaxis, [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])
    ax.grid(axis="x", color="#E8E8E8", linewidth=0.4)
    ax.set_axisbelow(True)
    ax.set_yticks(places, [REGIMES.get(name, name.replace("_", " ")) for name in regimes])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.55, len(regimes) - 0.45)
    ax.set_xlabel(r"regret (gradient$^2$; less is better)")


def _draw(saved: Read, figure: Any) -> None:
    arrays = saved[noise.NAME].arrays
    ax = figure.subplots()
    draw_regrets(arrays["controllers"].tolist(), arrays["regimes"].tolist(), arrays["regret"], ax)
    across = wide(figure)
    figure.legend(
        *ax.get_legend_handles_labels(), ncols=1 if across else 2, markerscale=1.4,
        loc="outside right center" if across else "outside upper center", handlelength=1.2,
    )  # fmt: skip


FIGURE = PaperFigure(
    name="noise_regimes",
    caption=(
        r"Controllers in twelve noise regimes on quadratic bowls: excess of the risk of the "
        r"applied weight over that of the best weight of the moment, averaged over 1200 steps; "
        r"mean and 95\,\% Student interval (horizontal lines, most of them narrower than the "
        r"marks) over 64 seeds under common random numbers. From top to bottom of a band: the "
        r"order of the legend. Nothing is tuned; the fixed weight is 0.1. Without tokens GAC as "
        r"released has the weights of the documented one."
    ),
    parts=(noise.NAME,),
    columns=2,
    heights=(5.4, 4.0),
    draw=_draw,
)
