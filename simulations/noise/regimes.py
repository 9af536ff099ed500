r"""How a number changes over the steps: constant, step, ramp, burst, seasonal, and products.

A regime is a pure function of the step, so the exact moments at a step can be stated without
having lived through those before. The random walk is in :mod:`simulations.noise.walk`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines._fields import real, whole
from gac_ref.errors import fail

__all__ = ["Burst", "Constant", "Product", "Ramp", "Regime", "Seasonal", "Step"]


class Regime(ABC):
    """A number as a function of the step.

    Examples:
        >>> isinstance(Constant(value=1.0), Regime)
        True
    """

    @abstractmethod
    def at(self, steps: ArrayLike) -> FloatArray:
        """The value at each step, of the shape of `steps` (whole numbers >= 0), float64.

        Raises:
            GACError: A step that is negative or not whole.
        """

    def of_seeds(self, step: int, rng: np.random.Generator, n: int) -> FloatArray | float:
        """The value at one step for each of n seeds, [n], or one number where all have the same.

        Args:
            step: The step, >= 0.
            rng: The generator that draws for these seeds; nothing is taken from it, but a regime
                that wanders has a path of its own for each seed of each generator.
            n: Seeds.
        """
        return float(self.at(step))

    @property
    @abstractmethod
    def lowest(self) -> float:
        """A lower bound of the values over all steps; -inf where there is none."""


def whole_steps(steps: ArrayLike) -> FloatArray:
    """`steps` as float64, or a one-line error."""
    try:
        t = np.asarray(steps, dtype=np.float64)
    except (TypeError, ValueError):
        fail(f"steps = {steps!r} is not numeric; pass whole numbers >= 0")
    bad = ~((t >= 0.0) & (t == np.floor(t)) & np.isfinite(t))
    if bad.any():
        fail(f"step {float(t[bad].flat[0])!r} is not a whole number >= 0; pass one")
    return t


@dataclass(frozen=True, kw_only=True)
class Constant(Regime):
    """The same value at every step.

    Args:
        value: Any finite number.

    Raises:
        GACError: The value is not a finite number.

    Examples:
        >>> Constant(value=2.0).at([0, 1]).tolist()
        [2.0, 2.0]
    """

    value: float = 1.0
    kind: str = field(default="constant", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "value")

    def at(self, steps: ArrayLike) -> FloatArray:
        """The value at each step."""
        return np.full(whole_steps(steps).shape, self.value)

    @property
    def lowest(self) -> float:
        """The value."""
        return self.value


@dataclass(frozen=True, kw_only=True)
class Step(Regime):
    """One value before a step, another from it on.

    Args:
        before: Value at the steps before `begin`.
        after: Value at `begin` and later.
        begin: Step of the change, >= 0.

    Raises:
        GACError: A field is not finite, or `begin` is no whole number >= 0.

    Examples:
        >>> Step(before=1.0, after=4.0, begin=2).at([0, 1, 2, 3]).tolist()
        [1.0, 1.0, 4.0, 4.0]
    """

    before: float = 1.0
    after: float = 4.0
    begin: int = 100
    kind: str = field(default="step", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "before", "after")
        whole(self, "begin")

    def at(self, steps: ArrayLike) -> FloatArray:
        """The value at each step."""
        return np.where(whole_steps(steps) < self.begin, self.before, self.after)

    @property
    def lowest(self) -> float:
        """The smaller value."""
        return min(self.before, self.after)


@dataclass(frozen=True, kw_only=True)
class Ramp(Regime):
    r"""From one value to another, linearly.

    .. math:: x_t = x_0 + (x_1 - x_0) \min(\max((t - \text{begin}) / \text{length}, 0), 1)

    Args:
        start: :math:`x_0`.
        end: :math:`x_1`.
        begin: Last step at the start value, >= 0.
        length: Steps until the end value is reached, >= 1.

    Raises:
        GACError: A field is out of its range.

    Examples:
        >>> Ramp(start=0.0, end=2.0, begin=1, length=2).at([0, 1, 2, 3, 9]).tolist()
        [0.0, 0.0, 1.0, 2.0, 2.0]
    """

    start: float = 1.0
    end: float = 4.0
    begin: int = 0
    length: int = 200
    kind: str = field(default="ramp", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "start", "end")
        whole(self, "begin")
        whole(self, "length", low=1)

    def at(self, steps: ArrayLike) -> FloatArray:
        """The value at each step."""
        share = np.clip((whole_steps(steps) - self.begin) / self.length, 0.0, 1.0)
        # Both weights, so that either end is exactly its value.
        return np.asarray((1.0 - share) * self.start + share * self.end)

    @property
    def lowest(self) -> float:
        """The smaller end."""
        return min(self.start, self.end)


@dataclass(frozen=True, kw_only=True)
class Burst(Regime):
    """A base value, and another one during a burst, once or periodically.

    Args:
        base: Value outside the bursts.
        peak: Value inside.
        begin: First step of the first burst, >= 0.
        length: Steps in a burst, >= 1.
        period: Steps from one burst's beginning to the next one's, >= length; None for one burst.

    Raises:
        GACError: A field is out of its range.

    Examples:
        >>> Burst(base=1.0, peak=9.0, begin=1, length=2, period=4).at(range(7)).tolist()
        [1.0, 9.0, 9.0, 1.0, 1.0, 9.0, 9.0]
    """

    base: float = 1.0
    peak: float = 16.0
    begin: int = 100
    length: int = 20
    period: int | None = None
    kind: str = field(default="burst", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "base", "peak")
        whole(self, "begin")
        whole(self, "length", low=1)
        if self.period is not None:
            whole(self, "period", low=1)
            if self.period < self.length:
                fail(f"Burst: period = {self.period} is below length = {self.length}; raise it")

    def at(self, steps: ArrayLike) -> FloatArray:
        """The value at each step."""
        since = whole_steps(steps) - self.begin
        phase = since if self.period is None else np.where(since < 0, since, since % self.period)
        return np.where((phase >= 0) & (phase < self.length), self.peak, self.base)

    @property
    def lowest(self) -> float:
        """The smaller value."""
        return min(self.base, self.peak)


@dataclass(frozen=True, kw_only=True)
class Seasonal(Regime):
    r"""A sine around a mean.

    .. math:: x_t = m + a \sin(2\pi t / P + \varphi)

    Args:
        mean: m.
        amplitude: a, of either sign.
        period: P in steps, > 0, not necessarily whole.
        phase: :math:`\varphi` in radians.

    Raises:
        GACError: A field is out of its range.

    Examples:
        >>> Seasonal(mean=2.0, amplitude=1.0, period=4.0).at([0, 1, 2, 3]).round(12).tolist()
        [2.0, 3.0, 2.0, 1.0]
    """

    mean: float = 1.0
    amplitude: float = 0.5
    period: float = 100.0
    phase: float = 0.0
    kind: str = field(default="seasonal", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "mean", "amplitude", "phase")
        real(self, "period", above=0.0)

    def at(self, steps: ArrayLike) -> FloatArray:
        """The value at each step."""
        turns = np.mod(whole_steps(steps) / self.period, 1.0)
        wave = np.sin(2.0 * math.pi * turns + self.phase)
        # A zero that a touching sine rounds below is a zero.
        return np.maximum(self.mean + self.amplitude * wave, self.lowest)

    @property
    def lowest(self) -> float:
        """The trough."""
        return self.mean - abs(self.amplitude)


@dataclass(frozen=True, kw_only=True)
class Product(Regime):
    """The product of regimes, e.g. a ramp with bursts on it.

    Args:
        parts: At least one regime.

    Raises:
        GACError: No parts, or a part that is no regime.

    Examples:
        >>> Product(parts=(Constant(value=3.0), Step(before=1.0, after=2.0, begin=1))).at([0, 1])
        array([3., 6.])
    """

    parts: tuple[Regime, ...]
    kind: str = field(default="product", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        if isinstance(self.parts, list):
            object.__setattr__(self, "parts", tuple(self.parts))
        given = self.parts if isinstance(self.parts, tuple) else ()
        if not given or not all(isinstance(part, Regime) for part in given):
            fail(f"Product: parts = {self.parts!r}; pass at least one regime")

    def at(self, steps: ArrayLike) -> FloatArray:
        """The value at each step."""
        value = self.parts[0].at(steps)
        for part in self.parts[1:]:
            value = value * part.at(steps)
        return value

    def of_seeds(self, step: int, rng: np.random.Generator, n: int) -> FloatArray | float:
        """The product of the parts' values."""
        value = self.parts[0].of_seeds(step, rng, n)
        for part in self.parts[1:]:
            value = value * part.of_seeds(step, rng, n)
        return value

    @property
    def lowest(self) -> float:
        """The product of the bounds where none is negative, else -inf."""
        bounds = [part.lowest for part in self.parts]
        return math.prod(bounds) if min(bounds) >= 0.0 else -math.inf
