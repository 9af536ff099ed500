r"""SGD on two quadratic bowls: the exact recursion beside the simulation that it replaces.

Under a weight that depends on the step alone the mean and covariance of theta obey closed
recursions, :func:`simulations.models.quadratic_moments.sgd_moments`, so that every expected loss is
a number, not an average. A constant weight settles where the mixed gradient vanishes, with

.. math::
    E L_\infty(\mu) - L^* = \underbrace{L(\bar\theta_\mu) - L^*}_{\text{misplaced}}
        + \underbrace{\tfrac12 \mathrm{tr}\, H_\alpha C_\mu}_{\text{noise}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gac_ref import baselines, closed_form
from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.convergence.runs import Table, simulated
from simulations.engine.controllers import build_controllers
from simulations.engine.settings import RunSettings
from simulations.models import Quadratic, expected_outcomes, sgd_moments, stationary

__all__ = ["LossCurves", "Settled", "loss_curves", "schedule_of", "settled"]


class LossCurves(NamedTuple):
    """Expected target loss over time, exactly and by simulation.

    Args:
        steps: Steps before which the loss is taken, [T].
        exact: From the recursion, [S, T].
        mean: Mean over seeds, [S, T].
        error: Its standard error, [S, T].
    """

    steps: FloatArray
    exact: FloatArray
    mean: FloatArray
    error: FloatArray


class Settled(NamedTuple):
    """Where constant weights settle, [L, M] by learning rate and weight.

    Args:
        misplaced: Excess of the target loss at the stationary mean.
        noise: What the stationary covariance adds.
        rate: Factor by which the mean's error shrinks a step.
        least: Least target loss of any theta, a number.
        best: Weight with the least sum of the two, [L].
        closed: The method's closed form at the target's minimum, a number.
    """

    misplaced: FloatArray
    noise: FloatArray
    rate: FloatArray
    least: FloatArray
    best: FloatArray
    closed: FloatArray


def schedule_of(table: Table, horizon: int) -> FloatArray:
    """Weights that a rule without inputs gives at steps 0 .. horizon - 1.

    Args:
        table: The rule's declaration, with its `kind`.
        horizon: Number of steps.

    Returns:
        The weights, [horizon].

    Raises:
        GACError: The rule reads something, so that its weights are random.

    Examples:
        >>> schedule_of({"kind": "sft_then_rl", "switch_step": 2}, 4).tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    rule = build_controllers({"schedule": table})[0].rule
    if getattr(rule, "reads", ("proxies",)):
        fail(f"{table.get('kind')!r} reads what it is given; the recursion needs a schedule")
    state, weights = baselines.init(rule), np.empty(horizon)
    for step in range(horizon):
        state, info = baselines.update(rule, state, baselines.Signals(), step=step)
        weights[step] = info.mu
    return weights


def loss_curves(problem: Table, schedules: Mapping[str, Table], run: Table) -> LossCurves:
    """Expected target loss over time under several schedules.

    Args:
        problem: Fields of :class:`simulations.models.Quadratic`.
        schedules: Rules that read nothing, by name.
        run: Fields of :class:`simulations.engine.settings.RunSettings`.

    Returns:
        Both curves.

    Examples:
        >>> curves = loss_curves({"dimension": 2}, {"fixed": {"mu": 0.5}},
        ...                      {"horizon": 30, "seeds": 64, "learning_rate": 0.1})
        >>> bool((abs(curves.mean - curves.exact) <= 5.0 * curves.error + 1e-12).all())
        True
    """
    model = Quadratic(**problem)
    found = simulated(model, schedules, run)
    tables = [{"kind": name, **table} for name, table in schedules.items()]
    settings = RunSettings(**run)
    weights = np.stack([schedule_of(table, settings.horizon) for table in tables])
    rates = [settings.rate(step) for step in range(settings.horizon)]
    moments = sgd_moments(model, weights, rates)
    exact = expected_outcomes(model, moments.mean, moments.covariance).loss
    return LossCurves(
        steps=found.steps,
        exact=exact[:, found.steps.astype(np.int64)],
        mean=found.mean["loss"],
        error=found.error["loss"],
    )


def settled(problem: Table, mus: Sequence[float], learning_rates: Sequence[float]) -> Settled:
    """The stationary excess loss of constant weights, in its two parts, and the best weight.

    Args:
        problem: Fields of :class:`simulations.models.Quadratic`.
        mus: Weights, a fine grid on [0, 1] where `best` matters.
        learning_rates: Below the stability limit of every weight.

    Returns:
        The two parts, the rates and the best weights.

    Raises:
        GACError: A learning rate at which SGD does not settle.

    Examples:
        >>> found = settled({"separation": 0.0, "sigma_r2": 3.0}, [0.25, 0.5, 0.75], [0.1])
        >>> float(found.best[0]), float(found.closed)
        (0.75, 0.75)
    """
    model = Quadratic(**problem)
    weights, rates = np.asarray(mus, dtype=np.float64), np.asarray(learning_rates, np.float64)
    law = stationary(model, weights[None, :], rates[:, None])
    d = model.dimension
    least = expected_outcomes(model, model.optimum, np.zeros((d, d))).loss
    at_mean = expected_outcomes(model, law.mean, np.zeros_like(law.covariance)).loss
    total = expected_outcomes(model, law.mean, law.covariance).loss
    truth = model.truth(model.optimum[None, :], 0)
    closed = closed_form(truth.sigma_s2, truth.sigma_r2, truth.delta_g2, model.alpha)
    return Settled(
        misplaced=at_mean - least,
        noise=total - at_mean,
        rate=law.rate,
        least=least,
        best=weights[np.argmin(total, axis=-1)],
        closed=closed[0],
    )
