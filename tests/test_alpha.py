"""The KL-driven alpha: exact values, rest point, directions, bounds and flags."""

from __future__ import annotations

import numpy as np
import pytest
from _asserts import PROPERTY, assert_equals_loop, assert_within
from _oracles import guards as exact_guards
from hypothesis import assume, given
from hypothesis import strategies as st

from gac_ref.alpha import ERROR_CLIP, kl_alpha

# A ratio, a product and a sum, each at most 2 in size.
ALPHA_ATOL = 4 * np.finfo(np.float64).eps
# The flag is decided by a comparison; nearer to a bound than this, rounding decides.
FLAG_MARGIN = 1e-12

alphas = st.floats(0.1, 0.95)
kls = st.one_of(st.just(0.0), st.floats(1e-9, 10.0))
targets = st.floats(1e-4, 1.0)
gains = st.floats(0.0, 4.99)


@PROPERTY
@given(alpha=alphas, kl=kls, target=targets, gain=gains)
def test_kl_alpha_matches_the_exact_rule(alpha, kl, target, gain):
    rule = {"target": target, "gain": gain, "low": 0.1, "high": 0.95}
    value, flag = kl_alpha(alpha, kl, **rule)
    exact, _, clipped = exact_guards.kl_alpha(alpha, kl, **rule)
    assert_within(value, exact, ALPHA_ATOL)
    free = alpha * (1.0 + gain * min(max(kl / target - 1.0, -0.2), 0.2))
    if min(abs(free - 0.1), abs(free - 0.95)) > FLAG_MARGIN:
        assert flag == clipped


@PROPERTY
@given(alpha=alphas, target=targets, gain=gains)
def test_alpha_rests_at_the_target(alpha, target, gain):
    value, flag = kl_alpha(alpha, target, target=target, gain=gain)
    assert value == alpha
    assert not flag


@PROPERTY
@given(alpha=alphas, kls=st.tuples(kls, kls), target=targets, gain=gains)
def test_more_drift_means_more_anchoring_to_the_demonstrations(alpha, kls, target, gain):
    less, more = (float(kl_alpha(alpha, kl, target=target, gain=gain)[0]) for kl in sorted(kls))
    assert less <= more
    assert (more >= alpha) if max(kls) >= target else (more <= alpha)


@PROPERTY
@given(alpha=alphas, kl=kls, target=targets, gain=gains)
def test_alpha_stays_in_its_range_and_moves_by_a_bounded_share(alpha, kl, target, gain):
    value, _ = kl_alpha(alpha, kl, target=target, gain=gain)
    assert 0.1 <= value <= 0.95
    assert abs(value - alpha) <= alpha * gain * ERROR_CLIP + ALPHA_ATOL


@PROPERTY
@given(alpha=alphas, factor=st.floats(1.21, 1e6), target=targets)
def test_large_errors_act_like_errors_of_a_fifth(alpha, factor, target):
    far, _ = kl_alpha(alpha, target * factor, target=target, low=0.0, high=1.0)
    assert abs(far - min(alpha * 1.02, 1.0)) <= ALPHA_ATOL
    none, _ = kl_alpha(alpha, 0.0, target=target, low=0.0, high=1.0)
    assert abs(none - alpha * 0.98) <= ALPHA_ATOL


@PROPERTY
@given(alpha=alphas, kl=kls, target=targets, power=st.integers(-20, 20))
def test_the_rule_depends_on_the_kl_relative_to_its_target_alone(alpha, kl, target, power):
    scale = 2.0**power
    assume(kl == 0.0 or kl * scale > 1e-300)
    scaled, _ = kl_alpha(alpha, kl * scale, target=target * scale)
    assert scaled == kl_alpha(alpha, kl, target=target)[0]


@pytest.mark.parametrize(
    ("alpha", "kl", "value", "acted"),
    [
        (0.95, 0.04, 0.95, True),  # the upper bound acts
        (0.1, 0.0, 0.1, True),  # the lower bound acts
        (0.95, 0.02, 0.95, False),  # resting on a bound is not being clipped by it
        (0.1, 0.02, 0.1, False),
        (0.5, 0.04, 0.51, False),
        (0.5, 0.0, 0.49, False),
        (0.5, 0.021, 0.5025, False),
    ],
)
def test_alpha_at_the_defaults(alpha, kl, value, acted):
    found, flag = kl_alpha(alpha, kl)
    assert abs(found - value) <= ALPHA_ATOL
    assert bool(flag) is acted


def test_a_steady_drift_drives_alpha_to_its_bound_and_keeps_it_there():
    alpha = np.array([0.5, 0.5])
    for _ in range(200):
        alpha, flag = kl_alpha(alpha, np.array([1.0, 0.0]))
    assert alpha.tolist() == [0.95, 0.1]
    assert flag.all()


def test_kl_alpha_broadcasts_like_a_loop():
    rng = np.random.default_rng(0)
    assert_equals_loop(kl_alpha, rng.uniform(0.1, 0.95, size=(4, 1)), rng.gamma(1.0, 0.02, size=3))
