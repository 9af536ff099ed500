"""The parts: settings in, plain arrays out."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import AnyArray, FloatArray
from gac_ref.controller import guarded_weights
from gac_ref.errors import fail
from gac_ref.schedules import prior_at
from gac_ref.state import GACState
from simulations.analysis.question import finite

__all__ = ["criterion", "recording", "study", "weight"]

ROOT = Path(__file__).resolve().parents[3]

METRICS = ("reward_final", "reward_mean", "kl_area", "large_mu_changes", "mu_final", "diverged")


def study(declaration: Mapping[str, Any]) -> dict[str, AnyArray]:
    """Run a declared study from nothing, into a folder that is thrown away.

    Args:
        declaration: The study's tree; the cells are those of ``python -m simulations run claims``.

    Returns:
        Each metric [R, C, n], the names of controllers [C] and regimes [R], the file names of the
        cells [R, cells] and the first seed of each [cells].
    """
    from simulations.sweeps.run import run_study
    from simulations.sweeps.store import Store
    from simulations.sweeps.study import Study
    from simulations.sweeps.summary import read_point

    declared = Study.from_tree(declaration, "claims.study")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        points = run_study(declared, store)
        values = [read_point(point, store) for point in points]
    tables = {
        name: finite(np.stack([value.metrics[name] for value in values]), f"{name} in study claims")
        for name in METRICS
    }
    if tables["diverged"].any():
        fail("study claims: a run diverged; lower run.learning_rate")
    return {
        **tables,
        "controllers": np.array(values[0].controllers),
        "regimes": np.array([point.label for point in points]),
        "cells": np.array([[cell.name for cell in point.cells] for point in points]),
        "first_seeds": np.array([cell.configuration["first_seed"] for cell in points[0].cells]),
    }


def weight(
    problem: Mapping[str, Any],
    variants: Mapping[str, Mapping[str, Any]],
    horizon: int,
    seeds: int,
    learning_rate: float,
) -> dict[str, AnyArray]:
    """The weight of GAC's variants at full length, and what moved it.

    Args:
        problem: Declaration of the problem.
        variants: Name -> declaration of a controller of kind "gac".
        horizon: Steps.
        seeds: Trajectories.
        learning_rate: Of the run.

    Returns:
        ``mu`` [V, T, n]; ``driver`` [V, 4, n], the share of refreshes in which each statistic has
        the largest part in the raw estimate's change; ``estimate_ahead`` [V, n], the share of steps
        in which the estimate's part in the change of mu is the largest of all; ``path`` [V, 5, n],
        the share of each part of the guards in all steps taken; ``variants`` [V].
    """
    from simulations.analysis.authority.decomposition import decompose, path_shares
    from simulations.analysis.claims.driver import drivers, split_movement
    from simulations.engine.controllers import build_controllers
    from simulations.engine.run import Chunk, Plan
    from simulations.engine.settings import RunSettings
    from simulations.registry import build_problem

    controllers = build_controllers(variants)
    settings = RunSettings(
        horizon=horizon, seeds=seeds, learning_rate=learning_rate, measure_every=horizon
    )
    plan = Plan(problem=build_problem(problem), controllers=controllers, settings=settings)
    chunk = Chunk(plan, plan.blocks)
    states: list[list[GACState]] = [list(chunk.states)]
    while not chunk.done:
        chunk.advance(1)
        states.append(list(chunk.states))
    out: dict[str, list[FloatArray]] = {"mu": [], "driver": [], "estimate_ahead": [], "path": []}
    for c, controller in enumerate(controllers):
        config, own = controller.rule, [row[c] for row in states]
        statistics = np.stack(
            [
                [state.sigma_s2, state.sigma_r2, state.delta_g2, state.alpha]
                for state in own[1 :: config.mu_update_freq]
            ],
            axis=1,
        )
        driver, moved = drivers(split_movement(config, statistics))
        found = decompose(config, guarded_run(config, own))
        moves = np.abs(np.diff(found.parts, axis=1))
        out["mu"].append(found.mu)
        out["driver"].append(driver.sum(axis=1) / moved.sum(axis=0))
        out["estimate_ahead"].append((moves[0] > moves[1:].max(axis=0)).mean(axis=0))
        out["path"].append(path_shares(found))
    return {
        **{name: finite(np.stack(rows), f"{name} of claims.weight") for name, rows in out.items()},
        "variants": np.array([controller.name for controller in controllers]),
    }


def guarded_run(config: GACConfig, states: Sequence[GACState]) -> Any:
    """The guards' intermediates of a run, made again from the states before and after each step.

    Raises:
        GACError: What is made again is not what was applied.
    """
    from simulations.analysis.authority.guarded_run import GuardedRun
    from simulations.analysis.claims.driver import raw_estimate

    rows = []
    for step, (before, after) in enumerate(itertools.pairwise(states)):
        values = np.stack([after.sigma_s2, after.sigma_r2, after.delta_g2, after.alpha])
        raw = raw_estimate(config, values)
        prior = prior_at(config, step)
        w = guarded_weights(config, before.mu, before.mu_ada, raw, prior)
        if not np.array_equal(w.mu, after.mu):
            fail(
                f"step {step}: the guards' weight is not the applied one; some statistic is unseen"
            )
        rows.append((raw, np.zeros(raw.shape, dtype=np.bool_), np.float64(prior), *w))
    raw, held, prior_row, ada, candidate, capped, mu, ada_clipped, change_capped, mu_clipped = (
        np.stack(column) for column in zip(*rows, strict=True)
    )
    return GuardedRun(
        raw, held, prior_row, ada, candidate, capped, mu, ada_clipped, change_capped, mu_clipped
    )


def recording(path: str) -> dict[str, AnyArray]:
    """What the shipped recording of a small transformer says about three claims.

    Args:
        path: The trace's folder, from the root of the checkout.

    Returns:
        Proxy and oracle of the disagreement at the oracle's steps [k]; ``driver`` [4, refreshes];
        ``mu`` and ``prior`` [T]; the estimator's share of the wall time, with and without handing
        the tensors over, and its median over steps.
    """
    from gac_ref.traces import TraceReader
    from simulations.analysis.claims.driver import drivers, split_movement

    reader = TraceReader(ROOT / path)
    config = GACConfig.from_dict(reader.meta["config"])
    steps = list(reader)
    names = ("sigma_s2", "sigma_r2", "delta_g2", "alpha")
    refreshed = [step for step in steps if step.logged["refreshed"]]
    statistics = np.array([[step.logged[name] for step in refreshed] for name in names])
    driver, moved = drivers(split_movement(config, statistics))
    measured = [step for step in steps if step.oracle]
    timing = reader.meta["timing"]
    total, own = float(timing["step_seconds"]), float(timing["estimator_seconds"])
    return {
        "proxy": finite(np.array([s.logged["proxy_delta_g2"] for s in measured]), "proxy"),
        "oracle": finite(np.array([s.oracle["delta_g2"] for s in measured]), "oracle"),
        "driver": driver[:, moved],
        "mu": np.array([step.logged["mu"] for step in steps]),
        "prior": np.array([step.logged["prior"] for step in steps]),
        "share": np.array(own / total),
        "share_median": np.array(float(timing["estimator_share_median"])),
        "share_with_handover": np.array((own + float(timing["handover_seconds"])) / total),
    }


def criterion(
    effects: Sequence[float], counts: Sequence[int], runs: int, seed: int
) -> dict[str, AnyArray]:
    """The three-seed criterion at true effects, paired and unpaired, and with more seeds.

    Returns:
        ``share``, ``wrong_direction``, ``p_alone``, ``mean_d`` and the exact ``theory``
        [2, counts, effects], and ``curve`` [2, counts, g] at ``curve_effects``; the first axis is
        paired, unpaired.
    """
    from simulations.analysis.claims.criterion import exact_passing, simulate_criterion

    rng = np.random.default_rng(seed)
    kinds = (True, False)
    found = [
        [simulate_criterion(effects, n, rng=rng, runs=runs, paired=paired) for n in counts]
        for paired in kinds
    ]
    grid = np.linspace(0.0, max(effects), 61)

    def exact(at: Sequence[float]) -> FloatArray:
        return np.array(
            [
                [[exact_passing(effect, n, paired=paired) for effect in at] for n in counts]
                for paired in kinds
            ]
        )

    names = ("share", "wrong_direction", "p_alone", "mean_d")
    return {
        **{name: np.array([[getattr(x, name) for x in row] for row in found]) for name in names},
        "theory": exact(effects),
        "curve": exact(grid.tolist()),
        "curve_effects": grid,
    }
