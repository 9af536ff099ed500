"""Clipping: the map, its exact bias and variance, and the estimates elsewhere."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from _asserts import refuses
from _noise_cases import NOISES, ROUNDING, STANDARD_ERRORS, assert_mean_is
from scipy import integrate, stats

from simulations.noise import (
    Anisotropic,
    BranchLaw,
    Clipping,
    Contaminated,
    Correlated,
    Independent,
    Isotropic,
    JointGaussian,
    Laplace,
    LowRank,
    Multiplicative,
    PairSum,
    StudentT,
    sampled_moments,
)

DRAWS = 60_000
# Adaptive quadrature of piecewise smooth integrands, absolute, for values of order 1.
QUADRATURE_ATOL = 1e-8

EXACT = {
    "value_isotropic": (Clipping(threshold=1.0, mode="value"), Isotropic(dimension=3), 2.0),
    "value_dense": (Clipping(threshold=1.2, mode="value"), NOISES["dense"], 1.0),
    "value_contaminated": (
        Clipping(threshold=1.0, mode="value"),
        Contaminated(base=NOISES["dense"], share=0.2, ratio=20.0),
        1.5,
    ),
    "value_contaminated_each": (
        Clipping(threshold=1.0, mode="value"),
        Contaminated(base=Isotropic(dimension=3), share=0.2, ratio=20.0, elliptical=False),
        1.5,
    ),
    "value_multiplicative": (
        Clipping(threshold=0.9, mode="value"),
        Multiplicative(dimension=3, relative=0.6, common=True),
        1.0,
    ),
    "norm_isotropic": (Clipping(threshold=1.5), Isotropic(dimension=3), 2.0),
    "norm_tight": (Clipping(threshold=0.1), Isotropic(dimension=3), 1.0),
    "norm_loose": (Clipping(threshold=9.0), Isotropic(dimension=3), 0.5),
    "norm_quiet": (Clipping(threshold=1.5), Isotropic(dimension=3), 1e-3),
    "norm_low_rank_full": (
        Clipping(threshold=1.5),
        LowRank(dimension=3, rank=1, floor=1.0, rotation=1),
        2.0,
    ),
    "norm_contaminated": (
        Clipping(threshold=1.5),
        Contaminated(base=Isotropic(dimension=3), share=0.2, ratio=20.0),
        2.0,
    ),
}
G = np.array([0.9, -0.3, 1.2])


def clipped_draws(clipping, noise, g, level, seed=1):
    e = noise.color(noise.draw(np.random.default_rng(seed), DRAWS), g)
    return clipping.apply(g + math.sqrt(level) * e)


@pytest.mark.parametrize("name", EXACT)
def test_exact_bias_and_variance_match_draws(name):
    clipping, noise, level = EXACT[name]
    found = clipping.moments(noise, G, level=level)
    assert found.exact
    assert found.sigma2_error == 0.0
    y = clipped_draws(clipping, noise, G, level)
    assert_mean_is(y - G, found.bias)
    assert_mean_is(np.sum((y - G - found.bias) ** 2, axis=-1), found.sigma2)


@pytest.mark.parametrize("name", ["norm_isotropic", "norm_low_rank_full", "value_isotropic"])
def test_the_estimate_agrees_with_the_exact_moments(name):
    clipping, noise, level = EXACT[name]
    exact = clipping.moments(noise, G, level=level)

    class Opaque(type(noise)):
        mixing_components = None  # hides what the closed form needs

    hidden = Opaque(**{k: getattr(noise, k) for k in noise.__dataclass_fields__ if k != "kind"})
    found = clipping.moments(hidden, G, level=level, draws=50_000, seed=3)
    assert not found.exact
    assert np.all(np.abs(found.bias - exact.bias) <= STANDARD_ERRORS * found.bias_error)
    assert abs(found.sigma2 - exact.sigma2) <= STANDARD_ERRORS * found.sigma2_error


@pytest.mark.parametrize("mean", [0.0, 0.4, -1.0, 3.0])
@pytest.mark.parametrize("mode", ["norm", "value"])
def test_one_dimension_matches_quadrature(mean, mode):
    c, s = 1.0, 0.7
    law = stats.norm(mean, s)
    points = sorted({-c, c, mean, mean - 8 * s, mean + 8 * s})

    def expect(f):
        return sum(
            integrate.quad(lambda x: f(min(max(x, -c), c)) * law.pdf(x), a, b)[0]
            for a, b in itertools.pairwise(points)
        )

    first = expect(lambda y: y)
    second = expect(lambda y: (y - first) ** 2)
    found = Clipping(threshold=c, mode=mode).moments(
        Isotropic(dimension=1, sigma2=s * s), np.array([mean])
    )
    assert found.bias[0] == pytest.approx(first - mean, abs=QUADRATURE_ATOL)
    assert found.sigma2 == pytest.approx(second, abs=QUADRATURE_ATOL)


@pytest.mark.parametrize("d", [2, 3, 7, 30])
@pytest.mark.parametrize("norm", [0.0, 0.5, 3.0, 20.0])
@pytest.mark.parametrize("threshold", [0.3, 2.0, 19.0])
def test_norm_clipping_matches_quadrature_over_the_noncentral_chi_square(d, norm, threshold):
    g = np.zeros(d)
    g[0] = norm
    v = 0.8
    found = Clipping(threshold=threshold).moments(Isotropic(dimension=d, sigma2=v * d), g)
    t = threshold**2 / v

    def expect(f, df):
        law = stats.ncx2(df, norm**2 / v) if norm else stats.chi2(df)
        top = law.mean() + 14 * law.std() + 60.0
        pieces = [0.0, *[x for x in (t, law.mean()) if x < top], top]
        pieces = sorted(set(pieces))
        return sum(
            integrate.quad(lambda x: f(x) * law.pdf(x), a, b, limit=200)[0]
            for a, b in itertools.pairwise(pieces)
        )

    shrink = expect(lambda x: min(1.0, math.sqrt(t / x)) if x else 1.0, d + 2)
    second = v * expect(lambda x: min(x, t), d)
    np.testing.assert_allclose(found.bias, (shrink - 1.0) * g, atol=QUADRATURE_ATOL * (1 + norm))
    assert found.sigma2 == pytest.approx(
        second - (shrink * norm) ** 2, abs=QUADRATURE_ATOL * (1 + second)
    )


def test_a_threshold_out_of_reach_changes_nothing():
    for mode in ("norm", "value"):
        found = Clipping(threshold=1e3, mode=mode).moments(Isotropic(dimension=3, sigma2=2.0), G)
        np.testing.assert_allclose(found.bias, 0.0, atol=ROUNDING)
        assert found.sigma2 == pytest.approx(2.0, rel=1e-11)  # |g|^2 / v cancels a digit or two


def test_silence_leaves_the_clipped_gradient_itself():
    for mode in ("norm", "value"):
        clipping = Clipping(threshold=0.5, mode=mode)
        for noise in (Isotropic(dimension=3), Laplace(base=Isotropic(dimension=3))):
            found = clipping.moments(noise, G, level=0.0)
            np.testing.assert_allclose(found.bias, clipping.apply(G) - G, atol=ROUNDING)
            assert (found.sigma2, found.exact) == (0.0, True)


def test_clipping_maps_into_the_ball_or_the_cube_and_keeps_what_is_inside():
    x = np.random.default_rng(0).standard_normal((200, 3))
    ball, cube = Clipping(threshold=1.0).apply(x), Clipping(threshold=0.7, mode="value").apply(x)
    norm = np.linalg.norm(x, axis=-1)
    assert np.all(np.linalg.norm(ball, axis=-1) <= 1.0 + ROUNDING)
    np.testing.assert_array_equal(ball[norm <= 1.0], x[norm <= 1.0])
    np.testing.assert_allclose(ball * np.maximum(norm, 1.0)[:, None], x, atol=ROUNDING)
    np.testing.assert_array_equal(cube, np.clip(x, -0.7, 0.7))
    assert not Clipping().apply(np.zeros((2, 3))).any()


@pytest.mark.parametrize(
    ("clipping", "noise"),
    [
        (Clipping(), Anisotropic(variances=(0.1, 1.0, 2.0))),
        (Clipping(), StudentT(base=Isotropic(dimension=3), df=2.5)),
        (Clipping(), Contaminated(base=Isotropic(dimension=3), elliptical=False)),
        (Clipping(mode="value"), Laplace(base=Isotropic(dimension=3))),
        (Clipping(mode="value"), Contaminated(base=NOISES["dense"], elliptical=False)),
        (Clipping(), Multiplicative(dimension=3)),
    ],
)
def test_what_has_no_closed_form_is_estimated_with_its_error(clipping, noise):
    found = clipping.moments(noise, G, draws=20_000)
    assert not found.exact
    assert found.sigma2_error > 0.0
    y = clipped_draws(clipping, noise, G, 1.0, seed=9)
    spread = STANDARD_ERRORS * np.hypot(found.bias_error, y.std(axis=0) / math.sqrt(DRAWS))
    assert np.all(np.abs(y.mean(axis=0) - G - found.bias) <= spread)
    square = np.sum((y - y.mean(axis=0)) ** 2, axis=-1)
    spread = STANDARD_ERRORS * math.hypot(found.sigma2_error, square.std() / math.sqrt(DRAWS))
    assert abs(square.mean() - found.sigma2) <= spread


# Both branches -----------------------------------------------------------------------------------

LAWS = (BranchLaw(tuple(G), 2.0, Clipping(threshold=1.0)), BranchLaw((0.5, 1.0, -2.0), 3.0, None))


@pytest.mark.parametrize(
    "pair",
    [
        Independent(sft=Isotropic(dimension=3), rl=NOISES["laplace_each"]),
        Correlated(sft=Isotropic(dimension=3), rl=NOISES["dense"], correlation=0.8),
        JointGaussian(matrix=np.eye(6) + 0.5 * (np.eye(6, k=3) + np.eye(6, k=-3))),
        PairSum(
            parts=(
                Independent(sft=Isotropic(dimension=3), rl=Isotropic(dimension=3)),
                Independent(sft=NOISES["multiplicative"], rl=NOISES["multiplicative"]),
            )
        ),
    ],
)
def test_moments_of_clipped_pairs_match_draws_within_both_errors(pair):
    found = sampled_moments(pair, *LAWS)
    assert (found.error == 0.0) == found.exact == (type(pair) is Independent)
    g_s, g_r = (np.asarray(law.mean) for law in LAWS)
    e_s, e_r = pair.noise(pair.draw(np.random.default_rng(5), DRAWS), g_s, g_r)
    x_s = LAWS[0].clipping.apply(g_s + math.sqrt(2.0) * e_s)
    x_r = g_r + math.sqrt(3.0) * e_r
    c_s, c_r = x_s - x_s.mean(axis=0), x_r - x_r.mean(axis=0)
    for samples, exact in (
        (x_s - g_s, found.bias_s),
        (x_r - g_r, found.bias_r),
        (np.sum(c_s**2, axis=-1), found.sigma_s2),
        (np.sum(c_r**2, axis=-1), found.sigma_r2),
        (np.sum(c_s * c_r, axis=-1), found.kappa),
    ):
        own = samples.std(axis=0, ddof=1) / math.sqrt(DRAWS)
        assert_mean_is(samples, exact, error=np.hypot(own, found.error))


def test_unclipped_pairs_are_exact_whatever_the_noise():
    pair = Correlated(sft=NOISES["student_shared"], rl=NOISES["dense"], correlation=0.5)
    laws = [BranchLaw((0.0, 0.0, 0.0), level, None) for level in (4.0, 9.0)]
    found, plain = sampled_moments(pair, *laws), pair.moments(np.zeros(3), np.zeros(3))
    assert found.exact
    assert found.sigma_s2 == pytest.approx(4.0 * plain.sigma_s2, rel=ROUNDING)
    assert found.kappa == pytest.approx(6.0 * plain.kappa, rel=ROUNDING)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Clipping(threshold=0.0), r"threshold = 0\.0"),
        (lambda: Clipping(mode="soft"), "mode = 'soft'"),
        (lambda: Clipping().moments(Isotropic(dimension=3), [1.0]), r"shape \(1,\)"),
        (lambda: Clipping().moments(Isotropic(dimension=3), G, level=-1.0), r"level = -1\.0"),
        (lambda: Clipping().moments(NOISES["dense"], G, draws=1), "draws = 1 is below 2"),
    ],
)
def test_bad_clipping_is_refused_in_one_line(make, match):
    with refuses(match):
        make()
