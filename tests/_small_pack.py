"""A pack of a few cases, made on the spot from the reference: what the checker is tested on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref import GACConfig
from gac_ref.conformance.case import Case, Exchange
from gac_ref.conformance.formats import narrow, widen
from gac_ref.conformance.pack import Pack
from gac_ref.conformance.reference import Reference, evaluate
from gac_ref.conformance.stages import PIPELINE, STAGES

DTYPES = ("fp64", "fp32")
ROWS, TOKENS = 7, 5  # distinct, so that exchanged axes show
STEPS = 6

CONFIGS = {
    # Two freely chosen corners in which every stage does something that can be seen.
    "internal": GACConfig(
        weight_ema="internal",
        prior_warmup=3,
        prior_decay=6,
        mu_update_freq=2,
        ema_beta=0.7,
        mu_change_cap=0.2,
        blend_weight=0.6,
        alpha_mode="kl",
        delta_g2_cap_ratio=0.6,
        unseen_statistic="unit",
    ),
    "released": GACConfig.released(mu_update_freq=1, ema_beta=0.8, mu_change_cap=0.05, init_mu=0.3),
    "held": GACConfig(mu_update_freq=3, ema_beta=0.6, prior="none", mu_change_cap=0.1),
}


def batch(rng: np.random.Generator, config: GACConfig) -> dict[str, Any]:
    """A batch with demonstrations and rollouts, in float64 that every dtype of the pack holds."""
    mask = rng.random((ROWS, TOKENS)) < 0.7
    mask[:, 0] = True
    values: dict[str, Any] = {
        "logprob": -rng.exponential(1.5, (ROWS, TOKENS)),
        "response_mask": mask,
        "advantages": rng.normal(size=(ROWS, TOKENS)) * 2.0,
        "is_expert": np.arange(ROWS) < 4,
    }
    if config.alpha_mode == "kl":
        values["batch_kl"] = float(rng.uniform(0.0, 0.06))
    return values


def state(rng: np.random.Generator, step: int) -> dict[str, Any]:
    """A state that a step may be given, its weight outside the bounds now and then."""
    return {
        "previous_mu": float(rng.choice([0.06, 0.5, 0.97])),
        "previous_mu_ada": float(rng.uniform(0.1, 0.8)),
        "previous_alpha": float(rng.uniform(0.2, 0.9)),
        "previous_sigma_s2": float(rng.uniform(0.1, 2.0)),
        "previous_sigma_r2": float(rng.uniform(0.1, 2.0)),
        "previous_delta_g2": float(rng.uniform(0.1, 2.0)),
        "previous_count_s": 3,
        "previous_count_r": 4,
        "previous_count_delta": 5,
        "previous_last_refresh": step - 3,
    }


def exchange(
    stage: str, values: Mapping[str, Any], expected: Mapping[str, Any], dtype: str
) -> Exchange:
    """One call; `values` are in the dtype already."""
    tokens = {field.name for field in STAGES[stage].inputs if field.kind == "token"}
    sent = {n: narrow(v, dtype) if n in tokens else v for n, v in values.items()}
    return Exchange(sent, dict(values), dict(expected))


def rounded(values: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Token arrays as the dtype holds them."""
    tokens = ("logprob", "advantages", "ref_logprob", "old_logprob")
    return {n: widen(narrow(v, dtype), dtype) if n in tokens else v for n, v in values.items()}


def steps(config: GACConfig, seed: int, dtype: str) -> tuple[Exchange, ...]:
    rng = np.random.default_rng(seed)
    calls = []
    for step in range(5, 5 + STEPS):
        values = rounded({**batch(rng, config), **state(rng, step), "step": step}, dtype)
        calls.append(exchange("step", values, evaluate("step", config, values), dtype))
    return tuple(calls)


def trajectory(config: GACConfig, seed: int, dtype: str) -> tuple[Exchange, ...]:
    rng, golden = np.random.default_rng(seed), Reference()
    golden.configure(config.to_dict(), dtype="fp64", device="cpu")
    calls = []
    for step in range(STEPS):
        values = rounded({**batch(rng, config), "step": step}, dtype)
        calls.append(exchange("trajectory", values, golden.run("trajectory", values), dtype))
    return tuple(calls)


def alone(stage: str, config: GACConfig, seed: int, dtype: str) -> tuple[Exchange, ...]:
    """The stage on what steps gave it."""
    calls = []
    for step in steps(config, seed, dtype):
        known = {**step.expected, **step.wide}
        fields = STAGES[stage].inputs
        if all(field.optional or field.name in known for field in fields):
            values = {f.name: known[f.name] for f in fields if f.name in known}
            expected = (
                {n: values[n] for n in values}
                if stage == "transport"
                else evaluate(stage, config, values)
            )
            calls.append(exchange(stage, values, expected, dtype))
    return tuple(calls)


def rewards(config: GACConfig, seed: int, dtype: str) -> tuple[Exchange, ...]:
    rng = np.random.default_rng(seed)
    calls = []
    for convention in ("trl", "verl"):
        values = {
            "rewards": rng.normal(size=ROWS),
            "group_ids": np.arange(ROWS) % 2,
            "is_expert": np.zeros(ROWS, dtype=bool),
            "convention": convention,
        }
        expected = evaluate("advantages", config, values)
        calls.append(exchange("advantages", values, expected, dtype))
    return tuple(calls)


def make(case: str, stage: str, config: GACConfig, load: Any, tags: tuple[str, ...] = ()) -> Case:
    kind: Any = stage if stage in ("step", "trajectory") else "stage"
    return Case(
        id=f"{stage}/{case}",
        kind=kind,
        stage=stage,
        config=config,
        tags=tags,
        comment="made for a test",
        dtypes=DTYPES,
        sha256=f"{stage}/{case}",
        load=load,
    )


@functools.cache
def small_pack() -> Pack:
    """The pack: every stage by itself, steps and trajectories, under each configuration."""
    cases = []
    for number, (name, config) in enumerate(CONFIGS.items()):
        for stage in PIPELINE:
            load = functools.partial(alone, stage, config, number)
            cases.append(make(name, stage, config, load))
        cases.append(make(name, "step", config, functools.partial(steps, config, number), (name,)))
        for seed in (10, 20):
            load = functools.partial(trajectory, config, number + seed)
            cases.append(make(f"{name}-{seed}", "trajectory", config, load, (name,)))
    config = CONFIGS["held"]
    cases.append(make("conventions", "advantages", config, functools.partial(rewards, config, 1)))
    return Pack(1, "small", tuple(cases), {})
