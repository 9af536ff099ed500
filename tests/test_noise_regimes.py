"""Regimes over time, the random walk, and the vectors that move in a plane."""

from __future__ import annotations

import math

import numpy as np
import pytest
from _asserts import refuses
from _noise_cases import ROUNDING, assert_mean_is

from simulations.noise import (
    Burst,
    Constant,
    PlaneVector,
    Product,
    Ramp,
    RandomWalk,
    Seasonal,
    Step,
    plane_basis,
)
from simulations.noise.walk import BLOCK, STRIDE

REGIMES = {
    "constant": Constant(value=2.0),
    "step": Step(before=3.0, after=1.0, begin=7),
    "ramp": Ramp(start=0.5, end=2.5, begin=3, length=9),
    "burst": Burst(base=1.0, peak=9.0, begin=4, length=2, period=5),
    "one_burst": Burst(base=2.0, peak=0.5, begin=4, length=2),
    "seasonal": Seasonal(mean=1.0, amplitude=1.0, period=7.3, phase=0.4),
    "walk": RandomWalk(level=2.0, spread=0.2, seed=4),
    "reverting": RandomWalk(level=1.0, spread=0.5, reversion=0.3, geometric=False),
    "product": Product(parts=(Ramp(start=1.0, end=3.0, length=20), Burst(begin=3, period=30))),
}
STEPS = np.arange(40)


def by_hand(name, t):
    """The value at one step, written without arrays."""
    match name:
        case "constant":
            return 2.0
        case "step":
            return 3.0 if t < 7 else 1.0
        case "ramp":
            return 0.5 if t <= 3 else 2.5 if t >= 12 else 0.5 + 2.0 * (t - 3) / 9
        case "burst":
            return 9.0 if t >= 4 and (t - 4) % 5 in (0, 1) else 1.0
        case "one_burst":
            return 0.5 if t in (4, 5) else 2.0
        case "seasonal":
            return 1.0 + math.sin(2.0 * math.pi * t / 7.3 + 0.4)
        case "product":
            return (1.0 + 2.0 * min(t / 20, 1.0)) * (16.0 if t >= 3 and (t - 3) % 30 < 20 else 1.0)
    raise KeyError(name)


@pytest.mark.parametrize("name", [n for n in REGIMES if n not in ("walk", "reverting")])
def test_regimes_follow_their_definition_step_by_step(name):
    expected = [by_hand(name, int(t)) for t in STEPS]
    np.testing.assert_allclose(REGIMES[name].at(STEPS), expected, rtol=0.0, atol=ROUNDING)


@pytest.mark.parametrize("name", REGIMES)
def test_values_have_the_shape_of_the_steps_and_do_not_depend_on_the_others_asked_for(name):
    regime = REGIMES[name]
    whole = regime.at(STEPS)
    assert whole.shape == STEPS.shape
    assert whole.dtype == np.float64
    assert regime.at(STEPS.reshape(4, 10)).shape == (4, 10)
    for t in (39, 0, 17):
        assert regime.at(t).shape == ()
        assert regime.at(t) == whole[t]


@pytest.mark.parametrize("name", REGIMES)
def test_the_lower_bound_holds_and_is_reached_where_it_is_one(name):
    values = REGIMES[name].at(np.arange(2_000))
    assert np.all(values >= REGIMES[name].lowest)
    if name not in ("walk", "reverting"):
        # A sine comes within 1e-4 of its trough on 2,000 steps of an incommensurable period.
        assert values.min() == pytest.approx(REGIMES[name].lowest, abs=1e-4)


# The random walk ---------------------------------------------------------------------------------

SEEDS, HORIZON = 4_000, 60


@pytest.mark.parametrize("reversion", [0.0, 0.1, 1.0])
def test_walk_has_the_stated_mean_and_variance_over_seeds(reversion):
    walk = RandomWalk(level=2.0, spread=0.3, reversion=reversion, geometric=False)
    u = walk.path(np.random.default_rng(0).standard_normal((SEEDS, HORIZON))) - 2.0
    assert_mean_is(u, np.zeros(HORIZON + 1))
    assert_mean_is(u**2, walk.variance(np.arange(HORIZON + 1)))
    by_sum = [0.09 * sum((1 - reversion) ** (2 * i) for i in range(t)) for t in range(HORIZON + 1)]
    np.testing.assert_allclose(walk.variance(np.arange(HORIZON + 1)), by_sum, rtol=ROUNDING * 100)


def test_the_paths_of_seeds_have_the_same_law_as_the_paths_of_draws():
    walks = [RandomWalk(spread=0.2, reversion=0.05, seed=seed) for seed in range(400)]
    log = np.log([walk.at([1, 30]) for walk in walks])
    assert_mean_is(log, np.zeros(2))
    assert_mean_is(log**2, walks[0].variance([1, 30]))


def test_the_geometric_walk_is_the_exponential_of_the_other():
    draws = np.random.default_rng(1).standard_normal(50)
    plain = RandomWalk(level=1.0, spread=0.3, geometric=False).path(draws) - 1.0
    np.testing.assert_allclose(
        RandomWalk(level=2.0, spread=0.3).path(draws), 2.0 * np.exp(plain), rtol=ROUNDING
    )


@pytest.mark.parametrize("reversion", [0.0, 0.01])
def test_a_path_is_one_recursion_across_blocks_whatever_is_asked_first(reversion):
    far = 3 * BLOCK + 5
    late = RandomWalk(spread=1.0, reversion=reversion, geometric=False, level=0.0, seed=11)
    value = late.at(far)
    path = late.at(np.arange(far + 1))
    assert path[far] == value
    xi = np.diff(path) + reversion * path[:-1]
    # Increments recovered from the path are standard normal, also where blocks meet.
    assert_mean_is(xi, 0.0)
    assert_mean_is(xi**2, 1.0)
    meeting = xi[BLOCK - 1 :: BLOCK]
    assert np.all(np.abs(meeting) < 5.0)  # three normals; a restart at 0 would be about -64
    assert len(np.unique(xi.round(9))) == xi.size  # no block repeats another


def test_other_seeds_are_other_paths():
    first, second = (RandomWalk(seed=seed).at(STEPS) for seed in (0, 1))
    assert np.all(first[1:] != second[1:])


def test_each_seed_of_a_generator_has_a_path_of_the_stated_law():
    walk = RandomWalk(level=2.0, spread=0.3, reversion=0.1, geometric=False)
    steps = (0, 1, 30, STRIDE, 3 * STRIDE + 1)
    u = np.array([walk.of_seeds(t, np.random.default_rng(5), SEEDS) for t in steps]).T - 2.0
    assert_mean_is(u, np.zeros(len(steps)))
    assert_mean_is(u**2, walk.variance(steps))
    lagged = u[:, 4] * u[:, 3]  # one recursion where strides meet
    assert_mean_is(lagged, walk.variance(STRIDE) * 0.9 ** (2 * STRIDE + 1))


def test_the_paths_of_seeds_follow_from_what_the_generator_was_seeded_with_alone():
    walk, used, fresh = RandomWalk(), np.random.default_rng(5), np.random.default_rng(5)
    used.random(100)
    far = walk.of_seeds(3 * STRIDE, used, 8)
    walk.of_seeds(1, used, 8)  # going back
    np.testing.assert_array_equal(walk.of_seeds(3 * STRIDE, fresh, 8), far)
    for other in (
        RandomWalk(seed=1).of_seeds(9, fresh, 8),
        walk.of_seeds(9, np.random.default_rng(6), 8),
    ):
        assert np.all(other != walk.of_seeds(9, fresh, 8))
    doubled = Product(parts=(Constant(value=2.0), walk))
    np.testing.assert_array_equal(doubled.of_seeds(9, fresh, 8), 2.0 * walk.of_seeds(9, fresh, 8))
    assert Constant(value=3.0).of_seeds(9, fresh, 8) == 3.0


# Vectors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 0, 5])
def test_plane_vectors_have_the_stated_size_and_angle(seed):
    basis = plane_basis(6, seed)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=ROUNDING)
    vector = PlaneVector(size=REGIMES["ramp"], angle=Ramp(start=0.0, end=3.0, length=30))
    v = vector.at(STEPS, basis)
    assert v.shape == (40, 6)
    np.testing.assert_allclose(np.linalg.norm(v, axis=-1), REGIMES["ramp"].at(STEPS))
    angle = np.arctan2(v @ basis[1], v @ basis[0])
    np.testing.assert_allclose(angle, vector.angle.at(STEPS), atol=ROUNDING)


def test_rotations_are_uniform_over_seeds():
    first = np.array([plane_basis(3, seed)[0] for seed in range(3_000)])
    assert_mean_is(first, np.zeros(3))
    assert_mean_is(first**2, np.full(3, 1.0 / 3.0))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Constant(value=math.inf), "value = inf"),
        (lambda: Constant(value="x"), "value = 'x' is not a number"),
        (lambda: Step(begin=-1), "begin = -1"),
        (lambda: Ramp(length=0), "length = 0"),
        (lambda: Burst(length=5, period=4), "period = 4 is below length = 5"),
        (lambda: Seasonal(period=0.0), r"period = 0\.0"),
        (lambda: Product(parts=()), r"parts = \(\)"),
        (lambda: Product(parts=(1.0,)), "pass at least one regime"),
        (lambda: RandomWalk(level=-1.0), r"level = -1\.0 has no logarithm"),
        (lambda: RandomWalk(reversion=1.5), r"reversion = 1\.5"),
        (lambda: RandomWalk(seed=-1), "seed = -1"),
        (lambda: RandomWalk(geometric=None), "geometric = None"),
        (lambda: Constant().at(-1), r"step -1\.0 is not a whole number"),
        (lambda: Ramp().at([0.5]), r"step 0\.5 is not a whole number"),
        (lambda: Constant().at("now"), "is not numeric"),
        (lambda: PlaneVector(size=Constant(value=-1.0)), r"size can fall to -1\.0"),
        (lambda: PlaneVector(size=RandomWalk(geometric=False)), "size can fall to -inf"),
        (lambda: PlaneVector(angle=1.0), r"angle = 1\.0 is not a regime"),
        (lambda: plane_basis(1, None), "dimension = 1 has no plane"),
    ],
)
def test_impossible_regimes_are_refused_in_one_line(make, match):
    with refuses(match):
        make()
