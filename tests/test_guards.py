"""The guards: exact values, bounds, flags, and that an idle guard changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from _asserts import (
    EXACT_RTOL,
    PROPERTY,
    assert_equals_loop,
    assert_matches_exact,
    assert_matches_sum,
    magnitudes,
    positives,
    units,
)
from _oracles import guards as exact_guards
from _oracles.exact import frac
from hypothesis import assume, given
from hypothesis import strategies as st

from gac_ref.guards import blend, cap_change, cap_disagreement, clip, ema, guarded_closed_form
from gac_ref.risk import closed_form

# One rounding of a weight at most 1 in size, twice.
WEIGHT_ATOL = 2 * np.finfo(np.float64).eps
# Flags are comparisons; nearer to their threshold than this (relative), rounding decides.
FLAG_MARGIN = 1e-12

betas = st.one_of(st.sampled_from([0.0, 0.5, 0.99]), st.floats(1e-6, 1.0 - 1e-6))
caps = st.floats(1e-4, 1.0)
epsilons = st.sampled_from([0.0, 1e-8, 1e-3])
modes = st.sampled_from(["alpha", "zero"])


# Smoothing and blending ------------------------------------------------------------------------


@PROPERTY
@given(previous=magnitudes, value=magnitudes, beta=betas)
def test_ema_matches_the_exact_average(previous, value, beta):
    # Terms are non-negative, so the condition is 1, but for 1 - beta, which is rounded.
    assert_matches_exact(ema(previous, value, beta), exact_guards.ema(previous, value, beta), 1e-12)


@PROPERTY
@given(previous=magnitudes, value=magnitudes, beta=betas)
def test_ema_lies_between_its_arguments(previous, value, beta):
    low, high = sorted([previous, value])
    assert low * (1.0 - EXACT_RTOL) <= ema(previous, value, beta) <= high * (1.0 + EXACT_RTOL)


@PROPERTY
@given(start=positives, value=magnitudes, beta=st.floats(0.1, 0.99), n=st.integers(1, 30))
def test_ema_forgets_geometrically(start, value, beta, n):
    x = start
    for _ in range(n):
        x = ema(x, value, beta)
    expected = value + beta**n * (start - value)
    np.testing.assert_allclose(x, expected, rtol=0.0, atol=1e-13 * max(start, value))


def test_ema_without_memory_is_the_value():
    assert ema(0.3, 0.7, 0.0) == 0.7


def test_ema_rounds_in_the_released_order():
    # beta x + (1 - beta) v, and not x + (1 - beta)(v - x): the two differ in the last bit here.
    x, v, beta = 0.01, 0.02, 0.99
    assert ema(x, v, beta) == beta * x + (1.0 - beta) * v
    assert ema(x, v, beta) != x + (1.0 - beta) * (v - x)


@PROPERTY
@given(adaptive=units, prior=units, weight=units)
def test_blend_matches_the_exact_blend_and_lies_between(adaptive, prior, weight):
    value = blend(adaptive, prior, weight)
    w = frac(weight)
    exact = exact_guards.blend(prior, adaptive, weight)
    assert_matches_sum(value, exact, [prior, w * frac(adaptive)])
    assert min(adaptive, prior) - WEIGHT_ATOL <= value <= max(adaptive, prior) + WEIGHT_ATOL


@PROPERTY
@given(adaptive=units, prior=units)
def test_blend_at_its_ends_is_one_of_the_two(adaptive, prior):
    assert blend(adaptive, prior, 1.0) == adaptive
    assert blend(adaptive, prior, 0.0) == prior


# The change cap --------------------------------------------------------------------------------


@PROPERTY
@given(candidate=units, previous=units, cap=caps)
def test_cap_change_matches_the_exact_cap(candidate, previous, cap):
    value, acted = cap_change(candidate, previous, cap)
    exact, flag = exact_guards.cap_change(previous, candidate, cap)
    assert abs(float(value) - float(exact)) <= WEIGHT_ATOL
    if abs(abs(candidate - previous) - cap) > FLAG_MARGIN:
        assert acted == flag


@PROPERTY
@given(candidate=units, previous=units, cap=caps)
def test_cap_change_bounds_the_change_and_never_overshoots(candidate, previous, cap):
    value, acted = cap_change(candidate, previous, cap)
    assert abs(value - previous) <= cap + WEIGHT_ATOL
    low, high = sorted([candidate, previous])
    assert low - WEIGHT_ATOL <= value <= high + WEIGHT_ATOL
    if acted:
        assert abs(abs(value - previous) - cap) <= WEIGHT_ATOL
    else:
        assert value == candidate


def test_a_change_of_exactly_the_cap_is_let_through():
    value, acted = cap_change(0.75, 0.5, 0.25)
    assert value == 0.75
    assert not acted


@pytest.mark.parametrize(("candidate", "expected"), [(1.0, 0.75), (0.0, 0.25)])
def test_the_cap_acts_in_both_directions(candidate, expected):
    value, acted = cap_change(candidate, 0.5, 0.25)
    assert value == expected
    assert acted


@pytest.mark.parametrize("candidate", [0.5, 0.9])
def test_cap_change_has_the_broadcast_shape_whether_or_not_it_acts(candidate):
    value, acted = cap_change(candidate, np.array([0.5, 0.5]), 0.01)
    assert np.shape(value) == np.shape(acted) == (2,)


# Clip ------------------------------------------------------------------------------------------


@PROPERTY
@given(value=st.floats(-2.0, 2.0), bounds=st.tuples(units, units))
def test_clip_matches_the_exact_clip(value, bounds):
    low, high = sorted(bounds)
    clipped, acted = clip(value, low, high)
    exact, flag = exact_guards.clip(value, low, high)
    assert clipped == exact
    assert acted == flag
    assert low <= clipped <= high


@PROPERTY
@given(value=st.floats(-2.0, 2.0), bounds=st.tuples(units, units))
def test_clip_is_idempotent(value, bounds):
    low, high = sorted(bounds)
    once, _ = clip(value, low, high)
    twice, acted = clip(once, low, high)
    assert once == twice
    assert not acted


def test_a_value_on_a_bound_is_not_clipped():
    _, acted = clip([0.05, 0.9], 0.05, 0.9)
    assert not acted.any()


def test_clip_lets_nan_through_unflagged():
    value, acted = clip(float("nan"), 0.05, 0.9)
    assert np.isnan(value)
    assert not acted


# The disagreement cap --------------------------------------------------------------------------


@PROPERTY
@given(d=magnitudes, s=magnitudes, r=magnitudes, ratio=st.floats(0.01, 100.0), eps=epsilons)
def test_cap_disagreement_matches_the_exact_cap(d, s, r, ratio, eps):
    value, acted = cap_disagreement(d, s, r, ratio=ratio, eps=eps)
    exact, flag = exact_guards.cap_ratio(d, s, r, ratio=ratio, eps=eps)
    assert_matches_exact(value, exact)
    limit = ratio * (s + r + eps)
    if abs(d - limit) > FLAG_MARGIN * limit:
        assert acted == flag
    if not acted:
        assert value == d


@PROPERTY
@given(d=magnitudes, s=magnitudes, r=magnitudes, eps=epsilons)
def test_a_ratio_of_zero_switches_the_cap_off(d, s, r, eps):
    value, acted = cap_disagreement(d, s, r, ratio=0.0, eps=eps)
    assert value == d
    assert not acted


@PROPERTY
@given(d=positives, s=positives, r=positives, ratio=st.floats(0.01, 100.0), alpha=units)
def test_a_capped_disagreement_bounds_the_share_of_alpha(d, s, r, ratio, alpha):
    # w = D2 / (D2 + s2_s + s2_r) <= ratio / (1 + ratio): the estimate cannot collapse to alpha.
    capped, _ = cap_disagreement(d, s, r, ratio=ratio, eps=0.0)
    share = float(capped) / (float(capped) + s + r)
    assert share <= ratio / (1.0 + ratio) * (1.0 + EXACT_RTOL)


def test_the_disagreement_cap_of_vanishing_noise_is_set_by_eps():
    value, acted = cap_disagreement(1.0, 0.0, 0.0, ratio=2.0, eps=1e-3)
    assert value == 2e-3
    assert acted


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_cap_disagreement_has_the_broadcast_shape_whether_or_not_it_is_on(ratio):
    value, acted = cap_disagreement(1.0, np.array([0.1, 9.0]), 0.0, ratio=ratio, eps=0.0)
    assert np.shape(value) == np.shape(acted) == (2,)


# The guarded closed form -----------------------------------------------------------------------


@PROPERTY
@given(s=magnitudes, r=magnitudes, d=magnitudes, alpha=units, eps=epsilons, mode=modes)
def test_guarded_closed_form_matches_the_exact_one(s, r, d, alpha, eps, mode):
    assume(mode == "alpha" or s + r + d + eps > 0.0)
    # On the threshold itself the rounding of the statistics decides.
    assume(eps == 0.0 or abs(max(s, r, d) - 2.0 * eps) > FLAG_MARGIN * eps)
    value, _ = guarded_closed_form(s, r, d, alpha, flat_risk=mode, eps=eps)
    exact, _ = exact_guards.closed_form(alpha, d, s, r, eps=eps, flat_risk=mode)
    assert_matches_exact(value, exact)
    assert 0.0 <= value <= 1.0


@PROPERTY
@given(s=magnitudes, r=magnitudes, d=positives, alpha=units)
def test_guarded_closed_form_away_from_the_floor_is_the_closed_form(s, r, d, alpha):
    assume(max(s, r, d) > 2e-8)
    value, flat = guarded_closed_form(s, r, d, alpha, flat_risk="alpha", eps=1e-8)
    assert value == closed_form(s, r, d, alpha)
    assert not flat


@pytest.mark.parametrize("mode", ["alpha", "zero"])
@pytest.mark.parametrize(
    ("s", "r", "d", "expected"),
    [
        (1e-8, 1e-8, 0.0, True),  # both on the floor
        (1.9e-8, 0.0, 0.0, True),
        (0.0, 0.0, 0.0, True),
        (1e-8, 2.1e-8, 0.0, False),  # one variance above it
        (2.1e-8, 1e-8, 0.0, False),
        (1e-8, 1e-8, 1e-12, True),  # the tail of an EMA, not a disagreement
        (1e-8, 1e-8, 2.1e-8, False),  # some disagreement
    ],
)
def test_flat_risk_is_flagged_where_nothing_chooses(mode, s, r, d, expected):
    _, flat = guarded_closed_form(s, r, d, 0.3, flat_risk=mode, eps=1e-8)
    assert bool(flat) is expected


@pytest.mark.parametrize("mode", ["alpha", "zero"])
def test_one_flat_trajectory_does_not_flatten_the_others(mode):
    d = np.array([0.0, 1.0])
    value, flat = guarded_closed_form(1e-8, 1e-8, d, 0.3, flat_risk=mode, eps=1e-8)
    assert flat.tolist() == [True, False]
    assert value[1] == guarded_closed_form(1e-8, 1e-8, 1.0, 0.3, flat_risk=mode, eps=1e-8)[0]


def test_the_released_form_adds_eps_to_the_denominator_even_with_disagreement():
    value, _ = guarded_closed_form(1.0, 1.0, 2.0, 0.25, flat_risk="zero", eps=1e-3)
    assert_matches_exact(value, frac(1.5) / (4 + frac(1e-3)))


def test_flat_risk_is_answered_as_configured():
    alpha, _ = guarded_closed_form(1e-8, 1e-8, 0.0, 0.3, flat_risk="alpha", eps=1e-8)
    zero, _ = guarded_closed_form(0.0, 0.0, 0.0, 0.3, flat_risk="zero", eps=1e-8)
    floor, _ = guarded_closed_form(1e-8, 1e-8, 0.0, 0.3, flat_risk="zero", eps=1e-8)
    assert (alpha, zero) == (0.3, 0.0)
    assert_matches_exact(floor, frac(1) / 3)


def test_without_a_floor_only_an_exact_zero_is_flat():
    for mode, answer in (("alpha", 0.3), ("zero", 0.0)):
        value, flat = guarded_closed_form(0.0, 0.0, 0.0, 0.3, flat_risk=mode, eps=0.0)
        assert value == answer
        assert flat
    value, flat = guarded_closed_form(1e-300, 0.0, 0.0, 0.3, flat_risk="alpha", eps=0.0)
    assert value == 0.0
    assert not flat


def test_guards_broadcast_like_a_loop():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(size=(4, 1)), rng.uniform(size=3)
    s, r, d = rng.gamma(1.0, size=3), rng.gamma(1.0, size=(4, 3)), rng.gamma(1.0, size=(4, 1))
    s[0] = d[0] = r[0, 0] = 0.0
    assert_equals_loop(lambda x, y: ema(x, y, 0.9), a, b)
    assert_equals_loop(lambda x, y: blend(x, y, 0.25), a, b)
    assert_equals_loop(lambda x, y: cap_change(x, y, 0.2), a, b)
    assert_equals_loop(lambda x: clip(x, 0.2, 0.6), a)
    assert_equals_loop(lambda *x: cap_disagreement(*x, ratio=0.5, eps=1e-8), d, s, r)
    for mode in ("alpha", "zero"):
        for offset in (0.0, 0.5):  # with and without a vanishing disagreement among the rows
            assert_equals_loop(
                lambda *x, mode=mode: guarded_closed_form(*x, flat_risk=mode, eps=1e-8),
                *(s, r, d + offset, a),
            )
