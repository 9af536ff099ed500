"""Constant weights: fixed mixing, and CHORD-phi, whose adaptivity is in the token weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gac_ref.baselines._fields import real
from gac_ref.baselines._reader import Reader
from gac_ref.baselines.protocol import MixInfo, MixState, advance, start

__all__ = ["CHORDPhi", "Fixed"]


@dataclass(frozen=True, kw_only=True)
class Fixed:
    r"""A constant weight, :math:`\mu_t = \mu`.

    Args:
        mu: Weight on SFT, in [0, 1]. 0.1, the constant of Trinity-RFT's mixed loss.

    Raises:
        GACError: `mu` is outside [0, 1].

    Examples:
        >>> from gac_ref import baselines
        >>> rule = Fixed()
        >>> _, info = baselines.update(rule, baselines.init(rule), baselines.Signals(), step=5)
        >>> float(info.mu)
        0.1

    References:
        Trinity-RFT, ``mix`` algorithm, default ``mu``.
    """

    mu: float = 0.1

    reads: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "mu", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class CHORDPhi:
    r"""CHORD-phi as a mixing weight: a constant.

    .. math:: \mu_t = \mu, \qquad \mathcal L = (1 - \mu)\,\mathcal L_{RL}
        + \mu\,\mathbb E\bigl[-\varphi(p_t) \log p_t\bigr], \quad \varphi(p) = p (1 - p)

    What adapts in CHORD-phi is the token weight, which belongs to the loss and not to the
    controller: pair this rule with :func:`gac_ref.losses.sft_phi_loss`. As phi is at most 1/4, the
    same mu gives the demonstrations at most a quarter of the weight that `Fixed` would.

    Args:
        mu: Weight on SFT, in [0, 1]. 0.1: peak and valley of the CHORD-phi setting, and the
            default of Trinity-RFT's loss.

    Raises:
        GACError: `mu` is outside [0, 1].

    Examples:
        >>> from gac_ref import baselines
        >>> float(baselines.init(CHORDPhi()).mu)
        0.1

    References:
        arXiv:2508.11408; Trinity-RFT, ``mix_chord`` loss: default arguments, and the comments of
        ``examples/mix_chord/mix_chord.yaml``.
    """

    mu: float = 0.1

    reads: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "mu", low=0.0, high=1.0)


@start.register(Fixed)
@start.register(CHORDPhi)
def _start(rule: Fixed | CHORDPhi, shape: tuple[int, ...]) -> MixState:
    return MixState(np.full(shape, rule.mu))


@advance.register(Fixed)
@advance.register(CHORDPhi)
def _advance(
    rule: Fixed | CHORDPhi, state: MixState, signals: Any, step: int
) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    return reader.finish(np.full(reader.shape, rule.mu))
