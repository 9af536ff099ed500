r"""Who moved mu: an exact sum of contributions, one for each input of the guards.

One step of the guards, written as deviations from an origin o, is linear in what comes in once the
amounts that the cap and the clips took off are counted as inputs of their own:

.. math::
    a_t - o &= \beta_t (c_{t-1} - o) + (1 - \beta_t)(\mu_{raw,t} - o) + r^{ada}_t \\
    \mu_t - o &= \lambda (a_t - o) + (1 - \lambda)(\mathrm{prior}_t - o) + r^{cap}_t + r^{clip}_t

with c what feeds the weight EMA (the applied mu, or a itself), :math:`\beta_t = 1` where there is
no estimate, and r what each saturation changed. The weights of the first three sum to 1, so nothing
is left over. Each contribution obeys the same recursion alone, and their sum is mu, up to rounding.

With the initial weight as origin the initial value contributes nothing, and the others sum to the
movement since the start.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref import GACConfig, guards
from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.authority.guarded_run import GuardedRun
from simulations.analysis.question import finite

__all__ = ["PARTS", "Decomposition", "covariance_shares", "decompose", "path_shares"]

PARTS = ("estimate", "prior", "initial", "cap", "clip")
"""The contributions, in their order."""

_ESTIMATE, _PRIOR, _INITIAL, _CAP, _CLIP = range(5)


class Decomposition(NamedTuple):
    """Contributions to mu.

    Args:
        origin: What the contributions are deviations from.
        parts: Contribution of each of :data:`PARTS` at each step, [5, T, ...].
        mu: The applied weight, [T, ...]; ``origin + parts.sum(axis=0)`` up to rounding.
    """

    origin: float
    parts: FloatArray
    mu: FloatArray

    @property
    def residual(self) -> float:
        """Largest distance of the sum from mu."""
        return float(np.abs(self.origin + self.parts.sum(axis=0) - self.mu).max())


def decompose(config: GACConfig, run: GuardedRun, *, origin: float | None = None) -> Decomposition:
    """Contributions of estimate, prior, initial value, cap and clip at every step.

    Args:
        config: The configuration that the run was made with.
        run: The run, from its first step on.
        origin: Value that contributions are measured from; the initial weight when None.

    Returns:
        The contributions.

    Raises:
        GACError: A value of the run is not finite.

    Examples:
        >>> from gac_ref import Proxies
        >>> from simulations.analysis.authority.guarded_run import run_proxies
        >>> config = GACConfig(prior="none", ema_beta=0.5, mu_change_cap=1.0)
        >>> run = run_proxies(config, [Proxies(1.0, 3.0, 0.0)] * 2)
        >>> decompose(config, run).parts[:2].tolist()
        [[0.125, 0.1875], [0.0, 0.0]]
    """
    finite(run.mu, "mu of the run")
    start = config.init_mu if origin is None else float(origin)
    blended = config.prior != "none"
    lam = config.blend_weight if blended else 1.0
    beta = 0.0 if config.weight_ema == "off" else config.ema_beta
    internal = config.weight_ema == "internal"
    steps, lead = run.mu.shape[0], run.mu.shape[1:]
    parts = np.empty((len(PARTS), steps, *lead))
    carried = np.zeros((len(PARTS), *lead))
    carried[_INITIAL] = config.init_mu - start
    fed = np.full(lead, config.init_mu)
    for t in range(steps):
        keep = np.where(run.held[t], 1.0, beta)
        adaptive = keep * carried
        adaptive[_ESTIMATE] += (1.0 - keep) * (run.mu_raw[t] - start)
        smoothed = run.mu_raw[t] if beta == 0.0 else guards.ema(fed, run.mu_raw[t], beta)
        unclipped = np.where(run.held[t], fed, smoothed)
        adaptive[_CLIP] += np.where(run.ada_clipped[t], run.mu_ada[t] - unclipped, 0.0)
        now = lam * adaptive
        if blended:
            now[_PRIOR] += (1.0 - lam) * (run.prior[t] - start)
        capped, clipped = run.change_capped[t], run.mu_clipped[t]
        now[_CAP] += np.where(capped, run.mu_capped[t] - run.mu_candidate[t], 0.0)
        now[_CLIP] += np.where(clipped, run.mu[t] - run.mu_capped[t], 0.0)
        parts[:, t] = now
        carried = adaptive if internal else now
        fed = run.mu_ada[t] if internal else run.mu[t]
    return Decomposition(start, parts, run.mu)


def covariance_shares(found: Decomposition) -> FloatArray:
    r"""Share of each part in the variance of mu over the run, [5, ...].

    .. math:: \frac{\mathrm{Cov}_t(x_k, \mu)}{\mathrm{Var}_t(\mu)}

    They sum to 1; a part that opposes the others' movement has a negative one.

    Raises:
        GACError: mu never moved.

    Examples:
        >>> parts = np.zeros((5, 3)); parts[0] = [0.0, 1.0, 2.0]; parts[1] = [0.0, 3.0, 6.0]
        >>> covariance_shares(Decomposition(0.0, parts, parts.sum(axis=0))).tolist()
        [0.25, 0.75, 0.0, 0.0, 0.0]
    """
    total = found.parts.sum(axis=0)
    away = total - total.mean(axis=0)
    variance = (away * away).sum(axis=0)
    _require_movement(found, np.ptp(found.mu, axis=0))
    return np.asarray((found.parts * away).sum(axis=1) / variance)


def path_shares(found: Decomposition) -> FloatArray:
    r"""Share of each part in all steps taken, :math:`\sum_t |\Delta x_k|` over their sum, [5, ...].

    In [0, 1], and they sum to 1: parts that cancel each other both count.

    Raises:
        GACError: mu never moved.

    Examples:
        >>> parts = np.zeros((5, 3)); parts[0] = [0.0, 1.0, 0.0]; parts[1] = [0.0, -3.0, -6.0]
        >>> path_shares(Decomposition(0.0, parts, parts.sum(axis=0))).tolist()
        [0.25, 0.75, 0.0, 0.0, 0.0]
    """
    _require_movement(found, np.ptp(found.mu, axis=0))
    taken = np.abs(np.diff(found.parts, axis=1)).sum(axis=1)
    return np.asarray(taken / taken.sum(axis=0))


def _require_movement(found: Decomposition, span: FloatArray) -> None:
    still = int(np.count_nonzero(span <= 0.0))
    if still:
        first = float(found.mu[0].flat[0])
        fail(
            f"mu of {still} of {span.size} runs is constant (the first step's is {first!r}); a "
            "series without movement has no shares, so leave it out"
        )
