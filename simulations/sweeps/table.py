"""The summary as text: a block a metric, a row a controller, a column a regime."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from simulations.problem import Problem
from simulations.sweeps.study import Study
from simulations.sweeps.summary import CONFIDENCE, SHARES, Row

__all__ = ["render"]

COLUMNS = 4
"""Regimes side by side; more start a new block, so that lines fit a terminal."""


def render(
    study: Study,
    rows: Sequence[Row],
    *,
    versus: str | None = None,
    problems: Iterable[Problem] = (),
) -> list[str]:
    r"""Lines of text.

    Args:
        study: What was run.
        rows: Its summary.
        versus: The controller that the estimates are differences from, if any.
        problems: The problems of its points, for the footnotes.

    Examples:
        >>> study = Study(name="t", title="T")
        >>> print(*render(study, [Row("gac", "calm", "loss", 1.0, 0.5, 1.5, 200)]), sep="\n")
        t: T
        <BLANKLINE>
        loss (n = 200)
                              calm
        gac           1 [0.5, 1.5]
        <BLANKLINE>
        95% intervals over seeds: Student t for means, Wilson for shares.
    """
    lines = [f"{study.name}: {study.title}" if study.title else study.name]
    for metric in dict.fromkeys(row.metric for row in rows):
        mine = [row for row in rows if row.metric == metric]
        regimes = list(dict.fromkeys(row.regime for row in mine))
        lines += ["", f"{metric} (n = {mine[0].n})"]
        for start in range(0, len(regimes), COLUMNS):
            lines += _block(mine, regimes[start : start + COLUMNS])
    kind = (
        "paired Student t on the differences seed by seed"
        if versus
        else ("Student t for means, Wilson for shares")
    )
    lines += ["", f"{CONFIDENCE:.0%} intervals over seeds: {kind}."]
    without = sorted({problem.name for problem in problems if not problem.tokens})
    if without and sum(table.get("kind") == "gac" for table in study.controllers.values()) > 1:
        lines.append(
            f"No tokens in {', '.join(without)}: all GAC variants read the same gradient-space "
            "statistics, and differ in their guards alone."
        )
    return lines


def _block(rows: Sequence[Row], regimes: Sequence[str]) -> list[str]:
    cells = {(row.controller, row.regime): _cell(row) for row in rows}
    names = list(dict.fromkeys(row.controller for row in rows))
    left = max(len(name) for name in names)
    widths = [
        max(22, len(regime), *(len(cells.get((name, regime), "")) for name in names))
        for regime in regimes
    ]
    heads = "".join(f" {regime:>{width}}" for regime, width in zip(regimes, widths, strict=True))
    lines = [" " * left + heads]
    for name in names:
        texts = (cells.get((name, regime), "") for regime in regimes)
        body = "".join(f" {text:>{width}}" for text, width in zip(texts, widths, strict=True))
        lines.append(f"{name:<{left}}{body}")
    return lines


def _cell(row: Row) -> str:
    if row.metric in SHARES:
        return f"{row.estimate:.3f} [{row.low:.3f}, {row.high:.3f}]"
    return f"{_number(row.estimate)} [{_number(row.low)}, {_number(row.high)}]"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)
