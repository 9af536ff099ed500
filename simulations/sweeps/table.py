"""The summary as text: a block a metric, a row a controller, a column a regime."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from simulations.engine.outcomes import metric_units
from simulations.problem import Problem
from simulations.sweeps.study import Study
from simulations.sweeps.summary import CONFIDENCE, SHARES, Row

__all__ = ["render"]

COLUMNS = 4
"""Regimes side by side; more start a new block, so that lines fit a terminal."""

WIDTH = 100
"""Of the footnotes, characters."""

ROUNDING = 1e-15
"""Relative to the largest number of a metric: what is below is shown as 0."""


def render(
    study: Study,
    rows: Sequence[Row],
    *,
    versus: str | None = None,
    problems: Iterable[Problem] = (),
    chosen: Mapping[str, Mapping[str, str]] | None = None,
) -> list[str]:
    r"""Lines of text.

    Args:
        study: What was run.
        rows: Its summary.
        versus: The controller that the estimates are differences from, if any.
        problems: The problems of its points, for units and footnotes.
        chosen: Grid -> regime -> the weight that was best there, for a footnote.

    Examples:
        >>> study = Study(name="t", title="T", summary={"primary": "loss"})
        >>> print(*render(study, [Row("gac", "calm", "loss", 1.0, 0.5, 1.5, 200)]), sep="\n")
        t: T
        <BLANKLINE>
        loss (n = 200), lower is better
                               calm
        gac   1.000 [0.5000, 1.500]
        <BLANKLINE>
        Means over seeds, with 95% intervals: Student t for means, Wilson for shares.
    """
    problems = list(problems)
    units = {k: unit for each in problems for k, unit in metric_units(each.units).items()}
    lines = [f"{study.name}: {study.title}" if study.title else study.name]
    for metric in dict.fromkeys(row.metric for row in rows):
        mine = [row for row in rows if row.metric == metric]
        regimes = list(dict.fromkeys(row.regime for row in mine))
        lines += ["", _heading(study, metric, mine[0].n, units)]
        for start in range(0, len(regimes), COLUMNS):
            lines += _block(mine, regimes[start : start + COLUMNS])
    return [*lines, "", *_footnotes(study, versus, problems, chosen or {})]


def _heading(study: Study, metric: str, n: int, units: Mapping[str, str]) -> str:
    name, minus, _ = metric.partition(" minus ")
    unit = units.get(name, "1")
    text = f"{metric} (n = {n})" + (f", unit {unit}" if unit != "1" else "")
    if name == study.summary.get("primary") and not minus:
        text += ", higher is better" if study.summary.get("maximise") else ", lower is better"
    return text


def _footnotes(
    study: Study,
    versus: str | None,
    problems: Sequence[Problem],
    chosen: Mapping[str, Mapping[str, str]],
) -> list[str]:
    kind = (
        "paired Student t on the differences seed by seed"
        if versus
        else "Student t for means, Wilson for shares"
    )
    lines = [f"Means over seeds, with {CONFIDENCE:.0%} intervals: {kind}."]
    for grid, weights in chosen.items():
        regimes: dict[str, list[str]] = {}
        for regime, weight in weights.items():
            regimes.setdefault(weight, []).append(regime)
        listed = "; ".join(f"{weight} in {', '.join(names)}" for weight, names in regimes.items())
        lines.append(f"{grid} is the best weight in hindsight: {listed}.")
    without = sorted({problem.name for problem in problems if not problem.tokens})
    if without and sum(table.get("kind") == "gac" for table in study.controllers.values()) > 1:
        lines.append(
            f"No tokens in {', '.join(without)}: all GAC variants read the same gradient-space "
            "statistics, and differ in their guards alone."
        )
    return [part for line in lines for part in textwrap.wrap(line, WIDTH)]


def _block(rows: Sequence[Row], regimes: Sequence[str]) -> list[str]:
    largest = max(abs(row.estimate) for row in rows)
    cells = {(row.controller, row.regime): _cell(row, ROUNDING * largest) for row in rows}
    names = list(dict.fromkeys(row.controller for row in rows))
    left = max(len(name) for name in names)
    widths = [
        max(23, len(regime), *(len(cells.get((name, regime), "")) for name in names))
        for regime in regimes
    ]
    heads = "".join(f" {regime:>{width}}" for regime, width in zip(regimes, widths, strict=True))
    lines = [" " * left + heads]
    for name in names:
        texts = (cells.get((name, regime), "") for regime in regimes)
        body = "".join(f" {text:>{width}}" for text, width in zip(texts, widths, strict=True))
        lines.append(f"{name:<{left}}{body}")
    return lines


def _cell(row: Row, rounding: float) -> str:
    if row.metric in SHARES:
        return f"{row.estimate:.3f} [{row.low:.3f}, {row.high:.3f}]"
    estimate, low, high = (_number(x, rounding) for x in (row.estimate, row.low, row.high))
    return f"{estimate} [{low}, {high}]"


def _number(value: float, rounding: float) -> str:
    if abs(value) <= rounding:
        return "0"
    # The same number of digits everywhere; "#" keeps trailing zeros, and a bare point as well.
    return f"{value:#.4g}".removesuffix(".") if math.isfinite(value) else str(value)
