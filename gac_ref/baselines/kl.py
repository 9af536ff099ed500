"""The KL-penalty controller of TRL and verl, turned on the mixing weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.alpha import ERROR_CLIP
from gac_ref.baselines._fields import real
from gac_ref.baselines._reader import Reader
from gac_ref.baselines.protocol import MixInfo, advance, start

__all__ = ["KLControl", "KLState"]


class KLState(NamedTuple):
    """State of `KLControl`.

    Args:
        mu: Weight on SFT given last, [...].
        beta: The coefficient that the next step will use, [...], >= 0.

    Examples:
        >>> from gac_ref import baselines
        >>> baselines.init(KLControl(beta=1.0)).mu.tolist()
        0.5
    """

    mu: FloatArray
    beta: FloatArray


@dataclass(frozen=True, kw_only=True)
class KLControl:
    r"""Ziegler's adaptive coefficient beta, read as the weight of SFT against RL.

    .. math::
        e = \mathrm{clip}(\mathrm{KL} / \mathrm{KL}_{target} - 1,\, -0.2,\, 0.2), \qquad
        \beta \leftarrow \beta\,\bigl(1 + e\, n / N\bigr), \qquad
        \mu = \frac{\beta}{1 + \beta}

    The recursion is TRL's and verl's; a step uses the coefficient from before its own update, as
    theirs do. The map to mu is ours: the frameworks weight a KL penalty, :math:`\mathcal L_{RL} +
    \beta\,\mathrm{KL}`; we let the demonstrations be the anchor, :math:`\mathcal L_{RL} + \beta\,
    \mathcal L_{SFT}`, and divide by :math:`1 + \beta`. More drift, more SFT. ``parts`` has ``beta``
    as used and ``beta_next``.

    Args:
        beta: First coefficient, > 0. 0.001 (verl).
        target: KL at which beta rests, nats in the unit of the signal, > 0. 0.1 (verl; per token,
            as :class:`gac_ref.Batch` has it).
        horizon: N, > 0. 10000.
        n_steps: n, samples counted at each step, in (0, 5 N): beyond, one update could turn beta
            negative. 1024, verl's default number of prompts; verl counts the responses of a step.

    verl's default is a fixed coefficient; `target` and `horizon` act where its type is "adaptive".
    It averages the KL over sequences, each over its tokens; the k3 estimate that a `Batch` gives
    averages over all tokens.

    Raises:
        GACError: A field is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = KLControl(beta=1.0, target=0.1, horizon=10, n_steps=5)
        >>> state = baselines.init(rule)
        >>> state, info = baselines.update(rule, state, baselines.Signals(kl=0.3), step=0)
        >>> float(info.mu), float(state.beta)
        (0.5, 1.1)

    References:
        Ziegler et al., arXiv:1909.08593, section 2.2; TRL v0.4 ``AdaptiveKLController`` and
        ``PPOConfig``; verl ``core_algos.AdaptiveKLController``.
    """

    beta: float = 0.001
    target: float = 0.1
    horizon: float = 10_000.0
    n_steps: float = 1024.0

    reads: ClassVar[tuple[str, ...]] = ("kl",)

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "beta", "target", "horizon", above=0.0)
        real(self, "n_steps", above=0.0, below=5.0 * self.horizon)

    @classmethod
    def verl(cls) -> KLControl:
        """The numbers of verl: 0.001, 0.1 nats a token, 10000.

        Examples:
            >>> KLControl.verl() == KLControl()
            True
        """
        return cls()

    @classmethod
    def trl(cls) -> KLControl:
        """The numbers of TRL: 0.2, 6 nats, 10000, batches of 256; its KL is summed over a response.

        Examples:
            >>> KLControl.trl().target
            6.0
        """
        return cls(beta=0.2, target=6.0, n_steps=256.0)


LARGEST_BETA = 1e300
"""Keeps a run under lasting drift finite; mu is 1 to the last bit from 1e17 on."""


def _weight(beta: FloatArray) -> FloatArray:
    return np.asarray(beta / (1.0 + beta))


@start.register(KLControl)
def _start(rule: KLControl, shape: tuple[int, ...]) -> KLState:
    beta = np.full(shape, rule.beta)
    return KLState(_weight(beta), beta)


@advance.register(KLControl)
def _advance(rule: KLControl, state: KLState, signals: Any, step: int) -> tuple[KLState, MixInfo]:
    reader = Reader(rule, state, signals, KLState)
    kl = reader.read("kl")
    with np.errstate(over="ignore"):  # the clip takes an infinite ratio for what it is
        error = np.clip(kl / rule.target - 1.0, -ERROR_CLIP, ERROR_CLIP)
    proposed = state.beta * (1.0 + error * rule.n_steps / rule.horizon)
    beta = np.where(np.isnan(kl), state.beta, np.minimum(proposed, LARGEST_BETA))
    mu = _weight(state.beta)
    return KLState(mu, beta), reader.info(mu, beta=state.beta, beta_next=beta)
