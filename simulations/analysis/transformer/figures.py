"""Pictures of the study; each draws on the axes that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gac_ref._typing import FloatArray, IntArray
from simulations.analysis.palette import look
from simulations.analysis.question import Finding
from simulations.analysis.statistics import mean_estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curves", "draw_differences", "smoothed"]


def smoothed(values: FloatArray, window: int) -> FloatArray:
    """Means of the last `window` steps, as far as there are any, along the last axis.

    Examples:
        >>> smoothed(np.array([1.0, 3.0, 5.0]), 2).tolist()
        [1.0, 2.0, 4.0]
    """
    total = np.cumsum(values, axis=-1)
    count = np.minimum(np.arange(1, values.shape[-1] + 1), window)
    late = np.concatenate((np.zeros((*values.shape[:-1], window)), total), axis=-1)
    return np.asarray((total - late[..., : values.shape[-1]]) / count)


def draw_curves(
    names: Sequence[str], x: IntArray, curves: FloatArray, label: str, bands: bool, ax: Axes
) -> Axes:
    """Mean over seeds of each controller, with the 95 % interval of the mean.

    Args:
        names: Controllers, [C].
        x: Steps, [n].
        curves: [C, seeds, n].
        label: Of the y axis, with its unit.
        bands: Whether to shade the intervals; else they are bars, for few points.
        ax: The axes.
    """
    for index, (name, runs) in enumerate(zip(names, curves, strict=True)):
        style = look(name)
        estimates = np.array([mean_estimate(column)[:3] for column in runs.T])
        mean, low, high = estimates.T
        line: dict[str, Any] = {
            "color": style.color,
            "linestyle": style.dash,
            "marker": style.marker,
        }
        shown = _label(name)
        if bands:
            ax.plot(
                x, mean, **line, label=shown, linewidth=1.1, markersize=4, markevery=(5 * index, 40)
            )
            ax.fill_between(x, low, high, color=style.color, alpha=0.08, linewidth=0)
        else:
            shift = (index - (len(names) - 1) / 2.0) * 0.008 * float(np.ptp(x))
            ax.errorbar(
                x + shift,
                mean,
                yerr=(mean - low, high - mean),
                **line,
                label=shown,
                linewidth=1.0,
                markersize=4.5,
                capsize=1.5,
                elinewidth=0.7,
            )
    ax.set_xlabel("step")
    ax.set_ylabel(label)
    return ax


def draw_differences(rows: Sequence[tuple[str, Finding]], label: str, ax: Axes) -> Axes:
    """Paired differences with their intervals, one row each, from the top down.

    Args:
        rows: Name of the compared controller, and the difference.
        label: Of the x axis, with its unit.
        ax: The axes.
    """
    y = np.arange(len(rows))[::-1]
    for place, (name, finding) in zip(y, rows, strict=True):
        style = look(name)
        ax.errorbar(
            finding.value,
            place,
            xerr=[[finding.value - finding.low], [finding.high - finding.value]],
            fmt=style.marker,
            color=style.color,
            capsize=3,
            markersize=5,
        )
    ax.axvline(0.0, color="black", linewidth=0.6)
    ax.set_yticks(y, [_label(name) for name, _ in rows], fontsize=8)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.set_xlabel(label)
    ax.grid(axis="x", linewidth=0.3)
    return ax


def _label(name: str) -> str:
    """A fixed weight is named with its value."""
    base, _, value = name.rpartition("_")
    return f"fixed weight {value}" if base == "fixed" else look(name).label
