"""The controller: exact trajectories, bounds that hold for any input, and a stated order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _oracles import controller as exact_controller
from _samplers import (
    AXES,
    PROPERTY,
    Fields,
    all_pairs,
    as_lists,
    configs,
    pairs_of,
    pairwise_designs,
    proxy_fields,
    same_bits,
    seeded_fields,
    to_batch,
)
from hypothesis import given
from hypothesis import strategies as st

from gac_ref import (
    Batch,
    GACConfig,
    GACError,
    GACInfo,
    GACState,
    Proxies,
    init,
    proxies,
    update,
    update_from_proxies,
)

EXACT_RTOL = 1e-13
"""Agreement with 50-digit arithmetic that the specification asks for, over a whole trajectory."""

DELTA_ATOL = 1e-14
"""A disagreement of order one from z-scores of a few dozen tokens, each some ulps off."""

CAP_ATOL = 2.0**-53
"""mu_{t-1} + cap is rounded to the nearest float below 1."""

FIXED_POINT_ATOL = 1e-12
"""What a contraction of 0.495 a step and rounding leave after 200 steps."""

STEPS = 36
DESIGNS = pairwise_designs(AXES)
NUMBERS = (
    *("sigma_s2", "sigma_r2", "delta_g2", "delta_g2_capped"),
    *("alpha", "mu_raw", "mu_ada", "prior", "mu_candidate", "mu_capped", "mu"),
)
SAME_FLAGS = ("alpha_clipped", "mu_ada_clipped", "change_capped", "mu_clipped", "flat_risk")
REFRESH_FLAGS = {
    "missing_s": "missing_s",
    "missing_r": "missing_r",
    "missing_delta": "missing_delta",
    "sigma_s2_floored": "floored_s",
    "sigma_r2_floored": "floored_r",
    "sft_stream_constant": "constant_s",
    "rl_stream_constant": "constant_r",
}


def drive(config: GACConfig, items: Any, *, step: Any = None, shape: Any = ()) -> list[GACInfo]:
    """Run proxies (or batches) through consecutive steps."""
    state, infos = init(config, shape), []
    for number, item in enumerate(items):
        one = update if isinstance(item, Batch) else update_from_proxies
        state, info = one(config, state, item, step=number if step is None else step[number])
        infos.append(info)
    return infos


def still(**changes: Any) -> GACConfig:
    """Nothing between the closed form and mu but what the changes switch on."""
    plain: Fields = {
        "prior": "none",
        "weight_ema": "off",
        "mu_change_cap": 1.0,
        "mu_min": 0.0,
        "mu_max": 1.0,
        "ema_beta": 0.0,
        "mu_update_freq": 1,
    }
    return GACConfig(**{**plain, **changes})


# Against 50-digit arithmetic


def assert_exact(config: GACConfig, info: GACInfo, exact: Fields) -> None:
    flags = exact["flags"]
    assert info.refreshed == exact["refreshed"]
    for name in NUMBERS:
        if exact[name] is None:
            continue  # "hold" has no stand-in to compare
        expected, atol = float(exact[name]), DELTA_ATOL if "delta" in name else 0.0
        got = float(getattr(info, name))
        if np.isnan(expected):
            assert np.isnan(got), name
        else:
            assert got == pytest.approx(expected, rel=EXACT_RTOL, abs=atol), name
    for name in SAME_FLAGS:
        if name == "flat_risk" and config.flat_risk == "zero":
            continue  # the oracle flags only where alpha stands in
        assert bool(info.flags[name]) == flags[name], name
    assert bool(info.flags["not_ready"]) == (flags["not_ready"] or flags["unit_stand_in"])
    if not flags["not_ready"]:
        assert bool(info.flags["delta_g2_capped"]) == flags["delta_capped"]
    for name, exact_name in REFRESH_FLAGS.items():
        assert bool(info.flags[name]) == (info.refreshed and flags.get(exact_name, False)), name


def test_the_designs_cover_every_pair_of_choices() -> None:
    assert set().union(*map(pairs_of, DESIGNS)) == all_pairs(AXES)


def design_config(design: Fields) -> GACConfig:
    # init_mu and the prior's steps keep ties (mu on a bound to the last bit) out of the run.
    return GACConfig(
        **design, init_mu=0.4711, kl_gain=1.3, prior_warmup=11, prior_decay=17, alpha=0.437
    )


def hybrid_batches(config: GACConfig, seed: int) -> list[Fields]:
    """Every mix of branches; the first batches lack the experts, the rollouts, or neither."""
    rng = np.random.default_rng(seed)
    opening = ((0, 6), (6, 0), (3, 3), (0, 0))[seed % 4]
    mixes = [opening, opening, *((4, 4), (5, 2), (2, 5), (0, 6), (6, 0), (1, 1), (0, 0))]
    out = []
    for step in range(STEPS):
        experts, rollouts = mixes[step] if step < 2 else mixes[rng.integers(2, len(mixes))]
        fields = seeded_fields(
            rng,
            experts + rollouts,
            5,
            experts=experts,
            per_token=bool(step % 2),
            junk=config.masking == "select",
        )
        fields["advantages"] = fields["advantages"] * rng.choice([0.1, 1.0])
        if config.alpha_mode == "static" or step % 3 == 0:
            fields["ref_logprob"] = None
        if rollouts and step % 3 == 0:
            fields["kl"] = float(rng.choice([0.0, 0.019, 0.0203, 0.5]))
        out.append(fields)
    return out


@pytest.mark.parametrize("index", range(len(DESIGNS)))
def test_the_trajectory_is_the_exact_one(index: int) -> None:
    config = design_config(DESIGNS[index])
    exact_config = config.to_dict()
    state, exact_state = init(config), exact_controller.init(exact_config)
    for step, fields in enumerate(hybrid_batches(config, index)):
        state, info = update(config, state, to_batch(fields), step=step)
        exact_state, exact = exact_controller.update(
            exact_config, exact_state, as_lists(fields), step=step
        )
        assert_exact(config, info, exact)
        assert (int(state.count_s), int(state.count_r), int(state.count_delta)) == tuple(
            exact_state[name] for name in ("count_s", "count_r", "count_delta")
        )
        assert state.last_refresh == exact_state["last_refresh"]


@pytest.mark.parametrize("index", range(len(DESIGNS)))
def test_the_trajectory_from_proxies_is_the_exact_one(index: int) -> None:
    config = design_config(DESIGNS[index])
    rng = np.random.default_rng([11, index])
    state, exact_state = init(config), exact_controller.init(config.to_dict())
    for step in np.cumsum(rng.integers(0, 3, size=2 * STEPS)).tolist():  # steps repeat and skip
        scale = rng.choice([1e-9, 0.1, 1.0, 30.0], size=3)
        s, r, d = (rng.random(3) * scale).tolist()
        has = dict(
            zip(("has_s", "has_r", "has_delta"), (rng.random(3) < 0.8).tolist(), strict=True)
        )
        kl = float(rng.choice([np.nan, 0.0, 0.0203, 0.4]))
        new = Proxies(s, r, d, **has, kl=kl)
        state, info = update_from_proxies(config, state, new, step=step)
        exact_state, exact = exact_controller.update_from_proxies(
            config.to_dict(),
            exact_state,
            {"sigma_s2": s, "sigma_r2": r, "delta_g2": d, **has, "kl": None if kl != kl else kl},
            step=step,
        )
        assert_exact(config, info, exact)


@pytest.mark.parametrize("flat_risk", ["alpha", "zero"])
@pytest.mark.parametrize("alpha_mode", ["static", "kl"])
def test_a_flat_trajectory_is_the_exact_one(flat_risk: Any, alpha_mode: Any) -> None:
    config = GACConfig(flat_risk=flat_risk, alpha_mode=alpha_mode, mu_update_freq=2, kl_gain=1.0)
    state, exact_state = init(config), exact_controller.init(config.to_dict())
    ones = np.ones((4, 3))
    for step in range(STEPS):
        fields: Fields = {
            "logprob": -ones,
            "response_mask": ones,
            "advantages": 0.3 * ones,
            "is_expert": np.arange(4) < 2,
            "kl": 0.3,
        }
        state, info = update(config, state, to_batch(fields), step=step)
        exact_state, exact = exact_controller.update(
            config.to_dict(), exact_state, as_lists(fields), step=step
        )
        assert_exact(config, info, exact)
        assert info.flags["flat_risk"]
        if flat_risk == "alpha":
            assert info.mu_raw == info.alpha
        else:  # eps / (eps + eps + eps)
            assert info.mu_raw == pytest.approx(1.0 / 3.0, rel=EXACT_RTOL)


# Bounds that hold for any input


def assert_within_bounds(config: GACConfig, before: GACState, info: GACInfo) -> None:
    assert np.all(np.abs(info.mu - before.mu) <= config.mu_change_cap + CAP_ATOL)
    for value in (info.mu, info.mu_ada):
        assert np.all((config.mu_min <= value) & (value <= config.mu_max))
    assert np.all((info.mu_raw >= 0.0) & (info.mu_raw <= 1.0))
    low, high = (
        (config.alpha_min, config.alpha_max)
        if config.alpha_mode == "kl"
        else (config.alpha, config.alpha)
    )
    assert np.all((low <= info.alpha) & (info.alpha <= high))
    assert np.all((info.delta_g2_capped >= 0.0) & (info.delta_g2_capped <= info.delta_g2))
    if config.delta_g2_cap_ratio:
        limit = config.delta_g2_cap_ratio * (info.sigma_s2 + info.sigma_r2 + config.eps)
        assert np.all(info.delta_g2_capped <= limit)


@PROPERTY
@given(configs(), st.lists(proxy_fields(), min_size=1, max_size=25))
def test_guards_never_exceed_their_bounds(config: GACConfig, items: list[Fields]) -> None:
    state = init(config)
    for step, fields in enumerate(items):
        before = state
        state, info = update_from_proxies(config, state, Proxies(**fields), step=step)
        assert_within_bounds(config, before, info)


@PROPERTY
@given(configs(mu_min=0.3, mu_max=0.6), st.lists(proxy_fields(), min_size=1, max_size=25))
def test_a_flag_is_set_exactly_where_its_guard_changed_the_value(
    config: GACConfig, items: list[Fields]
) -> None:
    state = init(config)
    for step, fields in enumerate(items):
        before = state
        state, info = update_from_proxies(config, state, Proxies(**fields), step=step)
        flags = info.flags
        if flags["change_capped"]:  # at a tie the capped value may round to the candidate
            moved = abs(float(info.mu_capped - before.mu))
            assert moved == pytest.approx(config.mu_change_cap, abs=CAP_ATOL)
        else:
            assert info.mu_candidate == info.mu_capped
        assert flags["mu_clipped"] == (info.mu_capped != info.mu)
        assert flags["delta_g2_capped"] == (info.delta_g2_capped != info.delta_g2)
        assert not flags["non_finite"]
        if info.refreshed:
            for name in ("s", "r", "delta"):
                assert flags[f"missing_{name}"] == (not fields[f"has_{name}"])
            negative = fields["has_delta"] and fields["delta_g2"] < 0.0
            assert flags["delta_g2_negative"] == negative
        assert info.acted() == sorted(name for name in flags if flags[name])


@PROPERTY
@given(st.floats(0.0, 1.0), st.integers(0, 1400))
def test_without_a_prior_the_cap_cannot_bind_at_the_defaults(share: float, step: int) -> None:
    config = GACConfig(prior="none")
    values = Proxies(1.0 - share, share, 0.0)
    _, info = update_from_proxies(config, init(config), values, step=step)
    assert not info.flags["change_capped"]


# Two ways to the same answer


@pytest.mark.parametrize("index", range(0, len(DESIGNS), 3))
def test_a_batch_and_its_proxies_give_the_same_update(index: int) -> None:
    config = design_config(DESIGNS[index])
    state = other = init(config)
    for step, fields in enumerate(hybrid_batches(config, index)):
        batch = to_batch(fields)
        state, info = update(config, state, batch, step=step)
        other, same = update_from_proxies(config, other, proxies(config, batch), step=step)
        assert same_bits(state, other)
        for name in NUMBERS:
            assert same_bits((getattr(info, name),), (getattr(same, name),)), name
        assert info.acted() == same.acted()


@pytest.mark.parametrize("index", range(0, len(DESIGNS), 3))
@pytest.mark.parametrize("shape", [(5,), (2, 3), (1,), (0,)])
def test_broadcasting_over_trajectories_equals_single_runs(
    index: int, shape: tuple[int, ...]
) -> None:
    config = design_config(DESIGNS[index])
    rng = np.random.default_rng(index)
    state = init(config, shape)
    singles = {where: init(config) for where in np.ndindex(shape)}
    for step in range(STEPS):
        values: Fields = {
            name: rng.random(shape) * rng.choice([0.0, 0.2, 9.0], size=shape)
            for name in ("sigma_s2", "sigma_r2", "delta_g2")
        }
        values["delta_g2"] = values["delta_g2"] - 0.05  # some are negative
        values |= {name: rng.random(shape) < 0.7 for name in ("has_s", "has_r", "has_delta")}
        values["kl"] = rng.choice([np.nan, 0.0, 0.0203, 0.4], size=shape)
        state, info = update_from_proxies(config, state, Proxies(**values), step=step)
        assert state.mu.shape == info.mu.shape == shape
        for where, single in singles.items():
            own = Proxies(**{name: value[where] for name, value in values.items()})
            singles[where], alone = update_from_proxies(config, single, own, step=step)
            for name in GACState._fields[:-1]:
                together, apart = getattr(state, name)[where], getattr(singles[where], name)
                assert same_bits((together,), (apart,)), name
            assert {n for n, flag in info.flags.items() if flag[where]} == set(alone.acted())


def test_scalars_broadcast_over_the_trajectories() -> None:
    config = GACConfig.released()
    state, info = update_from_proxies(config, init(config, (3, 2)), Proxies(1.0, 2.0, 0.5), step=0)
    assert info.mu.shape == state.sigma_s2.shape == state.count_s.shape == (3, 2)
    assert len(np.unique(info.mu)) == 1
    assert all(flag.shape == (3, 2) for flag in info.flags.values())


def test_an_update_changes_neither_the_state_nor_the_proxies_it_was_given() -> None:
    rng = np.random.default_rng(0)
    config = GACConfig(alpha_mode="kl", mu_update_freq=1)
    state = init(config, (4,))
    values = Proxies(*rng.random((3, 4)), has_s=rng.random(4) < 0.5, kl=rng.random(4))
    for step in range(4):
        before = [np.asarray(x).tobytes() for x in (*state, *values)]
        new, _ = update_from_proxies(config, state, values, step=step)
        assert [np.asarray(x).tobytes() for x in (*state, *values)] == before
        state = new


# The order of the stages


def test_the_closed_form_is_what_an_unguarded_controller_applies() -> None:
    config = still(alpha=0.25)
    (info,) = drive(config, [Proxies(2.0, 1.0, 5.0)])
    assert info.mu_raw == info.mu == (0.25 * 5.0 + 1.0) / 8.0


def test_the_statistics_ema_is_seeded_by_the_first_value() -> None:
    config = still(ema_beta=0.75)
    infos = drive(config, [Proxies(4.0, 8.0, 16.0), Proxies(0.0, 0.0, 0.0)])
    assert (infos[0].sigma_s2, infos[0].sigma_r2, infos[0].delta_g2) == (4.0, 8.0, 16.0)
    assert (infos[1].sigma_s2, infos[1].sigma_r2, infos[1].delta_g2) == (3.0, 6.0, 12.0)


def test_each_statistic_is_seeded_by_its_own_first_value() -> None:
    config = still(ema_beta=0.75)
    first, second = Proxies(4.0, 0.0, 0.0, has_r=False, has_delta=False), Proxies(0.0, 8.0, 16.0)
    _, info = drive(config, [first, second])
    assert (info.sigma_s2, info.sigma_r2, info.delta_g2) == (3.0, 8.0, 16.0)


@pytest.mark.parametrize(("missing", "expected"), [("hold", 4.0), ("zero", 3.0)])
@pytest.mark.parametrize("name", ["s", "r", "delta"])
def test_a_missing_branch_holds_or_decays(name: str, missing: Any, expected: float) -> None:
    config = still(ema_beta=0.75, missing_branch=missing)
    second = Proxies(4.0, 4.0, 4.0)._replace(**{f"has_{name}": False})
    _, info = drive(config, [Proxies(4.0, 4.0, 4.0), second])
    got = {"s": info.sigma_s2, "r": info.sigma_r2, "delta": info.delta_g2}
    assert {key: float(value) for key, value in got.items()} == {
        key: expected if key == name else 4.0 for key in got
    }


def test_the_disagreement_cap_acts_after_its_ema_and_is_not_carried_forward() -> None:
    config = still(ema_beta=0.5, delta_g2_cap_ratio=1.0, eps=0.0)
    first, second = drive(config, [Proxies(1.0, 1.0, 8.0), Proxies(1.0, 1.0, 0.0)])
    assert (first.delta_g2, first.delta_g2_capped) == (8.0, 2.0)
    assert second.delta_g2 == 4.0  # not (2 + 0) / 2
    assert first.flags["delta_g2_capped"]


def test_the_cap_on_the_disagreement_contains_eps() -> None:
    (info,) = drive(still(delta_g2_cap_ratio=2.0, eps=0.5), [Proxies(1.0, 1.0, 9.0)])
    assert info.delta_g2_capped == 5.0


def test_the_weight_ema_is_clipped_before_the_blend() -> None:
    config = still(mu_max=0.6, prior="warmup_cosine", prior_warmup=0, prior_decay=0)
    (info,) = drive(config.replace(prior_valley=0.2), [Proxies(0.0, 1.0, 0.0)])
    assert (info.mu_raw, info.mu_ada) == (1.0, 0.6)
    assert info.mu_candidate == 0.5 * 0.2 + 0.5 * 0.6


def test_the_change_cap_acts_before_the_final_clip() -> None:
    config = still(mu_max=0.9, mu_change_cap=0.25, init_mu=0.75, weight_ema="applied")
    config = config.replace(prior="warmup_cosine", prior_warmup=0, prior_decay=0)
    config = config.replace(prior_valley=1.0, blend_weight=0.0)
    (info,) = drive(config, [Proxies(0.0, 1.0, 0.0)])
    assert (info.mu_candidate, info.mu_capped, info.mu) == (1.0, 1.0, 0.9)
    (info,) = drive(config.replace(mu_change_cap=0.2), [Proxies(0.0, 1.0, 0.0)])
    assert (info.mu_capped, info.mu) == (0.75 + 0.2, 0.9)
    assert info.flags["change_capped"]
    assert info.flags["mu_clipped"]


def test_the_change_cap_is_against_the_applied_weight_in_every_form_of_the_ema() -> None:
    for form in ("applied", "internal", "off"):
        config = GACConfig(weight_ema=form, mu_change_cap=0.01, prior_warmup=0, mu_update_freq=1)
        mu = config.init_mu
        for info in drive(config, [Proxies(0.1, 0.9, 0.0)] * 5):
            assert info.mu == pytest.approx(mu + 0.01, abs=CAP_ATOL)
            mu = float(info.mu)


def test_the_weight_ema_feeds_on_the_applied_weight_or_on_itself() -> None:
    fixed: Fields = {"prior": "warmup_cosine", "prior_warmup": 0, "prior_decay": 0}
    values = [Proxies(1.0, 1.0, 0.0)] * 2
    config = still(**fixed, prior_valley=1.0, ema_beta=0.5, init_mu=0.5, weight_ema="applied")
    one, two = drive(config, values)
    assert (one.mu_ada, one.mu) == (0.5, 0.75)
    assert two.mu_ada == 0.5 * 0.75 + 0.5 * 0.5
    one, two = drive(config.replace(weight_ema="internal"), values)
    assert (one.mu, two.mu_ada) == (0.75, 0.5)


def test_alpha_moves_before_the_closed_form_of_the_same_step() -> None:
    config = still(alpha_mode="kl", alpha=0.5, kl_gain=1.0, kl_target=0.02)
    (info,) = drive(config, [Proxies(0.0, 0.0, 1.0, kl=0.04)])
    assert info.alpha == pytest.approx(0.6, rel=EXACT_RTOL)
    assert info.mu_raw == info.alpha


def test_alpha_moves_at_every_step_the_statistics_only_when_due() -> None:
    config = GACConfig(alpha_mode="kl", mu_update_freq=3)
    infos = drive(config, [Proxies(1.0, 1.0, 1.0, kl=0.04)] * 7)
    alphas = [float(info.alpha) for info in infos]
    assert alphas == sorted(set(alphas))
    assert [info.refreshed for info in infos] == [True, False, False, True, False, False, True]
    assert all((info.proxies is None) is not info.refreshed for info in infos)


def test_an_unknown_kl_holds_alpha_and_is_flagged() -> None:
    config = GACConfig(alpha_mode="kl")
    first, second = drive(config, [Proxies(1.0, 1.0, 1.0, kl=0.04), Proxies(1.0, 1.0, 1.0)])
    assert second.alpha == first.alpha
    assert second.flags["kl_missing"]
    assert not first.flags["kl_missing"]


def test_a_static_alpha_ignores_the_kl() -> None:
    (info,) = drive(GACConfig(alpha=0.3), [Proxies(1.0, 1.0, 1.0, kl=5.0)])
    assert info.alpha == 0.3
    assert not info.flags["kl_missing"]


@pytest.mark.parametrize(("first", "freq"), [(0, 10), (13, 4), (7, 1)])
def test_the_refresh_schedule_counts_from_the_first_step_seen(first: int, freq: int) -> None:
    config = GACConfig(mu_update_freq=freq)
    steps = range(first, first + 25)
    infos = drive(config, [Proxies(1.0, 1.0, 1.0)] * 25, step=steps)
    refreshed = [step for step, info in zip(steps, infos, strict=True) if info.refreshed]
    assert refreshed == list(range(first, first + 25, freq))


def test_skipped_steps_make_a_late_refresh_which_restarts_the_count() -> None:
    config = GACConfig(mu_update_freq=10)
    steps = [0, 9, 14, 20, 23, 24]
    infos = drive(config, [Proxies(1.0, 1.0, 1.0)] * 6, step=steps)
    assert [info.refreshed for info in infos] == [True, False, True, False, False, True]


def test_between_refreshes_the_proxies_are_not_read() -> None:
    config = GACConfig(mu_update_freq=2)
    junk = Proxies(np.nan, -1.0, np.inf)
    first, second = drive(config, [Proxies(1.0, 3.0, 0.5), junk])
    assert (second.sigma_s2, second.sigma_r2) == (first.sigma_s2, first.sigma_r2)


@pytest.mark.parametrize("weight_ema", ["applied", "internal", "off"])
def test_hold_leaves_mu_to_the_bit_until_every_statistic_was_seen(weight_ema: Any) -> None:
    config = GACConfig(prior="none", weight_ema=weight_ema, init_mu=0.37, mu_update_freq=1)
    unseen = Proxies(0.1, 0.9, 1.0, has_s=False)
    infos = drive(config, [unseen] * 3 + [Proxies(0.1, 0.9, 1.0)])
    assert [float(info.mu) for info in infos[:3]] == [0.37] * 3
    assert [bool(info.flags["not_ready"]) for info in infos] == [True] * 3 + [False]
    assert infos[3].mu > 0.37


def test_hold_still_follows_the_prior() -> None:
    config = GACConfig(init_mu=0.4, mu_change_cap=1.0, weight_ema="off")
    (info,) = drive(config, [Proxies(0.0, 0.0, 0.0, has_s=False)], step=[200])
    assert info.mu_raw == 0.4
    assert info.mu == 0.5 * 0.85 + 0.5 * 0.4


def test_unit_stands_in_one_for_variances_and_zero_for_the_disagreement() -> None:
    config = still(unseen_statistic="unit", alpha=0.9, eps=0.0)
    (info,) = drive(config, [Proxies(0.0, 3.0, 0.0, has_s=False, has_delta=False)])
    assert (info.sigma_s2, info.sigma_r2, info.delta_g2) == (1.0, 3.0, 0.0)
    assert info.mu_raw == 0.75
    assert info.flags["not_ready"]


def test_a_negative_disagreement_is_taken_as_zero_and_flagged() -> None:
    config = still(ema_beta=0.5)
    first, second = drive(config, [Proxies(1.0, 3.0, -5.0), Proxies(1.0, 3.0, 4.0)])
    assert (first.delta_g2, first.mu_raw, second.delta_g2) == (0.0, 0.75, 2.0)
    assert first.flags["delta_g2_negative"]
    assert not second.flags["delta_g2_negative"]


@pytest.mark.parametrize("scale", [1.0, 2.0, 2.1])
def test_the_flat_risk_is_no_disagreement_and_both_variances_on_the_floor(scale: float) -> None:
    config = still(alpha=0.9, eps=1e-4)
    flat = scale <= 2.0
    for s, r in ((1e-4, scale * 1e-4), (scale * 1e-4, 1e-4)):
        (info,) = drive(config, [Proxies(s, r, 0.0)])
        assert bool(info.flags["flat_risk"]) is flat
        expected = 0.9 if flat else r / (s + r)
        assert info.mu_raw == pytest.approx(expected, rel=EXACT_RTOL)
        (info,) = drive(config, [Proxies(s, r, 1e-300)])  # the tail of an EMA
        assert bool(info.flags["flat_risk"]) is flat
        (info,) = drive(config, [Proxies(s, r, 3e-4)])
        assert not info.flags["flat_risk"]


def test_the_released_denominator_contains_eps_everywhere() -> None:
    (info,) = drive(still(flat_risk="zero", eps=1.0, alpha=0.5), [Proxies(1.0, 1.0, 1.0)])
    assert info.mu_raw == 1.5 / 4.0
    (info,) = drive(still(flat_risk="zero", eps=0.0), [Proxies(0.0, 0.0, 0.0)])
    assert info.mu_raw == 0.0


# Fixed points and the authority of the estimate


@pytest.mark.parametrize("blend_weight", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("weight_ema", ["applied", "internal", "off"])
def test_the_fixed_point_is_the_stated_one(weight_ema: Any, blend_weight: float) -> None:
    beta, raw, valley = 0.9, 0.75, 0.15
    config = GACConfig(
        ema_beta=beta, weight_ema=weight_ema, blend_weight=blend_weight, mu_update_freq=1
    )
    info = drive(config, [Proxies(1.0, 3.0, 0.0)] * 600, step=range(2000, 2600))[-1]
    expected = (1.0 - blend_weight) * valley + blend_weight * raw
    if weight_ema == "applied":
        top = (1.0 - blend_weight) * valley + blend_weight * (1.0 - beta) * raw
        expected = top / (1.0 - blend_weight * beta)
    assert info.mu == pytest.approx(expected, abs=FIXED_POINT_ATOL)


@pytest.mark.parametrize(("blend_weight", "moved"), [(0.5, 0.0089), (0.9, 0.074), (1.0, 0.85)])
def test_a_whole_run_of_extreme_estimates_moves_mu_by_the_measured_amount(
    blend_weight: float, moved: float
) -> None:
    config = GACConfig.released(blend_weight=blend_weight)
    values = Proxies([0.95, 0.05], [0.05, 0.95], 0.0)
    infos = drive(config, [values] * 1400, shape=(2,))
    gap = max(float(info.mu[1] - info.mu[0]) for info in infos)
    assert round(gap, 4 if moved < 0.01 else 3 if moved < 0.1 else 2) == moved


# Bad input


def refused(call: Any, *parts: str) -> None:
    with pytest.raises(GACError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, (part, message)


@pytest.mark.parametrize("step", [-1, 1.0, "3", None, np.float64(2.0), [1]])
def test_a_step_must_be_a_whole_number_from_zero(step: Any) -> None:
    config = GACConfig()
    batch = to_batch(seeded_fields(np.random.default_rng(0)))
    refused(lambda: update(config, init(config), batch, step=step), "step = ")
    values = Proxies(1.0, 1.0, 1.0)
    refused(lambda: update_from_proxies(config, init(config), values, step=step), "step = ")


def test_a_step_before_the_last_refresh_is_refused_and_an_equal_one_is_not() -> None:
    config, values = GACConfig(mu_update_freq=1), Proxies(1.0, 1.0, 1.0)
    state, _ = update_from_proxies(config, init(config), values, step=5)
    refused(lambda: update_from_proxies(config, state, values, step=4), "step = 4", "5")
    _, info = update_from_proxies(config, state, values, step=np.int64(5))
    assert not info.refreshed


@pytest.mark.parametrize("name", ["sigma_s2", "sigma_r2"])
@pytest.mark.parametrize("bad", [-1.0, -1e-300, np.nan, np.inf, -np.inf])
def test_a_negative_or_non_finite_variance_is_refused(name: str, bad: float) -> None:
    config = GACConfig()
    values = Proxies(1.0, 1.0, 1.0)._replace(**{name: bad})
    call = lambda: update_from_proxies(config, init(config), values, step=0)  # noqa: E731
    refused(call, f"{name} = {bad!r}", ">= 0")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_disagreement_is_refused(bad: float) -> None:
    config, values = GACConfig(), Proxies(1.0, 1.0, bad)
    call = lambda: update_from_proxies(config, init(config), values, step=0)  # noqa: E731
    refused(call, f"delta_g2 = {bad!r}", "finite")


def test_the_bad_trajectory_is_shown() -> None:
    config, values = GACConfig(), Proxies([1.0, -7.5, 1.0], 1.0, 1.0)
    call = lambda: update_from_proxies(config, init(config, (3,)), values, step=0)  # noqa: E731
    refused(call, "sigma_s2 = -7.5")


@pytest.mark.parametrize("name", ["sigma_s2", "sigma_r2", "delta_g2"])
@pytest.mark.parametrize(("shape", "value"), [((), (2,)), ((3,), (2,)), ((3,), (2, 3))])
def test_a_shape_that_does_not_broadcast_is_refused(name: str, shape: Any, value: Any) -> None:
    config = GACConfig()
    values = Proxies(1.0, 1.0, 1.0)._replace(**{name: np.ones(value)})
    call = lambda: update_from_proxies(config, init(config, shape), values, step=0)  # noqa: E731
    refused(call, name, str(value), str(shape))


@pytest.mark.parametrize("name", ["has_s", "has_r", "has_delta", "kl"])
@pytest.mark.parametrize(("shape", "value"), [((), (2,)), ((3,), (2,)), ((3,), (2, 3))])
def test_a_presence_or_kl_of_another_shape_is_refused(name: str, shape: Any, value: Any) -> None:
    config = GACConfig(alpha_mode="kl")
    field = np.ones(value) if name == "kl" else np.ones(value, dtype=bool)
    values = Proxies(1.0, 1.0, 1.0, kl=0.02)._replace(**{name: field})
    call = lambda: update_from_proxies(config, init(config, shape), values, step=0)  # noqa: E731
    refused(call, name, str(value), str(shape))


@pytest.mark.parametrize("name", ["s", "r", "delta"])
@pytest.mark.parametrize("missing", ["hold", "zero"])
def test_the_value_of_a_missing_branch_is_never_read(name: str, missing: Any) -> None:
    field = {"s": "sigma_s2", "r": "sigma_r2", "delta": "delta_g2"}[name]
    config = GACConfig(missing_branch=missing)
    absent = Proxies(1.0, 1.0, 1.0)._replace(**{f"has_{name}": False})
    states = []
    for junk in (0.0, np.nan, -3.0):
        values = absent._replace(**{field: junk})
        states.append(update_from_proxies(config, init(config), values, step=0)[0])
    assert same_bits(states[0], states[1])
    assert same_bits(states[0], states[2])


def test_a_driven_alpha_needs_a_kl_where_there_are_rollouts() -> None:
    config = GACConfig(alpha_mode="kl")
    rng = np.random.default_rng(0)
    hybrid = seeded_fields(rng) | {"ref_logprob": None}
    refused(lambda: update(config, init(config), to_batch(hybrid), step=0), "ref_logprob", "kl")
    experts = seeded_fields(rng, 4, 3, experts=4) | {"ref_logprob": None}
    _, info = update(config, init(config), to_batch(experts), step=0)
    assert info.flags["kl_missing"]
    assert info.alpha == config.alpha


# Records


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_init_is_the_stated_state(shape: tuple[int, ...]) -> None:
    config = GACConfig(init_mu=0.3, alpha=0.2)
    state = init(config, shape)
    for name in ("mu", "mu_ada", "alpha", "sigma_s2", "sigma_r2", "delta_g2"):
        assert getattr(state, name).shape == shape
        assert getattr(state, name).dtype == np.float64
    for name in ("count_s", "count_r", "count_delta"):
        assert getattr(state, name).dtype == np.int64
        assert not getattr(state, name).any()
    assert np.all(state.mu == 0.3)
    assert np.all(state.mu_ada == 0.3)
    assert np.all(state.alpha == 0.2)
    assert state.last_refresh == -1


@pytest.mark.parametrize("shape", [(), (3,)])
def test_the_state_keeps_its_shapes_and_dtypes(shape: tuple[int, ...]) -> None:
    config = GACConfig(alpha_mode="kl", mu_update_freq=2)
    state = fresh = init(config, shape)
    for step in range(6):
        values = Proxies(0.5, 1.0, 2.0, has_s=step > 2, kl=0.03)
        state, info = update_from_proxies(config, state, values, step=step)
        for name in GACState._fields[:-1]:
            now, then = np.asarray(getattr(state, name)), np.asarray(getattr(fresh, name))
            assert (now.shape, now.dtype) == (then.shape, then.dtype), name
        assert type(state.last_refresh) is int
        assert all(np.asarray(flag).dtype == np.bool_ for flag in info.flags.values())


def test_info_carries_this_steps_proxies_and_a_nan_prior_without_one() -> None:
    fields = seeded_fields(np.random.default_rng(0))
    config = GACConfig(prior="none")
    batch = to_batch(fields)
    _, info = update(config, init(config), batch, step=0)
    assert info.proxies is not None
    assert same_bits(info.proxies, proxies(config, batch))
    assert np.isnan(info.prior)
    assert info.mu_candidate == info.mu_ada
