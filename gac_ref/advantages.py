r"""Group-relative advantages: one formula, and each trainer's convention as a row of a table.

Every trainer below centres the rewards of one prompt's rollouts and most divide by their spread;
they differ in what is added to the spread, in what happens to a group of one, and in whether
expert demonstrations take part. Those differences are data (:class:`AdvantageConvention`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from gac_ref._checks import as_mask, as_numbers, refuse_first
from gac_ref._typing import ArrayLike, BoolArray, FloatArray, IntArray
from gac_ref.errors import fail

__all__ = ["CONVENTIONS", "AdvantageConvention", "group_advantages"]


@dataclass(frozen=True, kw_only=True)
class AdvantageConvention:
    r"""How one trainer turns the rewards of a group into advantages.

    Args:
        name: The key in :data:`CONVENTIONS`.
        source: Where the convention was read.
        divides: Whether the centred rewards are divided by the spread.
        eps: Added to the spread before the division, in reward units; > 0 when dividing.
        ddof: Delta degrees of freedom of the variance, 0 or 1 (1: divide by G - 1).
        variance_floor: Lower bound of the variance, reward units squared, >= 0.
        spread: Whose spread divides: each "group"'s own, or the whole "batch"'s.
        singleton: A group of one: "zero" centres it on itself (advantage 0), "raw" takes mean 0
            and spread 1, so that the advantage is the reward itself, over 1 + eps.
        no_spread: A spread of exactly 0: "keep" it (only eps divides), or take 1 ("unit").
            Rollouts of such a group get 0 either way; a demonstration measured against them not.
        experts: Demonstrations are rewards like any other ("pooled"), are measured against the
            rollouts' mean and spread without entering them ("reference"), or get 0 ("zero").

    Raises:
        GACError: `eps`, `ddof` or `variance_floor` is out of its range.

    Examples:
        >>> CONVENTIONS["trl"].eps, CONVENTIONS["verl"].singleton
        (0.0001, 'raw')
    """

    name: str
    source: str
    divides: bool = True
    eps: float = 1e-6
    ddof: int = 1
    variance_floor: float = 0.0
    spread: Literal["group", "batch"] = "group"
    singleton: Literal["zero", "raw"] = "raw"
    no_spread: Literal["keep", "unit"] = "keep"
    experts: Literal["pooled", "reference", "zero"] = "pooled"

    def __post_init__(self) -> None:
        """Refuse settings under which a group without spread would be 0 / 0."""
        if not (math.isfinite(self.eps) and (self.eps > 0.0 or not self.divides)):
            fail(f"eps = {self.eps!r} is not above 0; a group without spread would be 0 / 0")
        if self.ddof not in (0, 1):
            fail(f"ddof = {self.ddof!r} is neither 0 nor 1; pass 1 for the sample variance")
        if not (math.isfinite(self.variance_floor) and self.variance_floor >= 0.0):
            fail(f"variance_floor = {self.variance_floor!r} is not finite and >= 0; pass 0 for off")


def _table(*rows: AdvantageConvention) -> Mapping[str, AdvantageConvention]:
    return MappingProxyType({row.name: row for row in rows})


#: The named conventions, read-only: name -> :class:`AdvantageConvention`.
CONVENTIONS: Mapping[str, AdvantageConvention] = _table(
    AdvantageConvention(
        name="trl",
        source='TRL GRPOTrainer, scale_rewards="group"',
        eps=1e-4,
        singleton="zero",
    ),
    AdvantageConvention(
        name="trl_batch",
        source='TRL GRPOTrainer, scale_rewards="batch"',
        eps=1e-4,
        spread="batch",
        singleton="zero",
    ),
    AdvantageConvention(
        name="dr_grpo",
        source='arXiv:2503.20783; TRL GRPOTrainer, scale_rewards="none"',
        divides=False,
        singleton="zero",
    ),
    AdvantageConvention(
        name="verl", source="verl core_algos, compute_grpo_outcome_advantage (loop form)"
    ),
    AdvantageConvention(
        name="verl_vectorized",
        source="verl core_algos, compute_grpo_vectorized_outcome_advantage",
        # group_mean_std receives the epsilon of the division as the floor of the variance.
        variance_floor=1e-6,
    ),
    AdvantageConvention(
        name="verl_unscaled",
        source="verl core_algos, norm_adv_by_std_in_grpo=False",
        divides=False,
    ),
    AdvantageConvention(name="trinity", source="Trinity-RFT, GRPO advantage"),
    AdvantageConvention(
        name="trinity_mix", source="Trinity-RFT, MIX advantage (MIX, CHORD)", experts="zero"
    ),
    AdvantageConvention(
        name="luffy_split",
        source="LUFFY and Unify-Post-Training (HPT), compute_grpo_outcome_advantage_split",
        no_spread="unit",
        experts="reference",
    ),
)


def group_advantages(
    rewards: ArrayLike,
    group_ids: ArrayLike,
    *,
    convention: str | AdvantageConvention = "trl",
    is_expert: ArrayLike | None = None,
) -> FloatArray:
    r"""Advantage of each sequence relative to its prompt group.

    .. math::
        A_i = \frac{r_i - \bar r_g}{s_g + \epsilon}, \qquad
        s_g^2 = \max\Bigl(\frac{1}{G - \mathrm{ddof}} \sum_{j \in g} (r_j - \bar r_g)^2,\;
        \text{floor}\Bigr)

    for sequence i of group g with G members, or the numerator alone where the convention does
    not divide. The rules for groups of one and groups without spread are the convention's. The
    statistics are two-pass and in float64; the trainers take theirs in float32, and verl's
    vectorised form from raw second moments, so large offsets cost them digits that are kept here.

    With ddof 1 and a negligible eps, each group with spread contributes
    :math:`\sum_i A_i^2 = G - 1`, so the population variance of the advantages, which is GAC's
    ``sigma_r2``, is :math:`\frac{G-1}{G}` times the share of groups with spread and carries
    little else.

    Args:
        rewards: One reward a sequence, [B], finite, any unit.
        group_ids: Prompt group of each sequence, [B], integers, in any order.
        convention: A name in :data:`CONVENTIONS`, or a convention of your own.
        is_expert: True for an expert demonstration, [B]; None means rollouts only. Conventions
            that pool the experts treat them as rollouts, as those trainers do.

    Returns:
        Advantages, [B], float64, in units of reward (undivided) or of the spread.

    Raises:
        GACError: An unknown convention; a shape, dtype or value that is not as above; a group of
            demonstrations alone under a convention that measures them against its rollouts.

    Examples:
        >>> group_advantages([1, 0, 1, 1, 5], [7, 3, 3, 7, 9], convention="dr_grpo").tolist()
        [0.0, -0.5, 0.5, 0.0, 0.0]
        >>> group_advantages([2.0], [0], convention="trl").tolist()
        [0.0]
        >>> group_advantages([2.0], [0], convention="verl").round(5).tolist()
        [2.0]
        >>> group_advantages([1.0, 0.0, 1.0], [0, 0, 0], convention="luffy_split",
        ...                  is_expert=[True, False, False]).round(5).tolist()
        [0.70711, -0.70711, 0.70711]

    References:
        GRPO, arXiv:2402.03300, section 4.1; Dr. GRPO, arXiv:2503.20783; LUFFY, arXiv:2504.14945;
        HPT, arXiv:2509.04419; the public code named in each convention's `source`.
    """
    rule = _rule(convention)
    reward, group, counted, labels = _inputs(rewards, group_ids, is_expert, rule)
    if reward.size == 0:
        return np.zeros(0)
    groups = len(labels)
    stats = _spread(reward[counted], group[counted], groups)
    orphans = (stats.members == 0) & (rule.experts == "reference")
    if orphans.any():
        fail(
            f"group {labels[int(np.argmax(orphans))]} has demonstrations and no rollout to measure "
            "them against; drop the group or pass a rollout of it"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        centred = (reward - stats.low[group]) - stats.mean[group]
        std = stats.std(rule.ddof)
        if rule.spread == "batch":
            whole = _spread(reward[counted], np.zeros(np.count_nonzero(counted), np.int64), 1)
            std = np.broadcast_to(whole.std(rule.ddof), (groups,))
        std = np.maximum(std, math.sqrt(rule.variance_floor))
        if rule.no_spread == "unit":
            std = np.where(std == 0.0, 1.0, std)
        if rule.singleton == "raw":
            alone = stats.members == 1
            centred = np.where(alone[group], reward, centred)
            std = np.where(alone, 1.0, std)
        advantages = centred / (std[group] + rule.eps) if rule.divides else centred
    if rule.experts == "zero":
        advantages = np.where(counted, advantages, 0.0)
    refuse_first(
        "rewards", reward, ~np.isfinite(advantages), "overflows against its group; rescale"
    )
    return np.asarray(advantages, dtype=np.float64)


class _Spread(NamedTuple):
    """Per group: member count, lowest reward, mean above the lowest, and scatter.

    Scatter is in units of 4**exponent, so that neither tiny nor huge rewards leave the range of
    float64 when squared; powers of two scale without rounding. A group of equal rewards has a
    mean above its lowest, and a scatter, of exactly 0, whatever the rewards.
    """

    members: IntArray
    low: FloatArray
    mean: FloatArray
    scatter: FloatArray
    exponent: IntArray

    def std(self, ddof: int) -> FloatArray:
        freedom = np.maximum(self.members - ddof, 1)
        return np.ldexp(np.sqrt(self.scatter / freedom), self.exponent)


def _spread(values: FloatArray, ids: IntArray, groups: int) -> _Spread:
    """Two-pass count, mean and scatter of `values` in each of `groups` groups."""
    count = np.bincount(ids, minlength=groups)
    low = np.full(groups, np.inf)
    high = np.full(groups, -np.inf)
    np.minimum.at(low, ids, values)
    np.maximum.at(high, ids, values)
    low, high = np.where(count > 0, low, 0.0), np.where(count > 0, high, 0.0)
    members = np.maximum(count, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        exponent = np.frexp(high - low)[1].astype(np.int64)
        scaled = np.ldexp(values - low[ids], -exponent[ids])
        mean = np.bincount(ids, weights=scaled, minlength=groups) / members
        deviation = scaled - mean[ids]
        scatter = np.bincount(ids, weights=deviation * deviation, minlength=groups)
    return _Spread(count, low, np.ldexp(mean, exponent), np.asarray(scatter, np.float64), exponent)


def _rule(convention: str | AdvantageConvention) -> AdvantageConvention:
    if isinstance(convention, AdvantageConvention):
        return convention
    if convention not in CONVENTIONS:
        fail(f"convention = {convention!r} is unknown; pass one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[convention]


def _inputs(
    rewards: ArrayLike, group_ids: ArrayLike, is_expert: ArrayLike | None, rule: AdvantageConvention
) -> tuple[FloatArray, IntArray, BoolArray, list[int]]:
    """Validated rewards, contiguous group numbers, rows in the statistics, group labels."""
    raw = as_numbers("rewards", rewards, kinds="fiub")
    if raw.ndim != 1:
        fail(f"rewards has shape {raw.shape}; pass one reward a sequence, [B]")
    reward = raw.astype(np.float64)
    refuse_first("rewards", raw, ~np.isfinite(reward), "is not finite; pass finite values")
    # An empty list is float64 to NumPy; there is no id in it to be wrong.
    empty = np.size(group_ids) == 0
    ids = np.zeros(0, np.int64) if empty else as_numbers("group_ids", group_ids, kinds="iu")
    if ids.shape != raw.shape:
        fail(
            f"group_ids has shape {ids.shape} but rewards has shape {raw.shape}; pass equal shapes"
        )
    labels, group = np.unique(ids, return_inverse=True)
    counted = np.ones(reward.shape, dtype=np.bool_)
    if is_expert is not None:
        expert = as_mask("is_expert", is_expert, reward.shape)
        counted = counted if rule.experts == "pooled" else ~expert
    return reward, group.astype(np.int64), counted, [int(label) for label in labels]
