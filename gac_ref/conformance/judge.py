"""The golden answer to inputs that are in no pack, and how far a port's answer is from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref.config import GACConfig
from gac_ref.conformance.compare import (
    Difference,
    compare,
    compared_rows,
    decides_nothing,
    target,
)
from gac_ref.conformance.formats import widen
from gac_ref.conformance.reference import Reference, evaluate
from gac_ref.conformance.schema import INPUTS, OUTPUTS
from gac_ref.conformance.tolerance import (
    Precision,
    Tolerance,
    stage_tolerances,
    trajectory_tolerances,
)

__all__ = ["Judge", "undecided", "widened"]

Inputs = Mapping[str, Any]
Goldens = list[dict[str, Any]]
Limits = list[dict[str, Tolerance]]

_WIDEST = Precision("fp64", "fp64")


class Judge:
    """Holds answers against the estimator's, within the port's bounds and the estimator's own.

    Args:
        dtype: Dtype of the token arrays.
        precision: The port's.
    """

    def __init__(self, dtype: str, precision: Precision) -> None:
        self.dtype = dtype
        self.precision = precision

    def golden(
        self, stage: str, config: GACConfig, exchanges: Sequence[Inputs]
    ) -> tuple[Goldens, Limits]:
        """The golden outputs and the bounds of one exchange, or of consecutive steps.

        Raises:
            GACError: The estimator does not take these inputs.
        """
        wide = [widened(stage, sent, self.dtype) for sent in exchanges]
        with np.errstate(all="ignore"):
            if stage == "trajectory":
                reference = Reference()
                reference.configure(config.to_dict(), dtype=self.dtype, device="cpu")
                golden = [reference.run(stage, sent) for sent in exchanges]
                pairs = list(zip(wide, golden, strict=True))
                own, ours = (
                    trajectory_tolerances(config, pairs, precision=precision)
                    for precision in (self.precision, _WIDEST)
                )
            else:
                golden = [evaluate(stage, config, values) for values in wide]
                own, ours = (
                    [
                        stage_tolerances(stage, config, values, want, precision=precision)
                        for values, want in zip(wide, golden, strict=True)
                    ]
                    for precision in (self.precision, _WIDEST)
                )
        return golden, [_sum(a, b) for a, b in zip(own, ours, strict=True)]

    def worst(
        self,
        stage: str,
        config: GACConfig,
        sent: Inputs,
        golden: Mapping[str, Any],
        limits: Mapping[str, Tolerance],
        got: Mapping[str, Any],
    ) -> Difference:
        """The worst entry of one answer."""
        values = {**widened(stage, sent, self.dtype), **golden}
        alone = {**values, "not_ready": False} if stage == "closed_form" else values
        worst = Difference(0.0, "mu", (), math.nan, math.nan, 0.0, "value")
        for name, want in golden.items():
            if name not in got or decides_nothing(name, config, alone):
                continue
            field = OUTPUTS[stage][name]
            goal = target(
                field,
                want,
                limits[name].limit,
                alternatives=limits[name].alternatives,
                where=compared_rows(field, config, values),
            )
            difference = compare(goal, got[name])
            if difference.ratio > worst.ratio:
                worst = difference
        return worst


def widened(stage: str, sent: Inputs, dtype: str) -> dict[str, Any]:
    """The inputs of a stage with token arrays as float64."""
    fields = INPUTS[stage]
    return {
        name: widen(value, dtype) if fields[name].kind == "token" else value
        for name, value in sent.items()
    }


def _sum(port: Mapping[str, Tolerance], ours: Mapping[str, Tolerance]) -> dict[str, Tolerance]:
    return {
        name: one._replace(limit=np.asarray(one.limit + ours[name].limit))
        for name, one in port.items()
    }


def undecided(tolerance: Tolerance) -> bool:
    """Whether a decision lies within the error of its kink."""
    return bool(tolerance.alternatives) or bool(np.max(tolerance.limit, initial=0.0) >= 1.0)
