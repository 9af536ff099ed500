"""Small models with exact gradients, noise and optima; each is a `simulations.problem.Problem`."""

from __future__ import annotations

from simulations.models.bandit import Bandit
from simulations.models.mlp import MLPPolicy
from simulations.models.noisy_quadratic import NoisyQuadratic
from simulations.models.quadratic import Quadratic
from simulations.models.quadratic_moments import (
    ExpectedOutcomes,
    SGDMoments,
    Stationary,
    expected_outcomes,
    sgd_moments,
    stability_limit,
    stationary,
)
from simulations.models.regression import Regression
from simulations.models.token_policy import TokenPolicy

__all__ = [
    "Bandit",
    "ExpectedOutcomes",
    "MLPPolicy",
    "NoisyQuadratic",
    "Quadratic",
    "Regression",
    "SGDMoments",
    "Stationary",
    "TokenPolicy",
    "expected_outcomes",
    "sgd_moments",
    "stability_limit",
    "stationary",
]
