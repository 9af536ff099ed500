"""Convergence: exact theory beside simulation, and both beside oracles derived anew."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from _asserts import refuses

from gac_ref import GACConfig, authority
from simulations.analysis import convergence
from simulations.analysis.convergence.declared import BY_NAME
from simulations.analysis.convergence.quadratic import loss_curves, schedule_of, settled
from simulations.analysis.convergence.recorded import RATIOS, LocalLevel, fit_local_level
from simulations.analysis.convergence.response import remaining, run_switch, steps_to
from simulations.analysis.convergence.rows import (
    growth_rate,
    mean_limit,
    mean_square_limit,
    row_moments,
)
from simulations.analysis.convergence.runs import simulated
from simulations.analysis.convergence.stability import additive_map, row_map
from simulations.analysis.convergence.tracking import (
    drift_for,
    ema_error,
    kalman_gain,
    simulated_error,
)
from simulations.analysis.question import Part
from simulations.analysis.results import Results, compute_parts
from simulations.engine.controllers import build_controllers
from simulations.engine.run import Chunk, Plan
from simulations.engine.settings import RunSettings
from simulations.models import Quadratic, sgd_moments
from simulations.models.regression import Regression

STANDARD_ERRORS = 5.0
"""A right mean misses by more with probability 6e-7 a comparison, 1e-4 over the largest table."""

ALGEBRA_RTOL = 1e-10
"""Products of a few small matrices, and sums of a few hundred terms."""

SETTLED_RTOL = 1e-6
"""What the slowest direction still carries where an iteration is run to its end."""

EDGE = 1e-6
"""Relative step to either side of a boundary: far above rounding, far below any other scale."""

CLEAR = 0.05
"""Nearer than 5 % to the boundary a trajectory may need more steps than the run has."""

FAST_GROWTH = 0.12
"""Growth a step that takes any start past the engine's limit of 1e9 well within 400 steps."""

BOWLS = {"dimension": 4, "separation": 2.0, "rotation": 0.4, "sigma_r2": 3.0, "bias_s": 0.3}
SCHEDULES = {
    "fixed": {"mu": 0.3},
    "chord_mu": {"warmup": 20, "decay": 60, "peak": 0.85, "valley": 0.15},
    "sft_then_rl": {"switch_step": 40},
}
ROWS = {"dimension": 2, "examples": 3, "ridge": 0.05, "start_spread": 0.7}


def smaller(part, **changes):
    return Part(part.name, part.compute, {**part.settings, **changes})


SMALL_RUN = {"horizon": 20, "seeds": 8, "learning_rate": 0.5, "trace_seeds": 0}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Every part, small, saved."""
    changes = {
        "quadratic": {"run": {**SMALL_RUN, "learning_rate": 0.05}},
        "settled": {"points": 21, "time": 2.0, "seeds": 8},
        "tokens": {"run": SMALL_RUN},
        "bandit": {"run": SMALL_RUN},
        "additive_noise": {"run": {"horizon": 20, "seeds": 8}},
        "row_noise": {"run": {"horizon": 20, "seeds": 8}, "chains": 2, "chain_steps": 20},
        "tracking": {"betas": [0.5, 0.8], "trajectories": 8, "steps": 70},
        "switch": {"after": 600},
    }
    results = Results(tmp_path_factory.mktemp("convergence"))
    with pytest.MonkeyPatch.context() as patch:
        for name, change in changes.items():
            patch.setitem(BY_NAME, name, smaller(BY_NAME[name], **change))
        compute_parts(convergence.parts(), results)
        yield results


class TestQuadratic:
    def test_the_recursion_is_the_mean_of_the_simulation_under_every_schedule(self):
        run = {"horizon": 120, "seeds": 512, "learning_rate": 0.1, "learning_rate_decay": 0.01}
        curves = loss_curves(BOWLS, SCHEDULES, run)
        assert curves.exact.shape == (3, 12)
        moving = curves.error > ALGEBRA_RTOL * curves.mean
        assert moving[:, 1:].all()
        z = np.abs(curves.mean - curves.exact)[moving] / curves.error[moving]
        assert z.max() < STANDARD_ERRORS
        still = ~moving
        np.testing.assert_allclose(curves.mean[still], curves.exact[still], rtol=ALGEBRA_RTOL)

    def test_the_schedules_are_told_apart_by_many_standard_errors(self):
        curves = loss_curves(BOWLS, SCHEDULES, {"horizon": 120, "seeds": 512, "learning_rate": 0.1})
        gap = np.abs(curves.exact[0] - curves.mean[2])[-1] / curves.error[2, -1]
        assert gap > 4.0 * STANDARD_ERRORS

    def test_the_stationary_loss_is_where_the_recursion_ends(self):
        mus, rate = [0.2, 0.5, 0.9], 0.3
        found = settled(BOWLS, mus, [rate])
        model = Quadratic(**BOWLS)
        moments = sgd_moments(model, np.tile(np.array(mus)[:, None], 900), rate)
        hessian = 0.5 * (model.hessian_s + model.hessian_r)
        away = moments.mean[:, -1] - model.optimum
        covariance = moments.covariance[:, -1]
        excess = 0.5 * np.einsum("mi,ij,mj->m", away, hessian, away)
        spread = 0.5 * np.einsum("ij,mij->m", hessian, covariance)
        np.testing.assert_allclose(found.misplaced[0], excess, rtol=SETTLED_RTOL)
        np.testing.assert_allclose(found.noise[0], spread, rtol=SETTLED_RTOL)

    def test_the_mean_approaches_at_the_stated_rate(self):
        found = settled(BOWLS, [0.3], [0.3])
        mean = sgd_moments(Quadratic(**BOWLS), np.full(260, 0.3), 0.3).mean
        gone = np.linalg.norm(np.diff(mean, axis=0), axis=-1)
        assert gone[200] / gone[199] == pytest.approx(float(found.rate[0, 0]), rel=1e-4)

    def test_the_best_weight_goes_to_alpha_as_the_steps_get_small(self):
        problem = {**BOWLS, "bias_s": 0.0, "alpha": 0.35}
        found = settled(problem, np.linspace(0.0, 1.0, 401).tolist(), [0.5, 1e-4])
        assert found.best[1] == pytest.approx(0.35, abs=0.0025)
        assert abs(found.best[0] - 0.35) > 0.02

    def test_a_rule_that_reads_something_has_no_schedule(self):
        with refuses("needs a schedule"):
            schedule_of({"kind": "inverse_variance"}, 3)
        with refuses("needs a schedule"):
            schedule_of({"kind": "gac"}, 3)


class TestRuns:
    def test_too_few_seeds_are_refused(self):
        with refuses("too few for a standard error"):
            simulated(Quadratic(), {"fixed": {}}, {"horizon": 5, "seeds": 7})

    def test_an_outcome_that_is_no_number_is_refused(self):
        class Broken(Quadratic):
            def outcomes(self, theta, step):
                found = super().outcomes(theta, step)
                return {**found, "loss": np.where(found["loss"] > 0.0, np.nan, 0.0)}

        with refuses("not finite"):
            simulated(Broken(), {"fixed": {}}, {"horizon": 20, "seeds": 8})

    def test_means_and_errors_are_those_of_the_seeds(self):
        run = {"horizon": 30, "seeds": 64, "trace_seeds": 64}
        found = simulated(Quadratic(), {"fixed": {}}, run)
        plan = Plan(
            problem=Quadratic(),
            controllers=build_controllers({"fixed": {}}),
            settings=RunSettings(**run),
        )
        chunk = Chunk(plan, plan.blocks)
        chunk.advance(30)
        losses = chunk.curves.arrays["trace"][:, chunk.curves.names.index("loss"), :, 0]
        np.testing.assert_allclose(found.mean["loss"][0], losses.mean(axis=0), rtol=ALGEBRA_RTOL)
        spread = losses.std(axis=0, ddof=1) / 8.0
        np.testing.assert_allclose(found.error["loss"][0, 1:], spread[1:], rtol=1e-9)


def enumerated(problem, mu, rate, theta):
    """Every batch of one step and where it leads from theta [n, d]: [paths, n, d], brute force."""
    x, y = problem.data.x, (problem.data.y_s, problem.data.y_r)
    sizes = (problem.batch_s, problem.batch_r)
    draws = [list(itertools.product(range(len(x)), repeat=size)) for size in sizes]
    pairs = [(a, a) for a in draws[0]] if problem.shared_batch else itertools.product(*draws)
    ends = []
    for rows in pairs:
        g_s, g_r = (
            np.mean([(x[i] @ theta.T - y[k][i])[:, None] * x[i] for i in rows[k]], axis=0)
            + problem.ridge * theta
            for k in (0, 1)
        )
        ends.append(theta - rate * (mu * g_s + (1.0 - mu) * g_r))
    return np.stack(ends)


class TestRows:
    @pytest.mark.parametrize(
        "batches",
        [
            {"batch_s": 1, "batch_r": 1},
            {"batch_s": 2, "batch_r": 1},
            {"batch_s": 2, "batch_r": 2, "shared_batch": True},
        ],
    )
    def test_moments_are_those_of_all_batches_enumerated(self, batches):
        problem = Regression(**ROWS, **batches)
        mus, rate = [0.3, 0.8], 0.4
        found = row_moments(problem, mus, rate)
        # Any start of the right moments will do: the recursion is exact for all of them.
        scale = problem.start_spread
        theta = scale * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        np.testing.assert_allclose(found.covariance[0], np.cov(theta.T, ddof=0), atol=1e-15)
        for step, mu in enumerate(mus, start=1):
            theta = enumerated(problem, mu, rate, theta).reshape(-1, 2)
            np.testing.assert_allclose(found.mean[step], theta.mean(axis=0), rtol=ALGEBRA_RTOL)
            np.testing.assert_allclose(
                found.covariance[step], np.cov(theta.T, ddof=0), rtol=ALGEBRA_RTOL
            )

    @pytest.mark.parametrize("mu", [0.0, 0.4, 1.0])
    @pytest.mark.parametrize("shared", [False, True])
    def test_the_second_moment_map_has_radius_one_at_the_limit(self, mu, shared):
        sizes = {"batch_s": 2, "batch_r": 2 if shared else 1}
        problem = Regression(**ROWS, **sizes, shared_batch=shared)
        limit = float(mean_square_limit(problem, mu))
        zero = np.zeros((1, 2))
        radii = []
        for rate in (limit * (1.0 - EDGE), limit * (1.0 + EDGE)):
            shift = enumerated(problem, mu, rate, zero)[:, 0]
            columns = [enumerated(problem, mu, rate, e[None])[:, 0] - shift for e in np.eye(2)]
            matrices = np.stack(columns, axis=-1)
            whole = np.mean([np.kron(a, a) for a in matrices], axis=0)
            radii.append(np.abs(np.linalg.eigvals(whole)).max())
        assert radii[0] < 1.0 < radii[1]

    def test_the_covariance_settles_below_the_limit_and_grows_above(self):
        problem = Regression(dimension=3, batch_s=2, batch_r=2)
        limit = float(mean_square_limit(problem, 0.4))
        below, above = (
            np.trace(row_moments(problem, np.full(600, 0.4), f * limit).covariance[-200:].T)
            for f in (0.95, 1.05)
        )
        assert abs(below[-1] / below[0] - 1.0) < 0.05
        assert above[-1] > 1e3 * above[0]

    def test_large_batches_leave_the_limit_of_the_mean(self):
        problem = Regression(dimension=3, batch_s=10**9, batch_r=10**9)
        assert mean_square_limit(problem, 0.5) == pytest.approx(mean_limit(problem), rel=1e-6)
        hessian = problem.data.x.T @ problem.data.x / 64 + 0.01 * np.eye(3)
        assert mean_limit(problem) == pytest.approx(2.0 / np.linalg.norm(hessian, 2), rel=1e-12)

    def test_the_growth_of_one_dimension_is_the_mean_log_factor(self):
        problem = Regression(dimension=1, examples=4, batch_s=1, batch_r=1, ridge=0.0)
        x2, mu, rate, steps, chains = problem.data.x[:, 0] ** 2, 0.3, 1.1, 400, 50
        logs = np.log(np.abs(1.0 - rate * (mu * x2[:, None] + (1.0 - mu) * x2)))
        found = growth_rate(
            problem, [mu], [rate], rng=np.random.default_rng(0), chains=chains, steps=steps
        )
        error = logs.std() / np.sqrt(chains * 0.9 * steps)
        assert abs(found[0] - logs.mean()) < STANDARD_ERRORS * error

    def test_a_nonlinear_gradient_has_no_closed_recursion(self):
        with refuses("not linear in theta"):
            row_moments(Regression(link="logistic"), [0.5], 0.1)


class TestStability:
    def test_the_boundary_separates_at_every_noise_level(self):
        rates, mus = [0.5, 0.8, 1.1, 1.4, 1.9], [0.0, 0.5, 1.0]
        problem = {"dimension": 3, "curvature_r": 3.0, "rotation": 0.6}
        found = additive_map(problem, mus, rates, [0.01, 100.0], {"horizon": 400, "seeds": 8})
        ratio = np.array(rates)[:, None] / found.limit
        clear = np.abs(ratio - 1.0) > CLEAR
        assert np.count_nonzero(clear & (ratio > 1.0)) >= 4
        assert np.count_nonzero(clear & (ratio < 1.0)) >= 4
        for share in found.share:
            np.testing.assert_array_equal(share[clear], (ratio > 1.0)[clear])

    def test_minibatch_noise_diverges_only_above_the_covariance_boundary(self):
        run = {"horizon": 400, "seeds": 16}
        found = row_map(
            {"dimension": 2},
            [0.0, 0.5, 1.0],
            [0.2, 0.6, 1.0, 1.6],
            [[8, 1]],
            run,
            chains=8,
            chain_steps=300,
        )
        rates = np.array([0.2, 0.6, 1.0, 1.6])[:, None]
        assert found.share[0][rates < found.mean_square[0]].max() == 0.0
        fast = found.growth[0] > FAST_GROWTH
        assert fast.any()
        assert found.share[0][fast].min() == 1.0
        assert (found.mean_square[0] < found.mean).all()


class TestTracking:
    @pytest.mark.parametrize("ratio", [1e-8, 1e-3, 0.5, 40.0])
    def test_the_gain_is_the_fixed_point_of_the_filter(self, ratio):
        variance = 1.0
        for _ in range(200_000):
            predicted = variance + ratio
            gain = predicted / (predicted + 1.0)
            if abs(gain - variance) < 1e-17:
                break
            variance = gain
        assert float(kalman_gain(ratio)) == pytest.approx(gain, rel=1e-9, abs=1e-9)

    @pytest.mark.parametrize("beta", [0.1, 0.7, 0.99])
    def test_the_error_is_the_sum_of_the_impulse_responses(self, beta):
        q, r, k = 0.3, 2.0, np.arange(20_000)
        lag = q * np.sum((beta ** (k + 1.0)) ** 2)
        variance = r * np.sum(((1.0 - beta) * beta**k) ** 2)
        found = ema_error(beta, q, r)
        assert float(found.lag) == pytest.approx(lag, rel=ALGEBRA_RTOL)
        assert float(found.variance) == pytest.approx(variance, rel=ALGEBRA_RTOL)

    @pytest.mark.parametrize("ratio", [1e-4, 0.02, 3.0])
    def test_the_kalman_gain_gives_the_least_error(self, ratio):
        betas = np.linspace(0.0, 0.9999, 20_001)
        least = ema_error(betas, ratio, 1.0).total.min()
        gain = float(kalman_gain(ratio))
        best = float(ema_error(1.0 - gain, ratio, 1.0).total)
        assert best <= least
        assert best == pytest.approx(least, rel=1e-4)
        assert best == pytest.approx(gain, rel=1e-9)

    def test_each_beta_is_the_best_for_its_drift(self):
        betas = np.array([0.2, 0.9, 0.99])
        np.testing.assert_allclose(1.0 - kalman_gain(drift_for(betas)), betas, rtol=1e-12)

    def test_the_controllers_own_average_has_the_stated_error(self):
        betas, ratios = [0.3, 0.9], [1e-3, 0.1]
        mean, error = simulated_error(betas, ratios, trajectories=800, steps=140, seed=3)
        exact = ema_error(np.array(betas), np.array(ratios)[:, None], 1.0).total
        assert (np.abs(mean - exact) < STANDARD_ERRORS * error).all()
        assert (error < 0.1 * exact).all()

    def test_bad_input_is_refused(self):
        with refuses("is not in"):
            ema_error(1.0, 1.0, 1.0)
        with refuses("is not >= 0"):
            kalman_gain(-1.0)
        with refuses("too few for a standard error"):
            simulated_error([0.5], [0.1], trajectories=3, steps=40, seed=0)
        with refuses("of the start"):
            simulated_error([0.99], [0.1], trajectories=8, steps=40, seed=0)


class TestResponse:
    @pytest.mark.parametrize(
        ("pole", "beta", "refresh"),
        [(0.99, 0.99, 10), (0.495, 0.99, 10), (0.0, 0.9, 3), (0.8, 0.8, 1), (0.25, 0.5, 2)],
    )
    def test_the_closed_form_is_the_recursion(self, pole, beta, refresh):
        left, expected = 1.0, [1.0]
        for n in range(1, 1000):
            left = pole * left + (1.0 - pole) * beta ** (-(-n // refresh))
            expected.append(left)
        found = remaining(np.arange(1000), pole=pole, beta=beta, refresh=refresh)
        np.testing.assert_allclose(found, expected, rtol=ALGEBRA_RTOL)
        first = next(n for n, value in enumerate(expected) if value <= 0.5)
        assert steps_to(0.5, pole=pole, beta=beta, refresh=refresh) == first

    @pytest.mark.parametrize("variant", ["documented", "released", "decoupled"])
    def test_the_controller_follows_the_closed_form(self, variant):
        config = {"ema_beta": 0.9, "mu_update_freq": 4}
        switch = run_switch(config, variant=variant, after=120)
        assert not switch.capped
        np.testing.assert_allclose(switch.measured, switch.exact, atol=1e-8)
        weight = authority(GACConfig.variant(variant, **config)).weight
        assert float(switch.size) == pytest.approx(0.5 * weight)

    def test_a_share_outside_the_open_interval_is_refused(self):
        with refuses("is not inside"):
            steps_to(1.0, pole=0.5, beta=0.9, refresh=1)


class TestRecorded:
    def test_the_fit_maximises_the_likelihood_of_the_differences(self):
        rng = np.random.default_rng(5)
        y = np.cumsum(0.4 * rng.standard_normal(60)) + rng.standard_normal(60)
        # A diffuse start leaves the likelihood of the differences, an MA(1) of known covariance.
        d, n = np.diff(y), 59
        lagged = np.eye(n, k=1) + np.eye(n, k=-1)
        logs = []
        for ratio in RATIOS:
            covariance = (ratio + 2.0) * np.eye(n) - lagged
            scale = d @ np.linalg.solve(covariance, d) / n
            logs.append(-0.5 * (n * np.log(scale) + np.linalg.slogdet(covariance)[1]))
        fit = fit_local_level(y)
        assert fit.ratio[0] == RATIOS[int(np.argmax(logs))]
        inside = RATIOS[np.array(logs) >= max(logs) - 0.5 * 3.841458820694124]
        assert (fit.low[0], fit.high[0]) == (inside.min(), inside.max())

    def test_pure_noise_is_compatible_with_no_drift_and_a_walk_is_not(self):
        rng = np.random.default_rng(1)
        assert fit_local_level(rng.standard_normal(300)).low[0] == 0.0
        assert fit_local_level(np.cumsum(rng.standard_normal(300))).low[0] > 0.1

    def test_bad_series_are_refused(self):
        with refuses("is constant"):
            fit_local_level(np.ones(50))
        with refuses("at least 20"):
            fit_local_level(np.arange(19.0))
        with refuses("not finite"):
            fit_local_level([*range(30), float("nan")])

    def test_the_shipped_recording_is_fitted_whole(self, small):
        found = LocalLevel(**small.read(BY_NAME["recorded"]))
        assert found.names.tolist() == ["sigma_s2", "sigma_r2", "delta_g2"]
        assert (found.n == 300).all()
        assert (found.low <= found.ratio).all()
        assert (found.ratio <= found.high).all()


def test_the_answer_is_read_from_the_saved_parts_and_its_figures_draw(small):
    plt = pytest.importorskip("matplotlib.pyplot")
    section = convergence.section(small)
    known = {part.name for part in convergence.parts()}
    assert {finding.part for finding in section.findings} <= known
    assert len({finding.label for finding in section.findings}) == len(section.findings)
    for figure in section.figures:
        drawn, axes = plt.subplots(1, figure.panels, figsize=figure.size)
        assert figure.draw(axes) is axes
        first = axes if figure.panels == 1 else axes[0]
        assert first.get_xlabel()
        assert first.get_ylabel()
        drawn.canvas.draw()
        plt.close(drawn)


def test_a_missing_part_is_named(tmp_path):
    with refuses("convergence.quadratic"):
        convergence.section(Results(tmp_path))
