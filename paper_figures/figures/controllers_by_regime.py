"""Tuned controllers in every regime: mean reward with intervals, and who is as good as the best."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import BoolArray, FloatArray, IntArray
from paper_figures.spec import PaperFigure, Read
from paper_figures.style import line, log_ticks, wide
from paper_figures.tables import bold, escape, interval, tabular
from simulations.analysis.claims.assemble import evaluated
from simulations.analysis.palette import METHODS, look
from simulations.analysis.statistics import (
    benjamini_hochberg,
    mean_estimate,
    permutation_test,
)

__all__ = ["FIGURE", "Comparison", "compared", "draw_regimes", "table_of"]

LEVEL = 0.05
"""False discovery rate at which a controller counts as worse than the best."""

DECIMALS = 2
"""Of the table; with one, most half intervals would read 0.0."""

BEST_POSSIBLE = 100.0
"""The reward that the best policy earns, in the points that outcomes are measured in."""

REGIMES = {
    "good_expert": "good expert",
    "weak_expert": "weak expert",
    "sparse_reward": "sparse reward",
    "noisy_sparse": "noisy, sparse",
    "bandit": "bandit",
}


class Comparison(NamedTuple):
    """Controllers in regimes.

    Args:
        methods: In the palette's order, [M].
        regimes: Names, [R].
        mean: Mean outcome and both ends of its 95 % interval, [R, M, 3].
        best: Place of the best mean in each regime, [R].
        worse: Whether the declared test finds a method worse than the best, [R, M].
    """

    methods: list[str]
    regimes: list[str]
    mean: FloatArray
    best: IntArray
    worse: BoolArray


def compared(values: dict[str, FloatArray], regimes: list[str]) -> Comparison:
    """Means, and paired permutation tests against the best, adjusted over the whole table.

    Args:
        values: Method -> outcome, larger is better, [R, seeds].
        regimes: Names, [R].

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> same = rng.standard_normal((1, 20))
        >>> found = compared({"fixed": same, "hpt": same - 1.0}, ["one"])
        >>> found.best.tolist(), found.worse.tolist()
        ([0], [[False, True]])
    """
    methods = sorted(values, key=lambda name: look(name).order)
    table = np.stack([values[name] for name in methods], axis=1)
    mean = np.array([[mean_estimate(seeds)[:3] for seeds in row] for row in table])
    best = mean[..., 0].argmax(axis=1)
    p = np.ones(mean.shape[:2])
    tested = np.ones(mean.shape[:2], dtype=np.bool_)
    for r, row in enumerate(table):
        tested[r, best[r]] = False
        for m in np.flatnonzero(tested[r]):
            if float(np.abs(row[best[r]] - row[m]).max()) > 0.0:
                rng = np.random.default_rng(0)
                p[r, m] = permutation_test(row[best[r]], row[m], rng=rng).p
    worse = np.zeros(p.shape, dtype=np.bool_)
    worse[tested] = benjamini_hochberg(p[tested]) < LEVEL
    return Comparison(methods, regimes, mean, best, worse)


def draw_regimes(found: Comparison, axes: Any, *, left: int) -> None:
    """A panel a regime, a row a controller; those not found worse than the best on grey.

    The axis is what the reward lacks to the best possible, logarithmic: controllers within a point
    of each other are told apart as well as those that lose half of it.

    Args:
        found: What to draw.
        axes: At least as many as regimes, flat.
        left: Panels in a row; the first of each names the controllers.
    """
    rows = np.arange(len(found.methods))[::-1]
    lacks = BEST_POSSIBLE - found.mean
    for r, (ax, regime) in enumerate(zip(axes, found.regimes, strict=False)):
        for m, (name, row) in enumerate(zip(found.methods, rows, strict=True)):
            value, high, low = lacks[r, m]
            if not found.worse[r, m]:
                ax.axhspan(row - 0.5, row + 0.5, color="#D5D5D5", linewidth=0.0, zorder=0)
            drawn = line(name)
            ax.plot([value], [row], **{"markersize": 5.0, **drawn, "linestyle": "none"})
            # The caps stand out above and below the mark, however narrow the interval.
            ax.errorbar([value], [row], xerr=[[value - low], [high - value]], color="black",
                        elinewidth=0.8, capsize=4.0, capthick=0.8, zorder=1.5)  # fmt: skip
        ax.axvline(lacks[r, found.best[r], 0], color="black", linewidth=0.6, linestyle=":")
        ax.set_xscale("log")
        ax.set_xlim(0.8 * lacks[..., 0].min(), 1.25 * lacks[..., 0].max())
        log_ticks(ax.xaxis, [1, 2, 5, 10, 20, 50])
        ax.set_yticks(rows, [look(name).label for name in found.methods] if r % left == 0 else [])
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.6, len(rows) - 0.4)
        ax.set_title(REGIMES.get(regime, regime.replace("_", " ")), pad=3.0)
        ax.grid(axis="y", color="#DDDDDD", linewidth=0.4)
        ax.set_axisbelow(True)
    for ax in list(axes)[len(found.regimes) :]:
        ax.set_axis_off()
        ax.legend(handles=_key(), loc="center", handlelength=1.4)
    axes[0].figure.supxlabel(
        "points short of the best possible reward (less is better)", fontsize="medium"
    )


def _key() -> list[Any]:
    """What the dotted line and the grey rows are, where a panel is left empty."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Line2D([], [], color="black", linewidth=0.6, linestyle=":", label="best mean"),
        Patch(facecolor="#D5D5D5", label="not found worse"),
    ]


def table_of(found: Comparison) -> str:
    """Means and half intervals: bold for the best, a star where the test finds a method worse."""
    body = []
    for m, name in enumerate(found.methods):
        cells = [escape(look(name).label)]
        for r in range(len(found.regimes)):
            value, low, high = found.mean[r, m].tolist()
            text = interval(value, low, high, DECIMALS)
            if m == found.best[r]:
                text = bold(text)
            elif found.worse[r, m]:
                text = text[:-1] + "^{*}$"
            cells.append(text)
        body.append(cells)
    head = ["", *(escape(REGIMES.get(name, name)) for name in found.regimes)]
    return tabular("l" + "r" * len(found.regimes), head, [body])


def _compared(saved: Read) -> Comparison:
    study = evaluated(saved["claims.study"].arrays)
    return compared(
        {name: values for name, values in study.reward.items() if name in METHODS}, study.regimes
    )


def _draw(saved: Read, figure: Any) -> None:
    found = _compared(saved)
    across = wide(figure)
    columns = len(found.regimes) if across else 2
    rows = -(-len(found.regimes) // columns)
    axes = figure.subplots(rows, columns, squeeze=False)
    draw_regimes(found, axes.ravel(), left=columns)


FIGURE = PaperFigure(
    name="controllers_by_regime",
    caption=(
        r"What the final reward of tuned controllers lacks to the best possible, in points (less "
        r"is better): mean and 95\,\% Student interval (caps) over 64 seeds under common random "
        r"numbers; settings were chosen on 32 other seeds. Dotted line: the best mean of the "
        r"regime. Grey rows are not found worse than it (paired permutation test, "
        r"Benjamini--Hochberg over all 40 comparisons, false discovery rate 0.05)."
    ),
    table_caption=(
        r"Final reward of tuned controllers (percent of the best possible), mean and half of the "
        r"95\,\% Student interval over 64 seeds under common random numbers; settings were chosen "
        r"on 32 other seeds. Bold: the best mean of the regime. A star marks what is found worse "
        r"than it (paired permutation test, Benjamini--Hochberg over all 40 comparisons, false "
        r"discovery rate 0.05)."
    ),
    parts=("claims.study",),
    columns=2,
    heights=(5.2, 2.1),
    draw=_draw,
    table=lambda saved: table_of(_compared(saved)),
)
