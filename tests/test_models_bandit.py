"""The softmax bandit against enumeration, complex steps, Monte Carlo and the estimator itself."""

from __future__ import annotations

import numpy as np
import pytest
from _asserts import refuses
from _policies import stack
from _policy_checks import (
    ALL,
    SUM_TOL,
    check_descent,
    check_gradient_oracle,
    check_monte_carlo,
    near,
    some_theta,
    within,
)

import gac_ref
from simulations.models.bandit import Bandit
from simulations.models.groups import (
    ADVANTAGES,
    composition_table,
    group_moments,
    relative_advantages,
)
from simulations.models.policy_draw import Drawn
from simulations.models.softmax import (
    choose,
    cumulative,
    entropy,
    inverse_cdf,
    kl_divergence,
    log_softmax,
    score_table,
)

SMALL = {"contexts": 2, "arms": 3, "experts": 5, "groups": 3, "group_size": 3, "start_noise": 0.7}
MODELS = [
    Bandit(**SMALL),
    Bandit(**SMALL, advantage="value"),
    Bandit(**SMALL, advantage="dr_grpo"),
    Bandit(**{**SMALL, "experts": 3}, paired=True, advantage="verl"),
    Bandit(**SMALL, best_reward=1.0, worst_reward=0.0, expert_accuracy=1.0, expert_mistakes=2),
    Bandit(**{**SMALL, "contexts": 1, "group_size": 1, "expert_mistakes": 0}, advantage="value"),
]


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("model", MODELS)
def test_bandit(model, check):
    check(model)


@pytest.mark.parametrize("model", [Bandit(**SMALL), MODELS[3], MODELS[1]])
def test_moments_of_the_sampled_gradients(model):
    check_monte_carlo(model)


def test_the_unbiased_oracle_estimates_the_truth():
    check_gradient_oracle(Bandit(**SMALL))


def test_descending_the_rl_gradient_learns_the_best_arm():
    check_descent(Bandit(**SMALL, advantage="value"), steps=120, rate=2.0)


def test_policy_gradient_has_the_textbook_form():
    model = Bandit(**SMALL)
    theta = some_theta(model)
    p = np.exp(log_softmax(theta.reshape(2, 3)))
    rho = model.success()
    value = (p * rho).sum(axis=-1, keepdims=True)
    near(model.truth(theta, 0).g_r, -(p * (rho - value)).ravel() / 2)


def test_sft_gradient_vanishes_exactly_where_the_policy_is_the_expert():
    model = Bandit(**SMALL)
    truth = model.truth(np.log(model.expert()).ravel(), 0)
    near(truth.g_s, 0.0)
    assert truth.sigma_s2 > 0.01


def test_centring_on_the_group_mean_shrinks_the_gradient_by_one_over_g():
    """E[(r_i - mean) s_i] = (1 - 1/G) grad V, whatever the policy."""
    for size in (2, 3, 8):
        model = Bandit(**{**SMALL, "group_size": size}, advantage="dr_grpo")
        truth = model.truth(some_theta(model), 0)
        near(truth.bias_r, -truth.g_r / size)


def test_dividing_by_the_spread_is_a_bias_that_large_groups_keep():
    """With G large the estimator's mean is the sum over contexts of grad V_x / sd_x."""
    model = Bandit(**{**SMALL, "group_size": 500}, advantage="trl")
    theta = some_theta(model, spread=0.3)
    truth = model.truth(theta, 0)
    p = np.exp(log_softmax(theta.reshape(2, 3)))
    value = (p * model.success()).sum(axis=-1)
    spread = np.sqrt(value * (1.0 - value))
    limit = truth.g_r.reshape(2, 3) / spread[:, None]
    relative = np.abs((truth.g_r + truth.bias_r) - limit.ravel()).max() / np.abs(limit).max()
    assert relative < 0.01  # O(1 / G), and the convention's eps of 1e-4
    assert np.abs(truth.bias_r).max() > 0.5 * np.abs(truth.g_r).max()


def test_exact_baseline_has_no_bias_and_says_so():
    truth = MODELS[1].truth(some_theta(MODELS[1]), 0)
    assert truth.bias_r == 0.0
    assert truth.kappa == 0.0


def test_sharing_prompts_correlates_the_branches():
    model = MODELS[3]
    truth = model.truth(some_theta(model), 0)
    assert abs(truth.kappa) > 1e-4
    assert truth.kappa**2 < truth.sigma_s2 * truth.sigma_r2
    drawn = Drawn(model, *model.draw(np.random.default_rng(0), 7, 0))
    assert (drawn.prompts_s == drawn.prompts_r).all()


def test_noise_falls_as_one_over_the_batch():
    one, four = Bandit(**SMALL), Bandit(**{**SMALL, "experts": 20, "groups": 12})
    theta = some_theta(one)
    near(one.truth(theta, 0).sigma_s2, 4.0 * four.truth(theta, 0).sigma_s2)
    near(one.truth(theta, 0).sigma_r2, 4.0 * four.truth(theta, 0).sigma_r2)


def test_rewards_and_arms_are_sampled_from_their_laws():
    model = Bandit(**{**SMALL, "contexts": 1, "expert_mistakes": 0})
    theta = some_theta(model)
    seen = model.observe(stack(theta, 4000), model.draw(np.random.default_rng(0), 4000, 0))
    p = np.exp(log_softmax(theta))
    for arm in range(3):
        within((seen.rollouts == arm).mean(axis=(1, 2)), p[arm])
        within((seen.demonstrations == arm).mean(axis=(1, 2)), model.expert()[0, 0, arm])
    within(seen.rewards.mean(axis=(1, 2)), float(model.outcomes(theta, 0)["reward"]))


def test_draws_do_not_look_at_theta_and_controllers_share_them():
    model = Bandit(**SMALL)
    draw = model.draw(np.random.default_rng(3), 4, 0)
    theta = stack(some_theta(model), 4)
    both = model.sample(np.stack((theta, theta)), 0, draw)
    np.testing.assert_array_equal(both.grad_r[0], both.grad_r[1])
    again = model.draw(np.random.default_rng(3), 4, 17)
    for a, b in zip(draw, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_kl_is_zero_at_the_reference_and_positive_elsewhere():
    model = Bandit(**SMALL)
    assert model.outcomes(model.reference(), 0)["kl"] == 0.0
    assert model.outcomes(some_theta(model), 0)["kl"] > 0.01


# shared helpers ------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", ADVANTAGES[1:])
def test_group_advantages_are_those_of_the_package(convention):
    rng = np.random.default_rng(0)
    for rewards in (rng.integers(0, 2, (40, 5)) * 1.0, rng.random((40, 3)), np.full((1, 4), 0.1)):
        ids = np.repeat(np.arange(len(rewards)), rewards.shape[1])
        theirs = gac_ref.group_advantages(rewards.ravel(), ids, convention=convention)
        near(relative_advantages(rewards, convention).ravel(), theirs)
    assert (relative_advantages(np.full((1, 3), 0.1), convention) == 0.0).all()


@pytest.mark.parametrize("levels", [(0.0, 1.0), (0.0, 1 / 3, 2 / 3, 1.0)])
def test_compositions_are_all_there_once(levels):
    table = composition_table(levels, 5, "trl")
    assert len({tuple(row) for row in table.counts.tolist()}) == len(table.counts)
    assert (table.counts.sum(axis=1) == 5).all()
    near(table.coefficient.sum(), float(len(levels)) ** 5)


def test_a_level_without_probability_contributes_nothing():
    chance = np.array([1.0, 0.0])
    moments = group_moments(
        chance,
        np.array([2.0, 0.0]),
        np.zeros((2, 2)),
        levels=(0.0, 1.0),
        group_size=4,
        advantage="trl",
    )
    assert moments.weight.tolist() == [0.0, 0.0]
    assert moments.second == 0.0


def test_softmax_helpers():
    rng = np.random.default_rng(0)
    z = 4.0 * rng.normal(size=(50, 6))
    logp, logq = log_softmax(z), log_softmax(rng.normal(size=(50, 6)))
    p = np.exp(logp)
    near(p.sum(axis=-1), 1.0)
    near(entropy(logp), -(p * logp).sum(axis=-1))
    near(kl_divergence(logp, logq), (p * (logp - logq)).sum(axis=-1))
    near(score_table(np.eye(6)[None], p[:1, None])[0], np.eye(6) - p[0])
    near(log_softmax(z + 1e6), logp, 1e-8)  # the shift itself rounds at 1e-10
    assert (log_softmax(1e3 * z) <= 0.0).all()
    assert (kl_divergence(logp, logp + 1e-12) >= 0.0).all()


def test_kl_of_close_policies_keeps_its_digits():
    """KL is half the Fisher norm of a small step: 1e-14 here, where p ln(p/q) sums to noise."""
    p = np.array([0.2, 0.3, 0.5])
    direction = np.array([1.0, -2.0, 0.5])
    step = 1e-7 * direction
    exact = 0.5 * (np.sum(p * step**2) - np.sum(p * step) ** 2)
    found = float(kl_divergence(np.log(p), log_softmax(np.log(p) + step)))
    assert abs(found / exact - 1.0) < 1e-2  # third-order term and the rounding of log p


def test_inverse_cdf_counts_the_sums_reached_and_never_leaves_the_range():
    p = np.array([0.0, 0.25, 0.75 - 1e-9])
    uniforms = np.array([0.0, 0.2499, 0.25, np.nextafter(1.0, 0.0)])
    assert inverse_cdf(p, uniforms).tolist() == [1, 1, 2, 2]
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(4), size=7)
    rows, u = rng.integers(0, 7, 200), rng.random(200)
    sums = np.cumsum(table, axis=-1)
    direct = [int(np.searchsorted(sums[r], x, side="right")) for r, x in zip(rows, u, strict=True)]
    assert choose(cumulative(table), rows, u).tolist() == direct


# malformed input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"contexts": 0}, "contexts"),
        ({"arms": 1}, "arms"),
        ({"experts": 0}, "experts"),
        ({"groups": 1.5}, "groups"),
        ({"group_size": 1}, "group_size = 1 leaves nothing to compare with"),
        ({"advantage": "trl_batch"}, "advantage"),
        ({"advantage": 3}, "advantage"),
        ({"best_reward": 1.2}, "best_reward"),
        ({"worst_reward": 0.95}, "worst_reward = 0.95 is not below"),
        ({"expert_accuracy": 0.0}, "expert_accuracy"),
        ({"expert_mistakes": 5}, "expert_mistakes = 5 is above contexts"),
        ({"paired": 1}, "paired"),
        ({"paired": True, "experts": 3, "groups": 4}, "needs experts = groups"),
        ({"start_spread": -1.0}, "start_spread"),
        ({"start_noise": float("nan")}, "start_noise"),
        ({"task_seed": -1}, "task_seed"),
    ],
)
def test_impossible_fields_are_refused(changes, match):
    with refuses(match):
        Bandit(**changes)


def test_malformed_arrays_are_refused():
    model = Bandit(**SMALL)
    draw = model.draw(np.random.default_rng(0), 4, 0)
    with refuses("theta has shape", 5):
        model.truth(np.zeros(5), 0)
    with refuses("the draw 4 seeds"):
        model.sample(np.zeros((3, model.dimension)), 0, draw)
    with refuses("n = 0 seeds"):
        model.draw(np.random.default_rng(0), 0, 0)
    with refuses("20000"):
        composition_table(tuple(np.arange(12.0)), 20, "trl")
    with refuses("group_size = 1001"):
        composition_table((0.0, 1.0), 1001, "trl")
    with refuses("convention"):
        relative_advantages(np.zeros((1, 3)), "value")
    with refuses("group_size = 1"):
        relative_advantages(np.zeros((3, 1)), "trl")


def test_tolerance_is_far_below_what_is_measured():
    truth = MODELS[0].truth(some_theta(MODELS[0]), 0)
    assert truth.sigma_s2 > 1e6 * SUM_TOL
    assert truth.sigma_r2 > 1e6 * SUM_TOL
    assert np.abs(truth.bias_r).max() > 1e6 * SUM_TOL
