"""Reductions: masked means, trimmed variance, and moments that merge under any split."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from _oracles import statistics as exact_statistics
from _samplers import JUNK, PROPERTY, grid, splits, variance_error
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gac_ref import GACError, Moments, masked_mean, trimmed_variance
from gac_ref._typing import AnyArray, FloatArray
from gac_ref.reductions import merge_values

EXACT_RTOL = 1e-13
"""Agreement with 50-digit arithmetic that the specification asks for."""

MERGE_RTOL = 1e-13
"""A merge regroups at most a few hundred additions of float64: some 2**-46 of the magnitude."""

LENGTH_RTOL = 1e-8
"""mask_eps = 1e-8 against at least one token: the specified length dependence of a masked mean."""


def table(rows: int = 8, columns: int = 2) -> st.SearchStrategy[FloatArray]:
    return hnp.arrays(np.float64, (rows, columns), elements=grid(-640, 640))


# Masked mean


@PROPERTY
@given(
    hnp.arrays(np.float64, (4, 6), elements=grid(-640, 640)),
    hnp.arrays(np.bool_, (4, 6)),
    st.sampled_from([0.0, 1e-8, 0.5]),
)
def test_masked_mean_is_its_definition(values: FloatArray, mask: AnyArray, eps: float) -> None:
    means = masked_mean(values, mask, mask_eps=eps)
    assert means.dtype == np.float64
    for mean, row, kept in zip(means, values, mask, strict=True):
        total = sum((Fraction(v) for v in row[kept].tolist()), Fraction(0))
        count = Fraction(eps) + int(kept.sum())
        exact = total / count if count else Fraction(0)
        assert float(mean) == pytest.approx(float(exact), rel=EXACT_RTOL, abs=0.0)


@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize("masking", ["select", "multiply"])
def test_a_fully_masked_row_gives_zero(eps: float, masking: str) -> None:
    assert masked_mean([5.0, 6.0], [False, False], mask_eps=eps, masking=masking) == 0.0


@pytest.mark.parametrize("junk", JUNK)
def test_select_never_reads_a_masked_value(junk: float) -> None:
    assert masked_mean([1.0, 3.0, junk], [1, 1, 0], mask_eps=0.0) == 2.0


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
def test_multiply_turns_a_non_finite_masked_value_into_nan(junk: float) -> None:
    assert np.isnan(masked_mean([1.0, 3.0, junk], [1, 1, 0], masking="multiply"))
    assert masked_mean([1.0, 3.0, 7.0], [1, 1, 0], mask_eps=0.0, masking="multiply") == 2.0


def test_the_mean_over_leading_axes_is_the_mean_of_each_row() -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=(2, 3, 5)), rng.random((2, 3, 5)) < 0.6
    means = masked_mean(values, mask)
    for index in np.ndindex(2, 3):
        assert means[index] == masked_mean(values[index], mask[index])


@PROPERTY
@given(
    hnp.arrays(np.float64, 5, elements=grid(-640, 640)),
    hnp.arrays(np.bool_, 5),
    st.integers(2, 7),
)
def test_repeating_every_token_leaves_the_mean(
    values: FloatArray, mask: AnyArray, times: int
) -> None:
    longer, kept = np.repeat(values, times), np.repeat(mask, times)
    # Sums of grid values are exact, so without mask_eps both are the same quotient.
    assert masked_mean(values, mask, mask_eps=0.0) == masked_mean(longer, kept, mask_eps=0.0)
    assert masked_mean(longer, kept) == pytest.approx(
        float(masked_mean(values, mask)), rel=LENGTH_RTOL, abs=0.0
    )


def test_mask_eps_shortens_a_constant_by_its_share_of_the_length() -> None:
    for length in (1, 2, 10):
        mean = masked_mean(np.full(length, 3.0), np.ones(length), mask_eps=0.5)
        assert mean == pytest.approx(3.0 * length / (length + 0.5), rel=EXACT_RTOL)


# Trimmed variance


@pytest.mark.parametrize("trim_ratio", [0.0, 0.05, 0.1, 0.25, 0.29, 0.49])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9, 10, 11, 19, 20, 29, 100])
def test_trimmed_variance_is_the_exact_one(n: int, trim_ratio: float) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    exact = exact_statistics.trimmed_variance(values, trim_ratio)
    assert trimmed_variance(values, trim_ratio) == pytest.approx(
        float(exact), rel=EXACT_RTOL, abs=variance_error(values, EXACT_RTOL)
    )


@pytest.mark.parametrize(
    ("n", "trim_ratio", "dropped"),
    [
        (3, 0.49, 0),
        (4, 0.25, 1),
        (4, 0.24, 0),
        (9, 0.1, 0),
        (10, 0.1, 1),
        (19, 0.1, 1),
        (20, 0.1, 2),
        (100, 0.29, 28),  # 0.29 * 100 is 28.999999999999996 in float64
        (5, 0.49, 2),
    ],
)
def test_the_float64_product_truncated_decides_how_many_are_dropped(
    n: int, trim_ratio: float, dropped: int
) -> None:
    squares = np.arange(n, dtype=np.float64) ** 2  # every trim count has another variance
    kept = squares[dropped : n - dropped]
    assert trimmed_variance(squares, trim_ratio) == pytest.approx(np.var(kept), rel=EXACT_RTOL)


def test_trimming_ignores_the_size_of_what_it_drops() -> None:
    body = np.linspace(0.0, 1.0, 8)
    mild = trimmed_variance([*body, -1.0, 2.0], 0.1)
    assert mild == trimmed_variance([*body, -1e300, 1e300], 0.1)
    assert mild == pytest.approx(np.var(body), rel=EXACT_RTOL)


@PROPERTY
@given(st.lists(grid(-640, 640), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_trimmed_variance_ignores_the_order_to_the_bit(values: list[float], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert trimmed_variance(shuffled, 0.2) == trimmed_variance(values, 0.2)


def test_one_value_has_no_variance_and_none_is_an_error() -> None:
    assert trimmed_variance([3.0], 0.4) == 0.0
    with pytest.raises(GACError, match="at least one value"):
        trimmed_variance([])


@pytest.mark.parametrize("bad", [0.5, 0.7, -0.1, np.nan])
def test_a_trim_ratio_out_of_range_is_refused(bad: float) -> None:
    with pytest.raises(GACError, match="trim_ratio"):
        trimmed_variance([1.0, 2.0, 3.0, 4.0], bad)


def test_an_unknown_masking_is_refused() -> None:
    with pytest.raises(GACError, match="masking"):
        masked_mean([1.0], [True], masking="selct")


@PROPERTY
@given(st.data())
def test_merged_values_are_the_same_bits_under_any_split(data: st.DataObject) -> None:
    values = data.draw(hnp.arrays(np.float64, 12, elements=st.floats(-1e6, 1e6)))
    parts = [np.sort(values[rows]) for rows in data.draw(splits(values.size))]
    assert merge_values(*parts).tobytes() == merge_values(values).tobytes()


# Moments


@PROPERTY
@given(table(), hnp.arrays(np.float64, 8, elements=grid(0, 64)))
def test_moments_are_the_weighted_mean_and_scatter(x: FloatArray, w: FloatArray) -> None:
    moments = Moments.of(x, w)
    total = sum(map(Fraction, w.tolist()), Fraction(0))
    assert float(moments.weight) == float(total)
    if total == 0:
        assert not moments.mean.any()
        assert not moments.covariance.any()
        return
    columns = [[Fraction(v) for v in column] for column in x.T.tolist()]
    weights = [Fraction(v) for v in w.tolist()]
    mean = [sum(a * b for a, b in zip(weights, c, strict=True)) / total for c in columns]
    scale = max(float(np.abs(x).max()), 1.0)
    for i in range(2):
        assert float(moments.mean[i]) == pytest.approx(
            float(mean[i]), rel=EXACT_RTOL, abs=EXACT_RTOL * scale
        )
        for j in range(2):
            exact = sum(
                a * (b - mean[i]) * (c - mean[j])
                for a, b, c in zip(weights, columns[i], columns[j], strict=True)
            )
            error = EXACT_RTOL * float(total) * scale * scale
            assert float(moments.scatter[i, j]) == pytest.approx(float(exact), rel=0.0, abs=error)


@PROPERTY
@given(st.data())
def test_merging_the_shards_gives_the_whole(data: st.DataObject) -> None:
    x = data.draw(table(10, 2))
    w = data.draw(hnp.arrays(np.float64, 10, elements=grid(0, 64)))
    whole = Moments.of(x, w)
    parts = [Moments.of(x[rows], w[rows]) for rows in data.draw(splits(10))]
    merged = Moments.merge(*parts)
    assert merged.weight == whole.weight
    scale = max(float(np.abs(x).max()), 1.0)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=MERGE_RTOL, atol=MERGE_RTOL * scale)
    np.testing.assert_allclose(
        merged.scatter, whole.scatter, rtol=0.0, atol=MERGE_RTOL * float(w.sum()) * scale**2
    )


def test_an_empty_part_is_the_neutral_element_to_the_bit() -> None:
    some = Moments.of(np.random.default_rng(0).normal(size=(5, 2)))
    for merged in (
        Moments.merge(some, Moments.empty(2)),
        Moments.merge(Moments.empty(2), some),
        Moments.merge(Moments.empty(2), some, Moments.of(np.empty((0, 2)))),
    ):
        for left, right in zip(merged, some, strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_large_mean_costs_no_digit_of_the_spread() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0])[:, None]
    left, right = Moments.of(x[:2] + 2.0**40), Moments.of(x[2:] + 2.0**40)
    assert Moments.merge(left, right).scatter[0, 0] == 5.0


def test_scaling_the_weights_scales_weight_and_scatter_only() -> None:
    moments = Moments.of([[1.0], [3.0]], [1.0, 3.0])
    scaled = moments.scaled(np.float64(0.5))
    assert (scaled.weight, scaled.mean[0], scaled.scatter[0, 0]) == (2.0, 2.5, 1.5)
    np.testing.assert_array_equal(scaled.covariance, moments.covariance)


def test_batched_moments_pool_along_the_first_axis() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 4, 2))
    rows = Moments(np.ones((3, 4)), x, np.zeros((3, 4, 2, 2)))
    pooled = rows.pool()
    for j in range(4):
        single = Moments.of(x[:, j])
        np.testing.assert_allclose(pooled.mean[j], single.mean, rtol=MERGE_RTOL)
        np.testing.assert_allclose(pooled.scatter[j], single.scatter, rtol=MERGE_RTOL)
