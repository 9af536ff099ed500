"""Pictures of fidelity; each draws on the axes that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gac_ref._typing import FloatArray
from simulations.analysis.question import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Row", "draw_forest", "draw_scatter", "draw_share"]

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#7F7F7F"

Row = tuple[str, Finding, bool]
"""Name, finding, and whether information was destroyed on purpose."""


def draw_forest(rows: Sequence[Row], claimed: float | None, ax: Axes) -> Axes:
    """Correlations with their intervals, one row each, from the top down.

    Args:
        rows: What is drawn.
        claimed: A claimed value to mark, or None.
        ax: The axes.
    """
    y = np.arange(len(rows))[::-1]
    for place, (_, finding, broken) in zip(y, rows, strict=True):
        ax.errorbar(
            finding.value,
            place,
            xerr=[[finding.value - finding.low], [finding.high - finding.value]],
            fmt="s" if broken else "o",
            color=_GREY if broken else _BLUE,
            markerfacecolor="white" if broken else _BLUE,
            capsize=2.5,
            markersize=4.5,
            linewidth=1.2,
        )
    ax.axvline(0.0, color="black", linewidth=0.6)
    if claimed is not None:
        ax.axvline(claimed, color=_ORANGE, linewidth=1.2, linestyle="--")
        ax.annotate(
            f"claimed {claimed:g}",
            (claimed, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=_ORANGE,
            fontsize=8,
        )
    ax.set_yticks(y, [name for name, _, _ in rows], fontsize=8)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.set_xlim(-1.05, 1.05)
    ax.set_xticks([-1.0, -0.5, 0.0, 0.5, 1.0])
    ax.set_xlabel("correlation with the truth (Pearson)")
    ax.grid(axis="x", linewidth=0.3)
    return ax


def draw_scatter(
    truth: FloatArray,
    proxy: FloatArray,
    others: tuple[FloatArray, FloatArray],
    units: tuple[str, str],
    found: tuple[Finding, Finding],
    ax: Axes,
) -> Axes:
    """A proxy against its truth, whose axis is logarithmic; so is the proxy's over a decade.

    Args:
        truth: Along the recorded run, [n], > 0.
        proxy: [n].
        others: Truth and proxy of the repeated runs, [m] each.
        units: Labels of the truth's and the proxy's axis.
        found: Correlation along the recorded run, and within the seeds of the repeated ones.
        ax: The axes.
    """
    ax.plot(others[0], others[1], "^", color=_GREY, markersize=3, alpha=0.55, markeredgewidth=0)
    ax.plot(truth, proxy, "o", color=_BLUE, markersize=4, markeredgecolor="white", linewidth=0)
    ax.set_xscale("log")
    _log_axis(ax.xaxis)
    every = np.concatenate((proxy, others[1]))
    if float(every.max()) > 10.0 * float(every.min()) > 0.0:
        ax.set_yscale("log")
        _log_axis(ax.yaxis)
    ax.set_xlabel(units[0])
    ax.set_ylabel(units[1])
    ax.annotate(
        f"dots r = {found[0].text()}\ntriangles r = {found[1].text()}",
        (0.0, 1.02),
        xycoords="axes fraction",
        fontsize=8,
    )
    return ax


def _log_axis(axis: Any) -> None:
    """Label 1, 2 and 5 of each decade as plain numbers; of many decades, 1 alone."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 100.0 * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_locator(NullLocator())


def draw_share(
    share: FloatArray, sigma_r2: FloatArray, group_size: int, axis: tuple[str, float], ax: Axes
) -> Axes:
    """The RL noise proxy (or its truth) against the share of groups with spread.

    Args:
        share: [n], in [0, 1].
        sigma_r2: [n].
        group_size: G.
        axis: Label of the y axis, and 1 to draw the line (G - 1) / G * share, 0 not to.
        ax: The axes.
    """
    jitter = 0.012 * np.random.default_rng(0).standard_normal(share.size)
    ax.plot(
        share + jitter, sigma_r2, "o", color=_BLUE, markersize=3.5, alpha=0.5, markeredgewidth=0
    )
    label, line = axis
    if line:
        x = np.array([float(share.min()) - 0.05, 1.0])
        ax.plot(x, (group_size - 1) / group_size * x, color=_ORANGE, linewidth=1.2)
        ax.annotate(
            r"$\frac{G-1}{G}\,\times$ share",
            (x.mean(), (group_size - 1) / group_size * x.mean()),
            xytext=(-6, 10),
            textcoords="offset points",
            ha="right",
            color=_ORANGE,
            fontsize=9,
        )
    else:
        ax.set_yscale("log")
        _log_axis(ax.yaxis)
    ax.set_xlabel("share of groups with spread")
    ax.set_ylabel(label)
    return ax
