"""What the released controller does when the raw estimate is held at one end, then at the other."""

from __future__ import annotations

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.authority.guarded_run import run_proxies
from simulations.analysis.authority.linear import dc_gain, linear_stack

__all__ = ["largest_movement", "movement_bound", "two_runs"]


def two_runs(
    config: GACConfig, *, low: float = 0.05, high: float = 0.95, steps: int = 1400
) -> FloatArray:
    """The applied weight with the raw estimate at `low` and at `high` all along, [steps, 2].

    The proxies are noise of both branches, ``1 - raw`` and ``raw``, without disagreement, so the
    closed form gives ``raw`` at every step.

    Args:
        config: The configuration.
        low: Raw estimate of the first run, in (0, 1).
        high: That of the second, in (0, 1).
        steps: Optimiser steps, >= 1.

    Raises:
        GACError: An estimate outside (0, 1).

    Examples:
        >>> two_runs(GACConfig.released(), steps=1).round(4).tolist()
        [[0.49, 0.49]]
    """
    raw = np.array([low, high])
    if not ((raw > 0.0) & (raw < 1.0)).all():
        fail(f"raw estimates {raw.tolist()} are not inside (0, 1); pass two that are")
    values = Proxies(sigma_s2=1.0 - raw, sigma_r2=raw, delta_g2=0.0)
    return run_proxies(config, [values] * steps, (2,)).mu


def largest_movement(config: GACConfig, *, low: float, high: float, steps: int) -> float:
    """The largest distance of the two runs at any step.

    Examples:
        >>> round(largest_movement(GACConfig.released(), low=0.05, high=0.95, steps=1400), 4)
        0.0089
    """
    mu = two_runs(config, low=low, high=high, steps=steps)
    return float((mu[:, 1] - mu[:, 0]).max())


def movement_bound(config: GACConfig, *, low: float, high: float, steps: int) -> float:
    r"""What the linear theory gives: :math:`w (1 - a^T)` of the span, at most what the clip leaves.

    Examples:
        >>> round(movement_bound(GACConfig.released(), low=0.05, high=0.95, steps=1400), 4)
        0.0089
    """
    channel = linear_stack(config).estimate
    span = min(high, config.mu_max) - max(low, config.mu_min)
    linear = dc_gain(channel) * (1.0 - channel.a**steps) * (high - low)
    return min(linear, span)
