"""The engine: what a trajectory is, and that nothing about its company can change it."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest
from _controllers import ALL_KINDS
from _toy_problem import Toy

from gac_ref import GACError, baselines, closed_form, risk
from gac_ref._typing import AnyArray
from simulations.engine import run as engine
from simulations.engine.controllers import Controller, build_controllers
from simulations.engine.curves import merge_curves
from simulations.engine.run import Chunk, Plan
from simulations.engine.settings import RunSettings
from simulations.engine.streams import BLOCK, BlockStreams
from simulations.engine.tile import LIMIT
from simulations.models.quadratic import Quadratic
from simulations.problem import Problem

LOOP_RTOL = 1e-11
"""A plain loop sums in another order; some hundred steps amplify a rounding of 1e-16 little."""


MOMENT_RTOL = 1e-12
"""Merged against two-pass moments of a few hundred values."""


GARBAGE = 500_000
"""Bytes that wait for the collector; one number a step and seed would be 4.6 million."""


def plan(
    seeds: int = 150,
    problem: Problem | None = None,
    controllers: dict[str, dict[str, Any]] | None = None,
    **run: Any,
) -> Plan:
    settings = RunSettings(seeds=seeds, **{"horizon": 40, "measure_every": 3, **run})
    tables = ALL_KINDS if controllers is None else controllers
    return Plan(
        problem=Toy() if problem is None else problem,
        controllers=build_controllers(tables),
        settings=settings,
    )


def finished(chunk: Chunk) -> dict[str, AnyArray]:
    chunk.advance(chunk.plan.settings.horizon)
    assert chunk.done
    return chunk.result()


def metrics(result: dict[str, AnyArray]) -> dict[str, AnyArray]:
    return {k.removeprefix("metric/"): v for k, v in result.items() if k.startswith("metric/")}


def same_bits(a: AnyArray, b: AnyArray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_chunking_changes_no_bit() -> None:
    whole_plan = plan()
    whole = finished(Chunk(whole_plan, whole_plan.blocks))
    apart = [finished(Chunk(whole_plan, [block])) for block in whole_plan.blocks]
    for name, value in metrics(whole).items():
        joined = np.concatenate([metrics(part)[name] for part in apart], axis=1)
        assert same_bits(joined, value), name
    for name in ("curve_weight", "curve_mean", "curve_scatter"):
        joined = np.concatenate([part[name] for part in apart])
        assert same_bits(joined, whole[name]), name
    assert same_bits(apart[0]["trace"], whole["trace"])


GAC_ALONE = {"documented": {"kind": "gac"}}


@pytest.mark.parametrize(
    "whole_plan",
    [
        plan(),
        plan(150, Toy(), GAC_ALONE, measure_every=20),
        plan(150, Quadratic(proxy="estimated"), GAC_ALONE, measure_every=20),
    ],
    ids=["every_rule", "toy", "in_place"],
)
def test_tiling_changes_no_bit(whole_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at the steps where tiles share their gradients' arrays: most of the last two's."""
    whole = finished(Chunk(whole_plan, whole_plan.blocks))
    monkeypatch.setattr(engine, "TILE_ELEMENTS", 1)
    monkeypatch.setattr(engine, "TILE_TRAJECTORIES", 1)
    tiled = Chunk(whole_plan, whole_plan.blocks)
    assert len(tiled.tiles) == len(whole_plan.blocks) > 1
    for name, value in finished(tiled).items():
        assert same_bits(value, whole[name]), name


def test_a_step_that_looks_at_no_gradient_gives_the_bits_of_one_that_does() -> None:
    alone = plan(70, Quadratic(), {"fixed": {}}, measure_every=40)
    watched = plan(70, Quadratic(), {"fixed": {}, "mgda": {}}, measure_every=40)
    one, two = (metrics(finished(Chunk(p, p.blocks))) for p in (alone, watched))
    for name, value in one.items():
        assert same_bits(value[0], two[name][0]), name


def test_a_seed_is_the_same_however_many_there_are() -> None:
    many, few = (finished(Chunk(p, p.blocks)) for p in (plan(150), plan(70)))
    for name, value in metrics(few).items():
        assert same_bits(np.ascontiguousarray(metrics(many)[name][:, :70]), value), name


def test_a_controller_is_the_same_in_any_company() -> None:
    whole_plan = plan(70)
    whole = metrics(finished(Chunk(whole_plan, whole_plan.blocks)))
    for index, controller in enumerate(whole_plan.controllers):
        alone = dataclasses.replace(whole_plan, controllers=(controller,))
        for name, value in metrics(finished(Chunk(alone, alone.blocks))).items():
            assert same_bits(value[0], whole[name][index]), (controller.name, name)


@pytest.mark.parametrize("stop", [1, 17, 39])
def test_a_resumed_run_equals_an_uninterrupted_one(stop: int) -> None:
    whole_plan = plan(70)
    straight = finished(Chunk(whole_plan, whole_plan.blocks))
    first = Chunk(whole_plan, whole_plan.blocks)
    first.advance(stop)
    kept = {name: np.array(value) for name, value in first.state().items()}
    first.advance(5)  # what goes on after the checkpoint must not reach it
    second = Chunk(whole_plan, whole_plan.blocks)
    second.restore(kept)
    resumed = finished(second)
    assert straight.keys() == resumed.keys()
    for name, value in straight.items():
        assert same_bits(resumed[name], value), name


def test_the_engine_is_a_loop_over_single_trajectories() -> None:
    rules = {k: ALL_KINDS[k] for k in ("documented", "sasr", "oracle_gac", "mgda", "chord_mu")}
    whole_plan = plan(3, controllers=rules, learning_rate_decay=0.01)
    result = metrics(finished(Chunk(whole_plan, whole_plan.blocks)))
    for c, controller in enumerate(whole_plan.controllers):
        for seed in range(3):
            expected = single_trajectory(whole_plan, controller, seed)
            for name, value in expected.items():
                np.testing.assert_allclose(
                    result[name][c, seed], value, rtol=LOOP_RTOL, err_msg=controller.name
                )


def single_trajectory(whole_plan: Plan, controller: Controller, seed: int) -> dict[str, float]:
    """The same run as plainly as possible: vectors of one trajectory, sums in lists."""
    toy, settings, rule = whole_plan.problem, whole_plan.settings, controller.rule
    assert isinstance(toy, Toy)
    generators = BlockStreams(settings.seed, [0]).generators
    theta = first = toy.start(generators["start"][0], BLOCK)[seed]
    state, risks, regrets, losses = baselines.init(rule), [], [], []
    mus, gaps, drifts, kls = [], [], [], []
    norm = np.nan
    for step in range(settings.horizon):
        draw = toy.draw(generators["draw"][0], BLOCK, step)
        g_s = theta - toy.gap + toy.noise_s * draw.s[seed]
        g_r = theta + toy.noise_r * draw.r[seed]
        s2, r2 = toy.dimension * toy.noise_s**2, toy.dimension * toy.noise_r**2
        d2 = toy.dimension * toy.gap**2
        given = toy.sample(theta[None], step, type(draw)(draw.s[[seed]], draw.r[[seed]])).signals
        assert given.proxies is not None
        signals = baselines.Signals(
            proxies=type(given.proxies)(*(np.squeeze(x) for x in given.proxies)),
            grad_norm_s=norm,
            gram_ss=g_s @ g_s,
            gram_sr=g_s @ g_r,
            gram_rr=g_r @ g_r,
            true_sigma_s2=s2,
            true_sigma_r2=r2,
            true_delta_g2=d2,
            uniform=(
                generators["control"][0].random(BLOCK)[seed] if controller.name == "sasr" else None
            ),
        )
        state, info = baselines.update(rule, state, signals, step=step)
        mu = float(info.mu)
        if step % settings.measure_every == 0:
            risks.append(float(risk(mu, s2, r2, d2)))
            best = float(closed_form(s2, r2, d2))
            regrets.append(risks[-1] - float(risk(best, s2, r2, d2)))
            losses.append(0.5 * float(theta @ theta))
            mus.append(mu)
            gaps.append(abs(mu - best))
            drifts.append(0.5 * float((theta - first) @ (theta - first)))
            kls.append(float(toy.outcomes(theta, step)["kl"]))
        norm = float(np.sqrt(g_s @ g_s))
        rate = settings.learning_rate / (1.0 + settings.learning_rate_decay * step)
        theta = theta - rate * (mu * g_s + (1.0 - mu) * g_r)
    return {
        "loss_final": 0.5 * float(theta @ theta),
        "loss_mean": float(np.mean(losses)),
        "gradient_mse": float(np.mean(risks)),
        "mu_final": mu,
        "mu_mean": float(np.mean(mus)),
        "mu_gap": float(np.mean(gaps)),
        "drift_area": settings.measure_every * sum(drifts),
        "kl_area": settings.measure_every * sum(kls),
    } | ({"regret": float(np.mean(regrets))} if controller.name != "oracle_gac" else {})


def test_the_oracle_has_no_regret_and_every_fixed_weight_some() -> None:
    whole_plan = plan(64, controllers={"oracle_gac": {}, "grid": ALL_KINDS["grid"]})
    regret = metrics(finished(Chunk(whole_plan, whole_plan.blocks)))["regret"]
    assert np.all(regret[0] == 0.0)
    assert np.all(regret[1:] > 0.0)


def test_curves_are_the_moments_over_all_seeds() -> None:
    whole_plan = plan(
        150, trace_seeds=64, trace_every=3, controllers={"documented": {"kind": "gac"}}
    )
    chunks = [Chunk(whole_plan, [block]) for block in whole_plan.blocks]
    results = [finished(chunk) for chunk in chunks]
    merged = merge_curves(results)
    assert np.all(merged["curve_weight"] == 150)
    one = merge_curves(results[:1])
    trace = results[0]["trace"]  # all 64 seeds of the first block
    np.testing.assert_allclose(one["curve_mean"][0], trace.mean(axis=0), rtol=MOMENT_RTOL)
    np.testing.assert_allclose(
        one["curve_scatter"][0] / 64, trace.var(axis=0), rtol=MOMENT_RTOL, atol=1e-15
    )


def test_first_passage_is_timed_and_early_stop_freezes_there() -> None:
    run = {"target_outcome": "loss", "target_value": 0.5, "measure_every": 1}
    tables = {"oracle_gac": {}, "grid": ALL_KINDS["grid"]}
    free_plan = plan(70, controllers=tables, **run)
    stop_plan = plan(70, controllers=tables, stop_at_target=True, **run)
    free, stopped = (metrics(finished(Chunk(p, p.blocks))) for p in (free_plan, stop_plan))
    assert same_bits(free["time_to_target"], stopped["time_to_target"])
    reached = stopped["reached_target"] == 1.0
    assert reached.any()
    assert not reached.all()
    assert np.all(free["time_to_target"][~reached] == 40.0)
    # The step of the passage is still made; then nothing moves.
    assert same_bits(free["loss_final"][~reached], stopped["loss_final"][~reached])
    assert np.any(free["loss_final"][reached] != stopped["loss_final"][reached])
    trace_mu = stopped["mu_final"][:1]
    assert np.isfinite(trace_mu).all()


def test_a_chunk_ends_when_every_trajectory_has_stopped() -> None:
    whole_plan = plan(
        64, target_outcome="loss", target_value=1e6, stop_at_target=True, controllers={"fixed": {}}
    )
    chunk = Chunk(whole_plan, whole_plan.blocks)
    chunk.advance(40)
    assert chunk.done
    assert chunk.step == 1


def test_a_diverging_trajectory_is_frozen_and_disturbs_no_other() -> None:
    wild = plan(
        70, Toy(growth=50.0), {"fixed": {}, "mgda": {}, "documented": {"kind": "gac"}}, horizon=200
    )
    result = metrics(finished(Chunk(wild, wild.blocks)))
    assert np.all(result["diverged"] == 1.0)
    assert np.all(np.isfinite(result["loss_final"]))
    assert np.all(result["loss_final"] <= 3 * LIMIT**2)
    apart = metrics(finished(Chunk(wild, [1])))
    assert same_bits(np.ascontiguousarray(result["loss_mean"][:, 64:]), apart["loss_mean"])


def test_large_changes_are_counted_from_the_second_step_on() -> None:
    tables = {"sft_then_rl": {"switch_step": 9}, "fixed": {}}
    whole_plan = plan(64, controllers=tables)
    counts = metrics(finished(Chunk(whole_plan, whole_plan.blocks)))["large_mu_changes"]
    assert np.all(counts[0] == 1.0)
    assert np.all(counts[1] == 0.0)


def test_memory_does_not_depend_on_the_horizon() -> None:
    def peak(horizon: int) -> int:
        whole_plan = plan(
            256, horizon=horizon, controllers={"documented": {"kind": "gac"}}, measure_every=5
        )
        tracemalloc.start()
        finished(Chunk(whole_plan, whole_plan.blocks))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(250)  # caches are filled
    assert peak(2500) <= peak(250) + GARBAGE


def test_blocks_own_their_random_numbers() -> None:
    numbers = [
        generator.random()
        for block in (0, 1)
        for root in (0, 1)
        for generators in BlockStreams(root, [block]).generators.values()
        for generator in generators
    ]
    assert len(set(numbers)) == len(numbers)


def test_a_controller_without_its_signal_is_refused_by_name() -> None:
    bad = plan(64, controllers={"hpt": {}})
    with pytest.raises(GACError, match=r"controller 'hpt' needs the signal 'solved', .*'toy'"):
        Chunk(bad, bad.blocks).advance(1)


def test_an_unknown_target_outcome_names_the_known_ones() -> None:
    bad = plan(64, target_outcome="reward")
    with pytest.raises(GACError, match="not an outcome of the problem; those are loss, distance"):
        Chunk(bad, bad.blocks)


def test_two_controllers_of_one_name_are_refused() -> None:
    twice = (Controller("a", baselines.Fixed()), Controller("a", baselines.Fixed(mu=0.2)))
    with pytest.raises(GACError, match="'a' is named twice"):
        Plan(problem=Toy(), controllers=twice, settings=RunSettings())
