"""Pictures of the sensitivities; each draws on the axes that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.palette import METHODS
from simulations.analysis.sensitivity.scaling import PROXIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_derivatives", "draw_indices", "draw_plug_in", "draw_scaled_runs", "draw_scaling"]

_SERIES = (
    ("#000000", "o", "-"),
    ("#0072B2", "s", "--"),
    ("#D55E00", "^", "-."),
    ("#009E73", "D", ":"),
    ("#CC79A7", "v", (0, (3, 1, 1, 1))),
    ("#7F7F7F", "P", (0, (1, 1))),
)
_PROXY_NAMES = dict(zip(PROXIES, (r"$\sigma_s^2$", r"$\sigma_r^2$", r"$\Delta^2$"), strict=True))
_RUNS = {"default": "gac_released", "internal": "gac_decoupled", "no prior": "gac_no_prior"}


def draw_derivatives(
    steps: AnyArray, effects: Mapping[str, FloatArray], ax: Axes, *, legend: bool = True
) -> Axes:
    """Change of mu for a 10 % change of each hyperparameter, over a run.

    Args:
        steps: [T].
        effects: Name -> [T].
        ax: The axes.
        legend: Whether to name the curves beside the axes.
    """
    for (name, values), (color, marker, dash) in zip(effects.items(), _SERIES, strict=False):
        ax.plot(
            steps,
            values,
            color=color,
            linestyle=dash,
            marker=marker,
            markevery=0.1,
            ms=3.5,
            label=name,
        )
    ax.axhline(0.0, color="black", linewidth=0.5)
    ax.set_xlabel("step")
    ax.set_ylabel(r"change of $\mu$ for +10 %")
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    return ax


def draw_indices(
    names: Sequence[str], first: FloatArray, total: FloatArray, ax: Axes, *, label: bool = True
) -> Axes:
    """First-order and total Sobol indices with their intervals.

    Args:
        names: The factors, [D].
        first: Value, low and high, [3, D].
        total: The same of the total index.
        ax: The axes.
        label: Whether to name the factors.
    """
    y = np.arange(len(names))[::-1]
    for index, offset, color, hatch, text in (
        (first, 0.2, "#0072B2", "", "first order"),
        (total, -0.2, "#E69F00", "////", "total"),
    ):
        ax.barh(
            y + offset,
            np.maximum(index[0], 0.0),
            height=0.38,
            color=color,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.3,
            label=text,
        )
        ax.hlines(y + offset, index[1], index[2], color="black", linewidth=0.9)
    ax.set_yticks(y, list(names) if label else [""] * len(names))
    ax.tick_params(axis="y", labelsize=7)
    ax.set_xlim(-0.1, 1.05 * max(float(first[2].max()), float(total[2].max())))
    ax.axvline(0.0, color="black", linewidth=0.5)
    ax.set_xlabel("share of the variance")
    return ax


def draw_scaling(factors: FloatArray, relative: FloatArray, ax: Axes) -> Axes:
    """Relative regret of the closed form with one proxy off by a factor.

    Args:
        factors: [F].
        relative: [3, F].
        ax: The axes.
    """
    for name, values, (color, marker, dash) in zip(PROXIES, relative, _SERIES, strict=False):
        ax.plot(
            factors,
            100.0 * values,
            color=color,
            linestyle=dash,
            marker=marker,
            markevery=0.12,
            ms=4,
            label=_PROXY_NAMES[name],
        )
    ax.set_xscale("log")
    ax.set_xlabel("factor on the proxy")
    ax.set_ylabel("regret, % of the smallest risk")
    ax.legend(frameon=False, fontsize=8, loc="upper center")
    return ax


def draw_scaled_runs(
    factors: FloatArray, intervals: Mapping[str, FloatArray], ax: Axes, *, unit: str
) -> Axes:
    """Outcome of training with one proxy off by a factor.

    Args:
        factors: [F].
        intervals: Variant -> value, low and high, [F, 3].
        ax: The axes.
        unit: Label of the outcome.
    """
    for name, values in intervals.items():
        look = METHODS[_RUNS[name]]
        ax.fill_between(factors, values[:, 1], values[:, 2], color=look.color, alpha=0.2, lw=0)
        ax.plot(
            factors,
            values[:, 0],
            color=look.color,
            linestyle=look.dash,
            marker=look.marker,
            ms=4,
            label=name,
        )
    ax.set_xscale("log")
    ax.set_ylabel(unit)
    ax.axvline(1.0, color="black", linewidth=0.5)
    return ax


def draw_plug_in(
    ratios: FloatArray,
    relative: Mapping[str, FloatArray],
    ax: Axes,
    *,
    simulated: Mapping[str, FloatArray] | None = None,
) -> Axes:
    """Relative regret of the plug-in weight over the ratio of disagreement to noise.

    Args:
        ratios: [K].
        relative: Name -> exact values, [K].
        ax: The axes.
        simulated: Name -> value, low and high from simulation, [K, 3].
    """
    for (name, values), (color, marker, dash) in zip(relative.items(), _SERIES, strict=False):
        ax.plot(ratios, 100.0 * values, color=color, linestyle=dash, label=name)
        if simulated is not None and name in simulated:
            points = 100.0 * simulated[name]
            error = np.abs(points[:, 1:] - points[:, :1]).T
            ax.errorbar(
                ratios, points[:, 0], yerr=error, fmt=marker, color=color, ms=3.5, capsize=2
            )
    ax.set_xscale("log")
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel(r"$\Delta^2 / (\sigma_s^2 + \sigma_r^2)$")
    return ax
