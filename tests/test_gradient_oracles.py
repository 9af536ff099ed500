"""Gradient-space oracles: exact values, unbiasedness, merging, and the two-batch-size estimates."""

from __future__ import annotations

import itertools
from fractions import Fraction as Q

import numpy as np
import pytest
from _asserts import (
    EXACT_RTOL,
    PROPERTY,
    assert_equals_loop,
    assert_matches_exact,
    assert_matches_sum,
    refuses,
)
from _oracles import gradients as exact_gradients
from _oracles.exact import frac
from hypothesis import given
from hypothesis import strategies as st

from gac_ref.oracles import (
    GradientMoments,
    gradient_moments,
    gradient_oracle,
    oracle_from_moments,
    two_batch_size,
)

# A correct estimator misses its mean by more than this many standard errors with probability
# 6e-7 a comparison (normal, two-sided); the seed is fixed, so the outcome never changes.
STANDARD_ERRORS = 5.0
REPLICATIONS = 40_000
# Two orders of summing at most 40 squares.
MERGE_RTOL = 1e-13
# Samples of spread 1 around 2**27: a centred sum loses nothing, raw moments would lose 8 digits
# of 16.
OFFSET = 2.0**27

values = st.one_of(st.just(0.0), st.floats(1e-3, 1e3), st.floats(-1e3, -1e-3))


def batches(minimum: int = 2, d: int = 3):
    return st.lists(st.lists(values, min_size=d, max_size=d), min_size=minimum, max_size=7)


pairs = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        *(st.lists(st.lists(values, min_size=2, max_size=2), min_size=n, max_size=n),) * 2
    )
)


def size(x) -> Q:
    """The mean square of a batch mean's terms: the scale that rounding is relative to."""
    n = len(x)
    return sum((frac(v) ** 2 for row in x for v in row), Q(0)) / (n * (n - 1)) * n


# Exact values ----------------------------------------------------------------------------------


@PROPERTY
@given(x_s=batches(), x_r=batches())
def test_independent_oracle_matches_the_exact_estimates(x_s, x_r):
    actual = gradient_oracle(x_s, x_r)
    exact = exact_gradients.gradient_oracle(x_s, x_r)
    scales = [4 * size(x_s), 4 * size(x_r)]
    assert_matches_sum(actual.sigma_s2, exact["sigma_s2"], scales[:1])
    assert_matches_sum(actual.sigma_r2, exact["sigma_r2"], scales[1:])
    assert_matches_sum(actual.delta_g2, exact["delta_g2"], scales)
    plain = exact_gradients.plain_distance(x_s, x_r)
    assert_matches_sum(actual.plain_delta_g2, plain, scales)
    assert actual.kappa == 0.0


@PROPERTY
@given(pair=pairs)
def test_paired_oracle_matches_the_exact_estimates(pair):
    actual = gradient_oracle(*pair, paired=True)
    exact = exact_gradients.gradient_oracle(*pair, paired=True)
    scales = [4 * size(x) for x in pair]
    for name in ("sigma_s2", "sigma_r2", "delta_g2", "kappa"):
        assert_matches_sum(getattr(actual, name), exact[name], scales)


def test_noise_survives_a_large_common_mean():
    x = np.array([[0.0], [1.0], [3.0]])
    far = gradient_oracle(x + OFFSET, x - OFFSET)
    exact = exact_gradients.s2_hat(x)
    # The mean 4/3 + OFFSET is rounded, which enters the scatter in second order alone.
    assert_matches_exact(far.sigma_s2, exact, rtol=1e-12)
    assert_matches_exact(far.sigma_r2, exact, rtol=1e-12)


def test_a_negative_distance_is_reported_as_it_is():
    oracle = gradient_oracle([[-1.0], [1.0]], [[-2.0], [2.0]])
    assert oracle.plain_delta_g2 == 0.0
    assert oracle.delta_g2 == -5.0


def test_identical_paired_batches_have_no_distance_and_full_covariance():
    x = np.random.default_rng(0).integers(-8, 9, size=(4, 3)) / 4.0
    oracle = gradient_oracle(x, x, paired=True)
    assert oracle.kappa == oracle.sigma_s2 == oracle.sigma_r2
    assert oracle.delta_g2 == 0.0


# Unbiasedness ----------------------------------------------------------------------------------


def assert_mean_is(samples, truth: float) -> None:
    """The mean of independent estimates is the truth, within the stated standard errors."""
    error = samples.std(ddof=1) / np.sqrt(samples.size)
    assert abs(samples.mean() - truth) <= STANDARD_ERRORS * error
    # The test can tell a factor (n - 1) / n, at n = 5, from 1.
    assert STANDARD_ERRORS * error < 0.1 * abs(truth)


def paired_samples(n: int, seed: int):
    """Replications of n paired gradients of dimension 3, and the true moments of a batch mean."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(REPLICATIONS, n, 3))
    own = rng.normal(size=(REPLICATIONS, n, 3))
    g_s, g_r = np.array([1.0, -0.5, 0.25]), np.array([-0.5, 0.5, 1.0])
    x_s = g_s + 1.5 * shared
    x_r = g_r + 1.0 * shared + 0.5 * own
    truth = {
        "sigma_s2": 3 * 1.5**2 / n,
        "sigma_r2": 3 * (1.0**2 + 0.5**2) / n,
        "kappa": 3 * 1.5 * 1.0 / n,
        "delta_g2": float(np.sum((g_s - g_r) ** 2)),
    }
    return x_s, x_r, truth


@pytest.mark.parametrize("name", ["sigma_s2", "sigma_r2", "kappa", "delta_g2"])
def test_paired_oracle_is_unbiased(name):
    x_s, x_r, truth = paired_samples(n=5, seed=0)
    assert_mean_is(getattr(gradient_oracle(x_s, x_r, paired=True), name), truth[name])


@pytest.mark.parametrize("name", ["sigma_s2", "sigma_r2", "delta_g2"])
def test_independent_oracle_is_unbiased(name):
    x_s, _, truth = paired_samples(n=4, seed=1)
    _, x_r, other = paired_samples(n=5, seed=2)
    truth["sigma_r2"] = other["sigma_r2"]
    assert_mean_is(getattr(gradient_oracle(x_s, x_r), name), truth[name])


def test_plain_distance_is_biased_by_the_noise_it_contains():
    x_s, _, truth = paired_samples(n=4, seed=1)
    _, x_r, other = paired_samples(n=5, seed=2)
    contained = truth["sigma_s2"] + other["sigma_r2"]
    assert_mean_is(gradient_oracle(x_s, x_r).plain_delta_g2, truth["delta_g2"] + contained)


def test_two_batch_size_estimates_are_unbiased():
    rng = np.random.default_rng(3)
    g, small, big = np.array([1.0, -0.5, 0.75]), 2, 8
    noise = 3 * 1.5**2  # trace of the per-sample covariance

    def norms(batch: int):
        mean = g + 1.5 * rng.normal(size=(REPLICATIONS, batch, 3)).mean(axis=1)
        return np.sum(mean**2, axis=-1)

    found = two_batch_size(norms(small), norms(big), small=small, big=big)
    assert_mean_is(found.gradient2, float(g @ g))
    assert_mean_is(found.noise, noise)


# Merging ---------------------------------------------------------------------------------------


@PROPERTY
@given(
    x=batches(minimum=0),
    cuts=st.lists(st.integers(0, 7), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_moments_merge_for_any_split_with_empty_shards(x, cuts, order):
    x = np.array(x, dtype=float).reshape(-1, 3)
    edges = [0, *sorted(min(c, len(x)) for c in cuts), len(x)]
    shards = [gradient_moments(x[low:high]) for low, high in itertools.pairwise(edges)]
    order.shuffle(shards)
    merged, whole = GradientMoments.merge(*shards), gradient_moments(x)
    total = float(np.sum(x**2))
    assert merged.samples == whole.samples == len(x)
    np.testing.assert_allclose(
        merged.mean, whole.mean, rtol=0.0, atol=MERGE_RTOL * np.sqrt(total) + 0.0
    )
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=0.0, atol=MERGE_RTOL * total)


@PROPERTY
@given(x=batches(), y=batches(), cut=st.integers(0, 7))
def test_merged_shards_give_the_oracle_of_the_whole_batch(x, y, cut):
    merged = GradientMoments.merge(
        gradient_moments(np.reshape(x[:cut], (-1, 3))),
        gradient_moments(np.reshape(x[cut:], (-1, 3))),
    )
    sharded = oracle_from_moments(merged, gradient_moments(y))
    scales = [4 * size(x), 4 * size(y)]
    for name, exact in exact_gradients.gradient_oracle(x, y).items():
        if exact is not None:
            assert_matches_sum(getattr(sharded, name), exact, scales)


@PROPERTY
@given(x=batches(minimum=1), y=batches(minimum=1), z=batches(minimum=1))
def test_merging_is_associative(x, y, z):
    a, b, c = gradient_moments(x), gradient_moments(y), gradient_moments(z)
    left = GradientMoments.merge(GradientMoments.merge(a, b), c)
    right = GradientMoments.merge(a, GradientMoments.merge(b, c))
    total = float(sum(np.sum(np.square(v)) for v in (x, y, z)))
    assert left.samples == right.samples
    np.testing.assert_allclose(left.scatter, right.scatter, rtol=0.0, atol=MERGE_RTOL * total)


def test_an_empty_shard_changes_nothing_to_the_bit():
    whole = gradient_moments(np.random.default_rng(0).normal(size=(5, 3)))
    merged = GradientMoments.merge(whole, gradient_moments(np.zeros((0, 3))))
    for part, reference in zip(merged, whole, strict=True):
        np.testing.assert_array_equal(part, reference)


def test_merging_survives_a_large_common_mean():
    # The means 0, 3 and 9/4 are exact even at the offset, so that only the method can lose digits.
    x = np.array([[0.0], [1.0], [3.0], [5.0]]) + OFFSET
    merged = GradientMoments.merge(gradient_moments(x[:1]), gradient_moments(x[1:]))
    assert merged.scatter == 14.75


# Two batch sizes -------------------------------------------------------------------------------


@PROPERTY
@given(
    sizes=st.lists(st.integers(1, 10**6), min_size=2, max_size=2, unique=True),
    norms=st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)),
)
def test_two_batch_size_matches_the_exact_linear_system(sizes, norms):
    small, big = sorted(sizes)
    actual = two_batch_size(*norms, small=small, big=big)
    gradient2, noise = exact_gradients.two_batch_size(small, norms[0], big, norms[1])
    n_s, n_b = frac(norms[0]), frac(norms[1])
    assert_matches_sum(
        actual.gradient2, gradient2, [big * n_b / (big - small), small * n_s / (big - small)]
    )
    # The spacing 1/B_s - 1/B_b cancels where the sizes are close.
    spacing = Q(1, small) - Q(1, big)
    condition = Q(2, small) / spacing
    assert_matches_sum(actual.noise, noise, [n_s / spacing * condition, n_b / spacing * condition])


@PROPERTY
@given(
    gradient2=st.floats(0.01, 100.0),
    noise=st.floats(0.01, 100.0),
    small=st.integers(1, 64),
    factor=st.integers(2, 64),
)
def test_two_batch_size_recovers_the_model_it_solves(gradient2, noise, small, factor):
    big = small * factor
    found = two_batch_size(gradient2 + noise / small, gradient2 + noise / big, small=small, big=big)
    largest = max(gradient2 * small, noise)
    np.testing.assert_allclose(found.gradient2, gradient2, rtol=0.0, atol=1e-12 * largest)
    np.testing.assert_allclose(found.noise, noise, rtol=0.0, atol=1e-12 * largest)


def test_two_batch_size_and_the_per_sample_oracle_agree_in_mean():
    rng = np.random.default_rng(4)
    x = np.array([0.5, 1.0]) + rng.normal(size=(REPLICATIONS, 8, 2))
    norms = [np.sum(part.mean(axis=1) ** 2, axis=-1) for part in (x[:, :2], x)]
    noise = two_batch_size(*norms, small=2, big=8).noise
    # The difference of two estimates of one quantity has mean 0.
    difference = noise - 8.0 * gradient_oracle(x, np.zeros((2, 2))).sigma_s2
    error = difference.std(ddof=1) / np.sqrt(REPLICATIONS)
    assert abs(difference.mean()) <= STANDARD_ERRORS * error


# Broadcasting and refusals ---------------------------------------------------------------------


def test_oracles_broadcast_like_a_loop():
    rng = np.random.default_rng(0)
    # Quarters of small whole numbers: sums are exact, so their order cannot matter.
    x, y = (rng.integers(-8, 9, size=shape) / 4.0 for shape in ((3, 1, 4, 2), (2, 4, 2)))
    assert_equals_loop(gradient_oracle, x, y, core=(2, 2))
    assert_equals_loop(lambda a, b: gradient_oracle(a, b, paired=True), x, y, core=(2, 2))
    assert_equals_loop(gradient_moments, x, core=(2,))
    assert_equals_loop(
        lambda a, b: two_batch_size(a, b, small=2, big=6), rng.gamma(1.0, size=(3, 1)), [1.0, 2.0]
    )


def test_moments_of_many_trajectories_merge_like_a_loop():
    x = np.random.default_rng(0).integers(-8, 9, size=(3, 6, 2)) / 4.0

    def merged(batch):
        return GradientMoments.merge(
            gradient_moments(batch[..., :2, :]), gradient_moments(batch[..., 2:, :])
        )

    assert_equals_loop(merged, x, core=(2,))
    np.testing.assert_allclose(merged(x).scatter, gradient_moments(x).scatter, rtol=EXACT_RTOL)


@pytest.mark.parametrize("bad", [1.0, [1.0, 2.0]])
def test_gradients_without_a_sample_axis_are_refused(bad):
    with refuses(r"^gradients have shape .*; pass per-sample gradients", np.shape(bad)):
        gradient_moments(bad)
    with refuses(r"^gradients have shape", np.shape(bad)):
        gradient_oracle([[1.0], [2.0]], bad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_gradients_that_are_not_finite_are_refused_with_place_and_value(bad):
    x = np.zeros((2, 3, 2))
    x[1, 2, 0] = bad
    with refuses(r"^gradients\[1, 2, 0\] = .* is not finite", repr(bad)):
        gradient_moments(x)


@pytest.mark.parametrize("n", [0, 1])
def test_a_branch_with_fewer_than_two_samples_is_refused(n):
    few, enough = np.zeros((n, 2)), np.zeros((2, 2))
    with refuses("^the SFT branch has .* samples; an unbiased variance needs at least 2$", n):
        gradient_oracle(few, enough)
    with refuses("^the RL branch has .* samples", n):
        oracle_from_moments(gradient_moments(enough), gradient_moments(few))


def test_gradients_of_different_dimension_are_refused():
    with refuses("pass equal dimensions$", "d = 2", "d = 3"):
        gradient_oracle(np.zeros((4, 2)), np.zeros((4, 3)))


def test_paired_samples_of_different_counts_are_refused():
    with refuses("^paired samples need equal counts", 4, 5):
        gradient_oracle(np.zeros((4, 2)), np.zeros((5, 2)), paired=True)


def test_leading_axes_that_do_not_broadcast_are_refused():
    with refuses("shape", (2,), (3,)):
        gradient_oracle(np.zeros((2, 4, 1)), np.zeros((3, 4, 1)))


@pytest.mark.parametrize(("small", "big"), [(0, 4), (-1, 4), (4, 4), (8, 4)])
def test_batch_sizes_out_of_order_are_refused(small, big):
    with refuses("pass 1 <= small < big$", f"small = {small}", f"big = {big}"):
        two_batch_size(1.0, 1.0, small=small, big=big)


@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["small_norm2", "big_norm2"])
def test_a_squared_norm_that_is_negative_or_not_finite_is_refused_with_its_value(name, bad):
    norms = {"small_norm2": 1.0, "big_norm2": 1.0} | {name: [1.0, bad]}
    with refuses(f"^{name} .*negative or not finite", repr(bad)):
        two_batch_size(**norms, small=1, big=2)
