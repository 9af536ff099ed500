"""A 95 % interval covers the truth in 93 to 97 % of samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats as scipy_stats

from simulations.analysis import statistics as s

LOW, HIGH = 0.93, 0.97
"""The coverage that an interval must have."""
STANDARD_ERRORS = 2.0
"""Of the simulated share that must fit in between as well: the coverage itself is inside with a
confidence of 97.5 % at each end. An exact interval passes by 4 standard errors at 5,000 runs, and
by 1.5 at 1,500."""

Draw = Callable[[np.random.Generator], tuple[s.Estimate, float]]


def check_coverage(draw: Draw, runs: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(runs):
        found, truth = draw(rng)
        hits += found.low <= truth <= found.high
    share = hits / runs
    slack = STANDARD_ERRORS * math.sqrt(share * (1.0 - share) / runs)
    assert LOW + slack < share < HIGH - slack, f"covers {share:.4f} +- {slack / 2.0:.4f}"


@pytest.mark.parametrize("n", [2, 5, 64])
def test_student_interval_of_a_mean_covers(n: int) -> None:
    check_coverage(lambda rng: (s.mean_estimate(rng.normal(3.0, 2.0, n)), 3.0), 5000)


@pytest.mark.parametrize("n", [3, 20])
def test_paired_interval_covers_under_common_random_numbers(n: int) -> None:
    def draw(rng: np.random.Generator) -> tuple[s.Estimate, float]:
        common = 5.0 * rng.normal(size=n)
        a, b = (common + rng.normal(size=n) for _ in range(2))
        return s.paired_difference(a + 0.5, b), 0.5

    check_coverage(draw, 5000)


def test_an_unpaired_interval_on_paired_samples_covers_too_often() -> None:
    def covers(rng: np.random.Generator) -> bool:
        common = 5.0 * rng.normal(size=10)
        a, b = (common + rng.normal(size=10) for _ in range(2))
        interval = scipy_stats.ttest_ind(a, b).confidence_interval()
        return bool(interval.low <= 0.0 <= interval.high)

    rng = np.random.default_rng(0)
    assert np.mean([covers(rng) for _ in range(500)]) > 0.99


@pytest.mark.parametrize("rho", [0.0, 0.84])
@pytest.mark.parametrize("n", [10, 30])
def test_fisher_interval_of_pearson_covers_for_normal_pairs(rho: float, n: int) -> None:
    def draw(rng: np.random.Generator) -> tuple[s.Estimate, float]:
        x, noise = rng.normal(size=n), rng.normal(size=n)
        return s.pearson(x, rho * x + math.sqrt(1.0 - rho * rho) * noise), rho

    check_coverage(draw, 5000)


@pytest.mark.parametrize("rho", [0.0, 0.84])
@pytest.mark.parametrize("n", [30])
def test_bonett_wright_interval_of_spearman_covers_for_normal_pairs(rho: float, n: int) -> None:
    population = 6.0 / math.pi * math.asin(rho / 2.0)  # the limit of the sample's value

    def draw(rng: np.random.Generator) -> tuple[s.Estimate, float]:
        x, noise = rng.normal(size=n), rng.normal(size=n)
        return s.spearman(x, rho * x + math.sqrt(1.0 - rho * rho) * noise), population

    check_coverage(draw, 5000)


def test_noncentral_t_interval_of_the_pooled_d_covers() -> None:
    def draw(rng: np.random.Generator) -> tuple[s.Estimate, float]:
        return s.cohens_d(rng.normal(size=8), rng.normal(size=12)), 0.0

    check_coverage(draw, 1500)


def test_noncentral_t_interval_of_the_paired_d_covers() -> None:
    def draw(rng: np.random.Generator) -> tuple[s.Estimate, float]:
        return s.cohens_dz(rng.normal(1.0, 1.0, 8), np.zeros(8)), 1.0

    check_coverage(draw, 1500)


def test_interval_of_the_brunner_munzel_effect_covers() -> None:
    truth = float(scipy_stats.norm.cdf(0.5 / math.sqrt(1.0 + 4.0)))

    def draw(rng: np.random.Generator) -> tuple[s.Estimate, float]:
        found = s.brunner_munzel(rng.normal(0.5, 1.0, 20), rng.normal(0.0, 2.0, 15))
        return s.Estimate(found.effect, found.low, found.high, found.n), truth

    check_coverage(draw, 1500)


MIDDLE_OF_EXPONENTIAL = 2.0 * float(
    scipy_stats.expon.expect(
        lambda x: x, lb=scipy_stats.expon.ppf(0.25), ub=scipy_stats.expon.ppf(0.75)
    )
)
"""Mean of the middle half of the exponential distribution."""


@pytest.mark.parametrize("family", ["normal", "exponential"])
def test_bootstrap_interval_of_the_iqm_covers_at_32_seeds(family: str) -> None:
    truth = 0.0 if family == "normal" else MIDDLE_OF_EXPONENTIAL

    def draw(rng: np.random.Generator) -> tuple[s.Estimate, float]:
        x = rng.normal(size=32) if family == "normal" else rng.exponential(size=32)
        return s.bootstrap_interval(x, s.iqm, rng=rng, resamples=800), truth

    check_coverage(draw, 1500)


def test_the_percentile_interval_of_ten_seeds_covers_too_little_and_the_expanded_one_does_not() -> (
    None
):
    rng, hits = np.random.default_rng(0), {"percentile": 0, "expanded": 0}
    for _ in range(1500):
        x = rng.normal(size=10)
        for method in hits:
            found = s.bootstrap_interval(x, np.mean, rng=rng, resamples=800, method=method)
            hits[method] += found.low <= 0.0 <= found.high
    assert hits["percentile"] / 1500 < LOW < hits["expanded"] / 1500 < HIGH


def test_stratified_bootstrap_of_the_iqm_over_tasks_covers() -> None:
    strata = np.repeat(np.arange(4), 16)
    # Tasks a unit apart: the middle half of the mixture, whose truth is 1.5 by symmetry.

    def draw(rng: np.random.Generator) -> tuple[s.Estimate, float]:
        x = strata + rng.normal(size=64)
        return s.bootstrap_interval(x, s.iqm, rng=rng, resamples=800, strata=strata), 1.5

    check_coverage(draw, 1500)
