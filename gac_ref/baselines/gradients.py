r"""Multi-task gradient combination for two tasks, as mixing weights: MGDA, PCGrad, IMTL-G.

With :math:`G = \begin{pmatrix} G_{ss} & G_{sr} \\ G_{sr} & G_{rr} \end{pmatrix}` the Gram matrix of
the two measured gradients, each method is :math:`w_s g_s + w_r g_r` with weights that depend on G
alone. The rules give :math:`\mu = w_s / (w_s + w_r)` and keep the weights in ``parts``, since the
normalisation drops the length of the step; :mod:`gac_ref.baselines.cagrad`,
:mod:`gac_ref.baselines.nash_mtl` and :mod:`gac_ref.baselines.upgrad` do the same. All of them see
the measured gradients, noise included: none knows about :math:`\sigma^2`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gac_ref._typing import BoolArray, FloatArray
from gac_ref.baselines._fields import real
from gac_ref.baselines._gram import READS, read_gram, read_scaled_gram
from gac_ref.baselines._reader import Reader, constant_state
from gac_ref.baselines.protocol import MixInfo, MixState, advance, start

__all__ = ["IMTLG", "MGDA", "PCGrad"]


@dataclass(frozen=True, kw_only=True)
class MGDA:
    r"""The convex combination of the two gradients with the smallest norm.

    .. math::
        \mu = \mathrm{clip}\Bigl(\frac{G_{rr} - G_{sr}}{G_{ss} + G_{rr} - 2 G_{sr}},\, 0,\, 1\Bigr)
            = \arg\min_{\mu \in [0, 1]} |\mu g_s + (1 - \mu) g_r|^2

    Its direction descends both losses, or vanishes. The denominator is 0 where the two gradients
    are equal: then every weight is a minimiser, and mu is 1/2, flagged ``flat``.

    Args:
        init_mu: Weight held until the Gram matrix is known, in [0, 1]. 0.5, ours.

    Reads ``gram_ss``, ``gram_sr``, ``gram_rr``.

    Raises:
        GACError: `init_mu` is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = MGDA()
        >>> signals = baselines.Signals(gram_ss=1.0, gram_sr=0.0, gram_rr=3.0)
        >>> float(baselines.update(rule, baselines.init(rule), signals, step=0)[1].mu)
        0.75

    References:
        Desideri, Comptes Rendus Mathematique 350(5-6), 2012; Sener and Koltun, arXiv:1810.04650,
        section 3.2, for two tasks.
    """

    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = READS

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "init_mu", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class PCGrad:
    r"""Gradient surgery: where the gradients conflict, each loses its component along the other.

    .. math::
        w_s = 1 - \frac{\min(G_{sr}, 0)}{G_{ss}}, \qquad
        w_r = 1 - \frac{\min(G_{sr}, 0)}{G_{rr}}, \qquad \mu = \frac{w_s}{w_s + w_r}

    For two tasks the sum of the projected gradients has these weights, in either order. Without
    conflict both are 1 and mu is 1/2. Under conflict the shorter gradient gains.
    ``parts`` has ``w_sft`` and ``w_rl``, and the flag ``conflict`` says where they are not 1.

    Args:
        init_mu: Weight held until the Gram matrix is known, in [0, 1]. 0.5, ours.

    Reads ``gram_ss``, ``gram_sr``, ``gram_rr``.

    Raises:
        GACError: `init_mu` is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = PCGrad()
        >>> signals = baselines.Signals(gram_ss=1.0, gram_sr=-1.0, gram_rr=2.0)
        >>> _, info = baselines.update(rule, baselines.init(rule), signals, step=0)
        >>> float(info.parts["w_sft"]), float(info.parts["w_rl"]), round(float(info.mu), 6)
        (2.0, 1.5, 0.571429)

    References:
        Yu et al., arXiv:2001.06782, Algorithm 1.
    """

    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = READS

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "init_mu", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class IMTLG:
    r"""IMTL-G: the affine combination with equal projections on both gradients' directions.

    .. math:: \mu |g_s| = (1 - \mu) |g_r|
        \quad\Longleftrightarrow\quad \mu = \frac{|g_r|}{|g_s| + |g_r|}

    which holds for any angle but 0, where every weight has equal projections and this one is the
    limit. Two zero gradients give 1/2, flagged ``flat``.

    Args:
        init_mu: Weight held until both norms are known, in [0, 1]. 0.5, ours.

    Reads ``grad_norm_s``, ``grad_norm_r``.

    Raises:
        GACError: `init_mu` is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = IMTLG()
        >>> signals = baselines.Signals(grad_norm_s=1.0, grad_norm_r=3.0)
        >>> float(baselines.update(rule, baselines.init(rule), signals, step=0)[1].mu)
        0.75

    References:
        Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, section 3.1.
    """

    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = ("grad_norm_s", "grad_norm_r")

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "init_mu", low=0.0, high=1.0)


start.register(MGDA)(constant_state)
start.register(PCGrad)(constant_state)
start.register(IMTLG)(constant_state)


@advance.register(MGDA)
def _advance_mgda(rule: MGDA, state: MixState, signals: Any, step: int) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    ss, sr, rr = read_scaled_gram(reader)
    distance = ss + rr - 2.0 * sr
    flat = distance <= 0.0
    reader.flags["flat"] = np.asarray(flat)
    ratio = np.where(flat, 0.5, (rr - sr) / np.where(flat, 1.0, distance))
    return reader.finish(np.clip(ratio, 0.0, 1.0))


@advance.register(PCGrad)
def _advance_pcgrad(
    rule: PCGrad, state: MixState, signals: Any, step: int
) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    w_s, w_r, conflict = surgery(*read_gram(reader))
    reader.flags["conflict"] = conflict
    # w_r / w_s, not w_s / (w_s + w_r): one of the two may be infinite, never both.
    return reader.finish(1.0 / (1.0 + w_r / w_s), w_sft=w_s, w_rl=w_r)


def surgery(
    ss: FloatArray, sr: FloatArray, rr: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Weights of both gradients in the sum of the projected ones, and where they conflict."""
    conflict = (sr < 0.0) & (ss > 0.0) & (rr > 0.0)
    with np.errstate(over="ignore"):
        w_s = 1.0 - np.where(conflict, sr, 0.0) / np.where(conflict, ss, 1.0)
        w_r = 1.0 - np.where(conflict, sr, 0.0) / np.where(conflict, rr, 1.0)
    return w_s, w_r, np.asarray(conflict)


@advance.register(IMTLG)
def _advance_imtl_g(
    rule: IMTLG, state: MixState, signals: Any, step: int
) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    s = reader.read("grad_norm_s", low=0.0)
    r = reader.read("grad_norm_r", low=0.0)
    longer = np.maximum(s, r)
    flat = longer == 0.0
    reader.flags["flat"] = np.asarray(flat)
    scale = np.where(flat, 1.0, longer)
    s, r = s / scale, r / scale
    return reader.finish(np.where(flat, 0.5, r / np.where(flat, 1.0, s + r)))
