"""Nash-MTL: the bargaining solution between the two branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gac_ref.baselines._fields import real
from gac_ref.baselines._gram import READS, read_gram
from gac_ref.baselines._reader import Reader, constant_state
from gac_ref.baselines.protocol import MixInfo, MixState, advance, start

__all__ = ["NashMTL"]


@dataclass(frozen=True, kw_only=True)
class NashMTL:
    r"""The direction of a unit ball with the largest product of both branches' improvements.

    Its weights solve :math:`G w = 1 / w`, entry by entry. For two gradients at the angle
    :math:`\vartheta`,

    .. math::
        w_k = \frac{1}{|g_k| \sqrt{1 + \cos\vartheta}}, \qquad
        \mu = \frac{w_s}{w_s + w_r} = \frac{|g_r|}{|g_s| + |g_r|}

    the weight of :class:`gac_ref.baselines.IMTLG`: with two tasks the methods differ in the length
    of the step alone, which a mixing weight does not have. ``parts`` has ``w_sft`` and ``w_rl``,
    infinite for opposite gradients. Two zero gradients give 1/2, flagged ``flat``.

    Args:
        init_mu: Weight held until the Gram matrix is known, in [0, 1]. 0.5, ours.

    Reads ``gram_ss``, ``gram_sr``, ``gram_rr``.

    Raises:
        GACError: `init_mu` is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = NashMTL()
        >>> signals = baselines.Signals(gram_ss=1.0, gram_sr=0.0, gram_rr=9.0)
        >>> _, info = baselines.update(rule, baselines.init(rule), signals, step=0)
        >>> float(info.mu), float(info.parts["w_sft"]), round(float(info.parts["w_rl"]), 6)
        (0.75, 1.0, 0.333333)

    References:
        Navon et al., arXiv:2202.01017, section 3.
    """

    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = READS

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "init_mu", low=0.0, high=1.0)


start.register(NashMTL)(constant_state)


@advance.register(NashMTL)
def _advance(rule: NashMTL, state: MixState, signals: Any, step: int) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    ss, sr, rr = read_gram(reader)
    s, r = np.sqrt(ss), np.sqrt(rr)
    flat = np.maximum(s, r) == 0.0
    reader.flags["flat"] = np.asarray(flat)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        # Two divisions, as the product of the norms may be subnormal.
        cosine = np.where((s > 0.0) & (r > 0.0), sr / s / r, 0.0)
        turn = np.sqrt(np.maximum(1.0 + cosine, 0.0))
        parts = {"w_sft": 1.0 / (s * turn), "w_rl": 1.0 / (r * turn)}
    return reader.finish(np.where(flat, 0.5, r / np.where(flat, 1.0, s + r)), **parts)
