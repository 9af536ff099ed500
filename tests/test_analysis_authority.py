"""Authority: the linear theory against the controller, and exact contributions to mu."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import signal

import gac_ref
from gac_ref import GACConfig, GACError, Proxies
from gac_ref.traces import TraceReader
from simulations.analysis import authority as question
from simulations.analysis.authority import linear
from simulations.analysis.authority.decomposition import (
    PARTS,
    Decomposition,
    covariance_shares,
    decompose,
    path_shares,
)
from simulations.analysis.authority.guarded_run import (
    GuardedRun,
    record,
    recorded_proxies,
    run_proxies,
)
from simulations.analysis.authority.movement import largest_movement, movement_bound, two_runs
from simulations.analysis.authority.regimes import regime_proxies, run_regimes
from simulations.analysis.results import Results
from simulations.recording import SHIPPED_TRACE

SUM_ULPS = 64 * np.finfo(float).eps
"""Five sums of products below 2 in size, each rounded a few times; errors fade with the pole."""

EXACT_ULPS = 2.0**-44
"""Float parts against rational ones: rounding accumulates over at most 1 / (1 - 0.99) steps."""

LINEAR_RTOL = 1e-12
"""Two closed forms of the same number."""

WIDE = {"mu_min": 0.0, "mu_max": 1.0, "mu_change_cap": 1.0}
"""Bounds that never act."""

VARIANTS: dict[str, dict[str, Any]] = {
    "released": {},
    "lambda": {"blend_weight": 0.9},
    "none": {"prior": "none"},
    "internal": {"weight_ema": "internal"},
    "off": {"weight_ema": "off"},
    "fast": {"ema_beta": 0.6, "weight_ema": "internal", "mu_change_cap": 0.004},
    "narrow": {"mu_min": 0.45, "mu_max": 0.55, "ema_beta": 0.5, "mu_update_freq": 1},
    "no memory": {"ema_beta": 0.0},
}


def _random_proxies(steps: int, seeds: int = 3, *, late: bool = False) -> list[Proxies]:
    rng = np.random.default_rng(11)
    out = []
    for step in range(steps):
        s, r, d = rng.lognormal(sigma=1.5, size=(3, seeds))
        out.append(Proxies(s, r, d, has_r=not (late and step < 25)))
    return out


def _run(
    changes: dict[str, Any], steps: int = 120, *, late: bool = False
) -> tuple[GACConfig, GuardedRun]:
    config = GACConfig(**changes)
    return config, run_proxies(config, _random_proxies(steps, late=late), (3,))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("origin", [None, 0.0, 0.9])
def test_parts_sum_to_mu_to_the_last_bits(name: str, late: bool, origin: float | None) -> None:
    config, run = _run(VARIANTS[name], late=late)
    found = decompose(config, run, origin=origin)
    assert found.residual <= SUM_ULPS
    if origin is None:
        assert not found.parts[PARTS.index("initial")].any()


def test_every_saturation_acts_somewhere_in_these_runs() -> None:
    runs = [_run(changes)[1] for changes in VARIANTS.values()]
    for name in ("ada_clipped", "change_capped", "mu_clipped"):
        acted = any(getattr(run, name).any() for run in runs)
        if name == "mu_clipped":  # a blend of two values inside the bounds rarely leaves them
            config = GACConfig(prior_peak=1.0, mu_max=0.6, prior_warmup=10, mu_change_cap=0.2)
            run = run_proxies(config, _random_proxies(60), (3,))
            assert decompose(config, run).residual <= SUM_ULPS
            acted = acted or run.mu_clipped.any()
        assert acted, name


@pytest.mark.parametrize("name", ["released", "internal", "fast", "narrow", "none"])
def test_rational_arithmetic_leaves_nothing_over(name: str) -> None:
    config, run = _run(VARIANTS[name], steps=120, late=True)
    exact, rounding = _rational_parts(config, run, trajectory=1)
    found = decompose(config, run).parts[:, :, 1]
    for t in range(run.mu.shape[0]):
        total = Fraction(config.init_mu) + sum(exact[t]) + rounding[t]
        assert total == Fraction(float(run.mu[t, 1]))  # exactly
        assert abs(float(rounding[t])) <= EXACT_ULPS
        assert np.abs(np.array([float(x) for x in exact[t]]) - found[:, t]).max() <= EXACT_ULPS


def _rational_parts(
    config: GACConfig, run: GuardedRun, trajectory: int
) -> tuple[list[list[Fraction]], list[Fraction]]:
    """The parts in exact arithmetic, with the controller's own rounding as a part of its own."""
    i, o = trajectory, Fraction(config.init_mu)
    internal = config.weight_ema == "internal"
    lam = Fraction(config.blend_weight) if config.prior != "none" else Fraction(1)
    carried, rounding, fed = [Fraction(0)] * 5, Fraction(0), o
    out, left = [], []
    for t in range(run.mu.shape[0]):
        keep = Fraction(1) if run.held[t, i] else Fraction(config.ema_beta)
        raw, ada, cand, capped, mu = (
            Fraction(float(x[t, i]))
            for x in (run.mu_raw, run.mu_ada, run.mu_candidate, run.mu_capped, run.mu)
        )
        a = [keep * x for x in carried]
        a[0] += (1 - keep) * (raw - o)
        smoothed = keep * fed + (1 - keep) * raw
        if run.ada_clipped[t, i]:
            a[4] += ada - smoothed
        a_rounding = keep * rounding + (0 if run.ada_clipped[t, i] else ada - smoothed)
        m = [lam * x for x in a]
        blended = lam * ada
        if config.prior != "none":
            prior = Fraction(float(run.prior[t]))
            m[1] += (1 - lam) * (prior - o)
            blended += (1 - lam) * prior
        m_rounding = lam * a_rounding + cand - blended
        m[3] += capped - cand
        m[4] += mu - capped
        out.append(m)
        left.append(m_rounding)
        carried, rounding, fed = (a, a_rounding, ada) if internal else (m, m_rounding, mu)
    return out, left


@pytest.mark.parametrize("name", ["released", "lambda", "internal", "off", "none"])
def test_parts_are_the_inputs_through_the_transfer_functions(name: str) -> None:
    config, run = _run({**VARIANTS[name], **WIDE})
    found = decompose(config, run).parts
    stack = linear.linear_stack(config)
    for part, channel, source in (
        ("estimate", stack.estimate, run.mu_raw),
        ("prior", stack.prior, np.broadcast_to(run.prior[:, None], run.mu.shape)),
    ):
        if part == "prior" and config.prior == "none":
            continue
        expected = signal.lfilter([channel.b], [1.0, -channel.a], source - config.init_mu, axis=0)
        assert np.abs(found[PARTS.index(part)] - expected).max() <= EXACT_ULPS
    assert not found[2:].any()


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_linear_theory_agrees_with_the_core(changes: dict[str, Any]) -> None:
    config = GACConfig(**changes)
    core, stack = gac_ref.authority(config), linear.linear_stack(config)
    assert linear.dc_gain(stack.estimate) == pytest.approx(core.weight, rel=LINEAR_RTOL)
    assert linear.dc_gain(stack.prior) == pytest.approx(core.prior_weight, rel=LINEAR_RTOL)
    assert (stack.estimate.a, linear.settling_steps(stack.estimate)) == (
        core.pole,
        core.settling_steps,
    )


def test_gain_map_and_its_inverse() -> None:
    lam, beta = np.linspace(0.0, 1.0, 5), np.array([[0.0], [0.5]])
    short = {"prior_warmup": 1, "prior_decay": 1}
    for i, row in enumerate(linear.gain_map(lam, beta)):
        for x, weight in zip(lam, row, strict=True):
            core = gac_ref.authority(GACConfig(blend_weight=x, ema_beta=float(beta[i, 0]), **short))
            assert weight == pytest.approx(core.weight, rel=LINEAR_RTOL, abs=LINEAR_RTOL)
    assert np.allclose(linear.blend_weight_for(linear.gain_map(lam, beta), beta), lam, atol=1e-12)


@pytest.mark.parametrize("channel", [linear.Channel(0.3, 0.9), linear.Channel(0.005, 0.495)])
def test_responses_against_scipy(channel: linear.Channel) -> None:
    b, a = [channel.b], [1.0, -channel.a]
    omega = np.linspace(1e-3, 3.0, 50)
    assert np.allclose(linear.frequency_response(channel, omega), signal.freqz(b, a, omega)[1])
    steps = signal.lfilter(b, a, np.ones(80))
    assert np.allclose(linear.step_response(channel, 80), steps, rtol=LINEAR_RTOL)
    impulse = signal.lfilter(b, a, np.eye(1, 4000)[0])
    assert linear.noise_gain(channel) == pytest.approx((impulse**2).sum(), rel=1e-9)
    weights = impulse / impulse.sum()
    assert linear.delay(channel) == pytest.approx((np.arange(4000) * weights).sum(), rel=1e-9)
    corner = linear.half_power_frequency(channel)
    power = abs(linear.frequency_response(channel, corner)) ** 2 / linear.dc_gain(channel) ** 2
    assert power == pytest.approx(0.5, rel=1e-9)
    settled = linear.settling_steps(channel)
    gap = 1.0 - steps / linear.dc_gain(channel)
    assert gap[settled - 1] <= 0.02 < gap[settled - 2]


@pytest.mark.parametrize(("lam", "most"), [(0.5, 0.0089), (0.9, 0.074), (1.0, 0.85)])
def test_released_movement_over_1400_steps(lam: float, most: float) -> None:
    config = GACConfig.released(blend_weight=lam)
    ends = {"low": 0.05, "high": 0.95, "steps": 1400}
    measured = largest_movement(config, **ends)
    assert round(measured, 4 if lam == 0.5 else 3) == most
    # The cap acts on both runs alike at the start, so the theory holds to the released eps.
    assert measured == pytest.approx(movement_bound(config, **ends), abs=1e-6)


def test_shares_are_those_of_the_definition() -> None:
    config, run = _run(VARIANTS["internal"])
    found = decompose(config, run)
    shares, paths = covariance_shares(found), path_shares(found)
    for seed in range(3):
        for k in range(5):
            together = np.cov(found.parts[k, :, seed], found.parts[:, :, seed].sum(axis=0))
            assert shares[k, seed] == pytest.approx(together[0, 1] / together[1, 1], abs=1e-10)
    assert np.allclose(shares.sum(axis=0), 1.0)
    assert np.allclose(paths.sum(axis=0), 1.0)
    assert (paths >= 0.0).all()


def test_the_estimate_has_all_without_a_prior_and_nothing_at_lambda_zero() -> None:
    config, run = _run({"prior": "none", **WIDE})
    assert np.allclose(covariance_shares(decompose(config, run))[0], 1.0)
    config, run = _run({"blend_weight": 0.0})
    assert not decompose(config, run).parts[0].any()


def test_the_controller_s_own_update_records_the_same_run_as_the_recorded_proxies() -> None:
    config = GACConfig(mu_update_freq=10)
    state, infos = gac_ref.init(config), []
    reader = TraceReader(SHIPPED_TRACE)
    for step in range(40):
        state, info = gac_ref.update(config, state, reader.read(step).batch, step=step)
        infos.append(info)
    direct = record(config, infos)
    replayed = run_proxies(config, recorded_proxies(config, SHIPPED_TRACE)[:40])
    for a, b in zip(direct, replayed, strict=True):
        assert np.array_equal(a, b)


def test_regimes_share_their_random_numbers_whatever_the_company() -> None:
    settings = {"seed": 3, "seeds": 2, "steps": 21, "every": 10}
    together = regime_proxies(["calm", "rl_step"], **settings)
    alone = regime_proxies(["rl_step"], **settings)
    assert np.array_equal(together[20].sigma_r2[1], alone[20].sigma_r2[0])
    runs = run_regimes({"a": {}}, ["calm", "rl_step"], seed=3, seeds=2, steps=21)
    assert runs.mu.shape == (1, 2, 21)
    assert runs.parts.shape == (1, 2, 5, 21)
    assert np.allclose(0.5 + runs.parts.sum(axis=2), runs.mu, atol=SUM_ULPS)


def test_bad_input_is_refused_with_its_value() -> None:
    config = GACConfig(prior="none", init_mu=0.5)
    still = run_proxies(config, [Proxies(1.0, 1.0, 0.0)] * 5)
    for shares in (covariance_shares, path_shares):
        with pytest.raises(GACError, match=r"mu of 1 of 1 runs is constant.*0.5.*leave it out"):
            shares(decompose(config, still))
    with pytest.raises(GACError, match="mu of the run: 1 of 5 values are not finite"):
        decompose(config, still._replace(mu=np.array([0.5, np.nan, 0.5, 0.5, 0.5])))
    with pytest.raises(GACError, match="no steps"):
        record(config, [])
    with pytest.raises(GACError, match=r"\[0.0, 0.95\] are not inside"):
        two_runs(config, low=0.0)
    with pytest.raises(GACError, match=r"band = 1.0"):
        linear.settling_steps(linear.Channel(0.1, 0.9), band=1.0)


def test_a_trace_with_a_gap_is_refused(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "trace.json").write_text((SHIPPED_TRACE / "trace.json").read_text())
    for step in (0, 2):
        name = f"steps/{step:08d}.npz"
        (tmp_path / name).write_bytes((SHIPPED_TRACE / name).read_bytes())
    with pytest.raises(GACError, match="do not count from 0 without a gap"):
        recorded_proxies(GACConfig(), tmp_path)


def test_a_part_that_is_missing_or_not_finite_stops_the_section(tmp_path: Path) -> None:
    results = Results(tmp_path)
    with pytest.raises(GACError, match="missing; compute it with"):
        question.section(results)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Every part, with fewer seeds and steps in the regimes."""
    return Results(tmp_path_factory.mktemp("authority"))


def _small_parts() -> tuple[Any, ...]:
    from dataclasses import replace

    first, second, third, fourth = question.parts()
    fewer = {**third.settings, "seeds": 3, "steps": 150}
    return first, second, replace(third, settings=fewer), fourth


def test_section_states_what_the_parts_hold(
    computed: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    parts = _small_parts()
    for part in parts:
        computed.write(part, part.compute(**part.settings))
    monkeypatch.setattr(question, "parts", lambda: parts)
    section = question.section(computed)
    found = {finding.label: finding for finding in section.findings}
    gain = found["authority of the estimate, default"]
    assert gain.value == pytest.approx(0.005 / 0.505, rel=LINEAR_RTOL)
    assert gain.text() in section.answer[0]
    share = found["estimate's share of the variance of mu, default, mean of the regimes"]
    assert abs(share.value) < 0.01
    assert found["largest distance of the summed parts from mu"].value <= SUM_ULPS
    names = {part.name for part in parts}
    assert {finding.part for finding in section.findings} == names
    for figure in section.figures:
        fig, axes = plt.subplots(1, figure.panels)
        figure.draw(axes)
        fig.canvas.draw()
        plt.close(fig)
    broken = computed.read(parts[2])
    broken["path"][0, 0, 0, 0] = np.nan
    computed.write(parts[2], broken)
    with pytest.raises(GACError, match=r"path of authority.regimes: 1 of .* not finite"):
        question.section(computed)


def test_the_same_settings_give_the_same_bytes() -> None:
    part = _small_parts()[2]
    small = {**part.settings, "steps": 60, "regimes": ["calm", "rl_burst"]}
    first, second = part.compute(**small), part.compute(**small)
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_decomposition_is_plain_arrays() -> None:
    found = Decomposition(0.5, np.zeros((5, 2)), np.full(2, 0.5))
    assert found.residual == 0.0
