r"""Policies whose parameters are the logits themselves, one for each state and action.

A sequence visits each position once, and states of different positions are different, so the
scores of its tokens live in disjoint blocks of theta. Hence :math:`|\nabla \ln \pi(\tau)|^2` is a
sum over tokens of :math:`|e_a - p|^2 = 1 - 2 p_a + |p|^2`, and its mean needs only the expected
uses of the pairs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from gac_ref._typing import FloatArray
from simulations.folds import row_sum, tree_sum
from simulations.models.layout import by_column, by_entry
from simulations.models.policy import PolicyModel
from simulations.models.softmax import log_softmax

__all__ = ["TabularPolicy"]


@dataclass(frozen=True, kw_only=True)
class TabularPolicy(PolicyModel):
    """The table [X, S, V] is theta [d] reshaped; fields as :class:`PolicyModel`."""

    @property
    def dimension(self) -> int:
        """X S V."""
        prompts, _, states, actions = self.shape
        return prompts * states * actions

    def logits(self, theta: FloatArray) -> FloatArray:
        """A view of theta, [..., X, S, V]."""
        prompts, _, states, actions = self.shape
        return theta.reshape(*theta.shape[:-1], prompts, states, actions)

    def laid(self, theta: FloatArray) -> FloatArray:
        """Trajectories fastest, as the tables lie."""
        return by_column(theta, axes=1)

    def as_read(self, op: np.ufunc, *tables: FloatArray) -> FloatArray:
        """As theta lies: all that is left to do is elementwise."""
        return by_entry(op, *tables)

    def pullback(self, theta: FloatArray, table: FloatArray) -> FloatArray:
        """The table flattened, [..., d]."""
        return table.reshape(*table.shape[:-3], self.dimension)

    def scores(self, theta: FloatArray) -> FloatArray:
        """e_a - p in the block of the pair's state, 0 elsewhere, [..., X, S, V, d]."""
        p = np.exp(log_softmax(self.logits(theta)))
        prompts, _, states, actions = self.shape
        rows = prompts * states
        lead = theta.shape[:-1]
        difference = np.eye(actions) - p.reshape(*lead, rows, 1, actions)
        table = np.zeros((*lead, rows, actions, rows, actions))
        each = np.arange(rows)
        table[..., each, :, each, :] = np.moveaxis(difference, -3, 0)
        return table.reshape(*lead, prompts, states, actions, self.dimension)

    def score_gram(self, theta: FloatArray, joint: FloatArray, scores: FloatArray) -> FloatArray:
        """Products of the tables: the parameters are the logits, [..., X, R, R]."""
        count = scores.shape[-3]
        gram = np.empty((*scores.shape[:-2], count))
        for a, b in itertools.combinations_with_replacement(range(count), 2):
            product = _over_pairs(scores[..., a, :, :] * scores[..., b, :, :])
            gram[..., a, b] = gram[..., b, a] = product
        return gram

    def score_squares(self, theta: FloatArray, p: FloatArray, joint: FloatArray) -> FloatArray:
        """Expected uses times ``1 - 2 p + |p|^2``, [..., X, L + 1]."""
        size = 1.0 - 2.0 * p + row_sum(p * p)[..., None]
        return _over_pairs(joint * size[..., None, :, :])


def _over_pairs(values: FloatArray) -> FloatArray:
    """Sum over a prompt's states and actions, [..., S, V] to [...]."""
    return tree_sum(row_sum(values))
