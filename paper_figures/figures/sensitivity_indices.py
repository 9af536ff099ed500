"""Which hyperparameter moves the last weight and the outcome: Sobol indices with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import letters, wide

__all__ = ["FIGURE", "draw_panel", "leading"]

PANELS = (
    ("sensitivity.quadratic", "mu", "documented:\nlast $\\mu$"),
    ("sensitivity.quadratic", "outcome", "documented:\nfinal loss"),
    ("sensitivity.quadratic_internal", "mu", "decoupled:\nlast $\\mu$"),
    ("sensitivity.quadratic_internal", "outcome", "decoupled:\nfinal loss"),
)
"""Part, output, and how a reader knows it."""

SHOWN = 9
"""Factors with the largest total index in any panel; the others are below all of these."""

NAMES = {
    "ema_beta": r"EMA $\beta$",
    "blend_weight": r"blend weight $\lambda$",
    "init_mu": r"initial $\mu$",
    "mu_min": r"lower bound of $\mu$",
    "mu_max": r"upper bound of $\mu$",
    "mu_change_cap": "change cap",
    "prior_peak": "prior's peak",
    "prior_valley": "prior's valley",
    "prior_warmup": "prior's warm-up",
    "prior_decay": "prior's decay",
    "mu_update_freq": "steps a refresh",
    "delta_g2_cap_ratio": r"cap of $\Delta^2$",
    "eps": r"$\epsilon$",
    "alpha": r"target $\alpha$",
    "scale_s": r"scale of $\tilde\sigma_s^2$",
    "scale_r": r"scale of $\tilde\sigma_r^2$",
    "scale_d": r"scale of $\tilde\Delta^2$",
}


def index_of(arrays: Mapping[str, AnyArray], output: str, order: str) -> FloatArray:
    """Value, low and high of an index, [3, D]."""
    name = f"{output}/salib/{order}"
    return np.stack([arrays[name], arrays[f"{name}_low"], arrays[f"{name}_high"]])


def leading(totals: FloatArray, count: int) -> list[int]:
    """Places of the factors with the largest index in any panel, largest first.

    Args:
        totals: [panels, D].
        count: How many.

    Examples:
        >>> leading(np.array([[0.1, 0.5, 0.0], [0.9, 0.0, 0.1]]), 2)
        [0, 1]
    """
    return [int(place) for place in np.argsort(-totals.max(axis=0), kind="stable")[:count]]


def draw_panel(first: FloatArray, total: FloatArray, ax: Any) -> None:
    """First-order (hollow) and total indices (filled) with 95 % intervals, top down.

    Args:
        first: Value, low and high, [3, D].
        total: The same.
        ax: The axes.
    """
    rows = np.arange(first.shape[1])[::-1]
    ax.axvline(0.0, color="black", linewidth=0.5)
    for values, shift, color, marker, fill, text in (
        (total, 0.17, "#0072B2", "o", "#0072B2", "total"),
        (first, -0.17, "#D55E00", "s", "white", "first order"),
    ):
        ax.hlines(rows + shift, values[1], values[2], color=color, linewidth=1.0)
        ax.plot(values[0], rows + shift, marker, color=color, markerfacecolor=fill, markersize=3.6,
                label=text)  # fmt: skip
    for row in rows[:-1]:
        ax.axhline(row - 0.5, color="#E4E4E4", linewidth=0.4, zorder=0)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=4)


def _draw(saved: Read, figure: Any) -> None:
    factors = [str(row[0]) for row in saved[PANELS[0][0]].settings["factors"]]
    totals = np.stack(
        [index_of(saved[part].arrays, output, "total")[0] for part, output, _ in PANELS]
    )
    shown = leading(totals, SHOWN)
    across = wide(figure)
    axes = figure.subplots(*((1, 4) if across else (2, 2)), sharex=True, sharey=True).ravel()
    for ax, (part, output, text) in zip(axes, PANELS, strict=True):
        arrays = saved[part].arrays
        first, total = (index_of(arrays, output, order)[:, shown] for order in ("first", "total"))
        draw_panel(first, total, ax)
        ax.set_title(text, pad=3.0, linespacing=1.0)
    rows = np.arange(len(shown))[::-1]
    letters(axes)
    axes[0].set_yticks(rows, [NAMES.get(factors[k], factors[k]) for k in shown])
    figure.supxlabel("share of the output's variance", fontsize="medium")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


FIGURE = PaperFigure(
    name="sensitivity_indices",
    caption=(
        r"Sobol indices of the last weight and of the final loss on quadratic bowls, over broad "
        r"ranges of all hyperparameters and of the scales of the proxies (a factor of ten either "
        r"way), for the documented and the decoupled controller. Total (filled) and first order "
        r"(hollow), with 95\,\% intervals from 200 bootstrap resamples of the 256 rows of "
        r"Saltelli's design, 4 seeds a point. The nine factors with the largest total index in any "
        r"panel; the others are smaller everywhere."
    ),
    parts=("sensitivity.quadratic", "sensitivity.quadratic_internal"),
    columns=2,
    heights=(4.8, 2.6),
    draw=_draw,
)
