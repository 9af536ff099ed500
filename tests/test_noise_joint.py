"""Noise of both branches: the stated moments, correlation, and impossible covariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from _asserts import refuses
from _noise_cases import DRAWS, GRADIENT, NOISES, ROUNDING, assert_mean_is

from simulations.noise import (
    Contaminated,
    Correlated,
    Independent,
    Isotropic,
    JointGaussian,
    Laplace,
    Multiplicative,
    PairSum,
    StudentT,
)

G_R = np.array([0.5, 1.0, -2.0])


def joint_matrix(cross=0.4):
    root = np.random.default_rng(0).standard_normal((6, 6))
    matrix = root @ root.T / 6.0
    matrix[:3, 3:] *= cross
    matrix[3:, :3] *= cross
    return tuple(map(tuple, matrix))


PAIRS = {
    "independent": Independent(sft=NOISES["rotated"], rl=NOISES["laplace_each"]),
    "isotropic": Correlated(
        sft=Isotropic(dimension=3, sigma2=4.0), rl=Isotropic(dimension=3), correlation=0.7
    ),
    "opposite": Correlated(sft=NOISES["rotated"], rl=NOISES["dense"], correlation=-1.0),
    "tails": Correlated(
        sft=NOISES["student_shared"], rl=NOISES["contaminated_each"], correlation=0.9
    ),
    "multiplicative": Correlated(
        sft=NOISES["multiplicative"], rl=NOISES["multiplicative"], correlation=0.5
    ),
    "common_factor": Correlated(
        sft=NOISES["common_factor"], rl=NOISES["common_factor"], correlation=-0.6
    ),
    "joint": JointGaussian(matrix=joint_matrix()),
    "sum": PairSum(
        parts=(
            JointGaussian(matrix=joint_matrix(-0.8)),
            Correlated(sft=NOISES["multiplicative"], rl=NOISES["dense"], correlation=0.3),
        )
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pair_has_the_stated_moments_and_zero_mean(name):
    pair = PAIRS[name]
    draw = pair.draw(np.random.default_rng(1), DRAWS)
    e_s, e_r = pair.noise(draw, GRADIENT, G_R)
    exact = pair.moments(GRADIENT, G_R)
    assert_mean_is(e_s, np.zeros(3))
    assert_mean_is(e_r, np.zeros(3))
    assert_mean_is(np.sum(e_s**2, axis=-1), exact.sigma_s2)
    assert_mean_is(np.sum(e_r**2, axis=-1), exact.sigma_r2)
    assert_mean_is(np.sum(e_s * e_r, axis=-1), exact.kappa)
    if pair.marginals is not None:
        for e, noise, g in zip((e_s, e_r), pair.marginals, (GRADIENT, G_R), strict=True):
            assert_mean_is(e[:, :, None] * e[:, None, :], noise.covariance(g))


@pytest.mark.parametrize("name", PAIRS)
def test_moments_obey_cauchy_schwarz(name):
    s, r, kappa = PAIRS[name].moments(GRADIENT, G_R)
    assert kappa**2 <= s * r * (1.0 + ROUNDING)


@pytest.mark.parametrize("name", PAIRS)
def test_branches_are_flagged_independent_exactly_where_kappa_is_structurally_zero(name):
    pair = PAIRS[name]
    assert pair.independent == (name == "independent")
    assert (float(pair.moments(GRADIENT, G_R).kappa) == 0.0) == pair.independent


def test_isotropic_correlation_is_kappa_over_the_two_deviations():
    s, r, kappa = PAIRS["isotropic"].moments(GRADIENT, G_R)
    assert float(kappa) == pytest.approx(0.7 * math.sqrt(float(s * r)), rel=ROUNDING)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_full_correlation_of_one_shape_makes_the_noises_equal_or_opposite(sign):
    pair = Correlated(sft=NOISES["dense"], rl=NOISES["dense"], correlation=sign)
    e_s, e_r = pair.noise(pair.draw(np.random.default_rng(2), 20), GRADIENT, G_R)
    np.testing.assert_array_equal(e_r, sign * e_s)


def test_independent_tails_weaken_the_correlation_by_their_root_means():
    shape = Isotropic(dimension=3, sigma2=3.0)
    pair = Correlated(sft=StudentT(base=shape, df=5.0), rl=Laplace(base=shape), correlation=1.0)
    # E sqrt(W): gamma functions at df = 5, sqrt(pi) / 2 for Laplace.
    student = math.sqrt(1.5) * math.gamma(2.0) / math.gamma(2.5)
    expected = 3.0 * student * math.sqrt(math.pi) / 2.0
    assert float(pair.moments(0.0, 0.0).kappa) == pytest.approx(expected, rel=ROUNDING)


def test_kappa_of_correlated_multiplicative_noise_is_the_product_of_the_gradients():
    expected = 0.5 * 0.6 * 0.6 * float(GRADIENT @ G_R)
    kappa = PAIRS["multiplicative"].moments(GRADIENT, G_R).kappa
    assert float(kappa) == pytest.approx(expected, rel=ROUNDING)


def test_a_sum_has_the_summed_moments_and_noises():
    whole = PAIRS["sum"]
    parts = [part.moments(GRADIENT, G_R) for part in whole.parts]
    for total, *each in zip(whole.moments(GRADIENT, G_R), *parts, strict=True):
        assert float(total) == pytest.approx(sum(float(x) for x in each), rel=ROUNDING)


@pytest.mark.parametrize("name", PAIRS)
def test_draws_ignore_the_gradient_and_rows_the_number_of_rows(name):
    pair = PAIRS[name]
    whole = pair.noise(pair.draw(np.random.default_rng(3), (6, 4)), GRADIENT, G_R)
    again = pair.noise(pair.draw(np.random.default_rng(3), (6, 4)), GRADIENT, G_R)
    for one, two in zip(whole, again, strict=True):
        assert one.shape == (6, 4, 3)
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Correlated(correlation=1.2), r"correlation = 1\.2 is outside \[-1, 1\]"),
        (lambda: Correlated(correlation=math.nan), "correlation = nan"),
        (lambda: Correlated(sft=Isotropic(dimension=2)), "sft has dimension 2 and rl has 8"),
        (lambda: Independent(rl="loud"), "rl = 'loud' is not a noise"),
        (
            lambda: JointGaussian(matrix=((1.0, 1.5), (1.5, 1.0))),
            r"JointGaussian: matrix has the eigenvalue -0\.(5|49)",
        ),
        (lambda: JointGaussian(matrix=((1.0,),)), "has 1 rows; pass 2d"),
        (lambda: PairSum(parts=()), r"parts = \(\)"),
        (lambda: PairSum(parts=Independent()), "pass at least one pair"),
        (
            lambda: PairSum(parts=(Independent(), JointGaussian(matrix=np.eye(2)))),
            r"dimensions \[1, 8\]",
        ),
        (
            lambda: Correlated(sft=Multiplicative(), rl=Contaminated(base=Independent())),
            "is not a Gaussian shape",
        ),
    ],
)
def test_impossible_pairs_are_refused_in_one_line(make, match):
    with refuses(match):
        make()
