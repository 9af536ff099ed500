"""The functions of the port by the names of the suite's stages; nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gac_ref.config import GACConfig
from gac_ref.ports.torch import guards
from gac_ref.ports.torch.advantages import group_advantages
from gac_ref.ports.torch.batch import Batch, compute_dtype, require_batch
from gac_ref.ports.torch.controller import GACInfo, batch_kl
from gac_ref.ports.torch.distributed import Shard, gather
from gac_ref.ports.torch.losses import hybrid_loss
from gac_ref.ports.torch.proxies import Proxies, Sequences, proxies, sequences
from gac_ref.ports.torch.state import GACState
from gac_ref.ports.torch.tokens import coefficients, sequence_rows

__all__ = ["STAGE_FUNCTIONS", "batch_of", "state_of", "taps"]

Values = Mapping[str, Any]
Outputs = dict[str, Any]

_COUNTED = ("count_s", "count_r", "count_delta", "last_refresh")
_REPORTED = (
    *("sigma_s2", "sigma_r2", "delta_g2", "not_ready", "alpha", "delta_g2_capped", "mu_raw"),
    *("mu_ada", "prior", "mu_candidate", "mu_capped", "mu", "kl"),
)


def taps(after: GACState, info: GACInfo) -> Outputs:
    """What a step says about its stages."""
    outputs: Outputs = {name: getattr(info, name) for name in _REPORTED}
    outputs |= {name: getattr(after, name) for name in _COUNTED}
    outputs |= {name: flag for name, flag in info.flags.items() if name != "non_finite"}
    if info.sequences is not None and info.proxies is not None:
        outputs |= _sequence_outputs(info.sequences, info.own) | _proxy_outputs(info.proxies)
    return outputs


def _coefficients(config: GACConfig, inputs: Values) -> Outputs:
    return dict(zip(("c_s", "c_r"), coefficients(config, _checked(inputs)), strict=True))


def _sequences(config: GACConfig, inputs: Values) -> Outputs:
    batch = _checked(inputs)
    dtype = compute_dtype(batch.logprob, batch.advantages)
    rows = sequence_rows(config, batch, inputs["c_s"].to(dtype), inputs["c_r"].to(dtype))
    gathered = gather(Shard(rows, 0, batch.kl, 1 if batch.kl is None else 2, None))
    outputs = _sequence_outputs(sequences(config, gathered.rows), gathered.own)
    return outputs | {"kl": batch_kl(config, gathered)}


def _sequence_outputs(seen: Sequences, own: slice) -> Outputs:
    outputs = seen._asdict()
    del outputs["is_expert"]
    return {n: v[own] if isinstance(v, Tensor) else v for n, v in outputs.items()}


def _proxies(config: GACConfig, inputs: Values) -> Outputs:
    rows = ("is_expert", "tokens", "nll", "advantage", "disagreement")
    flags = {"sft_stream_constant": False, "rl_stream_constant": False}
    seen = Sequences(**{name: inputs[name].cpu() for name in rows}, **flags)
    return _proxy_outputs(proxies(config, seen))


def _proxy_outputs(new: Proxies) -> Outputs:
    plain = ("sigma_s2", "sigma_r2", "delta_g2")
    return {f"proxy_{n}" if n in plain else n: value for n, value in new._asdict().items()}


def _statistics_ema(config: GACConfig, inputs: Values) -> Outputs:
    state, step = state_of(inputs), int(inputs["step"])
    if guards.refresh_due(config, state, step):
        names = ("proxy_sigma_s2", "proxy_sigma_r2", "proxy_delta_g2", "has_s", "has_r")
        new = Proxies(*(inputs[name] for name in (*names, "has_delta")))
        state = guards.refreshed(config, state, new, step)
    return guards.smoothed(state)._asdict() | {name: getattr(state, name) for name in _COUNTED}


def _alpha(config: GACConfig, inputs: Values) -> Outputs:
    values = guards.kl_alpha(config, inputs["previous_alpha"], inputs["kl"])
    return dict(zip(("alpha", "alpha_clipped"), values, strict=True))


def _closed_form(config: GACConfig, inputs: Values) -> Outputs:
    statistics = guards.Smoothed(
        sigma_s2=inputs["sigma_s2"],
        sigma_r2=inputs["sigma_r2"],
        delta_g2=inputs["delta_g2"],
        not_ready=False,
    )
    values = guards.closed_form(config, statistics, inputs["alpha"])
    names = ("delta_g2_capped", "mu_raw", "disagreement_capped", "flat_risk")
    return dict(zip(names, values, strict=True))


def _weight_ema(config: GACConfig, inputs: Values) -> Outputs:
    values = guards.weight_ema(
        config,
        inputs["previous_mu"],
        inputs["previous_mu_ada"],
        inputs["mu_raw"],
        hold=guards.holds(config, inputs["not_ready"]),
    )
    return dict(zip(("mu_ada", "mu_ada_clipped"), values, strict=True))


def _prior_blend(config: GACConfig, inputs: Values) -> Outputs:
    values = guards.prior_blend(config, inputs["mu_ada"], int(inputs["step"]))
    return dict(zip(("prior", "mu_candidate"), values, strict=True))


def _change_cap(config: GACConfig, inputs: Values) -> Outputs:
    values = guards.cap_change(config, inputs["mu_candidate"], inputs["previous_mu"])
    return dict(zip(("mu_capped", "change_capped"), values, strict=True))


def _clip(config: GACConfig, inputs: Values) -> Outputs:
    values = guards.clip(inputs["mu_capped"], config.mu_min, config.mu_max)
    return dict(zip(("mu", "mu_clipped"), values, strict=True))


def _advantages(config: GACConfig, inputs: Values) -> Outputs:
    values = group_advantages(
        inputs["rewards"],
        inputs["group_ids"],
        convention=inputs["convention"],
        is_expert=inputs["is_expert"],
    )
    return {"group_advantages": values}


def _loss(config: GACConfig, inputs: Values) -> Outputs:
    given = {name: value for name, value in inputs.items() if name != "logprob"}
    logprob = inputs["logprob"]
    # Widened first, as a log-softmax in float32 leaves it: autograd rounds a gradient to the
    # dtype of its leaf.
    leaf = logprob.to(compute_dtype(logprob)).requires_grad_()
    loss = hybrid_loss(leaf, **given).value
    (grad,) = torch.autograd.grad(loss, leaf)
    return {"loss_value": loss.detach(), "loss_grad": grad}


STAGE_FUNCTIONS: Mapping[str, Callable[[GACConfig, Values], Outputs]] = {
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


def batch_of(inputs: Values) -> Batch:
    """The batch among the inputs of a stage."""
    return Batch(
        logprob=inputs["logprob"],
        response_mask=inputs["response_mask"],
        advantages=inputs["advantages"],
        is_expert=inputs["is_expert"],
        ref_logprob=inputs.get("ref_logprob"),
        kl=inputs.get("batch_kl"),
    )


def _checked(inputs: Values) -> Batch:
    return require_batch(batch_of(inputs))


def state_of(inputs: Values) -> GACState:
    """The state among them, from its ``previous_*``; what a stage does not read is 0."""
    given = {name: inputs.get(f"previous_{name}", 0.0) for name in GACState._fields}
    return GACState(**given)
