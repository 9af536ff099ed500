"""How far a correct port may be from the golden values, derived from its arithmetic.

:mod:`~gac_ref.conformance.tolerance.primitives` has the error model, the modules named after
stages derive their bounds, and :mod:`~gac_ref.conformance.tolerance.step` puts them together.
See docs/tolerances.md.
"""

from __future__ import annotations

from gac_ref.conformance.tolerance.explain import explain
from gac_ref.conformance.tolerance.precision import Precision
from gac_ref.conformance.tolerance.primitives import Term, Tolerance
from gac_ref.conformance.tolerance.step import (
    carried_errors,
    next_inputs,
    stage_tolerances,
    start_inputs,
    step_tolerances,
    trajectory_tolerances,
)

__all__ = [
    "Precision",
    "Term",
    "Tolerance",
    "carried_errors",
    "explain",
    "next_inputs",
    "stage_tolerances",
    "start_inputs",
    "step_tolerances",
    "trajectory_tolerances",
]
