r"""The two branches of a hybrid objective: supervised terms and the clipped surrogate.

Each returns the aggregated loss and its analytic derivative with respect to the token
log-probabilities, which is all that a port needs to be checked against.
"""

from __future__ import annotations

import math

import numpy as np

from gac_ref._typing import ArrayLike
from gac_ref.errors import fail
from gac_ref.losses._tokens import Loss, finish, select_advantages, select_tokens, token_mask
from gac_ref.losses.aggregation import aggregation_weights

__all__ = ["clipped_surrogate_loss", "sft_loss", "sft_phi_loss"]


def sft_loss(
    logprob: ArrayLike,
    response_mask: ArrayLike,
    *,
    aggregation: str = "token_mean",
    normalizer: float | None = None,
) -> Loss:
    r"""Negative log-likelihood: token loss :math:`-\ell`, slope -1.

    Args:
        logprob: Log-probability of each token, [B, T], nats, <= 0 and finite on response tokens.
            Probabilities in place of their logs are refused, being positive.
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1.
        aggregation: A name in :data:`~gac_ref.losses.AGGREGATIONS`.
        normalizer: The whole batch's count when this is a part of it; see
            :func:`~gac_ref.losses.aggregation_weights`.

    Returns:
        The loss in nats (times tokens, for the aggregations that sum) and its gradient.

    Raises:
        GACError: A shape, dtype or value is not as above.

    Examples:
        >>> loss = sft_loss([[-0.5, -1.5], [-1.0, float("-inf")]], [[1, 1], [1, 0]])
        >>> loss.value
        1.0
        >>> sft_loss([[0.6]], [[1]])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: logprob[0, 0] = 0.6 is above 0; log-probabilities are natural ...
    """
    mask = token_mask(response_mask, logprob)
    tokens = select_tokens("logprob", logprob, mask, highest=0.0)
    weights = aggregation_weights(mask, aggregation, normalizer=normalizer)
    return finish(weights, mask, -tokens, np.full_like(tokens, -1.0))


def sft_phi_loss(
    logprob: ArrayLike,
    response_mask: ArrayLike,
    *,
    cutoff: float = 1.0,
    detach: bool = True,
    aggregation: str = "token_mean",
    normalizer: float | None = None,
) -> Loss:
    r"""CHORD's weighted likelihood: tokens count by :math:`\varphi(p) = p(1-p)`.

    .. math::
        \text{loss} = -\varphi(p)\,\min(\ell, \ln c), \qquad
        \text{slope} = -\varphi(p)\,[\ell \le \ln c]
        \;-\; \underbrace{p(1-2p)\,\min(\ell, \ln c)}_{\text{only if attached}}

    with :math:`p = e^\ell`. Detached, which is the method, phi is a constant to the derivative.
    Attached, the derivative goes through it and changes sign at a low probability: the mistake
    this option lets a port be tested for. Phi is taken at the unclamped log-probability.

    Args:
        logprob: Log-probability of each token, [B, T], nats, <= 0 and finite on response tokens.
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1.
        cutoff: c, in (0, 1]; tokens more probable than c have slope 0 and c's log in their value;
            1 switches it off.
        detach: Whether phi is a constant to the derivative.
        aggregation: A name in :data:`~gac_ref.losses.AGGREGATIONS`.
        normalizer: The whole batch's count when this is a part of it.

    Returns:
        The loss in nats (times tokens, for the aggregations that sum) and its gradient.

    Raises:
        GACError: A shape, dtype or value is not as above.

    Examples:
        >>> import math
        >>> half = [[math.log(0.5)]]
        >>> sft_phi_loss(half, [[1]]).grad.tolist()
        [[-0.25]]
        >>> sft_phi_loss(half, [[1]], cutoff=0.4).grad.tolist()
        [[0.0]]

    References:
        CHORD, arXiv:2508.11408, the phi variant; Trinity-RFT ``SFTPhiLossFn``; ms-swift
        ``compute_chord_loss`` (attached in its earlier versions, detached later).
    """
    if not 0.0 < cutoff <= 1.0:
        fail(f"cutoff = {cutoff!r} is outside (0, 1]; it is a probability, 1 switches it off")
    mask = token_mask(response_mask, logprob)
    tokens = select_tokens("logprob", logprob, mask, highest=0.0)
    weights = aggregation_weights(mask, aggregation, normalizer=normalizer)
    p = np.exp(tokens)
    phi = p * -np.expm1(tokens)  # p (1 - p) without the cancellation near p = 1
    ceiling = math.log(cutoff)
    capped = np.minimum(tokens, ceiling)
    slope = np.where(tokens <= ceiling, -phi, 0.0)
    if not detach:
        slope = slope - p * (1.0 - 2.0 * p) * capped
    return finish(weights, mask, -phi * capped, slope)


def clipped_surrogate_loss(
    logprob: ArrayLike,
    old_logprob: ArrayLike,
    advantages: ArrayLike,
    response_mask: ArrayLike,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    ref_logprob: ArrayLike | None = None,
    kl_coef: float = 0.0,
    aggregation: str = "token_mean",
    normalizer: float | None = None,
) -> Loss:
    r"""The PPO/GRPO surrogate, with an optional dual clip and k3 KL penalty.

    With :math:`\rho = e^{\ell - \ell_\mathrm{old}}` and
    :math:`q = e^{\ell_\mathrm{ref} - \ell}`, the token loss is

    .. math::
        -A\,\tilde\rho + \beta\,(q - \ln q - 1), \qquad
        \tilde\rho = \begin{cases}
            \min(\rho,\; 1 + \epsilon_\mathrm{high}) & A \ge 0 \\
            \min(\max(\rho,\; 1 - \epsilon_\mathrm{low}),\; c) & A < 0 \end{cases}

    and its slope is :math:`-A\rho` where no bound acts (0 where one does), plus
    :math:`\beta(1 - q)`. Exactly at a bound the slope is the unclipped one; automatic
    differentiation agrees at both clips and takes half of it at the dual clip. TRL's ``delta``
    is this c whenever delta > 1 + clip_high.

    verl also clamps both log-ratios to 20 nats and the k3 term to 10; those limits act only on
    corrupt inputs and are left out: an overflow raises.

    Args:
        logprob: Log-probability under the current policy, [B, T], nats, <= 0 on response tokens.
        old_logprob: The same under the policy that sampled the tokens, [B, T], nats, <= 0.
        advantages: One a token [B, T] or one a sequence [B], finite on response tokens.
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1.
        clip_low: :math:`\epsilon_\mathrm{low}`, >= 0.
        clip_high: :math:`\epsilon_\mathrm{high}`, >= 0.
        dual_clip: c, > 1, or None for no bound on the ratio when A < 0. verl uses 3.
        ref_logprob: Log-probability under the reference policy, [B, T]; needed if `kl_coef` > 0
            and unread otherwise.
        kl_coef: :math:`\beta`, >= 0, in units of the advantage per nat.
        aggregation: A name in :data:`~gac_ref.losses.AGGREGATIONS`; the KL term shares it.
        normalizer: The whole batch's count when this is a part of it.

    Returns:
        The loss, in units of the advantage, and its gradient.

    Raises:
        GACError: A shape, dtype or value is not as above, or a ratio overflows float64.

    Examples:
        >>> import math
        >>> old = [[math.log(0.5), math.log(0.5)]]
        >>> new = [[math.log(0.75), math.log(0.55)]]
        >>> loss = clipped_surrogate_loss(new, old, [1.0], [[1, 1]])
        >>> round(loss.value, 12), loss.grad.round(12).tolist()
        (-1.15, [[0.0, -0.55]])

    References:
        PPO, arXiv:1707.06347, equation 7; GRPO, arXiv:2402.03300, equations 3 and 4; separate
        bounds, DAPO, arXiv:2503.14476; dual clip, arXiv:1912.09729; two-sided clip,
        arXiv:2505.07291; k3, Schulman, "Approximating KL divergence", 2020.
    """
    for name, bound in (("clip_low", clip_low), ("clip_high", clip_high), ("kl_coef", kl_coef)):
        if not 0.0 <= bound < math.inf:
            fail(f"{name} = {bound!r} is not finite and >= 0; pass a number in that range")
    if dual_clip is not None and not 1.0 < dual_clip < math.inf:
        fail(f"dual_clip = {dual_clip!r} is not above 1; pass a finite ratio > 1, or None")
    if kl_coef > 0.0 and ref_logprob is None:
        fail(f"kl_coef = {kl_coef!r} needs ref_logprob; pass it, or kl_coef = 0")
    mask = token_mask(response_mask, logprob)
    tokens = select_tokens("logprob", logprob, mask, highest=0.0)
    old = select_tokens("old_logprob", old_logprob, mask, highest=0.0)
    gain = select_advantages(advantages, mask)
    weights = aggregation_weights(mask, aggregation, normalizer=normalizer)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = np.exp(tokens - old)
        floor = np.where(gain < 0.0, 1.0 - clip_low, 0.0)
        above = math.inf if dual_clip is None else dual_clip
        ceiling = np.where(gain < 0.0, above, 1.0 + clip_high)
        bounded = np.minimum(np.maximum(ratio, floor), ceiling)
        loss = -gain * bounded
        slope = np.where((floor <= ratio) & (ratio <= ceiling), loss, 0.0)
        if kl_coef > 0.0:
            assert ref_logprob is not None
            shift = select_tokens("ref_logprob", ref_logprob, mask, highest=0.0) - tokens
            # expm1 keeps the digits that exp(x) - x - 1 loses near x = 0.
            loss = loss + kl_coef * (np.expm1(shift) - shift)
            slope = slope - kl_coef * np.expm1(shift)
    return finish(weights, mask, loss, slope)
