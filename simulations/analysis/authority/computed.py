"""The parts: settings in, plain arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import AnyArray

__all__ = ["linear", "movement", "recording", "regimes"]

LAMBDAS = 101
BETAS = 91


def linear(variants: Mapping[str, Mapping[str, Any]], steps: int) -> dict[str, AnyArray]:
    """Gains, poles, settling times, frequency and step responses of the variants; the gain map."""
    from simulations.analysis.authority import linear as theory

    stacks = [theory.linear_stack(GACConfig(**changes)) for changes in variants.values()]
    estimates = [stack.estimate for stack in stacks]
    omega = np.geomspace(1e-4, np.pi, 200)
    lam, forget = np.linspace(0.0, 1.0, LAMBDAS), np.geomspace(1e-3, 1.0, BETAS)
    statistics = theory.Channel(1.0 - GACConfig().ema_beta, GACConfig().ema_beta)
    return {
        "gain": np.array([theory.dc_gain(c) for c in estimates]),
        "prior_gain": np.array([theory.dc_gain(stack.prior) for stack in stacks]),
        "pole": np.array([c.a for c in estimates]),
        "settling": np.array([theory.settling_steps(c) for c in estimates]),
        "delay": np.array([theory.delay(c) for c in estimates]),
        "half_power": np.array([theory.half_power_frequency(c) for c in estimates]),
        "noise_gain": np.array([theory.noise_gain(c) for c in estimates]),
        "statistics_settling": np.array(
            (theory.settling_steps(statistics) - 1) * GACConfig().mu_update_freq + 1
        ),
        "step_response": np.stack([theory.step_response(c, steps) for c in estimates]),
        "omega": omega,
        "response": np.abs(np.stack([theory.frequency_response(c, omega) for c in estimates])),
        "map_lambda": lam,
        "map_forget": forget,
        "map": theory.gain_map(lam, 1.0 - forget[:, None]),
        "lambda_for_half": theory.blend_weight_for(0.5, GACConfig().ema_beta),
    }


def movement(
    blend_weights: Sequence[float], low: float, high: float, steps: int
) -> dict[str, AnyArray]:
    """How far the released controller's mu follows the raw estimate, measured and in theory."""
    from simulations.analysis.authority.movement import movement_bound, two_runs

    configs = [GACConfig.released(blend_weight=lam) for lam in blend_weights]
    runs = np.stack([two_runs(config, low=low, high=high, steps=steps) for config in configs])
    bounds = [movement_bound(config, low=low, high=high, steps=steps) for config in configs]
    return {
        "mu": runs,
        "measured": (runs[..., 1] - runs[..., 0]).max(axis=-1),
        "theory": np.array(bounds),
    }


def regimes(
    variants: Mapping[str, Mapping[str, Any]],
    regimes: Sequence[str],
    seed: int,
    seeds: int,
    steps: int,
) -> dict[str, AnyArray]:
    """Shares of the parts in every regime, and the mean contributions over time."""
    from simulations.analysis.authority.regimes import run_regimes

    runs = run_regimes(variants, regimes, seed=seed, seeds=seeds, steps=steps)
    return {name: np.asarray(value) for name, value in runs._asdict().items()}


def recording(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, AnyArray]:
    """The shipped training run replayed under every variant, and who moved mu there."""
    from simulations.analysis.authority.decomposition import (
        covariance_shares,
        decompose,
        path_shares,
    )
    from simulations.analysis.authority.guarded_run import recorded_proxies, run_proxies
    from simulations.recording import SHIPPED_TRACE

    configs = [GACConfig(**changes) for changes in variants.values()]
    values = recorded_proxies(GACConfig(), SHIPPED_TRACE)
    runs = [run_proxies(config, values) for config in configs]
    found = [decompose(config, run) for config, run in zip(configs, runs, strict=True)]
    return {
        "mu": np.stack([run.mu for run in runs]),
        "raw": np.stack([run.mu_raw for run in runs]),
        "parts": np.stack([each.parts for each in found]),
        "covariance": np.stack([covariance_shares(each) for each in found]),
        "path": np.stack([path_shares(each) for each in found]),
        "acted": np.array(
            [[run.change_capped.mean(), (run.mu_clipped | run.ada_clipped).mean()] for run in runs]
        ),
        "residual": np.array(max(each.residual for each in found)),
    }
