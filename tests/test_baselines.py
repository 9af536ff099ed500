"""Mixing rules: each against an independent statement of it, and all against the common pair."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gac_ref
from gac_ref import Batch, GACConfig, GACError, Proxies, baselines
from gac_ref.baselines import Signals

EXACT = 0.0  # the same operations in the same order
ROUNDING = 1e-14  # a handful of float64 operations, written in another order
GRID = 1e-4  # spacing of the brute-force grid over [0, 1]
PROJECTION = 1e-12  # inner products of 5-vectors of order one
SHARES = 0.02  # four standard errors of a share of 10,000 coins

DEFAULT = {
    name: rule(switch_step=3) if name == "sft_then_rl" else rule()  # type: ignore[call-arg]
    for name, rule in baselines.RULES.items()
}
VARIED: dict[str, Any] = DEFAULT | {
    "chord_mixed": baselines.CHORDMu.mixed(),
    "hpt_llama": baselines.HPT.llama(),
    "kl_trl": baselines.KLControl.trl(),
    "sasr_expected": baselines.SASR(warmup_steps=1, decision="expected"),
    "sasr_short": baselines.SASR(warmup_steps=2),
    "amft_released": baselines.AMFT(utility_sign="released", eta_mu=0.3, eta_entropy=0.2, every=2),
    "superrl_batch": baselines.SuperRL(scope="batch"),
    "gac_released": GACConfig.released(mu_min=0.0, mu_max=1.0),
}
CASES = pytest.mark.parametrize("name", sorted(VARIED))


def run(rule: Any, signals: list[Signals], shape: tuple[int, ...] = ()) -> np.ndarray:
    """The weights of consecutive steps, [steps, ...]."""
    state, weights = baselines.init(rule, shape), []
    for step, observed in enumerate(signals):
        state, info = baselines.update(rule, state, observed, step=step)
        np.testing.assert_array_equal(state.mu, info.mu)
        assert info.mu.shape == shape
        weights.append(info.mu)
    return np.array(weights)


def once(rule: Any, *, step: int = 0, **signals: Any) -> Any:
    state = baselines.init(rule)
    return baselines.update(rule, state, Signals(**signals), step=step)[1]


def sample(rng: np.random.Generator, n: int, prompts: int = 4) -> Signals:
    """Everything that any rule reads, for n trajectories."""
    g_s, g_r = rng.normal(size=(2, n, 3))
    s, r, d = rng.exponential(size=(3, n))
    return Signals(
        proxies=Proxies(s, r, d),
        kl=rng.normal(0.1, 0.1, n),
        entropy=rng.exponential(size=n),
        solved=rng.integers(0, 9, (n, prompts)),
        any_rewarded=rng.random((n, prompts)) < 0.3,
        grad_norm_s=np.linalg.norm(g_s, axis=-1),
        grad_norm_r=np.linalg.norm(g_r, axis=-1),
        utility_gradient=rng.normal(size=n),
        gram_ss=np.sum(g_s * g_s, axis=-1),
        gram_sr=np.sum(g_s * g_r, axis=-1),
        gram_rr=np.sum(g_r * g_r, axis=-1),
        true_sigma_s2=s,
        true_sigma_r2=r,
        true_delta_g2=d,
        uniform=rng.random(n),
    )


def pick(signals: Signals, i: int) -> Signals:
    """The signals of trajectory i alone."""
    fields = {
        k: np.asarray(v)[i]
        for k, v in signals._asdict().items()
        if v is not None and k != "proxies"
    }
    p = signals.proxies
    assert p is not None
    one = Proxies(*(np.asarray(v)[i] for v in (p.sigma_s2, p.sigma_r2, p.delta_g2)))
    return Signals(proxies=one, **fields)


def batch(**changes: Any) -> Batch:
    rng = np.random.default_rng(8)
    n, width = 10, 6
    fields: dict[str, Any] = {
        "logprob": -rng.exponential(size=(n, width)),
        "response_mask": rng.random((n, width)) < 0.8,
        "advantages": rng.normal(size=n),
        "is_expert": np.arange(n) < 4,
        "group_ids": [5, 5, 9, 2, 9, 9, 5, 5, 2, 2],
        "rewards": [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.0],
        "entropy": 0.4,
        "kl": 0.07,
    }
    return Batch(**(fields | changes))


# --- each rule against its own statement ------------------------------------------------------


@pytest.mark.parametrize("rule", [baselines.CHORDMu(), baselines.CHORDMu.mixed()])
def test_chord_mu_is_the_warmup_cosine_schedule(rule: baselines.CHORDMu) -> None:
    shape = {"warmup": rule.warmup, "decay": rule.decay, "peak": rule.peak, "valley": rule.valley}
    steps = np.arange(0, 800, 7)
    got = [float(once(rule, step=int(t)).mu) for t in steps]
    np.testing.assert_allclose(got, gac_ref.warmup_cosine(steps, **shape), rtol=EXACT)
    assert float(baselines.init(rule).mu) == got[0]


@pytest.mark.parametrize("rule", [baselines.CHORDMu(), baselines.CHORDMu.mixed()])
def test_gac_with_no_adaptive_share_and_a_wide_cap_follows_chord_mu(
    rule: baselines.CHORDMu,
) -> None:
    config = GACConfig(
        blend_weight=0.0,
        mu_change_cap=1.0,
        mu_min=0.0,
        mu_max=1.0,
        prior_warmup=rule.warmup,
        prior_decay=rule.decay,
        prior_peak=rule.peak,
        prior_valley=rule.valley,
    )
    rng = np.random.default_rng(0)
    signals = [pick(sample(rng, 1), 0) for _ in range(700)]
    np.testing.assert_allclose(run(config, signals), run(rule, signals), rtol=EXACT)


def test_schedules_at_their_corners() -> None:
    two_stage = baselines.SFTThenRL(switch_step=2)
    assert run(two_stage, [Signals()] * 4).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert float(baselines.init(baselines.SFTThenRL(switch_step=0)).mu) == 0.0
    line = baselines.Linear(steps=4, peak=0.8, valley=0.2)
    np.testing.assert_allclose(
        run(line, [Signals()] * 6), [0.8, 0.65, 0.5, 0.35, 0.2, 0.2], rtol=ROUNDING
    )
    for rule in (baselines.Fixed(), baselines.CHORDPhi()):
        assert run(rule, [Signals()] * 2).tolist() == [0.1, 0.1]


@given(st.floats(0.0, 12.0))
def test_srft_is_the_share_of_its_two_weights_and_falls_with_the_entropy(h: float) -> None:
    info = once(baselines.SRFT(), entropy=h)
    w_sft, w_rl = info.parts["w_sft"], info.parts["w_rl"]
    assert float(info.mu) == pytest.approx(w_sft / (w_sft + w_rl), rel=ROUNDING * (1 + h))
    assert float(info.mu) == pytest.approx(1 / (1 + 0.2 * math.exp(2 * h)), rel=1e-12)
    assert float(w_sft) == pytest.approx(0.5 * math.exp(-h), rel=ROUNDING)
    assert float(w_rl) == pytest.approx(0.1 * math.exp(h), rel=ROUNDING)
    assert once(baselines.SRFT(), entropy=h + 0.1).mu < info.mu


def test_hpt_gates_by_the_number_of_correct_rollouts() -> None:
    for gate in (0, 2, 8):
        rule = baselines.HPT(gate=gate)
        for k in range(9):
            assert float(once(rule, solved=[k]).mu) == float(k <= gate)
        assert float(once(rule, solved=list(range(9))).mu) == (gate + 1) / 9
    assert float(once(baselines.HPT(), solved=[0, np.nan, 5, np.nan]).mu) == 0.5
    held = once(baselines.HPT(init_mu=0.3), solved=[np.nan])
    assert (float(held.mu), held.acted()) == (0.3, ["no_prompts"])
    assert float(once(baselines.HPT(), gated_share=0.625).mu) == 0.625


def test_superrl_switches_prompts_or_the_whole_batch() -> None:
    prompt, whole = baselines.SuperRL(), baselines.SuperRL(scope="batch")
    for rewarded, share, switch in (
        ([0, 0], 1.0, 1.0),
        ([0, 1], 0.5, 0.0),
        ([1, 1], 0.0, 0.0),
        ([0, np.nan], 1.0, 1.0),
        ([1, np.nan], 0.0, 0.0),
    ):
        assert float(once(prompt, any_rewarded=rewarded).mu) == share
        assert float(once(whole, any_rewarded=rewarded).mu) == switch
    with pytest.raises(GACError, match="SuperRL needs the signal 'any_rewarded'"):
        once(whole, gated_share=0.5)


def test_kl_control_is_the_adaptive_coefficient_recursion() -> None:
    rule = baselines.KLControl(beta=0.5, target=0.1, horizon=100.0, n_steps=50.0)
    kls = [0.05, 0.09, 0.1, 0.11, 3.0, -1.0, np.nan]
    # By hand: e = clip(KL / 0.1 - 1, -.2, .2), beta *= 1 + e / 2; a step uses the old beta.
    factors = [0.9, 0.95, 1.0, 1.05, 1.1, 0.9, 1.0]
    betas = 0.5 * np.cumprod([1.0, *factors])
    state = baselines.init(rule)
    for step, kl in enumerate(kls):
        state, info = baselines.update(rule, state, Signals(kl=kl), step=step)
        assert float(info.parts["beta"]) == pytest.approx(betas[step], rel=ROUNDING)
        assert float(state.beta) == pytest.approx(betas[step + 1], rel=ROUNDING)
        assert float(info.mu) == pytest.approx(betas[step] / (1 + betas[step]), rel=ROUNDING)
    assert info.acted() == ["kl_missing"]


def test_kl_control_saturates_without_overflow() -> None:
    rule = baselines.KLControl(beta=1.0, horizon=1.0, n_steps=4.9)
    assert run(rule, [Signals(kl=9.0)] * 1200)[-1] == 1.0
    assert run(rule, [Signals(kl=0.0)] * 400)[-1] == 0.0


def test_sasr_probability_uses_the_norm_of_the_newest_sft_step() -> None:
    rule = baselines.SASR(warmup_steps=2, gamma=0.5)
    state, chosen = baselines.init(rule), []
    # Norms of the step before: warm-up 8 and 4, then 2 of an SFT step and 9 of an RL step, ignored.
    for step, (norm, coin) in enumerate(
        [(np.nan, 0.0), (8.0, 0.0), (4.0, 0.6), (2.0, 0.6), (9.0, 0.4)]
    ):
        signals = Signals(grad_norm_s=norm, uniform=coin)
        state, info = baselines.update(rule, state, signals, step=step)
        chosen.append((float(info.mu), float(info.parts["probability"])))
    expected = [(1.0, 1.0), (1.0, 1.0), (1.0, 4 / (4 + 2)), (0.0, 2 / (2 + 2)), (1.0, 2 / (2 + 2))]
    np.testing.assert_allclose(chosen, expected, rtol=ROUNDING)


def test_sasr_takes_sft_steps_at_the_rate_of_its_probability() -> None:
    rule = baselines.SASR(warmup_steps=1, gamma=3.0)
    rng = np.random.default_rng(3)
    norms = [Signals(grad_norm_s=2.0, rng=rng)] * 2
    assert run(rule, norms, (10_000,))[1].mean() == pytest.approx(0.25, abs=SHARES)
    expected = run(dataclasses.replace(rule, decision="expected"), norms)
    assert expected.tolist() == [1.0, 0.25]
    flat = run(dataclasses.replace(rule, decision="expected"), [Signals(grad_norm_s=0.0)] * 2)
    assert flat.tolist() == [1.0, 0.25]


def test_amft_ascends_the_utility_and_pulls_the_entropy() -> None:
    rule = baselines.AMFT(entropy_target=0.5, eta_mu=0.01, eta_entropy=0.1, every=2, init_mu=0.5)
    signals = [Signals(entropy=0.4, utility_gradient=2.0)] * 3
    # Steps 0 and 2 add 0.01 * 2 + 0.1 * 0.1, step 1 the entropy term alone.
    np.testing.assert_allclose(run(rule, signals), [0.53, 0.54, 0.57], rtol=ROUNDING)
    released = dataclasses.replace(rule, utility_sign="released")
    np.testing.assert_allclose(run(released, signals), [0.49, 0.50, 0.49], rtol=ROUNDING)
    top = once(dataclasses.replace(rule, eta_mu=9.0), entropy=0.5, utility_gradient=1.0)
    assert (float(top.mu), top.acted()) == (0.95, ["mu_clipped"])
    first_seen = dataclasses.replace(rule, entropy_target=None, eta_mu=0.0)
    drift = [Signals(entropy=h, utility_gradient=0.0) for h in (np.nan, 0.7, 0.5)]
    np.testing.assert_allclose(run(first_seen, drift), [0.5, 0.5, 0.52], rtol=ROUNDING)


def test_amft_utility_gradient_has_the_sign_of_a_finite_difference() -> None:
    rng = np.random.default_rng(5)
    rate, g_s, g_r, theta, best = 0.1, *rng.normal(size=(4, 5))

    def utility(mu: float) -> float:
        after = theta - rate * (mu * g_s + (1 - mu) * g_r)
        return -0.5 * float(np.sum((after - best) ** 2))

    slope = rate * float((theta - rate * 0.5 * (g_s + g_r) - best) @ (g_s - g_r))
    step = 1e-4
    assert slope == pytest.approx((utility(0.5 + step) - utility(0.5 - step)) / (2 * step), 1e-7)
    moved = once(baselines.AMFT(init_mu=0.5, eta_mu=1.0), entropy=1.0, utility_gradient=slope).mu
    assert utility(float(moved)) > utility(0.5)


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(0.0, 1.0))
def test_inverse_variance_and_oracle_are_the_closed_form(s: float, r: float, alpha: float) -> None:
    d = 0.5 * s + 0.1
    iv = once(baselines.InverseVariance(), proxies=Proxies(s, r, d))
    assert float(iv.mu) == pytest.approx(float(gac_ref.closed_form(s, r, 0.0, 0.5)), rel=ROUNDING)
    assert ("flat" in iv.acted()) == (s == r == 0.0)
    oracle = once(
        baselines.OracleGAC(alpha=alpha), true_sigma_s2=s, true_sigma_r2=r, true_delta_g2=d
    )
    assert float(oracle.mu) == pytest.approx(
        float(gac_ref.closed_form(s, r, d, alpha)), rel=ROUNDING
    )
    least = float(gac_ref.risk(oracle.mu, s, r, d, alpha))
    assert float(gac_ref.regret(oracle.mu, s, r, d, alpha)) <= ROUNDING * (s + r + d)
    for other in (0.0, 0.3, 1.0):
        assert least <= float(gac_ref.risk(other, s, r, d, alpha)) * (1 + ROUNDING)


def test_oracle_is_alpha_where_the_risk_is_flat() -> None:
    info = once(baselines.OracleGAC(alpha=0.3), true_sigma_s2=0, true_sigma_r2=0, true_delta_g2=0)
    assert (float(info.mu), info.acted()) == (0.3, ["flat"])


def test_inverse_variance_holds_where_a_branch_is_missing() -> None:
    values = Proxies(
        [1.0, 1.0, 1.0],
        3.0,
        0.0,
        has_s=np.array([True, False, True]),
        has_r=np.array([True, True, False]),
    )
    rule = baselines.InverseVariance(init_mu=0.2)
    assert run(rule, [Signals(proxies=values)], (3,))[0].tolist() == [0.75, 0.2, 0.2]


@pytest.mark.parametrize("cosine", [-1.0, -0.5, 0.0, 0.6, 1.0])
@pytest.mark.parametrize("length", [0.2, 1.0, 3.0])
def test_gradient_rules_have_their_defining_property(cosine: float, length: float) -> None:
    g_s = np.array([1.0, 0.0, 0.0])
    g_r = length * np.array([cosine, math.sqrt(1 - cosine**2), 0.0])
    gram = {"gram_ss": g_s @ g_s, "gram_sr": g_s @ g_r, "gram_rr": g_r @ g_r}

    mgda = float(once(baselines.MGDA(), **gram).mu)
    grid = np.arange(0.0, 1.0 + GRID / 2, GRID)
    norms = np.linalg.norm(grid[:, None] * g_s + (1 - grid[:, None]) * g_r, axis=-1)
    assert np.linalg.norm(mgda * g_s + (1 - mgda) * g_r) <= norms.min() + PROJECTION
    if np.any(g_s != g_r):
        assert mgda == pytest.approx(grid[norms.argmin()], abs=GRID)

    pcgrad = once(baselines.PCGrad(), **gram)
    conflict = min(g_s @ g_r, 0.0)
    surgery = (g_s - conflict / (g_r @ g_r) * g_r) + (g_r - conflict / (g_s @ g_s) * g_s)
    w_s, w_r = pcgrad.parts["w_sft"], pcgrad.parts["w_rl"]
    np.testing.assert_allclose(w_s * g_s + w_r * g_r, surgery, atol=PROJECTION)
    assert float(pcgrad.mu) == pytest.approx(float(w_s / (w_s + w_r)), rel=ROUNDING)

    imtl = float(once(baselines.IMTLG(), grad_norm_s=1.0, grad_norm_r=length).mu)
    mixed = imtl * g_s + (1 - imtl) * g_r
    assert mixed @ g_s == pytest.approx(mixed @ g_r / length, abs=PROJECTION)
    assert imtl == pytest.approx(length / (1 + length), rel=ROUNDING)


@pytest.mark.parametrize("c", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("cosine", [-1.0, -0.9, -0.3, 0.0, 0.6, 0.97])
@pytest.mark.parametrize("length", [0.2, 0.8, 1.0, 3.0])
def test_cagrad_helps_the_worse_off_branch_most_in_its_ball(
    length: float, cosine: float, c: float
) -> None:
    g_s = np.array([1.0, 0.0])
    g_r = length * np.array([cosine, math.sqrt(1 - cosine**2)])
    gram = {"gram_ss": g_s @ g_s, "gram_sr": g_s @ g_r, "gram_rr": g_r @ g_r}
    info = once(baselines.CAGrad(c=c), **gram)
    w_s, w_r = float(info.parts["w_sft"]), float(info.parts["w_rl"])
    average = (g_s + g_r) / 2
    radius = c * np.linalg.norm(average)
    found = w_s * g_s + w_r * g_r
    # The best is on the edge of the ball; its improvement is concave in the angle near the best.
    angle = np.linspace(0.0, 2 * math.pi, 20_001)
    edge = average + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    best = np.minimum(edge @ g_s, edge @ g_r).max()
    assert np.linalg.norm(found - average) <= radius + PROJECTION
    assert min(found @ g_s, found @ g_r) >= best - PROJECTION
    assert float(info.mu) == pytest.approx(w_s / (w_s + w_r), rel=ROUNDING)


@pytest.mark.parametrize("cosine", [-0.9, -0.3, 0.0, 0.6, 1.0])
@pytest.mark.parametrize("length", [0.2, 1.0, 3.0])
def test_nash_mtl_solves_the_bargain_and_weighs_as_imtl_g(length: float, cosine: float) -> None:
    gram = np.array([[1.0, length * cosine], [length * cosine, length**2]])
    entries = {"gram_ss": gram[0, 0], "gram_sr": gram[0, 1], "gram_rr": gram[1, 1]}
    info = once(baselines.NashMTL(), **entries)
    weights = np.array([info.parts["w_sft"], info.parts["w_rl"]])
    np.testing.assert_allclose(weights * (gram @ weights), 1.0, atol=PROJECTION)
    imtl = once(baselines.IMTLG(), grad_norm_s=1.0, grad_norm_r=length)
    assert float(info.mu) == pytest.approx(float(imtl.mu), rel=ROUNDING)


@pytest.mark.parametrize("cosine", [-1.0, -0.5, 0.0, 0.6, 1.0])
@pytest.mark.parametrize("length", [0.2, 1.0, 3.0])
def test_upgrad_averages_the_projections_onto_the_dual_cone(length: float, cosine: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rows = np.array([[1.0, 0.0], [length * cosine, length * math.sqrt(1 - cosine**2)]])
    # The projection of g adds a nonnegative combination of the gradients: a least-squares problem.
    projections = [g + rows.T @ optimize.nnls(rows.T, -g)[0] for g in rows]
    gram = rows @ rows.T
    entries = {"gram_ss": gram[0, 0], "gram_sr": gram[0, 1], "gram_rr": gram[1, 1]}
    info = once(baselines.UPGrad(), **entries)
    mixed = float(info.parts["w_sft"]) * rows[0] + float(info.parts["w_rl"]) * rows[1]
    np.testing.assert_allclose(mixed, np.mean(projections, axis=0), atol=PROJECTION)
    assert float(info.mu) == float(once(baselines.PCGrad(), **entries).mu)


def test_gradient_rules_without_gradients_are_indifferent() -> None:
    zero = {"gram_ss": 0.0, "gram_sr": 0.0, "gram_rr": 0.0}
    for rule in (baselines.CAGrad(), baselines.NashMTL()):
        info = once(rule, **zero)
        assert (float(info.mu), info.acted()) == (0.5, ["flat"])
    lone = once(baselines.CAGrad(), gram_ss=1.0, gram_sr=0.0, gram_rr=0.0)
    assert (float(lone.mu), lone.acted()) == (0.5, ["flat"])
    assert once(baselines.MGDA(), **zero).acted() == ["flat"]
    assert once(baselines.IMTLG(), grad_norm_s=0.0, grad_norm_r=0.0).acted() == ["flat"]
    assert float(once(baselines.PCGrad(), **zero).mu) == float(once(baselines.MGDA(), **zero).mu)
    with pytest.raises(GACError, match="gram_sr"):
        once(baselines.MGDA(), gram_ss=1.0, gram_sr=1.1, gram_rr=1.0)


# --- the pair that serves them all ------------------------------------------------------------

UNIT = st.floats(0.0, 1.0, exclude_max=True)
POSITIVE = st.one_of(st.floats(0.0, 1e300), st.just(math.nan))
ANY = st.one_of(st.floats(-1e300, 1e300), st.just(math.nan))


@st.composite
def any_signals(draw: st.DrawFn) -> Signals:
    # Below 1e-100 the squares would be subnormal, and no longer those of any two gradients.
    a, b, c = (draw(st.one_of(st.just(0.0), st.floats(1e-100, 1e150))) for _ in range(3))
    s, r, d = (draw(st.floats(0.0, 1e300)) for _ in range(3))
    return Signals(
        proxies=Proxies(s, r, d, has_s=draw(st.booleans()), has_r=draw(st.booleans())),
        kl=draw(ANY),
        entropy=draw(POSITIVE),
        utility_gradient=draw(ANY),
        solved=draw(st.lists(st.integers(0, 8), max_size=4)),
        any_rewarded=draw(st.lists(st.booleans(), max_size=4)),
        grad_norm_s=draw(POSITIVE),
        grad_norm_r=draw(POSITIVE),
        gram_ss=a * a,
        gram_sr=a * b * draw(st.floats(-1.0, 1.0)),
        gram_rr=b * b,
        true_sigma_s2=draw(POSITIVE),
        true_sigma_r2=c,
        true_delta_g2=draw(POSITIVE),
        uniform=draw(UNIT),
    )


@CASES
@settings(max_examples=20, deadline=None)
@given(signals=st.lists(any_signals(), min_size=1, max_size=3))
def test_the_weight_stays_in_the_unit_interval(name: str, signals: list[Signals]) -> None:
    weights = run(VARIED[name], signals)
    assert np.all((weights >= 0.0) & (weights <= 1.0))


@CASES
def test_many_trajectories_at_once_equal_single_runs(name: str) -> None:
    rule, n = VARIED[name], 4
    rng = np.random.default_rng(1)
    together = [sample(rng, n) for _ in range(6)]
    got = run(rule, together, (n,))
    for i in range(n):
        np.testing.assert_array_equal(got[:, i], run(rule, [pick(s, i) for s in together]))


@CASES
def test_a_rule_is_deterministic_and_leaves_its_inputs_alone(name: str) -> None:
    rule = VARIED[name]
    first, second = (
        run(rule, [sample(np.random.default_rng(step), 3) for step in range(5)], (3,))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    state = baselines.init(rule, (3,))
    before = [np.copy(field) for field in state]
    baselines.update(rule, state, sample(np.random.default_rng(0), 3), step=2)
    for field, copy in zip(state, before, strict=True):
        np.testing.assert_array_equal(field, copy)


def test_a_generator_stands_for_the_uniform_numbers_it_would_draw() -> None:
    rule = baselines.SASR(warmup_steps=1)
    drawn = np.random.default_rng(4).random(50)
    given_ = [Signals(grad_norm_s=1.0, uniform=drawn)] * 2
    from_rng = [Signals(grad_norm_s=1.0, rng=np.random.default_rng(4))] * 2
    np.testing.assert_array_equal(run(rule, given_, (50,)), run(rule, from_rng, (50,)))


@CASES
def test_a_missing_signal_is_one_line_naming_rule_and_signal(name: str) -> None:
    rule = VARIED[name]
    full = pick(sample(np.random.default_rng(2), 1), 0)
    for signal in baselines.reads(rule):
        if signal == "uniform" and getattr(rule, "decision", "") == "expected":
            continue
        with pytest.raises(GACError) as caught:
            baselines.update(rule, baselines.init(rule), full._replace(**{signal: None}), step=200)
        text = str(caught.value)
        assert f"{type(rule).__name__} needs the signal {signal!r}" in text
        assert f"Signals({signal}=" in text
        assert "\n" not in text


@CASES
def test_a_rule_asks_for_no_more_than_it_says(name: str) -> None:
    rule = VARIED[name]
    full = pick(sample(np.random.default_rng(2), 1), 0)
    only = Signals(**{signal: getattr(full, signal) for signal in baselines.reads(rule)})
    state = baselines.init(rule)
    got = baselines.update(rule, state, only, step=200)[1].mu
    # GAC alone takes an optional signal, a KL beside its proxies; nothing here is driven by it.
    np.testing.assert_array_equal(got, baselines.update(rule, state, full, step=200)[1].mu)


@CASES
def test_an_unknown_value_holds_the_weight_and_says_so(name: str) -> None:
    rule = VARIED[name]
    signal = (baselines.reads(rule) or ("",))[0]
    if signal in ("", "proxies", "solved", "any_rewarded"):
        return
    full = pick(sample(np.random.default_rng(2), 1), 0)
    known = [full._replace(grad_norm_s=1.0), full._replace(grad_norm_s=1.0)]
    state = baselines.init(rule)
    for step, signals in enumerate(known):
        state, _ = baselines.update(rule, state, signals, step=step)
    unknown = full._replace(**{signal: math.nan, "utility_gradient": math.nan})
    after, info = baselines.update(rule, state, unknown, step=2)
    assert f"{signal}_missing" in info.acted()
    if name.startswith("kl"):
        assert float(after.beta) == float(state.beta)
    elif not name.startswith("sasr"):  # which flips its coin with the norm it has
        assert float(info.mu) == float(state.mu)


@pytest.mark.parametrize(
    "rule",
    [
        baselines.HPT(),
        baselines.SuperRL(),
        baselines.SRFT(),
        baselines.KLControl(),
        baselines.InverseVariance(),
        baselines.InverseVariance(statistics=GACConfig(trim_ratio=0.3)),
        GACConfig(),
        GACConfig.released(),
        GACConfig(alpha_mode="kl"),
        baselines.Fixed(),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_a_batch_gives_what_its_signals_give(rule: Any) -> None:
    whole = batch()
    state = baselines.init(rule)
    from_batch = baselines.update(rule, state, whole, step=0)[1]
    signals = baselines.signals_from_batch(rule, whole)
    assert from_batch.mu == baselines.update(rule, state, signals, step=0)[1].mu


def test_gac_as_a_rule_is_the_controller() -> None:
    config, whole = GACConfig(alpha_mode="kl"), batch()
    state = baselines.init(config)
    assert state == gac_ref.init(config)
    theirs = gac_ref.update(config, state, whole, step=3)[1]
    assert baselines.update(config, state, whole, step=3)[1].mu == theirs.mu
    values = gac_ref.proxies(config, whole)
    apart = Signals(proxies=values._replace(kl=math.nan), kl=whole.kl)
    assert baselines.update(config, state, apart, step=3)[1].alpha == theirs.alpha


def test_counts_of_a_batch_by_hand() -> None:
    whole = batch()
    # Rollouts are rows 4..9: prompt 2 has rewards .5, 0; prompt 5 has 1, 0; prompt 9 has 0, 0.
    assert baselines.signals_from_batch(baselines.HPT(), whole).solved.tolist() == [0, 1, 0]
    assert baselines.signals_from_batch(baselines.SuperRL(), whole).any_rewarded.tolist() == [
        1,
        1,
        0,
    ]
    half = baselines.HPT(success=0.5)
    assert baselines.signals_from_batch(half, whole).solved.tolist() == [1, 1, 0]
    assert float(baselines.update(half, baselines.init(half), whole, step=0)[1].mu) == 1 / 3
    experts = batch(is_expert=np.ones(10))
    assert baselines.update(half, baselines.init(half), experts, step=0)[1].acted() == [
        "no_prompts"
    ]
    k3 = batch(kl=None, ref_logprob=whole.logprob - 0.5)
    kl = baselines.signals_from_batch(baselines.KLControl(), k3).kl
    assert kl == pytest.approx(math.exp(-0.5) - 0.5, rel=1e-12)
    assert math.isnan(baselines.signals_from_batch(baselines.KLControl(), experts).kl)


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (baselines.SRFT(), {"entropy": None}),
        (baselines.KLControl(), {"kl": None}),
        (baselines.HPT(), {"rewards": None}),
        (baselines.SuperRL(), {"group_ids": None}),
        (baselines.MGDA(), {}),
        (baselines.CAGrad(), {}),
        (baselines.SASR(), {}),
        (baselines.OracleGAC(), {}),
    ],
)
def test_a_batch_without_the_source_of_a_signal_is_refused(rule: Any, missing: Any) -> None:
    with pytest.raises(GACError, match=f"^{type(rule).__name__} needs the signal"):
        baselines.update(rule, baselines.init(rule), batch(**missing), step=0)
    signals = baselines.signals_from_batch(rule, batch(**missing), **{baselines.reads(rule)[0]: 0})
    assert getattr(signals, baselines.reads(rule)[0]) == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: baselines.Fixed(mu=1.5), r"Fixed: mu = 1\.5 is outside \[0, 1\]"),
        (lambda: baselines.Fixed(mu="a"), "Fixed: mu = 'a' is not a number"),
        (lambda: baselines.CHORDMu(decay=2.5), "CHORDMu: decay = 2.5 is not a whole number >= 0"),
        (lambda: baselines.CAGrad(c=1.0), r"CAGrad: c = 1\.0 is outside \[0, 1\)"),
        (lambda: baselines.SRFT(rl_scale=0.0), r"SRFT: rl_scale = 0\.0 is outside \(0, inf\)"),
        (lambda: baselines.HPT(gate=9), "HPT: gate = 9 is above rollouts = 8"),
        (lambda: baselines.KLControl(horizon=10, n_steps=50), r"n_steps = 50\.0 is outside"),
        (lambda: baselines.SASR(decision="coin"), "SASR: decision = 'coin' is not one of"),
        (lambda: baselines.AMFT(init_mu=0.99), "AMFT: init_mu = 0.99 is above mu_max = 0.95"),
        (lambda: baselines.InverseVariance(statistics=3), "statistics = 3 is not a GACConfig"),
        (lambda: baselines.init("hpt"), "rule = 'hpt' is not a mixing rule"),
        (lambda: baselines.reads(3), "rule = 3 is not a mixing rule"),
        (lambda: once(baselines.SRFT(), entropy=-1.0), r"'entropy' = -1\.0 is not finite and >= 0"),
        (
            lambda: once(baselines.SRFT(), entropy=[0.1, 0.2]),
            r"shape \(2,\), which does not broadcast",
        ),
        (lambda: once(baselines.KLControl(), kl=math.inf), "'kl' = inf is not finite"),
        (lambda: once(baselines.HPT(), solved=3), r"'solved' has shape \(\); pass \('P',\)"),
        (
            lambda: once(baselines.HPT(), solved=[9]),
            r"'solved' = 9\.0 is not finite and in \[0, 8\]",
        ),
        (lambda: once(baselines.SASR(), step=200, grad_norm_s=1.0, uniform=1.0), "outside"),
        (lambda: once(baselines.Fixed(), step=-1), "step = -1 is negative"),
        (lambda: once(baselines.Fixed(), step=0.5), "step = 0.5 is not a whole number"),
        (
            lambda: baselines.update(
                baselines.AMFT(), baselines.init(baselines.SRFT()), Signals(), step=0
            ),
            "AMFT: state is a MixState, not a AMFTState",
        ),
        (
            lambda: baselines.update(
                baselines.Fixed(), baselines.init(baselines.Fixed()), {}, step=0
            ),
            "signals is a dict; pass a Batch",
        ),
        (
            lambda: once(GACConfig(), proxies=(1.0, 2.0, 3.0)),
            "'proxies' is a tuple; pass a gac_ref",
        ),
        (
            lambda: once(baselines.InverseVariance(), proxies=Proxies(-1.0, 1.0, 0.0)),
            "InverseVariance: signal 'sigma_s2' = -1.0 is not finite and >= 0",
        ),
        (lambda: baselines.signals_from_batch(baselines.Fixed(), Signals()), "batch is a Signals"),
        (
            lambda: baselines.signals_from_batch(baselines.Fixed(), batch(), loss=1),
            "'loss' is not a",
        ),
    ],
)
def test_malformed_input_is_refused_in_one_line(make: Any, text: str) -> None:
    with pytest.raises(GACError, match=text) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_every_rule_is_frozen_keyword_only_and_listed() -> None:
    for name, rule in DEFAULT.items():
        assert type(rule) is baselines.RULES[name]
        assert hash(rule) == hash(dataclasses.replace(rule))
        first = dataclasses.fields(rule)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(rule, first, 0)
        with pytest.raises(TypeError):
            type(rule)(0.1)
    public = {getattr(baselines, name) for name in baselines.__all__ if name != "RULES"}
    assert set(baselines.RULES.values()) - {GACConfig} <= public


def test_the_package_is_not_imported_until_asked_for() -> None:
    code = "import gac_ref, sys; print('gac_ref.baselines' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
