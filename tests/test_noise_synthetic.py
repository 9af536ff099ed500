"""The synthetic problem, its named scenarios, and pieces as dictionaries."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from _asserts import refuses
from _noise_cases import NOISES, ROUNDING, assert_mean_is

from gac_ref import GACConfig, baselines
from gac_ref.risk import risk_from_vectors
from simulations.noise import (
    KINDS,
    SCENARIOS,
    Clipping,
    Constant,
    Correlated,
    Independent,
    Isotropic,
    PlaneVector,
    Ramp,
    Seasonal,
    SyntheticGradients,
    TokenBatches,
    from_dict,
    scenario,
    to_dict,
)
from simulations.problem import Problem, Sample, Truth

BATCHES = 12_000
STEPS = (0, 55, 130)

BUSY = SyntheticGradients(
    noise=Correlated(
        sft=NOISES["contaminated_shared"], rl=NOISES["student_multiplicative"], correlation=0.7
    ),
    level_s=Ramp(start=1.0, end=3.0, length=100),
    level_r=Seasonal(mean=2.0, amplitude=1.5, period=50.0),
    delta=PlaneVector(size=Constant(value=1.5), angle=Ramp(start=0.0, end=2.0, length=100)),
    bias_s=PlaneVector(size=Constant(value=0.7), angle=Constant(value=1.0)),
    bias_r=PlaneVector(size=Constant(value=0.2), angle=Constant(value=-1.0)),
    plane=3,
    samples=3,
)
PROBLEMS = dict(SCENARIOS) | {"busy": BUSY}
# Student-t with df = 3: the squared gradient has no variance, so no standard error either. Its
# batch mean and its proxies are compared in their own test, on the exact same code path.
USABLE = [name for name in PROBLEMS if name != "student_t"]


def sampled(problem, step, n=BATCHES, seed=0):
    theta = problem.start(np.random.default_rng(1), n)
    draw = problem.draw(np.random.default_rng([seed, step]), n, step)
    return problem.truth(theta, step), problem.sample(theta, step, draw)


@pytest.mark.parametrize("step", STEPS[1:])
@pytest.mark.parametrize("name", USABLE)
def test_batch_gradients_have_the_stated_moments(name, step):
    problem = PROBLEMS[name]
    truth, sample = sampled(problem, step)
    e_s = sample.grad_s - truth.g_s - truth.bias_s
    e_r = sample.grad_r - truth.g_r - truth.bias_r
    assert problem.truth_error(step) == 0.0
    assert_mean_is(e_s, np.zeros(problem.dimension))
    assert_mean_is(e_r, np.zeros(problem.dimension))
    assert_mean_is(np.sum(e_s**2, axis=-1), truth.sigma_s2[0])
    assert_mean_is(np.sum(e_r**2, axis=-1), truth.sigma_r2[0])
    assert_mean_is(np.sum(e_s * e_r, axis=-1), np.broadcast_to(truth.kappa, BATCHES)[0])
    delta2 = np.sum((truth.g_s - truth.g_r) ** 2, axis=-1)
    np.testing.assert_allclose(truth.delta_g2, delta2, atol=ROUNDING)


@pytest.mark.parametrize("name", USABLE)
def test_observed_proxies_are_unbiased_for_what_is_sampled(name):
    problem = PROBLEMS[name]
    truth, sample = sampled(problem, 55, seed=2)
    proxies = sample.signals.proxies
    assert_mean_is(proxies.sigma_s2, truth.sigma_s2[0])
    assert_mean_is(proxies.sigma_r2, truth.sigma_r2[0])
    apart = (truth.g_s + truth.bias_s - truth.g_r - truth.bias_r)[0]
    assert_mean_is(proxies.delta_g2, float(apart @ apart))


def test_student_scenario_states_the_covariance_of_its_law():
    problem = SCENARIOS["student_t"]
    truth, sample = sampled(problem, 0)
    assert truth.sigma_s2[0] == pytest.approx(1.0, rel=ROUNDING)
    e = sample.grad_s - truth.g_s
    # A linear statistic has a finite variance at df = 3, which is the stated one.
    assert_mean_is(e, np.zeros(8), error=math.sqrt(1.0 / 8.0 / BATCHES))


@pytest.mark.parametrize("name", ["calm", "busy", "clipped", "anticorrelated", "biased_teacher"])
@pytest.mark.parametrize("mu", [0.0, 0.3, 1.0])
def test_the_exact_risk_is_the_mean_squared_error_of_the_mixture(name, mu):
    truth, sample = sampled(PROBLEMS[name], 55, seed=3)
    target = 0.4 * truth.g_s + 0.6 * truth.g_r
    error = np.sum((mu * sample.grad_s + (1.0 - mu) * sample.grad_r - target) ** 2, axis=-1)
    exact = risk_from_vectors(
        mu, (truth.g_s - truth.g_r)[0], truth.sigma_s2[0], truth.sigma_r2[0], 0.4,
        bias_s=truth.bias_s[0], bias_r=truth.bias_r[0], kappa=truth.kappa[0],
    )  # fmt: skip
    assert_mean_is(error, exact)


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_scenario_is_a_problem_whose_rows_do_not_depend_on_their_grouping(name):
    problem = PROBLEMS[name]
    assert isinstance(problem, Problem)
    assert problem.exact
    n, d = 6, problem.dimension
    draw = problem.draw(np.random.default_rng(4), n, 60)
    assert all(leaf.shape[:1] == (n,) for leaf in leaves(draw))
    theta = np.random.default_rng(5).standard_normal((3, n, d))
    whole, truth = problem.sample(theta, 60, draw), problem.truth(theta, 60)
    assert whole.grad_s.shape == truth.g_s.shape == (3, n, d)
    assert truth.sigma_s2.shape == whole.signals.proxies.sigma_s2.shape == (3, n)
    for rows in (slice(2, 3), slice(0, 4), slice(1, 6, 2)):
        part = problem.sample(theta[0, rows], 60, sliced(draw, rows))
        some = problem.truth(theta[0, rows], 60)
        for field in ("grad_s", "grad_r"):
            np.testing.assert_array_equal(getattr(part, field), getattr(whole, field)[1, rows])
        for field in ("sigma_s2", "sigma_r2", "delta_g2"):
            both = (getattr(p.signals.proxies, field) for p in (part, whole))
            one, other = both
            np.testing.assert_array_equal(one, other[2, rows])
        for one, other in zip(some, truth, strict=True):
            np.testing.assert_array_equal(one, np.asarray(other)[0, rows])
    for value in problem.outcomes(theta, 60).values():
        assert value.shape == (3, n)
    assert set(problem.outcomes(theta, 60)) == set(problem.units)


def leaves(tree):
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, tuple) else [tree]


def sliced(tree, rows):
    return tuple(sliced(p, rows) for p in tree) if isinstance(tree, tuple) else tree[rows]


def test_exact_observation_reports_the_truth():
    problem = scenario("correlated", observe="exact", samples=1)
    truth, sample = sampled(problem, 3, n=4)
    for name in ("sigma_s2", "sigma_r2", "delta_g2"):
        np.testing.assert_array_equal(getattr(sample.signals.proxies, name), getattr(truth, name))


def test_the_number_of_samples_changes_the_estimates_and_not_the_noise():
    for m in (2, 16):
        truth, sample = sampled(scenario("rl_noisy", samples=m), 0, n=4_000)
        assert truth.sigma_r2[0] == pytest.approx(9.0, rel=ROUNDING)
        # sigma_hat^2 of a Gaussian in d dimensions has variance 2 sigma^4 / (d (m - 1)).
        expected = 2.0 * 81.0 / (8.0 * (m - 1))
        deviation2 = (sample.signals.proxies.sigma_r2 - 9.0) ** 2
        assert_mean_is(deviation2, expected)


def test_where_clipping_has_no_closed_form_the_truth_says_so_and_states_its_error():
    problem = SyntheticGradients(
        noise=Correlated(correlation=0.5),
        clip_s=Clipping(threshold=1.0),
        level_s=Constant(value=2.0),
    )
    assert not problem.exact
    assert 0.0 < problem.truth_error(0) < 0.2
    truth, sample = sampled(problem, 0)
    e_s = sample.grad_s - truth.g_s - truth.bias_s
    e_r = sample.grad_r - truth.g_r - truth.bias_r
    product = np.sum(e_s * e_r, axis=-1)
    own = product.std() / math.sqrt(BATCHES)
    assert_mean_is(product, truth.kappa[0], error=math.hypot(own, problem.truth_error(0)))


@pytest.mark.parametrize("name", ["calm", "contaminated", "busy"])
def test_controllers_run_on_the_problem(name):
    problem = PROBLEMS[name]
    rules = (GACConfig(mu_update_freq=1), baselines.InverseVariance())
    for rule in rules:
        state = baselines.init(rule, (5,))
        for step in range(12):
            _, sample = sampled(problem, step, n=5)
            state, info = baselines.update(rule, state, sample.signals, step=step)
        assert np.all((info.mu >= 0.0) & (info.mu <= 1.0))


def test_types_of_the_interface():
    truth, sample = sampled(BUSY, 0, n=2)
    assert type(truth) is Truth
    assert type(sample) is Sample


# Dictionaries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_survive_json(name):
    problem = PROBLEMS[name]
    again = from_dict(json.loads(json.dumps(to_dict(problem))))
    assert again == problem
    assert hash(again) == hash(problem)


def test_every_kind_is_named_once_and_distinguishes_equal_fields():
    assert len(KINDS) == len({id(piece) for piece in KINDS.values()}) == 24
    assert dataclasses.asdict(Independent()) != dataclasses.asdict(Correlated())
    assert from_dict(to_dict(TokenBatches(prompts=3))) == TokenBatches(prompts=3)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SyntheticGradients(name=""), "name = ''"),
        (lambda: SyntheticGradients(noise=Isotropic()), "is not a PairNoise"),
        (lambda: SyntheticGradients(level_s=2.0), r"level_s = 2\.0 is not a Regime"),
        (lambda: SyntheticGradients(delta=Constant()), "is not a PlaneVector"),
        (lambda: SyntheticGradients(clip_s=1.0), r"clip_s = 1\.0 is not a Clipping, or None"),
        (
            lambda: SyntheticGradients(level_r=Seasonal(mean=1.0, amplitude=2.0)),
            r"level_r can fall to -1\.0; no variance does",
        ),
        (lambda: SyntheticGradients(samples=1), "samples = 1 is not a whole number >= 2"),
        (lambda: SyntheticGradients(observe="none"), "observe = 'none'"),
        (
            lambda: SyntheticGradients(
                noise=Independent(sft=Isotropic(dimension=1), rl=Isotropic(dimension=1))
            ),
            "dimension = 1 has no plane",
        ),
        (lambda: scenario("stormy"), "scenario 'stormy' is unknown; pass one of calm"),
        (lambda: scenario("calm", wind=1), "has no field 'wind'"),
        (lambda: from_dict({"kind": "wind"}), "kind = 'wind' is unknown"),
        (lambda: from_dict({}), "has nothing and no kind; add one of"),
        (lambda: from_dict({"kind": "step", "speed": 1}), "step has no field 'speed'"),
        (lambda: from_dict({"kind": "dense"}), "dense needs 'matrix', which has no default"),
        (lambda: to_dict(3.0), "is not a piece"),
    ],
)
def test_bad_problems_are_refused_in_one_line(make, match):
    with refuses(match):
        make()
