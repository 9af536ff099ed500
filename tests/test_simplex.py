"""K signals on the simplex: exact minimisers, optimality, symmetries, degenerate cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from _asserts import (
    PROPERTY,
    SEARCHED,
    assert_equals_loop,
    assert_matches_sum,
    assert_within,
    refuses,
    units,
)
from _oracles import risk as exact_risk
from _oracles import simplex as exact_simplex
from _oracles.exact import frac
from hypothesis import given
from hypothesis import strategies as st

from gac_ref.risk import closed_form, correlated_closed_form
from gac_ref.simplex import simplex_minimiser, simplex_risk

# A solve of size K <= 5 errs by about K**2 eps times the condition, here below 1e4.
WEIGHT_ATOL = 1e-10
# The excess risk is quadratic in the weights' error, so rounding of the risk itself remains; the
# tie-breaking ridge of flat problems (2**-44 of the scale) is of the same order.
EXCESS_RTOL = 2.0**-42
# Multipliers are gradients, so linear in the weights' error.
KKT_RTOL = 1e-9
# Two ways of summing the same K**2 products.
ORDER_ATOL = 1e-12
# Flat directions are resolved by a ridge of 2**-44 of the scale, against roundings of 2**-52 of it:
# 2**-8 of a weight.
TIE_ATOL = 1e-2

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 5)


def problem(seed: int, k: int, *, rank: int = 6, floor: float = 1.0):
    """A Gram matrix and a noise covariance of whole numbers (so exact), and a target of 64ths."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, size=(k, rank))
    y = rng.integers(-4, 5, size=(k, rank))
    cuts = np.sort(rng.integers(0, 65, size=k - 1))
    target = np.diff(np.concatenate([[0], cuts, [64]])) / 64.0
    return (x @ x.T).astype(float), (y @ y.T + floor * np.eye(k)).astype(float), target


def points_on_simplex(rng: np.random.Generator, k: int, count: int):
    """The corners, the middles of the edges, and random points of the simplex."""
    corners = np.eye(k)
    edges = [(a + b) / 2.0 for a, b in itertools.combinations(corners, 2)]
    return np.concatenate([corners, np.array(edges), rng.dirichlet(np.ones(k), size=count)])


# Values ----------------------------------------------------------------------------------------


@PROPERTY
@given(seed=seeds, k=sizes)
def test_simplex_risk_matches_the_exact_risk(seed, k):
    gram, noise, target = problem(seed, k)
    w = np.random.default_rng(seed).dirichlet(np.ones(k))
    gap = np.abs(w) + target
    size = gap @ np.abs(gram) @ gap + w @ np.abs(noise) @ w
    exact = exact_simplex.simplex_risk(w, gram, noise, target)
    assert_matches_sum(simplex_risk(w, gram, noise, target), exact, [float(size)])


@PROPERTY
@given(seed=seeds, k=st.integers(1, 4))
def test_simplex_minimiser_matches_the_exact_minimiser(seed, k):
    gram, noise, target = problem(seed, k)
    exact, _, unique = exact_simplex.simplex_minimiser(gram, noise, target)
    assert unique  # the noise is positive definite
    for actual, wanted in zip(simplex_minimiser(gram, noise, target), exact, strict=True):
        assert_within(actual, wanted, WEIGHT_ATOL)


@SEARCHED
@given(seed=seeds, k=st.integers(2, 4), rank=st.integers(0, 2))
def test_simplex_minimiser_reaches_the_exact_minimum_of_degenerate_problems(seed, k, rank):
    gram, noise, target = problem(seed, k, rank=rank, floor=0.0)
    w = simplex_minimiser(gram, noise, target)
    _, lowest, _ = exact_simplex.simplex_minimiser(gram, noise, target)
    reached = exact_simplex.simplex_risk(w, gram, noise, target)
    # Rounding may leave the simplex by one ulp, and the risk of that is of the size of the scale.
    assert reached - lowest <= frac(EXCESS_RTOL * np.abs(gram + noise).max())


@PROPERTY
@given(seed=seeds, k=sizes, rank=st.integers(0, 6))
def test_weights_lie_on_the_simplex(seed, k, rank):
    w = simplex_minimiser(*problem(seed, k, rank=rank, floor=0.0))
    assert w.shape == (k,)
    assert np.all(w >= 0.0)
    assert abs(w.sum() - 1.0) <= ORDER_ATOL


@PROPERTY
@given(seed=seeds, k=sizes)
def test_no_point_of_the_simplex_has_a_lower_risk(seed, k):
    gram, noise, target = problem(seed, k)
    w = simplex_minimiser(gram, noise, target)
    others = points_on_simplex(np.random.default_rng(seed), k, 50)
    lowest = simplex_risk(w, gram, noise, target)
    slack = EXCESS_RTOL * np.abs(gram + noise).max()
    assert lowest <= simplex_risk(others, gram, noise, target).min() + slack


# Optimality conditions -------------------------------------------------------------------------


@PROPERTY
@given(seed=seeds, k=sizes)
def test_karush_kuhn_tucker_conditions(seed, k):
    gram, noise, target = problem(seed, k)
    w = simplex_minimiser(gram, noise, target)
    gradient = 2.0 * (gram @ (w - target) + noise @ w)
    multiplier = gradient @ w
    tolerance = KKT_RTOL * np.abs(gradient).max()
    # Stationary on the support, and no descent direction into the simplex off it.
    assert np.abs((gradient - multiplier)[w > 0.0]).max() <= tolerance
    assert (gradient - multiplier).min() >= -tolerance


def test_a_signal_that_only_harms_gets_no_weight_at_all():
    noise = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 3.0], [3.0, 3.0, 100.0]])
    w = simplex_minimiser(np.zeros((3, 3)), noise, [0.2, 0.3, 0.5])
    assert w.tolist() == [0.5, 0.5, 0.0]


# Reductions and symmetries ---------------------------------------------------------------------


@PROPERTY
@given(
    g_s=st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    g_r=st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    s=st.integers(1, 99),
    r=st.integers(1, 99),
    alpha=units,
)
def test_two_signals_are_the_closed_form(g_s, g_r, s, r, alpha):
    x = np.array([g_s, g_r], dtype=float)
    delta_g2 = float(np.sum((x[0] - x[1]) ** 2))
    w = simplex_minimiser(x @ x.T, np.diag([float(s), float(r)]), [alpha, 1.0 - alpha])
    assert abs(w[0] - closed_form(s, r, delta_g2, alpha)) <= WEIGHT_ATOL
    assert abs(w[0] + w[1] - 1.0) <= ORDER_ATOL


@PROPERTY
@given(seed=seeds)
def test_two_correlated_signals_are_the_clipped_correlated_closed_form(seed):
    gram, noise, target = problem(seed, 2, rank=2)
    delta_g2 = gram[0, 0] + gram[1, 1] - 2.0 * gram[0, 1]
    exact = exact_risk.minimiser(
        alpha=target[0], d2=delta_g2, s2_s=noise[0, 0], s2_r=noise[1, 1], kappa=noise[0, 1]
    )
    w = simplex_minimiser(gram, noise, target)
    assert_within(w[0], exact_risk.clip01(exact), WEIGHT_ATOL)
    numeric = correlated_closed_form(
        noise[0, 0], noise[1, 1], delta_g2, target[0], kappa=noise[0, 1]
    )
    assert abs(w[0] - numeric) <= WEIGHT_ATOL


@PROPERTY
@given(variances=st.lists(st.floats(0.01, 100.0), min_size=2, max_size=6))
def test_without_disagreement_the_weights_are_inverse_variances(variances):
    k = len(variances)
    inverse = 1.0 / np.array(variances)
    w = simplex_minimiser(np.zeros((k, k)), np.diag(variances), np.eye(k)[0])
    np.testing.assert_allclose(w, inverse / inverse.sum(), rtol=0.0, atol=WEIGHT_ATOL)


@PROPERTY
@given(seed=seeds, k=sizes)
def test_without_noise_the_weights_are_the_target(seed, k):
    gram, _, target = problem(seed, k)
    w = simplex_minimiser(gram + np.eye(k), np.zeros((k, k)), target)
    np.testing.assert_allclose(w, target, rtol=0.0, atol=WEIGHT_ATOL)


@PROPERTY
@given(seed=seeds, k=sizes)
def test_permuting_the_signals_permutes_the_weights(seed, k):
    gram, noise, target = problem(seed, k)
    order = np.random.default_rng(seed).permutation(k)
    grid = np.ix_(order, order)
    w = simplex_minimiser(gram, noise, target)
    permuted = simplex_minimiser(gram[grid], noise[grid], target[order])
    np.testing.assert_allclose(permuted, w[order], rtol=0.0, atol=WEIGHT_ATOL)


@PROPERTY
@given(seed=seeds, k=sizes, power=st.integers(-30, 30))
def test_weights_are_invariant_to_a_common_scale(seed, k, power):
    gram, noise, target = problem(seed, k)
    scale = 2.0**power
    scaled = simplex_minimiser(scale * gram, scale * noise, target)
    np.testing.assert_array_equal(scaled, simplex_minimiser(gram, noise, target))


@PROPERTY
@given(seed=seeds, k=st.integers(2, 4))
def test_a_signal_of_enormous_noise_drops_out(seed, k):
    gram, noise, target = problem(seed, k)
    wide_gram, wide_noise = np.zeros((k + 1, k + 1)), np.zeros((k + 1, k + 1))
    wide_gram[:k, :k], wide_noise[:k, :k], wide_noise[k, k] = gram, noise, 1e8
    w = simplex_minimiser(wide_gram, wide_noise, [*target, 0.0])
    np.testing.assert_allclose(
        w, [*simplex_minimiser(gram, noise, target), 0.0], rtol=0.0, atol=1e-4
    )


# Degenerate problems ---------------------------------------------------------------------------


@PROPERTY
@given(seed=seeds, k=sizes)
def test_a_flat_risk_is_answered_by_the_target(seed, k):
    _, _, target = problem(seed, k)
    zero = np.zeros((k, k))
    assert simplex_minimiser(zero, zero, target).tolist() == target.tolist()


@PROPERTY
@given(seed=seeds, k=sizes)
def test_equal_fully_correlated_noise_is_answered_by_the_target(seed, k):
    # It is the same for every mixture: flat, though not zero.
    _, _, target = problem(seed, k)
    w = simplex_minimiser(np.zeros((k, k)), np.full((k, k), 3.0), target)
    np.testing.assert_allclose(w, target, rtol=0.0, atol=TIE_ATOL)


def test_of_several_minimisers_the_one_nearest_to_the_target_is_returned():
    # Signals 0 and 1 are one signal twice; the risk fixes w0 + w1 and leaves w0 - w1 open, so the
    # distance to the target keeps the target's difference.
    noise = np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    w = simplex_minimiser(np.zeros((3, 3)), noise, [0.5, 0.25, 0.25])
    np.testing.assert_allclose(w, [0.375, 0.125, 0.5], rtol=0.0, atol=TIE_ATOL)


def test_a_single_signal_gets_all_the_weight():
    assert simplex_minimiser([[2.0]], [[1.0]], [1.0]).tolist() == [1.0]


def test_twelve_signals_are_still_enumerated():
    variances = np.arange(1.0, 13.0)
    w = simplex_minimiser(np.zeros((12, 12)), np.diag(variances), np.full(12, 1.0 / 12.0))
    inverse = 1.0 / variances
    np.testing.assert_allclose(w, inverse / inverse.sum(), rtol=0.0, atol=WEIGHT_ATOL)


# Broadcasting and refusals ---------------------------------------------------------------------


def test_simplex_forms_broadcast_like_a_loop():
    many = [problem(seed, 3) for seed in range(4)]
    gram = np.stack([p[0] for p in many])[:, np.newaxis]
    noise = np.stack([p[1] for p in many[:3]])
    target = np.stack([p[2] for p in many[:3]])
    w = np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 1))
    assert_equals_loop(simplex_minimiser, gram, noise, target, core=(2, 2, 1))
    core = (1, 2, 2, 1)
    arguments = (w, gram, noise, target)
    lead = simplex_risk(*arguments)
    assert lead.shape == (4, 3)
    for i, j in np.ndindex(4, 3):
        # einsum may sum in another order for one problem than for many.
        one = simplex_risk(w[i, 0], gram[i, 0], noise[j], target[j])
        assert abs(one - lead[i, j]) <= ORDER_ATOL * np.abs(gram).max()
    assert len(core) == len(arguments)


EYE = np.eye(2)
HALF = [0.5, 0.5]


def test_a_scalar_target_is_refused():
    with refuses(r"^target is a scalar; pass target weights \[\.\.\., K\]$"):
        simplex_minimiser(EYE, EYE, 1.0)


@pytest.mark.parametrize("k", [0, 13])
def test_a_number_of_signals_that_is_not_enumerable_is_refused(k):
    with refuses("pass between 1 and 12", f"K = {k}"):
        simplex_minimiser(np.eye(k), np.eye(k), np.full(k, 1.0 / max(k, 1)))


@pytest.mark.parametrize("name", ["gram", "noise"])
@pytest.mark.parametrize("bad", [np.eye(3), np.ones(2), 1.0, np.ones((2, 3))])
def test_a_matrix_of_another_shape_is_refused(name, bad):
    matrices = {"gram": EYE, "noise": EYE} | {name: bad}
    with refuses(rf"^{name} has shape .*; pass \[\.\.\., 2, 2\]", np.shape(bad)):
        simplex_minimiser(**matrices, target=HALF)


@pytest.mark.parametrize("name", ["gram", "noise"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_matrix_that_is_not_finite_is_refused_with_its_value(name, bad):
    matrices = {"gram": EYE, "noise": EYE} | {name: np.diag([1.0, bad])}
    with refuses(f"^{name} .*finite", repr(bad)):
        simplex_minimiser(**matrices, target=HALF)


@pytest.mark.parametrize("name", ["gram", "noise"])
def test_an_asymmetric_matrix_is_refused_with_its_values(name):
    matrices = {"gram": EYE, "noise": EYE} | {name: np.array([[2.0, 0.25], [0.125, 2.0]])}
    with refuses(f"^{name} .*not symmetric", "0.25", "0.125"):
        simplex_minimiser(**matrices, target=HALF)


@pytest.mark.parametrize("name", ["gram", "noise"])
def test_an_indefinite_matrix_is_refused_with_its_eigenvalue(name):
    matrices = {"gram": EYE, "noise": EYE} | {name: np.diag([1.0, -0.5])}
    with refuses(f"^{name} has the eigenvalue -0.5; pass a positive semi-definite matrix$", -0.5):
        simplex_minimiser(**matrices, target=HALF)


@pytest.mark.parametrize(
    ("target", "shown"),
    [([0.75, 0.75], "1.5"), ([-0.25, 1.25], "-0.25"), ([0.5, float("nan")], "nan")],
)
def test_a_target_off_the_simplex_is_refused_with_its_value(target, shown):
    with refuses("^target .*simplex", shown):
        simplex_minimiser(EYE, EYE, target)


def test_rounding_does_not_make_a_gram_matrix_indefinite():
    # Eight vectors in the plane: the rank is 2, and the other eigenvalues are about -1e-16.
    x = np.random.default_rng(0).normal(size=(8, 2))
    gram = x @ x.T
    assert np.linalg.eigvalsh(gram).min() < 0.0
    w = simplex_minimiser(gram, np.eye(8), np.full(8, 0.125))
    assert abs(w.sum() - 1.0) <= ORDER_ATOL
