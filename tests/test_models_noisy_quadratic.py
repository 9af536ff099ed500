"""The bowls under scripted noise."""

from __future__ import annotations

import numpy as np
import pytest

from gac_ref import GACConfig, GACError
from simulations.models.noisy_quadratic import NoisyQuadratic
from simulations.noise import Constant, Independent, Multiplicative, RandomWalk, Step, StudentT

MONTE_CARLO_SIGMAS = 5.0
"""Of a mean over 20,000 draws: one false alarm in 10^6 comparisons."""


def test_the_noise_of_the_landscape_has_the_moments_that_its_truth_states() -> None:
    problem = NoisyQuadratic(
        noise=Independent(sft=StudentT(df=3.0)),
        level_s=Constant(value=2.0),
        level_r=Step(before=1.0, after=4.0, begin=1),
    )
    n, step = 20_000, 1
    rng = np.random.default_rng(1)
    theta = problem.start(rng, n)
    draw = problem.draw(rng, n, step)
    truth, sample = problem.truth(theta, step), problem.sample(theta, step, draw)
    error_s, error_r = sample.grad_s - truth.g_s, sample.grad_r - truth.g_r
    assert sample.statistics is not None
    measured = {
        "sigma_s2": ((error_s**2).sum(axis=-1), truth.sigma_s2),
        "sigma_r2": ((error_r**2).sum(axis=-1), truth.sigma_r2),
        "kappa": ((error_s * error_r).sum(axis=-1), np.asarray(truth.kappa)),
        "estimate of sigma_s2": (draw.sigma_s2, truth.sigma_s2),
        "estimate of sigma_r2": (draw.sigma_r2, truth.sigma_r2),
        "estimate of delta_g2": (
            np.asarray(sample.statistics(GACConfig()).delta_g2),
            truth.delta_g2,
        ),
    }
    for name, (values, exact) in measured.items():
        off = values - exact
        tolerance = MONTE_CARLO_SIGMAS * off.std() / np.sqrt(n)
        assert abs(off.mean()) <= tolerance, name


def test_noise_that_follows_the_gradient_is_refused() -> None:
    noise = Independent(sft=Multiplicative(relative=0.5), rl=Multiplicative(relative=0.5))
    with pytest.raises(GACError, match="the noise depends on the gradient"):
        NoisyQuadratic(noise=noise)


def test_every_trajectory_has_a_random_walk_of_its_own_and_the_truth_follows_it() -> None:
    problem = NoisyQuadratic(level_r=RandomWalk(spread=0.5))
    n, step = 20_000, 4
    rng = np.random.default_rng(2)
    theta = problem.start(rng, n)
    draw = problem.draw(rng, n, step)
    truth = problem.truth(theta, step, draw)
    assert len(np.unique(truth.sigma_r2)) == n
    assert np.all(truth.sigma_s2 == truth.sigma_s2[0])
    # E of the geometric walk is exp(variance / 2); the noise of a seed has its own level.
    level = problem.truth(theta, 0, problem.draw(rng, n, 0)).sigma_r2[0]
    mean = level * np.exp(0.5 * RandomWalk(spread=0.5).variance(step))
    error = problem.sample(theta, step, draw).grad_r - truth.g_r
    square = (error**2).sum(axis=-1)
    for values, exact in (
        (truth.sigma_r2, mean),
        (square / truth.sigma_r2, 1.0),
        (draw.sigma_r2 / truth.sigma_r2, 1.0),
    ):
        off = values - exact
        assert abs(off.mean()) <= MONTE_CARLO_SIGMAS * off.std() / np.sqrt(n)
