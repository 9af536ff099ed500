"""The weight over a training run, and what each input of the guards contributed to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import FloatArray
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import MINUS, letters, wide
from simulations.analysis.authority.decomposition import PARTS
from simulations.analysis.palette import look

__all__ = ["FIGURE", "draw_split"]

SHOWN = {"default": "gac_documented", "internal": "gac_decoupled"}
"""Variant -> the method that it is."""

FILLS: dict[str, tuple[str, str]] = {
    "estimate": ("#0072B2", ""),
    "prior": ("#C9C9C9", ""),
    "initial": ("#CC79A7", "xxxx"),
    "cap": ("#D55E00", "//////"),
    "clip": ("#E69F00", "....."),
}
"""Colour and hatch; the hatches and the lightness keep them apart in greyscale."""


def draw_split(parts: FloatArray, raw: FloatArray, start: float, ax: Any) -> None:
    """Contributions stacked from the initial weight, their sum, and the raw estimate.

    Args:
        parts: [5, T], in the order of :data:`PARTS`.
        raw: The raw estimate, [T].
        start: The initial weight.
        ax: The axes.
    """
    t = np.arange(parts.shape[1])
    above, below = np.full(t.size, start), np.full(t.size, start)
    for name, values in zip(PARTS, parts, strict=True):
        if float(np.abs(values).max()) < 1e-12:
            continue
        color, hatch = FILLS[name]
        up, down = np.maximum(values, 0.0), np.minimum(values, 0.0)
        style = {"facecolor": color, "edgecolor": "white", "hatch": hatch, "linewidth": 0.0}
        ax.fill_between(t, above, above + up, label=name, **style)
        ax.fill_between(t, below + down, below, **style)
        above, below = above + up, below + down
    ax.plot(t, raw, color="#009E73", linestyle=":", linewidth=1.0, label=r"raw $\mu^{*}$")
    ax.plot(t, start + parts.sum(axis=0), color="black", linewidth=1.3, label=r"applied $\mu$")
    ax.axhline(start, color="black", linewidth=0.5)
    share = float(parts[PARTS.index("estimate"), -1])
    ax.text(
        0.98, 0.05, f"estimate's part in the end: {share:.3f}".replace("-", MINUS),
        transform=ax.transAxes, ha="right", va="bottom", color=FILLS["estimate"][0],
    )  # fmt: skip
    ax.set_xlim(0, t.size)
    ax.set_ylim(0.0, 1.0)
    ax.set_xlabel("training step")


def _draw(saved: Read, figure: Any) -> None:
    settings, arrays = saved["authority.recording"]
    variants = list(settings["variants"])
    across = wide(figure)
    axes = figure.subplots(1, 2, sharey=True) if across else figure.subplots(2, 1, sharex=True)
    for ax, (variant, method) in zip(axes, SHOWN.items(), strict=True):
        v = variants.index(variant)
        start = GACConfig(**settings["variants"][variant]).init_mu
        draw_split(arrays["parts"][v], arrays["raw"][v], start, ax)
        ax.text(0.98, 0.97, look(method).label, transform=ax.transAxes, ha="right", va="top")
    for ax in axes if not across else axes[:1]:
        ax.set_ylabel(r"weight on SFT, $\mu$")
    if not across:
        axes[0].set_xlabel("")
    handles = {
        label: handle
        for ax in axes
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    order = [r"applied $\mu$", *(name for name in PARTS if name in handles), r"raw $\mu^{*}$"]
    figure.legend(
        [handles[name] for name in order], order, loc="outside upper center",
        ncols=len(order) if across else 3, handlelength=1.6,
    )  # fmt: skip
    letters(axes)


FIGURE = PaperFigure(
    name="mu_contributions",
    caption=(
        r"The weight (black) that two controllers apply when they replay one recorded training of "
        r"a small transformer, 300 steps, split exactly into what the estimate, the prior, the "
        r"change cap and, where they act, the initial value and the clips contributed. "
        r"Contributions that raise the weight are stacked above its initial value (thin line), "
        r"those that lower it below; they add up to the black line. (a) The estimate is the sliver "
        r"at the thin line. (b) The weight average is fed with its own state. Dotted: the raw "
        r"estimate. A replay is the same each time: no interval."
    ),
    parts=("authority.recording",),
    columns=2,
    heights=(3.9, 2.1),
    draw=_draw,
)
