r"""The smallest relative fault that the pack sees, in units of what correct ports differ by.

For every real output of a stage its right values are multiplied by :math:`1 + f`, and f is
bisected: the smallest at which any call of the pack is out of its bound. The noise floor is the
largest relative error that a correct port shows at that output, and at least the unit roundoff of
the format that the stage is computed in. Their quotient would be 1 if bounds could be read off the
controls; derived bounds cover what no control happens to show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gac_ref.conformance.adapters import decoded
from gac_ref.conformance.compare import Target, compare
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.golden import Call, stage_calls
from gac_ref.conformance.pack import Pack
from gac_ref.conformance.power.arithmetic import MIXED, Arithmetic
from gac_ref.conformance.power.controls import CONTROLS, Control
from gac_ref.conformance.stages import PIPELINE, STAGES
from gac_ref.conformance.tolerance import Precision

__all__ = ["Resolution", "resolutions"]

_STAGES = (*PIPELINE[1:], "advantages", "loss")
_TOKENS = ("coefficients", "sequences", "advantages", "loss")
_HALVINGS = 20


class Resolution(NamedTuple):
    """What the pack resolves at one output.

    Args:
        stage: The stage.
        dtype: The dtype.
        output: The output that is resolved worst.
        fault: The smallest relative fault that is seen at it.
        noise: The largest relative error of a correct port at it, at least u.
        typical: The same quotient of a single call, in the median of the calls: the smallest fault
            seen in it, over the largest error that a correct port has in it.
    """

    stage: str
    dtype: str
    output: str
    fault: float
    noise: float
    typical: float

    @property
    def multiple(self) -> float:
        """The fault in units of the noise."""
        return self.fault / self.noise


def resolutions(pack: Pack, dtype: str, *, every: int = 1) -> list[Resolution]:
    """The worst-resolved output of each stage in one dtype, on the cases of single stages.

    Args:
        pack: The pack.
        dtype: The dtype.
        every: Take the noise from each k-th control only.

    Examples:
        >>> from gac_ref.conformance.pack import load_pack
        >>> few = load_pack()._replace(cases=load_pack().select(stages=["clip", "change_cap"]))
        >>> [r.output for r in resolutions(few, "fp64")]
        ['mu_capped', 'mu']
    """
    found = []
    calls = _calls(pack, dtype)
    noise = _noise(calls, dtype, every)
    for stage in _STAGES:
        unit = FORMATS[_format(stage, dtype)].unit_roundoff
        outputs = []
        for field in STAGES[stage].outputs:
            seen = [
                (fault, max(noise.get((stage, place, field.name), 0.0), unit))
                for place, call in enumerate(calls[stage])
                for goal in call.targets
                if goal.field is field and math.isfinite(fault := _smallest(goal))
            ]
            if field.kind == "real" and seen:
                fault, floor = min(f for f, _ in seen), max(n for _, n in seen)
                typical = float(np.median([f / n for f, n in seen]))
                outputs.append(Resolution(stage, dtype, field.name, fault, floor, typical))
        if outputs:
            found.append(max(outputs, key=lambda r: r.multiple))
    return found


def _precision(arithmetic: Arithmetic, dtype: str) -> Precision:
    return Precision(arithmetic.tokens[dtype], arithmetic.scalars[dtype], arithmetic.accumulation)


def _calls(pack: Pack, dtype: str) -> dict[str, list[Call]]:
    """Every call of a stage by itself."""
    precision = _precision(MIXED, dtype)
    found: dict[str, list[Call]] = {stage: [] for stage in _STAGES}
    for case in pack.select(dtype=dtype):
        if case.kind == "stage" and case.stage in found:
            found[case.stage] += stage_calls(case, dtype, precision)
    return found


def _smallest(goal: Target) -> float:
    """The smallest f for which a target is missed by its value times 1 + f; infinite if none is."""
    low, high = 2.0**-54, 1.0
    if goal.field.kind != "real" or not _missed(goal, high):
        return math.inf
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _missed(goal, middle) else (middle, high)
    return high


def _missed(goal: Target, fault: float) -> bool:
    with np.errstate(all="ignore"):
        value = np.asarray(goal.expected) * (1.0 + fault)
    if goal.shape == ():
        return compare(goal, float(value)).ratio > 1.0
    whole = goal._replace(where=None, shape=value.shape)
    return compare(whole, value).ratio > 1.0


def _noise(
    calls: dict[str, list[Call]], dtype: str, every: int
) -> dict[tuple[str, int, str], float]:
    """The largest relative error of the controls of the same precision, by call and output."""
    noise: dict[tuple[str, int, str], float] = {}
    for control in CONTROLS[::every]:
        if _precision(control.arithmetic, dtype) == _precision(MIXED, dtype):
            for key, error in _errors(control, calls, dtype):
                noise[key] = max(noise.get(key, 0.0), error)
    return noise


def _format(stage: str, dtype: str) -> str:
    return (MIXED.tokens if stage in _TOKENS else MIXED.scalars)[dtype]


def _errors(
    control: Control, calls: dict[str, list[Call]], dtype: str
) -> Iterator[tuple[tuple[str, int, str], float]]:
    port = control.port()
    for stage, asked in calls.items():
        current: Any = None
        for place, call in enumerate(asked):
            if call.config is not current:
                current = call.config
                port.configure(current.to_dict(), dtype=dtype, device="cpu")
            outputs = decoded(stage, port.run(stage, call.sent), call.sent)
            for goal in call.targets:
                if goal.field.kind == "real":
                    yield (stage, place, goal.field.name), _relative(goal, outputs[goal.field.name])


def _relative(goal: Target, got: Any) -> float:
    """The largest relative error; not where another decision was as right, nor of zeros."""
    if compare(goal, got).ratio > 1.0 or goal.alternatives:
        return 0.0
    value = np.asarray(got, dtype=np.float64)
    value = value if goal.shape == () or goal.where is None else value[goal.where]
    expected = np.asarray(goal.expected)
    with np.errstate(all="ignore"):
        error = np.abs(value.reshape(expected.shape) - expected) / np.abs(expected)
    error = error[np.isfinite(error)]
    return float(error.max()) if error.size else 0.0
