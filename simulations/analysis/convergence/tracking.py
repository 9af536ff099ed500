r"""How well an exponential average follows a statistic that drifts: the local-level model.

.. math::
    x_t = x_{t-1} + w_t, \quad y_t = x_t + v_t, \qquad E w^2 = q, \; E v^2 = r

The average :math:`m_t = \beta m_{t-1} + (1 - \beta) y_t` has the stationary mean square error

.. math::
    E (m_t - x_t)^2 = \underbrace{\frac{\beta^2 q}{1 - \beta^2}}_{\text{lag}}
        + \underbrace{\frac{(1 - \beta)\, r}{1 + \beta}}_{\text{variance}},

least at :math:`\beta = 1 - K` with the steady Kalman gain
:math:`K = \tfrac12 (\sqrt{s^2 + 4 s} - s)`, :math:`s = q / r`, where it is :math:`K r`. A step here
is a refresh: the released statistics take in one batch of every `mu_update_freq`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gac_ref import GACConfig, Proxies, init, update_from_proxies
from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail

__all__ = ["Tracking", "drift_for", "ema_error", "kalman_gain", "simulated_error"]

LEVEL = 1e4
"""Where the simulated variance starts, in standard deviations of its noise: far from 0."""


class Tracking(NamedTuple):
    """The parts of a mean square error, [...] each.

    Args:
        lag: From following too slowly.
        variance: From the noise that is let through.
    """

    lag: FloatArray
    variance: FloatArray

    @property
    def total(self) -> FloatArray:
        """Their sum."""
        return np.asarray(self.lag + self.variance)


def kalman_gain(drift_ratio: ArrayLike) -> FloatArray:
    r"""Steady gain of the local-level model; the best average has :math:`\beta = 1 - K`.

    Args:
        drift_ratio: s = q / r, drift variance a step over observation variance, >= 0, [...].

    Returns:
        K, in [0, 1), [...].

    Raises:
        GACError: A negative or NaN ratio.

    Examples:
        >>> kalman_gain([0.0, 0.5]).tolist()
        [0.0, 0.5]

    References:
        Muth, "Optimal properties of exponentially weighted forecasts", JASA 55, 1960; Durbin and
        Koopman, "Time Series Analysis by State Space Methods", section 2.11.
    """
    s = np.asarray(drift_ratio, dtype=np.float64)
    if not (s >= 0.0).all():
        fail(f"drift_ratio = {float(s.min())!r} is not >= 0; pass a ratio of two variances")
    root = np.sqrt(s * s + 4.0 * s)
    # 2 s / (root + s): the difference root - s would cancel for a fast drift.
    return np.asarray(2.0 * s / np.where(root > 0.0, root + s, 1.0))


def drift_for(beta: ArrayLike) -> FloatArray:
    r"""The drift ratio q / r for which a given :math:`\beta` is the best, (1 - beta)^2 / beta.

    Args:
        beta: In (0, 1], [...].

    Returns:
        s, [...].

    Examples:
        >>> float(drift_for(0.5))
        0.5
    """
    b = np.asarray(beta, dtype=np.float64)
    return np.asarray((1.0 - b) ** 2 / b)


def ema_error(beta: ArrayLike, drift: ArrayLike, noise: ArrayLike) -> Tracking:
    r"""Stationary mean square error of an exponential average, in its two parts.

    Args:
        beta: In [0, 1), [...].
        drift: q >= 0.
        noise: r >= 0.

    Returns:
        Lag and variance.

    Raises:
        GACError: `beta` is outside [0, 1): an average that never forgets has no stationary error.

    Examples:
        >>> parts = ema_error(0.5, 1.0, 2.0)
        >>> round(float(parts.lag), 12), round(float(parts.variance), 12), float(parts.total)
        (0.333333333333, 0.666666666667, 1.0)
    """
    b, q, r = (np.asarray(value, dtype=np.float64) for value in (beta, drift, noise))
    if not ((b >= 0.0) & (b < 1.0)).all():
        fail(f"beta = {np.asarray(beta)!r} is not in [0, 1); pass such a weight")
    # (1 - b)(1 + b): 1 - b^2 would lose what little is left near 1.
    return Tracking(lag=b * b * q / ((1.0 - b) * (1.0 + b)), variance=(1.0 - b) / (1.0 + b) * r)


def simulated_error(
    betas: Sequence[float],
    drift_ratios: Sequence[float],
    *,
    trajectories: int,
    steps: int,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Mean square error of the controller's own smoothed sigma_r2 under a random walk.

    The walk, far above 0, is fed to :func:`gac_ref.update_from_proxies` with unit observation
    noise; the error is taken after the last step, when every average has settled.

    Args:
        betas: Values of `ema_beta`.
        drift_ratios: q / r, with r = 1.
        trajectories: Independent walks of each ratio, >= 8.
        steps: Refreshes, many times the longest memory 1 / (1 - beta).
        seed: Of the walks, which all betas share.

    Returns:
        The means and their standard errors, [Q, B].

    Raises:
        GACError: Too few trajectories, or too few steps to settle.

    Examples:
        >>> mean, error = simulated_error([0.5], [0.5], trajectories=64, steps=40, seed=0)
        >>> bool(abs(mean[0, 0] - 0.5) < 5.0 * error[0, 0])
        True
    """
    if trajectories < 8:
        fail(f"trajectories = {trajectories} is too few for a standard error; pass at least 8")
    if max(betas) ** steps > 1e-6:
        fail(f"steps = {steps} leaves {max(betas) ** steps:.2g} of the start; pass more")
    shape = (len(drift_ratios), trajectories)
    spread = np.sqrt(np.asarray(drift_ratios))[:, None]
    configs = [GACConfig(ema_beta=b, mu_update_freq=1, prior="none") for b in betas]
    states = [init(config, shape) for config in configs]
    rng = np.random.default_rng(seed)
    level = np.full(shape, LEVEL)
    for step in range(steps):
        level = level + spread * rng.standard_normal(shape)
        seen = Proxies(1.0, level + rng.standard_normal(shape), 0.0)
        for index, config in enumerate(configs):
            states[index], _ = update_from_proxies(config, states[index], seen, step=step)
    squared = np.stack([(state.sigma_r2 - level) ** 2 for state in states], axis=1)
    return squared.mean(axis=-1), squared.std(axis=-1, ddof=1) / np.sqrt(trajectories)
