r"""Schedule priors: functions of the step alone.

The warm-up/cosine schedule is CHORD's, as released: it starts at 0, whereas the method notes say
that mu itself "starts near 0.85"; that start is the end of the warm-up, not step 0.
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.config import GACConfig

__all__ = ["linear", "prior_at", "warmup_cosine"]


def warmup_cosine(
    step: ArrayLike,
    *,
    warmup: int = 200,
    decay: int = 800,
    peak: float = 0.85,
    valley: float = 0.15,
) -> FloatArray:
    r"""Linear 0 to `peak` over `warmup` steps, cosine to `valley` over `decay`, then `valley`.

    .. math::
        \mathrm{prior}(t) = \begin{cases}
            p\, t / \max(1, W) & t < W \\
            v + (p - v)\,\tfrac12\bigl(1 + \cos(\pi (t - W) / \max(1, D))\bigr) & W \le t < W + D \\
            v & t \ge W + D \end{cases}

    Args:
        step: Steps since the start, any shape, >= 0.
        warmup: W, steps, >= 0.
        decay: D, steps, >= 0.
        peak: p, in [0, 1].
        valley: v, in [0, 1].

    Returns:
        The prior, float64, of the shape of `step`, in [0, 1].

    Examples:
        >>> warmup_cosine([0, 100, 200, 600, 1000]).tolist()
        [0.0, 0.425, 0.85, 0.5, 0.15]

    References:
        CHORD-mu, arXiv:2508.11408; the released ``mu_schedule``.
    """
    t = np.asarray(step, dtype=np.float64)
    rising = (t / max(1, warmup)) * peak
    progress = (t - warmup) / max(1, decay)
    falling = valley + (peak - valley) * (0.5 * (1.0 + np.cos(np.pi * progress)))
    return np.where(t < warmup, rising, np.where(t >= warmup + decay, valley, falling))


def linear(step: ArrayLike, *, steps: int, start: float, end: float) -> FloatArray:
    r"""A straight line from `start` to `end` over `steps`, then `end`.

    Args:
        step: Steps since the start, any shape, >= 0.
        steps: Length of the ramp, >= 0.
        start: Value at step 0.
        end: Value from `steps` on.

    Returns:
        ``start + (end - start) * min(step / steps, 1)``, float64, of the shape of `step`.

    Examples:
        >>> linear([0, 5, 10, 20], steps=10, start=1.0, end=0.0).tolist()
        [1.0, 0.5, 0.0, 0.0]
    """
    t = np.asarray(step, dtype=np.float64)
    return np.where(t >= steps, end, start + (end - start) * (t / max(1, steps)))


def prior_at(config: GACConfig, step: int) -> float:
    """The configured prior at one step; NaN when `config.prior` is "none".

    Examples:
        >>> prior_at(GACConfig(), 200)
        0.85
        >>> prior_at(GACConfig(prior="none"), 200)
        nan
    """
    if config.prior == "none":
        return float("nan")
    return float(
        warmup_cosine(
            step,
            warmup=config.prior_warmup,
            decay=config.prior_decay,
            peak=config.prior_peak,
            valley=config.prior_valley,
        )
    )
