"""Group-relative advantages and the hybrid loss of the plain port."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.advantages import CONVENTIONS, AdvantageConvention
from gac_ref.losses import AGGREGATIONS, Aggregation

__all__ = ["Side"]

Values = Mapping[str, Any]
Outputs = dict[str, Any]


class Side(ABC):
    """The two stages beside the controller; the conventions are read as data."""

    total: Any
    wide: Any

    @abstractmethod
    def masked(self, x: AnyArray, mask: AnyArray) -> AnyArray:
        """Zero outside the mask."""

    @abstractmethod
    def token_advantages(self, v: Values) -> AnyArray:
        """Advantages [B, T]."""

    @abstractmethod
    def phi(self, logprob: AnyArray) -> AnyArray:
        """The token weight."""

    # Advantages.

    def advantages(self, v: Values) -> Outputs:
        """Group-relative advantages."""
        rule = self.convention(v)
        rewards, groups, expert = v["rewards"], v["group_ids"], v["is_expert"]
        counted = np.ones_like(expert) if rule.experts == "pooled" else ~expert
        advantages = np.zeros_like(rewards)
        for group in np.unique(groups).tolist():
            members = groups == group
            pool = rewards[members & counted]
            if pool.size:
                whole = rewards[counted] if rule.spread == "batch" else pool
                advantages[members] = self.relative(rule, rewards[members], pool, whole)
        if rule.experts == "zero":
            advantages[expert] = 0.0
        return {"group_advantages": advantages}

    def convention(self, v: Values) -> AdvantageConvention:
        """The convention, by name or as it is."""
        named = v["convention"]
        return named if isinstance(named, AdvantageConvention) else CONVENTIONS[named]

    def relative(
        self, rule: AdvantageConvention, rewards: AnyArray, pool: AnyArray, whole: AnyArray
    ) -> AnyArray:
        """Advantages of one group against its `pool`, by the spread of `whole`."""
        if rule.singleton == "raw" and pool.size == 1:
            return self.divided(rule, rewards, self.wide(1.0))
        return self.divided(rule, self.centred(rewards, pool), self.group_spread(rule, whole))

    def centred(self, rewards: AnyArray, pool: AnyArray) -> AnyArray:
        """Rewards less the mean of the pool, from its first value: equal rewards give 0."""
        return np.asarray((rewards - pool[0]) - self.total(pool - pool[0]) / self.wide(pool.size))

    def group_spread(self, rule: AdvantageConvention, values: AnyArray) -> Any:
        """The standard deviation that divides."""
        deviation = self.centred(values, values)
        freedom = self.wide(max(values.size - self.ddof(rule), 1))
        variance = max(self.total(deviation * deviation) / freedom, self.variance_floor(rule))
        spread = self.wide(math.sqrt(variance))
        return self.wide(1.0) if rule.no_spread == "unit" and spread == 0.0 else spread

    def ddof(self, rule: AdvantageConvention) -> int:
        """Degrees of freedom of the convention."""
        return rule.ddof

    def variance_floor(self, rule: AdvantageConvention) -> float:
        """Floor of the variance."""
        return rule.variance_floor

    def divided(self, rule: AdvantageConvention, centred: AnyArray, spread: Any) -> AnyArray:
        """Centred rewards over the spread and eps, where the convention divides."""
        return centred / (spread + self.wide(rule.eps)) if rule.divides else centred

    # Loss.

    def loss(self, v: Values) -> Outputs:
        """The hybrid loss and its gradient."""
        expert = v["is_expert"][:, None]
        mask = self.loss_mask(v)
        mu = self.wide(v["mu"])
        with np.errstate(over="ignore", invalid="ignore"):
            sft_loss, sft_slope = self.sft_terms(v)
            rl_loss, rl_slope = self.rl_terms(v)
            sft = self.weights(v, "sft", mask & expert)
            rl = self.weights(v, "rl", mask & ~expert)
            value = self.mixed(
                mu,
                self.summed(rl, rl_loss, mask & ~expert),
                self.summed(sft, sft_loss, mask & expert),
            )
            gradient = self.mixed(
                mu,
                self.chosen(rl * rl_slope, mask & ~expert),
                self.chosen(sft * sft_slope, mask & expert),
            )
        return {"loss_value": value, "loss_grad": gradient}

    def loss_mask(self, v: Values) -> AnyArray:
        """The tokens that count."""
        return np.asarray(v["response_mask"])

    def mixed(self, mu: Any, rl: Any, sft: Any) -> Any:
        """The mixture of two values, or of two gradients."""
        return (self.wide(1.0) - mu) * rl + mu * sft

    def chosen(self, x: AnyArray, mask: AnyArray) -> AnyArray:
        """Selected, whatever the controller's masking: the losses never read the padding."""
        return np.where(mask, x, self.wide(0.0))

    def summed(self, weights: AnyArray, terms: AnyArray, mask: AnyArray) -> Any:
        """The weighted sum over the tokens."""
        return self.total(self.chosen(weights * terms, mask).reshape(-1))

    def sft_terms(self, v: Values) -> tuple[AnyArray, AnyArray]:
        """Token loss and slope of the demonstrations."""
        logprob = v["logprob"]
        if v["sft"] == "nll":
            return -logprob, np.full_like(logprob, -1.0)
        phi = self.loss_phi(logprob)
        return -phi * logprob, -phi

    def loss_phi(self, logprob: AnyArray) -> AnyArray:
        """The detached token weight."""
        return np.exp(logprob) * -np.expm1(logprob)

    def rl_terms(self, v: Values) -> tuple[AnyArray, AnyArray]:
        """Token loss and slope of the rollouts: the clipped surrogate."""
        gain = self.token_advantages(v)
        ratio = self.ratio(v)
        low, high = self.wide(1.0 - v["clip_low"]), self.wide(1.0 + v["clip_high"])
        bounded = np.clip(ratio, low, high)
        loss = np.maximum(-gain * ratio, -gain * bounded)
        acts = self.clip_acts(gain, ratio, low, high)
        return loss, np.where(acts, self.wide(0.0), -gain * ratio)

    def ratio(self, v: Values) -> AnyArray:
        """Importance ratio of each token."""
        return np.asarray(np.exp(v["logprob"] - v["old_logprob"]))

    def clip_acts(self, gain: AnyArray, ratio: AnyArray, low: Any, high: Any) -> AnyArray:
        """Where the clip stops the gradient."""
        return np.asarray(((gain >= 0.0) & (ratio > high)) | ((gain < 0.0) & (ratio < low)))

    def weights(self, v: Values, branch: str, mask: AnyArray) -> AnyArray:
        """Token weights of one branch, [B, 1]."""
        rule = AGGREGATIONS[v[f"{branch}_aggregation"]]
        count = self.normalizer(v, branch, mask) + rule.count_eps
        row = self.row_weight(rule, np.count_nonzero(mask, axis=-1))
        return (row / (count if count > 0.0 else 1.0)).astype(self.wide)[:, None]

    def normalizer(self, v: Values, branch: str, mask: AnyArray) -> float:
        """The count of the whole batch."""
        del mask
        return float(v[f"{branch}_normalizer"])

    def row_weight(self, rule: Aggregation, lengths: AnyArray) -> AnyArray:
        """The weight of each row's tokens."""
        if not rule.row_mean:
            return np.ones(len(lengths))
        return 1.0 / np.where(lengths > 0, lengths + rule.row_eps, 1.0)
