"""Sensitivity: which hyperparameter, scale or estimation error moves the weight and the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulations.analysis.question import Part, Section
from simulations.analysis.sensitivity import computed

if TYPE_CHECKING:
    from simulations.analysis.results import Results

__all__ = ["name", "parts", "section", "title"]

name = "sensitivity"
title = "Which hyperparameters, proxy scales and estimation errors matter to mu and to the outcome?"

_GUARDS = [
    ["ema_beta", 0.7, 0.999, "log_complement"],
    ["blend_weight", 0.0, 1.0, "linear"],
    ["init_mu", 0.2, 0.7, "linear"],
    ["mu_min", 0.0, 0.15, "linear"],
    ["mu_max", 0.75, 1.0, "linear"],
    ["mu_change_cap", 0.001, 0.1, "log"],
    ["prior_peak", 0.5, 1.0, "linear"],
    ["prior_valley", 0.0, 0.5, "linear"],
    ["mu_update_freq", 1, 30, "integer"],
    ["delta_g2_cap_ratio", 0.1, 100.0, "log"],
    ["eps", 1e-10, 1e-4, "log"],
]
_SCALES = [
    ["scale_s", 0.1, 10.0, "log"],
    ["scale_r", 0.1, 10.0, "log"],
    ["scale_d", 0.1, 10.0, "log"],
]
QUADRATIC_FACTORS = [
    *_GUARDS,
    ["alpha", 0.1, 0.9, "linear"],
    ["prior_warmup", 0, 100, "integer"],
    ["prior_decay", 50, 400, "integer"],
    *_SCALES,
]
BANDIT_FACTORS = [
    *_GUARDS,
    ["alpha", 0.3, 0.7, "linear"],
    ["prior_warmup", 0, 50, "integer"],
    ["prior_decay", 25, 150, "integer"],
    ["trim_ratio", 0.0, 0.4375, "levels"],
    ["alpha_min", 0.05, 0.3, "linear"],
    ["alpha_max", 0.7, 0.99, "linear"],
    ["kl_target", 0.002, 0.2, "log"],
    ["kl_gain", 0.01, 1.0, "log"],
    *_SCALES,
]
"""Name, lowest, highest value and law of each input. The ranges are broad on purpose: what has no
index here has none in any smaller range that a user would tune over. `mask_eps` is left to the
whole changes: its effect is too small for an index."""

_BOWLS = {
    "kind": "quadratic",
    "dimension": 8,
    "separation": 2.0,
    "sigma_s2": 1.0,
    "sigma_r2": 9.0,
    "proxy": "estimated",
}
_BANDIT = {"kind": "bandit"}

LOCAL_VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "internal": {"weight_ema": "internal"},
    "KL-driven alpha, D2 cap": {"alpha_mode": "kl", "delta_g2_cap_ratio": 1.0},
}
RUN_VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "internal": {"weight_ema": "internal"},
    "no prior": {"prior": "none"},
}
CHANGES: list[dict[str, Any]] = [
    {"trim_ratio": 0.0},
    {"trim_ratio": 0.25},
    {"mask_eps": 1e-3},
    {"eps": 1e-4},
    {"mu_update_freq": 20},
    {"mu_update_freq": 50},
    {"prior_warmup": 100},
    {"prior_decay": 400},
]


def parts() -> tuple[Part, ...]:
    """Derivatives, whole changes, Sobol indices, mis-scaled proxies, regret of the plug-in.

    Examples:
        >>> [part.name for part in parts()][:2]
        ['sensitivity.local', 'sensitivity.changes']
    """
    on_bowls = {
        "model": _BOWLS,
        "factors": QUADRATIC_FACTORS,
        "outcome": "loss",
        "horizon": 300,
        "seeds": 4,
        "learning_rate": 0.05,
        "rows": 256,
        "resamples": 200,
        "seed": 0,
    }
    return (
        Part(
            "sensitivity.local",
            computed.local,
            {
                "variants": LOCAL_VARIANTS,
                "regime": "rl_step",
                "seed": 0,
                "seeds": 8,
                "steps": 1400,
            },
        ),
        Part("sensitivity.changes", computed.finite_changes, {"changes": CHANGES}),
        Part("sensitivity.quadratic", computed.sobol, {**on_bowls, "config": {}}),
        Part(
            "sensitivity.quadratic_internal",
            computed.sobol,
            {**on_bowls, "config": {"weight_ema": "internal"}},
        ),
        Part(
            "sensitivity.bandit",
            computed.sobol,
            {
                **on_bowls,
                "model": _BANDIT,
                "config": {"alpha_mode": "kl"},
                "factors": BANDIT_FACTORS,
                "outcome": "reward",
                "horizon": 100,
                "seeds": 2,
                "learning_rate": 0.3,
                "rows": 128,
            },
        ),
        Part(
            "sensitivity.scaling",
            computed.scaling,
            {
                "sigma_s2": 1.0,
                "sigma_r2": 9.0,
                "ratios": [0.1, 1.0, 10.0],
                "alpha": 0.5,
                "decades": 2.0,
                "points": 41,
            },
        ),
        Part(
            "sensitivity.scaled_runs",
            computed.scaled_runs,
            {
                "model": _BOWLS,
                "variants": RUN_VARIANTS,
                "outcome": "loss",
                "decades": 2.0,
                "points": 9,
                "horizon": 300,
                "seeds": 64,
                "learning_rate": 0.05,
                "seed": 0,
            },
        ),
        Part(
            "sensitivity.plug_in",
            computed.plug_in,
            {
                "sigma_s2": 1.0,
                "sigma_r2": 4.0,
                "alphas": [0.5, 0.8],
                "sizes": [[2, 2], [2, 16], [4, 4], [32, 4], [256, 4]],
                "removals": [0.0, 0.5, 1.0],
                "decades": 2.0,
                "points": 13,
                "checked": [2, 3],
                "trials": 2000,
                "seed": 0,
            },
        ),
        Part(
            "sensitivity.noise",
            computed.noise,
            {
                "sigma_s2": 1.0,
                "sigma_r2": 9.0,
                "ratios": [0.1, 1.0, 10.0],
                "alpha": 0.5,
                "spreads": [0.1, 0.3, 1.0],
            },
        ),
    )


def section(results: Results) -> Section:
    """The answer, from saved results only."""
    from simulations.analysis.sensitivity.answer import answer

    named = {part.name.partition(".")[2]: part for part in parts()}
    return answer(title, named, results)
