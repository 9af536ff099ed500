"""What the strategies of :mod:`gac_ref.testing` draw, whoever makes the choices.

Arrays are drawn as bytes, one draw an array, so that large batches cost little and shrink well: a
byte picks a level of a coarse grid, and a seed that shrinks to 0 moves it off the grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from gac_ref._typing import BoolArray, FloatArray
from gac_ref.advantages import CONVENTIONS
from gac_ref.config import GACConfig
from gac_ref.conformance.formats import narrow, widen
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.stages import STAGES
from gac_ref.losses import AGGREGATIONS, aggregation_count
from gac_ref.proxies import Proxies

__all__ = ["AXES", "Limits", "Source", "batch", "config", "proxies", "stage", "trajectory"]

Inputs = dict[str, Any]
T = TypeVar("T")

AXES: dict[str, tuple[Any, ...]] = {
    "ema_beta": (0.99, 0.9, 0.5, 0.0),
    "mu_min": (0.05, 0.0, 0.25),
    "mu_max": (0.9, 1.0, 0.75),
    "mu_change_cap": (0.01, 0.003, 0.25, 1.0),
    "blend_weight": (0.5, 1.0, 0.85, 0.0),
    "mu_update_freq": (1, 10, 3),
    "trim_ratio": (0.1, 0.0, 0.29, 0.4),
    "alpha": (0.5, 0.1, 0.95, 0.3),
    "kl_target": (0.02, 0.1),
    "kl_gain": (0.1, 0.0, 1.0),
    "eps": (1e-8, 1e-2, 0.0),
    "mask_eps": (1e-8, 0.0, 1e-3),
    "delta_g2_cap_ratio": (0.0, 0.4, 2.0),
    "prior": ("warmup_cosine", "none"),
    "prior_warmup": (200, 0, 7),
    "prior_decay": (800, 5, 0),
    "use_phi": (True, False),
    "coefficient_normalization": ("zscore", "none"),
    "disagreement_rows": ("rollouts", "all"),
    "weight_ema": ("applied", "internal", "off"),
    "missing_branch": ("hold", "zero"),
    "unseen_statistic": ("hold", "unit"),
    "masking": ("select", "multiply"),
    "flat_risk": ("alpha", "zero"),
    "alpha_mode": ("static", "kl"),
}
"""The choices of every drawn field, the one that a failing example shrinks to first."""

JUNK = (0.0, 7.0, math.nan, math.inf, -math.inf)
"""What a trainer may leave in the padding; the masking "multiply" gets the finite ones only."""


class Source(Protocol):
    """Whoever makes the choices; the first choice of a tuple is the simplest."""

    def pick(self, choices: tuple[T, ...]) -> T:
        """One of the choices."""
        ...

    def integer(self, low: int, high: int) -> int:
        """A whole number of an interval, ends included."""
        ...

    def raw(self, size: int) -> bytes:
        """That many bytes."""
        ...

    def number(self, low: float, high: float) -> float:
        """A number of an interval, whose ends are included and likely."""
        ...


class Limits(NamedTuple):
    """What a batch may be; see :func:`gac_ref.testing.batches`."""

    max_rows: int = 9
    max_tokens: int = 12
    per_token: bool | None = None
    junk: bool = True
    ref_logprob: bool | None = None
    missing: bool = True


def config(source: Source, fixed: Mapping[str, Any]) -> GACConfig:
    """A configuration: one byte an axis, in one draw, since draws are what takes the time."""
    axes = {name: choices for name, choices in AXES.items() if name not in fixed}
    chosen = zip(axes.items(), source.raw(len(axes)), strict=True)
    fields: dict[str, Any] = {
        name: choices[byte % len(choices)] for (name, choices), byte in chosen
    }
    fields |= fixed
    if "init_mu" not in fixed:
        fields["init_mu"] = min(max(0.5, fields["mu_min"]), fields["mu_max"])
    return GACConfig(**fields)


def batch(source: Source, dtype: str, limits: Limits) -> Inputs:
    """A training batch, token arrays in the storage of `dtype`."""
    shape = (source.integer(1, limits.max_rows), source.integer(1, limits.max_tokens))
    mask = _bits(source, shape, source.pick((256, 192, 64)))
    expert = _bits(source, shape[:1], 128)
    if not limits.missing:
        mask[:, 0] = True
        expert[0] = True
        expert[-1] = len(expert) < 2
    either = (True, False)
    tokens = source.pick(either) if limits.per_token is None else limits.per_token
    fill = source.pick(JUNK if limits.junk else JUNK[:2])
    logprob = -source.pick((1.0, 0.01, 20.0, 1e-4)) * np.abs(_centred(source, shape))
    gain = source.pick((0.0, 0.3, 40.0)) + source.pick((1.0, 0.0, 1e-2, 10.0)) * _centred(
        source, shape if tokens else shape[:1]
    )
    out = {
        "logprob": narrow(np.where(mask, logprob, fill), dtype),
        "response_mask": mask,
        "advantages": narrow(np.where(mask, gain, fill) if tokens else gain, dtype),
        "is_expert": expert,
    }
    if source.pick(either) if limits.ref_logprob is None else limits.ref_logprob:
        noise = source.pick((0.0, 0.01, 0.3))
        ref = np.minimum(logprob + noise * _centred(source, shape), 0.0)
        out["ref_logprob"] = narrow(np.where(mask, ref, fill), dtype)
    return out


def proxies(source: Source) -> Proxies:
    """Proxies of one batch."""
    has = [source.pick((True, True, True, False)) for _ in range(3)]
    values = [_statistic(source) if present else 0.0 for present in has]
    return Proxies(values[0], values[1], values[2], has[0], has[1], has[2])


def trajectory(source: Source, config: GACConfig, dtype: str, max_steps: int) -> list[Inputs]:
    """The inputs of consecutive steps."""
    step, out = source.pick((0, 3, 199, 600)), []
    for _ in range(source.integer(1, max_steps)):
        out.append(_batch_for(source, config, dtype) | {"step": step})
        step += source.pick((1, 1, 4, 11))
    return out


def stage(source: Source, name: str, dtype: str, config: GACConfig) -> Inputs:
    """The inputs of one stage."""
    if name in ("transport", "coefficients", "sequences", "step"):
        values = _batch_for(source, config, dtype)
        if name == "coefficients":
            return {field.name: values[field.name] for field in STAGES[name].inputs}
        if name == "sequences":
            with np.errstate(all="ignore"):
                return values | evaluate("coefficients", config, _wide(values, dtype))
        return values | _state(source, config) if name == "step" else values
    if name == "proxies":
        return _proxy_inputs(source)
    if name == "advantages":
        return _reward_inputs(source)
    if name == "loss":
        return _loss_inputs(source, dtype)
    state = _state(source, config)
    return {
        field.name: state[field.name] if field.name in state else _scalar(source, field.name, state)
        for field in STAGES[name].inputs
    }


def _batch_for(source: Source, config: GACConfig, dtype: str) -> Inputs:
    """A batch that the golden reference answers under this configuration."""
    needs = True if config.alpha_mode == "kl" else None
    limits = Limits(junk=config.masking == "select", ref_logprob=needs)
    return batch(source, dtype, limits)


def _state(source: Source, config: GACConfig) -> Inputs:
    counts = {f"previous_count_{branch}": source.pick((1, 0, 12)) for branch in ("s", "r", "delta")}
    out: Inputs = {
        "previous_mu": source.number(config.mu_min, config.mu_max),
        "previous_mu_ada": source.number(config.mu_min, config.mu_max),
        "previous_alpha": source.number(config.alpha_min, config.alpha_max)
        if config.alpha_mode == "kl"
        else config.alpha,
    }
    for branch, name in (("s", "sigma_s2"), ("r", "sigma_r2"), ("delta", "delta_g2")):
        seen = counts[f"previous_count_{branch}"] > 0
        out[f"previous_{name}"] = _statistic(source) if seen else 0.0
    step = source.pick((0, 3, 100, 201, 600, 1200))
    past = step - source.pick((1, 5, 20))
    last = past if any(counts.values()) and past >= 0 else -1
    if last < 0:
        counts = dict.fromkeys(counts, 0)
        for name in ("sigma_s2", "sigma_r2", "delta_g2"):
            out[f"previous_{name}"] = 0.0
    return out | counts | {"previous_last_refresh": last, "step": step}


def _scalar(source: Source, name: str, state: Inputs) -> Any:
    """What one scalar stage takes from another."""
    if name.startswith("has_"):
        return source.pick((True, True, True, False))
    if name == "not_ready":
        return source.pick((False, True))
    if name == "kl":
        return source.pick((0.02, math.nan, 0.0, 0.5)) * (1.0 + source.integer(0, 2**30) / 2.0**30)
    if name.endswith("2"):  # sigma_s2, proxy_delta_g2, ...
        return _statistic(source)
    if name == "mu_candidate" and source.pick((True, False)):  # where the change cap may act
        near = state["previous_mu"]
        return near + source.number(-0.02, 0.02)
    return source.number(0.0, 1.0)


def _proxy_inputs(source: Source) -> Inputs:
    rows = source.integer(1, 40)
    expert = _bits(source, (rows,), 128)
    offset = source.pick((0.0, 1.0, 300.0))
    scale = source.pick((1.0, 1e-5, 50.0))
    tokens = np.where(_bits(source, (rows,), source.pick((256, 200))), 5, 0)
    return {
        "tokens": tokens.astype(np.int64),
        "nll": np.where(expert, scale * np.abs(_centred(source, (rows,))) + offset, 0.0),
        "advantage": np.where(expert, 0.0, scale * _centred(source, (rows,)) + offset),
        "disagreement": scale * np.square(_centred(source, (rows,))),
        "is_expert": expert,
    }


def _reward_inputs(source: Source) -> Inputs:
    rows = source.integer(1, 16)
    groups = source.integer(1, 4)
    ids = np.frombuffer(source.raw(rows), dtype=np.uint8)
    offset = source.pick((0.0, 1.0, 0.1, 100.0))
    scale = source.pick((1.0, 0.0, 0.3, 1e-3))
    rewards = offset + scale * _centred(source, (rows,))
    if source.pick((False, True)):
        rewards = (rewards > offset).astype(np.float64)
    expert = _bits(source, (rows,), 80)
    convention = source.pick(tuple(sorted(CONVENTIONS)))
    group = (ids % groups).astype(np.int64)
    if CONVENTIONS[convention].experts == "reference":
        for label in np.unique(group):  # a group of demonstrations alone is refused
            expert[np.argmax(group == label)] = False
    return {
        "rewards": rewards,
        "group_ids": group,
        "is_expert": expert,
        "convention": convention,
    }


def _loss_inputs(source: Source, dtype: str) -> Inputs:
    chosen = batch(source, dtype, Limits(ref_logprob=False, junk=False))
    wide = _wide(chosen, dtype)
    mask, expert = chosen["response_mask"], chosen["is_expert"]
    drift = source.pick((0.2, 0.0, 1.0)) * _centred(source, mask.shape)
    old = np.minimum(np.where(mask, wide["logprob"], -1.0) + drift, 0.0)
    names = [source.pick(tuple(sorted(AGGREGATIONS))) for _ in range(2)]
    out = {name: chosen[name] for name in ("logprob", "response_mask", "is_expert", "advantages")}
    return out | {
        "old_logprob": narrow(old, dtype),
        "mu": source.number(0.0, 1.0),
        "clip_low": source.pick((0.2, 0.0, 0.1)),
        "clip_high": source.pick((0.2, 0.28, 0.0)),
        "sft": source.pick(("nll", "phi")),
        "rl_aggregation": names[0],
        "sft_aggregation": names[1],
        "rl_normalizer": _normalizer(mask[~expert], names[0]),
        "sft_normalizer": _normalizer(mask[expert], names[1]),
    }


def _normalizer(mask: BoolArray, aggregation: str) -> float:
    return aggregation_count(mask, aggregation)


def _centred(source: Source, shape: tuple[int, ...]) -> FloatArray:
    """Values between about -3 and 3: a byte picks one of 256 levels, a seed moves it off them."""
    size = math.prod(shape)
    raw = np.frombuffer(source.raw(size), dtype=np.uint8)
    # Bytes shrink to 0: alternate signs keep the levels of small bytes near 0.
    sign = np.where(raw % 2 == 0, 1.0, -1.0)
    level = sign * ((raw.astype(np.float64) + 1.0) // 2) * (3.0 / 128.0)
    seed = source.integer(0, 2**16 - 1)
    if seed:
        level = level + np.random.default_rng(seed).normal(0.0, 0.01, size)
    return np.asarray(level.reshape(shape))


def _wide(inputs: Inputs, dtype: str) -> Inputs:
    tokens = ("logprob", "advantages", "ref_logprob", "old_logprob")
    return {k: widen(v, dtype) if k in tokens else v for k, v in inputs.items()}


def _statistic(source: Source) -> float:
    size = source.pick((1.0, 1e-8, 2e-8, 0.0, 1e-3, 30.0))
    return size * (1.0 + source.integer(0, 2**30) / 2.0**31)


def _bits(source: Source, shape: tuple[int, ...], below: int) -> BoolArray:
    """Booleans, True for bytes below `below`; bytes shrink to 0."""
    raw = np.frombuffer(source.raw(math.prod(shape)), dtype=np.uint8)
    return np.asarray(raw.reshape(shape) < below)
