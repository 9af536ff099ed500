"""Weights that follow the step alone: SFT-then-RL, a line, and CHORD-mu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.baselines._fields import real, whole
from gac_ref.baselines._reader import Reader
from gac_ref.baselines.protocol import MixInfo, MixState, advance, start
from gac_ref.schedules import linear, warmup_cosine

__all__ = ["CHORDMu", "Linear", "SFTThenRL"]


@dataclass(frozen=True, kw_only=True)
class SFTThenRL:
    r"""The two-stage pipeline: pure SFT, then pure RL.

    .. math:: \mu_t = \mathbf 1[t < t_{switch}]

    Args:
        switch_step: First step of RL, >= 0. No default: it is the SFT budget, which no source
            fixes.

    Raises:
        GACError: `switch_step` is not a whole number >= 0.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = SFTThenRL(switch_step=10)
        >>> state = baselines.init(rule)
        >>> [float(baselines.update(rule, state, baselines.Signals(), step=t)[1].mu)
        ...  for t in (9, 10)]
        [1.0, 0.0]

    References:
        arXiv:2604.23747, which finds a well-run pipeline ahead of many mixed methods.
    """

    switch_step: int

    reads: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "switch_step")


@dataclass(frozen=True, kw_only=True)
class Linear:
    r"""A straight line from `peak` to `valley`, then `valley`.

    .. math:: \mu_t = p + (v - p) \min(t / T, 1)

    Args:
        steps: T, >= 0. 1000, the length of the prior in GAC's integration example (200 + 800).
        peak: p, in [0, 1]. 0.85, that prior's peak.
        valley: v, in [0, 1]. 0.15, that prior's valley.

    Raises:
        GACError: A field is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = Linear(steps=10, peak=1.0, valley=0.0)
        >>> state = baselines.init(rule)
        >>> float(baselines.update(rule, state, baselines.Signals(), step=4)[1].mu)
        0.6

    References:
        Ours, as the plainest decay to compare with; :func:`gac_ref.linear`.
    """

    steps: int = 1000
    peak: float = 0.85
    valley: float = 0.15

    reads: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "steps")
        real(self, "peak", "valley", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class CHORDMu:
    r"""CHORD-mu: linear warm-up from 0, cosine decay, then the valley.

    .. math::
        \mu_t = \begin{cases} p\, t / W & t < W \\
            v + (p - v)\,\tfrac12\bigl(1 + \cos(\pi (t - W) / D)\bigr) & W \le t < W + D \\
            v & t \ge W + D \end{cases}

    t is the optimiser step (Trinity-RFT stamps it on the experiences, ms-swift takes the trainer's
    global step). With W = 0 the schedule starts at its peak.

    Args:
        warmup: W, steps, >= 0. 0.
        decay: D, steps, >= 0. 200.
        peak: p, in [0, 1]. 0.9.
        valley: v, in [0, 1]. 0.05.

    The defaults are the CHORD-mu setting of both frameworks' examples; :meth:`mixed` is the other
    one. As a loss argument, Trinity-RFT defaults to 0, 0, 0.1, 0.1: `CHORDPhi`.

    Raises:
        GACError: A field is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = CHORDMu.mixed()
        >>> state = baselines.init(rule)
        >>> [float(baselines.update(rule, state, baselines.Signals(), step=t)[1].mu)
        ...  for t in (0, 100, 200, 600)]
        [0.0, 0.25, 0.5, 0.02]

    References:
        arXiv:2508.11408; Trinity-RFT ``examples/mix_chord/mix_chord.yaml``; the GRPO CHORD script
        and page of ms-swift; :func:`gac_ref.warmup_cosine`.
    """

    warmup: int = 0
    decay: int = 200
    peak: float = 0.9
    valley: float = 0.05

    reads: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "warmup", "decay")
        real(self, "peak", "valley", low=0.0, high=1.0)

    @classmethod
    def decay_only(cls) -> CHORDMu:
        """The pure CHORD-mu setting: 0 / 200 / 0.9 / 0.05, with phi off.

        Examples:
            >>> CHORDMu.decay_only() == CHORDMu()
            True
        """
        return cls()

    @classmethod
    def mixed(cls) -> CHORDMu:
        """The setting of Trinity-RFT's example as it runs: 200 / 400 / 0.5 / 0.02, with phi on.

        Examples:
            >>> CHORDMu.mixed().peak
            0.5
        """
        return cls(warmup=200, decay=400, peak=0.5, valley=0.02)


def _weight(rule: SFTThenRL | Linear | CHORDMu, step: int) -> FloatArray:
    if isinstance(rule, SFTThenRL):
        return np.asarray(float(step < rule.switch_step))
    if isinstance(rule, Linear):
        mu = linear(step, steps=rule.steps, start=rule.peak, end=rule.valley)
    else:
        mu = warmup_cosine(
            step, warmup=rule.warmup, decay=rule.decay, peak=rule.peak, valley=rule.valley
        )
    return np.clip(mu, 0.0, 1.0)  # a convex combination may round past its ends


@start.register(SFTThenRL)
@start.register(Linear)
@start.register(CHORDMu)
def _start(rule: SFTThenRL | Linear | CHORDMu, shape: tuple[int, ...]) -> MixState:
    return MixState(np.full(shape, _weight(rule, 0)))


@advance.register(SFTThenRL)
@advance.register(Linear)
@advance.register(CHORDMu)
def _advance(
    rule: SFTThenRL | Linear | CHORDMu, state: MixState, signals: Any, step: int
) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    return reader.finish(np.full(reader.shape, _weight(rule, step)))
