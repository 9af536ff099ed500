"""What is computed and saved for this question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from simulations.analysis.convergence.policies import policy_curves
from simulations.analysis.convergence.quadratic import loss_curves, settled
from simulations.analysis.convergence.recorded import recorded_drift
from simulations.analysis.convergence.response import run_switch
from simulations.analysis.convergence.runs import Table, simulated
from simulations.analysis.convergence.stability import additive_map, row_map
from simulations.analysis.convergence.tracking import simulated_error
from simulations.analysis.question import Part, finite
from simulations.models import Quadratic

__all__ = ["BY_NAME"]

BOWLS = {
    "dimension": 8,
    "separation": 2.0,
    "rotation": 0.5,
    "condition_s": 4.0,
    "condition_r": 4.0,
    "curvature_r": 2.0,
    "sigma_s2": 1.0,
    "sigma_r2": 4.0,
    "start_spread": 0.5,
}

SCHEDULES = {
    "fixed_0.15": {"kind": "fixed", "mu": 0.15},
    "fixed_0.5": {"kind": "fixed", "mu": 0.5},
    "fixed_0.85": {"kind": "fixed", "mu": 0.85},
    "chord_mu": {"kind": "chord_mu", "warmup": 200, "decay": 800, "peak": 0.85, "valley": 0.15},
    "sft_then_rl": {"kind": "sft_then_rl", "switch_step": 400},
}
"""The one that warms up and decays is GAC's prior."""

SHORT_PRIOR = {"kind": "gac", "prior_warmup": 50, "prior_decay": 200}

CONTROLLERS = {
    "gac_documented": {**SHORT_PRIOR, "variant": "documented"},
    "gac_released": {**SHORT_PRIOR, "variant": "released"},
    "gac_decoupled": {**SHORT_PRIOR, "variant": "decoupled"},
    "gac_no_prior": {"kind": "gac", "prior": "none"},
    "fixed_0.1": {"kind": "fixed", "mu": 0.1},
    "sft_then_rl": {"kind": "sft_then_rl", "switch_step": 100},
    "chord_mu": {"kind": "chord_mu"},
    "inverse_variance": {"kind": "inverse_variance"},
}

POLICY_RUN = {"horizon": 300, "seeds": 96, "learning_rate": 0.5, "trace_seeds": 0}

MAP_WEIGHTS = [index / 8 for index in range(9)]


def _quadratic(problem: Table, schedules: Mapping[str, Table], run: Table) -> dict[str, AnyArray]:
    curves = loss_curves(problem, schedules, run)
    return {**curves._asdict(), "schedules": np.array(list(schedules))}


def _settled(
    problem: Table,
    points: int,
    learning_rates: Sequence[float],
    checked: Sequence[float],
    time: float,
    seeds: int,
) -> dict[str, AnyArray]:
    """The exact stationary loss, and at a few weights the end of runs of time / rate steps."""
    mus = np.linspace(0.0, 1.0, points)
    rules = {f"mu_{mu}": {"kind": "fixed", "mu": mu} for mu in checked}
    ends = []
    for rate in learning_rates:
        horizon = round(time / rate)
        run = {"horizon": horizon, "seeds": seeds, "learning_rate": rate, "measure_every": horizon}
        final = finite(simulated(Quadratic(**problem), rules, run).metrics["loss_final"], "loss")
        ends.append((final.mean(axis=-1), final.std(axis=-1, ddof=1) / np.sqrt(seeds)))
    mean, error = np.swapaxes(ends, 0, 1)
    return {
        **settled(problem, mus.tolist(), learning_rates)._asdict(),
        "mus": mus,
        "learning_rates": np.asarray(learning_rates),
        "checked": np.asarray(checked),
        "end_mean": mean,
        "end_error": error,
    }


def _policy(problem: Table, controllers: Mapping[str, Table], run: Table) -> dict[str, AnyArray]:
    curves = policy_curves(problem, controllers, run)
    return {**curves._asdict(), "controllers": np.array(list(controllers))}


def _additive(**settings: Any) -> dict[str, AnyArray]:
    return additive_map(**settings)._asdict()


def _rows(**settings: Any) -> dict[str, AnyArray]:
    return row_map(**settings)._asdict()


def _tracking(**settings: Any) -> dict[str, AnyArray]:
    mean, error = simulated_error(**settings)
    return {"mean": mean, "error": error}


def _switch(variants: Sequence[str], after: int) -> dict[str, AnyArray]:
    found = [run_switch({}, variant=name, after=after) for name in variants]
    return {
        name: np.stack([np.asarray(getattr(item, name)) for item in found])
        for name in found[0]._fields
    }


def _recorded(variant: str) -> dict[str, AnyArray]:
    return recorded_drift(variant)._asdict()


def _part(name: str, compute: Callable[..., dict[str, AnyArray]], **settings: Any) -> Part:
    return Part(f"convergence.{name}", compute, settings)


BY_NAME = {
    part.name.rpartition(".")[2]: part
    for part in (
        _part(
            "quadratic",
            _quadratic,
            problem=BOWLS,
            schedules=SCHEDULES,
            run={"horizon": 1200, "seeds": 256, "learning_rate": 0.05, "trace_seeds": 0},
        ),
        _part(
            "settled",
            _settled,
            problem=BOWLS,
            points=201,
            learning_rates=[0.02, 0.05, 0.2],
            checked=[0.1, 0.3, 0.5, 0.7, 0.9],
            time=40.0,
            seeds=256,
        ),
        _part(
            "tokens",
            _policy,
            problem={"kind": "token_policy"},
            controllers=CONTROLLERS,
            run=POLICY_RUN,
        ),
        _part(
            "bandit",
            _policy,
            problem={"kind": "bandit"},
            controllers=CONTROLLERS,
            run=POLICY_RUN,
        ),
        _part(
            "additive_noise",
            _additive,
            problem={"dimension": 4, "curvature_r": 3.0, "rotation": 0.7, "separation": 2.0},
            mus=MAP_WEIGHTS,
            learning_rates=[0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7, 1.9, 2.1],
            noise_levels=[0.1, 10.0],
            run={"horizon": 400, "seeds": 32},
        ),
        _part(
            "row_noise",
            _rows,
            problem={"dimension": 4, "examples": 64, "noise_s": 0.5, "noise_r": 0.5},
            mus=MAP_WEIGHTS,
            learning_rates=[0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.15, 1.3, 1.45, 1.6],
            batches=[[8, 8], [8, 1]],
            run={"horizon": 400, "seeds": 32},
            chains=16,
            chain_steps=400,
        ),
        _part(
            "tracking",
            _tracking,
            betas=[0.5, 0.8, 0.9, 0.95, 0.98, 0.99],
            drift_ratios=[1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
            trajectories=1000,
            steps=1600,
            seed=0,
        ),
        _part("switch", _switch, variants=["documented", "decoupled"], after=4000),
        _part("recorded", _recorded, variant="documented"),
    )
}
"""The parts by the last part of their names."""
