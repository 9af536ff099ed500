"""CAGrad: the direction near the average gradient that helps the worse-off branch most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.baselines._fields import real
from gac_ref.baselines._gram import READS, read_scaled_gram
from gac_ref.baselines._reader import Reader, constant_state
from gac_ref.baselines.protocol import MixInfo, MixState, advance, start
from gac_ref.errors import fail

__all__ = ["CAGrad"]


@dataclass(frozen=True, kw_only=True)
class CAGrad:
    r"""Conflict-averse gradient descent.

    .. math::
        \max_d \min(\langle g_s, d\rangle, \langle g_r, d\rangle)
        \quad\text{with}\quad |d - g_0| \le c\, |g_0|, \qquad g_0 = \tfrac12 (g_s + g_r)

    The solution is :math:`d = g_0 + \lambda g_w`, with :math:`g_w = w g_s + (1 - w) g_r`,
    :math:`\lambda = c |g_0| / |g_w|` and

    .. math::
        w = \arg\min_{w \in [0, 1]} \langle g_w, g_0\rangle + c\, |g_0|\, |g_w|, \qquad
        w_s = \tfrac12 + \lambda w,\quad w_r = \tfrac12 + \lambda (1 - w), \qquad
        \mu = \frac{w_s}{w_s + w_r}

    For two gradients w has a closed form: with :math:`D = |g_s - g_r|^2`,
    :math:`m = (G_{rr} - G_{sr}) / D`, :math:`h = (G_{ss} G_{rr} - G_{sr}^2) / D`,
    :math:`a = (G_{ss} - G_{rr}) / 2` and :math:`q = c^2 |g_0|^2 D - a^2`,

    .. math:: w = \mathrm{clip}\bigl(m - a \sqrt{h / (q D)},\, 0,\, 1\bigr)
        \ \text{ where } q > 0, \quad\text{else } 0 \text{ for } a > 0,\ 1 \text{ for } a < 0

    c = 0 is the average, mu = 1/2. Two gradients that are equal, opposite of one length, or of
    which one is 0 leave the average, which is a solution then; the flag ``flat`` says so. ``parts``
    has ``w_sft`` and ``w_rl``.

    Args:
        c: Radius of the ball over the average's length, in [0, 1), where the method converges to a
            minimum of the average loss. 0.5; the paper's experiments have 0.2 to 0.5.
        init_mu: Weight held until the Gram matrix is known, in [0, 1]. 0.5, ours.

    Reads ``gram_ss``, ``gram_sr``, ``gram_rr``.

    Raises:
        GACError: A field is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> signals = baselines.Signals(gram_ss=1.0, gram_sr=0.0, gram_rr=3.0)
        >>> for c in (0.0, 0.6, 0.9):
        ...     rule = CAGrad(c=c)
        ...     _, info = baselines.update(rule, baselines.init(rule), signals, step=0)
        ...     print(round(float(info.mu), 6))
        0.5
        0.6875
        0.736842

    References:
        Liu et al., arXiv:2110.14048, equation 3 and Algorithm 1.
    """

    c: float = 0.5
    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = READS

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "c", low=0.0)
        if self.c >= 1.0:
            fail(f"CAGrad: c = {self.c!r} is outside [0, 1); pass a value in that range")
        real(self, "init_mu", low=0.0, high=1.0)


start.register(CAGrad)(constant_state)


@advance.register(CAGrad)
def _advance(rule: CAGrad, state: MixState, signals: Any, step: int) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    ss, sr, rr = read_scaled_gram(reader)
    radius = rule.c * np.sqrt(np.maximum(ss + rr + 2.0 * sr, 0.0)) / 2.0
    w = _worst_case(ss, sr, rr, radius)
    length = np.sqrt(np.maximum(w * w * ss + 2.0 * w * (1.0 - w) * sr + (1.0 - w) ** 2 * rr, 0.0))
    flat = (length == 0.0) | (ss + rr - 2.0 * sr <= 0.0)
    reader.flags["flat"] = np.asarray(flat)
    radius, length = np.where(flat, 0.0, radius), np.where(flat, 1.0, length)
    with np.errstate(over="ignore"):
        share = radius / length
        parts = {"w_sft": 0.5 + share * w, "w_rl": 0.5 + share * (1.0 - w)}
    # Times the length, as the share of a gradient that almost vanishes may be infinite.
    return reader.finish((0.5 * length + radius * w) / (length + radius), **parts)


def _worst_case(ss: FloatArray, sr: FloatArray, rr: FloatArray, radius: FloatArray) -> FloatArray:
    """The w that minimises the convex dual, [...], in [0, 1]."""
    distance = np.maximum(ss + rr - 2.0 * sr, 0.0)
    tilt = 0.5 * (ss - rr)
    reach = radius * radius * distance - tilt * tilt
    inside = reach > 0.0
    scale = np.where(inside, distance, 1.0)
    height = np.maximum(ss * rr - sr * sr, 0.0) / scale
    shift = tilt * np.sqrt(height / (np.where(inside, reach, 1.0) * scale))
    edge = np.where(tilt > 0.0, 0.0, np.where(tilt < 0.0, 1.0, 0.5))
    return np.where(inside, np.clip((rr - sr) / scale - shift, 0.0, 1.0), edge)
