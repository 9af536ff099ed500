"""Bounds where first order says nothing: at zero, at a kink with many tokens, beside NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from _carried import bounds

from gac_ref import GACConfig
from gac_ref._typing import FloatArray
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.tolerance import Precision, Tolerance, stage_tolerances
from gac_ref.conformance.tolerance.primitives import Arithmetic, root_error, variance
from gac_ref.conformance.tolerance.proxies import trimmed

CLOSE = 1e-4
"""Leeway for what is left of the other terms of a bound."""


@pytest.mark.parametrize(
    ("name", "digits", "smallest"),
    [("fp64", 53, -1074), ("fp32", 24, -126), ("fp16", 11, -24), ("bf16", 8, -126)],
)
def test_the_constants_of_a_format(name: str, digits: int, smallest: int) -> None:
    found = Arithmetic(name, "sequential")
    u = 2.0**-digits
    assert (found.u, found.tiny, found.exp) == (u, 2.0**smallest, 6.0 * u)
    assert found.constant == (0.0 if name == "fp64" else u)
    for length, depth in ((2, 1), (3, 2), (9, 5), (1000, 11)):
        for tree in (Arithmetic(name, "tree"), Arithmetic(name, "sequential")):
            d = min(depth, length - 1) if tree.sum(10**6) < found.sum(10**6) else length - 1
            worst = d * u / (1.0 - d * u) if d * u < 0.5 else 7.53 * math.sqrt(d) * u
            assert tree.sum(length, systematic=True) == pytest.approx(worst, rel=1e-3)


def test_the_root_of_an_uncertain_number() -> None:
    for v, error in ((4.0, 1.0), (4.0, 1e-9), (1e-12, 5e-13)):
        wanted = math.sqrt(v) - math.sqrt(v - error)
        assert root_error(v, error, 0.0) == pytest.approx(wanted, rel=1e-6)
    assert root_error(0.0, 4.0, 0.25) == 2.0  # up from 0
    assert root_error(4.0, 9.0, 0.0) == 4.5  # all the way down to 0, and as far up
    assert root_error(9.0, 0.0, 0.25) == 0.75


def test_the_parts_of_the_error_of_a_variance() -> None:
    where, u = Arithmetic("fp32", "sequential"), 2.0**-24
    x, e = np.array([1.0, 3.0, 5.0, 7.0]), np.array([0.25, 0.0, 0.5, 0.125])
    v, parts = variance(where, x, e)
    a = 3.0 * u  # three additions
    assert v == 5.0
    wanted = {
        "inputs": (2.0 * (3.0 * 0.25 + 0.5 + 3.0 * 0.125) + 0.0625 + 0.25 + 0.015625) / 4.0,
        "squares": a * math.sqrt(5.0 * 21.0) + 20.0 * u,
        "centring": ((a + 2.0 * u) * 4.0) ** 2,
    }
    assert parts == pytest.approx(wanted, rel=1e-6)


def test_a_nan_that_is_trimmed_leaves_the_others_their_errors() -> None:
    values = np.array([1.0, math.nan, 2.0, 4.0, 8.0])
    error = np.array([0.5, 0.25, 0.125, 0.0, 1.0])
    kept, bound = trimmed(values, error, 0.2)
    assert kept.tolist() == [2.0, 4.0, 8.0]
    assert bound.tolist() == [0.125, 0.0, 1.0]


@pytest.mark.parametrize(("count", "kept"), [(3, 3), (4, 2), (10, 6)])
def test_as_many_are_trimmed_as_the_estimator_trims(count: int, kept: int) -> None:
    values = np.arange(float(count))
    found, _ = trimmed(values, np.zeros(count), 0.25)
    drop = (count - kept) // 2
    assert found.tolist() == values[drop : count - drop].tolist()


def test_streams_that_agree_leave_the_square_of_their_errors() -> None:
    config = GACConfig(use_phi=False, coefficient_normalization="none", mask_eps=0.0)
    inputs = rollouts(np.ones((2, 4)))  # t = -1 - (-1) = 0
    errors = {"c_s": np.full((2, 4), 1e-3), "c_r": np.full((2, 4), 3e-3)}
    limit = bounds("sequences", config, inputs, errors)["disagreement"].limit
    np.testing.assert_allclose(limit, 1.1 * 16e-6, rtol=1e-9)


def test_normalised_rounding_may_be_anything_of_mean_square_1() -> None:
    config = GACConfig(use_phi=False, mask_eps=0.0)
    inputs = rollouts(1.0 + 1e-7 * np.array([[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]))
    golden = evaluate("sequences", config, inputs)
    found = stage_tolerances(
        "sequences", config, inputs, golden, precision=Precision("fp32", "fp32")
    )["disagreement"]
    # (z_s - z_r)^2 of six tokens adds up to 4 * 6 at most, all of it perhaps in one row of two.
    assert np.all(found.limit >= 12.0)
    assert np.all(found.limit <= 60.0)  # with what a spread of mere rounding leaves elsewhere
    (other,) = found.alternatives
    assert other.tolist() == [0.0, 0.0, 0.0]  # a stream without spread is 0


def rollouts(gain: FloatArray) -> dict[str, Any]:
    return {
        "logprob": -np.ones(gain.shape),
        "response_mask": np.ones(gain.shape, dtype=np.bool_),
        "advantages": gain,
        "is_expert": np.zeros(len(gain), dtype=np.bool_),
        "c_s": -np.ones(gain.shape),
        "c_r": -gain,
    }


def loss_bounds(
    ratios: list[float], gains: list[float], precision: Precision
) -> tuple[FloatArray, Tolerance]:
    """The golden gradient of a rollout of these ratios and advantages, and its bound."""
    shape = (1, len(ratios))
    inputs: dict[str, Any] = {
        "logprob": -1.0 + np.log(ratios).reshape(shape),
        "old_logprob": np.full(shape, -1.0),
        "response_mask": np.ones(shape, dtype=np.bool_),
        "is_expert": np.array([False]),
        "advantages": np.array(gains).reshape(shape),
        "mu": 0.25, "clip_low": 0.2, "clip_high": 0.3, "sft": "nll",
        "rl_aggregation": "token_mean", "sft_aggregation": "token_mean",
        "rl_normalizer": float(len(ratios)), "sft_normalizer": 0.0,
    }  # fmt: skip
    golden = evaluate("loss", GACConfig(), inputs)
    found = stage_tolerances("loss", GACConfig(), inputs, golden, precision=precision)
    return golden["loss_grad"], found["loss_grad"]


@pytest.mark.parametrize(
    ("ratio", "gain", "open_"),
    [
        (1.3, 1.0, True), (0.8, -1.0, True),
        (1.3, -1.0, False), (0.8, 1.0, False),  # the bound of the other sign
        (1.3 + 1e-5, 1.0, False), (1.3 - 1e-5, 1.0, False), (0.8 - 1e-5, -1.0, False),
        (1.0, 1.0, False), (1.3, 0.0, True),
    ],
)  # fmt: skip
def test_a_ratio_is_undecided_at_the_bound_of_its_sign(
    ratio: float, gain: float, open_: bool
) -> None:
    near = ratio * (1.0 + 1e-9 * math.copysign(1.0, gain))
    _, found = loss_bounds([near, 1.05], [gain, 2.0], Precision("fp32", "fp32"))
    assert bool(found.alternatives) is open_


@pytest.mark.parametrize(("tokens", "sides"), [(1, 1), (3, 7), (5, 31), (6, 7)])
def test_undecided_tokens_are_enumerated_up_to_five(tokens: int, sides: int) -> None:
    """Every non-empty set of them; beyond five each by itself, and all together."""
    gains = [1.0 + k for k in range(tokens)]
    # Every other one just beyond its bound, where the golden gradient is 0.
    ratios = [1.3 * (1.0 + (1e-9 if k % 2 else -1e-9)) for k in range(tokens)]
    golden, found = loss_bounds([*ratios, 1.05], [*gains, 3.0], Precision("fp32", "fp32"))
    size = 0.75 / (tokens + 1)
    other = [
        0.0 if golden[0, k] else -g * r * size
        for k, (g, r) in enumerate(zip(gains, ratios, strict=True))
    ]
    seen = set()
    for one in found.alternatives:
        assert one[0, -1] == golden[0, -1]
        swapped = tuple(bool(one[0, k] != golden[0, k]) for k in range(tokens))
        for k in range(tokens):
            assert one[0, k] == pytest.approx(other[k] if swapped[k] else golden[0, k])
        seen.add(swapped)
    assert len(found.alternatives) == len(seen) == sides
    assert (True,) * tokens in seen
    for k in range(tokens):
        assert tuple(j == k for j in range(tokens)) in seen


def test_an_undecided_branch_reaches_the_stages_after_it() -> None:
    """Whichever side of the flat risk was taken, the weight EMA follows it."""
    config = GACConfig(eps=0.1, alpha=0.3, ema_beta=0.75, prior="none", mu_change_cap=1.0)
    inputs: dict[str, Any] = {
        "logprob": -np.ones((2, 2)), "response_mask": np.ones((2, 2), dtype=np.bool_),
        "advantages": np.zeros(2), "is_expert": np.array([True, False]), "step": 5,
        "previous_mu": 0.5, "previous_mu_ada": 0.5, "previous_alpha": 0.3,
        "previous_sigma_s2": 0.02, "previous_sigma_r2": 0.2, "previous_delta_g2": 0.03,
        "previous_count_s": 1, "previous_count_r": 1, "previous_count_delta": 1,
        "previous_last_refresh": 4,
    }  # fmt: skip
    quotient = (0.3 * 0.03 + 0.2) / 0.25
    found = bounds("step", config, inputs, {"previous_sigma_r2": 1e-5})
    assert found["mu_raw"].alternatives[0] == pytest.approx(quotient, rel=CLOSE)
    assert float(found["mu_ada"].limit) == pytest.approx(0.25 * (quotient - 0.3), rel=1e-3)
    decided = bounds("step", config, {**inputs, "previous_sigma_r2": 0.21}, {})
    assert float(decided["mu_ada"].limit) < 1e-12


@pytest.mark.parametrize(("dtype", "u"), [("fp32", 2.0**-24), ("fp64", 0.0)])
def test_a_given_kl_enters_a_step_with_one_rounding(dtype: str, u: float) -> None:
    config = GACConfig(alpha_mode="kl", kl_gain=0.7)
    inputs: dict[str, Any] = {
        "logprob": -np.ones((2, 2)), "response_mask": np.ones((2, 2), dtype=np.bool_),
        "advantages": np.zeros(2), "is_expert": np.array([True, False]), "step": 5,
        "previous_mu": 0.5, "previous_mu_ada": 0.5, "previous_alpha": 0.31,
        "previous_sigma_s2": 0.02, "previous_sigma_r2": 0.2, "previous_delta_g2": 0.03,
        "previous_count_s": 1, "previous_count_r": 1, "previous_count_delta": 1,
        "previous_last_refresh": 4, "batch_kl": 0.021,
    }  # fmt: skip
    golden = evaluate("step", config, inputs)
    found = stage_tolerances(
        "step", config, inputs, golden, precision=Precision(dtype, dtype), errors={}
    )
    size = 0.021 * (2.0 * u + 2.0**-53)
    assert 0.5 * size <= float(found["kl"].limit) <= 1.001 * size + 2.0**-126


@pytest.mark.parametrize("part", ["tokens", "scalars"])
def test_one_half_of_a_declaration_leaves_the_other_at_its_default(part: str) -> None:
    found = Precision.declared({"precision": {"bf16": {part: "fp16"}}}, "bf16")
    other = "scalars" if part == "tokens" else "tokens"
    assert (getattr(found, part), getattr(found, other)) == ("fp16", "fp32")
    assert Precision.declared({"precision": {"fp32": {part: "fp16"}}}, "bf16").tokens == "fp32"


@pytest.mark.parametrize(
    ("stage", "name"),
    [("weight_ema", "mu_raw"), ("change_cap", "mu_candidate"), ("clip", "mu_capped")],
)
def test_nan_that_comes_in_must_come_out(stage: str, name: str) -> None:
    inputs = {"previous_mu": 0.5, "previous_mu_ada": 0.5, "not_ready": False, name: math.nan}
    found = bounds(stage, GACConfig(), inputs, {"previous_mu": 0.1})
    assert found.keys() == evaluate(stage, GACConfig(), inputs).keys()
    assert all(float(one.limit) == 0.0 for one in found.values())


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_kl_whose_clip_is_not_certain_keeps_its_error(side: float) -> None:
    config = GACConfig(alpha_mode="kl", kl_gain=0.7)
    kl, error = 0.02 * (1.2 + side * 0.001), 0.02 * 0.004
    inputs = {"previous_alpha": 0.31, "kl": kl}
    limit = float(bounds("alpha", config, inputs, {"kl": error})["alpha"].limit)
    assert limit == pytest.approx(0.31 * 0.7 * 0.004)


def test_a_tree_is_as_deep_for_many_sums_at_once() -> None:
    for name in ("fp64", "bf16"):
        tree, counts = Arithmetic(name, "tree"), np.array([1.0, 2.0, 3.0, 9.0, 1000.0])
        assert tree.sum(counts).tolist() == [tree.sum(int(n)) for n in counts]


def test_without_a_token_to_compare_the_disagreement_is_exactly_0() -> None:
    inputs = {**rollouts(np.ones((2, 3))), "is_expert": np.ones(2, dtype=np.bool_)}
    found = bounds("sequences", GACConfig(use_phi=False), inputs, {"c_r": 1e-3})
    assert np.all(found["disagreement"].limit <= 2.0**-1074)
    assert found["disagreement"].alternatives == ()
    for name in ("sft_stream_constant", "rl_stream_constant"):
        assert float(found[name].limit) == 0.0


def test_a_stream_below_the_threshold_of_spread_is_0_and_may_count_as_one_that_is_not() -> None:
    config = GACConfig(use_phi=False, mask_eps=0.0)
    inputs = rollouts(1.0 + 2.0**-51 * np.array([[1.0, -1.0], [1.0, -1.0]]))
    golden = evaluate("sequences", config, inputs)
    assert golden["rl_stream_constant"]
    found = bounds("sequences", config, inputs, {})
    assert float(found["rl_stream_constant"].limit) == 1.0
    assert np.all(found["disagreement"].limit >= 8.0)  # 4 N / n
    (other,) = found["disagreement"].alternatives
    assert other.tolist() == [0.0, 0.0]


def test_the_error_of_a_z_score_grows_as_the_root_of_the_number_of_its_tokens() -> None:
    config = GACConfig(use_phi=False, mask_eps=0.0)
    limits = []
    for count in (1000, 4000):
        gain = np.tile([0.5, 1.0, -0.25, 2.0], (2, count // 4))
        inputs = rollouts(gain)
        golden = evaluate("sequences", config, inputs)
        found = stage_tolerances(
            "sequences", config, inputs, golden, precision=Precision("fp32", "fp32")
        )
        limits.append(float(found["disagreement"].limit[0]))
    assert 1.9 < limits[1] / limits[0] < 2.1
