"""The mixed objective that the controller's weight enters."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from gac_ref._checks import as_mask
from gac_ref._typing import ArrayLike, BoolArray, FloatArray
from gac_ref.errors import fail
from gac_ref.losses._tokens import Loss, select_advantages, select_tokens, token_mask
from gac_ref.losses.terms import clipped_surrogate_loss, sft_loss, sft_phi_loss

__all__ = ["HybridLoss", "hybrid_loss"]


class HybridLoss(NamedTuple):
    """The mixed loss, its gradient, and the two branches before weighting.

    Args:
        value: ``(1 - mu) * rl.value + mu * sft.value``.
        grad: d value / d logprob, [B, T]; 0 at masked positions.
        rl: The RL branch; its gradient [B, T] is 0 on expert rows.
        sft: The SFT branch; its gradient [B, T] is 0 on rollout rows.

    Examples:
        >>> HybridLoss._fields
        ('value', 'grad', 'rl', 'sft')
    """

    value: float
    grad: FloatArray
    rl: Loss
    sft: Loss


def hybrid_loss(
    logprob: ArrayLike,
    response_mask: ArrayLike,
    is_expert: ArrayLike,
    mu: float,
    *,
    old_logprob: ArrayLike,
    advantages: ArrayLike,
    ref_logprob: ArrayLike | None = None,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    kl_coef: float = 0.0,
    sft: Literal["nll", "phi"] = "nll",
    cutoff: float = 1.0,
    rl_aggregation: str = "token_mean",
    sft_aggregation: str = "token_mean",
    rl_normalizer: float | None = None,
    sft_normalizer: float | None = None,
) -> HybridLoss:
    r"""The hybrid objective of one batch.

    .. math::
        L(\mu) = (1 - \mu)\, L_\mathrm{RL} + \mu\, L_\mathrm{SFT}, \qquad
        \frac{dL}{d\mu} = L_\mathrm{SFT} - L_\mathrm{RL}

    The surrogate runs on the rollout rows and the likelihood on the expert rows, each branch
    aggregated as if its rows were a batch of their own. A batch without demonstrations, or
    without rollouts, has 0 in that branch, with gradient 0. Under gradient accumulation give
    every micro-batch the branch counts of the whole batch: the results then add up to the whole,
    however the demonstrations fall among the micro-batches.

    Args:
        logprob: Log-probability under the current policy, [B, T], nats, <= 0 on response tokens.
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1.
        is_expert: True for an expert demonstration, False for a rollout, [B].
        mu: Weight of the SFT branch, in [0, 1]; 1 is pure SFT.
        old_logprob: Sampling-policy log-probability, [B, T]; unread on expert rows.
        advantages: [B] or [B, T]; unread on expert rows.
        ref_logprob: Reference log-probability, [B, T]; unread on expert rows.
        clip_low: As in :func:`~gac_ref.losses.clipped_surrogate_loss`.
        clip_high: Likewise.
        dual_clip: Likewise.
        kl_coef: Likewise.
        sft: "nll" for :func:`~gac_ref.losses.sft_loss`, "phi" for
            :func:`~gac_ref.losses.sft_phi_loss`.
        cutoff: As in :func:`~gac_ref.losses.sft_phi_loss`; 1 with "nll".
        rl_aggregation: Aggregation of the rollout rows.
        sft_aggregation: Aggregation of the expert rows.
        rl_normalizer: The whole batch's count over its rollout rows, from
            :func:`~gac_ref.losses.aggregation_count`; None when this is the whole batch.
        sft_normalizer: The same over its expert rows.

    Returns:
        The loss, its gradient, and the two branches.

    Raises:
        GACError: A shape, dtype or value is not as above.

    Examples:
        >>> lp = [[-1.0, -2.0], [-0.5, float("nan")]]
        >>> both = hybrid_loss(lp, [[1, 1], [1, 0]], [True, False], 0.25,
        ...                    old_logprob=lp, advantages=[0.0, 2.0])
        >>> both.rl.value, both.sft.value, both.value
        (-2.0, 1.5, -1.125)
        >>> hybrid_loss([[-1.0]], [[1]], [False], 0.5, old_logprob=[[-1.0]], advantages=[1.0]).sft
        Loss(value=0.0, grad=array([[0.]]))

    References:
        CHORD, arXiv:2508.11408, equation of the hybrid objective; Trinity-RFT
        ``MIXCHORDPolicyLossFn``; GAC, arXiv:2605.26184, section 3.
    """
    if not 0.0 <= mu <= 1.0:
        fail(f"mu = {mu!r} is outside [0, 1]; it is the weight of the SFT branch")
    if sft not in ("nll", "phi"):
        fail(f"sft = {sft!r} is unknown; pass 'nll' or 'phi'")
    if sft == "nll" and cutoff != 1.0:
        fail(f"cutoff = {cutoff!r} has no meaning with sft='nll'; pass 1 or sft='phi'")
    mask = token_mask(response_mask, logprob)
    expert = as_mask("is_expert", is_expert, mask.shape[:1])
    rollout_mask = mask & ~expert[:, np.newaxis]
    # Values are checked on the whole batch first, so that an error names the row of the batch and
    # not the row of a branch.
    select_tokens("logprob", logprob, mask, highest=0.0)
    select_tokens("old_logprob", old_logprob, rollout_mask, highest=0.0)
    select_advantages(advantages, rollout_mask)
    if ref_logprob is not None and kl_coef > 0.0:
        select_tokens("ref_logprob", ref_logprob, rollout_mask, highest=0.0)
        ref_logprob = np.asarray(ref_logprob)[~expert]
    lp = np.asarray(logprob)
    rl = clipped_surrogate_loss(
        lp[~expert],
        np.asarray(old_logprob)[~expert],
        np.asarray(advantages)[~expert],
        mask[~expert],
        clip_low=clip_low,
        clip_high=clip_high,
        dual_clip=dual_clip,
        ref_logprob=ref_logprob,
        kl_coef=kl_coef,
        aggregation=rl_aggregation,
        normalizer=rl_normalizer,
    )
    rl = _scatter(rl, ~expert, mask.shape)
    if sft == "nll":
        supervised = sft_loss(
            lp[expert], mask[expert], aggregation=sft_aggregation, normalizer=sft_normalizer
        )
    else:
        supervised = sft_phi_loss(
            lp[expert],
            mask[expert],
            cutoff=cutoff,
            aggregation=sft_aggregation,
            normalizer=sft_normalizer,
        )
    supervised = _scatter(supervised, expert, mask.shape)
    value = (1.0 - mu) * rl.value + mu * supervised.value
    grad = (1.0 - mu) * rl.grad + mu * supervised.grad
    return HybridLoss(value, grad, rl, supervised)


def _scatter(loss: Loss, rows: BoolArray, shape: tuple[int, ...]) -> Loss:
    grad = np.zeros(shape)
    grad[rows] = loss.grad
    return Loss(loss.value, grad)
