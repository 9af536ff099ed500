"""Regression on a finite data set: gradients, sampler noise and minima by brute force."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pickle
from fractions import Fraction as Q

import numpy as np
import pytest
from _asserts import refuses

from gac_ref import gradient_oracle
from simulations.models import Regression
from simulations.models.regression_data import (
    RegressionDraw,
    batch_moments,
    minimise,
    pointwise_entropy,
)
from simulations.problem import Problem

# Sums of a few hundred products of order-one numbers.
ROUNDING = 1e-12
# A complex step has no subtraction; its truncation error is the square of 1e-30.
COMPLEX_STEP = 1e-30
# A gradient at its minimum is the rounding of a mean of order-one terms.
STATIONARY_ATOL = 1e-14
# A right mean misses by more than this many standard errors with probability 6e-7 a comparison;
# seeds are fixed, so the outcome never changes.
STANDARD_ERRORS = 5.0

TINY = Regression(dimension=2, examples=3, batch_s=2, batch_r=3, ridge=0.1, alpha=0.3, data_seed=1)
BOTH = pytest.mark.parametrize("link", ["linear", "logistic"])


def make(link, **changes):
    return dataclasses.replace(TINY, link=link, **changes)


def loss(problem, branch, theta):
    """The mean loss of a branch at a real or complex theta, from its definition."""
    data = problem.data
    y = data.y_s if branch == "s" else data.y_r
    total = 0.0
    for row, label in zip(data.x, y, strict=True):
        z = sum(a * b for a, b in zip(row, theta, strict=True))
        if problem.link == "linear":
            total = total + 0.5 * (z - label) ** 2
        else:
            total = total + np.log(1.0 + np.exp(z)) - label * z
    return total / len(y) + 0.5 * problem.ridge * sum(t * t for t in theta)


def row_gradients(problem, branch, theta):
    """Gradient of each row's own loss, penalty included, [N, d], by complex steps."""
    data = problem.data
    out = []
    for i in range(problem.examples):
        one = problem.data._replace(
            x=data.x[i : i + 1], y_s=data.y_s[i : i + 1], y_r=data.y_r[i : i + 1]
        )
        row = dataclasses.replace(problem)
        row.__dict__["data"] = one
        out.append(complex_gradient(row, branch, theta))
    return np.array(out)


def complex_gradient(problem, branch, theta):
    steps = 1j * COMPLEX_STEP * np.eye(theta.size)
    return [loss(problem, branch, theta + step).imag / COMPLEX_STEP for step in steps]


def every_batch(problem):
    """All equally likely draws of a step, as one draw of many seeds."""
    rows = range(problem.examples)
    s = list(itertools.product(rows, repeat=problem.batch_s))
    if problem.shared_batch:
        return RegressionDraw(np.array(s), np.array(s))
    r = list(itertools.product(rows, repeat=problem.batch_r))
    pairs = list(itertools.product(s, r))
    return RegressionDraw(np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]))


def everywhere(problem, theta):
    draw = every_batch(problem)
    return draw, problem.sample(np.tile(theta, (len(draw.rows_s), 1)), 0, draw)


THETA = np.array([0.7, -1.3])

# The exact quantities --------------------------------------------------------------------------


@BOTH
def test_the_problem_keeps_the_interface_and_is_a_value(link):
    problem = make(link)
    assert isinstance(problem, Problem)
    assert problem.outcomes(np.zeros((2, 2)), 0).keys() == problem.units.keys()
    copy = pickle.loads(pickle.dumps(problem))  # noqa: S301
    assert copy == problem
    assert hash(copy) == hash(problem)
    np.testing.assert_array_equal(copy.data.x, dataclasses.replace(problem).data.x)


@BOTH
@pytest.mark.parametrize("size", [(3, 2), (17, 5), (1, 1)])
def test_full_gradients_are_the_derivatives_of_the_losses(link, size):
    examples, d = size
    problem = make(link, examples=examples, dimension=d)
    theta = np.random.default_rng(0).normal(size=d)
    truth = problem.truth(theta, 0)
    for branch, gradient in (("s", truth.g_s), ("r", truth.g_r)):
        np.testing.assert_allclose(
            gradient, complex_gradient(problem, branch, theta), rtol=ROUNDING, atol=ROUNDING
        )


@BOTH
def test_outcomes_are_the_losses_and_the_distance(link):
    problem = make(link)
    found = problem.outcomes(THETA[None], 0)
    s, r = loss(problem, "s", THETA), loss(problem, "r", THETA)
    away = np.linalg.norm(THETA - problem.minimiser(0.3))
    expected = {"loss": 0.3 * s + 0.7 * r, "loss_s": s, "loss_r": r, "distance": away}
    if link == "logistic":
        z = problem.data.x @ THETA
        p = 1.0 / (1.0 + np.exp(-z))
        expected["accuracy"] = np.mean((p > 0.5) == (problem.data.y_r == 1.0))
        expected["entropy"] = np.mean(-p * np.log(p) - (1.0 - p) * np.log(1.0 - p))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [value], rtol=ROUNDING, err_msg=name)


@BOTH
@pytest.mark.parametrize("shared", [False, True])
def test_noise_and_covariance_are_those_of_all_batches(link, shared):
    """Every draw of every batch, each equally likely."""
    problem = make(link, shared_batch=shared, **({"batch_r": 2} if shared else {}))
    _, sample = everywhere(problem, THETA)
    truth = problem.truth(THETA, 0)
    e_s, e_r = sample.grad_s - truth.g_s, sample.grad_r - truth.g_r
    np.testing.assert_allclose(e_s.mean(0), 0.0, atol=ROUNDING)
    np.testing.assert_allclose(e_r.mean(0), 0.0, atol=ROUNDING)
    np.testing.assert_allclose((e_s**2).sum(-1).mean(), truth.sigma_s2, rtol=ROUNDING)
    np.testing.assert_allclose((e_r**2).sum(-1).mean(), truth.sigma_r2, rtol=ROUNDING)
    np.testing.assert_allclose((e_s * e_r).sum(-1).mean(), truth.kappa, atol=ROUNDING)
    assert (truth.kappa != 0.0) == shared
    delta = truth.g_s - truth.g_r
    np.testing.assert_allclose(delta @ delta, truth.delta_g2, rtol=ROUNDING)


@BOTH
@pytest.mark.parametrize("shared", [False, True])
def test_estimated_proxies_are_unbiased_over_all_batches(link, shared):
    problem = make(
        link, proxy="estimated", shared_batch=shared, **({"batch_r": 2} if shared else {})
    )
    _, sample = everywhere(problem, THETA)
    truth, found = problem.truth(THETA, 0), sample.signals.proxies
    np.testing.assert_allclose(found.sigma_s2.mean(), truth.sigma_s2, rtol=ROUNDING)
    np.testing.assert_allclose(found.sigma_r2.mean(), truth.sigma_r2, rtol=ROUNDING)
    np.testing.assert_allclose(found.delta_g2.mean(), truth.delta_g2, rtol=ROUNDING)


@BOTH
@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_is_what_its_rows_give(link, shared):
    """Gradients and estimates of each draw against the rows' own gradients."""
    problem = make(
        link, proxy="estimated", shared_batch=shared, **({"batch_r": 2} if shared else {})
    )
    draw, sample = everywhere(problem, THETA)
    rows_s, rows_r = (row_gradients(problem, branch, THETA) for branch in "sr")
    x_s, x_r = rows_s[draw.rows_s], rows_r[draw.rows_r]
    np.testing.assert_allclose(sample.grad_s, x_s.mean(1), rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(sample.grad_r, x_r.mean(1), rtol=ROUNDING, atol=ROUNDING)
    oracle = gradient_oracle(x_s, x_r, paired=shared)
    for name in ("sigma_s2", "sigma_r2", "delta_g2"):
        actual, expected = getattr(sample.signals.proxies, name), getattr(oracle, name)
        np.testing.assert_allclose(actual, expected, rtol=0.0, atol=ROUNDING, err_msg=name)
    if link == "logistic":
        p = 1.0 / (1.0 + np.exp(-problem.data.x @ THETA))
        entropy = -p * np.log(p) - (1.0 - p) * np.log(1.0 - p)
        np.testing.assert_allclose(
            sample.signals.entropy, entropy[draw.rows_r].mean(1), rtol=ROUNDING
        )
    else:
        assert sample.signals.entropy is None


def test_linear_truth_in_rationals():
    """Two rows by hand: full gradient, noise, covariance and disagreement."""
    problem = make("linear", examples=2, batch_s=1, batch_r=1, shared_batch=True)
    data, theta = problem.data, [Q(t) for t in THETA]
    rows = {}
    for branch, y in (("s", data.y_s), ("r", data.y_r)):
        rows[branch] = []
        for x, label in zip(data.x.tolist(), y.tolist(), strict=True):
            z = sum(Q(a) * t for a, t in zip(x, theta, strict=True))
            rows[branch].append([(z - Q(label)) * Q(a) for a in x])
    mean = {b: [(p + q) / 2 for p, q in zip(*rows[b], strict=True)] for b in rows}

    def scatter(a, b):
        return (
            sum(
                (rows[a][i][j] - mean[a][j]) * (rows[b][i][j] - mean[b][j])
                for i in (0, 1)
                for j in (0, 1)
            )
            / 2
        )

    truth = problem.truth(THETA, 0)
    ridge = Q(problem.ridge)
    expected = [float(m + ridge * t) for m, t in zip(mean["s"], theta, strict=True)]
    np.testing.assert_allclose(truth.g_s, expected, rtol=ROUNDING)
    np.testing.assert_allclose(truth.sigma_s2, float(scatter("s", "s")), rtol=ROUNDING)
    np.testing.assert_allclose(truth.sigma_r2, float(scatter("r", "r")), rtol=ROUNDING)
    np.testing.assert_allclose(truth.kappa, float(scatter("s", "r")), rtol=ROUNDING)
    gap = sum((p - q) ** 2 for p, q in zip(mean["s"], mean["r"], strict=True))
    np.testing.assert_allclose(truth.delta_g2, float(gap), rtol=ROUNDING)


@BOTH
def test_draws_are_uniform_with_replacement(link):
    problem = make(link)
    n = 20_000
    draw = problem.draw(np.random.default_rng(0), n, 0)
    for rows, size in ((draw.rows_s, 2), (draw.rows_r, 3)):
        assert rows.shape == (n, size)
        counts = np.bincount(rows.ravel(), minlength=3)
        error = math.sqrt(n * size * (1 / 3) * (2 / 3))
        assert np.abs(counts - n * size / 3).max() < STANDARD_ERRORS * error
        repeated = np.mean(rows[:, 0] == rows[:, 1])
        assert abs(repeated - 1 / 3) < STANDARD_ERRORS * math.sqrt(2 / 9 / n)
    shared = make(link, shared_batch=True, batch_r=2).draw(np.random.default_rng(0), 4, 0)
    np.testing.assert_array_equal(shared.rows_s, shared.rows_r)


# Known structure -------------------------------------------------------------------------------


@BOTH
def test_the_disagreement_does_not_depend_on_theta(link):
    problem = make(link)
    theta = np.random.default_rng(0).normal(size=(6, 2)) * 3.0
    truth = problem.truth(theta, 0)
    assert np.ptp(truth.delta_g2) == 0.0
    assert truth.delta_g2[0] > 0.0
    moved = ((truth.g_s - truth.g_r) ** 2).sum(-1)
    np.testing.assert_allclose(moved, truth.delta_g2, rtol=ROUNDING)


@BOTH
def test_an_unbiased_noiseless_teacher_is_the_rl_branch(link):
    problem = make(link, teacher_bias=0.0, noise_s=0.0, noise_r=0.0, shared_batch=True, batch_r=2)
    truth = problem.truth(THETA, 0)
    np.testing.assert_array_equal(truth.g_s, truth.g_r)
    assert truth.delta_g2 == 0.0
    assert truth.sigma_s2 == truth.sigma_r2
    np.testing.assert_allclose(truth.kappa, truth.sigma_s2, rtol=ROUNDING)


def test_one_row_has_no_sampling_noise():
    truth = make("linear", examples=1, dimension=1).truth(np.array([2.0]), 0)
    # Of a squared gradient of order one.
    assert 0.0 <= max(truth.sigma_s2, truth.sigma_r2) < ROUNDING


def test_the_teacher_is_biased_by_the_stated_distance():
    """Noiseless linear labels without a penalty are fitted exactly by the weights behind them."""
    problem = Regression(ridge=0.0, noise_s=0.0, noise_r=0.0, teacher_bias=1.7, signal=2.5)
    teacher, true = problem.minimiser(1.0), problem.minimiser(0.0)
    assert math.isclose(np.linalg.norm(teacher - true), 1.7, rel_tol=ROUNDING)
    assert math.isclose(np.linalg.norm(true), 2.5, rel_tol=ROUNDING)
    np.testing.assert_allclose(problem.outcomes(true, 0)["loss_r"], 0.0, atol=ROUNDING)


def test_data_have_the_stated_law():
    rows = 40_000
    problem = Regression(examples=rows, dimension=3, condition=9.0, noise_r=0.5, signal=2.0)
    data = problem.data
    for j, variance in enumerate((1.0, 1.0 / 3.0, 1.0 / 9.0)):
        error = variance * math.sqrt(2.0 / rows)
        assert abs(data.x[:, j].var() - variance) < STANDARD_ERRORS * error
    residual = data.y_r - data.x @ dataclasses.replace(problem, ridge=0.0).minimiser(0.0)
    assert abs(residual.var() - 0.25) < STANDARD_ERRORS * 0.25 * math.sqrt(2.0 / rows)
    logistic = dataclasses.replace(problem, link="logistic", noise_r=1.0, ridge=1e-9)
    assert set(np.unique(logistic.data.y_r)) == {0.0, 1.0}
    # With c = 1 the labels follow the fitted model: the score at the true weights has mean 0.
    fitted = logistic.minimiser(0.0)
    assert abs(np.linalg.norm(fitted) - 2.0) < 0.1  # three standard errors of a length, about
    p = 1.0 / (1.0 + np.exp(-data.x @ fitted))
    brier = np.mean((logistic.data.y_r - p) ** 2 - p * (1.0 - p))
    assert abs(brier) < STANDARD_ERRORS * 0.5 / math.sqrt(rows)


# Minima ----------------------------------------------------------------------------------------


@BOTH
def test_minimisers_are_where_the_mixed_gradient_vanishes(link):
    problem = Regression(link=link, dimension=5, examples=30, noise_s=1.0, noise_r=1.0)
    weights = np.array([[0.0, 0.3], [0.7, 1.0]])
    at = problem.minimiser(weights)
    assert at.shape == (2, 2, 5)
    truth = problem.truth(at, 0)
    mixed = weights[..., None] * truth.g_s + (1.0 - weights[..., None]) * truth.g_r
    np.testing.assert_allclose(mixed, 0.0, atol=STATIONARY_ATOL)
    np.testing.assert_array_equal(problem.optimum, problem.minimiser(problem.alpha))


def test_the_linear_minimiser_solves_the_normal_equations():
    problem = Regression(dimension=4, examples=20, ridge=0.3)
    x, y = problem.data.x, problem.data.y_r
    # Ridge as extra rows of an ordinary least-squares problem.
    rows = np.vstack([x, math.sqrt(0.3 * 20) * np.eye(4)])
    expected = np.linalg.lstsq(rows, np.concatenate([y, np.zeros(4)]), rcond=None)[0]
    np.testing.assert_allclose(problem.minimiser(0.0), expected, rtol=ROUNDING)


@pytest.mark.parametrize("ridge", [1.0, 1e-3, 1e-6])
def test_newton_converges_on_separable_labels_of_any_penalty(ridge):
    """Where the first Newton step overshoots; the minimum is far away and flat."""
    x = np.random.default_rng(0).normal(size=(12, 3)) * 30.0
    y = np.where(x[:, 0] > 0.0, 1.0, 0.0)
    theta = minimise("logistic", x, y, ridge)
    p = 0.5 * (1.0 + np.tanh(0.5 * (x @ theta)))
    gradient = x.T @ (p - y) / 12 + ridge * theta
    # Relative to the sum of absolute terms of the mean, about 30.
    np.testing.assert_allclose(gradient, 0.0, atol=30.0 * STATIONARY_ATOL)


@BOTH
def test_the_curvature_bound_holds_and_is_exact_for_least_squares(link):
    problem = Regression(link=link, dimension=3, examples=10)
    x = problem.data.x
    for theta in (np.zeros(3), np.ones(3)):
        p = 1.0 / (1.0 + np.exp(-x @ theta))
        weight = np.ones(10) if link == "linear" else p * (1.0 - p)
        top = np.linalg.eigvalsh((x.T * weight) @ x / 10 + problem.ridge * np.eye(3))[-1]
        assert top <= problem.largest_curvature * (1.0 + ROUNDING)
        if link == "linear" or not theta.any():  # where every weight is 1/4, the bound is met
            assert math.isclose(top, problem.largest_curvature, rel_tol=ROUNDING)


def test_descent_on_the_mixture_ends_at_its_minimiser():
    problem = Regression(link="logistic", dimension=2, examples=40, noise_s=1.0, noise_r=1.0)
    theta, rate = np.ones((1, 2)), 1.0 / problem.largest_curvature
    for step in range(2000):
        truth = problem.truth(theta, step)
        theta = theta - rate * (0.25 * truth.g_s + 0.75 * truth.g_r)
    np.testing.assert_allclose(theta[0], problem.minimiser(0.25), rtol=ROUNDING)


# Numerics and grouping -------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("proxy", ["exact", "estimated"])
@pytest.mark.parametrize("d", [1, 3])
def test_no_bit_depends_on_the_company_of_a_trajectory(link, shared, proxy, d):
    problem = Regression(
        link=link, dimension=d, examples=20, batch_s=9, batch_r=9, shared_batch=shared, proxy=proxy
    )
    n = 12
    theta = np.random.default_rng(5).normal(size=(3, n, d))
    draw = problem.draw(np.random.default_rng(1), n, 0)
    truth, sample = problem.truth(theta, 0), problem.sample(theta, 0, draw)
    outcomes = problem.outcomes(theta, 0)
    for rows in (slice(0, 1), slice(4, 5), slice(3, 11)):
        part_draw = RegressionDraw(draw.rows_s[rows], draw.rows_r[rows])
        for part, index in (
            (theta[:, rows], (slice(None), rows)),
            (theta[1, rows], (1, rows)),
            (np.asfortranarray(theta[:, rows]), (slice(None), rows)),
        ):
            for name in ("g_s", "g_r", "sigma_s2", "sigma_r2", "kappa", "delta_g2"):
                actual = getattr(problem.truth(part, 0), name)
                np.testing.assert_array_equal(actual, getattr(truth, name)[index], err_msg=name)
            again = problem.sample(part, 0, part_draw)
            np.testing.assert_array_equal(again.grad_s, sample.grad_s[index])
            np.testing.assert_array_equal(again.grad_r, sample.grad_r[index])
            for name in ("sigma_s2", "sigma_r2", "delta_g2"):
                actual = getattr(again.signals.proxies, name)
                expected = getattr(sample.signals.proxies, name)[index]
                np.testing.assert_array_equal(actual, expected, err_msg=name)
            if link == "logistic":
                np.testing.assert_array_equal(again.signals.entropy, sample.signals.entropy[index])
            for name, values in problem.outcomes(part, 0).items():
                np.testing.assert_array_equal(values, outcomes[name][index], err_msg=name)


def test_extreme_logits_stay_finite():
    problem = make("logistic")
    theta = np.array([[1e6, -1e6], [-1e300, 1e300]])
    found = problem.outcomes(theta[:1], 0)
    assert all(np.isfinite(values).all() for values in found.values())
    with np.errstate(all="raise", under="ignore"):
        assert pointwise_entropy(np.array([0.0, -1e3, 1e300])).tolist() == [math.log(2.0), 0.0, 0.0]
    truth = problem.truth(theta[:1], 0)
    assert np.isfinite(truth.g_s).all()


def test_equal_rows_have_no_scatter_left_by_rounding():
    columns = np.full((1, 7), 0.1)
    moments = batch_moments(np.full(7, 1.0 / 3.0), columns, columns[0] ** 2)
    assert 0.0 <= moments.scatter < ROUNDING


def test_the_data_are_read_only_and_set_by_their_seed():
    one, two = make("linear"), make("linear", alpha=0.9)
    np.testing.assert_array_equal(one.data.x, two.data.x)
    assert not np.array_equal(one.data.x, make("linear", data_seed=5).data.x)
    with pytest.raises(ValueError, match="read-only"):
        one.data.x[0, 0] = 1.0
    start = make("linear", start_spread=2.0).start(np.random.default_rng(0), 20_000)
    mean = (start**2).sum(-1).mean()
    assert abs(mean - 4.0) < STANDARD_ERRORS * 4.0 / math.sqrt(20_000)


# Refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"link": "probit"}, "link = 'probit' is not one of"),
        ({"proxy": "perfect"}, "proxy = 'perfect' is not one of"),
        ({"dimension": 0}, "dimension = 0"),
        ({"examples": 0}, "examples = 0"),
        ({"data_seed": -1}, "data_seed = -1"),
        ({"batch_s": 0}, "batch_s = 0 is not a whole number >= 1"),
        ({"batch_r": 1, "proxy": "estimated"}, "batch_r = 1 is not a whole number >= 2"),
        ({"condition": 0.5}, "condition = 0.5"),
        ({"dimension": 1, "condition": 2.0}, "condition = 2.0 needs two features"),
        ({"signal": math.nan}, "signal = nan"),
        ({"teacher_bias": -1.0}, "teacher_bias = -1.0"),
        ({"noise_s": -0.5}, "noise_s = -0.5"),
        ({"ridge": -1.0}, "ridge = -1.0"),
        ({"ridge": 0.0, "link": "logistic"}, "without a minimum"),
        ({"ridge": 0.0, "examples": 7}, "examples = 7 rows do not determine"),
        ({"shared_batch": 1}, "shared_batch = 1 is not True or False"),
        ({"shared_batch": True, "batch_s": 4}, "batch_s = 4 and batch_r = 8 differ"),
        ({"alpha": 1.2}, r"alpha = 1.2 is outside \[0, 1\]"),
    ],
)
def test_impossible_parameters_are_refused(fields, match):
    with refuses(match):
        Regression(**fields)


def test_impossible_arrays_are_refused():
    problem = make("linear")
    with refuses("theta has shape", (3,)):
        problem.truth(np.zeros(3), 0)
    with refuses("the draw 4 seeds"):
        problem.sample(np.zeros((3, 2)), 0, problem.draw(np.random.default_rng(0), 4, 0))
    with refuses(r"mu\[0\] = inf"):
        problem.minimiser([math.inf])
    with refuses("do not determine the weights"):
        minimise("linear", np.zeros((3, 2)), np.zeros(3), 0.0)
