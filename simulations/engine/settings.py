"""How long a run is, what it measures and when: the engine's own parameters."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from gac_ref.errors import fail
from simulations.engine.streams import BLOCK

__all__ = ["RunSettings"]

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    r"""Parameters of a run that belong neither to the problem nor to a controller.

    Args:
        horizon: Optimiser steps, >= 1.
        seeds: Trajectories of each controller, >= 1.
        seed: Root seed, >= 0.
        learning_rate: :math:`\eta_0`, > 0.
        learning_rate_decay: k in :math:`\eta_t = \eta_0 / (1 + k t)`, >= 0.
        alpha: Weight of the SFT gradient in the target that risk and regret refer to, in [0, 1].
        measure_every: Steps between two evaluations of the exact quantities, >= 1. Averages over
            time are averages over these steps.
        large_change: A step with a larger change of mu counts as an event, >= 0.
        target_outcome: Outcome whose first passage is timed; "" for none.
        target_value: The level to reach.
        target_direction: "below" or "above".
        stop_at_target: Freeze a trajectory once it has reached the target (early stop).
        curve_points: At most about this many times at which moments across seeds are kept, >= 1.
        trace_seeds: How many of the first seeds keep their own traces, >= 0.
        trace_every: Steps between two points of a trace, a multiple of `measure_every`; 0 for
            the times of the curves, so that memory does not depend on the horizon.
        seeds_per_cell: Seeds that are computed and stored together, a multiple of 64.

    Raises:
        GACError: A value is out of range.

    Examples:
        >>> RunSettings(horizon=100).seeds
        200
        >>> RunSettings(horizon=0)
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: run.horizon = 0 is below 1; pass a whole number >= 1
    """

    horizon: int = 1000
    seeds: int = 200
    seed: int = 0
    learning_rate: float = 0.05
    learning_rate_decay: float = 0.0
    alpha: float = 0.5
    measure_every: int = 10
    large_change: float = 0.05
    target_outcome: str = ""
    target_value: float = 0.0
    target_direction: str = "below"
    stop_at_target: bool = False
    curve_points: int = 50
    trace_seeds: int = 2
    trace_every: int = 0
    seeds_per_cell: int = 4 * BLOCK

    def __post_init__(self) -> None:
        """Validate."""
        lowest = {"seed": 0, "trace_seeds": 0, "trace_every": 0}
        for field in fields(self):
            name = field.name
            kind: Any = type(field.default)
            value: Any = getattr(self, name)
            if kind is float and type(value) is int:
                value = float(value)
                object.__setattr__(self, name, value)
            if type(value) is not kind:
                fail(f"run.{name} = {value!r} is not {_KINDS[kind]}; pass one")
            if kind is int and value < lowest.get(name, 1):
                low = lowest.get(name, 1)
                fail(f"run.{name} = {value} is below {low}; pass a whole number >= {low}")
            if kind is float and not math.isfinite(value):
                fail(f"run.{name} = {value} is not finite; pass a finite number")
        if self.learning_rate <= 0.0:
            fail(f"run.learning_rate = {self.learning_rate} is not above 0; pass a positive rate")
        for name in ("learning_rate_decay", "large_change"):
            if getattr(self, name) < 0.0:
                fail(f"run.{name} = {getattr(self, name)} is negative; pass a value >= 0")
        if not 0.0 <= self.alpha <= 1.0:
            fail(f"run.alpha = {self.alpha} is outside [0, 1]; pass a weight")
        if self.target_direction not in ("below", "above"):
            fail(
                f"run.target_direction = {self.target_direction!r} is not one of 'below', "
                "'above'; pass one of these"
            )
        if self.stop_at_target and not self.target_outcome:
            fail("run.stop_at_target is set without run.target_outcome; name the outcome to reach")
        if self.trace_every % self.measure_every:
            fail(
                f"run.trace_every = {self.trace_every} is not a multiple of run.measure_every = "
                f"{self.measure_every}; pass one, or 0"
            )
        if self.seeds_per_cell % BLOCK:
            fail(
                f"run.seeds_per_cell = {self.seeds_per_cell} is not a multiple of {BLOCK}; pass one"
            )

    @property
    def measures(self) -> int:
        """How many steps are measured before the end."""
        return -(-self.horizon // self.measure_every)

    @property
    def curve_every(self) -> int:
        """Steps between two points of a curve."""
        return self.measure_every * -(-self.measures // self.curve_points)

    @property
    def trace_interval(self) -> int:
        """Steps between two points of a trace."""
        return self.trace_every or self.curve_every

    def times(self, every: int) -> list[int]:
        """The multiples of `every` below the horizon.

        Examples:
            >>> RunSettings(horizon=25).times(10)
            [0, 10, 20]
        """
        return list(range(0, self.horizon, every))

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.learning_rate / (1.0 + self.learning_rate_decay * step)

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON values."""
        return asdict(self)
