"""Aggregations: against loops, against each other, and any split against the whole batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from _loss_cases import ALL, COUNT_EPS, ROUNDING, SPLIT, B, Case, T, loop_aggregate, make, surrogate
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gac_ref.errors import GACError
from gac_ref.losses import AGGREGATIONS, aggregate, aggregation_count, aggregation_weights

# One loss a row, growing fast, so that any change of the weights shows.
LADDER = np.repeat(4.0 ** np.arange(B), T).reshape(B, T)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("ragged", [True, False])
def test_aggregation_agrees_with_loops(name: str, ragged: bool) -> None:
    case = make(0, ragged=ragged)
    got = aggregate(case.advantages, case.mask, name)
    assert got == pytest.approx(loop_aggregate(case.advantages, case.mask, name), rel=ROUNDING)


def test_no_two_unequal_conventions_share_their_weights() -> None:
    case = make(0)
    same = [{"token_mean", "bnpo", "dapo"}]
    for one in ALL:
        for other in ALL:
            alike = one == other or any({one, other} <= family for family in same)
            left, right = (aggregation_weights(case.mask, name) for name in (one, other))
            assert np.array_equal(left, right) == alike, (one, other)


@pytest.mark.parametrize("name", ["seq_mean_token_mean", "trinity_seq_mean_token_mean", "grpo"])
def test_equal_lengths_make_token_and_sequence_means_equal(name: str) -> None:
    case = make(1, ragged=False)
    expected = aggregate(case.advantages, case.mask, "token_mean")
    got = aggregate(case.advantages, case.mask, name)
    assert got == pytest.approx(expected, rel=2.0 * COUNT_EPS)
    # The longest row is the cheapest one, and only the token mean lets its length count.
    ragged = make(1).mask
    assert aggregate(LADDER, ragged, name) > 1.1 * aggregate(LADDER, ragged, "token_mean")


def test_full_rows_make_budget_and_token_means_equal() -> None:
    case = make(2, ragged=False)
    assert aggregate(case.logprob, case.mask, "dr_grpo") == pytest.approx(
        aggregate(case.logprob, case.mask, "token_mean"), rel=ROUNDING
    )


def test_verl_drops_fully_masked_rows_and_trinity_and_trl_count_them() -> None:
    case = make(3)
    kept = case.mask.any(axis=1)
    for name, moves in (
        ("seq_mean_token_mean", False),
        ("seq_mean_token_sum", False),
        ("trinity_seq_mean_token_mean", True),
        ("trinity_seq_mean_token_sum", True),
        ("grpo", True),
        ("dr_grpo", True),
    ):
        whole = aggregate(case.logprob, case.mask, name)
        without = aggregate(case.logprob[kept], case.mask[kept], name)
        factor = kept.sum() / B if moves else 1.0
        assert whole == pytest.approx(factor * without, rel=ROUNDING), name


@pytest.mark.parametrize("name", ALL)
def test_weights_of_one_are_the_published_mean(name: str) -> None:
    case = make(4, ragged=False)
    expected = {
        "seq_mean_token_sum": float(T),
        "trinity_seq_mean_token_sum": float(T),
        "seq_mean_token_sum_norm": float(B),
    }.get(name, 1.0)
    assert aggregate(np.ones((B, T)), case.mask, name) == pytest.approx(expected, rel=COUNT_EPS)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.integers(0, 3), min_size=B, max_size=B), seed=st.integers(0, 99))
@example(pieces=[0, 0, 1, 2, 2, 3], seed=0)
@example(pieces=[0, 1, 2, 0, 1, 2], seed=1)
def test_losses_and_gradients_of_any_split_add_up_to_the_whole(
    name: str, pieces: list[int], seed: int
) -> None:
    case = make(seed)
    whole = surrogate(case, case.logprob, aggregation=name)
    count = aggregation_count(case.mask, name)
    value, gradient = 0.0, np.zeros((B, T))
    for piece in range(4):
        rows = np.array(pieces) == piece
        part = Case(*(array[rows] for array in case))
        loss = surrogate(part, part.logprob, aggregation=name, normalizer=count)
        value += loss.value
        gradient[rows] = loss.grad
    scale = float(np.sum(np.abs(aggregation_weights(case.mask, name))))
    assert value == pytest.approx(whole.value, rel=SPLIT, abs=SPLIT * 10.0 * scale)
    np.testing.assert_array_equal(gradient, whole.grad)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"seq_mean_token_sum_norm"}))
def test_mean_of_micro_batch_means_is_not_the_batch_loss(name: str) -> None:
    mask = make(5).mask
    whole = aggregate(LADDER, mask, name)
    halves = [slice(0, 1), slice(1, B)]
    naive = float(np.mean([aggregate(LADDER[h], mask[h], name) for h in halves]))
    assert abs(naive - whole) > 0.1 * whole
    count = aggregation_count(mask, name)
    parts = [aggregate(LADDER[h], mask[h], name, normalizer=count) for h in halves]
    assert sum(parts) == pytest.approx(whole, rel=SPLIT)


def test_summing_rows_over_a_constant_width_needs_no_count() -> None:
    mask = make(5).mask
    name = "seq_mean_token_sum_norm"
    parts = [aggregate(LADDER[h], mask[h], name) for h in (slice(0, 1), slice(1, B))]
    assert sum(parts) == pytest.approx(aggregate(LADDER, mask, name), rel=SPLIT)
    # Trimming the padding of a piece changes its width, and then the constant must be given.
    trimmed = aggregate(LADDER[1:, :4], mask[1:, :4], name)
    assert trimmed == pytest.approx(parts[1] * T / 4, rel=ROUNDING)
    constant = aggregate(LADDER[1:, :4], mask[1:, :4], name, normalizer=float(T))
    assert constant == pytest.approx(parts[1], rel=ROUNDING)


def test_equal_rows_a_piece_make_the_mean_of_row_means_right_and_of_token_means_wrong() -> None:
    mask = make(6).mask
    halves = [slice(0, 3), slice(3, B)]

    def naive(name: str) -> float:
        return float(np.mean([aggregate(LADDER[h], mask[h], name) for h in halves]))

    assert naive("grpo") == pytest.approx(aggregate(LADDER, mask, "grpo"), rel=SPLIT)
    assert naive("bnpo") > 1.1 * aggregate(LADDER, mask, "bnpo")


@pytest.mark.parametrize("name", ALL)
def test_counts_of_shards_add_up(name: str) -> None:
    case = make(7)
    parts = [aggregation_count(case.mask[h], name) for h in (slice(0, 2), slice(2, 2), slice(2, B))]
    whole = aggregation_count(case.mask, name)
    if AGGREGATIONS[name].unit == "width":
        assert parts == [whole] * 3 == [float(T)] * 3
    else:
        assert sum(parts) == whole > 0.0


@pytest.mark.parametrize("scale", [2.0, 7.5])
def test_a_normaliser_counted_twice_divides_the_loss(scale: float) -> None:
    case = make(7)
    count = aggregation_count(case.mask, "dapo")
    once = aggregate(case.logprob, case.mask, "dapo", normalizer=count)
    twice = aggregate(case.logprob, case.mask, "dapo", normalizer=scale * count)
    assert twice == pytest.approx(once / scale, rel=ROUNDING)


@pytest.mark.parametrize("width", [0.0, -1.0, math.inf])
def test_impossible_widths_are_refused(width: float) -> None:
    with pytest.raises(GACError, match="width = "):
        aggregation_count(np.ones((2, 3)), "dr_grpo", width=width)
    with pytest.raises(GACError, match="has no meaning for dapo"):
        aggregation_count(np.ones((2, 3)), "dapo", width=8.0)
