"""Noise of one branch: zero mean, covariance, total variance, fourth moment and tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
from _asserts import refuses
from _noise_cases import DRAWS, GAUSSIANS, GRADIENT, NOISES, ROUNDING, TAILED, assert_mean_is
from scipy import integrate, stats

from simulations.noise import (
    Anisotropic,
    Contaminated,
    Dense,
    Isotropic,
    Laplace,
    LowRank,
    Multiplicative,
    StudentT,
)

# Adaptive quadrature of a smooth density, over an infinite range.
QUADRATURE_RTOL = 1e-7
# A Kolmogorov-Smirnov p-value below this is a false alarm once in a million.
KS_LEVEL = 1e-6


def drawn(noise, seed=0, n=DRAWS, gradient=GRADIENT):
    return noise.color(noise.draw(np.random.default_rng(seed), n), gradient)


@pytest.mark.parametrize("name", NOISES)
def test_noise_has_zero_mean_and_the_stated_covariance(name):
    noise = NOISES[name]
    e = drawn(noise)
    assert e.shape == (DRAWS, 3)
    assert_mean_is(e, np.zeros(3))
    assert_mean_is(e[:, :, None] * e[:, None, :], noise.covariance(GRADIENT))


@pytest.mark.parametrize("name", NOISES)
def test_total_variance_is_the_trace_and_matches_draws_at_its_exact_standard_error(name):
    noise = NOISES[name]
    sigma2 = float(noise.sigma2_at(GRADIENT))
    assert sigma2 == pytest.approx(np.trace(noise.covariance(GRADIENT)), rel=ROUNDING)
    variance = float(noise.fourth_moment(GRADIENT)) - sigma2**2
    square = np.sum(drawn(noise, seed=1) ** 2, axis=-1)
    assert_mean_is(square, sigma2, error=math.sqrt(variance / DRAWS))


@pytest.mark.parametrize("name", [n for n in NOISES if "student" not in n])
def test_fourth_moment_matches_draws(name):
    # Student-t with df = 9 has no standard error for |e|^4 to speak of; see the exact test below.
    noise = NOISES[name]
    assert_mean_is(np.sum(drawn(noise, seed=2) ** 2, axis=-1) ** 2, noise.fourth_moment(GRADIENT))


@pytest.mark.parametrize("name", NOISES)
def test_color_applies_the_factor_whose_square_is_the_covariance(name):
    noise = NOISES[name]
    u = noise.draw(np.random.default_rng(3), 4)
    factor = noise.factor(GRADIENT)
    expected = np.stack([factor @ row for row in u])
    np.testing.assert_allclose(noise.color(u, GRADIENT), expected, rtol=0.0, atol=ROUNDING * 10)
    np.testing.assert_allclose(noise.covariance(GRADIENT), factor @ factor.T, atol=ROUNDING * 10)


@pytest.mark.parametrize("name", NOISES)
def test_rows_do_not_depend_on_how_many_are_computed_together(name):
    noise = NOISES[name]
    u = noise.draw(np.random.default_rng(4), (7, 5))
    gradients = np.random.default_rng(5).standard_normal((7, 1, 3))
    whole = noise.color(u, gradients)
    for i in range(7):
        np.testing.assert_array_equal(noise.color(u[i], gradients[i]), whole[i])
        np.testing.assert_array_equal(noise.color(u[i : i + 1], gradients[i : i + 1])[0], whole[i])


@pytest.mark.parametrize("name", ["multiplicative", "common_factor", "student_multiplicative"])
def test_multiplicative_noise_follows_the_gradient_for_many_gradients_at_once(name):
    noise = NOISES[name]
    g = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 2.0], [0.0, 0.0, 4.0]])
    relative = getattr(noise, "relative", 0.5)
    np.testing.assert_allclose(noise.sigma2_at(g), relative**2 * np.sum(g**2, axis=-1))
    assert noise.covariance(g).shape == (3, 3, 3)
    assert not drawn(noise, n=5, gradient=np.zeros(3)).any()
    assert np.all(np.isfinite(noise.fourth_moment(g)))


def test_common_factor_keeps_the_direction_of_the_gradient():
    e = drawn(GAUSSIANS["common_factor"], n=50)
    cosine = np.abs(e @ GRADIENT) / (np.linalg.norm(e, axis=-1) * np.linalg.norm(GRADIENT))
    np.testing.assert_allclose(cosine, 1.0, rtol=ROUNDING)


def test_spectrum_has_the_stated_trace_and_condition_number():
    noise = Anisotropic.spectrum(dimension=5, sigma2=3.0, condition=50.0, rotation=1)
    values = np.linalg.eigvalsh(noise.covariance(np.zeros(5)))
    assert values.sum() == pytest.approx(3.0, rel=ROUNDING)
    assert values[-1] / values[0] == pytest.approx(50.0, rel=1e-9)  # the small end cancels


def test_low_rank_noise_has_rank_k_above_its_floor():
    noise = LowRank(dimension=6, rank=2, sigma2=4.0, floor=0.25, rotation=9)
    values = np.linalg.eigvalsh(noise.covariance(np.zeros(6)))
    np.testing.assert_allclose(values[:4], 0.25 * 4.0 / 6.0, rtol=1e-9)
    np.testing.assert_allclose(values[4:], 0.75 * 4.0 / 2.0 + 0.25 * 4.0 / 6.0, rtol=1e-9)


# Tails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("df", [2.2, 3.0, 5.0, 12.0])
def test_student_mixing_moments_match_quadrature(df):
    noise, chi2 = StudentT(df=df), stats.chi2(df)

    def expect(f):
        # Over the logarithm of chi2, where the density has light tails at both ends.
        value, _ = integrate.quad(
            lambda x: f((df - 2.0) / math.exp(x)) * chi2.pdf(math.exp(x)) * math.exp(x), -300, 8,
            limit=500, points=[-60.0, -10.0, 0.0, 3.0],
        )  # fmt: skip
        return value

    assert expect(math.sqrt) == pytest.approx(noise.mixing_root_mean, rel=QUADRATURE_RTOL)
    assert expect(lambda w: w) == pytest.approx(1.0, rel=QUADRATURE_RTOL)
    if df > 4.0:
        assert expect(lambda w: w * w) == pytest.approx(
            noise.mixing_square_mean, rel=QUADRATURE_RTOL
        )


@pytest.mark.parametrize("elliptical", [True, False])
@pytest.mark.parametrize("df", [2.2, 3.0])
def test_very_heavy_student_tails_match_the_law_itself(df, elliptical):
    # At df <= 4 the sample variance has no standard error; compare the distribution, and a
    # bounded function of the draws, instead.
    noise = StudentT(base=Isotropic(dimension=3, sigma2=6.0), df=df, elliptical=elliptical)
    assert math.isinf(noise.fourth_moment(GRADIENT))
    e = drawn(noise, seed=6, n=15_000)
    scale = math.sqrt(6.0 / 3.0 * (df - 2.0) / df)
    for i in range(3):
        assert stats.kstest(e[:, i] / scale, stats.t(df).cdf).pvalue > KS_LEVEL
    cut = 4.0
    law = stats.t(df)
    inside, _ = integrate.quad(lambda x: x * x * law.pdf(x), -math.sqrt(cut), math.sqrt(cut))
    exact = inside + 2.0 * cut * law.sf(math.sqrt(cut))
    assert_mean_is(np.minimum((e / scale) ** 2, cut), [exact] * 3)
    if elliptical:
        radius2 = np.sum(e**2, axis=-1) / (3.0 * scale**2)
        assert stats.kstest(radius2, stats.f(3, df).cdf).pvalue > KS_LEVEL


def test_laplace_coordinates_are_laplace_and_student_kurtosis_is_exact():
    laplace = Laplace(base=Isotropic(dimension=2, sigma2=4.0))
    e = drawn(laplace, gradient=np.zeros(2))
    for i in range(2):
        assert stats.kstest(e[:, i], stats.laplace(scale=1.0).cdf).pvalue > KS_LEVEL
    for df in (5.0, 8.0):
        t = StudentT(base=Isotropic(dimension=1, sigma2=1.0), df=df)
        kurtosis = 3.0 + float(stats.t(df).stats("k"))
        assert float(t.fourth_moment([0.0])) == pytest.approx(kurtosis, rel=ROUNDING)


@pytest.mark.parametrize("name", TAILED)
def test_root_mean_and_square_mean_of_the_mixing_variable_match_draws(name):
    noise = TAILED[name]
    w = noise.mixing(np.random.default_rng(7), (200_000,))
    assert_mean_is(np.sqrt(w), noise.mixing_root_mean)
    assert_mean_is(w, 1.0)
    if "student" not in name:
        assert_mean_is(w**2, noise.mixing_square_mean)


def test_elliptical_tails_make_the_sizes_of_coordinates_dependent_and_others_do_not():
    base = Isotropic(dimension=2, sigma2=2.0)
    for elliptical, expected in ((True, 2.0), (False, 1.0)):
        e = drawn(Laplace(base=base, elliptical=elliptical), seed=8, gradient=np.zeros(2))
        # E e1^2 e2^2 = E W^2 = 2 when shared, (E W)^2 = 1 when not.
        assert_mean_is(e[:, 0] ** 2 * e[:, 1] ** 2, expected)


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Isotropic(dimension=0), "dimension = 0 is not a whole number >= 1"),
        (lambda: Isotropic(sigma2=-1.0), r"sigma2 = -1\.0 is outside"),
        (lambda: Isotropic(sigma2=math.nan), "sigma2 = nan is outside"),
        (lambda: Anisotropic(variances=(1.0, -2.0)), r"variances\[1\] = -2\.0 is negative"),
        (lambda: Anisotropic(variances=()), "pass a list of finite numbers"),
        (lambda: Anisotropic(variances=("x",)), "is not numeric"),
        (lambda: Anisotropic(variances=(1.0,), rotation=-1), "rotation = -1"),
        (
            lambda: Anisotropic.spectrum(dimension=3, sigma2=1.0, condition=0.5),
            r"condition = 0\.5",
        ),
        (lambda: LowRank(dimension=2, rank=3), "rank = 3 is above dimension = 2"),
        (lambda: LowRank(floor=1.5), r"floor = 1\.5 is outside \[0, 1\]"),
        (lambda: Dense(matrix=((1.0, 2.0), (2.0, 1.0))), r"eigenvalue -1\.0"),
        (lambda: Dense(matrix=((1.0, 0.5), (0.0, 1.0))), r"matrix\[0, 1\] = 0\.5 but \[1, 0\] = 0"),
        (lambda: Dense(matrix=((1.0, 0.5),)), r"has shape \(1, 2\)"),
        (lambda: Dense(matrix=((1.0, 0.5), (0.0,))), "rectangular"),
        (lambda: Dense(matrix=((math.inf,),)), "not finite"),
        (lambda: StudentT(df=2.0), r"df = 2\.0 is outside \(2, inf\)"),
        (lambda: StudentT(base=Laplace()), "is not a Gaussian shape"),
        (lambda: Laplace(elliptical=1), "elliptical = 1 is not True or False"),
        (lambda: Contaminated(share=1.5), r"share = 1\.5"),
        (lambda: Contaminated(ratio=0.0), r"ratio = 0\.0"),
        (lambda: Multiplicative(relative=-0.1), r"relative = -0\.1"),
        (lambda: Multiplicative(common="no"), "common = 'no'"),
    ],
)
def test_impossible_noise_is_refused_in_one_line(make, match):
    with refuses(match):
        make()
