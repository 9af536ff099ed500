"""Bounds: geometry, looseness, minimisers, independence and clipping, beside oracles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from _asserts import refuses

from gac_ref.bounds import triangle_bound, triangle_minimiser
from simulations.analysis import bounds
from simulations.analysis.bounds.clipped import clipped, measured_clipped
from simulations.analysis.bounds.declared import BY_NAME
from simulations.analysis.bounds.geometry import (
    GEOMETRIES,
    Norms,
    placed,
    random_risk,
    sampled_risk,
    surrogate,
)
from simulations.analysis.bounds.independence import measured_price, price
from simulations.analysis.bounds.looseness import by_bias, by_dimension
from simulations.analysis.bounds.rules import (
    BOUND_RULES,
    PLAIN_RULES,
    RULES,
    costs,
    excess_risk,
    maps,
    weights,
)
from simulations.analysis.question import Part
from simulations.analysis.results import Results, compute_parts

STANDARD_ERRORS = 5.0
"""A right mean misses by more with probability 6e-7 a comparison."""

ALGEBRA_RTOL = 1e-12
"""A few dozen roundings."""

GRID = 20_001
"""Points of a grid on [0, 1]: its best is within 2.5e-5 of the minimiser."""

GRID_RTOL = 1e-6
"""What that distance costs: its square times a curvature of at most a thousand times the risk."""

SPREAD_RTOL = 0.06
"""Five standard errors of a standard deviation from 4,000 draws of bounded kurtosis."""

NORMS = Norms(1.0, 2.0, 4.0, 0.3, 1.0, 2.0)
UNEVEN = Norms(0.5, 3.0, 1.7, 0.8, 0.6, 0.2)
MUS = np.linspace(0.0, 1.0, GRID)


def drifted(mu, norms, u_delta, u_s, u_r):
    """The risk from the definition, for unit vectors on the last axis."""
    s, r, d, alpha, beta_s, beta_r = norms
    error = (mu - alpha) * np.sqrt(d) * u_delta + mu * beta_s * u_s + (1.0 - mu) * beta_r * u_r
    return np.sum(error**2, axis=-1) + mu**2 * s + (1.0 - mu) ** 2 * r


def circle(points):
    """Equally spaced unit vectors; their averages are exact for the risk and its square."""
    angle = 2.0 * np.pi * np.arange(points) / points
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


class TestGeometry:
    @pytest.mark.parametrize("norms", [NORMS, UNEVEN])
    @pytest.mark.parametrize("mu", [0.0, 0.45, 1.0])
    def test_moments_over_directions_are_those_of_all_directions_of_the_plane(self, norms, mu):
        ring = circle(12)
        risks = drifted(mu, norms, ring[0], ring[:, None], ring[None, :])
        found = random_risk(mu, norms, 2)
        assert float(found.mean) == pytest.approx(risks.mean(), rel=ALGEBRA_RTOL)
        assert float(found.spread) == pytest.approx(risks.std(), rel=1e-9, abs=1e-9)

    def test_in_one_dimension_a_direction_is_a_sign(self):
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))[..., None]
        risks = drifted(0.7, NORMS, signs[:, 0], signs[:, 1], signs[:, 2])
        found = random_risk(0.7, NORMS, 1)
        assert float(found.mean) == pytest.approx(risks.mean(), rel=ALGEBRA_RTOL)
        assert float(found.spread) == pytest.approx(risks.std(), rel=ALGEBRA_RTOL)

    @pytest.mark.parametrize("dimension", [3, 50])
    def test_sampled_directions_agree_with_the_exact_moments(self, dimension):
        rng = np.random.default_rng(dimension)
        risks = sampled_risk(0.7, NORMS, dimension, draws=4000, rng=rng)
        exact = random_risk(0.7, NORMS, dimension)
        error = risks.std(ddof=1) / np.sqrt(4000)
        assert abs(risks.mean() - exact.mean) < STANDARD_ERRORS * error
        assert risks.std(ddof=1) == pytest.approx(float(exact.spread), rel=SPREAD_RTOL)

    @pytest.mark.parametrize("mu", [0.1, 0.3, 0.9])
    def test_the_triangle_bound_is_the_largest_risk_over_directions(self, mu):
        ring = circle(48)
        risks = drifted(mu, NORMS, ring[0], ring[:, None], ring[None, :])
        s, r, d, a, beta_s, beta_r = NORMS
        bound = triangle_bound(mu, s, r, d, a, beta_s=beta_s, beta_r=beta_r)
        assert float(bound) == pytest.approx(risks.max(), rel=ALGEBRA_RTOL)

    @pytest.mark.parametrize(("geometry", "side"), [("both along", 1), ("both against", -1)])
    def test_parallel_biases_reach_the_bound_on_their_side_of_alpha(self, geometry, side):
        s, r, d, a, beta_s, beta_r = NORMS
        mus = MUS[(MUS - a) * side >= 0.0]
        delta, bias_s, bias_r = placed(NORMS, geometry)
        error = (mus - a)[:, None] * delta + mus[:, None] * bias_s + (1.0 - mus)[:, None] * bias_r
        risks = np.sum(error**2, axis=-1) + mus**2 * s + (1.0 - mus) ** 2 * r
        bound = triangle_bound(mus, s, r, d, a, beta_s=beta_s, beta_r=beta_r)
        np.testing.assert_allclose(bound, risks, rtol=ALGEBRA_RTOL)

    def test_an_unknown_geometry_is_refused(self):
        with refuses("'sideways' is unknown"):
            placed(NORMS, "sideways")


class TestLooseness:
    def test_the_triangle_bound_is_at_most_three_times_the_mean_risk(self):
        sizes = np.logspace(-3, 3, 60).tolist()
        found = by_bias(list(NORMS), 0.7, sizes, [0.0])
        assert found.triangle.max() <= 3.0
        equal = [0.0, 0.0, 4.0, 0.5, 1.0, 1.0]  # three drifts of one length, no noise
        assert by_bias(equal, 1.0, [1.0], [0.0]).triangle[0, 0] == pytest.approx(2.0)
        # At mu = 1/2 the three are (1/2 - alpha) Delta = 1/2 and twice 1/2.
        three = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]
        assert by_bias(three, 0.5, [1.0], [0.0]).triangle[0, 0] == pytest.approx(3.0)

    def test_young_at_its_best_eta_is_the_triangle_bound(self):
        found = by_bias(list(NORMS), 0.7, [0.0, 0.1, 1.0, 30.0], [0.0])
        np.testing.assert_allclose(found.young_best, found.triangle[0], rtol=1e-9)
        assert (found.young >= found.triangle[0]).all()

    def test_correlation_that_is_there_is_paid_for_and_not_loose(self):
        found = by_bias(list(NORMS), 0.7, [0.0, 2.0], [0.0, 0.6])
        assert found.tight[1, 0] == pytest.approx(1.0, rel=ALGEBRA_RTOL)
        noise = 0.49 * 1.0 + 0.09 * 2.0 + 0.16 * 4.0
        extra = 2.0 * 0.7 * 0.3 * 0.6 * np.sqrt(2.0)
        assert found.triangle[1, 0] == pytest.approx(1.0 + extra / noise, rel=ALGEBRA_RTOL)

    def test_bounds_bound_in_every_dimension_and_the_band_narrows_as_the_root(self):
        found = by_dimension(list(NORMS), 0.7, [1, 4, 400], draws=4000, seed=1)
        assert found.quantiles[0].min() >= 1.0 - ALGEBRA_RTOL
        assert (found.quantiles[1] >= found.quantiles[0]).all()
        assert found.quantiles[2, 0].max() < 1.0  # the surrogate bounds nothing
        z = np.abs(found.mean - found.exact_mean) / found.error
        assert z.max() < STANDARD_ERRORS
        np.testing.assert_allclose(found.spread, found.exact_spread, rtol=SPREAD_RTOL)
        assert found.exact_spread[1] / found.exact_spread[2] == pytest.approx(10.0)

    def test_too_few_draws_are_refused(self):
        with refuses("too few for 5 % quantiles"):
            by_dimension(list(NORMS), 0.7, [4], draws=99, seed=0)


class TestRules:
    @pytest.mark.parametrize("norms", [NORMS, UNEVEN])
    def test_each_minimiser_is_the_best_by_its_own_criterion(self, norms):
        mus = weights(norms)
        average = surrogate(MUS, norms)
        s, r, d, a, beta_s, beta_r = norms
        worst = triangle_bound(MUS, s, r, d, a, beta_s=beta_s, beta_r=beta_r)
        for name, values in (("effective noise", average), ("triangle", worst)):
            assert abs(MUS[np.argmin(values)] - float(mus[name])) <= 1.0 / (GRID - 1)

    @pytest.mark.parametrize("geometry", list(GEOMETRIES))
    def test_the_excess_is_over_the_best_weight_of_a_grid(self, geometry):
        delta, bias_s, bias_r = placed(UNEVEN, geometry)
        s, r, _, a, _, _ = UNEVEN
        error = (MUS - a)[:, None] * delta + MUS[:, None] * bias_s + (1.0 - MUS)[:, None] * bias_r
        risks = np.sum(error**2, axis=-1) + MUS**2 * s + (1.0 - MUS) ** 2 * r
        found = excess_risk(MUS[::2000], UNEVEN, geometry)
        np.testing.assert_allclose(
            1.0 + found, risks[::2000] / risks.min(), rtol=GRID_RTOL, atol=GRID_RTOL
        )
        assert found.max() > 0.01

    def test_on_average_over_directions_nothing_beats_effective_noise(self):
        found = costs(500, 3)
        place = list(GEOMETRIES).index("orthogonal")
        assert found.mean[place, RULES.index("effective noise")] == 0.0
        assert found.worse[place, BOUND_RULES.index("effective noise")].max() == 0
        others = [k for k, name in enumerate(RULES) if name != "effective noise"]
        assert found.mean[place, others].min() > 0.0
        assert found.worse.max() <= found.total

    def test_counts_of_losses_are_those_of_the_settings_one_by_one(self):
        found = costs(40, 5)
        u = np.random.default_rng(5).random((5, 40))
        place, count = list(GEOMETRIES).index("apart"), 0
        for u0, u1, u2, u3, u4 in u.T:
            ratio = 10.0 ** (2.0 * u0 - 1.0)
            norms = Norms(
                1.0 / (1.0 + ratio),
                ratio / (1.0 + ratio),
                10.0 ** (4.0 * u1 - 2.0),
                0.1 + 0.85 * u2,
                10.0 ** (1.5 * u3 - 1.0),
                10.0 ** (1.5 * u4 - 1.0),
            )
            mus = weights(norms)
            one, other = (excess_risk(mus[name], norms, "apart") for name in ("triangle", "alpha"))
            count += int(one > other)
        where = BOUND_RULES.index("triangle"), PLAIN_RULES.index("alpha")
        assert 0 < count < 40
        assert found.worse[(place, *where)] == count

    def test_too_few_settings_are_refused(self):
        with refuses("too few for intervals"):
            costs(29, 0)

    def test_the_maps_hold_the_two_criteria(self):
        found = maps([0.5, 2.0], [0.3, 3.0], 0.4, 5.0)
        beta, gap = 2.0, 0.3
        norms = Norms(1.0, 5.0, gap, 0.4, beta, 0.0)
        for k, name in enumerate(RULES):
            mu = weights(norms)[name]
            average = surrogate(mu, norms) / surrogate(MUS, norms).min() - 1.0
            bound = triangle_bound(np.append(MUS, mu), 1.0, 5.0, gap, 0.4, beta_s=beta)
            assert found.average[k, 0, 1] == pytest.approx(float(average), abs=GRID_RTOL)
            worst = bound[-1] / bound[:-1].min() - 1.0
            assert found.worst[k, 0, 1] == pytest.approx(float(worst), abs=GRID_RTOL)

    def test_without_bias_the_minimisers_are_the_closed_form(self):
        mus = weights(Norms(1.0, 3.0, 2.0, 0.4, 0.0, 0.0))
        for name in ("triangle", "effective noise"):
            assert float(mus[name]) == pytest.approx(float(mus["closed form"]), rel=ALGEBRA_RTOL)
        assert float(triangle_minimiser(1.0, 3.0, 2.0, 0.4)) == pytest.approx((0.8 + 3.0) / 6.0)


class TestIndependence:
    @pytest.mark.parametrize(
        ("ratio", "rho", "gap"), [(4.0, 0.7, 0.2), (9.0, -0.8, 1.0), (16.0, 0.8, 0.01)]
    )
    def test_the_price_is_the_difference_of_two_risks(self, ratio, rho, gap):
        alpha, s, r = 0.3, 1.0, ratio
        delta, kappa = gap * (s + r), rho * np.sqrt(r)

        def risk(mu):
            noise = mu**2 * s + (1.0 - mu) ** 2 * r + 2.0 * mu * (1.0 - mu) * kappa
            return (mu - alpha) ** 2 * delta + noise

        mu = (alpha * delta + r) / (delta + s + r)
        line = np.linspace(-3.0, 4.0, 700_001)
        found = price(ratio, rho, gap, alpha)
        free = risk(mu) / risk(line).min() - 1.0
        assert float(found.free) == pytest.approx(free, rel=GRID_RTOL)
        assert float(found.bounded) == pytest.approx(risk(mu) / risk(MUS).min() - 1.0, rel=1e-4)

    def test_bounded_weights_lose_less_where_the_best_leaves_the_interval(self):
        found = price(16.0, 0.8, 0.0, 0.5)
        assert 0.0 < float(found.bounded) < float(found.free)

    def test_equal_noise_and_alpha_of_one_half_make_it_free(self):
        found = price(1.0, np.linspace(-0.9, 0.9, 7), 0.7, 0.5)
        np.testing.assert_allclose(found.free, 0.0, atol=1e-30)

    @pytest.mark.parametrize("rho", [-0.7, 0.5])
    def test_sampled_gradients_pay_the_price(self, rho):
        value, error = measured_price(6.0, rho, 0.3, 0.5, dimension=5, draws=20_000, seed=2)
        exact = float(price(6.0, rho, 0.3, 0.5).free)
        assert abs(value - exact) < STANDARD_ERRORS * error
        assert error < 0.1 * exact

    def test_too_few_draws_are_refused(self):
        with refuses("too few for a standard error"):
            measured_price(2.0, 0.1, 0.0, 0.5, dimension=2, draws=7, seed=0)


BRANCHES = {"dimension": 6, "angle": 1.2, "sigma_s2": 0.5, "sigma_r2": 4.0, "alpha": 0.4}


class TestClipping:
    def test_a_loose_threshold_changes_nothing_and_a_tight_one_leaves_a_gradient_of_zero(self):
        found = clipped([1e-4, 1e3], **BRANCHES)
        assert found.blind[1] == pytest.approx(float(found.unclipped), rel=ALGEBRA_RTOL)
        assert found.mu_blind[1] == pytest.approx(found.mu_best[1], rel=ALGEBRA_RTOL)
        assert found.blind[0] == pytest.approx(float(found.target), rel=1e-3)
        target = 0.16 + 0.36 + 2.0 * 0.24 * np.cos(1.2)
        assert float(found.target) == pytest.approx(target, rel=ALGEBRA_RTOL)

    def test_the_blind_weight_is_the_closed_form_of_what_is_seen(self):
        found = clipped([0.1, 0.7, 2.0], **BRANCHES)
        # Isotropic noise shortens each gradient and does not turn it.
        p, q = 1.0 - found.bias_s, 1.0 - found.bias_r
        gap = p**2 + q**2 - 2.0 * p * q * np.cos(1.2)
        seen = (0.4 * gap + found.sigma_r2) / (gap + found.sigma_s2 + found.sigma_r2)
        np.testing.assert_allclose(found.mu_blind, seen, rtol=1e-10)

    def test_tighter_clipping_means_more_bias_and_less_variance(self):
        found = clipped(np.logspace(-2, 0.3, 12).tolist(), **BRANCHES)
        for name in ("bias_s", "bias_r"):
            assert (np.diff(getattr(found, name)) < 0.0).all()
        for name in ("sigma_s2", "sigma_r2"):
            assert (np.diff(getattr(found, name)) > 0.0).all()

    def test_ignoring_the_bias_never_helps_and_costs_something(self):
        found = clipped(np.logspace(-2, 1, 12).tolist(), **BRANCHES)
        assert (found.blind >= found.best - 1e-15).all()
        assert (found.blind / found.best).max() > 1.02

    def test_sampled_and_clipped_gradients_have_the_exact_risk(self):
        thresholds = [0.2, 0.8, 2.0]
        mean, error = measured_clipped(thresholds, **BRANCHES, draws=20_000, seed=4)
        exact = clipped(thresholds, **BRANCHES).blind
        assert (np.abs(mean - exact) < STANDARD_ERRORS * error).all()
        assert (error < 0.02 * exact).all()

    def test_bad_input_is_refused(self):
        with refuses("no room for an angle"):
            clipped([1.0], **{**BRANCHES, "dimension": 1})
        with refuses("threshold"):
            clipped([0.0], **BRANCHES)
        with refuses("too few for a standard error"):
            measured_clipped([1.0], **BRANCHES, draws=3, seed=0)


def test_the_answer_is_read_from_the_saved_parts_and_its_figures_draw(monkeypatch, tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    part = BY_NAME["dimension"]
    fewer = Part(part.name, part.compute, {**part.settings, "dimensions": [1, 2, 8]})
    monkeypatch.setitem(BY_NAME, "dimension", fewer)
    results = Results(tmp_path)
    assert compute_parts(bounds.parts(), results) == len(bounds.parts())
    section = bounds.section(results)
    known = {part.name for part in bounds.parts()}
    assert {finding.part for finding in section.findings} <= known
    assert len({finding.label for finding in section.findings}) == len(section.findings)
    for figure in section.figures:
        drawn, axes = plt.subplots(1, figure.panels, figsize=figure.size)
        assert figure.draw(axes) is axes
        first = axes if figure.panels == 1 else axes[0]
        assert first.get_xlabel()
        drawn.canvas.draw()
        plt.close(drawn)


def test_a_missing_part_is_named(tmp_path):
    with refuses("bounds.dimension"):
        bounds.section(Results(tmp_path))
