"""UPGrad: the mean of the gradients, each projected to conflict with none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gac_ref.baselines._fields import real
from gac_ref.baselines._gram import READS, read_gram
from gac_ref.baselines._reader import Reader, constant_state
from gac_ref.baselines.gradients import surgery
from gac_ref.baselines.protocol import MixInfo, MixState, advance, start

__all__ = ["UPGrad"]


@dataclass(frozen=True, kw_only=True)
class UPGrad:
    r"""Unconflicting projection of gradients.

    Each gradient is projected onto the cone of directions that descend both losses, and the
    projections are averaged:

    .. math::
        d = \tfrac12 (\pi g_s + \pi g_r), \qquad
        \pi g = \arg\min_{x} |x - g| \ \text{ with }\
        \langle g_s, x\rangle \ge 0,\ \langle g_r, x\rangle \ge 0

    For two gradients the projection removes the component along the other where they conflict, so
    that d is half the direction of :class:`gac_ref.baselines.PCGrad` and mu is the same: the
    methods differ from three tasks on. ``parts`` has ``w_sft`` and ``w_rl``, and the flag
    ``conflict`` says where they are not 1/2.

    Args:
        init_mu: Weight held until the Gram matrix is known, in [0, 1]. 0.5, ours.

    Reads ``gram_ss``, ``gram_sr``, ``gram_rr``.

    Raises:
        GACError: `init_mu` is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = UPGrad()
        >>> signals = baselines.Signals(gram_ss=1.0, gram_sr=-1.0, gram_rr=2.0)
        >>> _, info = baselines.update(rule, baselines.init(rule), signals, step=0)
        >>> float(info.parts["w_sft"]), float(info.parts["w_rl"]), round(float(info.mu), 6)
        (1.0, 0.75, 0.571429)

    References:
        Quinton and Rey, arXiv:2406.16232, section 3.
    """

    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = READS

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "init_mu", low=0.0, high=1.0)


start.register(UPGrad)(constant_state)


@advance.register(UPGrad)
def _advance(rule: UPGrad, state: MixState, signals: Any, step: int) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    w_s, w_r, conflict = surgery(*read_gram(reader))
    reader.flags["conflict"] = conflict
    return reader.finish(1.0 / (1.0 + w_r / w_s), w_sft=0.5 * w_s, w_rl=0.5 * w_r)
