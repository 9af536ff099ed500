"""The library of mutants: one file a family of stages."""

from __future__ import annotations

from gac_ref.conformance.power.mutants._mutant import Mutant
from gac_ref.conformance.power.mutants.arrival import FAULTS as ARRIVAL
from gac_ref.conformance.power.mutants.coefficients import FAULTS as COEFFICIENTS
from gac_ref.conformance.power.mutants.decision import FAULTS as DECISION
from gac_ref.conformance.power.mutants.disagreement import FAULTS as DISAGREEMENT
from gac_ref.conformance.power.mutants.losses import FAULTS as LOSSES
from gac_ref.conformance.power.mutants.proxies import FAULTS as PROXIES
from gac_ref.conformance.power.mutants.rewards import FAULTS as REWARDS
from gac_ref.conformance.power.mutants.sequences import FAULTS as SEQUENCES
from gac_ref.conformance.power.mutants.smoothing import FAULTS as SMOOTHING
from gac_ref.conformance.power.mutants.state import FAULTS as STATE
from gac_ref.conformance.power.mutants.weights import FAULTS as WEIGHTS
from gac_ref.conformance.power.mutants.wiring import FAULTS as WIRING
from gac_ref.errors import fail

__all__ = ["Mutant", "mutant_named", "mutants"]

_EVERY = (
    *ARRIVAL,
    *COEFFICIENTS,
    *SEQUENCES,
    *DISAGREEMENT,
    *PROXIES,
    *SMOOTHING,
    *DECISION,
    *WEIGHTS,
    *WIRING,
    *STATE,
    *REWARDS,
    *LOSSES,
)


def mutants(stage: str | None = None) -> tuple[Mutant, ...]:
    """The mutants, in data-flow order.

    Args:
        stage: Only those of this origin; None for all.

    Examples:
        >>> mutants("clip")[0].stage
        'clip'
    """
    return tuple(mutant for mutant in _EVERY if stage in (None, mutant.stage))


def mutant_named(name: str) -> Mutant:
    """The mutant of that name.

    Raises:
        GACError: There is none.

    Examples:
        >>> mutant_named("sample instead of population variance of the advantages").stage
        'proxies'
    """
    for mutant in mutants():
        if mutant.name == name:
            return mutant
    fail(f"no mutant is named {name!r}; `gac-ref power --format json` lists them")
