"""Quadratic bowls: geometry, noise, proxies and moments, exactly and by Monte Carlo."""

from __future__ import annotations

import dataclasses
import math
import pickle
from fractions import Fraction as Q

import numpy as np
import pytest
from _asserts import refuses

from gac_ref import GACConfig, GACError, gradient_oracle, risk_from_vectors
from simulations.models import (
    Quadratic,
    expected_outcomes,
    sgd_moments,
    stability_limit,
    stationary,
)
from simulations.models.quadratic_bowls import SCRATCH, TILE, Row, bowls, distance2
from simulations.models.quadratic_noise import QuadraticDraw
from simulations.problem import InPlace, Problem

# A right mean misses by more than this many standard errors with probability 6e-7 a comparison;
# seeds are fixed, so the outcome never changes.
STANDARD_ERRORS = 5.0
# Products and solves of 2 x 2 to 5 x 5 matrices of condition at most 100.
ALGEBRA_RTOL = 1e-12
# A few dozen roundings of numbers of order one.
ROUNDING = 1e-13
# Central differences of a quadratic have no truncation error; rounding leaves 1e-16 / 1e-3.
DIFFERENCE = 1e-3
DIFFERENCE_ATOL = 1e-11
# What faster directions still contribute after more than 100 steps.
SLOWEST_RTOL = 1e-4
# After 400 steps at 0.96 to 0.99 a step, as a share of order-one entries.
SETTLED_ATOL = 1e-4

TURNED = Quadratic(
    dimension=5,
    condition_s=7.0,
    condition_r=30.0,
    curvature_s=1.5,
    rotation=0.6,
    separation=2.0,
    sigma_s2=0.7,
    sigma_r2=1.8,
    correlation=-0.4,
    bias_s=0.3,
    bias_r=-0.2,
    start_spread=0.5,
    alpha=0.3,
)


def assert_mean(samples, exact):
    """The mean over the first axis is `exact` within the standard errors of the samples."""
    samples = np.asarray(samples)
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    assert np.all(error > 0.0)
    miss = np.abs(samples.mean(axis=0) - exact) / error
    assert np.max(miss) < STANDARD_ERRORS, miss


def loss(problem, branch, theta):
    h = problem.hessian_s if branch == "s" else problem.hessian_r
    m = problem.minimum_s if branch == "s" else problem.minimum_r
    return 0.5 * (theta - m) @ h @ (theta - m)


# Geometry --------------------------------------------------------------------------------------


def test_the_problem_keeps_the_interface_and_is_a_value():
    assert isinstance(TURNED, Problem)
    assert isinstance(TURNED, InPlace)
    copy = pickle.loads(pickle.dumps(TURNED))  # noqa: S301
    assert copy == TURNED
    assert hash(copy) == hash(TURNED)
    assert TURNED.outcomes(np.zeros((2, 5)), 0).keys() == TURNED.units.keys()
    plain = dataclasses.asdict(TURNED).values()
    assert all(isinstance(value, int | float | str) for value in plain)


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 1.2, math.pi / 2])
@pytest.mark.parametrize("d", [2, 3, 6])
def test_the_rl_hessian_is_the_spectrum_turned_in_each_plane(d, angle):
    pair = bowls(d, curvature=(1.0, 3.0), condition=(1.0, 50.0), rotation=angle, separation=1.0)
    rotation = np.eye(d)
    for i in range(d // 2):
        j = d - 1 - i
        rotation[[i, j], [i, j]] = math.cos(angle)
        rotation[i, j], rotation[j, i] = -math.sin(angle), math.sin(angle)
    spectrum = 3.0 * np.geomspace(1.0, 1.0 / 50.0, d)
    expected = rotation @ np.diag(spectrum) @ rotation.T
    np.testing.assert_allclose(pair.hessian_r(), expected, rtol=0.0, atol=ALGEBRA_RTOL)


@pytest.mark.parametrize("angle", [0.0, 0.8, math.pi / 2])
def test_eigenvalues_have_the_stated_condition_and_size_at_every_angle(angle):
    problem = dataclasses.replace(TURNED, rotation=angle, curvature_r=4.0)
    for h, top, condition in (
        (problem.hessian_s, 1.5, 7.0),
        (problem.hessian_r, 4.0, 30.0),
    ):
        values = np.linalg.eigvalsh(h)
        np.testing.assert_allclose(values[[-1, 0]], [top, top / condition], rtol=ALGEBRA_RTOL)


def test_the_hessians_commute_at_both_ends_of_the_rotation_only():
    def commutator(angle):
        p = dataclasses.replace(TURNED, rotation=angle)
        return np.abs(p.hessian_s @ p.hessian_r - p.hessian_r @ p.hessian_s).max()

    assert commutator(0.0) == commutator(math.pi / 2) == 0.0
    assert commutator(0.6) > 0.05


def test_gradients_are_the_differences_of_the_losses():
    theta = np.random.default_rng(0).normal(size=5)
    truth = TURNED.truth(theta, 0)
    for branch, gradient in (("s", truth.g_s), ("r", truth.g_r)):
        numeric = [
            (loss(TURNED, branch, theta + step) - loss(TURNED, branch, theta - step))
            / (2.0 * DIFFERENCE)
            for step in DIFFERENCE * np.eye(5)
        ]
        np.testing.assert_allclose(gradient, numeric, rtol=0.0, atol=DIFFERENCE_ATOL)


def test_outcomes_are_the_losses_and_the_distance():
    theta = np.random.default_rng(1).normal(size=(4, 5))
    found = TURNED.outcomes(theta, 0)
    s = [loss(TURNED, "s", t) for t in theta]
    r = [loss(TURNED, "r", t) for t in theta]
    mixed = [0.3 * a + 0.7 * b for a, b in zip(s, r, strict=True)]
    away = [np.linalg.norm(t - TURNED.minimiser(0.3)) for t in theta]
    expected = {"loss": mixed, "loss_s": s, "loss_r": r, "distance": away}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=ROUNDING, err_msg=name)


def test_the_minimiser_is_where_the_mixed_gradient_vanishes():
    weights = np.array([[0.0, 0.3], [0.8, 1.0]])
    at = TURNED.minimiser(weights)
    assert at.shape == (2, 2, 5)
    truth = TURNED.truth(at, 0)
    mixed = weights[..., None] * truth.g_s + (1.0 - weights[..., None]) * truth.g_r
    np.testing.assert_allclose(mixed, 0.0, atol=ROUNDING)
    np.testing.assert_allclose(at[1, 1], TURNED.minimum_s, rtol=ROUNDING)
    np.testing.assert_allclose(np.linalg.norm(TURNED.minimum_s - TURNED.minimum_r), 2.0)


def test_a_shared_minimum_with_equal_bowls_has_no_disagreement():
    shared = Quadratic(separation=0.0)
    theta = shared.start(np.random.default_rng(0), 3)
    assert shared.truth(theta, 0).delta_g2.tolist() == [0.0] * 3
    # With unequal bowls there is some, except at the minimum.
    unequal = dataclasses.replace(shared, rotation=0.5)
    assert unequal.truth(theta, 0).delta_g2.min() > 0.0
    assert unequal.truth(np.zeros((1, 16)), 0).delta_g2.tolist() == [0.0]


# Noise and proxies -----------------------------------------------------------------------------


def mixed_errors(problem, theta, n, mu=0.35):
    sample = problem.sample(np.broadcast_to(theta, (n, theta.size)), 0, problem.draw(RNG(), n, 0))
    return sample, mu * sample.grad_s + (1.0 - mu) * sample.grad_r


def RNG():
    return np.random.default_rng(2024)


def test_sampled_gradients_have_the_stated_means_noise_and_covariance():
    theta, n = np.linspace(-1.0, 1.0, 5), 20_000
    truth = TURNED.truth(theta, 0)
    sample, _ = mixed_errors(TURNED, theta, n)
    assert_mean(sample.grad_s, truth.g_s + truth.bias_s)
    assert_mean(sample.grad_r, truth.g_r + truth.bias_r)
    e_s = sample.grad_s - truth.g_s - truth.bias_s
    e_r = sample.grad_r - truth.g_r - truth.bias_r
    assert_mean((e_s**2).sum(-1), truth.sigma_s2)
    assert_mean((e_r**2).sum(-1), truth.sigma_r2)
    assert_mean((e_s * e_r).sum(-1), truth.kappa)
    # Isotropic, and correlated within a component only.
    for x, y, size in ((e_s, e_s, 0.7), (e_r, e_r, 1.8), (e_s, e_r, TURNED.kappa)):
        assert_mean(x[:, :, None] * y[:, None, :], size / 5 * np.eye(5))
    assert math.isclose(np.linalg.norm(truth.bias_s), 0.3)
    assert math.isclose(np.linalg.norm(truth.bias_r), 0.2)


def test_a_sample_is_the_truth_with_its_bias_and_the_drawn_noise():
    theta = np.random.default_rng(9).normal(size=(2, 3, 5))
    truth, draw = TURNED.truth(theta, 0), TURNED.draw(RNG(), 3, 0)
    sample = TURNED.sample(theta, 0, draw)
    for actual, parts in (
        (sample.grad_s, (truth.g_s, truth.bias_s, draw.noise_s)),
        (sample.grad_r, (truth.g_r, truth.bias_r, draw.noise_r)),
    ):
        np.testing.assert_allclose(actual, sum(parts), rtol=0.0, atol=ROUNDING)


def test_the_truth_gives_the_risk_of_the_mixture():
    theta, mu = np.linspace(-1.0, 1.0, 5), 0.35
    truth = TURNED.truth(theta, 0)
    _, mixed = mixed_errors(TURNED, theta, 20_000, mu)
    target = 0.3 * truth.g_s + 0.7 * truth.g_r
    exact = risk_from_vectors(
        mu,
        truth.g_s - truth.g_r,
        truth.sigma_s2,
        truth.sigma_r2,
        0.3,
        bias_s=truth.bias_s,
        bias_r=truth.bias_r,
        kappa=truth.kappa,
    )
    assert_mean(((mixed - target) ** 2).sum(-1), exact)


def test_exact_proxies_are_the_truth_without_the_biases():
    theta = np.random.default_rng(3).normal(size=(2, 3, 5))
    proxies = TURNED.sample(theta, 0, TURNED.draw(RNG(), 3, 0)).statistics(GACConfig())
    truth = TURNED.truth(theta, 0)
    np.testing.assert_array_equal(proxies.sigma_s2, truth.sigma_s2)
    np.testing.assert_array_equal(proxies.sigma_r2, truth.sigma_r2)
    np.testing.assert_array_equal(proxies.delta_g2, truth.delta_g2)
    delta = truth.g_s - truth.g_r
    np.testing.assert_allclose(truth.delta_g2, (delta**2).sum(-1), rtol=ROUNDING)


def oracle_by_samples(problem, theta, n, samples):
    """`gradient_oracle` on actual per-sample gradients, whose means have the problem's noise."""
    rng, d = np.random.default_rng(77), problem.dimension
    big = dataclasses.replace(
        problem,
        sigma_s2=samples[0] * problem.sigma_s2,
        sigma_r2=samples[1] * problem.sigma_r2,
        proxy="exact",
    )
    # Equal sample sizes share one draw, so that correlated samples are paired.
    drawn = [big.draw(rng, n * count, 0) for count in samples]
    paired = problem.correlation != 0.0
    e_s = drawn[0].noise_s.reshape(n, samples[0], d)
    e_r = drawn[0 if paired else 1].noise_r.reshape(n, samples[1], d)
    truth = problem.truth(theta, 0)
    x_s, x_r = truth.g_s + truth.bias_s + e_s, truth.g_r + truth.bias_r + e_r
    return gradient_oracle(x_s, x_r, paired=paired)


@pytest.mark.parametrize(
    ("changes", "samples"),
    [
        ({"correlation": 0.0}, (3, 5)),
        ({}, (4, 4)),
        ({"dimension": 1, "condition_s": 1.0, "condition_r": 1.0, "rotation": 0.0}, (3, 3)),
        ({"correlation": 1.0}, (2, 2)),
    ],
)
def test_estimated_proxies_have_the_law_of_the_gradient_oracle(changes, samples):
    """First and second moments, and every product of two, agree with real per-sample gradients."""
    problem = dataclasses.replace(
        TURNED, proxy="estimated", samples_s=samples[0], samples_r=samples[1], **changes
    )
    n, theta = 20_000, np.linspace(-0.5, 0.5, problem.dimension)
    draw = problem.draw(RNG(), n, 0)
    sample = problem.sample(np.broadcast_to(theta, (n, theta.size)), 0, draw)
    found = sample.statistics(GACConfig())
    oracle = oracle_by_samples(problem, theta, n, samples)
    truth = problem.truth(theta, 0)
    delta = truth.g_s + truth.bias_s - truth.g_r - truth.bias_r
    assert_mean(found.sigma_s2, truth.sigma_s2)
    assert_mean(found.sigma_r2, truth.sigma_r2)
    assert_mean(found.delta_g2, delta @ delta)
    if samples != (2, 2):  # where the difference of the branches has little noise
        assert (found.delta_g2 < 0.0).any()
    if problem.correlation:
        assert_mean(draw.kappa, truth.kappa)
    ours = np.stack([found.sigma_s2, found.sigma_r2, found.delta_g2, draw.kappa], axis=-1)
    theirs = np.stack([oracle.sigma_s2, oracle.sigma_r2, oracle.delta_g2, oracle.kappa], axis=-1)
    for i in range(4):
        for j in range(i, 4):
            x, y = ours[:, i] * ours[:, j], theirs[:, i] * theirs[:, j]
            error = math.sqrt((x.var() + y.var()) / n)
            assert abs(x.mean() - y.mean()) <= STANDARD_ERRORS * error, (i, j)


def test_degrees_of_freedom_set_the_spread_of_an_estimate():
    """Var chi2_nu / nu = 2 / nu with nu = (n - 1) d."""
    problem = Quadratic(dimension=3, proxy="estimated", samples_s=2, samples_r=9, sigma_r2=2.0)
    draw = problem.draw(RNG(), 40_000, 0)
    assert_mean((draw.sigma_s2 - 1.0) ** 2, 2.0 / 3.0)
    assert_mean((draw.sigma_r2 - 2.0) ** 2, 4.0 * 2.0 / 24.0)


# Independence of the grouping ------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["exact", "estimated"])
@pytest.mark.parametrize("rotation", [0.0, 0.6])
@pytest.mark.parametrize("d", [2, 5, 16])
def test_no_bit_depends_on_the_company_of_a_trajectory(d, rotation, proxy):
    problem = dataclasses.replace(TURNED, dimension=d, rotation=rotation, proxy=proxy)
    n = 2 * TILE + 3  # whole tiles and a remainder
    theta = np.random.default_rng(5).normal(size=(3, n, d))
    draw = problem.draw(RNG(), n, 0)
    whole = [
        problem.truth(theta, 0),
        problem.sample(theta, 0, draw),
        problem.outcomes(theta, 0),
    ]
    for rows in (slice(0, 1), slice(7, 8), slice(1, 2 * TILE + 1), slice(2 * TILE, n)):
        part_draw = QuadraticDraw(*(None if x is None else x[rows] for x in draw))
        for part, index in (
            (theta[:, rows], (slice(None), rows)),
            (theta[1, rows], (1, rows)),
            (np.asfortranarray(theta[2:, rows]), (slice(2, None), rows)),
        ):
            truth, sample, outcomes = whole
            for field, full in zip(problem.truth(part, 0), truth, strict=True):
                if np.ndim(full) >= 2:
                    np.testing.assert_array_equal(field, full[index])
            again = problem.sample(part, 0, part_draw)
            np.testing.assert_array_equal(again.grad_s, sample.grad_s[index])
            np.testing.assert_array_equal(again.grad_r, sample.grad_r[index])
            ours, theirs = again.statistics(GACConfig()), sample.statistics(GACConfig())
            np.testing.assert_array_equal(ours.delta_g2, theirs.delta_g2[index])
            for name, values in problem.outcomes(part, 0).items():
                np.testing.assert_array_equal(values, outcomes[name][index])


@pytest.mark.parametrize("values", [[0.3, -1.2, 0.7], [0.3, 0.3, 0.3]], ids=["any", "equal"])
def test_a_row_gives_the_bits_of_broadcasting(values):
    values = np.array(values)
    row = Row(values.copy())
    for n in (0, 1, TILE - 1, TILE, 2 * TILE + 5):
        x = np.random.default_rng(n).normal(size=(2, n, 3))
        np.testing.assert_array_equal(row(np.subtract, x), x - values)
        np.testing.assert_array_equal(row(np.multiply, x, out=x.copy()), x * values)


def test_a_distance_in_pieces_has_the_bits_of_each_by_itself():
    rng, d = np.random.default_rng(0), 7
    x, y = rng.normal(size=(2, 2, SCRATCH // d + 3, d))
    whole = distance2(x, y)
    assert whole.shape == x.shape[:-1]
    for index in ((0, 0), (0, -1), (1, 0), (1, 1), (1, -1)):
        np.testing.assert_array_equal(whole[index], distance2(x[index], y[index]))
    np.testing.assert_allclose(whole, ((x - y) ** 2).sum(-1), rtol=ROUNDING)


@pytest.mark.parametrize("proxy", ["exact", "estimated"])
@pytest.mark.parametrize("correlation", [0.0, 0.4])
def test_redrawing_gives_each_generator_the_numbers_of_its_own_draw(correlation, proxy):
    problem = dataclasses.replace(TURNED, correlation=correlation, proxy=proxy)
    apart = [problem.draw(np.random.default_rng(seed), 4, 0) for seed in (1, 2, 3)]
    draw = problem.draw(RNG(), 12, 0)
    problem.redraw(draw, [np.random.default_rng(seed) for seed in (1, 2, 3)], 0)
    for field, parts in zip(draw, zip(*apart, strict=True), strict=True):
        if field is not None:
            np.testing.assert_array_equal(field, np.concatenate(parts))


def test_unequal_shares_of_the_seeds_are_refused():
    draw = TURNED.draw(RNG(), 5, 0)
    with pytest.raises(GACError, match="5 seeds have no equal shares for 2 generators"):
        TURNED.redraw(draw, [RNG(), RNG()], 0)


def test_a_sample_in_given_arrays_is_the_sample():
    theta = np.random.default_rng(5).normal(size=(2, 3, 5))
    draw, out = TURNED.draw(RNG(), 3, 0), (np.full(theta.shape, np.nan), np.full(theta.shape, 7.0))
    fresh, given = TURNED.sample(theta, 0, draw), TURNED.sample_into(theta, 0, draw, out)
    for ours, array, theirs in zip(given[:2], out, fresh[:2], strict=True):
        assert ours is array
        np.testing.assert_array_equal(ours, theirs)


def test_gradients_do_not_write_into_theta_or_the_draw():
    theta = np.ones((4, 5))
    draw = TURNED.draw(RNG(), 4, 0)
    kept = draw.noise_s.copy(), draw.noise_r.copy()
    TURNED.sample(theta, 0, draw)
    TURNED.outcomes(theta, 0)
    assert (theta == 1.0).all()
    np.testing.assert_array_equal(draw.noise_s, kept[0])
    np.testing.assert_array_equal(draw.noise_r, kept[1])


def test_parameters_do_not_change_which_normals_are_drawn():
    """Common random numbers across regimes."""
    quiet = Quadratic(dimension=3, sigma_s2=0.0)
    loud = Quadratic(dimension=3, sigma_s2=2.0, proxy="estimated")
    one, two = quiet.draw(RNG(), 4, 0), loud.draw(RNG(), 4, 0)
    assert not one.noise_s.any()
    np.testing.assert_array_equal(one.noise_r, two.noise_r)


# Moments of SGD --------------------------------------------------------------------------------


def schedule(t):
    """A weight that moves over the whole of [0, 1]."""
    return 0.5 + 0.5 * np.sin(0.9 * np.arange(t))


def simulate(problem, weights, eta, n, seed=0):
    rng = np.random.default_rng(seed)
    theta = problem.start(rng, n)
    for step, mu in enumerate(weights):
        sample = problem.sample(theta, step, problem.draw(rng, n, step))
        theta = theta - eta * (mu * sample.grad_s + (1.0 - mu) * sample.grad_r)
    return theta


@pytest.mark.parametrize(
    "problem",
    [TURNED, Quadratic(dimension=4, correlation=0.9, start_spread=1.0, bias_r=0.5)],
    ids=["turned", "commuting"],
)
def test_moments_match_simulated_trajectories_under_a_moving_weight(problem):
    weights, eta = schedule(12), 0.3
    moments = sgd_moments(problem, weights, eta)
    theta = simulate(problem, weights, eta, 20_000)
    mean, covariance = moments.mean[-1], moments.covariance[-1]
    assert_mean(theta, mean)
    centred = theta - mean
    assert_mean(centred[:, :, None] * centred[:, None, :], covariance)
    found, exact = problem.outcomes(theta, 12), expected_outcomes(problem, mean, covariance)
    assert_mean(found["loss"], exact.loss)
    assert_mean(found["loss_s"], exact.loss_s)
    assert_mean(found["loss_r"], exact.loss_r)
    assert_mean(found["distance"] ** 2, exact.distance2)


def fraction_recursion(problem, weights, eta):
    """Mean and covariance by scalar sums in rationals."""
    d = problem.dimension
    exact = [[[Q(v) for v in row] for row in h] for h in (problem.hessian_s, problem.hessian_r)]
    minima = [[Q(v) for v in m] for m in (problem.minimum_s, problem.minimum_r)]
    biases = [[Q(v) for v in b] for b in (problem.bias_vector_s, problem.bias_vector_r)]
    s, r, k = Q(problem.sigma_s2), Q(problem.sigma_r2), Q(problem.kappa)
    mean = [Q(v) for v in problem.start_mean]
    cov = [[Q(v) for v in row] for row in problem.start_covariance]
    eta, n = Q(eta), range(d)
    for w in map(Q, weights):
        share = (w, 1 - w)
        h = [[sum(share[b] * exact[b][i][j] for b in (0, 1)) for j in n] for i in n]
        gradient = [
            sum(
                share[b]
                * (sum(exact[b][i][j] * (mean[j] - minima[b][j]) for j in n) + biases[b][i])
                for b in (0, 1)
            )
            for i in n
        ]
        a = [[(1 if i == j else 0) - eta * h[i][j] for j in n] for i in n]
        noise = eta**2 * (w * w * s + (1 - w) ** 2 * r + 2 * w * (1 - w) * k) / d
        cov = [
            [
                sum(a[i][p] * cov[p][q] * a[j][q] for p in n for q in n) + (noise if i == j else 0)
                for j in n
            ]
            for i in n
        ]
        mean = [m - eta * g for m, g in zip(mean, gradient, strict=True)]
    return [float(m) for m in mean], [[float(c) for c in row] for row in cov]


@pytest.mark.parametrize("d", [1, 2])
def test_moments_match_a_rational_recursion(d):
    flat = {"condition_s": 1.0, "condition_r": 1.0, "rotation": 0.0} if d == 1 else {}
    problem = dataclasses.replace(TURNED, dimension=d, **flat)
    weights = schedule(6)
    mean, covariance = fraction_recursion(problem, weights, 0.4)
    moments = sgd_moments(problem, weights, 0.4)
    np.testing.assert_allclose(moments.mean[-1], mean, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(moments.covariance[-1], covariance, rtol=ROUNDING, atol=ROUNDING)


def test_one_dimensional_moments_by_hand():
    """Curvature 1/2, no noise but RL's: m' = m - eta h (m - c), v' = (1 - eta h)^2 v + eta^2 s2."""
    problem = Quadratic(
        dimension=1,
        condition_s=1.0,
        condition_r=1.0,
        curvature_s=0.5,
        curvature_r=0.5,
        separation=2.0,
        sigma_s2=0.0,
        sigma_r2=4.0,
        start_distance=3.0,
    )
    moments = sgd_moments(problem, [0.0, 1.0], 1.0)
    # RL (minimum -1): 3 - (3 + 1) / 2 = 1, v = 4; then SFT (minimum 1): 1, v = 4 / 4.
    assert moments.mean[:, 0].tolist() == [3.0, 1.0, 1.0]
    assert moments.covariance[:, 0, 0].tolist() == [0.0, 4.0, 1.0]


def test_schedules_broadcast_and_continue():
    weights = np.stack([schedule(8), np.full(8, 0.2)])
    both = sgd_moments(TURNED, weights, 0.3)
    for i in (0, 1):
        one = sgd_moments(TURNED, weights[i], np.full(8, 0.3))
        np.testing.assert_allclose(both.covariance[i], one.covariance, rtol=ALGEBRA_RTOL)
        np.testing.assert_allclose(both.mean[i], one.mean, rtol=ALGEBRA_RTOL)
    first = sgd_moments(TURNED, weights[:, :5], 0.3)
    last = first.mean[:, -1], first.covariance[:, -1]
    second = sgd_moments(TURNED, weights[:, 5:], 0.3, initial=last)
    np.testing.assert_allclose(second.mean[:, -1], both.mean[:, -1], rtol=ALGEBRA_RTOL)


@pytest.mark.parametrize("mu", [0.0, 0.4, 1.0])
def test_the_stationary_law_is_the_fixed_point_of_the_recursion(mu):
    """The covariance against the Lyapunov equation solved as one linear system."""
    eta, d = 0.5, 5
    law = stationary(TURNED, mu, eta)
    again = sgd_moments(TURNED, [mu], eta, initial=(law.mean, law.covariance))
    np.testing.assert_allclose(again.mean[1], law.mean, rtol=0.0, atol=ROUNDING)
    np.testing.assert_allclose(again.covariance[1], law.covariance, rtol=0.0, atol=ROUNDING)
    a = np.eye(d) - eta * (mu * TURNED.hessian_s + (1.0 - mu) * TURNED.hessian_r)
    size = mu**2 * 0.7 + (1.0 - mu) ** 2 * 1.8 + 2.0 * mu * (1.0 - mu) * TURNED.kappa
    injected = eta**2 * size / d * np.eye(d)
    solved = np.linalg.solve(np.eye(d * d) - np.kron(a, a), injected.ravel()).reshape(d, d)
    np.testing.assert_allclose(law.covariance, solved, rtol=0.0, atol=ALGEBRA_RTOL)
    assert math.isclose(law.rate, np.abs(np.linalg.eigvals(a)).max(), rel_tol=ALGEBRA_RTOL)


def test_the_mean_approaches_the_stationary_one_at_the_stated_rate():
    mu, eta, steps = 0.4, 0.5, 400
    law = stationary(TURNED, mu, eta)
    moments = sgd_moments(TURNED, np.full(steps, mu), eta)
    error = np.linalg.norm(moments.mean - law.mean, axis=-1)
    assert np.all(error[1:] <= error[:-1] * law.rate * (1.0 + ROUNDING) + ROUNDING)
    # The slowest direction is what is left; the ratio of late errors is the rate.
    assert math.isclose(error[160] / error[159], law.rate, rel_tol=SLOWEST_RTOL)
    gap = np.linalg.norm(moments.covariance - law.covariance, axis=(-2, -1))
    assert math.isclose(gap[120] / gap[119], law.rate**2, rel_tol=SLOWEST_RTOL)


def test_the_bias_moves_where_sgd_settles_and_only_that():
    unbiased = dataclasses.replace(TURNED, bias_s=0.0, bias_r=0.0)
    one, two = stationary(TURNED, 0.4, 0.5), stationary(unbiased, 0.4, 0.5)
    np.testing.assert_allclose(two.mean, TURNED.minimiser(0.4), rtol=0.0, atol=ROUNDING)
    shift = -np.linalg.solve(
        0.4 * TURNED.hessian_s + 0.6 * TURNED.hessian_r,
        0.4 * TURNED.bias_vector_s + 0.6 * TURNED.bias_vector_r,
    )
    np.testing.assert_allclose(one.mean - two.mean, shift, rtol=0.0, atol=ROUNDING)
    np.testing.assert_array_equal(one.covariance, two.covariance)


@pytest.mark.parametrize("mu", [0.0, 0.4, 1.0])
def test_sgd_settles_below_the_stability_limit_and_grows_above_it(mu):
    limit = float(stability_limit(TURNED, mu))
    weights = np.full(400, mu)
    below = sgd_moments(TURNED, weights, 0.98 * limit).covariance
    above = sgd_moments(TURNED, weights, 1.02 * limit).covariance
    law = stationary(TURNED, mu, 0.98 * limit)
    np.testing.assert_allclose(below[-1], law.covariance, rtol=0.0, atol=SETTLED_ATOL)
    # The stiffest direction, which overshoots, is now the slowest.
    assert math.isclose(law.rate, 0.96, rel_tol=ALGEBRA_RTOL)
    assert np.trace(above[-1]) > 1e3 * np.trace(below[-1])
    with refuses("where SGD settles", limit):
        stationary(TURNED, mu, limit)


def test_a_diverging_schedule_ends_in_infinities_without_a_warning():
    moments = sgd_moments(TURNED, np.full(2000, 0.5), 50.0)
    assert not np.isfinite(moments.covariance[-1]).all()


def test_perfectly_anticorrelated_noise_cancels_at_the_balanced_weight():
    problem = Quadratic(dimension=2, sigma_s2=1.0, sigma_r2=4.0, correlation=-1.0)
    # mu sigma_s = (1 - mu) sigma_r
    covariance = sgd_moments(problem, np.full(5, 2.0 / 3.0), 0.3).covariance
    np.testing.assert_allclose(covariance[-1], 0.0, atol=ROUNDING)


# Refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"dimension": 0}, "dimension = 0 is not a whole number"),
        ({"dimension": 2.5}, "dimension = 2.5"),
        ({"condition_s": 0.5}, r"condition_s = 0.5 is outside \[1"),
        ({"condition_r": math.inf}, "condition_r = inf"),
        ({"curvature_r": 0.0}, "curvature_r = 0.0"),
        ({"rotation": 3.0}, "rotation = 3.0"),
        ({"separation": -1.0}, "separation = -1.0"),
        ({"sigma_s2": -0.1}, "sigma_s2 = -0.1"),
        ({"sigma_r2": math.nan}, "sigma_r2 = nan"),
        ({"correlation": 1.01}, "correlation = 1.01"),
        ({"bias_s": math.inf}, "bias_s = inf"),
        ({"alpha": "x"}, "alpha = 'x' is not a number"),
        ({"proxy": "perfect"}, "proxy = 'perfect' is not one of"),
        ({"samples_s": 1}, "samples_s = 1"),
        ({"dimension": 1}, "condition_s = 10.0 needs two directions"),
        ({"dimension": 1, "condition_s": 1, "condition_r": 1, "rotation": 0.1}, "rotation = 0.1"),
        (
            {"correlation": 0.5, "proxy": "estimated", "samples_r": 9},
            "samples_s = 8 and samples_r = 9 differ",
        ),
        (
            {
                **{"dimension": 1, "condition_s": 1, "condition_r": 1, "correlation": 0.5},
                **{"proxy": "estimated", "samples_s": 2, "samples_r": 2},
            },
            "one degree of freedom",
        ),
    ],
)
def test_impossible_parameters_are_refused(fields, match):
    with refuses(match):
        Quadratic(**fields)


def test_arrays_of_the_wrong_shape_are_refused():
    problem = Quadratic(dimension=2)
    with refuses("theta has shape", (3,)):
        problem.truth(np.zeros(3), 0)
    with refuses("the draw 4 seeds"):
        problem.sample(np.zeros((3, 2)), 0, problem.draw(RNG(), 4, 0))
    estimated = dataclasses.replace(problem, proxy="estimated")
    with refuses("no estimates"):
        estimated.sample(np.zeros((3, 2)), 0, problem.draw(RNG(), 3, 0))
    with refuses(r"mu\[1\] = nan"):
        problem.minimiser([0.0, math.nan])


@pytest.mark.parametrize(
    ("arguments", "changes", "match"),
    [
        ((0.5, 0.1), {}, "pass a schedule"),
        (([], 0.1), {}, "pass a schedule"),
        (([0.5, math.nan], 0.1), {}, r"mu\[1\] = nan"),
        (([0.5], -0.1), {}, "learning_rate = -0.1 is negative"),
        (([0.5, 0.5], [0.1, 0.1, 0.1]), {}, "pass shapes that broadcast"),
        (([0.5], 0.1), {"initial": (np.zeros(3), np.eye(2))}, "initial has shapes"),
        (([0.5], 0.1), {"initial": (np.zeros(2), -np.eye(2))}, "eigenvalue -1.0"),
        (([0.5], 0.1), {"initial": (np.zeros(2), [[1, 1], [0, 1]])}, "not symmetric"),
    ],
)
def test_impossible_schedules_and_starts_are_refused(arguments, changes, match):
    with refuses(match):
        sgd_moments(Quadratic(dimension=2), *arguments, **changes)


def test_weights_outside_the_unit_interval_have_no_stationary_law():
    with refuses(r"mu = 1.5 is outside \[0, 1\]"):
        stability_limit(TURNED, [0.5, 1.5])
