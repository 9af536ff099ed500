"""Named synthetic problems: the noise regimes of a study, each one change from the calm one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gac_ref.errors import fail
from simulations.noise.clipping import Clipping
from simulations.noise.gaussian import Anisotropic, Isotropic, LowRank
from simulations.noise.joint import Correlated, Independent, PairSum
from simulations.noise.multiplicative import Multiplicative
from simulations.noise.plane import PlaneVector
from simulations.noise.regimes import Burst, Constant, Ramp, Seasonal, Step
from simulations.noise.synthetic import SyntheticGradients
from simulations.noise.tails import Contaminated, Laplace, StudentT
from simulations.noise.walk import RandomWalk

__all__ = ["SCENARIOS", "scenario"]

_ISO = Isotropic()
_OPPOSITE = math.pi


def _table(**changes: dict[str, Any]) -> Mapping[str, SyntheticGradients]:
    return MappingProxyType(
        {name: SyntheticGradients(name=name, **fields) for name, fields in changes.items()}
    )


#: Name -> problem, read-only; 8 dimensions, and a variance and a disagreement of 1 unless the name
#: says otherwise.
SCENARIOS: Mapping[str, SyntheticGradients] = _table(
    calm={},
    sft_noisy={"level_s": Constant(value=9.0)},
    rl_noisy={"level_r": Constant(value=9.0)},
    rl_step={"level_r": Step(before=1.0, after=9.0, begin=100)},
    rl_ramp={"level_r": Ramp(start=9.0, end=1.0, begin=0, length=200)},
    rl_burst={"level_r": Burst(base=1.0, peak=25.0, begin=50, length=10, period=75)},
    seasonal={
        "level_s": Seasonal(mean=2.0, amplitude=1.5, period=120.0),
        "level_r": Seasonal(mean=2.0, amplitude=1.5, period=120.0, phase=math.pi),
    },
    random_walk={
        "level_s": RandomWalk(spread=0.05, reversion=0.01, seed=1),
        "level_r": RandomWalk(spread=0.05, reversion=0.01, seed=2),
    },
    student_t={"noise": Independent(sft=StudentT(df=3.0), rl=StudentT(df=3.0))},
    laplace={"noise": Independent(sft=Laplace(), rl=Laplace())},
    contaminated={"noise": Independent(sft=_ISO, rl=Contaminated(share=0.02, ratio=100.0))},
    anisotropic={
        "noise": Independent(
            sft=Anisotropic.spectrum(dimension=8, sigma2=1.0, condition=100.0, rotation=1),
            rl=LowRank(rank=2, floor=0.1, rotation=2),
        )
    },
    multiplicative={
        "noise": PairSum(
            parts=(
                Independent(sft=Multiplicative(relative=0.7), rl=Multiplicative(relative=0.7)),
                Independent(sft=Isotropic(sigma2=0.1), rl=Isotropic(sigma2=0.1)),
            )
        )
    },
    correlated={"noise": Correlated(sft=_ISO, rl=_ISO, correlation=0.8)},
    anticorrelated={"noise": Correlated(sft=_ISO, rl=_ISO, correlation=-0.8)},
    clipped={"clip_r": Clipping(threshold=1.5), "level_r": Constant(value=4.0)},
    biased_teacher={
        "bias_s": PlaneVector(size=Constant(value=1.0), angle=Constant(value=_OPPOSITE))
    },
    agreement={"delta": PlaneVector(size=Ramp(start=2.0, end=0.0, begin=0, length=200))},
    conflict={"delta": PlaneVector(size=Constant(value=3.0), angle=Constant(value=_OPPOSITE))},
    turning={
        "delta": PlaneVector(
            size=Constant(value=2.0), angle=Ramp(start=0.0, end=_OPPOSITE, begin=0, length=200)
        )
    },
)


def scenario(name: str, **changes: Any) -> SyntheticGradients:
    """A named problem, with fields changed.

    Raises:
        GACError: An unknown name or field.

    Examples:
        >>> scenario("rl_noisy", samples=16).level_r
        Constant(value=9.0)
    """
    if name not in SCENARIOS:
        fail(f"scenario {name!r} is unknown; pass one of {', '.join(SCENARIOS)}")
    fields = [f.name for f in dataclasses.fields(SyntheticGradients) if f.init]
    unknown = sorted(set(changes) - set(fields))
    if unknown:
        fail(f"scenario {name!r} has no field {unknown[0]!r}; the fields are {', '.join(fields)}")
    return dataclasses.replace(SCENARIOS[name], **changes)
