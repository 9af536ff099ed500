"""The golden reference as a port: each stage of the estimator on its own, in float64.

The stages call the estimator's own functions, so that what a port is held against here is what
:func:`gac_ref.update` does; whole steps go through :func:`gac_ref.update` itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

import gac_ref
from gac_ref import guards
from gac_ref._typing import AnyArray, BoolArray, FloatArray
from gac_ref.advantages import group_advantages
from gac_ref.alpha import kl_alpha
from gac_ref.batch import Batch
from gac_ref.coefficients import phi
from gac_ref.config import GACConfig
from gac_ref.conformance.formats import FORMATS, widen
from gac_ref.conformance.port import PROTOCOL
from gac_ref.conformance.stages import STAGES, stage_named
from gac_ref.controller import GACInfo, init, update
from gac_ref.losses import hybrid_loss
from gac_ref.proxies import Proxies, batch_kl, partial_sums
from gac_ref.reductions import trimmed_variance
from gac_ref.schedules import prior_at
from gac_ref.sequences import SequenceStatistics, sequence_statistics
from gac_ref.smoothing import refresh, refresh_due, smoothed_statistics
from gac_ref.state import GACState

__all__ = ["STAGE_FUNCTIONS", "Reference", "batch_from", "evaluate", "state_from", "state_inputs"]

Values = Mapping[str, Any]
Outputs = dict[str, Any]


def evaluate(stage: str, config: GACConfig, inputs: Values) -> Outputs:
    """The golden outputs of one stage (or of one whole "step") on float64 inputs.

    Args:
        stage: A name in :data:`~gac_ref.conformance.stages.STAGES` but "trajectory", which needs
            a state of its own.
        config: The configuration.
        inputs: The inputs by name, token arrays already widened to float64.

    Returns:
        The outputs by name. For "step", every output of the pipeline that exists at this step.

    Examples:
        >>> evaluate("clip", GACConfig(), {"mu_capped": 0.95})
        {'mu': 0.9, 'mu_clipped': True}
    """
    if stage == "step":
        return _whole_step(config, state_from(inputs), inputs)[1]
    return STAGE_FUNCTIONS[stage_named(stage).name](config, inputs)


class Reference:
    """The estimator behind the four calls of a port.

    Examples:
        >>> port = Reference()
        >>> port.configure(GACConfig().to_dict(), dtype="fp64", device="cpu")
        >>> port.run("clip", {"mu_capped": 0.5})["mu"]
        0.5
    """

    def __init__(self) -> None:
        self._config = GACConfig()
        self._dtype = "fp64"
        self._state = init(self._config)

    def hello(self) -> dict[str, Any]:
        """Every stage, every dtype, float64 arithmetic."""
        return {
            "protocol": PROTOCOL,
            "name": "gac_ref reference",
            "version": gac_ref.__version__,
            "stages": list(STAGES),
            "dtypes": list(FORMATS),
            "devices": ["cpu"],
            "precision": {name: {"tokens": "fp64", "scalars": "fp64"} for name in FORMATS},
            "accumulation": "sequential",
        }

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        """Take a configuration, and start a new trajectory."""
        self._config = GACConfig.from_dict(config)
        self._dtype = dtype
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first step."""
        self._state = init(self._config)

    def run(self, stage: str, inputs: Values) -> Outputs:
        """The outputs of one stage; "trajectory" advances the state."""
        if stage == "transport":
            return dict(inputs)
        tokens = {field.name for field in stage_named(stage).inputs if field.kind == "token"}
        wide = {
            name: widen(value, self._dtype) if name in tokens else value
            for name, value in inputs.items()
        }
        if stage != "trajectory":
            return evaluate(stage, self._config, wide)
        self._state, outputs = _whole_step(self._config, self._state, wide)
        return outputs


def batch_from(inputs: Values) -> Batch:
    """The batch among the inputs of a stage."""
    return Batch(
        inputs["logprob"],
        inputs["response_mask"],
        inputs["advantages"],
        inputs["is_expert"],
        ref_logprob=inputs.get("ref_logprob"),
        kl=inputs.get("batch_kl"),
    )


def state_from(inputs: Values) -> GACState:
    """The state among the inputs of a stage, from its ``previous_*``."""
    fields = {
        name: inputs[f"previous_{name}"] for name in GACState._fields if name != "last_refresh"
    }
    arrays: dict[str, Any] = {
        name: np.asarray(value, dtype=np.int64 if name.startswith("count") else np.float64)
        for name, value in fields.items()
    }
    return GACState(**arrays, last_refresh=int(inputs["previous_last_refresh"]))


def state_inputs(state: GACState) -> Outputs:
    """A state as the ``previous_*`` inputs of the next step."""
    return {f"previous_{name}": np.asarray(value).item() for name, value in state._asdict().items()}


def _whole_step(config: GACConfig, state: GACState, inputs: Values) -> tuple[GACState, Outputs]:
    batch, step = batch_from(inputs), int(inputs["step"])
    after, info = update(config, state, batch, step=step)
    outputs: Outputs = {}
    if info.refreshed:
        outputs |= _coefficients(config, inputs)
        outputs |= _sequences(config, inputs)
        outputs |= _proxy_outputs(info)
    outputs["kl"] = batch_kl(config, batch) if config.alpha_mode == "kl" else math.nan
    outputs |= {name: int(getattr(after, name)) for name in ("count_s", "count_r", "count_delta")}
    outputs |= {
        "sigma_s2": float(info.sigma_s2),
        "sigma_r2": float(info.sigma_r2),
        "delta_g2": float(info.delta_g2),
        "last_refresh": after.last_refresh,
        "not_ready": bool(info.flags["not_ready"]),
        "alpha": float(info.alpha),
        "alpha_clipped": bool(info.flags["alpha_clipped"]),
        "delta_g2_capped": float(info.delta_g2_capped),
        "mu_raw": float(info.mu_raw),
        "disagreement_capped": bool(info.flags["delta_g2_capped"]),
        "flat_risk": bool(info.flags["flat_risk"]),
        "mu_ada": float(info.mu_ada),
        "mu_ada_clipped": bool(info.flags["mu_ada_clipped"]),
        "prior": info.prior,
        "mu_candidate": float(info.mu_candidate),
        "mu_capped": float(info.mu_capped),
        "change_capped": bool(info.flags["change_capped"]),
        "mu": float(info.mu),
        "mu_clipped": bool(info.flags["mu_clipped"]),
    }
    return after, outputs


def _proxy_outputs(info: GACInfo) -> Outputs:
    new = info.proxies
    assert new is not None  # only called where the statistics were refreshed
    return {
        "proxy_sigma_s2": float(new.sigma_s2),  # type: ignore[arg-type]
        "proxy_sigma_r2": float(new.sigma_r2),  # type: ignore[arg-type]
        "proxy_delta_g2": float(new.delta_g2),  # type: ignore[arg-type]
        "has_s": bool(new.has_s),
        "has_r": bool(new.has_r),
        "has_delta": bool(new.has_delta),
        "sigma_s2_floored": bool(new.sigma_s2_floored),
        "sigma_r2_floored": bool(new.sigma_r2_floored),
    }


def _transport(config: GACConfig, inputs: Values) -> Outputs:
    return dict(inputs)


def _coefficients(config: GACConfig, inputs: Values) -> Outputs:
    logprob, expert = np.asarray(inputs["logprob"]), np.asarray(inputs["is_expert"])
    advantages = np.asarray(inputs["advantages"], dtype=np.float64)
    if advantages.ndim == 1:
        advantages = np.broadcast_to(advantages[:, None], logprob.shape)
    with np.errstate(over="ignore", invalid="ignore"):  # of what lies in the padding
        sft = -phi(logprob) if config.use_phi else np.full(logprob.shape, -1.0)
    return {"c_s": sft, "c_r": np.where(expert[:, None], 0.0, -advantages)}


def _sequences(config: GACConfig, inputs: Values) -> Outputs:
    batch = batch_from(inputs)
    experts = sequence_statistics(config, batch, expert=True)
    rollouts = sequence_statistics(config, batch, expert=False)
    sums = partial_sums(config, batch)
    finished = gac_ref.proxies_from_sums(config, sums)
    disagreement = np.zeros(len(batch))
    branches = [(rollouts, batch.rollout_rows)]
    if config.disagreement_rows == "all":
        branches.append((experts, batch.expert_rows))
    constant = (bool(finished.sft_stream_constant), bool(finished.rl_stream_constant))
    for branch, rows in branches:
        if config.coefficient_normalization == "zscore":
            disagreement[rows] = _normalised_rows(config, branch, sums.tokens, constant)
        else:
            disagreement[rows] = branch.squared_difference
    return {
        "tokens": batch.lengths,
        "nll": _place(experts.mean, batch.expert_rows, len(batch)),
        "advantage": _place(rollouts.mean, batch.rollout_rows, len(batch)),
        "disagreement": disagreement,
        "sft_stream_constant": constant[0],
        "rl_stream_constant": constant[1],
        "kl": batch_kl(config, batch) if config.alpha_mode == "kl" else math.nan,
    }


def _normalised_rows(
    config: GACConfig,
    branch: SequenceStatistics,
    pooled: gac_ref.Moments,
    constant: tuple[bool, bool],
) -> FloatArray:
    r"""The masked mean of :math:`(z_s - z_r)^2` of each row, from its moments."""
    row = branch.streams
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.diagonal(pooled.covariance))
        flat = np.asarray(constant) | (spread == 0.0)  # without a token there is no stream to flag
        u = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, spread)) * np.array([1.0, -1.0])
        total = np.einsum("i,nij,j->n", u, row.scatter, u)
        total = total + row.weight * ((row.mean - pooled.mean) @ u) ** 2
    count = row.weight + config.mask_eps
    return np.asarray(total / np.where(count == 0.0, 1.0, count))


def _proxies(config: GACConfig, inputs: Values) -> Outputs:
    expert = np.asarray(inputs["is_expert"], dtype=np.bool_)
    tokens = np.asarray(inputs["tokens"])
    every = config.disagreement_rows == "all"
    compared = np.ones_like(expert) if every else ~expert
    present = tuple(_measures(config, rows, tokens) for rows in (expert, ~expert, compared))
    sigma_s2 = (
        trimmed_variance(np.asarray(inputs["nll"])[expert], config.trim_ratio)
        if present[0]
        else 0.0
    )
    sigma_r2 = float(np.var(np.asarray(inputs["advantage"])[~expert])) if present[1] else 0.0
    delta_g2 = float(np.mean(np.asarray(inputs["disagreement"])[compared])) if present[2] else 0.0
    return {
        "proxy_sigma_s2": float(np.maximum(sigma_s2, config.eps)) if present[0] else 0.0,
        "proxy_sigma_r2": float(np.maximum(sigma_r2, config.eps)) if present[1] else 0.0,
        "proxy_delta_g2": delta_g2,
        "has_s": present[0],
        "has_r": present[1],
        "has_delta": present[2],
        "sigma_s2_floored": present[0] and sigma_s2 < config.eps,
        "sigma_r2_floored": present[1] and sigma_r2 < config.eps,
    }


def _measures(config: GACConfig, rows: BoolArray, tokens: AnyArray) -> bool:
    """Whether a branch measures anything: "zero" counts sequences without a token, too."""
    return bool(rows.any() if config.missing_branch == "zero" else tokens[rows].any())


def _statistics_ema(config: GACConfig, inputs: Values) -> Outputs:
    names = {"mu": 0.0, "mu_ada": 0.0, "alpha": 0.0}
    state = state_from({**{f"previous_{name}": value for name, value in names.items()}, **inputs})
    step = int(inputs["step"])
    if refresh_due(config, state, step):
        new = Proxies(
            sigma_s2=inputs["proxy_sigma_s2"],
            sigma_r2=inputs["proxy_sigma_r2"],
            delta_g2=inputs["proxy_delta_g2"],
            has_s=bool(inputs["has_s"]),
            has_r=bool(inputs["has_r"]),
            has_delta=bool(inputs["has_delta"]),
        )
        state, _ = refresh(config, state, new, step)
    sigma_s2, sigma_r2, delta_g2, not_ready = smoothed_statistics(config, state)
    return {
        "sigma_s2": float(sigma_s2),
        "sigma_r2": float(sigma_r2),
        "delta_g2": float(delta_g2),
        "count_s": int(state.count_s),
        "count_r": int(state.count_r),
        "count_delta": int(state.count_delta),
        "last_refresh": state.last_refresh,
        "not_ready": bool(not_ready),
    }


def _alpha(config: GACConfig, inputs: Values) -> Outputs:
    previous, kl = inputs["previous_alpha"], float(inputs["kl"])
    if config.alpha_mode == "static" or math.isnan(kl):
        return {"alpha": float(previous), "alpha_clipped": False}
    alpha, clipped = kl_alpha(
        previous,
        kl,
        target=config.kl_target,
        gain=config.kl_gain,
        low=config.alpha_min,
        high=config.alpha_max,
    )
    return {"alpha": float(alpha), "alpha_clipped": bool(clipped)}


def _closed_form(config: GACConfig, inputs: Values) -> Outputs:
    sigma_s2, sigma_r2 = inputs["sigma_s2"], inputs["sigma_r2"]
    capped, acted = guards.cap_disagreement(
        inputs["delta_g2"], sigma_s2, sigma_r2, ratio=config.delta_g2_cap_ratio, eps=config.eps
    )
    mu_raw, flat = guards.guarded_closed_form(
        sigma_s2, sigma_r2, capped, inputs["alpha"], flat_risk=config.flat_risk, eps=config.eps
    )
    return {
        "delta_g2_capped": float(capped),
        "mu_raw": float(mu_raw),
        "disagreement_capped": bool(acted),
        "flat_risk": bool(flat),
    }


def _weight_ema(config: GACConfig, inputs: Values) -> Outputs:
    previous = inputs["previous_mu_ada" if config.weight_ema == "internal" else "previous_mu"]
    if config.unseen_statistic == "hold" and inputs["not_ready"]:
        value = np.asarray(previous)
    elif config.weight_ema == "off":
        value = np.asarray(inputs["mu_raw"])
    else:
        value = guards.ema(previous, inputs["mu_raw"], config.ema_beta)
    adaptive, clipped = guards.clip(value, config.mu_min, config.mu_max)
    return {"mu_ada": float(adaptive), "mu_ada_clipped": bool(clipped)}


def _prior_blend(config: GACConfig, inputs: Values) -> Outputs:
    prior = prior_at(config, int(inputs["step"]))
    adaptive = inputs["mu_ada"]
    if config.prior == "none":
        return {"prior": prior, "mu_candidate": float(adaptive)}
    return {
        "prior": prior,
        "mu_candidate": float(guards.blend(adaptive, prior, config.blend_weight)),
    }


def _change_cap(config: GACConfig, inputs: Values) -> Outputs:
    capped, acted = guards.cap_change(
        inputs["mu_candidate"], inputs["previous_mu"], config.mu_change_cap
    )
    return {"mu_capped": float(capped), "change_capped": bool(acted)}


def _clip(config: GACConfig, inputs: Values) -> Outputs:
    mu, acted = guards.clip(inputs["mu_capped"], config.mu_min, config.mu_max)
    return {"mu": float(mu), "mu_clipped": bool(acted)}


def _advantages(config: GACConfig, inputs: Values) -> Outputs:
    values = group_advantages(
        inputs["rewards"],
        inputs["group_ids"],
        convention=inputs["convention"],
        is_expert=inputs["is_expert"],
    )
    return {"group_advantages": values}


def _loss(config: GACConfig, inputs: Values) -> Outputs:
    loss = hybrid_loss(
        inputs["logprob"],
        inputs["response_mask"],
        inputs["is_expert"],
        inputs["mu"],
        old_logprob=inputs["old_logprob"],
        advantages=inputs["advantages"],
        clip_low=inputs["clip_low"],
        clip_high=inputs["clip_high"],
        sft=inputs["sft"],
        rl_aggregation=inputs["rl_aggregation"],
        sft_aggregation=inputs["sft_aggregation"],
        rl_normalizer=inputs["rl_normalizer"],
        sft_normalizer=inputs["sft_normalizer"],
    )
    return {"loss_value": loss.value, "loss_grad": loss.grad}


def _place(values: FloatArray, rows: AnyArray, size: int) -> FloatArray:
    placed = np.zeros(size)
    placed[rows] = values
    return placed


STAGE_FUNCTIONS: Mapping[str, Callable[[GACConfig, Values], Outputs]] = MappingProxyType(
    {
        "transport": _transport,
        "coefficients": _coefficients,
        "sequences": _sequences,
        "proxies": _proxies,
        "statistics_ema": _statistics_ema,
        "alpha": _alpha,
        "closed_form": _closed_form,
        "weight_ema": _weight_ema,
        "prior_blend": _prior_blend,
        "change_cap": _change_cap,
        "clip": _clip,
        "advantages": _advantages,
        "loss": _loss,
    }
)
"""The golden function of each stage: ``(config, inputs) -> outputs``, in float64."""
