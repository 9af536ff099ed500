"""Where a study looks: every combination of values, a Latin hypercube, or Sobol points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref.errors import fail

__all__ = ["KINDS", "design_points"]

KINDS = ("grid", "latin_hypercube", "sobol")

MOST_POINTS = 8192
"""Of one design: each has at least one file for each regime."""


def design_points(design: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of a design: parameter path -> value.

    Args:
        design: Empty (one point without parameters), or `kind`, `parameters` and, unless it is a
            grid, `points` and `seed`. A grid's parameters are lists; the others' are tables of
            `low`, `high` and optionally `scale` ("linear" or "log") and `integer`.

    Returns:
        One table a point, in a fixed order.

    Raises:
        GACError: The design is malformed.

    Examples:
        >>> design_points({"kind": "grid", "parameters": {"run.alpha": [0.2, 0.5]}})
        [{'run.alpha': 0.2}, {'run.alpha': 0.5}]
        >>> len(design_points({"kind": "sobol", "points": 4, "seed": 1,
        ...                    "parameters": {"run.alpha": {"low": 0.0, "high": 1.0}}}))
        4
    """
    if not design:
        return [{}]
    unknown = design.keys() - {"kind", "parameters", "points", "seed"}
    if unknown:
        fail(f"design.{min(unknown)} is unknown; a design has kind, parameters, points and seed")
    kind, parameters = design.get("kind", "grid"), design.get("parameters")
    if kind not in KINDS:
        fail(f"design.kind = {kind!r} is not one of {', '.join(KINDS)}; pass one of these")
    if not isinstance(parameters, Mapping) or not parameters:
        fail("design.parameters is empty; name the parameters to vary, or leave design out")
    if kind == "grid":
        return _grid(parameters)
    count, seed = design.get("points"), design.get("seed", 0)
    if type(count) is not int or not 1 <= count <= MOST_POINTS:
        fail(f"design.points = {count!r} is not a whole number in [1, {MOST_POINTS}]; pass one")
    if type(seed) is not int or seed < 0:
        fail(f"design.seed = {seed!r} is not a whole number >= 0; pass one")
    if kind == "sobol" and count & (count - 1):
        fail(f"design.points = {count} is not a power of two, which Sobol points need; pass one")
    ranges = {name: _range(name, table) for name, table in parameters.items()}
    from scipy.stats import qmc  # a second to import

    rng = np.random.default_rng(seed)
    if kind == "sobol":
        unit = qmc.Sobol(len(ranges), rng=rng).random(count)
    else:
        unit = qmc.LatinHypercube(len(ranges), rng=rng).random(count)
    return [
        {name: _scaled(u, *ranges[name]) for name, u in zip(ranges, row, strict=True)}
        for row in unit.tolist()
    ]


def _grid(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    for name, values in parameters.items():
        if not isinstance(values, list) or not values:
            fail(f"design.parameters {name!r} = {values!r} is not a list of values; pass one")
    count = math.prod(len(values) for values in parameters.values())
    if count > MOST_POINTS:
        fail(
            f"design.parameters have {count} combinations; a study takes {MOST_POINTS}, so cut some"
        )
    return [
        dict(zip(parameters, values, strict=True))
        for values in itertools.product(*parameters.values())
    ]


def _range(name: str, table: Any) -> tuple[float, float, str, bool]:
    if not isinstance(table, Mapping) or not {"low", "high"} <= table.keys():
        fail(f"design.parameters {name!r} has no low and high; pass both")
    low, high = table["low"], table["high"]
    scale, whole = table.get("scale", "linear"), table.get("integer", False)
    extra = table.keys() - {"low", "high", "scale", "integer"}
    if extra:
        fail(
            f"design.parameters {name!r}: {min(extra)!r} is unknown; pass low, high, scale and "
            "integer"
        )
    numbers = all(type(x) in (int, float) and math.isfinite(x) for x in (low, high))
    if not numbers or low >= high:
        fail(f"design.parameters {name!r}: low = {low!r}, high = {high!r}; pass low < high")
    if scale not in ("linear", "log") or (scale == "log" and low <= 0):
        fail(f"design.parameters {name!r}: scale = {scale!r}; pass 'linear', or 'log' with low > 0")
    return float(low), float(high), scale, bool(whole)


def _scaled(u: float, low: float, high: float, scale: str, whole: bool) -> float | int:
    if scale == "log":
        value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
    else:
        value = low + u * (high - low)
    return round(value) if whole else min(max(value, low), high)
