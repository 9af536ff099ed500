"""Bounds of the group advantages: whose spread, how many degrees of freedom, and none at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gac_ref import GACConfig
from gac_ref._typing import FloatArray
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.tolerance import Precision, stage_tolerances

CLOSE = 1e-4
"""Leeway for the eps beside the spread."""


def advantage_bounds(
    convention: str, rewards: Any, groups: Any, precision: Precision, errors: Any = None
) -> FloatArray:
    inputs = {
        "rewards": np.asarray(rewards, dtype=np.float64), "group_ids": np.asarray(groups),
        "is_expert": np.zeros(len(rewards), dtype=np.bool_), "convention": convention,
    }  # fmt: skip
    golden = evaluate("advantages", GACConfig(), inputs)
    found = stage_tolerances(
        "advantages", GACConfig(), inputs, golden, precision=precision, errors=errors
    )["group_advantages"]
    return np.broadcast_to(found.limit, golden["group_advantages"].shape)


def test_the_spread_that_divides_is_the_one_of_the_convention() -> None:
    rewards, double = [0.0, 0.01, -0.01, 10.0, -10.0, 0.0], Precision("fp64", "fp64")
    groups, errors = [0, 0, 0, 1, 1, 1], {"rewards": 1e-6}
    batch = advantage_bounds("trl_batch", rewards, groups, double, errors)
    group = advantage_bounds("trl", rewards, groups, double, errors)
    whole, own = np.std(rewards, ddof=1), np.std(rewards[:3], ddof=1)
    assert 2e-6 / whole < batch[0] < 1.2 * 2e-6 / whole
    assert 2e-6 / (own + 1e-4) < group[0] < 1.2 * 2e-6 / own


def test_two_rewards_have_one_degree_of_freedom() -> None:
    found = advantage_bounds(
        "verl", [1.0, -1.0], [4, 4], Precision("fp64", "fp64"), {"rewards": 1e-6}
    )
    # (e_r + e_mean) / s + |A| e_s / s, with s = sqrt 2, e_s = 4e-6 / (2 s) and |A| = 1 / s.
    s = math.sqrt(2.0)
    wanted = 2e-6 / s + (2e-6 / s) / s / s
    np.testing.assert_allclose(found, 1.1 * wanted, rtol=CLOSE)


def test_an_advantage_of_mere_rounding_is_bounded_by_the_size_of_its_group() -> None:
    found = advantage_bounds("verl", [0.1] * 7, [0] * 7, Precision("bf16", "fp32"))
    assert np.all(found > 1.0)
    assert np.all(found <= 1.1 * 2.0 * 2.0 * math.sqrt(7.0))


def test_the_mean_of_equal_rewards_adds_equal_roundings() -> None:
    found = advantage_bounds("dr_grpo", [0.1] * 1000, [0] * 1000, Precision("fp32", "fp32"))
    assert np.all(found > 999.0 * 2.0**-24 * 0.1)


@pytest.mark.parametrize(("reward", "exact"), [(1.0, True), (0.1, False)])
def test_a_demonstration_beside_rollouts_without_spread(reward: float, exact: bool) -> None:
    """It is divided by 1 where their spread is exactly 0, and by rounding where it may not be."""
    inputs = {
        "rewards": np.array([reward] * 7 + [3.0]), "group_ids": np.zeros(8, dtype=np.int64),
        "is_expert": np.array([False] * 7 + [True]), "convention": "luffy_split",
    }  # fmt: skip
    golden = evaluate("advantages", GACConfig(), inputs)
    precision = Precision("fp32", "fp32")
    found = stage_tolerances("advantages", GACConfig(), inputs, golden, precision=precision)
    limit = float(found["group_advantages"].limit[-1])
    assert limit < 1e-5 if exact else limit > 1.0 / 1e-6
