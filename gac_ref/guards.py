r"""The guards: pure functions, each with a flag that says whether it acted.

Their order is not here; it is written once, in :mod:`gac_ref.controller`. All broadcast over
trajectories and work in float64.
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import ArrayLike, BoolArray, FloatArray

__all__ = ["blend", "cap_change", "cap_disagreement", "clip", "ema", "guarded_closed_form"]


def ema(previous: ArrayLike, value: ArrayLike, beta: float) -> FloatArray:
    r"""Exponential moving average, :math:`\beta x_{t-1} + (1 - \beta) v_t`.

    This order of operations is the released one; ``previous + (1 - beta) * (value - previous)``
    rounds differently.

    Args:
        previous: :math:`x_{t-1}`, any shape.
        value: :math:`v_t`, broadcastable.
        beta: In [0, 1).

    Returns:
        The average. For beta in [0, 1) it lies between the two arguments, up to rounding.

    Examples:
        >>> float(ema(1.0, 0.0, 0.75))
        0.75
    """
    return np.asarray(beta * np.asarray(previous) + (1.0 - beta) * np.asarray(value))


def blend(adaptive: ArrayLike, prior: ArrayLike, weight: float) -> FloatArray:
    r"""Prior blend, :math:`(1 - \lambda)\,\mathrm{prior} + \lambda\,\mu_{ada}`.

    Args:
        adaptive: The adaptive weight, any shape.
        prior: The schedule prior, broadcastable.
        weight: :math:`\lambda`, in [0, 1].

    Returns:
        The blend.

    Examples:
        >>> float(blend(0.5, 0.9, 0.75))
        0.6
    """
    return np.asarray((1.0 - weight) * np.asarray(prior) + weight * np.asarray(adaptive))


def cap_change(
    candidate: ArrayLike, previous: ArrayLike, cap: float
) -> tuple[FloatArray, BoolArray]:
    r"""Limit the change of the applied weight to `cap` a step.

    .. math:: \mu_{t-1} + \mathrm{clip}(\mu_{cand} - \mu_{t-1}, -c, c)

    Where the cap does not act the candidate is returned as it is, to the bit.

    Args:
        candidate: Proposed weight, any shape.
        previous: Weight applied last, broadcastable.
        cap: c, > 0.

    Returns:
        The capped weight, and where the cap acted.

    Examples:
        >>> value, acted = cap_change(0.9, 0.5, 0.01)
        >>> float(value), bool(acted)
        (0.51, True)
    """
    change = np.asarray(np.subtract(candidate, previous))
    if -cap <= change.min(initial=0.0) and change.max(initial=0.0) <= cap:  # two reductions
        return _spread(np.asarray(candidate), change.shape), np.zeros(change.shape, dtype=np.bool_)
    acted = np.abs(change) > cap
    return np.where(acted, previous + np.copysign(cap, change), candidate), acted


def clip(value: ArrayLike, low: float, high: float) -> tuple[FloatArray, BoolArray]:
    """Clip to [low, high].

    Args:
        value: Any shape.
        low: Lower bound.
        high: Upper bound.

    Returns:
        The clipped value, and where a bound acted (a value on the bound is left, not clipped).

    Examples:
        >>> value, acted = clip(0.95, 0.05, 0.9)
        >>> float(value), bool(acted)
        (0.9, True)
    """
    value = np.asarray(value)
    if low <= value.min(initial=high) and value.max(initial=low) <= high:  # NaN fails these
        return value, np.zeros(value.shape, dtype=np.bool_)
    clipped = np.minimum(np.maximum(value, low), high)
    return clipped, (value < low) | (value > high)


def cap_disagreement(
    delta_g2: ArrayLike, sigma_s2: ArrayLike, sigma_r2: ArrayLike, *, ratio: float, eps: float
) -> tuple[FloatArray, BoolArray]:
    r"""Cap the disagreement at ``ratio * (sigma_s2 + sigma_r2 + eps)``; a ratio of 0 is off.

    Args:
        delta_g2: Squared disagreement, any shape, >= 0.
        sigma_s2: Noise of the SFT branch, broadcastable, >= 0.
        sigma_r2: Noise of the RL branch, broadcastable, >= 0.
        ratio: >= 0.
        eps: >= 0.

    Returns:
        The capped disagreement, and where the cap acted.

    Examples:
        >>> value, acted = cap_disagreement(9.0, 1.0, 2.0, ratio=2.0, eps=0.0)
        >>> float(value), bool(acted)
        (6.0, True)
    """
    delta_g2 = np.asarray(delta_g2)
    if ratio == 0.0:
        shape = np.broadcast(delta_g2, sigma_s2, sigma_r2).shape
        return _spread(delta_g2, shape), np.zeros(shape, dtype=np.bool_)
    limit = np.asarray(ratio * (np.add(sigma_s2, sigma_r2) + eps))
    acted = delta_g2 > limit
    return np.where(acted, limit, delta_g2), acted


def guarded_closed_form(
    sigma_s2: ArrayLike,
    sigma_r2: ArrayLike,
    delta_g2: ArrayLike,
    alpha: ArrayLike,
    *,
    flat_risk: str,
    eps: float,
) -> tuple[FloatArray, BoolArray]:
    r"""The closed form with a stated answer where the risk is flat.

    "alpha" is the exact ratio, and alpha where the disagreement and both variances are at most
    twice :math:`\epsilon`, the floor of the variances: there is nothing left to choose by. (Twice,
    so that neither rounding nor the tail of an EMA decides.) "zero" is the released
    form, :math:`(\alpha\Delta^2 + \sigma_r^2) / (\Delta^2 + \sigma_s^2 + \sigma_r^2 + \epsilon)`
    everywhere: 0 where all three are 0, and 1/3 where both variances lie on their floor.

    Args:
        sigma_s2: Noise of the SFT branch, any shape, >= 0.
        sigma_r2: Noise of the RL branch, broadcastable, >= 0.
        delta_g2: Squared disagreement, broadcastable, >= 0.
        alpha: Target ratio, broadcastable, in [0, 1].
        flat_risk: "alpha" or "zero".
        eps: The floor, >= 0.

    Returns:
        The raw weight in [0, 1], and where the risk is flat.

    Examples:
        >>> value, flat = guarded_closed_form(0.0, 0.0, 0.0, 0.3, flat_risk="alpha", eps=1e-8)
        >>> float(value), bool(flat)
        (0.3, True)
    """
    d, s, r = np.asarray(delta_g2), np.asarray(sigma_s2), np.asarray(sigma_r2)
    top = np.asarray(alpha * d + r)
    bottom: FloatArray = np.asarray(d + s + r, dtype=np.float64)
    if (
        d.min(initial=np.inf) > 2.0 * eps
    ):  # one reduction spares four comparisons in the common case
        flat = np.zeros(bottom.shape, dtype=np.bool_)
        if flat_risk == "zero":
            bottom = bottom + eps
        return top / bottom, flat
    flat = np.maximum(np.maximum(s, r), d) <= 2.0 * eps
    if flat_risk == "zero":
        bottom = bottom + eps
        return top / np.where(bottom == 0.0, 1.0, bottom), flat
    return np.where(flat, alpha, top / np.where(bottom == 0.0, 1.0, bottom)), flat


def _spread(value: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The value in the trajectories' shape; mostly it has it, and to broadcast takes time."""
    return value if value.shape == shape else np.broadcast_to(value, shape)
