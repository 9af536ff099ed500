r"""One pair of functions for every mixing rule: :func:`init` and :func:`update`.

A rule is a frozen dataclass of hyperparameters; its state is a named tuple with a field ``mu``; a
step returns the new state and a diagnosis that is never carried forward, as the controller's own
:func:`gac_ref.update` does. Rules register themselves with the two single-dispatch functions
below; there is no base class to inherit from.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import singledispatch
from typing import Any, NamedTuple, NoReturn

import numpy as np

from gac_ref._typing import BoolArray, FloatArray
from gac_ref.baselines.signals import Signals
from gac_ref.batch import Batch
from gac_ref.errors import fail

__all__ = ["MixInfo", "MixState", "init", "update"]


class MixState(NamedTuple):
    """The state of a rule without memory: the weight that it gave last.

    Args:
        mu: Weight on SFT, [...], in [0, 1]; held where a signal is unknown (NaN).

    Examples:
        >>> from gac_ref import baselines
        >>> baselines.init(baselines.Fixed(mu=0.25), shape=(2,)).mu.tolist()
        [0.25, 0.25]
    """

    mu: FloatArray


class MixInfo(NamedTuple):
    """What one update of a rule did.

    Args:
        mu: Weight on SFT to apply now, [...], in [0, 1].
        parts: The rule's intermediate quantities by name, [...]; each rule's docstring lists them.
        flags: Where a signal was unknown, a bound acted or a ratio was 0 / 0, by name, [...].

    Examples:
        >>> from gac_ref import baselines
        >>> rule = baselines.SRFT()
        >>> state = baselines.init(rule)
        >>> _, info = baselines.update(rule, state, baselines.Signals(entropy=0.0), step=0)
        >>> round(float(info.mu), 6), sorted(info.parts), info.acted()
        (0.833333, ['w_rl', 'w_sft'], [])
    """

    mu: FloatArray
    parts: Mapping[str, FloatArray]
    flags: Mapping[str, BoolArray]

    def acted(self) -> list[str]:
        """Names of the flags that are set on any trajectory, sorted."""
        return sorted(name for name, flag in self.flags.items() if np.any(flag))


def init(rule: Any, shape: tuple[int, ...] = ()) -> Any:
    """The state of a mixing rule before its first step.

    Args:
        rule: A rule of this package, or a :class:`gac_ref.GACConfig`.
        shape: Shape of the trajectories; () for one.

    Returns:
        A named tuple of arrays, with ``mu`` of `shape` among its fields. It is a `MixState` for
        the rules without memory, :class:`gac_ref.GACState` for a `GACConfig`.

    Raises:
        GACError: `rule` is not a mixing rule.

    Examples:
        >>> from gac_ref import GACConfig, baselines
        >>> float(baselines.init(baselines.CHORDMu()).mu), float(baselines.init(GACConfig()).mu)
        (0.9, 0.5)
    """
    return start(rule, tuple(shape))


def update(rule: Any, state: Any, signals: Signals | Batch, *, step: int) -> tuple[Any, Any]:
    """One step of a mixing rule.

    A signal that is NaN is unknown at this step: the rule holds what it has, and a flag
    ``<signal>_missing`` says so. A signal that is None was never supplied: an error.

    Args:
        rule: A rule of this package, or a :class:`gac_ref.GACConfig`.
        state: The state, from `init` or the last `update` of the same rule.
        signals: The training batch, from which the rule takes what it needs, or the signals
            themselves, scalars or arrays that broadcast to the trajectories' shape.
        step: The optimiser step, >= 0; the schedules follow it.

    Returns:
        The new state, and a `MixInfo` (:class:`gac_ref.GACInfo` for a `GACConfig`): ``info.mu``
        is the weight on SFT to apply now, ``info.flags`` and ``info.acted()`` say what happened.

    Raises:
        GACError: A signal that the rule needs is absent, out of range or of a wrong shape; the
            state belongs to another rule; `step` is invalid.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = baselines.CHORDMu()
        >>> _, info = baselines.update(rule, baselines.init(rule), baselines.Signals(), step=200)
        >>> float(info.mu)
        0.05
        >>> rule = baselines.SRFT()
        >>> baselines.update(rule, baselines.init(rule), baselines.Signals(), step=0)
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: SRFT needs the signal 'entropy'; pass Signals(entropy=...) or a \
Batch with entropy
    """
    if not isinstance(signals, Signals | Batch):
        fail(
            f"signals is a {type(signals).__name__}; pass a Batch or a baselines.Signals to "
            f"{type(rule).__name__}"
        )
    try:
        number = operator.index(step)
    except TypeError:
        fail(f"step = {step!r} is not a whole number; pass the optimiser step")
    if number < 0:
        fail(f"step = {number} is negative; pass the optimiser step, counted from 0")
    return advance(rule, state, signals, number)


@singledispatch
def start(rule: Any, shape: tuple[int, ...]) -> Any:
    """Register a rule's first state here."""
    _refuse(rule)


@singledispatch
def advance(rule: Any, state: Any, signals: Signals | Batch, step: int) -> tuple[Any, Any]:
    """Register a rule's step here."""
    _refuse(rule)


def _refuse(rule: Any) -> NoReturn:
    fail(
        f"rule = {rule!r} is not a mixing rule; pass a GACConfig or an instance of a rule of "
        "gac_ref.baselines"
    )
