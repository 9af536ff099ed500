r"""Group-relative advantages under any trainer's convention, as tensors.

The members of each group are laid out in a padded row of their own, so that every reduction runs
along an axis: two-pass, and with the same bits every time, which scattered additions on an
accelerator are not.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gac_ref.errors import fail
from gac_ref.ports.torch.batch import FLOATS, INTEGERS, row_dtype

__all__ = ["group_advantages"]


def group_advantages(
    rewards: Tensor,
    group_ids: Tensor,
    *,
    convention: str = "trl",
    is_expert: Tensor | None = None,
) -> Tensor:
    r"""The advantage of each sequence relative to its prompt group.

    .. math:: A_i = \frac{r_i - \bar r_g}{s_g + \epsilon}

    with the spread, its degrees of freedom, its floor, and the rules for groups of one, groups
    without spread and demonstrations as ``gac_ref.CONVENTIONS`` says.

    Args:
        rewards: One a sequence, [B], finite.
        group_ids: Prompt group of each sequence, [B], integers, in any order.
        convention: A name in ``gac_ref.CONVENTIONS``.
        is_expert: True for a demonstration, [B]; None means rollouts only.

    Returns:
        [B]: float64 for float64 rewards, else float32; the statistics are float64 where the
        device has it. Waits for the device: the number of groups is a value.

    Raises:
        GACError: An unknown convention, a shape or dtype that is not as above, a reward that is
            not finite, or a group without a rollout to measure its demonstrations against.

    Examples:
        >>> rewards, groups = torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([7, 3, 3, 7])
        >>> group_advantages(rewards, groups, convention="dr_grpo").tolist()
        [0.0, -0.5, 0.5, 0.0]
    """
    rule = _rule(convention)
    reward, counted = _inputs(rewards, group_ids, is_expert, rule)
    out = torch.float64 if rewards.dtype == torch.float64 else torch.float32
    if reward.numel() == 0:
        return reward.to(out)
    labels, group = torch.unique(group_ids, return_inverse=True)
    stats = _spread(reward, group, counted, labels.numel())
    orphans = stats.members == 0
    if rule.experts == "reference" and bool(orphans.any()):
        fail(
            f"group {int(labels[orphans][0])} has demonstrations and no rollout to measure them "
            "against; drop the group or pass a rollout of it"
        )
    centred = (reward - stats.low[group]) - stats.mean[group]
    std = stats.std(rule.ddof)
    if rule.spread == "batch":
        std = _spread(reward, torch.zeros_like(group), counted, 1).std(rule.ddof).expand_as(std)
    std = std.clamp(min=math.sqrt(rule.variance_floor))
    if rule.no_spread == "unit":
        std = torch.where(std == 0.0, 1.0, std)
    if rule.singleton == "raw":
        alone = stats.members == 1
        centred = torch.where(alone[group], reward, centred)
        std = torch.where(alone, 1.0, std)
    advantages = centred / (std[group] + rule.eps) if rule.divides else centred
    if rule.experts == "zero":
        advantages = torch.where(counted, advantages, 0.0)
    return advantages.to(out)


class _Spread(NamedTuple):
    """Of each group: members, lowest reward, mean above it, and scatter over its range squared."""

    members: Tensor
    low: Tensor
    mean: Tensor
    scatter: Tensor
    unit: Tensor

    def std(self, ddof: int) -> Tensor:
        freedom = (self.members - ddof).clamp(min=1).to(self.scatter.dtype)
        return torch.sqrt(self.scatter / freedom) * self.unit


def _spread(reward: Tensor, group: Tensor, counted: Tensor, groups: int) -> _Spread:
    members = torch.bincount(group[counted], minlength=groups)
    width = int(members.max())
    order = torch.argsort(group[counted], stable=True)
    row = group[counted][order]
    column = torch.arange(row.numel(), device=row.device) - (members.cumsum(0) - members)[row]
    inside = torch.arange(width, device=row.device) < members[:, None]
    table = reward.new_zeros(groups, width)
    table[row, column] = reward[counted][order]
    if width == 0:
        zeros = reward.new_zeros(groups)
        return _Spread(members, zeros, zeros, zeros, zeros + 1.0)
    low = torch.where(inside, table, math.inf).amin(dim=-1)
    high = torch.where(inside, table, -math.inf).amax(dim=-1)
    low, high = (torch.where(members > 0, x, 0.0) for x in (low, high))
    # In units of the range no square leaves the float range, however large or small the rewards.
    unit = torch.where(high > low, high - low, 1.0)
    scaled = torch.where(inside, (table - low[:, None]) / unit[:, None], 0.0)
    number = members.clamp(min=1).to(reward.dtype)
    mean = scaled.sum(dim=-1) / number
    deviation = torch.where(inside, scaled - mean[:, None], 0.0)
    return _Spread(members, low, mean * unit, (deviation * deviation).sum(dim=-1), unit)


def _rule(convention: str) -> Any:
    from gac_ref.advantages import CONVENTIONS  # a table of facts

    if convention not in CONVENTIONS:
        fail(f"convention = {convention!r} is unknown; pass one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[convention]


def _inputs(
    rewards: Tensor, group_ids: Tensor, is_expert: Tensor | None, rule: Any
) -> tuple[Tensor, Tensor]:
    """The rewards, widened, and which rows enter the statistics."""
    wanted = [("rewards", rewards, FLOATS + INTEGERS), ("group_ids", group_ids, INTEGERS[1:])]
    if is_expert is not None:
        wanted.append(("is_expert", is_expert, FLOATS + INTEGERS))
    for name, tensor, dtypes in wanted:
        if not isinstance(tensor, Tensor) or tensor.dtype not in dtypes:
            shown = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            kind = "integer" if name == "group_ids" else "numeric"
            fail(f"{name} is {shown}; pass a tensor of {kind} dtype")
        if tensor.ndim != 1 or tensor.shape != rewards.shape:
            fail(f"{name} has shape {tuple(tensor.shape)}; pass one value a sequence, [B]")
    reward = rewards.detach().to(row_dtype(rewards.device))
    bad = torch.nonzero(~reward.isfinite())
    if bad.numel():
        place = int(bad[0, 0])
        fail(f"rewards[{place}] = {float(reward[place])!r} is not finite; pass finite values")
    counted = torch.ones_like(reward, dtype=torch.bool)
    if is_expert is not None and rule.experts != "pooled":
        counted = is_expert.detach() == 0
    return reward, counted
