"""Steady-state authority of the estimate, by running the guards (method.md, section 4)."""

from __future__ import annotations

from typing import Any

from mpmath import mp

from .controller import weight_chain
from .exact import real
from .priors import prior_at

SETTLED = mp.mpf(10) ** -42
"""Largest one-step movement of mu and of the weight EMA that counts as a fixed point."""

FAR_STEP = 10**9
"""A step far beyond any warm-up and decay, where the prior is constant."""


def fixed_point(
    config: dict[str, Any], mu_raw: Any, *, prior: Any = None, limit: int = 500_000
) -> Any:
    """Applied mu after the guards are iterated to rest at a constant ``mu_raw``, cap off.

    ``prior`` defaults to the schedule's final value; the clips to [mu_min, mu_max] stay on.
    """
    free = {**config, "mu_change_cap": mp.inf}
    constant = prior_at(config, FAR_STEP) if prior is None else real(prior)
    mu = mu_ada = real(config["init_mu"])
    for _ in range(limit):
        chain = weight_chain(free, mu, mu_ada, mu_raw, constant)
        moved = max(abs(chain["mu"] - mu), abs(chain["mu_ada"] - mu_ada))
        mu, mu_ada = chain["mu"], chain["mu_ada"]
        if moved < SETTLED:
            return mu
    raise ValueError(f"fixed_point: not settled after {limit} iterations, moved {moved}")


def gain(config: dict[str, Any], *, low: Any = 0.4, high: Any = 0.6, prior: Any = None) -> Any:
    """Authority ``(mu(high) - mu(low))/(high - low)`` at rest.

    It is the linear gain only while no clip binds at either end: choose ``low``, ``high`` and
    ``prior`` so that the fixed points are inside (mu_min, mu_max).
    """
    top = fixed_point(config, high, prior=prior)
    bottom = fixed_point(config, low, prior=prior)
    return (top - bottom) / (real(high) - real(low))
