"""Proxies: the exact statistics, their invariances, and merging of shards."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from _oracles import statistics as exact_statistics
from _samplers import (
    PROPERTY,
    Fields,
    as_lists,
    batch_fields,
    normalised_error,
    same_bits,
    seeded_fields,
    splits,
    take_rows,
    to_batch,
    variance_error,
    with_junk,
)
from hypothesis import given
from hypothesis import strategies as st

import gac_ref._tiles
from gac_ref import (
    Batch,
    GACConfig,
    GACError,
    Proxies,
    batch_kl,
    masked_mean,
    merge,
    partial_sums,
    phi,
    proxies,
    proxies_from_sums,
)
from gac_ref._typing import BoolArray

EXACT_RTOL = 1e-13
"""Agreement with 50-digit arithmetic that the specification asks for."""

SPLIT_RTOL = 1e-13
"""A split, an order or a tile regroups at most a few hundred additions of float64."""

LENGTH_RTOL = 2e-8
"""mask_eps = 1e-8 moves each masked mean by at most 1e-8 of itself, and a square by twice that."""

PHI_ATOL = 2.0**-52
"""phi = p (1 - p) from a rounded p: an absolute error of an ulp of 1, whatever phi is."""

K3_ATOL = 1e-15
"""exp(d) - 1 - d of a d near 1 cancels to an ulp of 1 a token."""

FLAGS = {
    "sigma_s2_floored": "floored_s",
    "sigma_r2_floored": "floored_r",
    "sft_stream_constant": "constant_s",
    "rl_stream_constant": "constant_r",
}
STATISTICS = ("sigma_s2", "sigma_r2", "delta_g2")
BOTH_NORMALISATIONS = pytest.mark.parametrize("normalization", ["zscore", "none"])
EVERY_CONFIG = [
    GACConfig(
        use_phi=use_phi,
        coefficient_normalization=normalization,  # type: ignore[arg-type]
        disagreement_rows=rows,  # type: ignore[arg-type]
        masking=masking,  # type: ignore[arg-type]
    )
    for use_phi, normalization, rows, masking in itertools.product(
        (True, False), ("zscore", "none"), ("rollouts", "all"), ("select", "multiply")
    )
]


def config_id(config: GACConfig) -> str:
    phi_name = "phi" if config.use_phi else "ones"
    return "-".join(
        (phi_name, config.coefficient_normalization, config.disagreement_rows, config.masking)
    )


every_config = pytest.mark.parametrize("config", EVERY_CONFIG, ids=config_id)


def chosen(config: GACConfig, fields: Fields) -> BoolArray:
    """The rows that enter the disagreement."""
    return np.ones_like(fields["is_expert"]) if rows_all(config) else ~fields["is_expert"]


def rows_all(config: GACConfig) -> bool:
    return config.disagreement_rows == "all"


def tolerances(config: GACConfig, fields: Fields, rtol: float) -> dict[str, float]:
    """Absolute error that a relative `rtol` in the tokens can cause, a statistic (conditioning)."""
    expert, mask = fields["is_expert"], fields["response_mask"]
    clean = {n: np.where(mask, fields[n], 0.0) for n in ("logprob",)}
    advantages = np.asarray(fields["advantages"], dtype=np.float64)
    if advantages.ndim == 1:
        advantages = np.repeat(advantages[:, None], mask.shape[1], axis=1)
    advantages = np.where(mask & ~expert[:, None], advantages, 0.0)
    tidy = {**fields, **clean, "advantages": advantages}
    rows = chosen(config, fields)
    if config.coefficient_normalization == "zscore":
        delta = normalised_error(tidy, rows, rtol)
    else:
        gap = 1.0 + float(np.abs(advantages).max(initial=0.0))
        delta = 2.0 * rtol * gap * gap
    return {
        "sigma_s2": variance_error(np.abs(masked_mean(clean["logprob"], mask))[expert], rtol),
        "sigma_r2": variance_error(masked_mean(np.abs(advantages), mask)[~expert], rtol),
        "delta_g2": delta,
    }


def assert_close(
    config: GACConfig, fields: Fields, left: Proxies, right: Proxies, rtol: float
) -> None:
    bounds = tolerances(config, fields, rtol)
    for name in STATISTICS:
        a, b = float(getattr(left, name)), float(getattr(right, name))
        assert a == pytest.approx(b, rel=rtol, abs=bounds[name]), name
    for name in ("has_s", "has_r", "has_delta", *FLAGS):
        assert getattr(left, name) == getattr(right, name), name


# Against 50-digit arithmetic


@every_config
@pytest.mark.parametrize("per_token", [True, False])
@pytest.mark.parametrize(
    ("rows", "experts", "empty_rows"), [(10, 5, 0), (7, 2, 2), (6, 0, 1), (5, 5, 0), (1, 0, 0)]
)
def test_the_proxies_are_the_exact_statistics(
    config: GACConfig, per_token: bool, rows: int, experts: int, empty_rows: int
) -> None:
    rng = np.random.default_rng([rows, experts, per_token])
    fields = seeded_fields(
        rng, rows, 6, experts=experts, per_token=per_token, empty_rows=empty_rows
    )
    if config.masking == "select":
        fields = with_junk(rng, fields)
    config = config.replace(alpha_mode="kl", trim_ratio=0.2)
    got = proxies(config, to_batch(fields))
    exact = exact_statistics.proxies(config.to_dict(), as_lists(fields))
    bounds = tolerances(config, fields, EXACT_RTOL)
    for name in STATISTICS:
        value = 0.0 if exact[name] is None else float(exact[name])
        assert float(getattr(got, name)) == pytest.approx(value, rel=EXACT_RTOL, abs=bounds[name])
    for name in ("has_s", "has_r", "has_delta"):
        assert getattr(got, name) == exact[name]
    for name, exact_name in FLAGS.items():
        assert bool(getattr(got, name)) == exact["flags"][exact_name], name
    if exact["kl"] is None:
        assert np.isnan(float(np.asarray(got.kl)))
    else:
        assert got.kl == pytest.approx(float(exact["kl"]), rel=EXACT_RTOL, abs=K3_ATOL)


@PROPERTY
@given(batch_fields(), st.sampled_from(EVERY_CONFIG))
def test_any_small_batch_has_the_exact_statistics(fields: Fields, config: GACConfig) -> None:
    got = proxies(config, to_batch(fields))
    exact = exact_statistics.proxies(config.to_dict(), as_lists(fields))
    bounds = tolerances(config, fields, EXACT_RTOL)
    for name in STATISTICS:
        value = 0.0 if exact[name] is None else float(exact[name])
        assert float(getattr(got, name)) == pytest.approx(value, rel=EXACT_RTOL, abs=bounds[name])
    for name, exact_name in FLAGS.items():
        assert bool(getattr(got, name)) == exact["flags"][exact_name], name


def test_phi_is_p_times_one_minus_p() -> None:
    logprob = -np.concatenate([np.geomspace(1e-12, 700.0, 300), [0.0, np.log(2.0)]])
    exact = [float(exact_statistics.phi(x)) for x in logprob]
    np.testing.assert_allclose(phi(logprob), exact, rtol=EXACT_RTOL, atol=PHI_ATOL)
    assert phi(logprob).max() <= 0.25
    assert phi(logprob).min() >= 0.0
    assert phi(-np.inf) == 0.0


# Hand-worked cases


def test_each_sequence_has_one_vote_whatever_its_length() -> None:
    mask = [[1, 1, 1, 1], [1, 0, 0, 0]]
    batch = Batch(np.full((2, 4), -1.0), mask, [[1.0] * 4, [3.0] * 4], [False, False])
    config = GACConfig(mask_eps=0.0, coefficient_normalization="none", use_phi=False)
    assert proxies(config, batch).sigma_r2 == 1.0  # not 0.64, the variance over tokens
    assert proxies(config, batch).delta_g2 == 2.0  # (0 + 4) / 2, not 4 / 5


def test_population_variances_divide_by_n() -> None:
    column = np.ones((2, 1))
    rollouts = Batch(-column, column, [0.0, 2.0], [False, False])
    experts = Batch([[-1.0], [-3.0]], column, [0.0, 0.0], [True, True])
    config = GACConfig(mask_eps=0.0)
    assert proxies(config, rollouts).sigma_r2 == 1.0
    assert proxies(config, experts).sigma_s2 == 1.0


def test_a_fully_masked_row_counts_as_a_sequence_of_value_zero() -> None:
    mask = [[1, 1], [0, 0]]
    config = GACConfig(mask_eps=0.0, coefficient_normalization="none", use_phi=False)
    rollouts = Batch(np.full((2, 2), -1.0), mask, [4.0, 9.0], [False, False])
    assert proxies(config, rollouts).sigma_r2 == 4.0  # of (4, 0)
    assert proxies(config, rollouts).delta_g2 == 4.5  # ((1 - 4)^2 + 0) / 2
    experts = Batch(np.full((2, 2), -4.0), mask, [0.0, 0.0], [True, True])
    assert proxies(config, experts).sigma_s2 == 4.0


def test_the_floor_acts_on_variances_only_and_is_flagged() -> None:
    batch = Batch(np.full((4, 1), -1.0), np.ones((4, 1)), np.ones(4), [True, True, False, False])
    got = proxies(GACConfig(eps=1e-3, use_phi=False, coefficient_normalization="none"), batch)
    assert (got.sigma_s2, got.sigma_r2) == (1e-3, 1e-3)
    assert (got.sigma_s2_floored, got.sigma_r2_floored) == (True, True)
    assert got.delta_g2 < 1e-3  # (1 - 1)^2 up to mask_eps: not floored
    spread = Batch(-np.arange(4.0)[:, None], np.ones((4, 1)), [0, 0, 1, 3], [1, 1, 0, 0])
    assert not proxies(GACConfig(), spread).sigma_s2_floored
    assert not proxies(GACConfig(), spread).sigma_r2_floored


@every_config
def test_a_missing_branch_is_missing_and_not_zero(config: GACConfig) -> None:
    rng = np.random.default_rng(0)
    experts = proxies(config, to_batch(seeded_fields(rng, 4, 3, experts=4)))
    rollouts = proxies(config, to_batch(seeded_fields(rng, 4, 3, experts=0)))
    empty = proxies(config, to_batch(seeded_fields(rng, 0, 3)))
    assert (experts.has_s, experts.has_r, experts.has_delta) == (True, False, rows_all(config))
    assert (rollouts.has_s, rollouts.has_r, rollouts.has_delta) == (False, True, True)
    assert not any((empty.has_s, empty.has_r, empty.has_delta))
    assert not any((experts.sigma_r2_floored, rollouts.sigma_s2_floored, empty.sigma_s2_floored))


@every_config
def test_a_branch_without_tokens_is_missing_or_of_value_zero(config: GACConfig) -> None:
    batch = Batch(np.empty((2, 0)), np.empty((2, 0)), [0.0, 1.0], [True, False])
    held = proxies(config.replace(missing_branch="hold"), batch)
    assert not any((held.has_s, held.has_r, held.has_delta))
    fed = proxies(config.replace(missing_branch="zero"), batch)
    assert (fed.sigma_s2, fed.sigma_r2, fed.delta_g2) == (config.eps, config.eps, 0.0)


def test_a_row_without_tokens_beside_others_counts_as_zero() -> None:
    mask = np.array([[1, 1], [0, 0]])
    batch = Batch(np.full((2, 2), -1.0), mask, [0.0, 0.0], [True, True])
    assert proxies(GACConfig(mask_eps=0.0), batch).sigma_s2 == 0.25


def test_sums_of_another_configuration_are_refused() -> None:
    batch = Batch([[-1.0], [-2.0]], [[1], [1]], [0.0, 1.0], [True, False])
    sums = partial_sums(GACConfig(), batch)
    with pytest.raises(GACError, match="coefficient_normalization = 'zscore' but the config has"):
        proxies_from_sums(GACConfig(coefficient_normalization="none"), sums)
    with pytest.raises(GACError, match="masking = 'multiply' but the first shard has 'select'"):
        merge(sums, partial_sums(GACConfig(masking="multiply"), batch))


@pytest.mark.parametrize("rows", ["rollouts", "all"])
def test_expert_advantages_are_never_used(rows: str) -> None:
    fields = seeded_fields(np.random.default_rng(0), 8, 5, experts=4)
    other = np.where(fields["is_expert"][:, None], 99.0, fields["advantages"])
    for normalization in ("zscore", "none"):
        config = GACConfig(
            disagreement_rows=rows,  # type: ignore[arg-type]
            coefficient_normalization=normalization,  # type: ignore[arg-type]
        )
        left = proxies(config, to_batch(fields))
        right = proxies(config, to_batch({**fields, "advantages": other}))
        assert same_bits(left, right)


def test_zscores_are_pooled_over_the_tokens_of_the_chosen_rows() -> None:
    fields = seeded_fields(np.random.default_rng(2), 9, 6, experts=4)
    fields["advantages"] = fields["advantages"] + 5.0
    for rows in ("rollouts", "all"):
        config = GACConfig(disagreement_rows=rows, mask_eps=0.0)  # type: ignore[arg-type]
        use, mask = chosen(config, fields), fields["response_mask"]
        streams = []
        for stream in (
            phi(fields["logprob"]),
            np.where(fields["is_expert"][:, None], 0.0, fields["advantages"]),
        ):
            pool = stream[use][mask[use]]
            streams.append((stream - pool.mean()) / pool.std())
        square = (streams[0] - streams[1]) ** 2
        expected = np.mean(
            [masked_mean(square[i], mask[i], mask_eps=0.0) for i in np.where(use)[0]]
        )
        got = proxies(config, to_batch(fields)).delta_g2
        assert got == pytest.approx(expected, rel=EXACT_RTOL * 10)  # plain NumPy rounds too


# Merging shards


@PROPERTY
@given(st.data())
def test_shard_merge_invariance(data: st.DataObject) -> None:
    fields = data.draw(batch_fields())
    config = data.draw(st.sampled_from(EVERY_CONFIG))
    whole = partial_sums(config, to_batch(fields))
    shards = data.draw(splits(len(fields["is_expert"])))
    merged = merge(*(partial_sums(config, to_batch(take_rows(fields, rows))) for rows in shards))
    assert merged.nll.tobytes() == whole.nll.tobytes()
    assert merged.rows == whole.rows
    left, right = proxies_from_sums(config, merged), proxies_from_sums(config, whole)
    assert left.sigma_s2 == right.sigma_s2  # to the bit
    assert_close(config, fields, left, right, SPLIT_RTOL)


@every_config
def test_shards_lacking_a_branch_and_empty_shards_merge(config: GACConfig) -> None:
    fields = seeded_fields(np.random.default_rng(4), 12, 6, experts=5, empty_rows=1)
    expert = fields["is_expert"]
    shards = [
        [],
        np.flatnonzero(expert),
        np.flatnonzero(~expert)[:3],
        [],
        np.flatnonzero(~expert)[3:],
    ]
    whole = proxies(config, to_batch(fields))
    for order in (shards, shards[::-1]):
        sums = [partial_sums(config, to_batch(take_rows(fields, rows))) for rows in order]
        merged = proxies_from_sums(config, merge(*sums))
        assert merged.sigma_s2 == whole.sigma_s2
        assert_close(config, fields, merged, whole, SPLIT_RTOL)


def test_merging_is_associative_and_one_shard_is_itself() -> None:
    fields = seeded_fields(np.random.default_rng(5), 9, 5, experts=4)
    config = GACConfig()
    a, b, c = (
        partial_sums(config, to_batch(take_rows(fields, np.arange(i, 9, 3)))) for i in range(3)
    )
    whole = proxies(config, to_batch(fields))
    for sums in (merge(merge(a, b), c), merge(a, merge(b, c)), merge(c, a, b)):
        assert_close(config, fields, proxies_from_sums(config, sums), whole, SPLIT_RTOL)
    assert same_bits(proxies_from_sums(config, merge(a)), proxies_from_sums(config, a))


def test_the_kl_of_shards_is_weighted_by_their_rollout_tokens() -> None:
    fields = seeded_fields(np.random.default_rng(6), 9, 5, experts=3)
    config = GACConfig(alpha_mode="kl")
    whole = batch_kl(config, to_batch(fields))
    shards = ([0], [1, 2, 3, 4, 5, 6], [], [7, 8])
    sums = [partial_sums(config, to_batch(take_rows(fields, rows))) for rows in shards]
    merged = proxies_from_sums(config, merge(*sums)).kl
    assert merged == pytest.approx(whole, rel=SPLIT_RTOL)
    mask = fields["response_mask"] & ~fields["is_expert"][:, None]
    d = (fields["ref_logprob"] - fields["logprob"])[mask]
    assert whole == pytest.approx(np.mean(np.expm1(d) - d), rel=EXACT_RTOL, abs=K3_ATOL)


def test_a_given_kl_wins_over_the_estimate_and_an_unknown_one_is_nan() -> None:
    fields = seeded_fields(np.random.default_rng(7), 6, 4, experts=2)
    config = GACConfig(alpha_mode="kl")
    assert batch_kl(config, to_batch({**fields, "kl": 0.125})) == 0.125
    assert proxies(config, to_batch({**fields, "kl": 0.125})).kl == 0.125
    assert np.isnan(batch_kl(config, to_batch({**fields, "ref_logprob": None})))
    assert np.isnan(
        batch_kl(config, to_batch(take_rows(fields, np.flatnonzero(fields["is_expert"]))))
    )


def test_the_kl_of_a_policy_with_itself_is_zero() -> None:
    fields = seeded_fields(np.random.default_rng(7), 6, 4, experts=2)
    fields["ref_logprob"] = fields["logprob"]
    assert batch_kl(GACConfig(alpha_mode="kl"), to_batch(fields)) == 0.0


def test_merging_no_shards_is_an_error() -> None:
    with pytest.raises(GACError, match="no partial sums"):
        merge()


# Invariances


@PROPERTY
@given(st.data())
def test_permutation_invariance(data: st.DataObject) -> None:
    fields = data.draw(batch_fields(min_rows=1))
    config = data.draw(st.sampled_from(EVERY_CONFIG))
    order = data.draw(st.permutations(range(len(fields["is_expert"]))))
    left = proxies(config, to_batch(take_rows(fields, order)))
    right = proxies(config, to_batch(fields))
    assert left.sigma_s2 == right.sigma_s2  # sorted values: to the bit
    assert_close(config, fields, left, right, SPLIT_RTOL)


@PROPERTY
@given(batch_fields(), st.integers(0, 3), st.integers(0, 3), st.sampled_from(EVERY_CONFIG))
def test_padding_invariance(fields: Fields, before: int, after: int, config: GACConfig) -> None:
    rng = np.random.default_rng(0)
    wider = dict(fields)
    for name in ("logprob", "response_mask", "advantages"):
        if fields[name].ndim == 2:
            wider[name] = np.pad(fields[name], ((0, 0), (before, after)))
    if config.masking == "select":
        wider = with_junk(rng, wider)
    left, right = proxies(config, to_batch(wider)), proxies(config, to_batch(fields))
    assert_close(config, fields, left, right, SPLIT_RTOL)


@PROPERTY
@given(batch_fields(), st.sampled_from(EVERY_CONFIG))
def test_junk_in_the_padding_changes_no_bit_under_select(fields: Fields, config: GACConfig) -> None:
    config = config.replace(masking="select")
    junk = with_junk(np.random.default_rng(1), fields)
    assert same_bits(proxies(config, to_batch(junk)), proxies(config, to_batch(fields)))


@PROPERTY
@given(batch_fields(), st.sampled_from(EVERY_CONFIG))
def test_select_and_multiply_agree_on_finite_padding(fields: Fields, config: GACConfig) -> None:
    select, multiply = (config.replace(masking=name) for name in ("select", "multiply"))
    left, right = proxies(select, to_batch(fields)), proxies(multiply, to_batch(fields))
    assert_close(config, fields, left, right, SPLIT_RTOL)


@PROPERTY
@given(
    batch_fields(),
    st.integers(2, 5),
    st.sampled_from(EVERY_CONFIG),
    st.sampled_from([(0.0, SPLIT_RTOL), (1e-8, LENGTH_RTOL)]),
)
def test_length_invariance(
    fields: Fields, times: int, config: GACConfig, case: tuple[float, float]
) -> None:
    mask_eps, rtol = case
    longer = {
        name: np.repeat(value, times, axis=1) if value.ndim == 2 else value
        for name, value in fields.items()
    }
    config = config.replace(mask_eps=mask_eps)
    left, right = proxies(config, to_batch(longer)), proxies(config, to_batch(fields))
    assert_close(config, fields, left, right, rtol)


@PROPERTY
@given(batch_fields(per_token=False), st.sampled_from(EVERY_CONFIG))
def test_one_advantage_a_sequence_equals_it_repeated_over_the_tokens(
    fields: Fields, config: GACConfig
) -> None:
    tokens = fields["logprob"].shape[1]
    repeated = {**fields, "advantages": np.repeat(fields["advantages"][:, None], tokens, axis=1)}
    left, right = proxies(config, to_batch(fields)), proxies(config, to_batch(repeated))
    assert left.sigma_s2 == right.sigma_s2
    assert_close(config, fields, left, right, SPLIT_RTOL)


# The normalised disagreement

ZSCORE_CONFIGS = st.sampled_from(
    [c for c in EVERY_CONFIG if c.coefficient_normalization == "zscore"]
)


@PROPERTY
@given(batch_fields(min_rows=1, full_mask=True), ZSCORE_CONFIGS)
def test_the_normalised_disagreement_lies_between_0_and_4(
    fields: Fields, config: GACConfig
) -> None:
    got = proxies(config, to_batch(fields))
    slack = tolerances(config, fields, SPLIT_RTOL)["delta_g2"]
    assert 0.0 <= float(np.asarray(got.delta_g2)) <= 4.0 + slack


@PROPERTY
@given(batch_fields(min_rows=1, full_mask=True), ZSCORE_CONFIGS)
def test_equal_lengths_make_it_two_less_twice_the_correlation(
    fields: Fields, config: GACConfig
) -> None:
    config = config.replace(mask_eps=0.0)
    got = proxies(config, to_batch(fields))
    constants = int(bool(got.sft_stream_constant)) + int(bool(got.rl_stream_constant))
    if not got.has_delta or constants == 2:
        assert got.delta_g2 == 0.0
        return
    slack = tolerances(config, fields, EXACT_RTOL)["delta_g2"]
    if constants == 1:  # one stream of zeros against one of unit variance
        assert got.delta_g2 == pytest.approx(1.0, abs=slack)
        return
    opposite = proxies(config, to_batch({**fields, "advantages": -fields["advantages"]}))
    total = float(np.asarray(got.delta_g2)) + float(np.asarray(opposite.delta_g2))
    assert total == pytest.approx(4.0, abs=2.0 * slack)


@PROPERTY
@given(
    batch_fields(),
    st.sampled_from([0.125, 0.5, 2.0, 8.0, 3.0]),
    st.sampled_from([0.0, -2.0, 5.0, 16.0]),
    st.booleans(),
)
def test_positive_affine_maps_of_the_advantages_leave_the_normalised_disagreement(
    fields: Fields, scale: float, shift: float, use_phi: bool
) -> None:
    config = GACConfig(use_phi=use_phi)
    mapped = {**fields, "advantages": scale * fields["advantages"] + shift}
    left, right = proxies(config, to_batch(mapped)), proxies(config, to_batch(fields))
    slack = max(tolerances(config, f, SPLIT_RTOL)["delta_g2"] for f in (mapped, fields))
    assert left.delta_g2 == pytest.approx(float(np.asarray(right.delta_g2)), abs=slack)
    assert left.rl_stream_constant == right.rl_stream_constant


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e-9, 1e9, -7.3])
@pytest.mark.parametrize("use_phi", [True, False])
def test_a_constant_stream_becomes_zero_and_is_flagged(value: float, use_phi: bool) -> None:
    rng = np.random.default_rng(0)
    logprob = -rng.exponential(1.0, (6, 50))
    config = GACConfig(use_phi=use_phi, mask_eps=0.0)
    flat = proxies(config, Batch(logprob, np.ones((6, 50)), np.full((6, 50), value), [0] * 6))
    assert flat.rl_stream_constant
    assert bool(flat.sft_stream_constant) is not use_phi
    assert flat.delta_g2 == pytest.approx(1.0 if use_phi else 0.0, rel=SPLIT_RTOL)


def test_a_constant_logprob_is_a_constant_stream() -> None:
    rng = np.random.default_rng(0)
    for logprob in (-0.1, -1.0, 0.0, -40.0):
        batch = Batch(np.full((6, 50), logprob), np.ones((6, 50)), rng.normal(size=6), [0] * 6)
        got = proxies(GACConfig(mask_eps=0.0), batch)
        assert (got.sft_stream_constant, got.rl_stream_constant) == (True, False)
        assert got.delta_g2 == pytest.approx(1.0, rel=SPLIT_RTOL)


def test_a_small_spread_is_a_spread() -> None:
    # 2**-30 of the magnitude is a thousand times the threshold of a constant stream.
    advantages = 1.0 + 2.0**-30 * np.arange(6)
    batch = Batch(-np.arange(1.0, 7.0)[:, None], np.ones((6, 1)), advantages, [False] * 6)
    assert not proxies(GACConfig(), batch).rl_stream_constant


# Tiles

TILE_SIZES = (1, 2, 5, 16, 64)


@every_config
@pytest.mark.parametrize("per_token", [True, False])
def test_the_size_of_a_tile_changes_rounding_only(
    config: GACConfig, per_token: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config.replace(alpha_mode="kl")
    rng = np.random.default_rng(8)
    fields = seeded_fields(rng, 9, 11, experts=4, per_token=per_token, empty_rows=2)
    if config.masking == "select":
        fields = with_junk(rng, fields)
    whole = proxies(config, to_batch(fields))
    for size in TILE_SIZES:
        monkeypatch.setattr(gac_ref._tiles, "TILE_ELEMENTS", size)
        tiled = proxies(config, to_batch(fields))
        assert_close(config, fields, tiled, whole, SPLIT_RTOL)
        assert tiled.kl == pytest.approx(whole.kl, rel=SPLIT_RTOL)


WIDE_RTOL = 1e-12
"""70,000 tokens of pairwise sums, against a plain NumPy formula that rounds as much."""


@pytest.mark.parametrize("normalization", ["zscore", "none"])
def test_rows_wider_than_a_tile(normalization: str) -> None:
    rng = np.random.default_rng(9)
    tokens = 2 * gac_ref._tiles.TILE_ELEMENTS + 4_465
    fields = seeded_fields(rng, 5, tokens, experts=2)
    config = GACConfig(coefficient_normalization=normalization)  # type: ignore[arg-type]
    got = proxies(config, to_batch(with_junk(rng, fields)))
    mask, expert = fields["response_mask"], fields["is_expert"]
    sft, rl = phi(fields["logprob"]), fields["advantages"]
    if normalization == "zscore":
        pools = [x[~expert][mask[~expert]] for x in (sft, rl)]
        sft, rl = ((x - p.mean()) / p.std() for x, p in zip((sft, rl), pools, strict=True))
    expected = {
        "sigma_s2": np.var(masked_mean(-fields["logprob"], mask)[expert]),
        "sigma_r2": np.var(masked_mean(fields["advantages"], mask)[~expert]),
        "delta_g2": np.mean(masked_mean((sft - rl) ** 2, mask)[~expert]),
    }
    for name, value in expected.items():
        scale = variance_error(masked_mean(np.abs(fields["logprob"]), mask), WIDE_RTOL)
        assert getattr(got, name) == pytest.approx(value, rel=WIDE_RTOL, abs=scale), name


def test_the_bits_do_not_depend_on_what_else_is_in_the_tile() -> None:
    fields = seeded_fields(np.random.default_rng(10), 8, 300, experts=8)
    config = GACConfig()
    whole = partial_sums(config, to_batch(fields)).nll
    single = [partial_sums(config, to_batch(take_rows(fields, [i]))).nll[0] for i in range(8)]
    assert np.sort(single).tobytes() == whole.tobytes()


def test_proxies_hold_plain_scalars() -> None:
    got: Any = proxies(GACConfig(), to_batch(seeded_fields(np.random.default_rng(0))))
    assert all(isinstance(getattr(got, name), float) for name in (*STATISTICS, "kl"))
