"""The MLP policy: hand-written passes against complex steps, noise against enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from _asserts import refuses
from _policies import mlp_logp, stack
from _policy_checks import (
    ALL,
    check_descent,
    check_gradient_oracle,
    check_monte_carlo,
    near,
    some_theta,
)

from simulations.models.mlp import MLPPolicy
from simulations.models.policy_tables import constants
from simulations.models.softmax import log_softmax

SMALL = {
    "prompts": 2,
    "vocabulary": 2,
    "horizon": 3,
    "embedding": 3,
    "hidden": 4,
    "experts": 5,
    "groups": 3,
    "group_size": 3,
}
WIDE = {**SMALL, "vocabulary": 3, "horizon": 2}
MODELS = [
    MLPPolicy(**SMALL),
    MLPPolicy(**WIDE, reward="partial", advantage="verl_vectorized"),
    MLPPolicy(**WIDE, advantage="value", required=1),
    MLPPolicy(**{**SMALL, "experts": 3}, paired=True, advantage="dr_grpo"),
    MLPPolicy(
        **{**SMALL, "prompts": 1, "horizon": 1, "embedding": 1, "hidden": 1},
        expert_mistakes=0,
        expert_accuracy=1.0,
    ),
]

DIFFERENCE_TOL = 1e-8
"""Central differences with a step of 1e-5: 1e-10 of truncation, 1e-11 of rounding."""


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("model", MODELS)
def test_mlp(model, check):
    check(model)


@pytest.mark.parametrize("model", [MODELS[0], MODELS[3]])
def test_moments_of_the_sampled_gradients(model):
    check_monte_carlo(model)


def test_the_unbiased_oracle_estimates_the_truth():
    check_gradient_oracle(MODELS[2])


def test_descending_the_rl_gradient_learns_the_pattern():
    check_descent(MLPPolicy(**SMALL, advantage="value"), steps=250, rate=1.0)


def test_forward_pass_is_the_formula():
    model = MODELS[1]
    theta = np.random.default_rng(0).normal(size=(4, model.dimension))
    near(log_softmax(model.logits(theta)), mlp_logp(model, theta))


def test_backward_pass_of_any_table_by_central_differences():
    """Real arithmetic end to end, through the model's own forward pass."""
    model, rng = MODELS[1], np.random.default_rng(0)
    theta = rng.normal(size=model.dimension)
    table = rng.normal(size=model.logits(theta).shape)
    step = 1e-5 * np.eye(model.dimension)

    def dot(points):
        return (model.logits(points) * table).reshape(len(points), -1).sum(axis=-1)

    slope = (dot(theta + step) - dot(theta - step)) / 2e-5
    near(model.pullback(theta, table), slope, DIFFERENCE_TOL)


def test_scores_average_to_zero_under_the_policy():
    model = MODELS[0]
    theta = some_theta(model)
    p = np.exp(log_softmax(model.logits(theta)))
    near((p[..., None] * model.scores(theta)).sum(axis=-2), 0.0)


def test_parameters_are_shared_between_prompts():
    """Unlike in a table, imitating one prompt's expert moves another prompt's policy."""
    model = MODELS[0]
    theta = some_theta(model)
    table = np.zeros((2, *model.shape.table[1:]))
    table[0, 0, 0], table[0, 0, 1] = 1.0, -1.0
    moved = model.logits(theta - 0.1 * model.pullback(theta, table)) - model.logits(theta)
    assert np.abs(moved[1]).max() > 1e-3


def test_tokens_of_a_sequence_interact_in_the_noise():
    """Dropping the cross terms between tokens, which is exact in a table, is wrong here."""
    model = MODELS[0]
    theta = some_theta(model)
    scores = model.scores(theta)
    joint = constants(model).expert_joint
    alone = (joint * (scores**2).sum(axis=-1)).sum() / model.prompts
    truth = model.truth(theta, 0)
    whole = truth.sigma_s2 * model.experts + np.sum(truth.g_s**2)
    assert abs(alone - whole) > 0.01 * whole


def test_packing_is_undone_by_unpacking_and_refused_in_another_size():
    model = MODELS[1]
    theta = np.random.default_rng(0).normal(size=(2, 3, model.dimension))
    np.testing.assert_array_equal(model.pack(model.unpack(theta)), theta)
    with refuses("theta has shape"):
        model.truth(theta[..., :-1], 0)


def test_start_is_the_reference_and_spreads_around_it():
    model = MLPPolicy(**SMALL)
    near(model.start(np.random.default_rng(0), 3), stack(model.reference(), 3))
    spread = MLPPolicy(**SMALL, start_spread=0.5).start(np.random.default_rng(0), 500)
    assert abs(np.std(spread - model.reference()) / 0.5 - 1.0) < 0.05  # 25,000 normals


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"hidden": 0}, "hidden"),
        ({"embedding": 2.5}, "embedding"),
        ({"start_scale": -1.0}, "start_scale"),
        ({"vocabulary": 9, "horizon": 4}, "vocabulary \\*\\* horizon = 6561 is above 4096"),
    ],
)
def test_impossible_fields_are_refused(changes, match):
    with refuses(match):
        MLPPolicy(**changes)
