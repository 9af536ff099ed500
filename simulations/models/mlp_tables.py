"""Constant tables of the MLP policy: its one-hot contexts, and every sequence of its task."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gac_ref._checks import frozen
from gac_ref._typing import FloatArray, IntArray

if TYPE_CHECKING:
    from simulations.models.mlp import MLPPolicy

__all__ = ["SequencePaths", "context_rows", "sequence_paths"]


class SequencePaths(NamedTuple):
    """All Q = V^T sequences of a prompt.

    Args:
        codes: State-action codes within the prompt, [Q, T].
        pairs: Places of their pairs of codes in a flattened [S V, S V] matrix, [Q, T * T].
        at_level: Whether a sequence ends at a reward level, [X, L, Q], 0 or 1.
        by_expert: The expert's chance of each sequence, [X, 1, Q].

    Examples:
        >>> from simulations.models.mlp import MLPPolicy
        >>> sequence_paths(MLPPolicy()).by_expert.sum(axis=-1).round(12).tolist()
        [[1.0], [1.0]]
    """

    codes: IntArray
    pairs: IntArray
    at_level: FloatArray
    by_expert: FloatArray


@lru_cache(maxsize=64)
def sequence_paths(policy: MLPPolicy) -> SequencePaths:
    """The sequences of a policy's task; cached, read-only.

    Examples:
        >>> from simulations.models.mlp import MLPPolicy
        >>> sequence_paths(MLPPolicy(vocabulary=2, horizon=3)).codes.shape
        (8, 3)
    """
    shape = policy.shape
    actions = np.indices((shape.actions,) * shape.horizon).reshape(shape.horizon, -1).T
    states = np.zeros_like(actions)
    for t in range(1, shape.horizon):
        states[:, t] = shape.block(t).start + actions[:, t - 1]
    codes = states * shape.actions + actions
    width = shape.states * shape.actions
    pairs = codes[:, :, None] * width + codes[:, None, :]
    matches = (actions == policy.targets()[:, None, :]).sum(axis=-1)
    level = policy.level_of_count()[matches]
    at_level = level[:, None, :] == np.arange(len(policy.levels))[:, None]
    expert = policy.expert().reshape(shape.prompts, width)[:, codes].prod(axis=-1)
    return SequencePaths(
        frozen(codes),
        frozen(pairs.reshape(len(codes), -1)),
        frozen(at_level.astype(np.float64)),
        frozen(expert[:, None, :]),
    )


@lru_cache(maxsize=64)
def context_rows(policy: MLPPolicy) -> FloatArray:
    """Which rows of the embedding each state adds up, [X S, F], 0 or 1; cached, read-only.

    Examples:
        >>> from simulations.models.mlp import MLPPolicy
        >>> context_rows(MLPPolicy()).sum(axis=-1).tolist() == [3.0] * 14
        True
    """
    shape = policy.shape
    table = np.zeros((shape.prompts, shape.states, policy.features))
    each = np.arange(shape.prompts)
    table[each, :, each] = 1.0
    for t in range(shape.horizon):
        table[:, shape.block(t), shape.prompts + t] = 1.0
    first_token = shape.prompts + shape.horizon
    table[:, 0, first_token + shape.actions] = 1.0
    for t in range(1, shape.horizon):
        table[:, shape.block(t), first_token : first_token + shape.actions] = np.eye(shape.actions)
    return frozen(table.reshape(-1, policy.features))
