"""The pictures of this question: arrays in, the axes that were given out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.convergence.tracking import drift_for, ema_error, kalman_gain
from simulations.analysis.palette import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "draw_default_cost",
    "draw_losses",
    "draw_policy",
    "draw_settled",
    "draw_stability",
    "draw_switch",
    "draw_tracking",
]

TWO_SIDED = 1.959963984540054
"""Standard errors to either side of a mean that make a 95 % interval of many seeds."""

INKS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#7F7F7F")
"""For families that are no methods; dark to light in greyscale as they are listed."""

DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def draw_losses(saved: Mapping[str, AnyArray], labels: Sequence[str], ax: Axes) -> Axes:
    """Expected loss over time: lines are exact, points simulated with 95 % intervals."""
    steps = saved["steps"]
    for index, name in enumerate(saved["schedules"].tolist()):
        drawn = look(name)
        dash = DASHES[index] if drawn.label.startswith("fixed") else drawn.dash
        ax.plot(steps, saved["exact"][index], color=drawn.color, linestyle=dash, linewidth=1.2)
        ax.errorbar(
            steps[::3],
            saved["mean"][index][::3],
            TWO_SIDED * saved["error"][index][::3],
            color=drawn.color,
            marker=drawn.marker,
            markersize=3,
            linestyle="none",
            linewidth=0.8,
        )
    ax.set_yscale("log")
    heights = apart(np.log(saved["exact"][:, -1]), 0.12)
    for label, height in zip(labels, heights, strict=True):
        ax.annotate(label, (steps[-1] * 1.02, np.exp(height)), fontsize=7, va="center")
    ax.set_xlim(0, steps[-1] * 1.3)
    ax.set_xlabel("step")
    ax.set_ylabel("expected target loss (loss)")
    return ax


def draw_settled(saved: Mapping[str, AnyArray], least: float, ax: Axes) -> Axes:
    """Stationary excess loss against the weight, by learning rate; points are simulated."""
    mus = saved["mus"]
    for index, rate in enumerate(saved["learning_rates"].tolist()):
        total = saved["misplaced"][index] + saved["noise"][index]
        ax.plot(mus, total, color=INKS[index], linestyle=DASHES[index], label=f"{rate:g}")
        ax.errorbar(
            saved["checked"],
            saved["end_mean"][index] - least,
            TWO_SIDED * saved["end_error"][index],
            color=INKS[index],
            marker="os^"[index],
            markersize=4,
            linestyle="none",
        )
    ax.plot(mus, np.maximum(saved["misplaced"][0], 1e-9), color=INKS[4], linestyle=":")
    ax.annotate("no noise", (0.46, 4e-4), fontsize=7, color=INKS[4], ha="right")
    closed = float(saved["closed"])
    ax.axvline(closed, color=INKS[4], linewidth=0.8)
    ax.annotate("closed form", (closed + 0.01, 4e-4), fontsize=7)
    ax.set_yscale("log")
    ax.set_ylim(2e-4, 2.0)
    ax.set_xlabel("constant weight mu (1)")
    ax.set_ylabel("excess of the target loss (loss)")
    ax.legend(title="learning rate", fontsize=7, title_fontsize=7, **BESIDE)
    return ax


def draw_policy(saved: Mapping[str, AnyArray], axes: AnyArray) -> AnyArray:
    """Reward and KL over time, with 95 % bands of the mean."""
    for ax, name, unit in zip(
        axes, ("reward", "kl"), ("value (reward)", "KL to reference (nat / token)"), strict=True
    ):
        for index, controller in enumerate(saved["controllers"].tolist()):
            drawn, mean = look(controller), saved[name][index]
            half = TWO_SIDED * saved[f"{name}_error"][index]
            ax.fill_between(
                saved["steps"], mean - half, mean + half, color=drawn.color, alpha=0.2, linewidth=0
            )
            ax.plot(
                saved["steps"],
                mean,
                color=drawn.color,
                linestyle=drawn.dash,
                marker=drawn.marker,
                markevery=(drawn.order % 5, 6),
                markersize=4,
                linewidth=1.0,
                label=drawn.label,
            )
        ax.set_xlabel("step")
        ax.set_ylabel(unit)
    axes[-1].legend(fontsize=6, **BESIDE)
    return axes


def draw_stability(
    additive: Mapping[str, AnyArray],
    rows: Mapping[str, AnyArray],
    grids: Sequence[tuple[Sequence[float], Sequence[float]]],
    labels: Sequence[str],
    axes: AnyArray,
) -> AnyArray:
    """Share of diverged seeds, dark where all do, with the boundaries drawn over it."""
    shares = (additive["share"][-1], *rows["share"])
    for index, (ax, share) in enumerate(zip(axes, shares, strict=True)):
        mus, rates = (np.asarray(values) for values in grids[min(index, 1)])
        ax.pcolormesh(mus, rates, share, cmap="Greys", vmin=0.0, vmax=1.4, shading="nearest")
        if index == 0:
            ax.plot(mus, additive["limit"], color=INKS[1], label="mean and covariance (exact)")
        else:
            square, growth = rows["mean_square"][index - 1], rows["growth"][index - 1]
            ax.plot(mus, square, color=INKS[2], linestyle="--", label="covariance (exact)")
            ax.axhline(float(rows["mean"]), color=INKS[1], label="mean (exact)")
            ax.plot(
                mus,
                zero_crossing(rates, growth),
                color=INKS[3],
                linestyle=":",
                marker=".",
                label="typical path (estimated)",
            )
        ax.set_ylim(rates[0] - 0.05, rates[-1] + 0.05)
        ax.set_xlabel(f"mu (1)\n{labels[index]}", fontsize=8)
    axes[0].set_ylabel("learning rate")
    axes[1].legend(
        fontsize=6, loc="lower center", frameon=False, title="diverges above", title_fontsize=6
    )
    return axes


def draw_tracking(
    saved: Mapping[str, AnyArray], betas: Sequence[float], ratios: Sequence[float], ax: Axes
) -> Axes:
    """Mean square error against the average's memory; lines exact, points simulated."""
    grid = 1.0 - 1.0 / np.logspace(0.001, 3.0, 200)
    memory, seen = 1.0 / (1.0 - grid), 1.0 / (1.0 - np.asarray(betas))
    for index, ratio in enumerate(ratios):
        color, dash = INKS[index % 5], DASHES[index % 5]
        total = ema_error(grid, ratio, 1.0).total
        ax.plot(memory, total, color=color, linestyle=dash, linewidth=1.0)
        ax.errorbar(
            seen,
            saved["mean"][index],
            TWO_SIDED * saved["error"][index],
            color=color,
            marker="osv^D"[index % 5],
            markersize=3,
            linestyle="none",
        )
        gain = float(kalman_gain(ratio))
        ax.plot([1.0 / gain], [gain], marker="*", color=color, markersize=9)
        ax.annotate(f"q/r = {ratio:g}", (memory[-1] * 1.1, total[-1]), fontsize=7, va="center")
    ax.axvline(100.0, color=INKS[4], linewidth=0.8)
    ax.annotate("0.99", (100.0, 1.3), fontsize=7, ha="right")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(1.0, memory[-1] * 6.0)
    ax.set_ylim(2e-3, 2e2)
    ax.set_xlabel("memory of the average, 1 / (1 - beta) (refreshes)")
    ax.set_ylabel("mean square error / r (1)")
    return ax


def draw_default_cost(recorded: Mapping[str, AnyArray], refresh: int, ax: Axes) -> Axes:
    """Error of beta = 0.99 over the least possible, against the drift of one refresh."""
    ratios = np.logspace(-6.0, 0.0, 200)
    cost = ema_error(0.99, ratios, 1.0).total / kalman_gain(ratios)
    ax.plot(ratios, cost, color=INKS[0])
    ax.plot([float(drift_for(0.99))], [1.0], marker="*", color=INKS[0], markersize=10)
    for index, name in enumerate(recorded["names"].tolist()):
        low, value, high = (
            np.clip(refresh * recorded[key][index], ratios[0], None)
            for key in ("low", "ratio", "high")
        )
        height = 12.0 * 2.0**index
        ax.plot([low, high], [height, height], color=INKS[index + 1], linestyle=DASHES[index])
        ax.plot([value], [height], marker="os^"[index], color=INKS[index + 1])
        ax.annotate(name, (low * 1.1, height * 1.12), fontsize=7, color=INKS[index + 1])
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("drift variance of one refresh / observation variance (1)")
    ax.set_ylabel("mean square error / least (1)")
    return ax


def draw_switch(saved: Mapping[str, AnyArray], variants: Sequence[str], ax: Axes) -> Axes:
    """Share of a change of regime that mu has not followed yet."""
    steps = np.arange(1, saved["exact"].shape[1] + 1)
    for index, name in enumerate(variants):
        drawn = look(f"gac_{name}")
        moved = f"{drawn.label}: moves {float(saved['size'][index]):.2g}"
        ax.plot(steps, saved["exact"][index], color=drawn.color, linestyle=drawn.dash, label=moved)
        ax.plot(
            steps[200 * index :: 400],
            saved["measured"][index][200 * index :: 400],
            color=drawn.color,
            marker=drawn.marker,
            markersize=4,
            linestyle="none",
        )
    ax.axhline(0.1, color=INKS[4], linewidth=0.8)
    ax.annotate("90 % of the way", (steps[-1], 0.12), fontsize=7, ha="right")
    ax.set_xlabel("steps after the change")
    ax.set_ylabel("share of the change left (1)")
    ax.legend(fontsize=7, loc="upper right", frameon=False)
    return ax


def zero_crossing(rates: FloatArray, growth: FloatArray) -> FloatArray:
    """The rate at which each column's growth [L, M] turns positive for good, interpolated.

    Args:
        rates: Learning rates, ascending, [L].
        growth: Exponents, [L, M].

    Returns:
        The crossings, [M]; NaN where the last is negative or the first is not.

    Examples:
        >>> zero_crossing(np.array([1.0, 2.0]), np.array([[-1.0, 1.0], [1.0, 2.0]])).tolist()
        [1.5, nan]
    """
    out = np.full(growth.shape[1], np.nan)
    for place, column in enumerate(growth.T):
        below = np.flatnonzero(column < 0.0)
        if below.size and below[-1] + 1 < column.size:
            k = int(below[-1])
            share = -column[k] / (column[k + 1] - column[k])
            out[place] = rates[k] + share * (rates[k + 1] - rates[k])
    return out


def apart(values: FloatArray, gap: float) -> FloatArray:
    """The values, moved up where they would be nearer than `gap` to the next one below.

    Examples:
        >>> apart(np.array([1.0, 0.0, 0.9]), 0.5).tolist()
        [1.4, 0.0, 0.9]
    """
    out = np.array(values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    for below, above in itertools.pairwise(order):
        out[above] = max(out[above], out[below] + gap)
    return out


BESIDE: dict[str, Any] = {
    "loc": "center left",
    "bbox_to_anchor": (1.01, 0.5),
    "frameon": False,
}
"""A legend outside the data."""
