"""Pictures of the authority of the estimate; each draws on the axes that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gac_ref._typing import FloatArray
from simulations.analysis.authority.decomposition import PARTS
from simulations.analysis.palette import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_contributions", "draw_gain_map", "draw_shares", "draw_step_responses"]

_FILLS = {
    "estimate": ("#0072B2", ""),
    "prior": ("#DDDDDD", ""),
    "initial": ("#CC79A7", "xx"),
    "cap": ("#D55E00", "////"),
    "clip": ("#E69F00", "...."),
}
"""Colour and hatch of each contribution; the hatches keep them apart in greyscale."""

_LINES = {
    "default": METHODS["gac_released"],
    "lambda 0.9": METHODS["chord_mu"],
    "no prior": METHODS["gac_no_prior"],
    "beta 0.9": METHODS["fixed"],
    "internal": METHODS["gac_decoupled"],
    "internal, beta 0.9": METHODS["inverse_variance"],
}


def draw_gain_map(
    lam: FloatArray,
    forget: FloatArray,
    gain: FloatArray,
    marks: Sequence[tuple[float, float, str]],
    ax: Axes,
) -> Axes:
    r"""Authority of the released feedback over lambda and 1 - beta.

    Args:
        lam: :math:`\lambda`, [x].
        forget: :math:`1 - \beta`, [y], > 0.
        gain: Authority, [y, x].
        marks: Points (lambda, 1 - beta, name) to mark.
        ax: The axes.
    """
    levels = [0.0, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    shown = ax.contourf(lam, forget, gain, levels=levels, cmap="Blues", norm="linear")
    lines = ax.contour(lam, forget, gain, levels=levels[1:-1], colors="black", linewidths=0.6)
    ax.clabel(lines, fmt="%g", fontsize=7)
    for x, y, name in marks:
        ax.plot(x, y, "o", color="#D55E00", markeredgecolor="white", clip_on=False, zorder=5)
        ax.annotate(
            name,
            (x, y),
            xytext=(-6, 7),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85},
        )
    ax.set_yscale("log")
    ax.set_xlabel(r"blend weight $\lambda$")
    ax.set_ylabel(r"$1-\beta$ of the EMA, per step")
    bar = ax.figure.colorbar(shown, ax=ax, ticks=levels)
    bar.set_label(r"$\partial\mu / \partial\mu_{\rm raw}$, steady state")
    return ax


def draw_step_responses(names: Sequence[str], responses: FloatArray, ax: Axes) -> Axes:
    """Change of mu after the raw estimate rises by 1 and stays.

    Args:
        names: The variants, [V].
        responses: [V, steps].
        ax: The axes.
    """
    t = np.arange(1, responses.shape[1] + 1)
    for name, response in zip(names, responses, strict=True):
        look = _LINES[name]
        ax.plot(
            t,
            response,
            color=look.color,
            linestyle=look.dash,
            marker=look.marker,
            markevery=0.12,
            markersize=4,
            label=name,
        )
    ax.set_xscale("log")
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("steps since the estimate rose by 1")
    ax.set_ylabel(r"change of $\mu$")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    return ax


def draw_contributions(parts: FloatArray, ax: Axes, *, legend: bool = True) -> Axes:
    """Contributions to the movement of mu since the start, stacked from zero, and their sum.

    Args:
        parts: [5, T].
        ax: The axes.
        legend: Whether to name the parts beside the axes.
    """
    t = np.arange(parts.shape[1])
    above, below = np.zeros(t.size), np.zeros(t.size)
    for name, values in zip(PARTS, parts, strict=True):
        if not np.any(values):
            continue
        color, hatch = _FILLS[name]
        up, down = np.maximum(values, 0.0), np.minimum(values, 0.0)
        style: dict[str, Any] = {
            "facecolor": color,
            "edgecolor": "#555555",
            "hatch": hatch,
            "linewidth": 0.0,
        }
        ax.fill_between(t, above, above + up, label=name, **style)
        ax.fill_between(t, below + down, below, **style)
        above, below = above + up, below + down
    ax.plot(t, parts.sum(axis=0), color="black", linewidth=1.4, label=r"$\mu - \mu_0$")
    ax.axhline(0.0, color="black", linewidth=0.5)
    ax.set_xlim(0, t[-1])
    ax.set_xlabel("step")
    ax.set_ylabel(r"contribution to $\mu - \mu_0$")
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    return ax


def draw_shares(names: Sequence[str], regimes: FloatArray, recorded: FloatArray, ax: Axes) -> Axes:
    """Share of the estimate in all steps that the parts of mu take, by variant.

    Args:
        names: The variants, [V].
        regimes: Value, low and high over the seeds, averaged over regimes, [V, 3].
        recorded: The same share on the recorded run, [V].
        ax: The axes.
    """
    y = np.arange(len(names))[::-1]
    error = np.abs(regimes[:, 1:] - regimes[:, :1]).T
    ax.errorbar(
        100.0 * regimes[:, 0],
        y + 0.12,
        xerr=100.0 * error,
        fmt="o",
        color="#0072B2",
        capsize=3,
        label="synthetic regimes",
    )
    ax.plot(
        100.0 * recorded,
        y - 0.12,
        "D",
        color="#D55E00",
        markerfacecolor="white",
        label="recorded run",
    )
    ax.set_yticks(y, names)
    ax.set_xscale("symlog", linthresh=0.1)
    ax.set_xlim(0.0, 130.0)
    ticks = [0.0, 0.1, 1.0, 10.0, 100.0]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.grid(axis="x", linewidth=0.3)
    ax.set_xlabel("estimate's share of the steps taken, %")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)
    return ax
