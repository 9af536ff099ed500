"""The pictures of this question: arrays in, the axes that were given out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gac_ref._typing import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "draw_bias",
    "draw_clipping",
    "draw_dimension",
    "draw_independence",
    "draw_losses",
    "draw_maps",
    "draw_rules",
]

TWO_SIDED = 1.959963984540054
"""Standard errors to either side of a mean that make a 95 % interval of many draws."""

INKS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#7F7F7F")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = "osv^D"

BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False}
"""A legend outside the data."""


def draw_dimension(saved: Mapping[str, AnyArray], dimensions: Sequence[int], ax: Axes) -> Axes:
    """Bound over exact risk against the dimension: medians, and 5 to 95 % of directions."""
    names = ("triangle bound", "Young, eta = 1", "effective noise")
    for index, name in enumerate(names):
        low, middle, high = saved["quantiles"][index]
        ax.fill_between(dimensions, low, high, color=INKS[index], alpha=0.15, linewidth=0)
        ax.plot(
            dimensions,
            middle,
            color=INKS[index],
            linestyle=DASHES[index],
            marker=MARKERS[index],
            markersize=4,
            label=name,
        )
    ax.axhline(1.0, color=INKS[4], linewidth=0.8)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ticks = (0.5, 1, 2, 4, 8)
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("dimension of the gradients (1)")
    ax.set_ylabel("bound / exact risk (1)")
    ax.legend(fontsize=7, **BESIDE)
    return ax


def draw_bias(saved: Mapping[str, AnyArray], correlations: Sequence[float], ax: Axes) -> Axes:
    """Bound over mean risk against the size of the biases."""
    squares = saved["sizes"] ** 2
    for index, rho in enumerate(correlations):
        ax.plot(
            squares,
            saved["triangle"][index],
            color=INKS[index],
            linestyle=DASHES[index],
            label=f"triangle, |rho| <= {rho:g}",
        )
    ax.plot(squares, saved["young"], color=INKS[4], linestyle=DASHES[4], label="Young, eta = 1")
    ax.axhline(1.0, color=INKS[4], linewidth=0.8)
    ax.set_xscale("log")
    ax.set_xlabel("squared SFT bias / SFT noise (1)")
    ax.set_ylabel("bound / mean risk (1)")
    ax.legend(fontsize=7, **BESIDE)
    return ax


def draw_rules(
    saved: Mapping[str, AnyArray], rules: Sequence[str], geometries: Sequence[str], ax: Axes
) -> Axes:
    """Mean relative excess risk of each rule, a marker a geometry."""
    places = np.arange(len(rules))[::-1]
    for index, geometry in enumerate(geometries):
        ax.plot(
            saved["mean"][index],
            places + 0.12 * (2 - index),
            color=INKS[index],
            marker=MARKERS[index],
            markersize=5,
            linestyle="none",
            label=geometry,
        )
    ax.set_yticks(places, list(rules))
    for place in places[:-1] - 0.5:
        ax.axhline(place, color=INKS[4], linewidth=0.3)
    ax.set_xscale("symlog", linthresh=0.1)
    ax.set_xlim(-0.02, 12.0)
    ticks = (0.0, 0.1, 1.0, 10.0)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("mean excess risk / least risk (1)")
    ax.legend(title="biases", fontsize=7, title_fontsize=7, **BESIDE)
    return ax


def draw_losses(
    saved: Mapping[str, AnyArray],
    bounds: Sequence[str],
    plain: Sequence[str],
    geometries: Sequence[str],
    axes: AnyArray,
) -> AnyArray:
    """Share of settings in which each minimiser does worse than each plain rule, in percent."""
    for index, (ax, bound) in enumerate(zip(axes, bounds, strict=True)):
        share = 100.0 * saved["worse"][:, index] / saved["total"]
        ax.imshow(share, cmap="Greys", vmin=0.0, vmax=100.0, aspect="auto")
        for (row, column), value in np.ndenumerate(share):
            ink = "white" if value > 55.0 else "black"
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=ink)
        ax.set_xticks(range(len(plain)), list(plain), fontsize=7, rotation=40, ha="right")
        ax.set_yticks(range(len(geometries)), list(geometries) if index == 0 else [], fontsize=7)
        ax.set_xlabel(bound, fontsize=8)
    axes[0].set_ylabel("biases", fontsize=8)
    return axes


def draw_maps(saved: Mapping[str, AnyArray], rules: Sequence[str], axes: AnyArray) -> AnyArray:
    """Excess of a bound's minimiser; shaded where the closed form does better."""
    plain = list(rules).index("closed form")
    for ax, name, criterion, words in (
        (axes[0], "triangle", "average", "triangle minimiser,\naverage over directions"),
        (axes[1], "effective noise", "worst", "effective-noise minimiser,\nworst directions"),
    ):
        excess = saved[criterion][list(rules).index(name)]
        behind = excess - saved[criterion][plain]
        grid = saved["beta2"], saved["delta_g2"]
        ax.contourf(*grid, behind, levels=[1e-9, np.inf], colors=["#CCCCCC"])
        ax.contour(
            *grid,
            100.0 * excess,
            levels=[3, 30],
            colors=INKS[1],
            linewidths=0.9,
            linestyles=["--", "-"],
        )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel(f"squared SFT bias / SFT noise (1)\n{words}", fontsize=8)
    axes[0].set_ylabel("disagreement / SFT noise (1)")
    return axes


def draw_independence(saved: Mapping[str, AnyArray], ratios: Sequence[float], ax: Axes) -> Axes:
    """Excess risk of the closed form against the correlation of the noise."""
    for index, ratio in enumerate(ratios):
        ax.plot(
            saved["rho"],
            100.0 * saved["free"][0, index],
            color=INKS[index],
            linestyle=DASHES[index],
            label=f"{ratio:g}",
        )
        ax.errorbar(
            saved["checked"],
            100.0 * saved["measured"][index],
            100.0 * TWO_SIDED * saved["error"][index],
            color=INKS[index],
            marker=MARKERS[index],
            markersize=4,
            linestyle="none",
        )
    ax.set_yscale("symlog", linthresh=1.0)
    ticks = (0, 1, 10, 100)
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("correlation of the branches' noise (1)")
    ax.set_ylabel("excess risk / least risk (%)")
    ax.legend(title="sigma_r2 / sigma_s2", fontsize=7, title_fontsize=7, **BESIDE)
    return ax


def draw_clipping(saved: Mapping[str, AnyArray], ax: Axes) -> Axes:
    """Exact risk against the threshold."""
    ax.plot(saved["thresholds"], saved["blind"], color=INKS[0], label="closed form, bias ignored")
    ax.plot(
        saved["thresholds"], saved["best"], color=INKS[1], linestyle="--", label="best, bias known"
    )
    ax.errorbar(
        saved["checked"],
        saved["measured"],
        TWO_SIDED * saved["error"],
        color=INKS[0],
        marker="o",
        markersize=4,
        linestyle="none",
    )
    ax.axhline(float(saved["unclipped"]), color=INKS[2], linestyle="-.", label="no clipping")
    ax.axhline(float(saved["target"]), color=INKS[4], linestyle=":", label="a gradient of 0")
    ax.set_xscale("log")
    ax.set_ylim(0.0, None)
    ax.set_xlabel("threshold / length of the true gradients (1)")
    ax.set_ylabel("risk (gradient^2)")
    ax.legend(fontsize=7, **BESIDE)
    return ax
