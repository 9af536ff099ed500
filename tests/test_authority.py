"""Authority: the linear theory against brute force, and the cap against every raw sequence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from _asserts import PROPERTY, SEARCHED, assert_matches_exact
from _oracles import authority as exact_authority
from _oracles import controller as exact_controller
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gac_ref._typing import FloatArray
from gac_ref.authority import WEAK_AUTHORITY, authority
from gac_ref.config import GACConfig
from gac_ref.controller import init, update_from_proxies
from gac_ref.proxies import Proxies
from gac_ref.schedules import prior_at

# 1 - lam beta cancels to 0.19 or more in these configurations; brute force stops at 1e-42.
WEIGHT_RTOL = 1e-12
# A chain of at most ten operations on numbers of at most 1.
CHAIN_ATOL = 1e-14
# The published figures have two significant digits.
TWO_DIGITS = 5e-3
# Brute force takes this many raw estimates; changes are Lipschitz (constant below 2) in them.
GRID = 2001
GRID_ATOL = 2.0 / (GRID - 1)
# Steps after the schedule until a loop of pole 0.9 has settled: 0.9**240 is 1e-11.
TAIL = 240
# Changes are differences of weights: rounding may exceed a cap by this much.
ROUNDING = 1e-12
# The run that the figures of the released controller come from.
RUN = 1400

MODES = ["applied", "internal", "off"]
bounds = st.tuples(st.floats(0.0, 0.4), st.floats(0.6, 1.0))


@st.composite
def configs(draw: st.DrawFn) -> GACConfig:
    """Configurations of short schedules and fast loops, so that brute force sees their limit."""
    low, high = draw(bounds)
    return GACConfig(
        mu_min=low,
        mu_max=high,
        init_mu=draw(st.floats(low, high)),
        ema_beta=draw(st.one_of(st.just(0.0), st.floats(0.05, 0.9))),
        blend_weight=draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.02, 0.98))),
        weight_ema=draw(st.sampled_from(MODES)),
        prior=draw(st.sampled_from(["none", "warmup_cosine"])),
        prior_warmup=draw(st.integers(0, 5)),
        prior_decay=draw(st.integers(0, 7)),
        prior_peak=draw(st.floats(0.0, 1.0)),
        prior_valley=draw(st.floats(0.0, 1.0)),
    )


def chain(config: GACConfig, mu: Any, ada: Any, raw: Any, prior: float, cap: float = math.inf):
    """Steps 5 to 8 of an update, for many trajectories: ``(mu, mu_ada, uncapped change)``."""
    previous = mu if config.weight_ema == "applied" else ada
    if config.weight_ema != "off":
        raw = config.ema_beta * previous + (1.0 - config.ema_beta) * raw
    ada = np.clip(raw, config.mu_min, config.mu_max)
    lam = config.blend_weight
    candidate = ada if config.prior == "none" else (1.0 - lam) * prior + lam * ada
    change = candidate - mu
    return np.clip(mu + np.clip(change, -cap, cap), config.mu_min, config.mu_max), ada, change


def horizon(config: GACConfig) -> int:
    return (0 if config.prior == "none" else config.prior_warmup + config.prior_decay) + TAIL


def brute_force_changes(config: GACConfig) -> FloatArray:
    """For each step, the largest uncapped change over constant raw estimates and a last surprise.

    A constant from 0 to 1 moves the carried weight continuously from its lowest to its highest
    value, so constants pass every reachable weight; the change is extreme at a raw of 0 or 1.
    """
    constant = np.linspace(0.0, 1.0, GRID)
    mu = ada = np.full(GRID, config.init_mu)
    largest = []
    for step in range(horizon(config)):
        prior = prior_at(config, step)
        surprises = [chain(config, mu, ada, raw, prior)[2] for raw in (0.0, 1.0)]
        largest.append(float(np.abs(surprises).max()))
        mu, ada, _ = chain(config, mu, ada, constant, prior)
    return np.array(largest)


def raw_sequences(rng: np.random.Generator, steps: int) -> FloatArray:
    """Adversarial raw estimates, [steps, n]: constants, single switches, blocks, noise."""
    constants = np.repeat(np.linspace(0.0, 1.0, 21)[np.newaxis], steps, axis=0)
    t = np.arange(steps)[:, np.newaxis]
    switch = (t < rng.integers(0, steps, size=60)).astype(float)
    period = rng.integers(1, 40, size=60)
    blocks = ((t // period) % 2).astype(float)
    noise = rng.uniform(size=(steps, 60))
    coin = (rng.uniform(size=(steps, 60)) < rng.uniform(size=60)).astype(float)
    return np.concatenate([constants, switch, 1.0 - switch, blocks, 1.0 - blocks, noise, coin], 1)


def largest_capped_change(config: GACConfig, raw: FloatArray) -> float:
    """The largest change that the cap gets to see along the given raw sequences."""
    mu = ada = np.full(raw.shape[1], config.init_mu)
    worst = 0.0
    for step, row in enumerate(raw):
        prior = prior_at(config, step)
        mu, ada, change = chain(config, mu, ada, row, prior, config.mu_change_cap)
        worst = max(worst, float(np.abs(change).max()))
    return worst


@SEARCHED
@given(config=configs(), raw=st.floats(0.0, 1.0), mu=st.floats(0.0, 1.0), step=st.integers(0, 20))
def test_the_simulated_chain_is_the_exact_one(config, raw, mu, step):
    mu = float(np.clip(mu, config.mu_min, config.mu_max))
    prior = prior_at(config, step)
    found = chain(config, mu, mu, raw, prior, config.mu_change_cap)
    exact = exact_controller.weight_chain(
        exact_controller.make_config(**config.to_dict()), mu, mu, raw, prior
    )
    assert abs(float(found[0]) - float(exact["mu"])) <= CHAIN_ATOL
    assert abs(float(found[1]) - float(exact["mu_ada"])) <= CHAIN_ATOL
    assert abs(float(found[2]) - (float(exact["mu_candidate"]) - mu)) <= CHAIN_ATOL


# The linear theory -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("beta", "lam"), [(0.95, 0.5), (0.9, 0.9), (0.5, 1.0), (0.0, 0.3)])
def test_weight_is_the_gain_of_the_guards_run_to_rest(mode, beta, lam):
    changes = {"weight_ema": mode, "ema_beta": beta, "blend_weight": lam}
    gain = exact_authority.gain(exact_controller.make_config(**changes), prior=0.5)
    assert_matches_exact(authority(GACConfig(**changes)).weight, gain, WEIGHT_RTOL)


@pytest.mark.parametrize("mode", MODES)
def test_without_a_prior_the_estimate_has_all_the_authority(mode):
    changes = {"weight_ema": mode, "ema_beta": 0.9, "blend_weight": 0.3, "prior": "none"}
    gain = exact_authority.gain(exact_controller.make_config(**changes))
    found = authority(GACConfig(**changes))
    assert_matches_exact(found.weight, gain, WEIGHT_RTOL)
    assert found.prior_weight == 1.0 - found.weight


@PROPERTY
@given(config=configs())
def test_weights_share_out_one_and_the_loop_is_stable(config):
    found = authority(config)
    assert 0.0 <= found.weight <= 1.0
    assert found.prior_weight == 1.0 - found.weight
    assert 0.0 <= found.pole < 1.0
    assert found.settling_steps >= 1
    assert found.weak == (found.weight < WEAK_AUTHORITY)


def test_released_defaults_leave_the_estimate_one_percent():
    found = authority(GACConfig.released())
    assert round(found.weight, 4) == 0.0099
    assert found.weak
    assert authority(GACConfig.decoupled()).weight == 0.5


@pytest.mark.parametrize(("lam", "weak"), [(0.0499, True), (0.05, False), (0.0501, False)])
def test_authority_is_weak_below_five_percent(lam, weak):
    assert authority(GACConfig.decoupled(blend_weight=lam)).weak is weak


@pytest.mark.parametrize(("lam", "moved"), [(0.5, 0.0089), (0.9, 0.074), (1.0, 0.85)])
def test_movement_of_mu_over_a_run_is_the_measured_one(lam, moved):
    config = GACConfig.released(blend_weight=lam)
    raw = np.array([0.05, 0.95])
    state = init(config, (2,))
    largest = 0.0
    for step in range(RUN):
        state, info = update_from_proxies(config, state, Proxies(1.0 - raw, raw, 0.0), step=step)
        largest = max(largest, float(np.ptp(state.mu)))
    # eps in the released denominator is all that parts the closed form from the raw value.
    np.testing.assert_allclose(info.mu_raw, raw, rtol=2e-8)
    assert abs(largest / moved - 1.0) <= TWO_DIGITS


@pytest.mark.parametrize(("lam", "moved"), [(0.5, 0.0089), (0.9, 0.074), (1.0, 0.85)])
def test_movement_of_mu_over_a_run_of_the_guards_is_the_measured_one(lam, moved):
    config = GACConfig.released(blend_weight=lam)
    mu = ada = np.full(2, config.init_mu)
    largest = 0.0
    for step in range(RUN):
        cap = config.mu_change_cap
        mu, ada, _ = chain(config, mu, ada, np.array([0.05, 0.95]), prior_at(config, step), cap)
        largest = max(largest, float(np.ptp(mu)))
    assert abs(largest / moved - 1.0) <= TWO_DIGITS


# Settling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("beta", "lam"), [(0.99, 0.5), (0.99, 1.0), (0.9, 0.9), (0.5, 0.03), (0.3, 0.05), (0.0, 0.5)]
)
def test_settling_steps_are_those_of_a_simulated_step_response(mode, beta, lam):
    config = GACConfig(
        weight_ema=mode,
        ema_beta=beta,
        blend_weight=lam,
        mu_min=0.0,
        mu_max=1.0,
        prior_warmup=0,
        prior_decay=0,
        prior_valley=0.5,
    )
    mu = ada = 0.5
    for _ in range(4000):
        mu, ada, _ = chain(config, mu, ada, 0.4, 0.5)
    start, responses = mu, []
    for _ in range(4000):
        mu, ada, _ = chain(config, mu, ada, 0.6, 0.5)
        responses.append(float(mu))
    left = np.abs(np.array(responses) - responses[-1]) > 0.02 * abs(responses[-1] - start)
    assert authority(config).settling_steps == int(np.flatnonzero(left).max(initial=-1)) + 2


@pytest.mark.parametrize(("beta", "every"), [(0.9, 1), (0.9, 10), (0.5, 3), (0.01, 4), (0.0, 5)])
def test_statistics_settle_in_the_stated_number_of_steps(beta, every):
    config = GACConfig(ema_beta=beta, mu_update_freq=every)
    state, _ = update_from_proxies(config, init(config), Proxies(1.0, 1.0, 1.0), step=0)
    stated = authority(config).statistics_settling_steps
    for passed in range(1, stated + 1):
        assert abs(float(state.sigma_s2) - 3.0) > 0.02 * 2.0
        # The step in the proxies meets a refresh, `every` steps after the first.
        step = every + passed - 1
        state, _ = update_from_proxies(config, state, Proxies(3.0, 1.0, 1.0), step=step)
    assert abs(float(state.sigma_s2) - 3.0) <= 0.02 * 2.0


# The cap ---------------------------------------------------------------------------------------


# The applied weight is clipped inside the reachable interval: the extreme is at that kink.
KINKED = GACConfig.decoupled(
    ema_beta=0.61,
    mu_min=0.32,
    mu_max=0.7,
    init_mu=0.34,
    blend_weight=0.81,
    prior_warmup=1,
    prior_decay=2,
    prior_peak=0.81,
    prior_valley=0.36,
)
# The lowest weight at rest is held up by the clip of the adaptive weight, not of the applied one.
HELD_UP = GACConfig(
    ema_beta=0.16,
    mu_min=0.14,
    mu_max=0.77,
    init_mu=0.39,
    blend_weight=0.7,
    prior_warmup=1,
    prior_decay=0,
    prior_peak=0.95,
    prior_valley=0.15,
)


@SEARCHED
@given(config=configs())
@example(config=KINKED)
@example(config=HELD_UP)
def test_largest_change_is_the_one_brute_force_finds(config):
    found, brute = authority(config).largest_change, brute_force_changes(config).max()
    assert brute - ROUNDING <= found <= brute + GRID_ATOL


@SEARCHED
@given(config=configs())
def test_a_cap_just_above_the_largest_change_never_binds(config):
    cap = authority(config).largest_change + 1e-9
    config = config.replace(mu_change_cap=cap)
    found = authority(config)
    assert not found.cap_can_bind
    assert found.first_binding_step is None
    raw = raw_sequences(np.random.default_rng(0), horizon(config))
    assert largest_capped_change(config, raw) <= cap + ROUNDING


@SEARCHED
@given(config=configs(), share=st.floats(0.05, 0.95))
def test_a_cap_that_can_bind_is_made_to_by_brute_force(config, share):
    changes = brute_force_changes(config)
    cap = share * float(changes.max())
    assume(cap > 1e-6 and changes.max() - cap > GRID_ATOL)
    found = authority(config.replace(mu_change_cap=cap))
    assert found.cap_can_bind
    assert found.first_binding_step is not None


@SEARCHED
@given(config=configs(), share=st.floats(0.05, 0.95))
def test_the_first_binding_step_is_the_first_at_which_brute_force_binds(config, share):
    changes = brute_force_changes(config)
    cap = share * float(changes.max())
    assume(cap > 1e-6 and np.abs(changes - cap).min() > GRID_ATOL)
    expected = int(np.flatnonzero(changes > cap)[0])
    assert authority(config.replace(mu_change_cap=cap)).first_binding_step == expected


def test_a_cap_that_binds_only_late_is_dated_to_when_it_can():
    # Without a prior the change is 0.01 |raw - mu|, so a cap of 0.007 takes mu beyond 0.7, and
    # 1 - 0.5 * 0.99**t first exceeds that at t = 51.
    config = GACConfig(prior="none", mu_change_cap=0.007)
    assert int(np.flatnonzero(brute_force_changes(config) > 0.007)[0]) == 51
    assert authority(config).first_binding_step == 51


@pytest.mark.parametrize("variant", ["documented", "released"])
def test_without_a_prior_the_default_cap_cannot_bind(variant):
    config = GACConfig.variant(variant, prior="none")
    found = authority(config)
    assert not found.cap_can_bind
    assert found.first_binding_step is None
    # (1 - beta) times the farthest that an estimate can be from a weight in [mu_min, mu_max].
    assert abs(found.largest_change - 0.01 * 0.95) <= ROUNDING
    raw = raw_sequences(np.random.default_rng(0), 600)
    assert largest_capped_change(config, raw) <= config.mu_change_cap


def test_with_the_default_prior_the_cap_binds_at_once():
    config = GACConfig()
    changes = brute_force_changes(config)
    found = authority(config)
    assert changes[0] > config.mu_change_cap
    assert (found.cap_can_bind, found.first_binding_step) == (True, 0)
    assert abs(found.largest_change - changes.max()) <= GRID_ATOL
    # At step 0 the prior is 0 and the estimate at most takes mu_ada to 0.495: 0.5 - 0.2475.
    assert abs(changes[0] - 0.2525) <= ROUNDING


@pytest.mark.parametrize("cap", [0.05, 0.2])
def test_a_binding_sequence_found_by_brute_force_binds_in_the_controller(cap):
    # Without smoothing of the statistics the proxies of each step are its raw estimate.
    config = GACConfig(
        weight_ema="off", ema_beta=0.0, mu_update_freq=1, prior="none", mu_change_cap=cap
    )
    found = authority(config)
    state, bound = init(config), []
    for step, raw in enumerate([0.0, 1.0, 0.0]):
        proxies = Proxies(1.0 - raw, raw, 0.0)
        state, info = update_from_proxies(config, state, proxies, step=step)
        bound.append(bool(info.flags["change_capped"]))
    assert bound.index(True) == found.first_binding_step == 0
