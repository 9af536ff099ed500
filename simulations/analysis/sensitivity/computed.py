"""The parts: settings in, plain arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref import GACConfig
from gac_ref._typing import AnyArray
from gac_ref.errors import fail

__all__ = ["finite_changes", "local", "noise", "plug_in", "scaled_runs", "scaling", "sobol"]

CURVE_EVERY = 10


def local(
    variants: Mapping[str, Mapping[str, Any]], regime: str, seed: int, seeds: int, steps: int
) -> dict[str, AnyArray]:
    """Derivatives of the applied weight to every continuous hyperparameter, over a run."""
    from simulations.analysis.authority.regimes import regime_proxies
    from simulations.analysis.sensitivity.hyper import Values
    from simulations.analysis.sensitivity.local import CONTINUOUS, complex_step

    every = GACConfig().mu_update_freq
    drawn = regime_proxies([regime], seed=seed, seeds=seeds, steps=steps, every=every)
    rng = np.random.default_rng([seed, 1])
    kl = GACConfig().kl_target * rng.lognormal(sigma=0.15, size=(steps, 1, seeds))
    values = [Values(*p[:3], kl=k) for p, k in zip(drawn, kl, strict=True)]
    mu, slope, scale = [], [], []
    for changes in variants.values():
        config = GACConfig(**changes)
        path, derivative = complex_step(config, values)
        mu.append(path.mean(axis=-1)[::CURVE_EVERY])
        slope.append(derivative[:, ::CURVE_EVERY])
        at = np.array([getattr(config, name) for name in CONTINUOUS])
        at[CONTINUOUS.index("ema_beta")] = config.ema_beta - 1.0  # of the forgetting rate
        scale.append(at)
    return {
        "mu": np.stack(mu),
        "slope": np.stack(slope),
        "scale": np.stack(scale),
        "steps": np.arange(0, steps, CURVE_EVERY),
    }


def finite_changes(changes: Sequence[Mapping[str, Any]]) -> dict[str, AnyArray]:
    """What a whole change of a hyperparameter does to the replay of the shipped recording."""
    from simulations.analysis.authority.guarded_run import recorded_proxies, run_proxies
    from simulations.recording import SHIPPED_TRACE

    cached: dict[tuple[Any, ...], Any] = {}
    rows = []
    for change in ({}, *changes):
        config = GACConfig(**change)
        key = tuple(change.get(name) for name in ("trim_ratio", "mask_eps", "eps"))
        if key not in cached:
            # Every tenth batch is measured, whatever multiple of ten the refresh is then due at.
            cached[key] = recorded_proxies(config.replace(mu_update_freq=10), SHIPPED_TRACE)
        if config.mu_update_freq % 10:
            fail(f"mu_update_freq = {config.mu_update_freq} is not a multiple of 10; pass one")
        run = run_proxies(config, cached[key])
        rows.append((run.mu_raw, run.mu))
    raw, mu = (np.stack(column) for column in zip(*rows, strict=True))
    return {
        "raw": raw,
        "mu": mu,
        "raw_change": np.abs(raw[1:] - raw[0]).max(axis=1),
        "mu_change": np.abs(mu[1:] - mu[0]).max(axis=1),
    }


def sobol(
    model: Mapping[str, Any],
    config: Mapping[str, Any],
    factors: Sequence[Sequence[Any]],
    outcome: str,
    horizon: int,
    seeds: int,
    learning_rate: float,
    rows: int,
    resamples: int,
    seed: int,
) -> dict[str, AnyArray]:
    """First-order and total indices of the last weight and of the outcome, by two libraries."""
    from simulations.analysis.sensitivity import sobol as global_
    from simulations.analysis.sensitivity.training import train
    from simulations.registry import build_problem

    laws = [global_.Factor(*factor) for factor in factors]
    unit = global_.design(len(laws), rows, seed=seed)
    found = train(
        build_problem(model),
        GACConfig(**config),
        global_.in_units(unit, laws),
        outcome=outcome,
        horizon=horizon,
        seeds=seeds,
        learning_rate=learning_rate,
        seed=seed,
    )
    out: dict[str, AnyArray] = {}
    for name, values in (("mu", found.mu), ("outcome", found.outcome)):
        y = values.mean(axis=-1)
        for library, analyse in (
            ("salib", global_.salib_indices),
            ("scipy", global_.scipy_indices),
        ):
            indices = analyse(y, len(laws), resamples=resamples, seed=seed)
            for field, value in indices._asdict().items():
                out[f"{name}/{library}/{field}"] = np.asarray(value)
        out[f"{name}/quantiles"] = np.quantile(y, [0.025, 0.5, 0.975])
        # What the seeds leave uncertain in the differences between rows: all rows share them, so
        # that a lucky seed, which lifts every row, does not count.
        apart = values - values.mean(axis=0)
        noise = apart.var(axis=-1, ddof=1).mean() / values.shape[-1]
        out[f"{name}/noise_share"] = np.array(noise / y.var())
    return out


def scaling(
    sigma_s2: float,
    sigma_r2: float,
    ratios: Sequence[float],
    alpha: float,
    decades: float,
    points: int,
) -> dict[str, AnyArray]:
    """The closed form with one proxy off by a factor, at several disagreements."""
    from simulations.analysis.sensitivity.scaling import misscaled

    factors = np.logspace(-decades, decades, points)
    noise = sigma_s2 + sigma_r2
    found = [misscaled(sigma_s2, sigma_r2, x * noise, alpha, factors) for x in ratios]
    return {
        "factors": factors,
        "mu": np.stack([each.mu for each in found]),
        "relative": np.stack([each.relative for each in found]),
    }


def scaled_runs(
    model: Mapping[str, Any],
    variants: Mapping[str, Mapping[str, Any]],
    outcome: str,
    decades: float,
    points: int,
    horizon: int,
    seeds: int,
    learning_rate: float,
    seed: int,
) -> dict[str, AnyArray]:
    """Training with one proxy off by a factor: mean weight and outcome, [V, 3, F, n]."""
    from simulations.analysis.sensitivity.training import SCALES, train
    from simulations.registry import build_problem

    factors = np.logspace(-decades, decades, points)
    count = len(SCALES) * points
    changes = {name: np.ones(count) for name in SCALES}
    for k, name in enumerate(SCALES):
        changes[name][k * points : (k + 1) * points] = factors
    problem = build_problem(model)
    found = [
        train(
            problem,
            GACConfig(**config),
            changes,
            outcome=outcome,
            horizon=horizon,
            seeds=seeds,
            learning_rate=learning_rate,
            seed=seed,
        )
        for config in variants.values()
    ]
    shape = (len(found), len(SCALES), points, seeds)
    return {
        "factors": factors,
        "mu": np.stack([each.mu_mean for each in found]).reshape(shape),
        "outcome": np.stack([each.outcome for each in found]).reshape(shape),
    }


def plug_in(
    sigma_s2: float,
    sigma_r2: float,
    alphas: Sequence[float],
    sizes: Sequence[Sequence[int]],
    removals: Sequence[float],
    decades: float,
    points: int,
    checked: Sequence[int],
    trials: int,
    seed: int,
) -> dict[str, AnyArray]:
    """Regret of the plug-in weight, exact over everything and simulated for some sizes.

    Arrays are [alpha, size, removal, ratio]; simulated ones [checked, ratio, 2, trials], of the
    first alpha, plain and unbiased.
    """
    from simulations.analysis.sensitivity.plug_in import expected_plug_in, simulated_regret

    ratios = np.logspace(-decades, decades, points)
    noise = sigma_s2 + sigma_r2
    shape = (len(alphas), len(sizes), len(removals), points)
    out = {name: np.empty(shape) for name in ("mean", "variance", "regret", "relative", "clipped")}
    for index in np.ndindex(shape):
        a, i, c, k = index
        found = expected_plug_in(
            sigma_s2,
            sigma_r2,
            float(ratios[k] * noise),
            alpha=alphas[a],
            dimension=sizes[i][0],
            samples=sizes[i][1],
            removal=removals[c],
        )
        for name in out:
            out[name][index] = getattr(found, name)
    drawn = [
        [
            simulated_regret(
                sigma_s2,
                sigma_r2,
                float(ratio * noise),
                alpha=alphas[0],
                dimension=sizes[i][0],
                samples=sizes[i][1],
                trials=trials,
                seed=seed + k,
            )
            for k, ratio in enumerate(ratios)
        ]
        for i in checked
    ]
    return {**out, "ratios": ratios, "simulated": np.asarray(drawn)}


def noise(
    sigma_s2: float,
    sigma_r2: float,
    ratios: Sequence[float],
    alpha: float,
    spreads: Sequence[float],
) -> dict[str, AnyArray]:
    """Relative regret with a noisy proxy: [ratio, proxy (the last: all three), spread, 2]."""
    from simulations.analysis.sensitivity.scaling import noisy_regret

    masks = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0))
    size = sigma_s2 + sigma_r2
    found = [
        [
            [
                noisy_regret(
                    sigma_s2,
                    sigma_r2,
                    ratio * size,
                    alpha,
                    spread=(mask[0] * v, mask[1] * v, mask[2] * v),
                )
                for v in spreads
            ]
            for mask in masks
        ]
        for ratio in ratios
    ]
    return {"relative": np.asarray(found)}
