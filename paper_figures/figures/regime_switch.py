"""How the applied weight follows a switch of the noise regime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import GREY, letters, line, wide

__all__ = ["FIGURE", "draw_left", "draw_movement"]

JUMP = 0.5
"""Of the best weight, from 1/4 to 3/4."""


def draw_movement(
    variants: Sequence[str], exact: FloatArray, measured: FloatArray, size: FloatArray, ax: Any
) -> None:
    """Change of mu since the switch; lines are the closed form, marks the controller's run.

    Args:
        variants: Names of GAC's variants, [V].
        exact: Share of the change that is left, [V, T].
        measured: The same in a run, [V, T].
        size: How far mu moves in the end, [V].
        ax: The axes.
    """
    steps = np.arange(1, exact.shape[1] + 1)
    ax.axhline(JUMP, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)))
    ax.text(steps[-1], JUMP - 0.015, r"move of the best weight $\mu^{*}$", ha="right", va="top",
            color="#555555")  # fmt: skip
    for index, name in enumerate(variants):
        end = float(size[index])
        moved, run = end * (1.0 - exact[index]), end * (1.0 - measured[index])
        _pair(f"gac_{name}", steps, moved, run, ax)
        text = f"{line(f'gac_{name}')['label']}: {end:.2g} in the end"
        ax.text(steps[-1], end + 0.015, text, ha="right", va="bottom",
                color=line(f"gac_{name}")["color"])  # fmt: skip
    ax.set_ylim(-0.01, 1.1 * JUMP)
    ax.set_yticks([0.0, JUMP / 2.0, JUMP])
    ax.set_ylabel(r"change of $\mu$")


def draw_left(variants: Sequence[str], exact: FloatArray, measured: FloatArray, ax: Any) -> None:
    """Share of the way that is left, each variant of its own way."""
    steps = np.arange(1, exact.shape[1] + 1)
    for index, name in enumerate(variants):
        _pair(f"gac_{name}", steps, exact[index], measured[index], ax)
        reached = int(np.argmax(exact[index] <= 0.1)) + 1
        ax.plot([reached, reached], [0.0, 0.1], color=line(f"gac_{name}")["color"], linewidth=0.7)
    ax.axhline(0.1, color=GREY, linewidth=0.7)
    ax.text(0.02 * steps[-1], 0.11, "90 % of the way", color="#555555", va="bottom")
    ax.set_ylim(0.0, 1.02)
    ax.set_yticks([0.0, 0.5, 1.0])
    ax.set_ylabel("share of its move left")


def _pair(method: str, steps: Any, exact: FloatArray, measured: FloatArray, ax: Any) -> None:
    drawn = line(method)
    ax.plot(steps, exact, color=drawn["color"], linestyle=drawn["linestyle"])
    ax.plot([], [], **drawn)
    shown = slice(200 if method.endswith("documented") else 450, None, 500)
    ax.plot(steps[shown], measured[shown], drawn["marker"], color=drawn["color"])


def _draw(saved: Read, figure: Any) -> None:
    settings, arrays = saved["convergence.switch"]
    variants = list(settings["variants"])
    across = wide(figure)
    axes = figure.subplots(1, 2) if across else figure.subplots(2, 1, sharex=True)
    draw_movement(variants, arrays["exact"], arrays["measured"], arrays["size"], axes[0])
    draw_left(variants, arrays["exact"], arrays["measured"], axes[1])
    for ax in axes if across else axes[1:]:
        ax.set_xlabel("steps after the switch")
    for ax in axes:
        ax.set_xlim(0, arrays["exact"].shape[1])
    axes[1].legend(loc="upper right")
    letters(axes)


FIGURE = PaperFigure(
    name="regime_switch",
    caption=(
        r"The noise of both branches changes places, so that the best weight moves from $1/4$ to "
        r"$3/4$. (a) How far the applied weight follows. (b) The share of its own move that is "
        r"left. Lines: closed form; marks: the controller's run. The statistics are refreshed "
        r"every 10 steps, and a refresh takes in 1\,\%. The statistics are exact on both sides of "
        r"the switch, so that a run is the same each time: no interval."
    ),
    parts=("convergence.switch",),
    columns=1,
    heights=(3.3, 2.1),
    draw=_draw,
)
