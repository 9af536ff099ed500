"""Upper bounds and surrogates of the biased risk: what they bound, and what minimises them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _asserts import (
    EXACT_RTOL,
    PROPERTY,
    SEARCHED,
    assert_equals_loop,
    assert_matches_exact,
    assert_within,
    magnitudes,
    positives,
    refuses,
    units,
)
from _oracles import bounds as exact_bounds
from _oracles import risk as exact_risk
from _oracles.exact import frac, real
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gac_ref.bounds import (
    effective_noise,
    effective_noise_minimiser,
    triangle_bound,
    triangle_minimiser,
    young_bound,
    young_minimiser,
)
from gac_ref.risk import (
    bias_aware_minimiser,
    closed_form,
    correlated_closed_form,
    risk,
    risk_from_vectors,
)

# Norms are rounded square roots of rounded sums; each is squared again in the bound.
NORM_RTOL = 1e-13
# A minimiser that is off by e costs curvature * e**2; this share of the bound's size at the ends
# is what float64 resolves in the bound itself.
EXCESS_RTOL = 1e-14
# In these problems every term is between 0.01 and 100 and the curvature is above 0.01, so a
# minimiser is a ratio of condition below 1e5.
WELL_CONDITIONED_ATOL = 1e-11

moderate = st.floats(0.1, 10.0)
norms = st.one_of(st.just(0.0), moderate)
terms = st.fixed_dictionaries(
    {
        "sigma_s2": magnitudes,
        "sigma_r2": magnitudes,
        "delta_g2": magnitudes,
        "alpha": units,
        "beta_s": magnitudes,
        "beta_r": magnitudes,
        "rho": units,
    }
)
mild = st.fixed_dictionaries(
    {
        "sigma_s2": moderate,
        "sigma_r2": moderate,
        "delta_g2": norms,
        "alpha": units,
        "beta_s": norms,
        "beta_r": norms,
        "rho": st.floats(0.0, 0.9),
    }
)
etas = st.floats(0.01, 100.0)
vectors = st.lists(
    st.one_of(st.just(0.0), st.floats(0.01, 10.0), st.floats(-10.0, -0.01)), min_size=3, max_size=3
)


def named(problem: dict[str, Any]) -> dict[str, Any]:
    """A problem under the names of the exact oracle."""
    names = {"sigma_s2": "s2_s", "sigma_r2": "s2_r", "delta_g2": "d2"}
    return {names.get(name, name): value for name, value in problem.items()}


def size_at_the_ends(bound, problem: dict[str, Any]) -> float:
    """The bound's own size, for the excess that float64 can resolve in it."""
    return float(max(bound(0.0, **problem), bound(1.0, **problem)))


# Values ----------------------------------------------------------------------------------------


@PROPERTY
@given(mu=units, problem=terms)
def test_triangle_bound_matches_the_exact_bound(mu, problem):
    # Every term is non-negative, so no condition enters.
    assert_matches_exact(
        triangle_bound(mu, **problem), exact_bounds.triangle_bound(mu, **named(problem))
    )


@PROPERTY
@given(mu=units, problem=terms, eta=etas)
def test_young_bound_matches_the_exact_bound(mu, problem, eta):
    assert_matches_exact(
        young_bound(mu, **problem, eta=eta),
        exact_bounds.young_bound(mu, **named(problem), eta=eta),
    )


@PROPERTY
@given(
    delta=vectors,
    b_s=vectors,
    b_r=vectors,
    s=positives,
    r=positives,
    mu=units,
    alpha=units,
    rho=units,
    share=st.floats(-1.0, 1.0),
)
def test_triangle_bound_is_above_the_risk_of_all_vectors_with_those_norms(
    delta, b_s, b_r, s, r, mu, alpha, rho, share
):
    kappa = rho * share * float(np.sqrt(s * r))
    exact = exact_risk.risk_vectors(
        mu, alpha=alpha, delta=delta, s2_s=s, s2_r=r, b_s=b_s, b_r=b_r, kappa=kappa
    )
    bound = triangle_bound(
        mu,
        s,
        r,
        np.dot(delta, delta),
        alpha,
        beta_s=np.linalg.norm(b_s),
        beta_r=np.linalg.norm(b_r),
        rho=rho,
    )
    assert frac(float(bound)) * (1 + frac(NORM_RTOL)) >= exact


@PROPERTY
@given(mu=units, problem=mild)
def test_triangle_bound_is_attained_by_aligned_biases_and_extreme_covariance(mu, problem):
    # Norms can prove no more: here are vectors with these norms whose risk is the bound.
    sign = 1.0 if mu >= problem["alpha"] else -1.0
    s, r = problem["sigma_s2"], problem["sigma_r2"]
    attained = risk_from_vectors(
        mu,
        [sign * np.sqrt(problem["delta_g2"])],
        s,
        r,
        problem["alpha"],
        bias_s=[problem["beta_s"]],
        bias_r=[problem["beta_r"]],
        kappa=problem["rho"] * np.sqrt(s * r),
    )
    np.testing.assert_allclose(triangle_bound(mu, **problem), attained, rtol=NORM_RTOL)


@PROPERTY
@given(mu=units, problem=terms)
def test_triangle_bound_without_bias_and_correlation_is_the_risk(mu, problem):
    plain = problem | {"beta_s": 0.0, "beta_r": 0.0, "rho": 0.0}
    np.testing.assert_allclose(
        triangle_bound(mu, **plain),
        risk(mu, *(problem[k] for k in ("sigma_s2", "sigma_r2", "delta_g2", "alpha"))),
        rtol=EXACT_RTOL,
    )


@PROPERTY
@given(mu=units, problem=terms, eta=etas)
def test_young_bound_is_above_the_triangle_bound(mu, problem, eta):
    above = frac(float(young_bound(mu, **problem, eta=eta)))
    assert above * (1 + frac(NORM_RTOL)) >= frac(float(triangle_bound(mu, **problem)))


@PROPERTY
@given(mu=units, problem=mild, factor=st.one_of(st.floats(0.01, 0.9), st.floats(1.1, 100.0)))
def test_young_bound_touches_the_triangle_bound_at_the_best_eta_alone(mu, problem, factor):
    best = exact_bounds.best_eta(
        mu, **{k: problem[k] for k in ("alpha", "beta_s", "beta_r")}, d2=problem["delta_g2"]
    )
    assume(best is not None and 1e-3 < best < 1e3)
    triangle = triangle_bound(mu, **problem)
    np.testing.assert_allclose(
        young_bound(mu, **problem, eta=float(best)), triangle, rtol=NORM_RTOL
    )
    # Away from it the gap is (x sqrt(eta) - y / sqrt(eta))**2 = x y (f - 2 + 1 / f), exactly.
    x = abs(mu - problem["alpha"]) * np.sqrt(problem["delta_g2"])
    y = mu * problem["beta_s"] + (1.0 - mu) * problem["beta_r"]
    gap = young_bound(mu, **problem, eta=float(best) * factor) - triangle
    np.testing.assert_allclose(
        gap, x * y * (factor - 2.0 + 1.0 / factor), rtol=0.0, atol=NORM_RTOL * float(triangle + gap)
    )


# Minimisers ------------------------------------------------------------------------------------


@SEARCHED
@given(problem=mild)
@example(
    problem=dict.fromkeys(("sigma_s2", "sigma_r2"), 1.0)
    | {"delta_g2": 9.0, "alpha": 0.4, "beta_s": 0.5, "beta_r": 1.0, "rho": 0.5}
)
def test_triangle_minimiser_is_the_one_a_search_finds(problem):
    found = exact_bounds.triangle_minimiser(**named(problem))
    assert_within(triangle_minimiser(**problem), found, WELL_CONDITIONED_ATOL)


@SEARCHED
@given(problem=mild, eta=etas)
def test_young_minimiser_is_the_one_a_search_finds(problem, eta):
    found = exact_bounds.young_minimiser(**named(problem), eta=eta)
    assert_within(young_minimiser(**problem, eta=eta), found, WELL_CONDITIONED_ATOL)


@SEARCHED
@given(problem=mild)
def test_effective_noise_minimiser_is_the_one_a_search_finds(problem):
    problem = {k: v for k, v in problem.items() if k != "rho"}
    found = exact_bounds.effective_noise_minimiser(**named(problem))
    assert_within(effective_noise_minimiser(**problem), found, WELL_CONDITIONED_ATOL)


@PROPERTY
@given(problem=terms, other=units)
def test_triangle_minimiser_minimises_the_triangle_bound(problem, other):
    mu = float(triangle_minimiser(**problem))
    assert 0.0 <= mu <= 1.0
    exact = named(problem)
    slack = real(EXCESS_RTOL * size_at_the_ends(triangle_bound, problem))
    reached = exact_bounds.triangle_bound(mu, **exact)
    assert reached <= exact_bounds.triangle_bound(other, **exact) + slack


@PROPERTY
@given(problem=terms, eta=etas, other=units)
def test_young_minimiser_minimises_the_young_bound(problem, eta, other):
    problem = problem | {"eta": eta}
    mu = float(young_minimiser(**problem))
    assert 0.0 <= mu <= 1.0
    exact = named(problem)
    slack = real(EXCESS_RTOL * size_at_the_ends(young_bound, problem))
    reached = exact_bounds.young_bound(mu, **exact)
    assert reached <= exact_bounds.young_bound(other, **exact) + slack


@PROPERTY
@given(problem=mild)
def test_triangle_minimiser_without_bias_is_the_correlated_closed_form(problem):
    plain = problem | {"beta_s": 0.0, "beta_r": 0.0}
    rest = [problem[k] for k in ("sigma_s2", "sigma_r2", "delta_g2", "alpha")]
    kappa = problem["rho"] * np.sqrt(problem["sigma_s2"] * problem["sigma_r2"])
    expected = correlated_closed_form(*rest, kappa=kappa)
    assert abs(triangle_minimiser(**plain) - expected) <= WELL_CONDITIONED_ATOL


@PROPERTY
@given(problem=mild)
def test_a_strong_disagreement_pins_the_triangle_minimiser_to_alpha(problem):
    # The kink at alpha: |mu - alpha| sqrt(D2) grows faster than every other term falls.
    assume(problem["beta_s"] + problem["beta_r"] > 0.0 and 0.0 < problem["alpha"] < 1.0)
    biased = problem | {"beta_s": problem["beta_s"] + 1.0, "beta_r": problem["beta_r"] + 1.0}
    assert triangle_minimiser(**biased | {"delta_g2": 1e8}) == problem["alpha"]


@PROPERTY
@given(alpha=units, eta=etas)
def test_a_flat_bound_is_answered_by_alpha(alpha, eta):
    assert triangle_minimiser(0.0, 0.0, 0.0, alpha) == alpha
    assert young_minimiser(0.0, 0.0, 0.0, alpha, eta=eta) == alpha
    assert effective_noise_minimiser(0.0, 0.0, 0.0, alpha) == alpha
    # Equal biases and equal, fully correlated noise: flat at a value above 0.
    flat = {"beta_s": 2.0, "beta_r": 2.0, "rho": 1.0}
    assert triangle_minimiser(4.0, 4.0, 0.0, alpha, **flat) == alpha
    assert young_minimiser(4.0, 4.0, 0.0, alpha, eta=eta, **flat) == alpha


# The effective-noise surrogate -----------------------------------------------------------------


@PROPERTY
@given(mu=units, alpha=units, s=moderate, r=moderate, length=norms, beta_s=norms, beta_r=norms)
def test_effective_noise_is_exact_for_biases_orthogonal_to_each_other_and_to_delta(
    mu, alpha, s, r, length, beta_s, beta_r
):
    delta, b_s, b_r = np.diag([length, beta_s, beta_r])
    surrogate = risk(mu, effective_noise(s, beta_s), effective_noise(r, beta_r), length**2, alpha)
    np.testing.assert_allclose(
        surrogate, risk_from_vectors(mu, delta, s, r, alpha, bias_s=b_s, bias_r=b_r), rtol=NORM_RTOL
    )
    np.testing.assert_allclose(
        effective_noise_minimiser(s, r, length**2, alpha, beta_s=beta_s, beta_r=beta_r),
        bias_aware_minimiser(delta, s, r, alpha, bias_s=b_s, bias_r=b_r),
        rtol=0.0,
        atol=WELL_CONDITIONED_ATOL,
    )


def test_effective_noise_is_a_bound_in_neither_direction():
    surrogate = risk(0.5, effective_noise(1.0, 2.0), effective_noise(1.0, 2.0), 0.0)
    aligned, opposed = (
        risk_from_vectors(0.5, [0.0], 1.0, 1.0, bias_s=[2.0], bias_r=[sign * 2.0])
        for sign in (1.0, -1.0)
    )
    assert opposed < surrogate < aligned


@PROPERTY
@given(sigma2=magnitudes, beta=magnitudes)
def test_effective_noise_matches_the_exact_sum(sigma2, beta):
    assert_matches_exact(effective_noise(sigma2, beta), frac(sigma2) + frac(beta) ** 2)


@PROPERTY
@given(problem=terms)
def test_effective_noise_minimiser_is_the_closed_form_of_the_surrogate_noise(problem):
    s = frac(problem["sigma_s2"]) + frac(problem["beta_s"]) ** 2
    r = frac(problem["sigma_r2"]) + frac(problem["beta_r"]) ** 2
    d = problem["delta_g2"]
    assume(s + r + frac(d) > 0)
    exact = exact_risk.closed_form(alpha=problem["alpha"], d2=d, s2_s=s, s2_r=r)
    problem = {k: v for k, v in problem.items() if k != "rho"}
    assert_matches_exact(effective_noise_minimiser(**problem), exact)


@PROPERTY
@given(s=magnitudes, r=magnitudes, d=magnitudes, alpha=units)
def test_every_surrogate_reduces_to_the_closed_form_when_both_biases_vanish(s, r, d, alpha):
    assert effective_noise_minimiser(s, r, d, alpha) == closed_form(s, r, d, alpha)
    np.testing.assert_allclose(
        triangle_minimiser(s, r, d, alpha),
        closed_form(s, r, d, alpha),
        rtol=EXACT_RTOL,
        atol=EXACT_RTOL,
    )


# Broadcasting and refusals ---------------------------------------------------------------------


def test_bounds_broadcast_like_a_loop():
    rng = np.random.default_rng(0)
    mu, a, p = rng.uniform(size=(4, 1)), rng.uniform(size=3), rng.uniform(size=(4, 3))
    s, r, d = rng.gamma(1.0, size=3), rng.gamma(1.0, size=(4, 3)), rng.gamma(1.0, size=(4, 1))
    b_s, b_r, eta = rng.gamma(1.0, size=(4, 1)), rng.gamma(1.0, size=3), rng.gamma(2.0, size=3)
    s[0] = r[0, 0] = b_s[0] = b_r[0] = d[0] = 0.0
    norms = (b_s, b_r, p)

    def with_norms(function, eta=False):
        def call(*x):
            last = {"eta": x[-1]} if eta else {}
            x = x[:-1] if eta else x
            return function(*x[:-3], beta_s=x[-3], beta_r=x[-2], rho=x[-1], **last)

        return call

    assert_equals_loop(with_norms(triangle_bound), mu, s, r, d, a, *norms)
    assert_equals_loop(with_norms(triangle_minimiser), s, r, d, a, *norms)
    assert_equals_loop(with_norms(young_bound, eta=True), mu, s, r, d, a, *norms, eta)
    assert_equals_loop(with_norms(young_minimiser, eta=True), s, r, d, a, *norms, eta)
    assert_equals_loop(effective_noise, s, b_s)
    assert_equals_loop(
        lambda *x: effective_noise_minimiser(*x[:-2], beta_s=x[-2], beta_r=x[-1]),
        *(s, r, d, a, b_s, b_r),
    )


STATISTICS = {"sigma_s2": 1.0, "sigma_r2": 1.0, "delta_g2": 1.0}
CALLS = {
    "triangle_bound": lambda **x: triangle_bound(0.5, **STATISTICS | x),
    "triangle_minimiser": lambda **x: triangle_minimiser(**STATISTICS | x),
    "young_bound": lambda **x: young_bound(0.5, **STATISTICS | {"eta": 1.0} | x),
    "young_minimiser": lambda **x: young_minimiser(**STATISTICS | {"eta": 1.0} | x),
    "effective_noise_minimiser": lambda **x: effective_noise_minimiser(**STATISTICS | x),
}


@pytest.mark.parametrize("bad", [-0.25, float("nan")])
@pytest.mark.parametrize("name", ["sigma_s2", "sigma_r2", "delta_g2", "beta_s", "beta_r"])
@pytest.mark.parametrize("call", sorted(CALLS))
def test_a_negative_or_nan_norm_is_refused_with_its_value(call, name, bad):
    with refuses(r"= .* is negative or NaN; pass a value >= 0$", repr(bad)):
        CALLS[call](**{name: [1.0, bad]})


@pytest.mark.parametrize(("name", "bad"), [("sigma2", -1.0), ("beta", -2.0)])
def test_effective_noise_refuses_a_negative_input(name, bad):
    with refuses("is negative or NaN", bad):
        effective_noise(**{"sigma2": 1.0, "beta": 1.0} | {name: bad})


@pytest.mark.parametrize("bad", [-0.25, 1.25, float("nan")])
@pytest.mark.parametrize("call", sorted(set(CALLS) - {"effective_noise_minimiser"}))
def test_a_correlation_bound_off_the_unit_interval_is_refused(call, bad):
    with refuses(r"^rho = .* is outside \[0, 1\]", repr(bad)):
        CALLS[call](rho=bad)


@pytest.mark.parametrize("bad", [-0.25, 1.25, float("nan")])
def test_a_weight_off_the_unit_interval_is_refused_where_the_bound_needs_it_inside(bad):
    for bound, rest in ((triangle_bound, {}), (young_bound, {"eta": 1.0})):
        with refuses(r"^mu = .* is outside \[0, 1\]; pass a value in that range", repr(bad)):
            bound([0.5, bad], **STATISTICS, **rest)
    with refuses(r"^alpha = .* is outside \[0, 1\]; pass a value in that range", repr(bad)):
        triangle_minimiser(**STATISTICS, alpha=bad)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("call", ["young_bound", "young_minimiser"])
def test_an_eta_that_is_not_positive_is_refused(call, bad):
    with refuses("^eta = .* is not positive; pass a value > 0$", repr(bad)):
        CALLS[call](eta=bad)
