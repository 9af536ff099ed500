"""An error bound found by trial: spoil each rounding of a program in turn, and add up the effects.

It knows nothing of the derivations that it is held against: a program is the plain formula, with a
mark at each operation that rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import FloatArray
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.tolerance import Precision, Tolerance, stage_tolerances

NUDGE = 1e-6
"""Relative size of a trial error: its square is below the leeway of any test."""


GOLDEN = 2.0**-53
"""The golden value is rounded once, to float64."""

EXP_UNITS = 6.0
"""exp and cos: 3 units of the last place, which are up to two unit roundoffs each."""

SLACK = 1.0 - 1e-4
"""A trial error of 1e-6 leaves this much at second order."""


class Rounds:
    """The marks of a program: `rounds(x)` is x, or x with a relative error if it is its turn."""

    def __init__(self, turn: int, constants: bool) -> None:
        self.turn, self.constants, self.count = turn, constants, 0

    def __call__(self, value: Any, units: float = 1.0) -> Any:
        """The result of an operation that errs by that many unit roundoffs."""
        self.count += 1
        return value * (1.0 + NUDGE * units) if self.count - 1 == self.turn else value

    def constant(self, value: float) -> Any:
        """A constant or a real input: exact in float64, rounded once elsewhere."""
        return self(value) if self.constants else value

    def total(self, terms: list[Any]) -> Any:
        """A sum from left to right."""
        result = terms[0]
        for term in terms[1:]:
            result = self(result + term)
        return result


Program = Callable[[Rounds], Any]


def first_order(program: Program, dtype: str) -> FloatArray:
    """The sum over all roundings of the size of their effect, for each number of the result."""
    inputs = dtype != "fp64"
    plain = Rounds(-1, inputs)
    exact = np.asarray(program(plain), dtype=np.float64)
    total = np.zeros_like(exact)
    for turn in range(plain.count):
        total = total + np.abs(np.asarray(program(Rounds(turn, inputs))) - exact)
    return total / NUDGE * FORMATS[dtype].unit_roundoff


def tolerances(
    stage: str, config: GACConfig, inputs: Mapping[str, Any], dtype: str
) -> dict[str, Tolerance]:
    golden = evaluate(stage, config, inputs)
    return stage_tolerances(stage, config, inputs, golden, precision=Precision(dtype, dtype))


def hold(
    stage: str,
    config: GACConfig,
    inputs: Mapping[str, Any],
    output: str,
    dtype: str,
    programs: Mapping[str, Program],
    loose: float,
) -> None:
    """A bound is at least that of each program, and at most `loose` times the largest."""
    golden = np.asarray(evaluate(stage, config, inputs)[output], dtype=np.float64)
    limit = tolerances(stage, config, inputs, dtype)[output].limit
    needed = []
    for name, program in programs.items():
        np.testing.assert_allclose(program(Rounds(-1, False)), golden, rtol=1e-9, err_msg=name)
        found = first_order(program, dtype)
        needed.append(found + GOLDEN * np.abs(golden))
        # A copy in float64 is its golden value to the bit.
        assert np.all(limit >= SLACK * np.where(found > 0.0, needed[-1], 0.0)), (name, limit, found)
    largest = np.max(needed, axis=0)
    assert np.all(limit <= loose * largest), limit / largest
