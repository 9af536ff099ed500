"""The eight things a port author should know about the released code, one test or more each.

Each shows what `released` does, and that `documented` gives the safe or documented answer.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from _oracles import controller as exact_controller
from _samplers import PROPERTY, Fields, same_bits, seeded_fields, take_rows, to_batch
from hypothesis import given
from hypothesis import strategies as st

from gac_ref import (
    Batch,
    GACConfig,
    Proxies,
    init,
    merge,
    partial_sums,
    phi,
    proxies,
    proxies_from_sums,
    update,
    update_from_proxies,
)
from gac_ref._typing import FloatArray

RELEASED, DOCUMENTED = GACConfig.released(), GACConfig.documented()

EXACT_RTOL = 1e-13
"""Agreement with exact arithmetic that the specification asks for."""

MASK_EPS_RTOL = 2e-8
"""mask_eps = 1e-8 against sequences of at least one token, squared."""

FLOAT32_STEP = 1e-9
"""Rounding mu to float32 near 0.5 moves it by up to 3e-8; anything above this is not float64."""

# Case 1: no z-normalisation of the coefficients, against the notes


def test_case_1_released_compares_the_coefficients_as_they_are() -> None:
    fields = seeded_fields(np.random.default_rng(0), 6, 5, experts=2)
    mask, expert = fields["response_mask"], fields["is_expert"][:, None]
    square = (phi(fields["logprob"]) - np.where(expert, 0.0, fields["advantages"])) ** 2
    rows = (square * mask).sum(axis=1) / (mask.sum(axis=1) + RELEASED.mask_eps)
    got = proxies(RELEASED, to_batch(fields)).delta_g2
    assert got == pytest.approx(rows.mean(), rel=EXACT_RTOL)


def test_case_1_released_follows_the_scale_of_the_advantages_and_documented_does_not() -> None:
    fields = seeded_fields(np.random.default_rng(1), 8, 5, experts=0)
    scaled = {**fields, "advantages": 1024.0 * fields["advantages"]}
    ratio = {
        config: float(np.divide(*(proxies(config, to_batch(f)).delta_g2 for f in (scaled, fields))))
        for config in (RELEASED, DOCUMENTED)
    }
    # phi is at most 1/4 against advantages of order one: not quite the square of the scale.
    assert ratio[RELEASED] > 0.5 * 1024.0**2
    assert ratio[DOCUMENTED] == pytest.approx(1.0, rel=EXACT_RTOL * 100)  # z-scores of few tokens


def test_case_1_a_constant_advantage_disagrees_under_released_only_by_its_size() -> None:
    logprob = -np.random.default_rng(2).exponential(size=(4, 6))
    big, small = (Batch(logprob, np.ones((4, 6)), np.full(4, a), [0] * 4) for a in (9.0, 3.0))
    assert proxies(RELEASED, big).delta_g2 > 6.0 * np.asarray(proxies(RELEASED, small).delta_g2)
    for batch in (big, small):
        assert proxies(DOCUMENTED, batch).rl_stream_constant
        assert proxies(DOCUMENTED, batch).delta_g2 == pytest.approx(1.0, rel=MASK_EPS_RTOL)


# Case 2: v0.1.0 rounds mu to float32 twice a step; v0.1.1, and this reference, do not


def test_case_2_mu_is_never_rounded_to_float32() -> None:
    exact_config = RELEASED.to_dict()
    state, exact_state = init(RELEASED), exact_controller.init(exact_config)
    rounded = float(RELEASED.init_mu)
    rng = np.random.default_rng(3)
    gap = 0.0
    for step in range(120):
        s, r, d = rng.random(3).tolist()
        state, info = update_from_proxies(RELEASED, state, Proxies(s, r, d), step=step)
        exact_state, exact = exact_controller.update_from_proxies(
            exact_config, exact_state, {"sigma_s2": s, "sigma_r2": r, "delta_g2": d}, step=step
        )
        assert info.mu == pytest.approx(float(exact["mu"]), rel=EXACT_RTOL)
        chain = exact_controller.weight_chain(
            exact_config, rounded, rounded, exact["mu_raw"], exact["prior"]
        )
        ada = float(np.float32(float(chain["mu_ada"])))  # the first rounding
        blended = 0.5 * float(exact["prior"]) + 0.5 * ada
        capped = rounded + float(np.clip(blended - rounded, -0.01, 0.01))
        rounded = float(np.float32(np.clip(capped, 0.05, 0.9)))  # and the second
        gap = max(gap, abs(rounded - float(info.mu)))
    assert np.asarray(state.mu).dtype == np.float64
    assert float(np.float32(state.mu)) != float(state.mu)
    assert gap > FLOAT32_STEP  # the emulation of v0.1.0 is told from v0.1.1


# Case 3: a batch without a branch feeds 0.0 into that branch's EMA


def all_expert(seed: int) -> Batch:
    return to_batch(seeded_fields(np.random.default_rng(seed), 4, 3, experts=4))


def after_fifty_expert_updates(config: GACConfig) -> float:
    config = config.replace(mu_update_freq=1)
    seeded = Proxies(0.5, 1.384, 1.0)
    state, _ = update_from_proxies(config, init(config), seeded, step=0)
    for step in range(1, 51):
        state, info = update(config, state, all_expert(step), step=step)
        assert info.flags["missing_r"]
    return float(state.sigma_r2)


def test_case_3_fifty_all_expert_updates_decay_sigma_r2_from_1384_to_0837() -> None:
    decayed = after_fifty_expert_updates(RELEASED)
    assert decayed == pytest.approx(1.384 * 0.99**50, rel=EXACT_RTOL)
    assert round(decayed, 3) == 0.837
    assert after_fifty_expert_updates(DOCUMENTED) == 1.384


@pytest.mark.parametrize("experts", [4, 0])
def test_case_3_the_missing_branch_seeds_zero_under_released_and_nothing_otherwise(
    experts: int,
) -> None:
    batch = to_batch(seeded_fields(np.random.default_rng(0), 4, 3, experts=experts))
    state, info = update(RELEASED, init(RELEASED), batch, step=0)
    missing = "sigma_r2" if experts else "sigma_s2"
    assert getattr(info, missing) == 0.0
    assert not info.flags["not_ready"]  # it was "seen", as zero
    state, info = update(DOCUMENTED, init(DOCUMENTED), batch, step=0)
    assert info.flags["not_ready"]
    assert {int(state.count_s), int(state.count_r)} == {0, 1}


def test_case_3_the_decay_pushes_the_estimate_towards_rl() -> None:
    states = {}
    for config in (RELEASED, DOCUMENTED):
        config = config.replace(mu_update_freq=1)
        state, first = update_from_proxies(config, init(config), Proxies(0.5, 1.384, 0.1), step=0)
        for step in range(1, 51):
            new = Proxies(0.5, 0.0, 0.1, has_r=False)
            state, last = update_from_proxies(config, state, new, step=step)
        states[config] = float(last.mu_raw - first.mu_raw)
    released, documented = states.values()
    assert released < -0.05
    assert documented == pytest.approx(0.0, abs=EXACT_RTOL)


# Case 4: only sigma_r2 is reduced across ranks, so mu can differ from rank to rank


def ranks(seed: int = 0) -> tuple[Fields, list[Fields]]:
    fields = seeded_fields(np.random.default_rng(seed), 24, 6, experts=10)
    rollouts = np.flatnonzero(~fields["is_expert"])
    experts = np.flatnonzero(fields["is_expert"])
    rows = [
        np.concatenate([experts[:6], rollouts[:3]]),
        np.concatenate([experts[6:8], rollouts[3:]]),
        experts[8:],  # a rank without rollouts: in the released code the others wait for it
    ]
    return fields, [take_rows(fields, np.sort(part)) for part in rows]


@pytest.mark.parametrize("config", [RELEASED, DOCUMENTED], ids=["released", "documented"])
def test_case_4_rank_local_statistics_differ_and_merged_ones_are_the_batch(
    config: GACConfig,
) -> None:
    fields, shards = ranks()
    whole = proxies(config, to_batch(fields))
    sums = [partial_sums(config, to_batch(shard)) for shard in shards]
    local = [proxies_from_sums(config, part) for part in sums]
    for name in ("sigma_s2", "delta_g2"):
        values = [float(np.asarray(getattr(p, name))) for p in local[:2]]
        assert abs(values[0] - values[1]) > 1e-3
    merged = proxies_from_sums(config, merge(*sums))
    assert merged.sigma_s2 == whole.sigma_s2
    for name in ("sigma_r2", "delta_g2"):
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=EXACT_RTOL)
    # The mean of the ranks' values is not the value of the batch.
    mean = np.mean([np.asarray(p.sigma_r2) for p in local[:2]])
    assert abs(mean - np.asarray(whole.sigma_r2)) > 1e-3


def test_case_4_mu_differs_between_ranks_and_not_after_merging() -> None:
    _, shards = ranks()
    config = RELEASED.replace(prior="none", weight_ema="off", mu_change_cap=1.0)
    sums = [partial_sums(config, to_batch(shard)) for shard in shards]
    shared = proxies_from_sums(config, merge(*sums)).sigma_r2
    weights = []
    for part in sums[:2]:
        local = proxies_from_sums(config, part)._replace(sigma_r2=shared, has_r=True)
        weights.append(float(update_from_proxies(config, init(config), local, step=0)[1].mu))
    assert abs(weights[0] - weights[1]) > 1e-3
    orders = [merge(*sums), merge(*sums[::-1])]
    first, second = (
        update_from_proxies(config, init(config), proxies_from_sums(config, s), step=0)[1].mu
        for s in orders
    )
    assert first == pytest.approx(float(second), rel=EXACT_RTOL)


def test_case_4_a_rank_without_rollouts_has_sums_like_any_other() -> None:
    _, shards = ranks()
    sums = partial_sums(RELEASED, to_batch(shards[2]))
    assert not proxies_from_sums(RELEASED, sums).has_r
    assert float(sums.advantage.weight) == 0.0
    assert len(merge(sums, sums)) == len(sums)


# Case 5: masked positions are multiplied by zero and not selected


def padded_with(value: float) -> Batch:
    logprob = np.array([[-1.0, value], [-2.0, -0.5], [-3.0, value], [-1.5, -0.7]])
    mask = np.array([[1, 0], [1, 1], [1, 0], [1, 1]])
    return Batch(logprob, mask, [0.0, 1.0, 0.0, -1.0], [True, False, True, False])


def test_case_5_minus_infinity_in_the_padding_turns_sigma_s2_into_nan() -> None:
    poisoned, clean = padded_with(-np.inf), padded_with(-9.0)
    got = proxies(RELEASED, poisoned)
    assert np.isnan(got.sigma_s2)
    assert got.sigma_r2 == proxies(RELEASED, clean).sigma_r2
    assert same_bits(proxies(DOCUMENTED, poisoned), proxies(DOCUMENTED, clean))


def test_case_5_the_poison_reaches_mu_and_stays_there() -> None:
    config = RELEASED.replace(mu_update_freq=1)
    state, info = update(config, init(config), padded_with(-np.inf), step=0)
    assert np.isnan(info.mu)
    assert "non_finite" in info.acted()
    _, info = update(config, state, padded_with(-9.0), step=1)
    assert np.isnan(info.mu)
    _, info = update(DOCUMENTED, init(DOCUMENTED), padded_with(-np.inf), step=0)
    assert "non_finite" not in info.acted()


@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_case_5_other_junk_poisons_the_disagreement_too(junk: float) -> None:
    assert np.isnan(proxies(RELEASED, padded_with(junk)).delta_g2)
    assert same_bits(proxies(DOCUMENTED, padded_with(junk)), proxies(DOCUMENTED, padded_with(-9.0)))


def test_case_5_junk_in_the_padding_of_the_advantages_poisons_sigma_r2() -> None:
    def batch(value: float) -> Batch:
        advantages = [[0.0, 0.0], [1.0, value]]
        return Batch(-np.ones((2, 2)), [[1, 1], [1, 0]], advantages, [False, False])

    assert np.isnan(proxies(RELEASED, batch(np.nan)).sigma_r2)
    assert same_bits(proxies(DOCUMENTED, batch(np.nan)), proxies(DOCUMENTED, batch(3.0)))


# Case 6: with bf16 inputs the token count is summed in bf16 and mask_eps vanishes


@pytest.mark.parametrize("tokens", [257, 1000, 3001])
@pytest.mark.parametrize("variant", ["documented", "released"])
def test_case_6_the_tokens_of_bf16_inputs_are_counted_exactly(tokens: int, variant: str) -> None:
    in_bf16 = np.asarray(0.0, dtype=ml_dtypes.bfloat16)
    for _ in range(tokens):
        in_bf16 = (in_bf16 + np.asarray(1.0, dtype=ml_dtypes.bfloat16)).astype(ml_dtypes.bfloat16)
    assert float(in_bf16) == 256.0  # where a bf16 count stands still
    config = GACConfig.variant(variant, trim_ratio=0.0)
    logprob = np.array([[-1.0], [-3.0]]) * np.ones((2, tokens))
    narrow = logprob.astype(ml_dtypes.bfloat16)
    mask = np.ones((2, tokens)).astype(ml_dtypes.bfloat16)
    sums = partial_sums(config, Batch(narrow, mask, np.zeros(2), [True, True]))
    shrink = tokens / (tokens + 1e-8)
    np.testing.assert_allclose(sums.nll, [1.0 * shrink, 3.0 * shrink], rtol=EXACT_RTOL)


def test_case_6_mask_eps_survives_a_bf16_mask() -> None:
    config = DOCUMENTED.replace(mask_eps=1e-3)  # 1 + 1e-3 is 1 in bf16
    narrow = np.full((1, 1), -1.0).astype(ml_dtypes.bfloat16)
    assert float((np.ones(1, ml_dtypes.bfloat16) + np.asarray(1e-3, ml_dtypes.bfloat16))[0]) == 1.0
    ones = np.ones((1, 1)).astype(ml_dtypes.bfloat16)
    (nll,) = partial_sums(config, Batch(narrow, ones, [0.0], [True])).nll
    assert nll == pytest.approx(1.0 / 1.001, rel=EXACT_RTOL)


def test_case_6_bf16_inputs_equal_the_same_numbers_in_float64() -> None:
    fields = seeded_fields(np.random.default_rng(5), 8, 300, experts=4)
    narrow = {n: fields[n].astype(ml_dtypes.bfloat16) for n in ("logprob", "advantages")}
    wide = {name: value.astype(np.float64) for name, value in narrow.items()}
    for config in (RELEASED, DOCUMENTED):
        left = proxies(config, to_batch({**fields, **narrow, "ref_logprob": None}))
        assert same_bits(left, proxies(config, to_batch({**fields, **wide, "ref_logprob": None})))


# Case 7: group-normalised advantages make sigma_r2 carry little but the share of live groups


def group_normalised(rewards: FloatArray) -> FloatArray:
    """(r - mean) / std (ddof 1) of each group, 0 where a group has no spread."""
    spread = rewards.std(axis=1, ddof=1, keepdims=True)
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0.0).ravel()


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("live", [0, 3, 6])
@pytest.mark.parametrize("variant", ["documented", "released"])
def test_case_7_sigma_r2_is_the_share_of_groups_with_spread(
    size: int, live: int, variant: str
) -> None:
    rng = np.random.default_rng([size, live])
    rewards = np.ones((6, size))
    rewards[:live] = rng.exponential(size=(live, size)) * rng.choice([1e-3, 1.0, 50.0], (live, 1))
    advantages = group_normalised(rewards)
    rows, tokens = advantages.size, 4
    batch = Batch(-np.ones((rows, tokens)), np.ones((rows, tokens)), advantages, [False] * rows)
    got = proxies(GACConfig.variant(variant), batch)
    expected = (size - 1) / size * (live / 6)
    assert got.sigma_r2 == pytest.approx(max(expected, 1e-8), rel=MASK_EPS_RTOL)
    assert got.sigma_r2_floored is (live == 0)


# Case 8: the disagreement averages in the expert rows' own phi^2


@PROPERTY
@given(st.integers(0, 5), st.integers(1, 5), st.integers(0, 2**16))
def test_case_8_released_averages_in_the_phi_squared_of_expert_rows(
    experts: int, rollouts: int, seed: int
) -> None:
    fields = seeded_fields(np.random.default_rng(seed), experts + rollouts, 4, experts=experts)
    only_rollouts = take_rows(fields, np.flatnonzero(~fields["is_expert"]))
    only_experts = take_rows(fields, np.flatnonzero(fields["is_expert"]))
    config = RELEASED.replace(mask_eps=0.0)
    mask = only_experts["response_mask"]
    own = (np.where(mask, phi(only_experts["logprob"]), 0.0) ** 2).sum(axis=1) / mask.sum(axis=1)
    alone = float(np.asarray(proxies(config, to_batch(only_rollouts)).delta_g2))
    expected = (rollouts * alone + own.sum()) / (rollouts + experts)
    got = proxies(config, to_batch(fields)).delta_g2
    assert got == pytest.approx(expected, rel=EXACT_RTOL)


def test_case_8_expert_rows_alone_have_a_disagreement_under_released_only() -> None:
    batch = Batch(np.log([[0.5, 0.5]]), [[1, 1]], [[7.0, 7.0]], [True])
    got: Any = proxies(RELEASED.replace(mask_eps=0.0), batch)
    assert got.delta_g2 == pytest.approx(1.0 / 16.0, rel=EXACT_RTOL)
    assert not proxies(DOCUMENTED, batch).has_delta


def test_case_8_documented_ignores_the_expert_rows() -> None:
    fields = seeded_fields(np.random.default_rng(6), 9, 5, experts=4)
    alone = proxies(DOCUMENTED, to_batch(take_rows(fields, np.flatnonzero(~fields["is_expert"]))))
    assert same_bits((proxies(DOCUMENTED, to_batch(fields)).delta_g2,), (alone.delta_g2,))
