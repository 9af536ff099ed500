"""Mixed SGD on quadratic bowls: exact expectations beside simulated runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gac_ref._typing import AnyArray
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import GREY, SERIES, letters, line, log_ticks, wide
from simulations.analysis.palette import look

__all__ = ["FIGURE", "TWO_SIDED", "draw_losses", "draw_settled"]

TWO_SIDED = 1.959963984540054
"""Standard errors to either side of a mean that make a 95 % interval of many seeds."""

FIXED_DASHES = ("-", "--", ":")


def draw_losses(saved: Mapping[str, AnyArray], ax: Any) -> None:
    """Expected loss over time: lines exact, marks simulated with 95 % intervals."""
    steps, fixed, names = saved["steps"], 0, saved["schedules"].tolist()
    for index in sorted(range(len(names)), key=lambda place: look(names[place]).order):
        name = names[index]
        drawn = line(name)
        if drawn["label"] == "fixed weight":
            drawn["linestyle"] = FIXED_DASHES[fixed % 3]
            drawn["label"] = rf"fixed, $\mu = {name.rpartition('_')[2]}$"
            fixed += 1
        # The legend shows line and mark together; the curve's own marks are the simulation's.
        ax.plot([], [], **drawn)
        ax.plot(steps, saved["exact"][index], **{**drawn, "marker": "", "label": None})
        shown = slice(index % 3, None, 4)
        ax.errorbar(
            steps[shown], saved["mean"][index][shown],
            TWO_SIDED * saved["error"][index][shown], color=drawn["color"], marker=drawn["marker"],
            markersize=3, linestyle="none", elinewidth=0.8,
        )  # fmt: skip
    ax.set_yscale("log")
    log_ticks(ax.yaxis, [0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 4.0])
    ax.set_xlim(0, steps[-1])
    ax.set_xlabel("step")
    ax.set_ylabel("expected target loss")


def draw_settled(saved: Mapping[str, AnyArray], ax: Any) -> None:
    """Stationary excess loss against the weight, by learning rate."""
    mus = saved["mus"]
    for index, rate in enumerate(saved["learning_rates"].tolist()):
        color, marker, dash = SERIES[index]
        total = saved["misplaced"][index] + saved["noise"][index]
        ax.plot(mus, total, color=color, linestyle=dash)
        ax.errorbar(
            saved["checked"], saved["end_mean"][index] - float(saved["least"]),
            TWO_SIDED * saved["end_error"][index], color=color, marker=marker, linestyle="none",
            elinewidth=0.8,
        )  # fmt: skip
        ax.plot([], [], color=color, marker=marker, linestyle=dash, label=rf"$\eta = {rate:g}$")
    closed = float(saved["closed"])
    ax.axvline(closed, color=GREY, linewidth=0.7)
    ax.annotate(r"$\mu^{*}$", (closed, 0.0), xycoords=("data", "axes fraction"), xytext=(2, 2),
                textcoords="offset points", color="#555555")  # fmt: skip
    ax.set_yscale("log")
    ax.set_ylim(top=6.0)
    log_ticks(ax.yaxis, [0.001, 0.01, 0.1, 1.0])
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel(r"constant weight on SFT, $\mu$")
    ax.set_ylabel("excess of the target loss")


def _draw(saved: Read, figure: Any) -> None:
    axes = figure.subplots(*((1, 2) if wide(figure) else (2, 1)))
    draw_losses(saved["convergence.quadratic"].arrays, axes[0])
    draw_settled(saved["convergence.settled"].arrays, axes[1])
    axes[0].legend(loc="upper right")
    axes[1].legend(loc="upper left", bbox_to_anchor=(0.2, 1.0))
    letters(axes)


FIGURE = PaperFigure(
    name="convergence",
    caption=(
        r"Theory (lines) against simulation (marks, 95\,\% intervals over 256 seeds) on quadratic "
        r"bowls. (a) Expected target loss under fixed weights and schedules. (b) Excess of the "
        r"loss over the least possible where SGD with a constant weight settles, by learning rate "
        r"$\eta$; the vertical line is the closed form. Intervals are narrower than most marks."
    ),
    parts=("convergence.quadratic", "convergence.settled"),
    columns=2,
    heights=(3.9, 2.1),
    draw=_draw,
)
