"""How much of the derived tolerance a correct port uses, by stage and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from gac_ref.conformance.events import ORDER
from paper_figures import conformance
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import SERIES

__all__ = ["FIGURE", "draw_ratios", "stages_in"]

LOOKS = {
    "fp64": SERIES[0],
    "fp32": SERIES[1],
    "fp16": SERIES[2],
    "bf16": SERIES[3],
}

USUAL = 0.9
"""Quantile from which on the rare, large errors are drawn."""


def stages_in(stage: AnyArray) -> list[str]:
    """The stages, in the order in which data flow through them.

    Examples:
        >>> stages_in(np.array(["clip", "proxies", "clip"]))
        ['proxies', 'clip']
    """
    return sorted(set(stage.tolist()), key=lambda name: (ORDER.get(name, 99), name))


def draw_ratios(dtype: AnyArray, stage: AnyArray, ratio: FloatArray, ax: Any) -> None:
    """The largest tenth of the errors over their bounds (bar) and the worst (mark), by dtype.

    Args:
        dtype: Of each check, [n].
        stage: [n].
        ratio: Largest error over its bound, [n].
        ax: The axes.
    """
    stages = stages_in(stage)
    shown = [name for name in LOOKS if name in set(dtype.tolist())]
    for lane, name in enumerate(shown):
        color, marker, _ = LOOKS[name]
        shift = 0.6 * ((len(shown) - 1) / 2.0 - lane) / max(len(shown), 1)
        for place, each in enumerate(reversed(stages)):
            mine = ratio[(dtype == name) & (stage == each)]
            if not mine.size:
                continue
            usual, worst = (float(np.quantile(mine, q)) for q in (USUAL, 1.0))
            ax.plot([usual, worst], [place + shift] * 2, color=color, linewidth=1.0)
            ax.plot([worst], [place + shift], marker=marker, color=color, markersize=3.0,
                    linestyle="none", label=name if place == 0 else None)  # fmt: skip
    for place in range(len(stages) - 1):
        ax.axhline(place + 0.5, color="#E4E4E4", linewidth=0.4, zorder=0)
    ax.axvline(1.0, color="black", linewidth=0.9)
    ax.set_xlim(0.0, max(1.05, 1.05 * float(ratio.max(initial=0.0))))
    ax.set_yticks(
        range(len(stages)),
        [name.replace("_", " ").replace(" ema", " EMA") for name in reversed(stages)],
    )
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.6, len(stages) - 0.4)
    ax.set_xlabel("largest error of a check / derived bound")


def _draw(saved: Read, figure: Any) -> None:
    arrays = saved[conformance.NAME].arrays
    ax = figure.subplots()
    draw_ratios(arrays["dtype"], arrays["stage"], arrays["ratio"], ax)
    ax.legend(loc="center right", bbox_to_anchor=(0.93, 0.5))


FIGURE = PaperFigure(
    name="conformance_error",
    caption=(
        r"Error of a correct port, NumPy rounded as each dtype rounds, over the derived bound, by "
        r"stage (in the order of the data) and dtype of the tensors: the worst of all checks "
        r"(mark) and the largest tenth of them (bar). Every check of the released pack, more than "
        r"8\,000 a dtype; nothing is sampled, so that there is no interval. A check passes left of "
        r"1 (vertical line). Stages after the proxies compute on scalars, so that the dtype of the "
        r"tensors leaves little trace there."
    ),
    parts=(conformance.NAME,),
    columns=1,
    heights=(4.0, 3.6),
    draw=_draw,
)
