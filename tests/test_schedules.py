"""Schedule priors: exact values, the corner cases of the CHORD schedule, and their shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from _asserts import PROPERTY, assert_equals_loop, assert_within, units
from _oracles import controller as exact_controller
from _oracles import priors as exact_priors
from hypothesis import example, given
from hypothesis import strategies as st

from gac_ref.config import GACConfig
from gac_ref.schedules import linear, prior_at, warmup_cosine

# Values in [0, 1] after a cosine and four roundings; relative accuracy is lost where the cosine
# term cancels against 1, at the end of the decay.
PRIOR_ATOL = 4 * np.finfo(np.float64).eps
# A line between values of at most 1e3 in size.
LINE_ATOL = 4e3 * np.finfo(np.float64).eps

steps = st.integers(0, 3000)
lengths = st.one_of(st.sampled_from([0, 1]), st.integers(0, 1500))
schedules = st.fixed_dictionaries(
    {"warmup": lengths, "decay": lengths, "peak": units, "valley": units}
)


@PROPERTY
@given(step=steps, schedule=schedules)
@example(step=0, schedule={"warmup": 0, "decay": 0, "peak": 0.85, "valley": 0.15})
@example(step=0, schedule={"warmup": 0, "decay": 5, "peak": 0.85, "valley": 0.15})
@example(step=5, schedule={"warmup": 5, "decay": 0, "peak": 0.85, "valley": 0.15})
@example(step=4, schedule={"warmup": 5, "decay": 0, "peak": 0.85, "valley": 0.15})
@example(step=1, schedule={"warmup": 1, "decay": 1, "peak": 0.85, "valley": 0.15})
def test_warmup_cosine_matches_the_exact_schedule(step, schedule):
    exact = exact_priors.warmup_cosine(step, **schedule)
    assert_within(warmup_cosine(step, **schedule), exact, PRIOR_ATOL)


@pytest.mark.parametrize(
    ("warmup", "decay", "expected"),
    [
        (0, 0, [0.25, 0.25, 0.25, 0.25]),  # no schedule at all: the valley from the first step
        (0, 2, [0.75, 0.5, 0.25, 0.25]),  # no warm-up: starts at the peak
        (2, 0, [0.0, 0.375, 0.25, 0.25]),  # no decay: the peak itself is never reached
        (1, 1, [0.0, 0.75, 0.25, 0.25]),
        (1, 2, [0.0, 0.75, 0.5, 0.25]),
    ],
)
def test_corner_cases_of_the_chord_schedule(warmup, decay, expected):
    found = warmup_cosine(np.arange(4), warmup=warmup, decay=decay, peak=0.75, valley=0.25)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=PRIOR_ATOL)


@PROPERTY
@given(schedule=schedules)
def test_warmup_cosine_starts_at_zero_rises_falls_and_rests(schedule):
    warmup, decay = schedule["warmup"], schedule["decay"]
    peak, valley = schedule["peak"], schedule["valley"]
    values = warmup_cosine(np.arange(warmup + decay + 3), **schedule)
    if warmup:
        assert values[0] == 0.0
    rise = np.diff(values[: warmup + (decay > 0)])
    assert np.all(rise >= -PRIOR_ATOL)
    fall = np.diff(values[warmup:]) * np.sign(peak - valley)
    assert np.all(fall <= PRIOR_ATOL)
    assert np.all(values[warmup + decay :] == valley)
    if decay:
        assert abs(values[warmup] - peak) <= PRIOR_ATOL


@PROPERTY
@given(step=st.lists(steps, min_size=1, max_size=20), schedule=schedules)
def test_warmup_cosine_stays_in_the_unit_interval(step, schedule):
    values = warmup_cosine(step, **schedule)
    assert np.all((values >= 0.0) & (values <= 1.0))


@PROPERTY
@given(half=st.integers(1, 400), peak=units, valley=units)
def test_decay_is_antisymmetric_about_its_middle(half, peak, valley):
    t = np.arange(2 * half)
    values = warmup_cosine(t, warmup=0, decay=2 * half, peak=peak, valley=valley)
    np.testing.assert_allclose(
        values[1:] + values[:0:-1], peak + valley, rtol=0.0, atol=2 * PRIOR_ATOL
    )


def test_default_schedule_is_the_one_of_the_integration():
    found = warmup_cosine([0, 1, 100, 199, 200, 400, 600, 999, 1000, 10**9])
    exact = [
        exact_priors.warmup_cosine(t, warmup=200, decay=800, peak=0.85, valley=0.15)
        for t in (0, 1, 100, 199, 200, 400, 600, 999, 1000, 10**9)
    ]
    for value, wanted in zip(found, exact, strict=True):
        assert_within(value, wanted, PRIOR_ATOL)


@PROPERTY
@given(step=steps, length=lengths, start=st.floats(-1e3, 1e3), end=st.floats(-1e3, 1e3))
@example(step=0, length=0, start=1.0, end=0.0)
def test_linear_is_a_line_and_then_its_end(step, length, start, end):
    share = min(step / length, 1.0) if length else 1.0
    value = linear(step, steps=length, start=start, end=end)
    assert abs(value - (start + (end - start) * share)) <= LINE_ATOL
    if step >= length:
        assert value == end
    elif step == 0:
        assert value == start


@PROPERTY
@given(step=steps, schedule=schedules)
def test_prior_at_reads_the_configuration(step, schedule):
    fields = {f"prior_{name}": value for name, value in schedule.items()}
    found = prior_at(GACConfig(**fields), step)
    assert isinstance(found, float)
    exact = exact_priors.prior_at(exact_controller.make_config(**fields), step)
    assert_within(found, exact, PRIOR_ATOL)


def test_without_a_prior_there_is_no_value():
    assert math.isnan(prior_at(GACConfig(prior="none"), 300))


def test_schedules_broadcast_like_a_loop():
    t = np.arange(12.0).reshape(3, 4)
    assert_equals_loop(lambda x: warmup_cosine(x, warmup=3, decay=5, peak=0.9, valley=0.1), t)
    assert_equals_loop(lambda x: linear(x, steps=7, start=0.9, end=0.1), t)
    assert warmup_cosine(5).shape == linear(5, steps=2, start=0.0, end=1.0).shape == ()
