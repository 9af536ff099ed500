"""The default guards and their variants under scripted noise, many seeds at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import BoolArray, FloatArray
from simulations.analysis.authority.decomposition import (
    covariance_shares,
    decompose,
    path_shares,
)
from simulations.analysis.authority.guarded_run import run_proxies
from simulations.noise.scenarios import scenario

__all__ = ["RegimeRuns", "regime_proxies", "run_regimes"]


class RegimeRuns(NamedTuple):
    """V variants in R regimes with n seeds of T steps.

    Args:
        covariance: Share of each part in the variance of mu over time, [V, R, 5, n].
        path: Share of each part in all steps taken, [V, R, 5, n].
        mu: Mean of mu over seeds, [V, R, T].
        parts: Mean contribution over seeds, [V, R, 5, T].
        raw: Mean raw estimate over seeds, [V, R, T].
        acted: Share of steps in which cap and clips acted, [V, R, 2].
        last_capped: Last step at which the cap acted on any seed, [V, R]; -1 for never.
        residual: Largest distance of a sum of parts from mu, over everything.
    """

    covariance: FloatArray
    path: FloatArray
    mu: FloatArray
    parts: FloatArray
    raw: FloatArray
    acted: FloatArray
    last_capped: FloatArray
    residual: float


def regime_proxies(
    names: Sequence[str], *, seed: int, seeds: int, steps: int, every: int
) -> list[Proxies]:
    """Proxies of scenarios for every step, drawn anew every `every` steps, [R, seeds] each.

    The same seed gives the same numbers to every variant, and to a scenario in any company.
    """
    problems = [scenario(name) for name in names]
    rngs = [np.random.default_rng([seed, sum(map(ord, name))]) for name in names]
    thetas = [problem.start(rng, seeds) for problem, rng in zip(problems, rngs, strict=True)]
    out: list[Proxies] = []
    for step in range(steps):
        if step % every:
            out.append(out[-1])
            continue
        drawn = []
        for problem, rng, theta in zip(problems, rngs, thetas, strict=True):
            found = problem.sample(theta, step, problem.draw(rng, seeds, step)).signals.proxies
            assert found is not None  # these problems observe nothing else
            drawn.append([np.asarray(value, dtype=np.float64) for value in found[:3]])
        out.append(Proxies(*(np.stack(column) for column in zip(*drawn, strict=True))))
    return out


def run_regimes(
    variants: Mapping[str, Mapping[str, Any]],
    regimes: Sequence[str],
    *,
    seed: int,
    seeds: int,
    steps: int,
) -> RegimeRuns:
    """Decompose a run of every variant in every regime.

    Args:
        variants: Name -> changes to the documented configuration.
        regimes: Names of scenarios.
        seed: Root of the random numbers.
        seeds: n, trajectories of each.
        steps: T, optimiser steps.

    Returns:
        Shares and means.

    Examples:
        >>> runs = run_regimes({"default": {}}, ["calm"], seed=0, seeds=2, steps=30)
        >>> runs.covariance.shape, runs.residual < 1e-12
        ((1, 1, 5, 2), True)
    """
    every = GACConfig().mu_update_freq
    proxies = regime_proxies(regimes, seed=seed, seeds=seeds, steps=steps, every=every)
    shares, means, acted, last = [], [], [], []
    residual = 0.0
    for changes in variants.values():
        config = GACConfig(**changes)
        run = run_proxies(config, proxies, (len(regimes), seeds))
        found = decompose(config, run)
        residual = max(residual, found.residual)
        shares.append((covariance_shares(found), path_shares(found)))
        means.append((run.mu.mean(axis=-1), run.mu_raw.mean(axis=-1), found.parts.mean(axis=-1)))
        clipped = run.mu_clipped | run.ada_clipped
        acted.append(np.stack((run.change_capped, clipped)).mean(axis=(1, 3)))
        last.append(_last(np.asarray(run.change_capped.any(axis=-1))))
    covariance, path = (np.stack(each).swapaxes(1, 2) for each in zip(*shares, strict=True))
    mu, raw, parts = (np.stack(each) for each in zip(*means, strict=True))
    return RegimeRuns(
        covariance=covariance,
        path=path,
        mu=mu.swapaxes(1, 2),
        parts=parts.transpose(0, 3, 1, 2),
        raw=raw.swapaxes(1, 2),
        acted=np.stack(acted).swapaxes(1, 2),
        last_capped=np.stack(last),
        residual=residual,
    )


def _last(acted: BoolArray) -> FloatArray:
    """The last step at which something acted, [T, R] -> [R]; -1 for never."""
    steps = np.arange(acted.shape[0])[:, None]
    return np.asarray(np.where(acted, steps, -1).max(axis=0), dtype=np.float64)
