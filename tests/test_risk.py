"""The risk, its minimisers, regret and sensitivities: exact values and mathematical properties."""

from __future__ import annotations

from fractions import Fraction as Q
from typing import Any

import numpy as np
import pytest
from _asserts import (
    EXACT_RTOL,
    PROPERTY,
    assert_equals_loop,
    assert_matches_exact,
    assert_matches_ratio,
    assert_matches_sum,
    assert_within,
    correlations,
    magnitudes,
    positives,
    ratio_error,
    refuses,
    units,
    weights,
)
from _oracles import risk as exact_risk
from _oracles.exact import frac
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gac_ref.risk import (
    bias_aware_minimiser,
    closed_form,
    correlated_closed_form,
    curvature,
    regret,
    risk,
    risk_from_vectors,
    sensitivities,
    shrinkage,
)

# A weight in [0, 1] after a handful of roundings, none of which exceeds eps / 2 in size.
WEIGHT_ATOL = 8 * np.finfo(np.float64).eps
# From a disagreement of 1e30 against noise of at most 1e12 the shrinkage weight is 1 - 2e-18.
LIMIT_ATOL = 1e-15
# Central differences with step h = 2**-13 of the value err by h**2 times third derivatives below
# 6 / value**3, so by 1e-7 relative to the derivative's bound 1 / value.
DIFFERENCE_RTOL = 1e-7

problems = st.fixed_dictionaries(
    {"sigma_s2": magnitudes, "sigma_r2": magnitudes, "delta_g2": magnitudes, "alpha": units}
)
curved = problems.filter(lambda p: p["sigma_s2"] + p["sigma_r2"] + p["delta_g2"] > 0.0)
coordinates = st.one_of(st.just(0.0), st.floats(1e-3, 1e3), st.floats(-1e3, -1e-3))
vectors = st.lists(coordinates, min_size=3, max_size=3)
biased = st.fixed_dictionaries(
    {
        "delta": vectors,
        "sigma_s2": positives,
        "sigma_r2": positives,
        "alpha": units,
        "bias_s": vectors,
        "bias_r": vectors,
    }
)


def terms(problem: dict[str, float]) -> dict[str, float]:
    """A problem under the names of the exact oracle."""
    names = {"sigma_s2": "s2_s", "sigma_r2": "s2_r", "delta_g2": "d2", "alpha": "alpha"}
    return {names[name]: value for name, value in problem.items()}


def vector_terms(problem: dict[str, Any], kappa: float) -> dict[str, Any]:
    """A biased problem under the names of the exact oracle."""
    names = {"sigma_s2": "s2_s", "sigma_r2": "s2_r", "bias_s": "b_s", "bias_r": "b_r"}
    return {names.get(name, name): value for name, value in problem.items()} | {"kappa": kappa}


def noise(problem: dict[str, Any]) -> tuple[float, float]:
    return problem["sigma_s2"], problem["sigma_r2"]


def covariance(problem: dict[str, Any], correlation: float) -> float:
    s, r = noise(problem)
    return correlation * float(np.sqrt(s * r))


def exact_curvature(problem: dict[str, float], kappa: float = 0.0) -> Q:
    named = terms(problem)
    named.pop("alpha")
    return exact_risk.curvature(**named, kappa=kappa)


def minimiser_terms(problem: dict[str, float], kappa: float) -> tuple[list[Q], list[Q]]:
    """The terms of numerator and denominator of the correlated closed form."""
    s, r, d, a = (frac(problem[k]) for k in ("sigma_s2", "sigma_r2", "delta_g2", "alpha"))
    return [a * d, r, -frac(kappa)], [d, s, r, -2 * frac(kappa)]


# The risk --------------------------------------------------------------------------------------


@PROPERTY
@given(mu=weights, problem=problems, correlation=correlations)
def test_risk_matches_the_exact_risk(mu, problem, correlation):
    kappa = covariance(problem, correlation)
    m, a, s, r, d = (frac(x) for x in (mu, problem["alpha"], *noise(problem), problem["delta_g2"]))
    assert_matches_sum(
        risk(mu, **problem, kappa=kappa),
        exact_risk.risk(mu, **terms(problem), kappa=kappa),
        [(m - a) ** 2 * d, m**2 * s, (1 - m) ** 2 * r, 2 * m * (1 - m) * frac(kappa)],
    )


@PROPERTY
@given(mu=weights, problem=biased, correlation=correlations)
def test_risk_from_vectors_matches_the_exact_risk(mu, problem, correlation):
    kappa = covariance(problem, correlation)
    m, a = frac(mu), frac(problem["alpha"])
    s, r = (frac(x) for x in noise(problem))
    columns = zip(problem["delta"], problem["bias_s"], problem["bias_r"], strict=True)
    # The square of a sum is as well conditioned as the square of the sum of absolute terms.
    squares = [
        (abs((m - a) * frac(d)) + abs(m * frac(x)) + abs((1 - m) * frac(y))) ** 2
        for d, x, y in columns
    ]
    assert_matches_sum(
        risk_from_vectors(mu, **problem, kappa=kappa),
        exact_risk.risk_vectors(mu, **vector_terms(problem, kappa)),
        [*squares, m**2 * s, (1 - m) ** 2 * r, 2 * m * (1 - m) * frac(kappa)],
    )


@PROPERTY
@given(mu=weights, delta=vectors, problem=problems)
def test_vector_risk_without_bias_depends_on_delta_through_its_norm_alone(mu, delta, problem):
    s, r = noise(problem)
    alpha = problem["alpha"]
    norm2 = float(np.dot(delta, delta))
    scalar = risk(mu, s, r, norm2, alpha)
    np.testing.assert_allclose(
        risk_from_vectors(mu, delta, s, r, alpha), scalar, rtol=EXACT_RTOL, atol=0.0
    )


@PROPERTY
@given(problem=problems)
def test_risk_at_the_ends_is_a_branch_alone(problem):
    s, r = noise(problem)
    d, a = problem["delta_g2"], problem["alpha"]
    assert risk(1.0, **problem) == (1.0 - a) ** 2 * d + s
    assert risk(0.0, **problem) == a**2 * d + r


@PROPERTY
@given(problem=problems, correlation=correlations)
def test_curvature_matches_the_exact_curvature_and_is_not_negative(problem, correlation):
    kappa = covariance(problem, correlation)
    s, r = noise(problem)
    d = problem["delta_g2"]
    actual = curvature(s, r, d, kappa=kappa)
    assert_matches_sum(actual, exact_curvature(problem, kappa), [d, s, r, 2 * kappa])
    assert actual >= 0.0


# The closed form -------------------------------------------------------------------------------


@PROPERTY
@given(problem=curved)
@example(problem={"sigma_s2": 1e12, "sigma_r2": 1e-12, "delta_g2": 1e-12, "alpha": 0.5})
def test_closed_form_matches_the_exact_minimiser(problem):
    assert_matches_exact(closed_form(**problem), exact_risk.closed_form(**terms(problem)))


@PROPERTY
@given(problem=curved, other=weights)
def test_closed_form_minimises_the_risk(problem, other):
    best = exact_risk.closed_form(**terms(problem))
    slack = exact_curvature(problem) * (frac(EXACT_RTOL) * best) ** 2
    reached = exact_risk.risk(float(closed_form(**problem)), **terms(problem))
    assert reached <= exact_risk.risk(other, **terms(problem)) + slack


@PROPERTY
@given(problem=problems)
def test_closed_form_lies_in_the_unit_interval(problem):
    # Exactly: rounding is monotone, and the numerator is below the denominator term by term.
    assert 0.0 <= closed_form(**problem) <= 1.0


@PROPERTY
@given(problem=problems)
def test_closed_form_lies_between_alpha_and_the_inverse_variance_weight(problem):
    s, r = noise(problem)
    ends = sorted([problem["alpha"], float(shrinkage(s, r, 0.0).mu_iv)])
    if s + r == 0.0:
        ends = [problem["alpha"]] * 2
    assert ends[0] - WEIGHT_ATOL <= closed_form(**problem) <= ends[1] + WEIGHT_ATOL


@PROPERTY
@given(problem=curved)
def test_closed_form_is_a_shrinkage_of_alpha_and_the_inverse_variance_weight(problem):
    s, r = noise(problem)
    parts = shrinkage(s, r, problem["delta_g2"])
    exact_w, exact_iv = exact_risk.shrinkage(d2=problem["delta_g2"], s2_s=s, s2_r=r)
    assert_matches_exact(parts.w, exact_w)
    assert_matches_exact(parts.mu_iv, Q(1, 2) if exact_iv is None else exact_iv)
    combined = parts.w * problem["alpha"] + (1.0 - parts.w) * parts.mu_iv
    assert abs(combined - closed_form(**problem)) <= WEIGHT_ATOL


@PROPERTY
@given(problem=problems, power=st.integers(-60, 60))
def test_closed_form_is_invariant_to_a_common_scale(problem, power):
    alpha = problem["alpha"]
    s, r, d = problem["sigma_s2"], problem["sigma_r2"], problem["delta_g2"]
    c = 2.0**power
    # A power of two scales without rounding, so the invariance is to the bit.
    assert closed_form(c * s, c * r, c * d, alpha) == closed_form(s, r, d, alpha)


@PROPERTY
@given(problem=problems)
def test_swapping_the_branches_gives_the_complementary_weight(problem):
    s, r = noise(problem)
    d, a = problem["delta_g2"], problem["alpha"]
    assume(s + r + d > 0.0)
    swapped = closed_form(r, s, d, 1.0 - a)
    assert abs(closed_form(s, r, d, a) + swapped - 1.0) <= WEIGHT_ATOL


@PROPERTY
@given(s=positives, r=positives, alpha=units)
def test_limits_of_no_and_of_infinite_disagreement(s, r, alpha):
    np.testing.assert_allclose(
        closed_form(s, r, 0.0, alpha), shrinkage(s, r, 0.0).mu_iv, rtol=EXACT_RTOL
    )
    assert abs(closed_form(s, r, 1e30, alpha) - alpha) <= LIMIT_ATOL


@PROPERTY
@given(problem=problems, factor=st.floats(1.0, 1e3))
def test_noise_drives_the_weight_away_from_the_noisier_branch(problem, factor):
    s, r = noise(problem)
    d, a = problem["delta_g2"], problem["alpha"]
    assume(s + r + d > 0.0)
    mu = float(closed_form(s, r, d, a))
    assert closed_form(s * factor, r, d, a) <= mu * (1.0 + EXACT_RTOL)
    assert closed_form(s, r * factor, d, a) >= mu * (1.0 - EXACT_RTOL)


@PROPERTY
@given(alpha=units)
def test_a_flat_risk_is_answered_by_alpha(alpha):
    zero = np.zeros(2)
    assert closed_form(0.0, 0.0, 0.0, alpha) == alpha
    assert correlated_closed_form(0.0, 0.0, 0.0, alpha, kappa=0.0) == alpha
    assert bias_aware_minimiser(zero, 0.0, 0.0, alpha) == alpha
    assert regret(0.3, 0.0, 0.0, 0.0, alpha) == 0.0
    assert shrinkage(0.0, 0.0, 0.0) == (1.0, 0.5)
    # Equal, fully correlated noise cannot be averaged out: flat as well, though not zero.
    assert correlated_closed_form(4.0, 4.0, 0.0, alpha, kappa=4.0) == alpha
    assert curvature(4.0, 4.0, 0.0, kappa=4.0) == 0.0


# Correlated noise ------------------------------------------------------------------------------


@PROPERTY
@given(problem=curved, correlation=correlations)
def test_correlated_closed_form_matches_the_exact_minimiser(problem, correlation):
    kappa = covariance(problem, correlation)
    exact = exact_risk.minimiser(**terms(problem), kappa=kappa)
    actual = correlated_closed_form(**problem, kappa=kappa, bounds=None)
    top, bottom = minimiser_terms(problem, kappa)
    assert_matches_ratio(actual, exact, top, bottom)
    clipped = correlated_closed_form(**problem, kappa=kappa)
    assert_within(clipped, exact_risk.clip01(exact), ratio_error(exact, top, bottom))
    assert 0.0 <= clipped <= 1.0


@PROPERTY
@given(problem=curved, correlation=correlations, other=units)
def test_clipped_correlated_closed_form_minimises_on_the_unit_interval(problem, correlation, other):
    kappa = covariance(problem, correlation)
    named = terms(problem) | {"kappa": kappa}
    mu = float(correlated_closed_form(**problem, kappa=kappa))
    best = exact_risk.minimiser(**named)
    error = ratio_error(best, *minimiser_terms(problem, kappa))
    # Off the vertex by `outside` and moved by `error`, the parabola rises by this much.
    outside = abs(exact_risk.clip01(best) - best)
    slack = exact_curvature(problem, kappa) * error * (error + 2 * outside)
    assert exact_risk.risk(mu, **named) <= exact_risk.risk(other, **named) + slack


@PROPERTY
@given(problem=problems)
def test_correlated_closed_form_without_covariance_is_the_closed_form(problem):
    assert correlated_closed_form(**problem, kappa=0.0, bounds=None) == closed_form(**problem)


@pytest.mark.parametrize(
    ("s", "r", "kappa", "unclipped", "clipped"),
    [(1.0, 4.0, 1.5, 1.25, 1.0), (4.0, 1.0, 1.5, -0.25, 0.0), (4.0, 1.0, -1.5, 0.3125, 0.3125)],
)
def test_correlated_closed_form_leaves_the_unit_interval_and_is_clipped(
    s, r, kappa, unclipped, clipped
):
    assert correlated_closed_form(s, r, 0.0, kappa=kappa, bounds=None) == unclipped
    assert correlated_closed_form(s, r, 0.0, kappa=kappa) == clipped
    assert correlated_closed_form(s, r, 0.0, kappa=kappa, bounds=(0.1, 0.3)) == min(
        max(unclipped, 0.1), 0.3
    )


@PROPERTY
@given(s=positives, r=positives, sign=st.sampled_from([-1.0, 1.0]))
def test_covariance_on_the_cauchy_schwarz_bound_is_accepted(s, r, sign):
    kappa = sign * np.sqrt(s * r)
    assert np.isfinite(risk(0.5, s, r, 0.0, kappa=kappa))


@PROPERTY
@given(s=magnitudes, r=magnitudes, excess=st.floats(1e-9, 1e3), sign=st.sampled_from([-1.0, 1.0]))
def test_covariance_above_the_cauchy_schwarz_bound_is_refused(s, r, excess, sign):
    kappa = float(sign * (np.sqrt(s * r) + excess * max(s, r, 1e-12)))
    for call in (
        lambda: risk(0.5, s, r, 0.0, kappa=kappa),
        lambda: risk_from_vectors(0.5, [1.0], s, r, kappa=kappa),
        lambda: correlated_closed_form(s, r, 0.0, kappa=kappa),
        lambda: bias_aware_minimiser([1.0], s, r, kappa=kappa),
        lambda: regret(0.5, s, r, 0.0, kappa=kappa),
    ):
        with refuses(r"\|kappa\| = .* is above sqrt\(sigma_s2 sigma_r2\)", repr(abs(kappa))):
            call()


def test_only_rounding_is_allowed_above_the_cauchy_schwarz_bound():
    assert np.isfinite(risk(0.5, 1.0, 4.0, 0.0, kappa=2.0 * (1.0 + 1e-13)))
    with refuses("is above sqrt", 2.0):
        risk(0.5, 1.0, 4.0, 0.0, kappa=2.0 * (1.0 + 1e-9))


# Biased branches -------------------------------------------------------------------------------


@PROPERTY
@given(problem=biased, correlation=correlations, other=weights)
def test_bias_aware_minimiser_matches_the_exact_one_and_minimises(problem, correlation, other):
    kappa = covariance(problem, correlation)
    named = vector_terms(problem, kappa)
    exact = exact_risk.minimiser_vectors(**named)
    a, (s, r) = frac(problem["alpha"]), (frac(x) for x in noise(problem))
    top, bottom = [r, -frac(kappa)], [s, r, -2 * frac(kappa)]
    slack = Q(0)
    for d, x, y in zip(problem["delta"], problem["bias_s"], problem["bias_r"], strict=True):
        d, x, y = frac(d), frac(x), frac(y)
        top.append((abs(y) + abs(a * d)) * (abs(d) + abs(x) + abs(y)))
        # v**2 is a square of a sum: its terms in absolute value, and no cancellation below it.
        bottom.append((d + x - y) ** 2)
        slack += (abs(d) + abs(x) + abs(y)) ** 2
    below = sum(bottom)
    error = frac(EXACT_RTOL) * (sum(map(abs, top)) + abs(exact) * (slack + s + r)) / below
    error += ratio_error(exact, [0], bottom)
    actual = bias_aware_minimiser(**problem, kappa=kappa)
    assert_within(actual, exact, error)
    reached = exact_risk.risk_vectors(float(actual), **named)
    assert reached <= exact_risk.risk_vectors(other, **named) + below * error**2


@PROPERTY
@given(problem=biased, correlation=correlations)
def test_bias_aware_minimiser_without_bias_is_the_correlated_closed_form(problem, correlation):
    kappa = covariance(problem, correlation)
    s, r = noise(problem)
    delta, alpha = problem["delta"], problem["alpha"]
    norm2 = sum((frac(x) ** 2 for x in delta), Q(0))
    exact = exact_risk.minimiser(alpha=alpha, d2=norm2, s2_s=s, s2_r=r, kappa=kappa)
    named = {"sigma_s2": s, "sigma_r2": r, "delta_g2": norm2, "alpha": alpha}
    actual = bias_aware_minimiser(delta, s, r, alpha, kappa=kappa)
    assert_matches_ratio(actual, exact, *minimiser_terms(named, kappa))


def test_equal_biases_shift_the_target_and_leave_the_curvature():
    # b_s = b_r = delta moves the error by delta, as alpha - 1 in place of alpha would.
    shifted = bias_aware_minimiser(
        [2.0, 0.0], 1.0, 3.0, alpha=0.75, bias_s=[2.0, 0.0], bias_r=[2.0, 0.0]
    )
    assert shifted == (4.0 * (0.75 - 1.0) + 3.0) / 8.0


# Regret and sensitivities ----------------------------------------------------------------------


@PROPERTY
@given(mu=weights, problem=curved, correlation=correlations)
def test_regret_is_the_excess_risk_and_the_curvature_times_the_squared_distance(
    mu, problem, correlation
):
    kappa = covariance(problem, correlation)
    named = terms(problem) | {"kappa": kappa}
    best = exact_risk.minimiser(**named)
    a, distance = exact_curvature(problem, kappa), abs(frac(mu) - best)
    excess = exact_risk.regret(mu, **named)
    assert excess == a * distance**2
    actual = regret(mu, **problem, kappa=kappa)
    error = ratio_error(best, *minimiser_terms(problem, kappa)) + frac(EXACT_RTOL) * distance
    rise = sum(abs(t) for t in minimiser_terms(problem, kappa)[1])
    allowed = a * error * (2 * distance + error) + frac(EXACT_RTOL) * rise * (distance + error) ** 2
    assert_within(actual, excess, allowed)
    assert actual >= 0.0


@PROPERTY
@given(problem=curved)
def test_regret_is_zero_at_the_closed_form_and_not_elsewhere(problem):
    best = closed_form(**problem)
    assert regret(best, **problem) == 0.0
    assert regret(best + 0.25, **problem) > 0.0


@PROPERTY
@given(problem=curved)
def test_sensitivities_are_the_exact_derivatives(problem):
    exact = exact_risk.sensitivities(**terms(problem))
    actual = sensitivities(**problem)
    mu = exact_risk.closed_form(**terms(problem))
    d, a = exact_curvature(problem), frac(problem["alpha"])
    assert_matches_exact(actual.alpha, exact["alpha"])
    assert_matches_exact(actual.sigma_s2, exact["s2_s"])
    assert_matches_sum(actual.sigma_r2, exact["s2_r"], [1 / d, mu / d])
    assert_matches_sum(actual.delta_g2, exact["d2"], [a / d, mu / d])


@PROPERTY
@given(problem=curved)
def test_sensitivities_have_the_signs_of_their_meaning(problem):
    partial = sensitivities(**problem)
    assert 0.0 <= partial.alpha <= 1.0
    assert partial.sigma_r2 >= 0.0
    assert partial.sigma_s2 <= 0.0
    assert np.sign(partial.delta_g2) == np.sign(problem["alpha"] - closed_form(**problem))


@pytest.mark.parametrize("name", ["alpha", "sigma_r2", "sigma_s2", "delta_g2"])
def test_sensitivities_agree_with_central_differences(name):
    problem = {"sigma_s2": 1.5, "sigma_r2": 2.5, "delta_g2": 0.75, "alpha": 0.25}
    step = problem[name] * 2.0**-13
    up, down = problem | {name: problem[name] + step}, problem | {name: problem[name] - step}
    numeric = (closed_form(**up) - closed_form(**down)) / (2.0 * step)
    bound = DIFFERENCE_RTOL / problem[name]
    assert abs(getattr(sensitivities(**problem), name) - numeric) <= bound


def test_sensitivities_of_a_flat_risk_are_nan_and_leave_the_others_alone():
    partial = sensitivities([0.0, 1.0], [0.0, 1.0], [0.0, 2.0], 0.5)
    for field in partial:
        assert np.isnan(field).tolist() == [True, False]


# Broadcasting, refusals, surface ---------------------------------------------------------------


def test_scalar_forms_broadcast_like_a_loop():
    rng = np.random.default_rng(0)
    mu, s, r = rng.uniform(size=(4, 1)), rng.gamma(1.0, size=3), rng.gamma(1.0, size=(4, 3))
    s[0] = r[0, 0] = 0.0
    d, a = rng.gamma(1.0, size=(4, 1)), rng.uniform(size=3)
    d[0] = 0.0
    kappa = 0.5 * np.sqrt(s * r)
    assert_equals_loop(lambda m, *rest: risk(m, *rest[:-1], kappa=rest[-1]), mu, s, r, d, a, kappa)
    assert_equals_loop(
        lambda m, *rest: regret(m, *rest[:-1], kappa=rest[-1]), mu, s, r, d, a, kappa
    )
    assert_equals_loop(lambda *x: curvature(*x[:-1], kappa=x[-1]), s, r, d, kappa)
    assert_equals_loop(lambda *x: correlated_closed_form(*x[:-1], kappa=x[-1]), s, r, d, a, kappa)
    for function, arguments in (
        (closed_form, (s, r, d, a)),
        (shrinkage, (s, r, d)),
        (sensitivities, (s, r, d, a)),
    ):
        assert_equals_loop(function, *arguments)


def test_vector_forms_broadcast_like_a_loop():
    rng = np.random.default_rng(0)
    delta, b_s, b_r = (rng.normal(size=shape) for shape in ((4, 1, 5), (3, 5), (5,)))
    mu, s, r, a = rng.uniform(size=(4, 3)), rng.gamma(1.0, size=3), np.array(2.0), rng.uniform()
    assert_equals_loop(
        lambda m, v, s, r, a, x, y: risk_from_vectors(m, v, s, r, a, bias_s=x, bias_r=y),
        *(mu, delta, s, r, a, b_s, b_r),
        core=(0, 1, 0, 0, 0, 1, 1),
    )
    assert_equals_loop(
        lambda v, s, r, a, x, y: bias_aware_minimiser(v, s, r, a, bias_s=x, bias_r=y),
        *(delta, s, r, a, b_s, b_r),
        core=(1, 0, 0, 0, 1, 1),
    )


@pytest.mark.parametrize("bad", [-0.25, float("nan"), -np.inf])
@pytest.mark.parametrize("name", ["sigma_s2", "sigma_r2", "delta_g2"])
@pytest.mark.parametrize(
    "call",
    [
        lambda **x: risk(0.5, **x),
        closed_form,
        lambda **x: correlated_closed_form(**x, kappa=0.0),
        lambda **x: regret(0.5, **x),
        shrinkage,
        sensitivities,
    ],
)
def test_a_negative_or_nan_statistic_is_refused_with_its_value(call, name, bad):
    statistics = {"sigma_s2": 1.0, "sigma_r2": 1.0, "delta_g2": 1.0}
    with refuses(f"^{name} = .* is negative or NaN; pass a value >= 0$", repr(bad)):
        call(**statistics | {name: np.array([1.0, bad])})


@pytest.mark.parametrize("name", ["sigma_s2", "sigma_r2"])
@pytest.mark.parametrize(
    "call",
    [lambda **x: risk_from_vectors(0.5, [1.0], **x), lambda **x: bias_aware_minimiser([1.0], **x)],
)
def test_vector_forms_refuse_a_negative_noise(call, name):
    with refuses(f"^{name} = -2.5 is negative or NaN", -2.5):
        call(**{"sigma_s2": 1.0, "sigma_r2": 1.0} | {name: -2.5})


@pytest.mark.parametrize(
    "call",
    [
        lambda k: risk(0.5, 1.0, 1.0, 0.0, kappa=k),
        lambda k: risk_from_vectors(0.5, [1.0], 1.0, 1.0, kappa=k),
        lambda k: correlated_closed_form(1.0, 1.0, 0.0, kappa=k),
        lambda k: bias_aware_minimiser([1.0], 1.0, 1.0, kappa=k),
        lambda k: regret(0.5, 1.0, 1.0, 0.0, kappa=k),
    ],
)
def test_a_nan_covariance_is_refused(call):
    with refuses("kappa", "nan"):
        call(float("nan"))


def test_curvature_refuses_what_would_make_it_negative():
    with refuses("kappa", 5.0):
        curvature(1.0, 1.0, 0.0, kappa=5.0)


def test_the_value_shown_is_the_one_that_violates_the_bound():
    with refuses(r"\|kappa\| = 3.0 is above sqrt\(sigma_s2 sigma_r2\) = 2.0", 3.0, 2.0):
        risk(0.5, [1.0, 4.0], 1.0, 0.0, kappa=[0.5, -3.0])
