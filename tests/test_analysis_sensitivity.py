"""Sensitivity: derivatives, Sobol indices, mis-scaled proxies and the regret of the plug-in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import gac_ref
from gac_ref import GACConfig, GACError, Proxies
from gac_ref.risk import closed_form, curvature, regret, risk, sensitivities
from simulations.analysis import sensitivity as question
from simulations.analysis.results import Results
from simulations.analysis.sensitivity import sobol
from simulations.analysis.sensitivity.hyper import (
    HYPERPARAMETERS,
    Values,
    advance,
    begin,
    hyperparameters,
)
from simulations.analysis.sensitivity.local import (
    CONTINUOUS,
    complex_step,
    constant_input_derivatives,
)
from simulations.analysis.sensitivity.plug_in import expected_plug_in, simulated_regret
from simulations.analysis.sensitivity.scaling import misscaled, noisy_regret
from simulations.analysis.sensitivity.training import train
from simulations.engine.controllers import Controller
from simulations.engine.run import Chunk, Plan
from simulations.engine.settings import RunSettings
from simulations.models.bandit import Bandit
from simulations.models.quadratic import Quadratic

EXACT_RTOL = 1e-11
"""Two exact derivatives of a run of a few hundred steps, rounded at each."""

CENTRAL_STEP = 1e-6
"""Relative step of a central difference: its error is about 1e-12 of a third derivative, and
rounding leaves 1e-16 / 1e-6."""

CENTRAL_ATOL = 2e-7
"""Of a central difference with that step, for slopes that grow with hundreds of steps."""

SALIB_ATOL = 5e-3
"""The libraries centre the output on different means, which an estimate from N rows notices."""

K_ERRORS = 4.5
"""Standard errors between simulation and theory: false alarm 7e-6 for each comparison."""

QUADRATURE_RTOL = 3e-4
"""Of a regret by the nodes that are used, against half as many again."""

MASS_ATOL = 5e-4
"""What the quadrature gives for the integral of the density."""


def _random_config(rng: np.random.Generator) -> GACConfig:
    low, high = np.sort(rng.uniform(0.0, 1.0, 2))
    return GACConfig(
        ema_beta=rng.uniform(0.0, 0.999),
        blend_weight=rng.uniform(),
        alpha=rng.uniform(0.1, 0.95),
        mu_min=low,
        mu_max=high,
        init_mu=rng.uniform(low, high),
        mu_change_cap=10.0 ** rng.uniform(-3.0, 0.0),
        mu_update_freq=int(rng.integers(1, 12)),
        delta_g2_cap_ratio=float(rng.choice([0.0, 0.5, 3.0])),
        prior_warmup=int(rng.integers(0, 30)),
        prior_decay=int(rng.integers(0, 40)),
        prior_peak=rng.uniform(),
        prior_valley=rng.uniform(),
        kl_gain=rng.uniform(0.0, 2.0),
        alpha_mode=str(rng.choice(["static", "kl"])),
        weight_ema=str(rng.choice(["applied", "internal", "off"])),
        flat_risk=str(rng.choice(["zero", "alpha"])),
        prior=str(rng.choice(["none", "warmup_cosine"])),
    )


def _random_values(rng: np.random.Generator, steps: int, n: int = 3) -> list[Values]:
    return [
        Values(
            rng.lognormal(sigma=2.0, size=n),
            rng.lognormal(sigma=2.0, size=n),
            rng.normal(0.5, 2.0, size=n),
            np.abs(rng.normal(0.02, 0.005, size=n)),
        )
        for _ in range(steps)
    ]


def _reference_run(
    config: GACConfig, values: list[Values]
) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """The real controller: mu and the raw estimate at every step, and the flags."""
    shape = np.shape(values[0].sigma_s2)
    state, mu, raw, flags = gac_ref.init(config, shape), [], [], []
    for step, now in enumerate(values):
        proxies = Proxies(*now[:3], kl=now.kl)
        state, info = gac_ref.update_from_proxies(config, state, proxies, step=step)
        mu.append(info.mu)
        raw.append(info.mu_raw)
        flags.append(info.flags)
    return np.stack(mu), np.stack(raw), flags


@pytest.mark.parametrize("seed", range(25))
def test_a_hyperparameter_a_trajectory_gives_the_controller_s_bits(seed: int) -> None:
    rng = np.random.default_rng([7, seed])
    config, values = _random_config(rng), _random_values(rng, 60)
    mu, raw, _ = _reference_run(config, values)
    h = hyperparameters(config, {})
    state = begin(h, (3,))
    for step, now in enumerate(values):
        state, estimate = advance(config, h, state, now, step)
        assert np.array_equal(state.mu, mu[step])
        assert np.array_equal(estimate, raw[step])


def test_flat_risk_and_the_released_floor_are_those_of_the_controller() -> None:
    values = [Values(np.zeros(1), np.zeros(1), np.zeros(1)), Values(np.ones(1), *2 * [np.ones(1)])]
    for flat in ("alpha", "zero"):
        config = GACConfig(flat_risk=flat, alpha=0.3, mu_update_freq=1)
        h = hyperparameters(config, {})
        state, raw = advance(config, h, begin(h, (1,)), values[0], 0)
        assert float(raw[0]) == (0.3 if flat == "alpha" else 0.0)
        assert np.array_equal(state.mu, _reference_run(config, values[:1])[0][0])


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [(Quadratic(proxy="estimated", dimension=4), "loss"), (Bandit(groups=2), "reward")],
    ids=["quadratic", "bandit"],
)
def test_training_gives_the_engine_s_bits(problem: Any, outcome: str) -> None:
    configs = [
        GACConfig(alpha=0.3, alpha_mode="static"),
        GACConfig(alpha=0.7, trim_ratio=0.3, mu_update_freq=7, mask_eps=1e-4),
        GACConfig(alpha=0.5, blend_weight=0.95, ema_beta=0.6),
    ]
    names = ("alpha", "trim_ratio", "mu_update_freq", "mask_eps", "blend_weight", "ema_beta")
    changes = {name: [getattr(c, name) for c in configs] for name in names}
    plan = Plan(
        problem=problem,
        controllers=tuple(Controller(str(i), c) for i, c in enumerate(configs)),
        settings=RunSettings(horizon=25, seeds=3, learning_rate=0.1, seed=5, measure_every=1),
    )
    chunk = Chunk(plan, plan.blocks)
    chunk.advance(25)
    result = chunk.result()
    found = train(
        problem,
        GACConfig(),
        changes,
        outcome=outcome,
        horizon=25,
        seeds=3,
        learning_rate=0.1,
        seed=5,
    )
    assert np.array_equal(found.outcome, result[f"metric/{outcome}_final"])
    assert np.allclose(found.mu_mean, result["metric/mu_mean"], rtol=1e-12)


def test_a_kl_driven_alpha_trains_as_in_the_engine() -> None:
    config = GACConfig(alpha_mode="kl", kl_gain=1.0)
    plan = Plan(
        problem=Bandit(groups=2),
        controllers=(Controller("a", config),),
        settings=RunSettings(horizon=20, seeds=2, learning_rate=0.2),
    )
    chunk = Chunk(plan, plan.blocks)
    chunk.advance(20)
    found = train(
        Bandit(groups=2),
        config,
        {"alpha": [0.5]},
        outcome="reward",
        horizon=20,
        seeds=2,
        learning_rate=0.2,
    )
    assert np.array_equal(found.outcome, chunk.result()["metric/reward_final"])


def test_a_scale_on_a_proxy_is_a_scale_on_the_closed_form() -> None:
    """With exact proxies, one step, and nothing after the closed form."""
    problem = Quadratic(sigma_s2=1.0, sigma_r2=3.0, separation=0.0, start_distance=0.0, dimension=2)
    config = GACConfig(
        weight_ema="off", prior="none", mu_change_cap=1.0, mu_min=0.0, mu_max=1.0, alpha=0.2
    )
    scales = {"scale_s": [1.0, 9.0], "scale_r": [1.0, 1.0]}
    found = train(problem, config, scales, outcome="loss", horizon=1, seeds=2, learning_rate=0.1)
    assert np.allclose(found.mu[:, 0], [0.75, 0.25], rtol=EXACT_RTOL)


@pytest.mark.parametrize("seed", range(8))
def test_derivatives_agree_with_central_differences_of_the_controller(seed: int) -> None:
    rng = np.random.default_rng([13, seed])
    config = _random_config(rng).replace(mu_change_cap=0.02 * (1 + seed))
    values = _random_values(rng, 40, n=4)
    _, slope = complex_step(config, values)
    compared = 0
    for p, name in enumerate(CONTINUOUS):
        at = getattr(config, name)
        if name == "eps" or (name == "delta_g2_cap_ratio" and at == 0.0):
            continue  # 1e-8 is smaller than the step; a ratio of 0 switches the cap off
        h = CENTRAL_STEP * max(at, 0.01)  # small ones have large higher derivatives
        try:
            ends = [config.replace(**{name: at + s * h}) for s in (-1, 1)]
        except GACError:
            continue  # on the border of its range
        (low, _, flags_low), (high, _, flags_high) = (_reference_run(c, values) for c in ends)
        same = np.array(
            [
                np.logical_and.reduce([a[f] == b[f] for f in a if a[f].shape == (4,)])
                for a, b in zip(flags_low, flags_high, strict=True)
            ]
        )
        smooth = np.logical_and.accumulate(same, axis=0)
        central = (high - low) / (2.0 * h)
        error = np.abs(central - slope[p])[smooth]
        assert error.max(initial=0.0) <= CENTRAL_ATOL * (1.0 + np.abs(slope[p]).max()), name
        compared += int(smooth.sum())
    assert compared > 500


def test_every_continuous_hyperparameter_has_an_effect_somewhere() -> None:
    touched = np.zeros(len(CONTINUOUS), dtype=np.bool_)
    for seed in range(40):
        rng = np.random.default_rng([13, seed])
        config = _random_config(rng).replace(flat_risk="zero")
        if config.alpha_mode == "kl":
            config = config.replace(alpha_min=0.4, alpha_max=0.6, alpha=0.5)
        _, slope = complex_step(config, _random_values(rng, 40))
        touched |= slope.any(axis=(1, 2))
    assert touched.all(), [n for n, t in zip(CONTINUOUS, touched, strict=True) if not t]


def _constant_setting() -> tuple[GACConfig, tuple[float, float, float]]:
    wide = {"mu_min": 0.0, "mu_max": 1.0, "mu_change_cap": 1.0}
    config = GACConfig(
        ema_beta=0.9,
        blend_weight=0.7,
        prior_warmup=0,
        prior_decay=0,
        init_mu=0.6,
        alpha=0.3,
        **wide,
    )
    return config, (1.0, 3.0, 2.0)


@pytest.mark.parametrize("steps", [1, 7, 200])
def test_closed_form_derivatives_at_constant_inputs(steps: int) -> None:
    config, proxies = _constant_setting()
    found = constant_input_derivatives(config, *proxies, steps=steps)
    names = [name for name in found if name in CONTINUOUS]
    assert len(names) == 5
    _, slope = complex_step(config, [Values(*proxies)] * steps, names)
    for p, name in enumerate(names):
        assert slope[p, -1, 0] == pytest.approx(float(found[name]), rel=EXACT_RTOL, abs=1e-14)
    for k, name in enumerate(("sigma_s2", "sigma_r2", "delta_g2")):
        ends = []
        for sign in (-1.0, 1.0):
            moved = np.array(proxies)
            moved[k] += sign * CENTRAL_STEP
            ends.append(_reference_run(config, [Values(*(moved[:, None]))] * steps)[0][-1, 0])
        central = (ends[1] - ends[0]) / (2.0 * CENTRAL_STEP)
        assert central == pytest.approx(float(found[name]), abs=CENTRAL_ATOL)


def test_sensitivity_to_alpha_is_the_authority_times_that_of_the_closed_form() -> None:
    config = GACConfig(prior_warmup=0, prior_decay=0)
    found = constant_input_derivatives(config, 1.0, 3.0, 4.0, steps=5000)
    weight = gac_ref.authority(config).weight
    assert float(found["alpha"]) == pytest.approx(0.5 * weight, rel=EXACT_RTOL)


def test_derivatives_of_the_closed_form_by_complex_step() -> None:
    rng = np.random.default_rng(3)
    point = rng.lognormal(size=(4, 50))
    point[3] = rng.uniform(size=50)
    exact = sensitivities(*point)
    for k, name in enumerate(("sigma_s2", "sigma_r2", "delta_g2", "alpha")):
        x = point.astype(complex)
        x[k] += 1e-30j
        s, r, d, a = x
        slope = ((a * d + r) / (d + s + r)).imag / 1e-30
        assert np.allclose(getattr(exact, name), slope, rtol=EXACT_RTOL, atol=1e-15)


def _ishigami(unit: np.ndarray, a: float = 7.0, b: float = 0.1) -> np.ndarray:
    x = np.pi * (2.0 * unit - 1.0)
    return np.sin(x[:, 0]) + a * np.sin(x[:, 1]) ** 2 + b * x[:, 2] ** 4 * np.sin(x[:, 0])


def _ishigami_indices(a: float = 7.0, b: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    v1 = 0.5 * (1.0 + b * np.pi**4 / 5.0) ** 2
    v2, v13 = a**2 / 8.0, 8.0 * b**2 * np.pi**8 / 225.0
    v = v1 + v2 + v13
    return np.array([v1, v2, 0.0]) / v, np.array([v1 + v13, v2, v13]) / v


ISHIGAMI_ERRORS = 1.9
"""An index from N rows lies within this over the root of N: three standard errors, about."""


@pytest.mark.parametrize("library", [sobol.salib_indices, sobol.scipy_indices])
def test_indices_of_a_function_with_known_ones(library: Any) -> None:
    rows = 4096
    y = _ishigami(sobol.design(3, rows, seed=2))
    found = library(y, 3, resamples=100, seed=0)
    first, total = _ishigami_indices()
    most = ISHIGAMI_ERRORS / np.sqrt(rows)
    assert np.abs(found.first - first).max() < most
    assert np.abs(found.total - total).max() < most
    assert (found.first_low <= found.first).all()
    assert (found.total <= found.total_high).all()


def test_an_input_that_changes_nothing_has_no_index_and_no_width() -> None:
    x = sobol.design(3, 64, seed=3)
    for library in (sobol.salib_indices, sobol.scipy_indices):
        found = library(x[:, 0] + x[:, 2] ** 2, 3, resamples=100, seed=0)
        assert all(float(values[1]) == 0.0 for values in found[:6])


def test_the_libraries_agree_on_the_same_evaluations() -> None:
    y = _ishigami(sobol.design(3, 256, seed=4)) + 5.0
    one, two = (f(y, 3, resamples=200, seed=0) for f in (sobol.salib_indices, sobol.scipy_indices))
    for name in ("first", "total"):
        assert np.abs(getattr(one, name) - getattr(two, name)).max() < SALIB_ATOL
    for name in ("first_low", "first_high", "total_low", "total_high"):
        gap = np.abs(getattr(one, name) - getattr(two, name)).max()
        assert gap < 0.5 * (one.first_high - one.first_low).max(), name


COVERED_AT_LEAST = 0.85
"""Of 120 intervals of 95 %; they are conservative on scrambled Sobol rows, and not independent."""


def test_bootstrap_intervals_cover_the_known_indices() -> None:
    first, total = _ishigami_indices()
    hits = []
    for seed in range(20):
        y = _ishigami(sobol.design(3, 256, seed=seed))
        found = sobol.salib_indices(y, 3, resamples=100, seed=seed)
        hits.append((found.first_low <= first) & (first <= found.first_high))
        hits.append((found.total_low <= total) & (total <= found.total_high))
    assert np.mean(hits) >= COVERED_AT_LEAST


def test_factors_span_their_ranges_by_their_laws() -> None:
    u = np.linspace(0.0, 1.0, 1001)[:, None]
    ranges = {
        "linear": (0.2, 0.7),
        "log": (1e-3, 1e-1),
        "log_complement": (0.7, 0.999),
        "integer": (1, 30),
        "levels": (0.0, 0.4375),
    }
    for kind, (low, high) in ranges.items():
        x = sobol.in_units(u, [sobol.Factor("x", low, high, kind)])["x"]
        assert (x[0], x[-1]) == (pytest.approx(low), pytest.approx(high))
        assert (np.diff(x) >= 0.0).all()
        if kind in ("integer", "levels"):
            values, counts = np.unique(x[:-1], return_counts=True)
            assert values.size == (30 if kind == "integer" else sobol.LEVELS)
            assert np.ptp(counts) <= 1
    middle = sobol.in_units(np.array([[0.5]]), [sobol.Factor("b", 0.9, 0.999, "log_complement")])
    assert 1.0 - middle["b"][0] == pytest.approx(1e-2, rel=1e-9)


CASES = [(2, 2, 1.0), (4, 4, 0.0), (4, 4, 3.0), (32, 4, 1.0), (8, 16, 10.0)]


@pytest.mark.parametrize(("dimension", "samples", "delta_g2"), CASES)
@pytest.mark.parametrize("removal", [0.0, 0.5, 1.0])
def test_quadrature_has_converged(
    dimension: int, samples: int, delta_g2: float, removal: float
) -> None:
    at = {"alpha": 0.5, "dimension": dimension, "samples": samples, "removal": removal}
    found = expected_plug_in(1.0, 4.0, delta_g2, **at)
    finer = expected_plug_in(1.0, 4.0, delta_g2, nodes=50, **at)
    assert found.mass == pytest.approx(1.0, abs=MASS_ATOL)
    assert found.regret == pytest.approx(finer.regret, rel=QUADRATURE_RTOL)
    assert found.regret == pytest.approx(
        float(curvature(1.0, 4.0, delta_g2))
        * (found.variance + (found.mean - float(closed_form(1.0, 4.0, delta_g2))) ** 2),
        rel=1e-9,
    )


@pytest.mark.parametrize(("dimension", "samples", "delta_g2"), CASES)
def test_exact_and_simulated_regret_agree(dimension: int, samples: int, delta_g2: float) -> None:
    at = {"alpha": 0.3, "dimension": dimension, "samples": samples}
    drawn = simulated_regret(1.0, 4.0, delta_g2, trials=4000, seed=dimension, **at)
    for values, removal in zip(drawn, (0.0, 1.0), strict=True):
        exact = expected_plug_in(1.0, 4.0, delta_g2, removal=removal, **at)
        error = values.std(ddof=1) / np.sqrt(values.size)
        assert abs(values.mean() - exact.regret) < K_ERRORS * error


def test_half_removal_agrees_with_draws_from_the_laws() -> None:
    rng = np.random.default_rng(5)
    d, n, s2, r2, d2, trials = 4, 3, 1.0, 2.0, 1.5, 200_000
    nu, noise = (n - 1) * d, s2 + r2
    s, r = (x * rng.chisquare(nu, trials) / nu for x in (s2, r2))
    plain = noise / d * stats.ncx2.rvs(d, d * d2 / noise, size=trials, random_state=rng)
    mu = closed_form(s, r, np.maximum(plain - 0.5 * (s + r), 0.0), 0.2)
    lost = regret(mu, s2, r2, d2, 0.2)
    exact = expected_plug_in(s2, r2, d2, alpha=0.2, dimension=d, samples=n, removal=0.5)
    assert abs(lost.mean() - exact.regret) < K_ERRORS * lost.std() / np.sqrt(trials)
    clipped = float((plain < 0.5 * (s + r)).mean())
    assert exact.clipped == pytest.approx(clipped, abs=K_ERRORS * 0.5 / np.sqrt(trials))
    assert exact.mean == pytest.approx(mu.mean(), abs=K_ERRORS * mu.std() / np.sqrt(trials))


def test_in_high_dimension_only_the_bias_is_left() -> None:
    """All three estimates concentrate: plain D2 on D2 + s + r, the unbiased one on the truth."""
    s, r, d = 1.0, 4.0, 2.5
    at = {"alpha": 0.5, "dimension": 3000, "samples": 8}
    plain = expected_plug_in(s, r, d, removal=0.0, **at)
    limit = float(closed_form(s, r, d + s + r, 0.5))
    assert plain.mean == pytest.approx(limit, abs=1e-3)
    assert plain.regret == pytest.approx(float(regret(limit, s, r, d, 0.5)), rel=0.02)
    assert expected_plug_in(s, r, d, removal=1.0, **at).relative < 1e-3


def test_removing_the_bias_hurts_where_the_disagreement_does_not_matter() -> None:
    """With alpha at the inverse-variance weight, D2 only dilutes the errors of the variances."""
    at = {"alpha": 0.8, "dimension": 8, "samples": 4}
    lost = [expected_plug_in(1.0, 4.0, 1.0, removal=c, **at).regret for c in (0.0, 0.5, 1.0)]
    assert lost[0] < lost[1] < lost[2]


def test_misscaled_proxies_by_brute_force() -> None:
    factors = np.array([0.01, 0.5, 1.0, 30.0])
    found = misscaled(1.0, 4.0, 2.0, 0.3, factors)
    for k in range(3):
        for f, factor in enumerate(factors):
            seen = np.array([1.0, 4.0, 2.0])
            seen[k] *= factor
            mu = (0.3 * seen[2] + seen[1]) / seen.sum()
            grid = risk(np.linspace(0.0, 1.0, 200_001), 1.0, 4.0, 2.0, 0.3).min()
            relative = float(risk(mu, 1.0, 4.0, 2.0, 0.3)) / grid - 1.0
            assert found.mu[k, f] == pytest.approx(mu, rel=1e-12)
            assert found.relative[k, f] == pytest.approx(relative, abs=1e-9)


def test_noisy_proxies_against_draws_and_the_first_order() -> None:
    rng = np.random.default_rng(8)
    spread = (0.5, 0.8, 0.3)
    exact, _ = noisy_regret(1.0, 2.0, 3.0, 0.4, spread=spread)
    tau = np.sqrt(np.log1p(np.square(spread)))
    z = rng.standard_normal((3, 200_000))
    seen = np.array([[1.0], [2.0], [3.0]]) * np.exp(tau[:, None] * z - 0.5 * tau[:, None] ** 2)
    best = float(closed_form(1.0, 2.0, 3.0, 0.4))
    lost = regret(closed_form(*seen, 0.4), 1.0, 2.0, 3.0, 0.4) / risk(best, 1.0, 2.0, 3.0, 0.4)
    assert abs(lost.mean() - exact) < K_ERRORS * lost.std() / np.sqrt(lost.size)
    small, linear = noisy_regret(1.0, 2.0, 3.0, 0.4, spread=(1e-3, 1e-3, 1e-3))
    assert small == pytest.approx(linear, rel=1e-4)
    assert noisy_regret(1.0, 2.0, 3.0, 0.4, spread=(0.0, 0.0, 0.0))[0] == pytest.approx(0.0)


def test_bad_input_is_refused_with_its_value() -> None:
    constant = np.full(4 * 5, 2.5)
    with pytest.raises(GACError, match=r"output is 2\.5 everywhere"):
        sobol.salib_indices(constant, 3, resamples=100, seed=0)
    broken = np.arange(20.0)
    broken[3] = np.nan
    with pytest.raises(GACError, match="outputs of the design: 1 of 20 values are not finite"):
        sobol.scipy_indices(broken, 3, resamples=100, seed=0)
    with pytest.raises(GACError, match=r"shape \(19,\), which is no design of 3"):
        sobol.salib_indices(np.arange(19.0), 3, resamples=100, seed=0)
    with pytest.raises(GACError, match="resamples = 10 is below 100"):
        sobol.salib_indices(np.arange(20.0), 3, resamples=10, seed=0)
    with pytest.raises(GACError, match="n = 100 is not a power of two"):
        sobol.design(3, 100, seed=0)
    with pytest.raises(GACError, match="dimension = 0 is below 1"):
        sobol.design(0, 8, seed=0)
    with pytest.raises(GACError, match=r"low = 1\.0 and high = 1\.0"):
        sobol.in_units(np.zeros((1, 1)), [sobol.Factor("x", 1.0, 1.0)])
    with pytest.raises(GACError, match="kind = 'odd' is not one of"):
        sobol.in_units(np.zeros((1, 1)), [sobol.Factor("x", 0.0, 1.0, "odd")])
    with pytest.raises(GACError, match="'use_phi' cannot differ by trajectory"):
        hyperparameters(GACConfig(), {"use_phi": [True]})
    with pytest.raises(GACError, match="no derivative to 'mu_update_freq'"):
        complex_step(GACConfig(), [Values(1.0, 1.0, 1.0)], ["mu_update_freq"])
    with pytest.raises(GACError, match="of the released feedback with a prior"):
        constant_input_derivatives(GACConfig.decoupled(), 1.0, 1.0, 1.0, steps=3)
    with pytest.raises(GACError, match="prior_warmup = 200"):
        constant_input_derivatives(GACConfig(), 1.0, 1.0, 1.0, steps=3)
    with pytest.raises(GACError, match=r"factors \[0\.0\] are not all positive"):
        misscaled(1.0, 1.0, 1.0, 0.5, [0.0])
    with pytest.raises(GACError, match="holds a negative value"):
        noisy_regret(1.0, 1.0, 1.0, 0.5, spread=(0.1, -0.1, 0.0))
    at = {"alpha": 0.5, "dimension": 2, "samples": 2, "removal": 1.0}
    for name, value in (("alpha", 1.5), ("dimension", 0), ("samples", 1), ("removal", 2.0)):
        with pytest.raises(GACError, match=f"{name} = {value}"):
            expected_plug_in(1.0, 1.0, 1.0, **{**at, name: value})
    with pytest.raises(GACError, match=r"sigma_s2 = 0\.0"):
        expected_plug_in(0.0, 1.0, 1.0, **at)
    with pytest.raises(GACError, match="trials = 1 is below 2"):
        simulated_regret(1.0, 1.0, 1.0, alpha=0.5, dimension=2, samples=2, trials=1, seed=0)
    far = {"outcome": "loss", "horizon": 400, "seeds": 1, "learning_rate": 50.0}
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(GACError, match=r"loss of quadratic: .* not finite"),
    ):
        train(Quadratic(dimension=2), GACConfig(), {"alpha": [0.5]}, **far)


def _small_parts() -> tuple[Any, ...]:
    """Every part with fewer seeds, rows and points."""
    smaller: dict[str, dict[str, Any]] = {
        "local": {"seeds": 2, "steps": 260},
        "changes": {"changes": [{"trim_ratio": 0.0}, {"prior_warmup": 100}]},
        "quadratic": {"rows": 16, "horizon": 15, "resamples": 100},
        "quadratic_internal": {"rows": 16, "horizon": 15, "resamples": 100},
        "bandit": {"rows": 8, "horizon": 6, "resamples": 100},
        "scaled_runs": {"points": 5, "horizon": 30, "seeds": 4},
        "plug_in": {"points": 2, "trials": 50},
    }
    return tuple(
        replace(part, settings={**part.settings, **smaller.get(part.name.partition(".")[2], {})})
        for part in question.parts()
    )


@pytest.mark.slow
def test_section_states_what_the_parts_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from simulations.analysis.sensitivity import findings

    changed = {"trim_ratio 0.0 mu", "prior_warmup 100 mu"}
    parts, results = _small_parts(), Results(tmp_path)
    with pytest.raises(GACError, match="missing; compute it with"):
        question.section(results)
    for part in parts:
        results.write(part, part.compute(**part.settings))
    monkeypatch.setattr(question, "parts", lambda: parts)
    section = question.section(results)
    assert {finding.part for finding in section.findings} == {part.name for part in parts}
    moved = findings.changes(parts[1], results.read(parts[1]))
    assert all(moved[key].text() in section.answer[0] for key in changed)
    saved = results.read(parts[7])
    plain = next(f for f in section.findings if f.label.endswith("plain, d = 256, n = 4"))
    assert plain.value == saved["relative"][0, 4, 0, 0]
    for figure in section.figures:
        fig, axes = plt.subplots(1, figure.panels)
        figure.draw(axes)
        fig.canvas.draw()
        plt.close(fig)
    broken = results.read(parts[6])
    broken["outcome"][0, 0, 0, 0] = np.nan
    results.write(parts[6], broken)
    with pytest.raises(GACError, match=r"outcome of sensitivity\.scaled_runs: 1 of"):
        question.section(results)


def test_the_same_settings_give_the_same_bytes() -> None:
    for index in (2, 6):
        part = _small_parts()[index]
        first, second = (part.compute(**part.settings) for _ in range(2))
        assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_factors_of_the_studies_are_hyperparameters_that_can_differ() -> None:
    known = {*HYPERPARAMETERS, "trim_ratio", "scale_s", "scale_r", "scale_d"}
    for factors in (question.QUADRATIC_FACTORS, question.BANDIT_FACTORS):
        names = [factor[0] for factor in factors]
        assert set(names) <= known
        assert len(set(names)) == len(names)
    assert {factor[0] for factor in question.BANDIT_FACTORS} == known
