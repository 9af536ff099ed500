"""The statistics against closed forms, brute force and SciPy; refusals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from _asserts import PROPERTY
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as scipy_stats

from gac_ref.errors import GACError
from simulations.analysis import statistics as s

ROUNDING = 1e-12
"""A few dozen roundings of numbers of order 1."""
QUADRATURE = 1e-7
"""Error that SciPy's adaptive quadrature is asked for, and the root finder's."""
STANDARD_ERRORS = 4.0
"""Monte Carlo against theory; a right value is further off once in 16,000 draws."""

samples = st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=30)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Means and paired differences


def test_the_paired_interval_and_test_are_scipys() -> None:
    a, b = rng(1).normal(0.3, 1.0, 20), rng(2).normal(size=20)
    found, test = s.paired_difference(a, b, confidence=0.9), s.paired_t_test(a, b)
    wanted = scipy_stats.ttest_rel(a, b)
    interval = wanted.confidence_interval(0.9)
    np.testing.assert_allclose(found[:3], [np.mean(a - b), *interval], rtol=ROUNDING)
    np.testing.assert_allclose(test[:2], [wanted.statistic, wanted.pvalue], rtol=1e-9)


def test_what_both_samples_share_leaves_the_paired_interval_alone() -> None:
    common, a, b = 100.0 * rng(3).normal(size=12), rng(4).normal(size=12), rng(5).normal(size=12)
    alone, with_common = s.paired_difference(a, b), s.paired_difference(a + common, b + common)
    np.testing.assert_allclose(with_common, alone, rtol=1e-10)


# The interquartile mean


@given(samples)
def test_iqm_is_the_integral_of_the_quantile_function_over_the_middle_half(x: list[float]) -> None:
    # Each value four times: the middle half is then whole values.
    wanted = np.sort(np.repeat(x, 4))[len(x) : 3 * len(x)].mean()
    assert float(s.iqm(x)) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


test_iqm_is_the_integral_of_the_quantile_function_over_the_middle_half = PROPERTY(
    test_iqm_is_the_integral_of_the_quantile_function_over_the_middle_half
)


def test_iqm_is_the_trimmed_mean_where_four_divides_n_and_works_along_an_axis() -> None:
    table = rng().normal(size=(3, 16, 2))
    wanted = scipy_stats.trim_mean(table, 0.25, axis=1)
    np.testing.assert_allclose(s.iqm(table, axis=1), wanted, rtol=1e-9)


def test_outliers_in_the_outer_quarters_do_not_move_the_iqm() -> None:
    x = np.arange(12.0)
    assert float(s.iqm(np.where(x > 9.0, 1e9, x))) == float(s.iqm(x))


# Bootstrap


def test_resamples_take_as_many_of_each_stratum_as_there_are() -> None:
    strata = np.array([0, 1, 1, 0, 1, 2])
    drawn = s.resample(strata.astype(float), strata, 50, rng())
    assert (drawn == strata).all()


def test_every_value_of_a_stratum_is_as_likely_in_each_place() -> None:
    drawn = s.resample(np.arange(5.0), np.zeros(5), 20_000, rng())
    share = (drawn[:, :, None] == np.arange(5.0)).mean(axis=0)
    error = math.sqrt(0.2 * 0.8 / 20_000)
    assert np.abs(share - 0.2).max() < STANDARD_ERRORS * error


@pytest.mark.parametrize("method", ["expanded", "percentile", "bca"])
def test_the_interval_of_a_mean_approaches_the_normal_one(method: str) -> None:
    x = rng(6).normal(size=400)
    found = s.bootstrap_interval(x, np.mean, rng=rng(), resamples=20_000, method=method)
    half = 1.959964 * float(x.std()) / 20.0
    # The quantile at 2.5 % of 20,000 resamples has an error of 1.9 % of the half width.
    np.testing.assert_allclose(found[1:3], [x.mean() - half, x.mean() + half], atol=0.1 * half)


def test_bca_is_scipys_up_to_the_noise_of_the_resamples() -> None:
    x = rng(7).exponential(size=40)
    found = s.bootstrap_interval(x, np.mean, rng=rng(1), resamples=40_000, method="bca")
    wanted = scipy_stats.bootstrap(
        (x,), np.mean, n_resamples=40_000, method="BCa", rng=rng(2)
    ).confidence_interval
    plain = s.bootstrap_interval(x, np.mean, rng=rng(1), resamples=40_000, method="percentile")
    noise = 0.02 * (wanted.high - wanted.low)
    assert abs(found.low - wanted.low) < noise
    assert abs(found.high - wanted.high) < noise
    assert found.high - plain.high > noise, "skewed to the right: BCa must move up"


def test_strata_take_the_spread_between_them_out() -> None:
    strata = np.repeat([0, 1], 20)
    x = rng(8).normal(size=40) + 100.0 * strata
    within = s.bootstrap_interval(x, np.mean, rng=rng(), strata=strata)
    whole = s.bootstrap_interval(x, np.mean, rng=rng())
    assert within.high - within.low < 0.1 * (whole.high - whole.low)


# Tests of no difference


@pytest.mark.parametrize("n", [6, 9])
def test_the_sign_test_lists_every_assignment_of_signs(n: int) -> None:
    a, b = rng(n).normal(0.7, 1.0, n), rng(n + 1).normal(size=n)
    d = a - b
    means = [abs(np.dot(signs, d)) for signs in itertools.product((1.0, -1.0), repeat=n)]
    wanted = np.mean([value >= abs(d.sum()) - 1e-9 for value in means])
    assert s.permutation_test(a, b, rng=rng()).p == wanted


def test_drawn_signs_agree_with_all_signs() -> None:
    a, b = rng(1).normal(0.5, 1.0, 16), rng(2).normal(size=16)
    d = a - b
    signs = 1.0 - 2.0 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    exact = float(np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-9))
    found = s.permutation_test(a, b, rng=rng(), resamples=20_000).p
    assert abs(found - exact) < STANDARD_ERRORS * math.sqrt(exact * (1 - exact) / 20_000)


def test_the_label_test_lists_every_split() -> None:
    a, b = rng(3).normal(0.8, 1.0, 5), rng(4).normal(size=4)
    both = np.concatenate((a, b))
    wanted = [
        both[list(first)].mean() - np.delete(both, list(first)).mean()
        for first in itertools.combinations(range(9), 5)
    ]
    observed = a.mean() - b.mean()
    # SciPy doubles the smaller tail; on a symmetric or skewed distribution that is its definition.
    above = np.mean(np.array(wanted) >= observed - 1e-12)
    below = np.mean(np.array(wanted) <= observed + 1e-12)
    found = s.permutation_test(a, b, rng=rng(), paired=False)
    assert found.p == pytest.approx(min(1.0, 2.0 * min(above, below)), rel=ROUNDING)


@pytest.mark.parametrize("paired", [True, False])
def test_permutation_p_values_are_uniform_or_larger_without_effect(paired: bool) -> None:
    generator, runs = rng(5), 1500
    p = [
        s.permutation_test(
            generator.normal(size=12),
            generator.normal(size=12),
            rng=generator,
            paired=paired,
            resamples=199,
        ).p
        for _ in range(runs if paired else 200)
    ]
    error = math.sqrt(0.05 * 0.95 / len(p))
    assert abs(np.mean(np.array(p) <= 0.05) - 0.05) < STANDARD_ERRORS * error


def test_brunner_munzel_is_scipys_and_its_effect_is_the_share_of_won_pairs() -> None:
    a, b = rng(6).normal(0.4, 2.0, 15), rng(7).integers(-2, 3, 18).astype(float)
    a = np.round(a)  # ties
    found, wanted = s.brunner_munzel(a, b), scipy_stats.brunnermunzel(b, a)
    won = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
    assert found.effect == pytest.approx(won, rel=ROUNDING)
    assert (found.statistic, found.p) == (wanted.statistic, wanted.pvalue)
    # Interval and test are of one statistic: the interval at 1 - p ends at 0.5.
    edge = s.brunner_munzel(a, b, confidence=1.0 - found.p)
    assert edge.low == pytest.approx(0.5, abs=1e-9)


def test_samples_that_do_not_overlap_have_the_smallest_p_of_a_permutation() -> None:
    found = s.brunner_munzel(np.arange(10.0, 20.0), np.arange(10.0))
    assert (found.effect, found.statistic) == (1.0, math.inf)
    assert found.p == 2.0 / math.comb(20, 10)
    tied = s.brunner_munzel(np.zeros(10), np.zeros(10))
    assert (tied.effect, tied.p) == (0.5, 1.0)


# False discoveries


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12), st.floats(0.01, 0.5))
@PROPERTY
def test_adjusted_p_values_reject_what_the_step_up_procedure_rejects(
    p: list[float], q: float
) -> None:
    m = len(p)
    ordered = sorted(p)
    for adjust, factor in (
        (s.benjamini_hochberg, 1.0),
        (s.benjamini_yekutieli, sum(1.0 / i for i in range(1, m + 1))),
    ):
        passing = [i for i in range(1, m + 1) if ordered[i - 1] * m * factor / i <= q]
        found = adjust(p)
        assert np.count_nonzero(found <= q) == (max(passing) if passing else 0)


def test_the_share_of_false_discoveries_is_below_the_level() -> None:
    generator, shares = rng(9), []
    for _ in range(1000):
        z = generator.normal(size=20) + np.where(np.arange(20) < 5, 3.0, 0.0)
        called = s.benjamini_hochberg(2.0 * scipy_stats.norm.sf(np.abs(z))) <= 0.2
        shares.append(np.count_nonzero(called[5:]) / max(1, np.count_nonzero(called)))
    error = float(np.std(shares)) / math.sqrt(1000)
    # Independent tests: the rate is q times the share of true hypotheses, 0.2 * 15 / 20.
    assert abs(np.mean(shares) - 0.15) < STANDARD_ERRORS * error


# Standardised effects


def test_the_two_ds_differ_by_the_correlation_of_the_pairs() -> None:
    a, b = rng(1).normal(1.0, 1.0, 30), rng(2).normal(size=30)
    b += 0.8 * a
    r = np.corrcoef(a, b)[0, 1]
    pooled = (a.var(ddof=1) + b.var(ddof=1)) / 2.0
    difference = a.var(ddof=1) + b.var(ddof=1) - 2.0 * r * a.std(ddof=1) * b.std(ddof=1)
    d, dz = s.cohens_d(a, b), s.cohens_dz(a, b)
    assert dz.value == pytest.approx(d.value * math.sqrt(pooled / difference), rel=1e-9)
    assert dz.value * math.sqrt(30) == pytest.approx(s.paired_t_test(a, b).statistic, rel=1e-9)


@pytest.mark.parametrize(("t", "df"), [(0.5, 2), (3.0, 5), (-2.0, 63), (40.0, 63), (200.0, 63)])
def test_the_ends_of_the_interval_put_the_tails_at_the_observed_t(t: float, df: int) -> None:
    def cdf(noncentrality: float) -> float:
        # P(T <= t) = E[Phi(t U - noncentrality)] with U = chi_df / sqrt(df), by quadrature.
        def integrand(u: float) -> float:
            density = scipy_stats.chi.pdf(u * math.sqrt(df), df) * math.sqrt(df)
            return float(density * scipy_stats.norm.cdf(t * u - noncentrality))

        # The factor U is within 12 spreads of 1.
        end = 1.0 + 12.0 / math.sqrt(2.0 * df)
        return float(integrate.quad(integrand, 0.0, end, epsabs=1e-10, limit=400)[0])

    low, high = s.noncentrality_interval(t, df)
    assert cdf(low) == pytest.approx(0.975, abs=QUADRATURE)
    assert cdf(high) == pytest.approx(0.025, abs=QUADRATURE)


# Correlation


def test_pearson_and_its_interval_are_scipys() -> None:
    a, b = rng(1).normal(size=25), rng(2).normal(size=25)
    wanted = scipy_stats.pearsonr(a, a + b)
    found = s.pearson(a, a + b)
    interval = wanted.confidence_interval(0.95)
    np.testing.assert_allclose(found[:3], [wanted.statistic, *interval], rtol=1e-9)


def test_spearman_is_scipys_with_ties_and_blind_to_monotone_maps() -> None:
    a, b = rng(3).integers(0, 6, 40).astype(float), rng(4).normal(size=40)
    b += 0.5 * a
    found = s.spearman(a, b)
    assert found.value == pytest.approx(scipy_stats.spearmanr(a, b).statistic, rel=1e-9)
    assert s.spearman(np.exp(a), b**3) == found
    assert found.high - found.low > s.pearson(*map(scipy_stats.rankdata, (a, b))).high - (
        s.pearson(*map(scipy_stats.rankdata, (a, b))).low
    ), "Bonett and Wright's interval is the wider one"


# Profiles


def test_a_score_profile_is_one_minus_the_distribution_function() -> None:
    scores = rng().normal(size=(3, 40))
    found = s.score_profile(scores, [-1.0, 0.0, 1.0], rng=rng())
    np.testing.assert_allclose(
        found.share, [(scores > tau).mean() for tau in (-1.0, 0.0, 1.0)], rtol=ROUNDING
    )
    area = s.score_profile(np.abs(scores), np.linspace(0.0, 6.0, 3001), rng=rng(), resamples=800)
    assert np.trapezoid(area.share, area.points) == pytest.approx(np.abs(scores).mean(), abs=2e-3)


def test_the_band_has_the_binomial_width_within_tasks() -> None:
    scores = np.stack([np.arange(100.0), np.full(100, 1e9)])  # the second task never varies
    found = s.score_profile(scores, [49.5], rng=rng(), resamples=4000)
    half = 1.959964 * 0.5 * math.sqrt(0.25 / 100)
    assert found.high[0] - found.low[0] == pytest.approx(2.0 * half, rel=0.1)


def test_a_dolan_more_profile_starts_at_the_share_of_wins_and_the_wins_sum_to_one() -> None:
    costs = rng().exponential(size=(4, 50)) + 0.01
    ratios = s.performance_ratios(costs)
    profiles = [s.dolan_more_profile(row, [1.0, 1e6], rng=rng()) for row in ratios]
    assert sum(p.share[0] for p in profiles) == pytest.approx(1.0, rel=ROUNDING)
    assert all(p.share[-1] == 1.0 for p in profiles)
    assert (ratios.min(axis=0) == 1.0).all()


# Power


def test_the_power_without_effect_is_the_level_and_grows_with_effect_and_n() -> None:
    assert s.power_of_t_test(0.0, 7, level=0.03) == pytest.approx(0.03, rel=1e-9)
    assert s.power_of_t_test(-0.5, 20) == s.power_of_t_test(0.5, 20)
    powers = [s.power_of_t_test(0.4, n) for n in range(2, 40)]
    assert (np.diff(powers) > 0.0).all()


@pytest.mark.parametrize(("effect", "n", "paired"), [(0.8, 3, True), (1.0, 8, False)])
def test_the_noncentral_t_agrees_with_simulation(effect: float, n: int, paired: bool) -> None:
    shape = (n,) if paired else (2, n)

    def draw(generator: np.random.Generator) -> np.ndarray:
        x = generator.normal(size=shape)
        x[..., :] += effect if paired else np.array([[effect], [0.0]])
        return x

    def rejects(x: np.ndarray) -> bool:
        if paired:
            return s.paired_t_test(x, np.zeros(n)).p < 0.05
        return bool(scipy_stats.ttest_ind(*x).pvalue < 0.05)

    found = s.simulated_power(draw, rejects, rng=rng(), runs=1500)
    exact = s.power_of_t_test(effect, n, paired=paired)
    assert abs(found.value - exact) < STANDARD_ERRORS * math.sqrt(exact * (1 - exact) / 1500)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("effect", [0.1, 0.5, 0.8, 3.0])
def test_one_seed_less_than_needed_is_too_few(effect: float) -> None:
    n = s.seeds_needed(effect)
    assert s.power_of_t_test(effect, n) >= 0.8
    assert n == 2 or s.power_of_t_test(effect, n - 1) < 0.8


# Refusals


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: s.paired_difference([1.0], [2.0]), "a: n = 1 is too few .* at least 2"),
        (lambda: s.paired_difference([1.0, 2.0], [1.0]), "at least 2"),
        (lambda: s.paired_difference([1.0, 2.0], [1.0, 2.0, 3.0]), "2 values and b has 3"),
        (lambda: s.mean_estimate([1.0, np.nan]), "1 of 2 values are not finite"),
        (lambda: s.mean_estimate([[1.0, 2.0]]), "shape \\(1, 2\\)"),
        (lambda: s.mean_estimate([1.0, 2.0], confidence=95.0), "confidence = 95.0"),
        (lambda: s.paired_t_test([2.1, 3.1], [1.1, 2.1]), "constant"),
        (lambda: s.iqm([]), "empty"),
        (lambda: s.iqm([1.0, np.inf]), "1 of 2 values are not finite"),
        (lambda: s.bootstrap_interval(np.arange(9.0), np.mean, rng=rng()), "at least 10"),
        (lambda: s.bootstrap_interval(np.ones(20), np.mean, rng=rng()), "constant"),
        (
            lambda: s.bootstrap_interval(np.arange(20.0), np.mean, rng=rng(), resamples=799),
            "at least 800",
        ),
        (
            lambda: s.bootstrap_interval(np.arange(20.0), np.mean, rng=rng(), strata=[0, 1]),
            "one label a value",
        ),
        (
            lambda: s.bootstrap_interval(
                np.arange(20.0), np.mean, rng=rng(), strata=[0] * 19 + [1]
            ),
            "stratum 1: n = 1 is too few",
        ),
        (
            lambda: s.bootstrap_interval(np.arange(20.0), np.mean, rng=rng(), method="magic"),
            "expanded, percentile, bca",
        ),
        (lambda: s.permutation_test(np.ones(3), np.zeros(3), rng=rng()), "at least 6"),
        (
            lambda: s.permutation_test(np.ones(3), np.zeros(3), rng=rng(), paired=False),
            "at least 4 of each",
        ),
        (
            lambda: s.permutation_test(np.ones(9), np.zeros(9), rng=rng(), resamples=9),
            "at least 20",
        ),
        (lambda: s.brunner_munzel(np.ones(9), np.ones(20)), "at least 10"),
        (lambda: s.benjamini_hochberg([0.2, np.nan]), "not finite"),
        (lambda: s.benjamini_hochberg([0.2, 1.2]), "p = 1.2 is outside"),
        (lambda: s.benjamini_yekutieli([]), "at least 1"),
        (lambda: s.cohens_d([1.0, 1.0], [0.1, 0.1]), "constant"),
        (lambda: s.cohens_dz([1.1, 2.1], [0.1, 1.1]), "constant"),
        (lambda: s.pearson(np.ones(5), np.arange(5.0)), "a is constant .1.0, n = 5."),
        (lambda: s.spearman(np.arange(5.0), np.ones(5)), "b is constant"),
        (lambda: s.pearson([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]), "at least 4"),
        (lambda: s.score_profile([[1.0]], [0.0], rng=rng()), "at least 2"),
        (lambda: s.score_profile([[1.0, np.nan]], [0.0], rng=rng()), "not finite"),
        (lambda: s.score_profile([[1.0, 2.0]], [1.0, 0.0], rng=rng()), "ascending"),
        (lambda: s.performance_ratios([[0.0, 1.0]]), "not above 0"),
        (lambda: s.dolan_more_profile([0.5, 1.0], [1.0], rng=rng()), "below 1"),
        (lambda: s.power_of_t_test(0.5, 1), "at least 2"),
        (lambda: s.power_of_t_test(np.nan, 5), "not finite"),
        (lambda: s.seeds_needed(0.0), "more than 1000000 seeds"),
        (lambda: s.seeds_needed(0.5, power=0.01), "power = 0.01"),
    ],
)
def test_bad_input_is_refused_in_one_line(call: object, text: str) -> None:
    with pytest.raises(GACError, match=text) as refused:
        call()  # type: ignore[operator]
    assert "\n" not in str(refused.value)
