"""The tabular token policy: dynamic programming against enumeration of every sequence."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
from _asserts import refuses
from _policies import stack
from _policy_checks import (
    ALL,
    check_descent,
    check_gradient_oracle,
    check_monte_carlo,
    near,
    some_theta,
    within,
)

import gac_ref
from simulations.models.bandit import Bandit
from simulations.models.observation import to_batch
from simulations.models.policy_draw import Drawn
from simulations.models.policy_tables import constants
from simulations.models.softmax import log_softmax
from simulations.models.token_policy import TokenPolicy

SMALL = {
    "prompts": 2,
    "vocabulary": 2,
    "horizon": 3,
    "experts": 6,
    "groups": 3,
    "group_size": 3,
}
WIDE = {**SMALL, "vocabulary": 3, "horizon": 2}
MODELS = [
    TokenPolicy(**SMALL),
    TokenPolicy(**WIDE, reward="partial", advantage="luffy_split"),
    TokenPolicy(**SMALL, required=2, advantage="value"),
    TokenPolicy(**{**WIDE, "experts": 3}, paired=True, advantage="dr_grpo"),
    TokenPolicy(**{**SMALL, "prompts": 1, "horizon": 1}, expert_mistakes=0, expert_accuracy=1.0),
    TokenPolicy(**WIDE, reward="partial", advantage="value", expert_mistakes=2),
]


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("model", MODELS)
def test_token_policy(model, check):
    check(model)


@pytest.mark.parametrize("model", [MODELS[0], MODELS[1], MODELS[3]])
def test_moments_of_the_sampled_gradients(model):
    check_monte_carlo(model)


def test_the_unbiased_oracle_estimates_the_truth():
    check_gradient_oracle(MODELS[1])


def test_descending_the_rl_gradient_learns_the_pattern():
    check_descent(TokenPolicy(**SMALL), steps=150, rate=8.0)


def test_sequences_are_sampled_with_their_probabilities():
    model = TokenPolicy(**{**SMALL, "prompts": 1, "expert_mistakes": 0})
    theta = some_theta(model)
    seen = model.observe(stack(theta, 3000), model.draw(np.random.default_rng(0), 3000, 0))
    logp = log_softmax(theta.reshape(-1, 2))
    tokens = np.moveaxis(seen.rollouts, -2, -1) % 2
    for path in itertools.product(range(2), repeat=3):
        states = [0, 1 + path[0], 3 + path[1]]
        chance = np.exp(sum(logp[s, a] for s, a in zip(states, path, strict=True)))
        within((tokens == path).all(axis=-1).mean(axis=-1), chance)


def test_demonstrations_are_the_experts():
    model = MODELS[0]
    uses = Drawn(model, *model.draw(np.random.default_rng(0), 4000, 0)).expert_uses
    assert (uses.sum(axis=(1, 2, 3)) == model.experts * model.horizon).all()
    expected = constants(model).expert_joint / model.prompts
    for code in range(expected.size):
        within(uses.reshape(4000, -1)[:, code] / model.experts, expected.flat[code])


def test_the_verifier_counts_matches():
    model = TokenPolicy(**WIDE, reward="partial")
    seen = model.observe(stack(some_theta(model), 3), model.draw(np.random.default_rng(0), 3, 0))
    tokens = np.moveaxis(seen.rollouts, -2, -1) % model.vocabulary
    prompts = np.repeat(seen.prompts_r, model.group_size, axis=-1)
    expected = (tokens == model.targets()[prompts]).mean(axis=-1)
    np.testing.assert_array_equal(seen.rewards.reshape(3, -1), expected)
    assert 0.0 < expected.mean() < 1.0


def test_long_horizons_need_no_enumeration():
    """4^30 sequences: chances sum to one, and independent tokens have a closed-form value."""
    model = TokenPolicy(prompts=1, vocabulary=4, horizon=30, required=20, expert_mistakes=0)
    theta = np.zeros(model.dimension)
    outcomes, truth = model.outcomes(theta, 0), model.truth(theta, 0)
    tail = sum(comb(30, k) * 3.0 ** (30 - k) for k in range(20, 31)) / 4.0**30
    assert abs(outcomes["reward"] / tail - 1.0) < 1e-10  # 30 positions of roundings
    near(outcomes["entropy"], np.log(4.0))
    assert truth.sigma_r2 > 0.0


def test_uniform_policy_has_uniform_scores():
    """|score|^2 of a token is 1 - 1/V, so an SFT sequence has T (1 - 1/V) minus |g_s|^2."""
    model = TokenPolicy(**WIDE)
    truth = model.truth(np.zeros(model.dimension), 0)
    near(truth.sigma_s2 * model.experts + np.sum(truth.g_s**2), 2 * (1.0 - 1.0 / 3.0))


def test_adding_a_constant_to_a_states_logits_changes_nothing():
    model = MODELS[1]
    theta = some_theta(model)
    shifted = (theta.reshape(-1, 3) + np.arange(theta.size // 3)[:, None]).ravel()
    for a, b in zip(model.truth(theta, 0), model.truth(shifted, 0), strict=True):
        near(a, b)
    near(model.truth(theta, 0).g_r.reshape(-1, 3).sum(axis=-1), 0.0)


def test_an_expert_that_errs_pulls_away_from_the_reward():
    """At the expert itself imitation rests, and the reward gradient does not."""
    model = TokenPolicy(**SMALL, expert_accuracy=0.8, expert_mistakes=2, advantage="value")
    truth = model.truth(np.log(constants(model).expert).ravel(), 0)
    near(truth.g_s, 0.0)
    assert np.abs(truth.g_r).max() > 1e-3
    last = model.targets()[:, -1]
    intended = constants(model).expert[:, -1].argmax(axis=-1)
    assert (intended != last).all()


def test_centring_on_the_group_mean_shrinks_the_gradient_by_one_over_g():
    model = TokenPolicy(**SMALL, advantage="dr_grpo")
    truth = model.truth(some_theta(model), 0)
    near(truth.bias_r, -truth.g_r / model.group_size)


def test_a_bandit_is_a_token_policy_of_one_token():
    shared = {"experts": 4, "groups": 2, "group_size": 4, "expert_accuracy": 0.7}
    tokens = TokenPolicy(prompts=1, vocabulary=2, horizon=1, expert_mistakes=0, **shared)
    arms = Bandit(
        contexts=1, arms=2, best_reward=1.0, worst_reward=0.0, expert_mistakes=0, **shared
    )
    theta = np.array([0.3, -0.4])
    if arms.success()[0].argmax() != tokens.targets()[0, 0]:
        theta_arms = theta[::-1].copy()
    else:
        theta_arms = theta
    one, other = tokens.truth(theta, 0), arms.truth(theta_arms, 0)
    for field in ("sigma_s2", "sigma_r2", "delta_g2"):
        near(getattr(one, field), getattr(other, field))


def test_the_estimator_runs_on_what_was_sampled():
    model = TokenPolicy()
    rng = np.random.default_rng(0)
    config = gac_ref.GACConfig.decoupled(alpha_mode="kl")
    state, theta = gac_ref.init(config), model.start(rng, 1) + 0.5
    for step in range(12):
        draw = model.draw(rng, 1, step)
        batch = to_batch(model.observe(theta, draw), (0,))
        state, info = gac_ref.update(config, state, batch, step=step)
        sample = model.sample(theta, step, draw)
        theta = theta - 0.1 * (info.mu * sample.grad_s + (1.0 - info.mu) * sample.grad_r)
    assert batch.shape == (48, 4)
    assert np.isfinite(float(state.mu))
    assert state.count_s == 2


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"prompts": 0}, "prompts"),
        ({"vocabulary": 1}, "vocabulary"),
        ({"horizon": 0}, "horizon"),
        ({"reward": "sum"}, "reward"),
        ({"required": 5}, "required = 5 is above horizon"),
        ({"required": 2, "reward": "partial"}, "no meaning"),
        ({"expert_accuracy": 1.5}, "expert_accuracy"),
        ({"expert_mistakes": 5}, "expert_mistakes = 5 is above prompts"),
        ({"start_skill": float("inf")}, "start_skill"),
        ({"start_noise": -0.1}, "start_noise"),
        ({"reward": "partial", "horizon": 12, "group_size": 12}, "compositions"),
    ],
)
def test_impossible_fields_are_refused(changes, match):
    with refuses(match):
        TokenPolicy(**changes)


def test_an_index_that_is_no_trajectory_is_refused():
    model = MODELS[0]
    seen = model.observe(stack(some_theta(model), 2), model.draw(np.random.default_rng(0), 2, 0))
    for index in ((2,), (0, 0), ()):
        with refuses("index"):
            to_batch(seen, index)
