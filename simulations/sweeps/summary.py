r"""The table of a study: one row a controller, regime and metric, with a confidence interval.

Intervals are at 95%, over seeds. Means have Student-t intervals; shares (`reached_target`,
`diverged`) have Wilson score intervals, which are right at 0 and 1 too. Relative to another
controller, the estimate is the mean of the differences seed by seed, with the paired t interval:
both saw the same random numbers, so most of the noise cancels.

The best fixed weight in hindsight is that weight of the grid that has the best mean of the
primary metric in a regime, over the very seeds that are reported. It is chosen after the fact:
a reference that no rule of its kind can beat on average, and slightly optimistic.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from gac_ref.errors import fail
from simulations.engine.controllers import GRID_MARK
from simulations.engine.curves import merge_curves
from simulations.registry import suggest
from simulations.sweeps.files import Damaged
from simulations.sweeps.store import Store
from simulations.sweeps.study import Point, Study

__all__ = [
    "CONFIDENCE",
    "SHARES",
    "Row",
    "Values",
    "chosen_weights",
    "hindsight",
    "mean_interval",
    "primary_metric",
    "read_point",
    "share_interval",
    "summarise",
]

CONFIDENCE = 0.95

SHARES = ("reached_target", "diverged")


class Row(NamedTuple):
    """One line of the summary.

    Args:
        controller: Name of the controller.
        regime: Label of the point.
        metric: Name of the metric; "A minus B" for a paired comparison.
        estimate: Mean over seeds, or share.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Number of seeds.
    """

    controller: str
    regime: str
    metric: str
    estimate: float
    low: float
    high: float
    n: int


class Values(NamedTuple):
    """All seeds of one point.

    Args:
        metrics: Name -> [C, n].
        controllers: Names along the first axis.
        curves: What `merge_curves` makes of all cells, with `trace` of the first.
        axes: `curve_names`, `curve_steps`, `trace_steps`.
        units: Unit of each metric and curve.
        made_with: Code and versions of each cell, as JSON texts.
    """

    metrics: dict[str, FloatArray]
    controllers: list[str]
    curves: dict[str, AnyArray]
    axes: dict[str, AnyArray]
    units: dict[str, str]
    made_with: list[str]


def read_point(point: Point, store: Store) -> Values:
    """The cells of a point, joined along the seeds.

    Raises:
        GACError: A cell is missing or damaged.
    """
    parts = []
    for cell in point.cells:
        if not store.has(cell):
            fail(f"{store.root}: {point.label!r} is not finished; run: {_resume(store)}")
        try:
            parts.append(store.read(cell))
        except Damaged as error:
            fail(
                f"{store.path(cell)}: damaged ({error}); to set it aside and compute it again, "
                f"run: {_resume(store)}"
            )
    first = parts[0]
    metrics = {
        name.removeprefix("metric/"): np.concatenate([part[name] for part in parts], axis=1)
        for name in first
        if name.startswith("metric/")
    }
    return Values(
        metrics=metrics,
        controllers=first["controllers"].tolist(),
        curves={**merge_curves(parts), "trace": first["trace"]},
        axes={name: first[name] for name in ("curve_names", "curve_steps", "trace_steps")},
        units=json.loads(str(first["units"])),
        made_with=[str(part["computed_with"]) for part in parts],
    )


def _resume(store: Store) -> str:
    return f"python -m simulations resume STUDY --out {store.root}"


def mean_interval(values: FloatArray) -> tuple[float, float, float]:
    """Mean and Student-t interval of independent values [n]; infinite for n = 1.

    Examples:
        >>> [round(x, 4) for x in mean_interval(np.array([1.0, 2.0, 3.0]))]
        [2.0, -0.4841, 4.4841]
    """
    n, mean = values.size, float(values.mean())
    if n < 2:
        return mean, -math.inf, math.inf
    from scipy.special import stdtrit

    error = float(values.std(ddof=1)) / math.sqrt(n)
    half = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2.0)) * error
    return mean, mean - half, mean + half


def share_interval(values: FloatArray) -> tuple[float, float, float]:
    """Share of ones among zeros and ones [n], and its Wilson score interval.

    Examples:
        >>> [round(x, 4) for x in share_interval(np.zeros(100))]
        [0.0, 0.0, 0.037]

    References:
        Wilson, Journal of the American Statistical Association 22, 1927; Brown, Cai and DasGupta,
        Statistical Science 16(2), 2001, equation 4.
    """
    from scipy.special import ndtri

    n, share = values.size, float(values.mean())
    z = float(ndtri(0.5 + CONFIDENCE / 2.0))
    centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n)
    spread = share * (1.0 - share) / n + z * z / (4.0 * n * n)
    half = z / (1.0 + z * z / n) * math.sqrt(spread)
    return share, max(0.0, centre - half), min(1.0, centre + half)


def hindsight(values: Values, grid: str, primary: str, *, maximise: bool) -> int:
    """Index of the grid's member with the best mean of the primary metric."""
    members = [i for i, name in enumerate(values.controllers) if name.startswith(grid + GRID_MARK)]
    means = np.array([values.metrics[primary][i].mean() for i in members])
    return members[int(np.argmax(means) if maximise else np.argmin(means))]


def chosen_weights(
    study: Study, points: Sequence[Point], store: Store
) -> dict[str, dict[str, str]]:
    """Grid -> label of the point -> its best weight in hindsight, as text; {} without a grid."""
    chosen: dict[str, dict[str, str]] = {}
    if not any(table.get("kind") == "fixed_grid" for table in study.controllers.values()):
        return chosen
    maximise = bool(study.summary.get("maximise", False))
    for point in points:
        values = read_point(point, store)
        marked = [name.partition(GRID_MARK)[0] for name in values.controllers if GRID_MARK in name]
        for grid in dict.fromkeys(marked):
            primary = primary_metric(study, values.metrics)
            name = values.controllers[hindsight(values, grid, primary, maximise=maximise)]
            chosen.setdefault(grid, {})[point.label] = name.partition(GRID_MARK)[2]
    return chosen


def summarise(
    study: Study,
    points: Sequence[Point],
    store: Store,
    *,
    metrics: Sequence[str] | None = None,
    versus: str | None = None,
    members: bool = False,
) -> list[Row]:
    """The rows of a finished study, by regime, metric and controller.

    Args:
        study: Names the metrics and the primary one.
        points: Its points.
        store: Where its cells are.
        metrics: Metrics to list; None for the study's, or for all where it names none.
        versus: Report paired differences from this controller instead.
        members: List the grid's members as well as the best of them.

    Raises:
        GACError: Something is not finished, or a metric or controller is unknown.
    """
    rows: list[Row] = []
    for point in points:
        values = read_point(point, store)
        places = _places(study, values, members)
        if versus is not None and versus not in places:
            fail(f"unknown controller {versus!r}; {suggest(versus, list(places))}")
        for metric in metrics or study.summary.get("metrics") or values.metrics:
            if metric not in values.metrics:
                fail(f"unknown metric {metric!r}; {suggest(metric, list(values.metrics))}")
            table = values.metrics[metric]
            for name, place in places.items():
                if versus is not None:
                    interval = mean_interval(table[place] - table[places[versus]])
                    label = f"{metric} minus {versus}"
                else:
                    share = metric in SHARES
                    interval = (share_interval if share else mean_interval)(table[place])
                    label = metric
                rows.append(Row(name, point.label, label, *interval, table.shape[1]))
    return rows


def _places(study: Study, values: Values, members: bool) -> dict[str, int]:
    """Reported name -> index; a grid appears as its best member."""
    places: dict[str, int] = {}
    for index, name in enumerate(values.controllers):
        grid, mark, _ = name.partition(GRID_MARK)
        if not mark:
            places[name] = index
            continue
        if members:
            places[name] = index
        if grid not in places:
            primary = primary_metric(study, values.metrics)
            maximise = bool(study.summary.get("maximise", False))
            places[grid] = hindsight(values, grid, primary, maximise=maximise)
    return places


def primary_metric(study: Study, metrics: Mapping[str, Any]) -> str:
    """The metric by which the best fixed weight is chosen: the study's, or the first."""
    primary = str(study.summary.get("primary", next(iter(metrics))))
    if primary not in metrics:
        fail(f"summary.primary = {primary!r} is not a metric; {suggest(primary, list(metrics))}")
    return primary
