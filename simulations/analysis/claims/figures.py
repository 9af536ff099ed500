"""Pictures of the claims; each draws on the axes that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gac_ref._typing import FloatArray
from simulations.analysis.claims.rows import Row
from simulations.analysis.claims.verdict import NOT_TESTABLE, REFUTED, SUPPORTED
from simulations.analysis.palette import look
from simulations.analysis.statistics import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_forest", "draw_passing", "draw_ratio_profiles", "draw_score_profiles"]

VERDICTS = {
    SUPPORTED: ("#009E73", "o", "full"),
    REFUTED: ("#D55E00", "X", "full"),
    NOT_TESTABLE: ("#7F7F7F", "s", "none"),
}
"""Colour, marker and fill of each verdict."""


def draw_forest(labels: Sequence[str], rows: Sequence[Row], ax: Axes) -> Axes:
    """Effects with their intervals, in units of what the paper claims.

    Args:
        labels: Short names, top to bottom.
        rows: The claims, in the same order; each claims a number other than 0.
        ax: The axes.
    """
    for verdict, (color, marker, fill) in VERDICTS.items():
        places = [i for i, row in enumerate(rows) if row.verdict == verdict]
        if not places:
            continue
        value, low, high = (
            np.array([getattr(rows[i], end) / rows[i].claimed for i in places])
            for end in ("effect", "low", "high")
        )
        ax.errorbar(
            value,
            places,
            xerr=np.abs([value - low, high - value]),
            fmt=marker,
            color=color,
            fillstyle=fill,
            markersize=5.5,
            capsize=2.5,
            label=verdict,
        )
    ax.axvline(0.0, color="black", linewidth=0.8)
    ax.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(rows)), labels)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel("effect / claimed effect (0: none, 1: as claimed)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=3, handletextpad=0.3)
    return ax


def draw_score_profiles(profiles: Mapping[str, Profile], ax: Axes) -> Axes:
    """Share of the runs that end above a reward, a line a method, with 95 % bands.

    Args:
        profiles: Method -> profile over rewards.
        ax: The axes.
    """
    _lines(profiles, ax)
    ax.set_xlim(0.2, 1.0)
    ax.set_xlabel("final reward (1 is the best there is)")
    ax.set_ylabel("share of runs above it")
    return ax


def draw_ratio_profiles(profiles: Mapping[str, Profile], ax: Axes) -> Axes:
    """Share of the problems solved within a factor of the best method, with 95 % bands.

    Args:
        profiles: Method -> profile over factors.
        ax: The axes.
    """
    _lines(profiles, ax)
    ax.set_xscale("log")
    ticks = [1, 2, 5, 10]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("shortfall of the reward / shortfall of the best method")
    ax.set_ylabel("share of runs within it")
    return ax


def _lines(profiles: Mapping[str, Profile], ax: Axes) -> None:
    for index, (method, found) in enumerate(profiles.items()):
        style = look(method)
        ax.fill_between(found.points, found.low, found.high, color=style.color, alpha=0.18, lw=0)
        ax.plot(
            found.points,
            found.share,
            color=style.color,
            linestyle=style.dash,
            marker=style.marker,
            markersize=4.0,
            markevery=(index % 7, 14),
            label=style.label,
        )
    ax.set_ylim(-0.02, 1.02)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw_passing(
    effects: FloatArray,
    counts: Sequence[int],
    share: FloatArray,
    curve_effects: FloatArray,
    curve: FloatArray,
    ax: Axes,
) -> Axes:
    """How often the criterion is met, simulated (marks) and exact (lines).

    Args:
        effects: True d_z, [k].
        counts: Numbers of seeds, [m].
        share: Simulated share of paired experiments that pass, [m, k].
        curve_effects: True d_z of the exact share, [g].
        curve: The exact share, [m, g].
        ax: The axes.
    """
    for index, count in enumerate(counts):
        grey = str(0.65 * index / max(1, len(counts) - 1))
        marker = "oDs^v"[index % 5]
        ax.plot(curve_effects, curve[index], color=grey)
        ax.plot(effects, share[index], marker, color=grey, markersize=4.5, label=f"{count} seeds")
    ax.axhline(0.8, color="black", linewidth=0.8, linestyle=":")
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("true difference of the means / spread of the differences")
    ax.set_ylabel("share of experiments that pass")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
