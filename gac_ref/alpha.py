r"""The KL-driven target ratio alpha.

The method states a target (0.02) and a range ([0.1, 0.95]) but no formula. Ours is the
proportional rule that the field uses for KL coefficients, turned on alpha: more drift from the
reference policy means more anchoring to the demonstrations. Considered and left: the integral
form of TRL and verl scaled by ``n / horizon`` (the horizon would be one more invented number),
and a rule additive in alpha (not scale-free near the lower bound).
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import ArrayLike, BoolArray, FloatArray
from gac_ref.errors import fail

__all__ = ["kl_alpha"]

ERROR_CLIP = 0.2
"""Bound of the relative KL error (Ziegler et al., section 2.2)."""


def kl_alpha(
    alpha: ArrayLike,
    kl: ArrayLike,
    *,
    target: float = 0.02,
    gain: float = 0.1,
    low: float = 0.1,
    high: float = 0.95,
) -> tuple[FloatArray, BoolArray]:
    r"""One step of the proportional rule for alpha.

    .. math::
        e = \mathrm{clip}(\mathrm{KL}/\mathrm{KL}_{target} - 1,\, -0.2,\, 0.2), \qquad
        \alpha \leftarrow \mathrm{clip}(\alpha\,(1 + g e),\, \alpha_{min},\, \alpha_{max})

    Args:
        alpha: Current alpha, any shape, in [low, high].
        kl: KL to the reference policy, nats, broadcastable against `alpha`.
        target: KL at which alpha rests, nats, > 0.
        gain: g, >= 0.
        low: Lower bound of alpha.
        high: Upper bound of alpha.

    Returns:
        The new alpha, and whether a bound acted.

    Raises:
        GACError: `target` is not positive.

    Examples:
        >>> alpha, clipped = kl_alpha(0.5, 0.04)
        >>> float(alpha), bool(clipped)
        (0.51, False)

    References:
        Ziegler et al., arXiv:1909.08593, section 2.2 (the rule, there for the KL coefficient).
    """
    if not target > 0.0:
        fail(f"target = {target!r} is not positive; pass the KL (nats) at which alpha should rest")
    error = np.clip(np.asarray(kl, dtype=np.float64) / target - 1.0, -ERROR_CLIP, ERROR_CLIP)
    proposed = np.asarray(alpha, dtype=np.float64) * (1.0 + gain * error)
    return np.clip(proposed, low, high), np.asarray((proposed < low) | (proposed > high))
