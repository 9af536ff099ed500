"""The gradients of a sampled batch: weights of the state-action pairs, and one score of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from simulations.folds import row_sum
from simulations.models.layout import by_column
from simulations.models.policy_draw import Drawn
from simulations.models.policy_paths import table_weights
from simulations.models.policy_sampling import Rollouts, sample_rollouts

__all__ = ["PolicyBatch", "sampled_batch"]


class PolicyBatch(NamedTuple):
    r"""A step's demonstrations and rollouts at one theta; every gradient is linear in the weights.

    Args:
        theta: [..., n, d].
        p: Probabilities at theta, [..., n, X, S, V], by column.
        rollouts: The rollouts.
        drawn: What the step's random numbers select.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit, rng = Bandit(contexts=1, arms=2), np.random.default_rng(0)
        >>> theta, drawn = np.zeros((3, 2)), Drawn(bandit, *bandit.draw(rng, 3, 0))
        >>> batch = sampled_batch(theta, np.full((3, 1, 1, 2), 0.5), drawn)
        >>> grad_s, grad_r = batch.gradients()
        >>> both = 0.5 * (0.25 * grad_s + 0.75 * grad_r)
        >>> bool(np.allclose(batch.move(np.full(3, 0.25), 0.5), both))
        True
    """

    theta: FloatArray
    p: FloatArray
    rollouts: Rollouts
    drawn: Drawn

    def gradients(self, controllers: Sequence[int] | None = None) -> tuple[FloatArray, FloatArray]:
        """Sampled gradients of both branches, SFT and RL, [..., n, d].

        Args:
            controllers: Places on the first of two leading axes, theirs alone; None for all.
        """
        if controllers is not None and not controllers:
            none = np.empty((0, *self.theta.shape[1:]))
            return none, none
        weights_s, weights_r = self._of_experts(1.0), self._of_rollouts(1.0)
        here = self
        if controllers is not None:
            chosen = list(controllers)
            here = self._at(chosen)
            weights_s, weights_r = by_column(weights_s[chosen]), by_column(weights_r[chosen])
        return here._pulled_back(weights_s), here._pulled_back(weights_r)

    def move(self, mu: FloatArray, rate: float, phi_weighted: Sequence[int] = ()) -> FloatArray:
        r""":math:`\eta\,(\mu G_s + (1 - \mu) G_r)`, [..., n, d], by one backward pass.

        Args:
            mu: Weight on SFT, [..., n].
            rate: Learning rate.
            phi_weighted: Places of the controllers whose SFT tokens are weighted by phi.
        """
        weights = self._of_experts(rate * mu)
        for c in phi_weighted:
            weights[c] *= _phi(self.p[c])
        weights += self._of_rollouts(rate * (1.0 - mu))
        return self._pulled_back(weights)

    def _at(self, chosen: list[int]) -> PolicyBatch:
        """The demonstrations as these controllers see them."""
        return self._replace(theta=self.theta[chosen], p=by_column(self.p[chosen]))

    def _of_experts(self, scale: FloatArray | float) -> FloatArray:
        """What `scale` times the SFT gradient weights each pair with, [..., n, X, S, V]."""
        share = np.asarray(scale * (-1.0 / self.drawn.model.experts))[..., None, None, None]
        weights = np.empty_like(self.p)
        np.multiply(self.drawn.expert_uses, share, out=weights)
        return weights

    def _of_rollouts(self, scale: FloatArray | float) -> FloatArray:
        """As `_of_experts`, of the RL gradient."""
        model = self.drawn.model
        share = scale * (-1.0 / (model.groups * model.group_size))
        weights = share * self.rollouts.advantages
        return table_weights(self.rollouts.places, weights, model.shape, self.p.shape[:-3])

    def _pulled_back(self, weights: FloatArray) -> FloatArray:
        """Gradient of the weighted log-probabilities."""
        model, expected = self.drawn.model, row_sum(weights)[..., None] * self.p
        return model.pullback(self.theta, model.as_read(np.subtract, weights, expected))


def sampled_batch(theta: FloatArray, p: FloatArray, drawn: Drawn) -> PolicyBatch:
    """The batch that a step's random numbers select under the probabilities p [..., n, X, S, V]."""
    return PolicyBatch(theta, p, sample_rollouts(p, drawn), drawn)


def _phi(p: AnyArray) -> AnyArray:
    return p * (1.0 - p)
