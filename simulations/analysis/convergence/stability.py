"""Where SGD with a constant weight settles: divergence in simulation beside the exact boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from simulations.analysis.convergence.rows import growth_rate, mean_limit, mean_square_limit
from simulations.analysis.convergence.runs import Table, simulated
from simulations.models import Quadratic, stability_limit
from simulations.models.regression import Regression
from simulations.problem import Problem

__all__ = ["AdditiveMap", "RowMap", "additive_map", "row_map"]


class AdditiveMap(NamedTuple):
    """Divergence of quadratic bowls whose noise does not depend on theta.

    Args:
        share: Share of diverged seeds, [K, L, M] by noise level, learning rate and weight.
        limit: The exact boundary, the same for every noise level, [M].
    """

    share: FloatArray
    limit: FloatArray


class RowMap(NamedTuple):
    """Divergence of minibatch SGD, whose noise grows with the error.

    Args:
        share: Share of diverged seeds, [K, L, M] by batch sizes, learning rate and weight.
        mean_square: Where the covariance diverges, exactly, [K, M].
        mean: Where the mean diverges, exactly, a number.
        growth: Estimated Lyapunov exponent, [K, L, M]; 0 is where typical paths diverge.
    """

    share: FloatArray
    mean_square: FloatArray
    mean: FloatArray
    growth: FloatArray


def additive_map(
    problem: Table,
    mus: Sequence[float],
    learning_rates: Sequence[float],
    noise_levels: Sequence[float],
    run: Table,
) -> AdditiveMap:
    """Map the quadratic bowls.

    Args:
        problem: Fields of :class:`simulations.models.Quadratic` but for its noise.
        mus: Constant weights.
        learning_rates: Rates.
        noise_levels: Values of both sigma_s2 and sigma_r2, gradient^2.
        run: Fields of :class:`simulations.engine.settings.RunSettings` but for the learning rate.

    Returns:
        Shares and boundary.

    Examples:
        >>> found = additive_map({"dimension": 2}, [0.5], [0.1, 3.0], [1.0],
        ...                      {"horizon": 60, "seeds": 8})
        >>> found.share[0, :, 0].tolist(), found.limit.round(6).tolist()
        ([0.0, 1.0], [2.0])
    """
    shares = [
        _divergence(Quadratic(**problem, sigma_s2=level, sigma_r2=level), mus, learning_rates, run)
        for level in noise_levels
    ]
    return AdditiveMap(np.stack(shares), stability_limit(Quadratic(**problem), mus))


def row_map(
    problem: Table,
    mus: Sequence[float],
    learning_rates: Sequence[float],
    batches: Sequence[Sequence[int]],
    run: Table,
    *,
    chains: int,
    chain_steps: int,
) -> RowMap:
    """Map the linear regression on minibatches.

    Args:
        problem: Fields of :class:`simulations.models.regression.Regression` but for its batches.
        mus: Constant weights.
        learning_rates: Rates.
        batches: Pairs of batch_s and batch_r; the fewer rows, the more noise.
        run: Fields of :class:`simulations.engine.settings.RunSettings` but for the learning rate.
        chains: Chains of the Lyapunov exponent.
        chain_steps: Their length.

    Returns:
        Shares, the two exact boundaries and the exponent.

    Examples:
        >>> found = row_map({"dimension": 2}, [0.5], [0.1], [[8, 8]], {"horizon": 50, "seeds": 8},
        ...                 chains=2, chain_steps=50)
        >>> found.share.tolist()
        [[[0.0]]]
    """
    shares, limits, growth, mean = [], [], [], 0.0
    grid = np.asarray(mus)[None, :], np.asarray(learning_rates)[:, None]
    for index, (batch_s, batch_r) in enumerate(batches):
        model = Regression(**problem, batch_s=batch_s, batch_r=batch_r)
        shares.append(_divergence(model, mus, learning_rates, run))
        limits.append(mean_square_limit(model, mus))
        rng = np.random.default_rng([int(run.get("seed", 0)), index])
        growth.append(growth_rate(model, *grid, rng=rng, chains=chains, steps=chain_steps))
        mean = mean_limit(model)
    return RowMap(np.stack(shares), np.stack(limits), np.asarray(mean), np.stack(growth))


def _divergence(
    problem: Problem, mus: Sequence[float], learning_rates: Sequence[float], run: Table
) -> FloatArray:
    """Share of seeds that left the engine's limit, [L, M]."""
    rules = {f"mu_{index}": {"kind": "fixed", "mu": mu} for index, mu in enumerate(mus)}
    horizon = int(run["horizon"])
    rows = [
        simulated(problem, rules, {**run, "learning_rate": rate, "measure_every": horizon})
        .metrics["diverged"]
        .mean(axis=-1)
        for rate in learning_rates
    ]
    return np.stack(rows)
