"""SRFT: two loss weights driven by the policy's entropy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gac_ref.baselines._fields import real
from gac_ref.baselines._reader import Reader, constant_state
from gac_ref.baselines.protocol import MixInfo, MixState, advance, start

__all__ = ["SRFT"]


@dataclass(frozen=True, kw_only=True)
class SRFT:
    r"""SRFT's entropy weights, and the mixing weight that has their ratio.

    .. math::
        w_{sft} = c_s e^{-H}, \qquad w_{rl} = c_r e^{H}, \qquad
        \mu = \frac{w_{sft}}{w_{sft} + w_{rl}} = \frac{1}{1 + (c_r / c_s)\, e^{2H}}

    H is the mean token entropy in nats, detached. An uncertain policy imitates less. ``parts`` has
    the two weights as ``w_sft`` and ``w_rl``.

    The scalar mu is our surrogate. In the paper the weights do not sum to 1, and :math:`w_{rl}`
    multiplies the loss of the correct rollouts only: wrong rollouts keep a weight of 1, and an
    off-policy RL term on the demonstrations is added. The reimplementation in Unify-Post-Training
    takes H a sequence at a time, and has the signs above. The authors' own code is reported to
    weight the SFT term by :math:`e^{+H}`, against the paper (unverified: not read at the source);
    with that sign mu would be constant at :math:`c_s / (c_s + c_r)`.

    Args:
        sft_scale: :math:`c_s`, > 0. 0.5.
        rl_scale: :math:`c_r`, > 0. 0.1.
        init_mu: Weight held until the entropy is known, in [0, 1]. 0.5, ours.

    Raises:
        GACError: A field is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = SRFT()
        >>> _, info = baselines.update(
        ...     rule, baselines.init(rule), baselines.Signals(entropy=0.5 * np.log(5.0)), step=0)
        >>> round(float(info.mu), 12), round(float(info.parts["w_sft"] / info.parts["w_rl"]), 12)
        (0.5, 1.0)

    References:
        arXiv:2506.19767, section 4; Unify-Post-Training, ``offline_loss_type`` "srft".
    """

    sft_scale: float = 0.5
    rl_scale: float = 0.1
    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = ("entropy",)

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "sft_scale", "rl_scale", above=0.0)
        real(self, "init_mu", low=0.0, high=1.0)


start.register(SRFT)(constant_state)


@advance.register(SRFT)
def _advance(rule: SRFT, state: MixState, signals: Any, step: int) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    h = reader.read("entropy", low=0.0)
    # The odds as one exponential: scale times exponential could be 0 times infinity.
    log_odds = math.log(rule.rl_scale) - math.log(rule.sft_scale) + 2.0 * h
    with np.errstate(over="ignore"):  # beyond any vocabulary's entropy; 1 / (1 + inf) is right
        mu = 1.0 / (1.0 + np.exp(log_odds))
        w_rl = rule.rl_scale * np.exp(h)
    return reader.finish(mu, w_sft=rule.sft_scale * np.exp(-h), w_rl=w_rl)
