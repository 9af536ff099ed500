"""Reward and KL to the reference policy over time, for several controllers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from simulations.analysis.convergence.runs import Table, simulated
from simulations.analysis.question import finite
from simulations.registry import build_problem

__all__ = ["PolicyCurves", "policy_curves"]


class PolicyCurves(NamedTuple):
    """Curves [C, T] of the exact reward, KL and weight, and outcomes [C, n].

    Args:
        steps: [T].
        reward: Mean over seeds of the policy's exact value, reward.
        reward_error: Its standard error.
        kl: Mean over seeds of the KL to the reference policy, nats per token.
        kl_error: Its standard error.
        mu: Mean over seeds of the weight on SFT.
        mu_error: Its standard error.
        reward_final: Value after the last step, [C, n].
        kl_mean: KL averaged over the run, [C, n].
    """

    steps: FloatArray
    reward: FloatArray
    reward_error: FloatArray
    kl: FloatArray
    kl_error: FloatArray
    mu: FloatArray
    mu_error: FloatArray
    reward_final: FloatArray
    kl_mean: FloatArray


def policy_curves(problem: Table, controllers: Mapping[str, Table], run: Table) -> PolicyCurves:
    """Run a policy model under every controller, on common random numbers.

    Args:
        problem: Declaration of a policy model, with its `kind`.
        controllers: Declarations by name.
        run: Fields of :class:`simulations.engine.settings.RunSettings`.

    Returns:
        The curves.

    Raises:
        GACError: Too few seeds, or an outcome that is not a number.

    Examples:
        >>> curves = policy_curves({"kind": "bandit"}, {"fixed": {}}, {"horizon": 20, "seeds": 8})
        >>> curves.reward.shape, bool(curves.kl[0, 0] == 0.0)
        ((1, 2), True)
    """
    found = simulated(build_problem(problem), controllers, run)
    curves = {}
    for name in ("reward", "kl", "mu"):
        curves[name], curves[f"{name}_error"] = found.mean[name], found.error[name]
    outcomes = {
        name: np.asarray(finite(found.metrics[name], f"{name} of {problem['kind']}"))
        for name in ("reward_final", "kl_mean")
    }
    return PolicyCurves(steps=found.steps, **curves, **outcomes)
