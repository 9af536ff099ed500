r"""Token-level batches from a known law, for the statistics that a trainer can afford.

Units here are those of the coefficient-space proxies: sigma_s2 in nats^2, sigma_r2 in advantage^2,
delta_g2 in coefficient^2. Their exact expectations are in :mod:`simulations.noise.token_moments`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gac_ref._typing import BoolArray, FloatArray, IntArray
from gac_ref.advantages import CONVENTIONS, group_advantages
from gac_ref.baselines._fields import choice, real, whole
from gac_ref.batch import Batch
from gac_ref.errors import fail
from simulations.noise.lengths import LengthLaw

__all__ = ["TokenBatches"]

_PER_GROUP = tuple(name for name, rule in CONVENTIONS.items() if rule.spread == "group")


@dataclass(frozen=True, kw_only=True)
class TokenBatches:
    r"""A generator of training batches: P prompts with G rollouts each, and E demonstrations.

    Rollouts. Of the P groups exactly `zero_groups` have no success and `solved_groups` only
    successes; the others have K successes of G, binomial with `pass_rate` and conditioned on
    :math:`1 \le K \le G - 1`. Rewards are 0 and 1, advantages those of `convention`, and
    token NLLs exponential with mean `nll_success` or `nll_failure`.

    Demonstrations. A sequence has the mean NLL :math:`a = \text{nll\_expert}\,(1 \pm
    \text{nll\_spread})`, half each, and exponential token NLLs of mean a. With probability
    `mistake_rate` it holds a mistake: one token, uniformly placed, costs `mistake_nll` nats more,
    and the demonstration's reward is 0 instead of 1.

    Lengths are independent of everything else. A batch lacks its demonstrations with probability
    `missing_experts`, and its rollouts with probability `missing_rollouts`, never both.

    Args:
        prompts: P, >= 1.
        group_size: G, >= 2.
        experts: E, >= 1.
        zero_groups: Groups without a success, exactly, in every batch with rollouts.
        solved_groups: Groups without a failure, exactly; the two at most P together.
        pass_rate: Success rate of the other groups before the conditioning, in (0, 1).
        convention: A per-group convention of :data:`gac_ref.CONVENTIONS`.
        rollout_lengths: Law of the rollouts' lengths.
        expert_lengths: Law of the demonstrations' lengths.
        nll_success: Mean token NLL of successful rollouts, nats, > 0.
        nll_failure: Mean token NLL of failed rollouts, nats, > 0. Unequal ones make the two
            coefficient streams correlate, which is what moves the normalised disagreement.
        nll_expert: Mean token NLL of the demonstrations, nats, > 0.
        nll_spread: Relative spread of that mean between demonstrations, in [0, 1).
        mistake_rate: Probability that a demonstration holds a mistake, in [0, 1].
        mistake_nll: What the mistaken token costs more, nats, >= 0.
        missing_experts: Probability of a batch without demonstrations, in [0, 1].
        missing_rollouts: Probability of a batch without rollouts; at most 1 with the other.
        per_token: Whether the advantages come as [B, T] or [B].
        padding: What stands outside the response in `logprob` (and in per-token advantages):
            "zero", "nan" or "random" (negative numbers of any size); none of it may matter.
        kl: KL to the reference policy that the batches carry, nats per token, or None.
        entropy: Token entropy that the batches carry, nats, >= 0, or None.

    Raises:
        GACError: A field is out of its range, or fields contradict one another.

    Examples:
        >>> batches = TokenBatches(prompts=2, group_size=4, experts=3, zero_groups=1)
        >>> batch = batches.batch(np.random.default_rng(0))
        >>> len(batch), batch.shape[1], batch.expert_rows.size
        (11, 16, 3)
    """

    prompts: int = 8
    group_size: int = 8
    experts: int = 16
    zero_groups: int = 2
    solved_groups: int = 0
    pass_rate: float = 0.5
    convention: str = "trl"
    rollout_lengths: LengthLaw = field(default_factory=LengthLaw)
    expert_lengths: LengthLaw = field(default_factory=LengthLaw)
    nll_success: float = 0.5
    nll_failure: float = 1.0
    nll_expert: float = 1.0
    nll_spread: float = 0.3
    mistake_rate: float = 0.05
    mistake_nll: float = 6.0
    missing_experts: float = 0.0
    missing_rollouts: float = 0.0
    per_token: bool = False
    padding: str = "zero"
    kl: float | None = None
    entropy: float | None = None
    kind: str = field(default="token_batches", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        whole(self, "prompts", "experts", low=1)
        whole(self, "group_size", low=2)
        whole(self, "zero_groups", "solved_groups")
        real(self, "pass_rate", above=0.0, below=1.0)
        real(self, "nll_success", "nll_failure", "nll_expert", above=0.0)
        real(self, "nll_spread", low=0.0, below=1.0)
        real(self, "mistake_nll", low=0.0)
        real(self, "mistake_rate", "missing_experts", "missing_rollouts", low=0.0, high=1.0)
        choice(self, "convention", _PER_GROUP)
        choice(self, "padding", ("zero", "nan", "random"))
        for name in ("rollout_lengths", "expert_lengths"):
            law = getattr(self, name)
            if not isinstance(law, LengthLaw):
                fail(f"TokenBatches: {name} = {law!r} is not a LengthLaw; pass one")
        if not isinstance(self.per_token, bool):
            fail(f"TokenBatches: per_token = {self.per_token!r} is not True or False; pass one")
        if self.kl is not None:
            real(self, "kl")
        if self.entropy is not None:
            real(self, "entropy", low=0.0)
        if self.zero_groups + self.solved_groups > self.prompts:
            fail(
                f"TokenBatches: zero_groups + solved_groups = "
                f"{self.zero_groups + self.solved_groups} is above prompts = {self.prompts}; "
                "lower them"
            )
        missing = self.missing_experts + self.missing_rollouts
        if missing > 1.0:
            fail(
                f"TokenBatches: missing_experts + missing_rollouts = {missing!r} is above 1; a "
                "batch never lacks both, so lower them"
            )

    @property
    def mixed_groups(self) -> int:
        """Groups with at least one success and one failure, in every batch with rollouts."""
        return self.prompts - self.zero_groups - self.solved_groups

    @property
    def width(self) -> int:
        """T, the longest response that either law can give."""
        return max(self.rollout_lengths.high, self.expert_lengths.high)

    @property
    def success_counts(self) -> tuple[IntArray, FloatArray]:
        """K = 1 .. G - 1 and its exact probability in a mixed group."""
        k = np.arange(1, self.group_size, dtype=np.int64)
        odds = np.log(self.pass_rate) - np.log1p(-self.pass_rate)
        # log C(G, K), up to the common factor that the conditioning divides out.
        ratios = np.log((self.group_size - k + 1.0) / k)
        log = np.cumsum(ratios) + k * odds
        weight = np.exp(log - log.max())
        return k, weight / weight.sum()

    def batch(self, rng: np.random.Generator) -> Batch:
        """One batch: the rollouts, group after group, then the demonstrations."""
        chance = rng.random()
        parts = []
        if chance >= self.missing_experts + self.missing_rollouts or chance < self.missing_experts:
            parts.append(self._rollouts(rng))
        if chance >= self.missing_experts:
            parts.append(self._demonstrations(rng))
        joined: dict[str, Any] = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        mask: BoolArray = np.arange(self.width) < joined.pop("length")[:, None]
        nll: FloatArray = joined.pop("nll")
        advantages: FloatArray = joined.pop("advantages")
        if self.per_token:
            advantages = self._pad(rng, np.repeat(advantages[:, None], self.width, axis=1), mask)
        return Batch(
            self._pad(rng, -nll, mask), mask, advantages, **joined, kl=self.kl, entropy=self.entropy
        )

    def rewards(self, rng: np.random.Generator) -> FloatArray:
        """Rewards of the rollouts of one batch, [P, G], 0 or 1; groups and members shuffled."""
        counts, share = self.success_counts
        ranks = np.searchsorted(np.cumsum(share)[:-1], rng.random(self.mixed_groups), side="right")
        fixed = np.repeat([0, self.group_size], [self.zero_groups, self.solved_groups])
        successes = rng.permutation(np.concatenate([fixed, counts[ranks]]))
        rewards = (np.arange(self.group_size) < successes[:, None]).astype(np.float64)
        return rng.permuted(rewards, axis=1)

    def _rollouts(self, rng: np.random.Generator) -> dict[str, Any]:
        rewards = self.rewards(rng).reshape(-1)
        groups = np.repeat(np.arange(self.prompts, dtype=np.int64), self.group_size)
        mean = np.where(rewards > 0.0, self.nll_success, self.nll_failure)
        return {
            "length": self.rollout_lengths.draw(rng, rewards.size),
            "nll": mean[:, None] * rng.standard_exponential((rewards.size, self.width)),
            "advantages": group_advantages(rewards, groups, convention=self.convention),
            "is_expert": np.zeros(rewards.size, dtype=np.bool_),
            "group_ids": groups,
            "rewards": rewards,
        }

    def _demonstrations(self, rng: np.random.Generator) -> dict[str, Any]:
        n = self.experts
        length = self.expert_lengths.draw(rng, n)
        side = np.where(rng.random(n) < 0.5, -1.0, 1.0)
        mean = self.nll_expert * (1.0 + self.nll_spread * side)
        nll = mean[:, None] * rng.standard_exponential((n, self.width))
        wrong = rng.random(n) < self.mistake_rate
        place = np.floor(rng.random(n) * length).astype(np.int64)
        nll[np.arange(n), place] += self.mistake_nll * wrong
        return {
            "length": length,
            "nll": nll,
            "advantages": np.zeros(n),
            "is_expert": np.ones(n, dtype=np.bool_),
            "group_ids": np.arange(n, dtype=np.int64) % self.prompts,
            "rewards": 1.0 - wrong,
        }

    def _pad(self, rng: np.random.Generator, values: FloatArray, mask: BoolArray) -> FloatArray:
        if self.padding == "random":
            return np.where(mask, values, -100.0 * rng.standard_exponential(values.shape))
        return np.where(mask, values, np.nan if self.padding == "nan" else 0.0)
