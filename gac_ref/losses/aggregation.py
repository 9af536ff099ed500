r"""From token losses to one number: every published aggregation is a table of token weights.

.. math::
    L = \sum_{i,t} W_{it}\, \ell_{it}, \qquad
    W_{it} = \frac{m_{it}\, w_i}{N + \epsilon_N}, \qquad
    w_i \in \Bigl\{1,\; \frac{1}{n_i + \epsilon_n}\Bigr\}, \quad n_i = \sum_t m_{it}

Only the row weight w, the count N and the two eps differ between trainers. Because N is the only
factor that looks beyond one row, a batch may be split anywhere between rows: give every piece the
N of the whole batch, and the losses and the gradients of the pieces add up to the whole. The mean
of the pieces' own means does not, unless the pieces have equal counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from gac_ref._typing import ArrayLike, BoolArray, FloatArray
from gac_ref.errors import fail
from gac_ref.losses._tokens import finish, select_tokens, token_mask

__all__ = ["AGGREGATIONS", "Aggregation", "aggregate", "aggregation_count", "aggregation_weights"]

Unit: TypeAlias = Literal["tokens", "sequences", "nonempty_sequences", "width", "budget"]


@dataclass(frozen=True, kw_only=True)
class Aggregation:
    r"""One way of weighting the tokens of a batch.

    Args:
        name: The key in :data:`AGGREGATIONS`.
        source: Where it was read.
        unit: What the count N counts: response "tokens"; all "sequences"; sequences with at
            least one response token ("nonempty_sequences"); one row's "width", a constant that
            does not grow with the batch; or the token "budget", sequences times width.
        row_mean: Whether each row is averaged over its own tokens (w = 1 / (n + eps)), else
            summed (w = 1).
        row_eps: :math:`\epsilon_n`, added to a row's token count, >= 0.
        count_eps: :math:`\epsilon_N`, added to N, >= 0.

    Examples:
        >>> AGGREGATIONS["dapo"].unit, AGGREGATIONS["seq_mean_token_mean"].row_eps
        ('tokens', 1e-08)
    """

    name: str
    source: str
    unit: Unit
    row_mean: bool = False
    row_eps: float = 0.0
    count_eps: float = 0.0


def _table(*rows: Aggregation) -> Mapping[str, Aggregation]:
    return MappingProxyType({row.name: row for row in rows})


# TRL clamps its counts to >= 1. With a boolean mask a count is below 1 only where the sum above it
# is empty, and an empty sum is 0 here, so the clamp needs no field of its own.
#: The named aggregations, read-only: name -> :class:`Aggregation`.
AGGREGATIONS: Mapping[str, Aggregation] = _table(
    Aggregation(name="token_mean", source="verl agg_loss, token-mean", unit="tokens"),
    Aggregation(
        name="seq_mean_token_sum",
        source="verl agg_loss, seq-mean-token-sum",
        unit="nonempty_sequences",
    ),
    Aggregation(
        name="seq_mean_token_mean",
        source="verl agg_loss, seq-mean-token-mean",
        unit="nonempty_sequences",
        row_mean=True,
        row_eps=1e-8,
    ),
    Aggregation(
        name="seq_mean_token_sum_norm",
        source="verl agg_loss and Trinity-RFT, seq-mean-token-sum-norm (no mean over sequences)",
        unit="width",
    ),
    Aggregation(
        name="trinity_token_mean",
        source="Trinity-RFT masked_mean, token-mean",
        unit="tokens",
        count_eps=1e-8,
    ),
    Aggregation(
        name="trinity_seq_mean_token_sum",
        source="Trinity-RFT, seq-mean-token-sum",
        unit="sequences",
    ),
    Aggregation(
        name="trinity_seq_mean_token_mean",
        source="Trinity-RFT, seq-mean-token-mean",
        unit="sequences",
        row_mean=True,
        row_eps=1e-8,
    ),
    Aggregation(
        name="grpo", source='TRL GRPOTrainer, loss_type="grpo"', unit="sequences", row_mean=True
    ),
    Aggregation(name="bnpo", source='TRL GRPOTrainer, loss_type="bnpo"', unit="tokens"),
    Aggregation(name="dr_grpo", source='TRL GRPOTrainer, loss_type="dr_grpo"', unit="budget"),
    Aggregation(name="dapo", source='TRL GRPOTrainer, loss_type="dapo"', unit="tokens"),
)


def aggregation_count(
    response_mask: ArrayLike, aggregation: str = "token_mean", *, width: float | None = None
) -> float:
    """The count N of a batch: what to hand to its micro-batches as `normalizer`.

    Counts of shards add up to the count of the batch, except for the unit "width", which is the
    same constant everywhere.

    Args:
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1.
        aggregation: A name in :data:`AGGREGATIONS`.
        width: Tokens a row may hold, > 0, for the units "width" and "budget"; T by default.
            Pass the trainer's constant (verl's ``loss_scale_factor``, TRL's
            ``max_completion_length``) when padding is trimmed, since T then varies.

    Returns:
        N, in the unit of the aggregation; 0 for an empty batch, except for "width".

    Raises:
        GACError: An unknown aggregation, or a mask or width that is not as above.

    Examples:
        >>> mask = [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
        >>> [aggregation_count(mask, name) for name in ("dapo", "grpo", "seq_mean_token_mean")]
        [4.0, 3.0, 2.0]
        >>> aggregation_count(mask, "dr_grpo", width=100)
        300.0
    """
    return _count(token_mask(response_mask), _rule(aggregation), width)


def aggregation_weights(
    response_mask: ArrayLike,
    aggregation: str = "token_mean",
    *,
    normalizer: float | None = None,
) -> FloatArray:
    """The token weights W: the aggregated loss is their inner product with the token losses.

    Args:
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1.
        aggregation: A name in :data:`AGGREGATIONS`.
        normalizer: The count N of the whole batch, from :func:`aggregation_count`, when
            `response_mask` is only a part of it; None means that it is the whole batch. TRL's
            "dapo" always passes one and its "bnpo" never does, which is all that separates them.
            TRL's division by the process count and verl's ``dp_size`` factor undo the gradient
            averaging of their runtimes; pieces are summed here, so neither appears.

    Returns:
        W, [B, T], float64, 0 at masked positions; all 0 when no token is unmasked.

    Raises:
        GACError: An unknown aggregation, or a `normalizer` that is not a finite count, is 0
            although there are tokens, or is below this part's own count.

    Examples:
        >>> aggregation_weights([[1, 1, 1], [1, 0, 0]], "token_mean").tolist()
        [[0.25, 0.25, 0.25], [0.25, 0.0, 0.0]]
        >>> aggregation_weights([[1, 1, 1, 1], [1, 0, 0, 0]], "grpo").tolist()
        [[0.125, 0.125, 0.125, 0.125], [0.5, 0.0, 0.0, 0.0]]

    References:
        verl ``agg_loss``; Trinity-RFT ``masked_loss``; TRL ``GRPOTrainer`` ``loss_type``;
        DAPO, arXiv:2503.14476; Dr. GRPO, arXiv:2503.20783.
    """
    mask = token_mask(response_mask)
    rule = _rule(aggregation)
    lengths = np.count_nonzero(mask, axis=-1)
    count = _count(mask, rule, None) if normalizer is None else _normalizer(normalizer, mask, rule)
    if not lengths.any():
        # An empty sum over an empty count: 0, where the plain quotient would be NaN.
        return np.zeros(mask.shape)
    row = np.ones(len(lengths))
    if rule.row_mean:
        row[lengths > 0] = 1.0 / (lengths[lengths > 0] + rule.row_eps)
    return np.where(mask, (row / (count + rule.count_eps))[:, np.newaxis], 0.0)


def aggregate(
    values: ArrayLike,
    response_mask: ArrayLike,
    aggregation: str = "token_mean",
    *,
    normalizer: float | None = None,
) -> float:
    """Aggregate token losses to one number; masked positions are never read.

    Args:
        values: Token losses, [B, T], finite on response tokens.
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1.
        aggregation: A name in :data:`AGGREGATIONS`.
        normalizer: As in :func:`aggregation_weights`.

    Returns:
        The aggregated loss; 0.0 when no token is unmasked.

    Raises:
        GACError: As in :func:`aggregation_weights`, or a value that is not as above.

    Examples:
        >>> nan = float("nan")
        >>> aggregate([[1.0, 3.0], [5.0, nan]], [[1, 1], [1, 0]], "grpo")
        3.5
    """
    mask = token_mask(response_mask)
    tokens = select_tokens("values", values, mask)
    weights = aggregation_weights(mask, aggregation, normalizer=normalizer)
    return finish(weights, mask, tokens, np.zeros_like(tokens)).value


def _rule(aggregation: str) -> Aggregation:
    if aggregation not in AGGREGATIONS:
        fail(f"aggregation = {aggregation!r} is unknown; pass one of {', '.join(AGGREGATIONS)}")
    return AGGREGATIONS[aggregation]


def _count(mask: BoolArray, rule: Aggregation, width: float | None) -> float:
    if width is not None and rule.unit not in ("width", "budget"):
        fail(f"width = {width!r} has no meaning for {rule.name}; leave it out")
    row = float(mask.shape[1] if width is None else width)
    if width is not None and not (math.isfinite(row) and row > 0.0):
        fail(f"width = {width!r} is not a finite number above 0; pass the row's token budget")
    if rule.unit == "tokens":
        return float(np.count_nonzero(mask))
    if rule.unit == "nonempty_sequences":
        return float(np.count_nonzero(mask.any(axis=-1)))
    return {"sequences": float(len(mask)), "width": row, "budget": len(mask) * row}[rule.unit]


def _normalizer(normalizer: float, mask: BoolArray, rule: Aggregation) -> float:
    count = float(normalizer)
    # 0 is the honest count of a batch without a single demonstration, or rollout.
    if not math.isfinite(count) or count < 0.0 or (count == 0.0 and mask.any()):
        fail(f"normalizer = {normalizer!r} is not a finite count; pass the whole batch's, above 0")
    # Widths are the user's constant, so only counts that add up over shards can be contradicted.
    if rule.unit not in ("width", "budget") and count < (own := _count(mask, rule, None)):
        fail(
            f"normalizer = {normalizer!r} is below this part's own count of {own:g} "
            f"{rule.unit.replace('_', ' ')}; pass the count of the whole batch"
        )
    return count
