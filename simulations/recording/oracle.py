"""True gradient-space values: one gradient a sample, of the model being trained.

The samples are the rows of the two branches' losses, written so that a branch's loss is the mean
of its rows:

* SFT, one demonstration: its length-normalised negative log-likelihood;
* RL, one rollout: its length-normalised clipped surrogate with its group-normalised advantage, plus
  the KL penalty. On fresh rollouts the policy ratio is 1, so the clip is idle and the gradient is
  that of `-A logprob + kl_coefficient * k3`.

A rollout's advantage is centred with its group's mean, so the rollouts of a group are not
independent samples; their mean is. Both units are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.func import functional_call, grad, vmap

from gac_ref.oracles import gradient_oracle
from simulations.recording.model import token_logprob

FloatArray = npt.NDArray[np.float64]
Rows = Mapping[str, torch.Tensor]


def sft_row_loss(logprob: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Length-normalised negative log-likelihood over the last axis: [..., T] to [...], nats."""
    return -(logprob * mask).sum(-1) / mask.sum(-1)


def rl_row_loss(
    logprob: torch.Tensor,
    mask: torch.Tensor,
    advantage: torch.Tensor,
    ref_logprob: torch.Tensor,
    kl_coefficient: float,
) -> torch.Tensor:
    """On-policy surrogate of a rollout with its k3 penalty: [..., T] to [...].

    It has the value and the gradient of TRL's `loss_type="grpo"` where the policy ratio is 1.
    """
    surrogate = -torch.exp(logprob - logprob.detach()) * advantage[..., None]
    log_ratio = ref_logprob - logprob
    penalty = torch.exp(log_ratio) - log_ratio - 1.0
    return ((surrogate + kl_coefficient * penalty) * mask).sum(-1) / mask.sum(-1)


def sft_gradients(model: torch.nn.Module, rows: Rows) -> FloatArray:
    """Gradient of each demonstration's loss with respect to all parameters, [n, d]."""

    def loss(parameters: dict[str, torch.Tensor], row: Rows) -> torch.Tensor:
        return sft_row_loss(_row_logprob(model, parameters, row), row["completion_mask"])

    return _per_sample(model, loss, rows)


def rl_gradients(model: torch.nn.Module, rows: Rows, kl_coefficient: float) -> FloatArray:
    """Gradient of each rollout's loss with respect to all parameters, [m, d]."""

    def loss(parameters: dict[str, torch.Tensor], row: Rows) -> torch.Tensor:
        return rl_row_loss(
            _row_logprob(model, parameters, row),
            row["completion_mask"],
            row["advantages"],
            row["ref_logprob"],
            kl_coefficient,
        )

    return _per_sample(model, loss, rows)


def oracle_values(
    x_s: FloatArray, x_r: FloatArray, *, experts: int, groups: int, group_size: int
) -> dict[str, float]:
    r"""Noise of the trainer's batch means and the squared distance of the true gradients.

    With `v` the unbiased total variance of one sample, a batch mean of `k` samples has noise
    `v / k`. The samples here are more than a training batch holds, so `v` is estimated on all of
    them and divided by the batch's `k`; `delta_g2` is free of the noise of both means.

    Args:
        x_s: gradients of demonstrations, [n, d].
        x_r: gradients of rollouts, [m, d], the rollouts of a group adjacent.
        experts: demonstrations in a training batch.
        groups: groups in a training batch.
        group_size: rollouts in a group.

    Returns:
        `sigma_s2`, `sigma_r2`, `delta_g2` with rollouts as the samples, and `sigma_r2_groups`,
        `delta_g2_groups` with whole groups as the samples. `delta_g2` may be negative.

    References:
        Section 2 of the method: unbiased oracles from per-sample gradients.
    """
    x_g = x_r.reshape(-1, group_size, x_r.shape[1]).mean(axis=1)
    rollouts, whole = gradient_oracle(x_s, x_r), gradient_oracle(x_s, x_g)
    return {
        "sigma_s2": float(rollouts.sigma_s2) * len(x_s) / experts,
        "sigma_r2": float(rollouts.sigma_r2) * len(x_r) / (groups * group_size),
        "delta_g2": float(rollouts.delta_g2),
        "sigma_r2_groups": float(whole.sigma_r2) * len(x_g) / groups,
        "delta_g2_groups": float(whole.delta_g2),
    }


def _row_logprob(
    model: torch.nn.Module, parameters: dict[str, torch.Tensor], row: Rows
) -> torch.Tensor:
    """Log-probabilities [T] of one row, with `parameters` in place of the model's own."""
    ids = torch.cat([row["prompt_ids"], row["completion_ids"]])[None]
    present = torch.cat([row["prompt_mask"], row["completion_mask"]]).bool()
    # A ready-made 4-D mask: building it from a 2-D mask branches on values, which vmap forbids.
    causal = torch.ones(len(present), len(present), dtype=torch.bool).tril()
    allowed = (causal & present) | torch.eye(len(present), dtype=torch.bool)
    bias = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)

    def forward(**inputs: Any) -> Any:
        return functional_call(model, parameters, (), inputs)

    return token_logprob(forward, ids, bias[None, None], len(row["completion_ids"]))[0]


def _per_sample(
    model: torch.nn.Module,
    loss: Callable[[dict[str, torch.Tensor], Rows], torch.Tensor],
    rows: Rows,
) -> FloatArray:
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    gradients = vmap(grad(loss), in_dims=(None, 0), chunk_size=32)(parameters, dict(rows))
    flat = torch.cat([value.flatten(1) for value in gradients.values()], dim=1)
    result: FloatArray = flat.double().numpy()
    return result
