"""AMFT: gradient ascent on the mixing weight, with a pull of the entropy to a target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.baselines._fields import choice, ordered, real, whole
from gac_ref.baselines._reader import Reader
from gac_ref.baselines.protocol import MixInfo, advance, start

__all__ = ["AMFT", "AMFTState"]


class AMFTState(NamedTuple):
    """State of `AMFT`.

    Args:
        mu: The weight, [...], in [mu_min, mu_max].
        entropy_target: H*, nats, [...]; NaN until an entropy is known.

    Examples:
        >>> from gac_ref import baselines
        >>> float(baselines.init(AMFT(entropy_target=0.4)).entropy_target)
        0.4
    """

    mu: FloatArray
    entropy_target: FloatArray


@dataclass(frozen=True, kw_only=True)
class AMFT:
    r"""AMFT's controller: mu follows a validation utility and an entropy target.

    .. math::
        \mu \leftarrow \mathrm{clip}\bigl(\mu + \eta_\mu\, g_t\, \mathbf 1[t \bmod m = 0]
            + \eta_H (H^* - H),\; \mu_{min},\, \mu_{max}\bigr), \qquad
        g = \frac{\partial U}{\partial \mu}

    The utility U is minus the validation loss after the policy's next step. With a plain gradient
    step of rate :math:`\lambda` that is :math:`g = \lambda \langle \nabla L_{val}, \nabla L_{SFT} -
    \nabla L_{RL}\rangle`. The paper's text maximises U, hence ascent: "text". The released code
    adds minus that (its function returns :math:`\partial L_{val} / \partial \mu`, and the update
    adds it), which descends the utility: "released". An entropy below its target raises mu in both.

    The entropy term acts at every step, the utility term every m steps only (and the signal is not
    asked for in between), as released. ``parts`` has the two increments, ``utility_step`` and
    ``entropy_step``, and ``entropy_target``; the flag ``mu_clipped`` says that a bound acted. An
    unknown utility or entropy contributes 0.

    Args:
        init_mu: First weight, in [mu_min, mu_max]. 0.8, both released configurations (the class's
            own default is 0.5).
        eta_mu: :math:`\eta_\mu`, >= 0. 1e-4.
        eta_entropy: :math:`\eta_H`, >= 0. 5e-4.
        every: m, >= 1. 20.
        mu_min: Lower bound, in [0, 1]. 0.05.
        mu_max: Upper bound, in [mu_min, 1]. 0.95.
        entropy_target: H*, nats, >= 0, or None for the first entropy seen. Released: the mean
            entropy on 20 batches of demonstrations after the SFT warm-up.
        utility_sign: "text" or "released".

    Raises:
        GACError: A field is out of range or not one of its choices.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = AMFT(entropy_target=1.0, eta_mu=0.1, eta_entropy=0.1)
        >>> signals = baselines.Signals(entropy=0.5, utility_gradient=-1.0)
        >>> _, info = baselines.update(rule, baselines.init(rule), signals, step=0)
        >>> round(float(info.mu), 12)
        0.75

    References:
        arXiv:2508.06944 (the listing says that its authors asked to withdraw it); the public code,
        ``adaptive_weight_controller.py``, ``amft_trainer.py`` and ``configs/main_config.yaml``.
        The sign in the paper itself was not read at the source.
    """

    init_mu: float = 0.8
    eta_mu: float = 1e-4
    eta_entropy: float = 5e-4
    every: int = 20
    mu_min: float = 0.05
    mu_max: float = 0.95
    entropy_target: float | None = None
    utility_sign: Literal["text", "released"] = "text"

    reads: ClassVar[tuple[str, ...]] = ("entropy", "utility_gradient")

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "mu_min", "mu_max", "init_mu", low=0.0, high=1.0)
        ordered(self, "mu_min", "init_mu", "mu_max")
        real(self, "eta_mu", "eta_entropy", low=0.0)
        whole(self, "every", low=1)
        if self.entropy_target is not None:
            real(self, "entropy_target", low=0.0)
        choice(self, "utility_sign", ("text", "released"))


@start.register(AMFT)
def _start(rule: AMFT, shape: tuple[int, ...]) -> AMFTState:
    target = math.nan if rule.entropy_target is None else rule.entropy_target
    return AMFTState(np.full(shape, rule.init_mu), np.full(shape, target))


@advance.register(AMFT)
def _advance(rule: AMFT, state: AMFTState, signals: Any, step: int) -> tuple[AMFTState, MixInfo]:
    reader = Reader(rule, state, signals, AMFTState)
    entropy = reader.read("entropy", low=0.0)
    target = np.where(np.isnan(state.entropy_target), entropy, state.entropy_target)
    entropy_step = _increment(rule.eta_entropy, target - entropy)
    utility_step = np.zeros(reader.shape)
    if step % rule.every == 0:
        sign = 1.0 if rule.utility_sign == "text" else -1.0
        utility_step = _increment(sign * rule.eta_mu, reader.read("utility_gradient"))
    proposed = state.mu + utility_step + entropy_step
    mu = np.clip(proposed, rule.mu_min, rule.mu_max)
    reader.flags["mu_clipped"] = np.asarray(mu != proposed)
    info = reader.info(
        mu, utility_step=utility_step, entropy_step=entropy_step, entropy_target=target
    )
    return AMFTState(mu, target), info


def _increment(rate: float, slope: FloatArray) -> FloatArray:
    """``rate * slope``, 0 where unknown, and finite: infinite increments could cancel to NaN."""
    with np.errstate(over="ignore"):
        return np.clip(rate * np.where(np.isnan(slope), 0.0, slope), -1e300, 1e300)
