"""SASR: a coin between SFT and RL, biased by the norm of the SFT gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.baselines._fields import choice, real, whole
from gac_ref.baselines._reader import Reader
from gac_ref.baselines.protocol import MixInfo, advance, start
from gac_ref.errors import fail

__all__ = ["SASR", "SASRState"]


class SASRState(NamedTuple):
    """State of `SASR`.

    Args:
        mu: Weight on SFT given last, [...].
        warmup_norm: Norm of the SFT gradient at the end of the warm-up, [...]; NaN before.
        last_norm: Norm of the newest SFT gradient, [...]; NaN before the first.

    Examples:
        >>> from gac_ref import baselines
        >>> float(baselines.init(SASR()).mu)
        1.0
    """

    mu: FloatArray
    warmup_norm: FloatArray
    last_norm: FloatArray


@dataclass(frozen=True, kw_only=True)
class SASR:
    r"""SASR: pure SFT for a warm-up, then an SFT step with a probability, else an RL step.

    .. math::
        p_t = \frac{G_{last}}{G_{last} + \gamma\, G_{warmup}}, \qquad
        \mu_t = \mathbf 1[u_t < p_t], \quad u_t \sim U[0, 1)

    :math:`G_{warmup}` is the norm of the SFT gradient at the last warm-up step, :math:`G_{last}`
    that of the newest SFT step: as imitation converges, SFT steps become rare. ``parts`` has the
    probability as ``probability`` and the two norms. Both norms 0 count as equal:
    :math:`p = 1 / (1 + \gamma)`, flagged ``no_gradient``.

    Feed ``grad_norm_s`` with the norm measured at the step before this one; as the algorithm does,
    the rule ignores it where that step was a pure RL step, so an RL step's NaN does no harm. Until
    a norm is known the weight is held (at 1, from the start).

    Args:
        warmup_steps: Steps of pure SFT, >= 1. 100, ours: the paper's length was not read.
        gamma: :math:`\gamma`, > 0. 1.0, ours: the paper's value was not read.
        decision: "sampled" flips the coin with ``uniform`` (or draws it from ``rng``);
            "expected" returns the probability itself as mu (ours, without noise).

    Raises:
        GACError: A field is out of range or not one of its choices.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = SASR(warmup_steps=1, decision="expected")
        >>> state = baselines.init(rule)
        >>> for step, norm in enumerate((np.nan, 2.0, 1.0)):
        ...     state, info = baselines.update(
        ...         rule, state, baselines.Signals(grad_norm_s=norm), step=step)
        ...     print(round(float(info.mu), 3))
        1.0
        0.5
        0.333

    References:
        arXiv:2505.13026, Algorithm 1. The formula was read in two independent write-ups of that
        algorithm, not in the paper itself, whose hyperparameters stay unverified.
    """

    warmup_steps: int = 100
    gamma: float = 1.0
    decision: Literal["sampled", "expected"] = "sampled"

    reads: ClassVar[tuple[str, ...]] = ("grad_norm_s", "uniform")

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "warmup_steps", low=1)
        real(self, "gamma", above=0.0)
        choice(self, "decision", ("sampled", "expected"))


@start.register(SASR)
def _start(rule: SASR, shape: tuple[int, ...]) -> SASRState:
    return SASRState(np.ones(shape), np.full(shape, np.nan), np.full(shape, np.nan))


@advance.register(SASR)
def _advance(rule: SASR, state: SASRState, signals: Any, step: int) -> tuple[SASRState, MixInfo]:
    reader = Reader(rule, state, signals, SASRState)
    norm = reader.read("grad_norm_s", low=0.0)
    last = np.where((state.mu > 0.0) & ~np.isnan(norm), norm, state.last_norm)
    # The first adaptive step is handed the norm of the last warm-up step.
    open_ = np.isnan(state.warmup_norm) | (step <= rule.warmup_steps)
    warmup = np.where(open_, last, state.warmup_norm)

    if step < rule.warmup_steps:
        mu = probability = np.ones(reader.shape)
    else:
        probability = _probability(rule, last, warmup)
        reader.flags["no_gradient"] = (last == 0.0) & (warmup == 0.0)
        decided = probability
        if rule.decision == "sampled":
            decided = (_uniform(reader) < probability).astype(np.float64)
        mu = np.where(np.isnan(probability), state.mu, decided)
    info = reader.info(mu, probability=probability, warmup_norm=warmup, last_norm=last)
    return SASRState(mu, warmup, last), info


def _probability(rule: SASR, last: FloatArray, warmup: FloatArray) -> FloatArray:
    """p, from the norms scaled by the larger one, so that neither sum nor product overflows."""
    scale = np.maximum(last, warmup)
    safe = np.where(scale > 0.0, scale, 1.0)
    a = np.where(scale == 0.0, 1.0, last / safe)
    b = np.where(scale == 0.0, 1.0, warmup / safe)
    return np.asarray(a / (a + rule.gamma * b))


def _uniform(reader: Reader) -> FloatArray:
    """This step's coin: as given, or drawn from the caller's generator."""
    if reader.signals.uniform is None and reader.signals.rng is not None:
        return np.asarray(reader.signals.rng.random(reader.shape))
    draw = reader.read("uniform", low=0.0, high=1.0)
    if np.any(draw >= 1.0) or np.any(reader.flags.pop("uniform_missing")):
        bad = float(draw[~(draw < 1.0)].flat[0])
        fail(f"SASR: signal 'uniform' = {bad!r} is outside [0, 1); pass numbers from there")
    return draw
