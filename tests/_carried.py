"""How far an output moves with the errors of its inputs, and the bound that allows for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import FloatArray
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.tolerance import Precision, Tolerance, stage_tolerances

DOUBLE = Precision("fp64", "fp64")

SMALL = 1e-6
"""Relative size of an error on the way in: far above rounding, its square far below it."""

SLACK = 1.0 - 1e-5
"""What second order leaves of it."""

ROUNDING = 1e-13
"""Roundings in float64 beside such an error."""

LINEAR = 1.001
"""A linear stage passes errors on as they are."""

GUARDED = 1.102
"""Elsewhere a tenth is added for products of errors."""


def shifted(inputs: Mapping[str, Any], errors: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """For each uncertain number the inputs with it at either end of its interval."""
    for name, error in errors.items():
        value = np.asarray(inputs[name], dtype=np.float64)
        spread = np.broadcast_to(np.asarray(error, dtype=np.float64), value.shape)
        for place in np.ndindex(value.shape):
            if spread[place] == 0.0:
                continue
            both = []
            for sign in (-1.0, 1.0):
                moved = value.copy()
                moved[place] += sign * spread[place]
                both.append({**inputs, name: moved if moved.ndim else float(moved)})
            yield both


def reach(
    stage: str,
    config: GACConfig,
    inputs: Mapping[str, Any],
    errors: Mapping[str, Any],
    names: Iterable[str],
) -> dict[str, FloatArray]:
    """How far each output moves, every uncertain number being moved in turn, added up."""
    golden = evaluate(stage, config, inputs)
    total = {name: np.zeros(np.shape(golden[name])) for name in names}
    for pair in shifted(inputs, errors):
        ends = [evaluate(stage, config, one) for one in pair]
        for name in total:
            moved = [np.abs(np.asarray(end[name]) - np.asarray(golden[name])) for end in ends]
            total[name] = total[name] + np.maximum(*moved)
    return total


def bounds(
    stage: str, config: GACConfig, inputs: Mapping[str, Any], errors: Mapping[str, Any]
) -> dict[str, Tolerance]:
    golden = evaluate(stage, config, inputs)
    return stage_tolerances(stage, config, inputs, golden, precision=DOUBLE, errors=errors)


def passes(
    stage: str,
    config: GACConfig,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, float],
    uncertain: tuple[str, ...],
) -> None:
    """Each input by itself, with an error of its own size, and all of them; how loose by output."""
    single = {name: SMALL * k * np.abs(inputs[name]) for k, name in enumerate(uncertain, 1)}
    moves = {k: reach(stage, config, inputs, {k: one}, outputs) for k, one in single.items()}
    for chosen in ((), *((name,) for name in uncertain), uncertain):
        found = bounds(stage, config, inputs, {name: single[name] for name in chosen})
        for name, loose in outputs.items():
            moved, limit = sum(moves[k][name] for k in chosen), found[name].limit
            assert np.all(limit >= SLACK * moved), (name, chosen, limit, moved)
            assert np.all(limit <= loose * moved + ROUNDING), (name, chosen, limit, moved)
