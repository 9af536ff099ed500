r"""The hybrid loss that the controller's weight enters, as a scalar to call ``backward`` on.

Every tensor is selected by its mask before anything is computed from it, so that neither the
value nor the gradient ever meets what lies in the padding; nothing waits for the device.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gac_ref.errors import fail
from gac_ref.ports.torch.batch import FLOATS, compute_dtype

__all__ = ["HybridLoss", "aggregation_count", "hybrid_loss"]


class HybridLoss(NamedTuple):
    """The mixed loss and the two branches before weighting, 0-d tensors.

    Examples:
        >>> HybridLoss._fields
        ('value', 'rl', 'sft')
    """

    value: Tensor
    rl: Tensor
    sft: Tensor


def hybrid_loss(
    logprob: Tensor,
    response_mask: Tensor,
    is_expert: Tensor,
    mu: float | Tensor,
    *,
    old_logprob: Tensor,
    advantages: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    sft: Literal["nll", "phi"] = "nll",
    rl_aggregation: str = "token_mean",
    sft_aggregation: str = "token_mean",
    rl_normalizer: float | None = None,
    sft_normalizer: float | None = None,
) -> HybridLoss:
    r""":math:`(1 - \mu) L_\mathrm{RL} + \mu L_\mathrm{SFT}` of a batch or of one of its parts.

    .. math::
        L_\mathrm{RL} = \sum W_{it}\, \bigl(-A \min(\rho, 1 + \epsilon_h)\bigr)\ (A \ge 0), \quad
        \sum W_{it}\, \bigl(-A \max(\rho, 1 - \epsilon_l)\bigr)\ (A < 0), \qquad
        \rho = e^{\ell - \ell_\mathrm{old}}

    over rollouts, and :math:`-\ell`, or :math:`-\varphi(p)\,\ell` with a detached phi, over the
    demonstrations. Each branch is aggregated as if its rows were a batch of their own; a branch
    without tokens is 0, with gradient 0.

    Under gradient accumulation, and over data-parallel ranks, pass every part the branch counts
    of the whole batch (:func:`aggregation_count`): losses and gradients of the parts then add
    up. DistributedDataParallel averages gradients over ranks: multiply the loss by their number.

    Args:
        logprob: Log-probability of each token, [B, T], nats, requiring grad; any float dtype,
            computed in float32 or float64. Its gradient is rounded to its own dtype, so keep the
            log-softmax in float32.
        response_mask: [B, T], boolean or 0/1.
        is_expert: [B], boolean or 0/1.
        mu: Weight of the SFT branch, in [0, 1].
        old_logprob: Log-probability under the sampling policy, [B, T]; unread on expert rows.
        advantages: [B, T] or [B]; unread on expert rows.
        clip_low: Lower clip width of the ratio, >= 0.
        clip_high: Upper clip width, >= 0.
        sft: "nll" or "phi".
        rl_aggregation: A name in ``gac_ref.AGGREGATIONS``.
        sft_aggregation: Likewise.
        rl_normalizer: The whole batch's count over its rollouts; None when this is all of it.
        sft_normalizer: The same over its demonstrations.

    Returns:
        The loss and its branches.

    Raises:
        GACError: A shape, dtype or setting is not as above.

    Examples:
        >>> lp = torch.tensor([[-1.0, -2.0], [-0.5, float("nan")]], requires_grad=True)
        >>> loss = hybrid_loss(lp, torch.tensor([[1, 1], [1, 0]]), torch.tensor([1, 0]), 0.25,
        ...                    old_logprob=lp.detach(), advantages=torch.tensor([0.0, 2.0]))
        >>> loss.value.backward()
        >>> loss.value.item(), lp.grad.tolist()
        (-1.125, [[-0.125, -0.125], [-1.5, 0.0]])

    References:
        CHORD, arXiv:2508.11408; PPO, arXiv:1707.06347, equation 7; DAPO, arXiv:2503.14476.
    """
    _require_settings(mu, clip_low, clip_high, sft)
    shape = _require_shapes(logprob, response_mask, is_expert, old_logprob, advantages)
    dtype = compute_dtype(logprob)
    inside = response_mask != 0
    expert = (is_expert != 0)[:, None]
    on_experts, on_rollouts = inside & expert, inside & ~expert

    tokens = torch.where(inside, logprob.to(dtype), 0.0)
    old = torch.where(on_rollouts, old_logprob.detach().to(dtype), 0.0)
    gain = advantages.detach().to(dtype)
    gain = torch.where(on_rollouts, gain if gain.ndim == 2 else gain[:, None].expand(shape), 0.0)
    shift = torch.where(on_rollouts, tokens - old, 0.0)
    # Far above the clip of a gain the slope is 0, but 0 times an overflow would be NaN.
    beyond = (gain >= 0.0) & (shift > math.log1p(clip_high) + 1.0)
    ratio = torch.exp(torch.where(beyond, math.log1p(clip_high) + 1.0, shift))
    below, above = ratio.clamp(min=1.0 - clip_low), ratio.clamp(max=1.0 + clip_high)
    surrogate = -gain * torch.where(gain < 0.0, below, above)
    rl = (
        _weights(on_rollouts, ~expert[:, 0], rl_aggregation, rl_normalizer, dtype) * surrogate
    ).sum()

    nll = -torch.where(expert, tokens, 0.0)
    if sft == "phi":
        fixed = tokens.detach()
        nll = -(torch.exp(fixed) * torch.expm1(fixed)) * nll
    weights = _weights(on_experts, expert[:, 0], sft_aggregation, sft_normalizer, dtype)
    supervised = (weights * nll).sum()
    return HybridLoss((1.0 - mu) * rl + mu * supervised, rl, supervised)


def aggregation_count(
    response_mask: Tensor,
    is_expert: Tensor,
    aggregation: str = "token_mean",
    *,
    experts: bool,
    width: float | None = None,
) -> Tensor:
    """The count that a branch of this part adds to its `normalizer`: sum it over the parts.

    The unit "width" is the exception, the same constant everywhere.

    Args:
        response_mask: [B, T], boolean or 0/1.
        is_expert: [B], boolean or 0/1.
        aggregation: A name in ``gac_ref.AGGREGATIONS``.
        experts: Which branch.
        width: Tokens a row may hold, for the units "width" and "budget"; T by default.

    Returns:
        A 0-d float64 tensor (float32 on devices without it), to add up or all-reduce.

    Examples:
        >>> mask = torch.tensor([[1, 1], [1, 0]])
        >>> aggregation_count(mask, torch.tensor([1, 0]), experts=True).item()
        2.0
    """
    rows = (is_expert != 0) == experts
    return _count(_rule(aggregation), (response_mask != 0) & rows[:, None], rows, width)


def _weights(
    mask: Tensor, rows: Tensor, aggregation: str, normalizer: float | None, dtype: torch.dtype
) -> Tensor:
    """The weight of each token of a branch, 0 outside `mask`; `rows` are the branch's."""
    rule = _rule(aggregation)
    if normalizer is None:
        count = _count(rule, mask, rows, None)
    else:
        if not (math.isfinite(normalizer) and normalizer >= 0.0):
            fail(f"normalizer = {normalizer!r} is not a finite count; pass the whole batch's")
        if normalizer == 0.0 and bool(mask.any()):
            fail("normalizer = 0.0 but this part has tokens; pass the whole batch's count")
        count = torch.tensor(normalizer, dtype=torch.float32 if mask.is_mps else torch.float64)
        count = count.to(mask.device)
    row = torch.ones_like(rows, dtype=count.dtype)
    if rule.row_mean:
        row = 1.0 / (mask.sum(dim=-1).to(count.dtype) + rule.row_eps)
    # A count of 0 comes with a mask that is empty, and is selected away.
    return torch.where(mask, (row / (count + rule.count_eps)).to(dtype)[:, None], 0.0)


def _count(rule: Any, mask: Tensor, rows: Tensor, width: float | None) -> Tensor:
    dtype = torch.float32 if mask.is_mps else torch.float64
    if width is not None and rule.unit not in ("width", "budget"):
        fail(f"width = {width!r} has no meaning for {rule.name}; leave it out")
    if rule.unit == "tokens":
        return mask.sum().to(dtype)
    if rule.unit == "nonempty_sequences":
        return mask.any(dim=-1).sum().to(dtype)
    across = float(mask.shape[1] if width is None else width)
    if rule.unit == "width":
        return torch.full((), across, dtype=dtype, device=mask.device)
    return rows.sum().to(dtype) * (across if rule.unit == "budget" else 1.0)


def _rule(aggregation: str) -> Any:
    from gac_ref.losses import AGGREGATIONS  # a table of facts

    if aggregation not in AGGREGATIONS:
        fail(f"aggregation = {aggregation!r} is unknown; pass one of {', '.join(AGGREGATIONS)}")
    return AGGREGATIONS[aggregation]


def _require_settings(mu: float | Tensor, clip_low: float, clip_high: float, sft: str) -> None:
    if not isinstance(mu, Tensor) and not 0.0 <= mu <= 1.0:
        fail(f"mu = {mu!r} is outside [0, 1]; it is the weight of the SFT branch")
    for name, bound in (("clip_low", clip_low), ("clip_high", clip_high)):
        if not 0.0 <= bound < math.inf:
            fail(f"{name} = {bound!r} is not finite and >= 0; pass a number in that range")
    if sft not in ("nll", "phi"):
        fail(f"sft = {sft!r} is unknown; pass 'nll' or 'phi'")


def _require_shapes(
    logprob: Tensor, mask: Tensor, is_expert: Tensor, old_logprob: Tensor, advantages: Tensor
) -> tuple[int, ...]:
    if not isinstance(logprob, Tensor) or logprob.ndim != 2 or logprob.dtype not in FLOATS:
        shown = tuple(logprob.shape) if isinstance(logprob, Tensor) else type(logprob).__name__
        fail(f"logprob is {shown}; pass a 2-D float tensor [B, T]")
    shape = tuple(logprob.shape)
    wanted = (
        ("response_mask", mask, (shape,)),
        ("is_expert", is_expert, (shape[:1],)),
        ("old_logprob", old_logprob, (shape,)),
        ("advantages", advantages, (shape, shape[:1])),
    )
    for name, tensor, shapes in wanted:
        if not isinstance(tensor, Tensor):
            fail(f"{name} is a {type(tensor).__name__}; pass a torch.Tensor")
        if tuple(tensor.shape) not in shapes:
            options = " or ".join(map(str, shapes))
            fail(f"{name} has shape {tuple(tensor.shape)} but logprob has {shape}; pass {options}")
    return shape
