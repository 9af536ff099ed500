r"""Exact expectations of the three proxies over the batches of :class:`TokenBatches`.

A token NLL that is exponential with mean a has :math:`E p^j = 1 / (1 + j a)` for
:math:`p = e^{-\text{NLL}}`, so that :math:`\varphi(p) = p(1 - p)` has rational moments. Groups are
centred exactly, so the mean advantage of a batch is 0, and its variance is the mean square.
All values are those of ``mask_eps = 0``; the default 1e-8 moves them by a relative 2e-8 at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gac_ref.advantages import group_advantages
from simulations.noise.tokens import TokenBatches

__all__ = ["TokenMoments", "token_moments"]


@dataclass(frozen=True, kw_only=True)
class TokenMoments:
    r"""Expectations over batches that have the branch in question; NaN where there is no formula.

    Args:
        sigma_s2: E of the SFT proxy without trimming (``trim_ratio = 0``), nats^2. With trimming
            there is no closed form.
        sequence_nll: Mean of a demonstration's mean NLL, nats.
        sequence_nll_variance: Its variance, nats^2; `sigma_s2` is (E - 1)/E of it.
        sigma_r2: E of the RL proxy, advantage^2.
        delta_g2: E of the disagreement without normalisation over the rollouts, coefficient^2.
        delta_g2_all: The same over all rows ("all"), of batches that have both branches.
        delta_g2_no_phi: Without phi (``use_phi = False``), over the rollouts.
        delta_g2_zscore: E of the normalised disagreement over the rollouts: exactly 2 where phi
            and A are independent and all rollouts of one length, else NaN.
        kappa: Covariance of the two branches' statistics: 0, they share no random number.
        zero_group_share: Share of the groups without a success, exact in every batch.
        spread_group_share: Share of the groups with spread, exact in every batch.
        mistake_rate: Expected share of demonstrations with a mistake.
        missing_experts: Probability of a batch without demonstrations.
        missing_rollouts: Probability of a batch without rollouts.
    """

    sigma_s2: float
    sequence_nll: float
    sequence_nll_variance: float
    sigma_r2: float
    delta_g2: float
    delta_g2_all: float
    delta_g2_no_phi: float
    delta_g2_zscore: float
    kappa: float
    zero_group_share: float
    spread_group_share: float
    mistake_rate: float
    missing_experts: float
    missing_rollouts: float


def token_moments(batches: TokenBatches) -> TokenMoments:
    r"""The exact expectations.

    With L the length, a the sequence's mean NLL, B the mistake and M its cost, the mean NLL of a
    demonstration is :math:`a \bar\xi + B M / L`, and

    .. math::
        \mathrm{Var} = E[a^2](1 + E L^{-1}) + 2 E[a]\, \epsilon M E L^{-1} + \epsilon M^2 E L^{-2}
                       - (E[a] + \epsilon M E L^{-1})^2

    With :math:`A_+(K)`, :math:`A_-(K)` the advantages in a group of K successes,

    .. math::
        \tilde\sigma_r^2 = \rho\, E_K\Bigl[\tfrac{K}{G} A_+^2 + \tfrac{G - K}{G} A_-^2\Bigr],
        \qquad
        \tilde\Delta^2 = E\varphi^2 - 2 E[\varphi A] + E A^2

    where :math:`\rho` is the share of groups with spread.

    Args:
        batches: The generator.

    Returns:
        The expectations.

    Examples:
        >>> from simulations.noise import LengthLaw
        >>> moments = token_moments(TokenBatches(prompts=4, zero_groups=1, group_size=2,
        ...                                      convention="dr_grpo", nll_success=1.0))
        >>> moments.sigma_r2, round(moments.delta_g2, 12), moments.delta_g2_zscore
        (0.1875, 0.220833333333, nan)
    """
    successes, probability = batches.success_counts
    g, mixed = batches.group_size, batches.mixed_groups / batches.prompts
    square = product = 0.0
    phi_s, phi_f = _phi(1, batches.nll_success), _phi(1, batches.nll_failure)
    for k, p in zip(successes.tolist(), probability.tolist(), strict=True):
        rewards = np.arange(g) < k
        advantages = group_advantages(rewards, np.zeros(g, np.int64), convention=batches.convention)
        square += p * float(np.mean(advantages**2))
        product += p * float(np.mean(advantages * np.where(rewards, phi_s, phi_f)))
    square, product = mixed * square, mixed * product

    share = float(probability @ successes) / g
    success = mixed * share + batches.solved_groups / batches.prompts
    phi2 = success * _phi(2, batches.nll_success) + (1.0 - success) * _phi(2, batches.nll_failure)
    rollout = phi2 - 2.0 * product + square
    rows_r, rows_s = batches.prompts * g, batches.experts
    expert = _expert_phi2(batches)

    mean, variance = _sequence_nll(batches)
    law = batches.rollout_lengths
    same_law = batches.nll_success == batches.nll_failure and law.low == law.high
    return TokenMoments(
        sigma_s2=variance * (batches.experts - 1) / batches.experts,
        sequence_nll=mean,
        sequence_nll_variance=variance,
        sigma_r2=square,
        delta_g2=rollout,
        delta_g2_all=(rows_r * rollout + rows_s * expert) / (rows_r + rows_s),
        delta_g2_no_phi=1.0 + square,
        delta_g2_zscore=2.0 if same_law and mixed > 0.0 else math.nan,
        kappa=0.0,
        zero_group_share=batches.zero_groups / batches.prompts,
        spread_group_share=mixed,
        mistake_rate=batches.mistake_rate,
        missing_experts=batches.missing_experts,
        missing_rollouts=batches.missing_rollouts,
    )


def _phi(power: int, nll: float, offset: float = 0.0) -> float:
    """E of phi or phi^2 of a token whose NLL is exponential of mean `nll`, plus `offset`."""
    q = [math.exp(-j * offset) / (1.0 + j * nll) for j in range(5)]
    return q[1] - q[2] if power == 1 else q[2] - 2.0 * q[3] + q[4]


def _sides(batches: TokenBatches) -> tuple[float, float]:
    """The two equally likely mean NLLs of a demonstration."""
    a, s = batches.nll_expert, batches.nll_spread
    return a * (1.0 - s), a * (1.0 + s)


def _sequence_nll(batches: TokenBatches) -> tuple[float, float]:
    low, high = _sides(batches)
    mean, square = 0.5 * (low + high), 0.5 * (low * low + high * high)
    inverse, inverse2 = batches.expert_lengths.moment(-1), batches.expert_lengths.moment(-2)
    rate, cost = batches.mistake_rate, batches.mistake_nll
    total = mean + rate * cost * inverse
    second = square * (1.0 + inverse) + rate * cost * (2.0 * mean * inverse + cost * inverse2)
    return total, second - total * total


def _expert_phi2(batches: TokenBatches) -> float:
    """E of phi^2 over the tokens of a demonstration, each sequence counting once."""
    wrong = batches.mistake_rate * batches.expert_lengths.moment(-1)
    right, mistaken = (
        0.5 * sum(_phi(2, a, offset) for a in _sides(batches))
        for offset in (0.0, batches.mistake_nll)
    )
    return right + wrong * (mistaken - right)
