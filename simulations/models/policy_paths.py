"""Sequences of tokens sampled in many tables at once, and sums over the pairs that they use.

Here and in everything that is sampled trajectories are the last axes, as they lie in memory. A
*pair* is the place of a state and an action in one table that lies by column, and a *place* is the
same among the tables of all trajectories, ``pair * lanes + lane``, one lane a trajectory (see
:mod:`simulations.models.layout`). State-action codes, which models and observations speak of, count
by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gac_ref._typing import AnyArray, FloatArray, IntArray
from simulations.models.layout import tables
from simulations.models.policy_tables import Shape
from simulations.models.softmax import select

__all__ = ["codes_of", "over_controllers", "places_of", "sample_paths", "table_weights"]


def over_controllers(values: AnyArray, lead: Sequence[int]) -> AnyArray:
    """Values of the seeds, [K..., n], to broadcast with ``[K..., *lead]``, lead = (..., n).

    Examples:
        >>> over_controllers(np.zeros((4, 3)), (2, 3)).shape
        (4, 1, 3)
    """
    return values.reshape(*values.shape[:-1], *(1,) * (len(lead) - 1), values.shape[-1])


def places_of(pairs: IntArray, lead: Sequence[int]) -> IntArray:
    """Places of the pairs, ``[..., *lead]`` or what broadcasts with it.

    Examples:
        >>> places_of(np.array([[0, 0], [5, 5]]), (2,)).tolist()
        [[0, 1], [10, 11]]
    """
    lanes = math.prod(lead)
    return np.asarray(pairs * lanes + np.arange(lanes).reshape(lead))


def codes_of(pairs: IntArray, shape: Shape) -> IntArray:
    """State-action codes of the pairs, of the same shape.

    Examples:
        >>> codes_of(np.arange(4), Shape.of(prompts=2, horizon=1, actions=2)).tolist()
        [0, 2, 1, 3]
    """
    actions, row = np.divmod(pairs, shape.prompts * shape.states)
    return np.asarray(row * shape.actions + actions)


def sample_paths(
    edges: FloatArray, start: IntArray, uniforms: FloatArray, shape: Shape, lanes: int = 1
) -> tuple[IntArray, IntArray]:
    """Sequences sampled token by token by inverse CDF: their places and actions, [T, N...].

    Args:
        edges: Running sums from :func:`simulations.models.softmax.cumulative`, flat.
        start: Place of the first action in each sequence's first state; broadcasts with [N...].
        uniforms: In [0, 1); broadcasts with [T, N...].
        shape: The table's extents.
        lanes: How many tables there are; with one, places are pairs.

    Examples:
        >>> shape = Shape.of(prompts=1, horizon=2, actions=2)
        >>> edges, uniforms = np.full(6, 0.5), np.array([[0.9, 0.1], [0.1, 0.9]])
        >>> places, actions = sample_paths(edges, np.array([0, 0]), uniforms, shape)
        >>> places.T.tolist(), actions.T.tolist()
        ([[3, 2], [0, 4]], [[1, 0], [0, 1]])
    """
    extent = np.broadcast_shapes(start.shape, uniforms.shape[1:])
    places = np.empty((shape.horizon, *extent), dtype=np.int64)
    actions = np.empty(places.shape, dtype=np.min_scalar_type(shape.actions))
    column = len(edges) // shape.actions
    first = start
    for t, uniform in enumerate(uniforms):
        action = select(edges, first, uniform, shape.actions)
        actions[t] = action
        np.multiply(action, column, out=places[t])
        places[t] += first
        if t + 1 < shape.horizon:  # the next state: its position's first plus this token
            action *= lanes
            action += start + shape.block(t + 1).start * lanes
            first = action
    return places, actions


def table_weights(
    places: IntArray, weights: FloatArray, shape: Shape, lead: Sequence[int]
) -> FloatArray:
    """Sum of the sequences' weights over each pair they use, ``[*lead, X, S, V]``, by column.

    Args:
        places: ``[T, N, *lead]``.
        weights: One a sequence; broadcasts with ``[N, *lead]``.
        shape: The table's extents.
        lead: The trajectories' axes.

    Examples:
        >>> shape = Shape.of(prompts=1, horizon=1, actions=3)
        >>> places = np.array([[[0], [2], [2]]])
        >>> table_weights(places, np.array([[1.0], [0.5], [0.5]]), shape, (1,)).tolist()
        [[[[1.0, 0.0, 1.0]]]]
    """
    spread = np.broadcast_to(weights, places.shape).ravel()
    # bincount adds in order, and a trajectory's bins are its own: the grouping cannot matter.
    size = math.prod(shape.table) * math.prod(lead)
    sums = np.bincount(places.ravel(), weights=spread, minlength=size)
    return np.asarray(tables(sums.reshape(shape.actions, *shape.table[:2], *lead)))
