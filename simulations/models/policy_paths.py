"""Sequences of tokens sampled in many tables at once, and sums over the pairs that they use.

The tables of many trajectories lie side by side, [X, S, V, lanes], one lane a trajectory. A *place*
is an index into that array flattened, ``code * lanes + lane``; with one lane it is the state-action
code itself. Here and in everything that is sampled trajectories are the last axes, as they lie in
memory (see :mod:`simulations.models.layout`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gac_ref._typing import AnyArray, FloatArray, IntArray
from simulations.models.layout import back
from simulations.models.policy_tables import Shape
from simulations.models.softmax import select

__all__ = ["over_controllers", "places_of", "sample_paths", "table_weights"]


def over_controllers(values: AnyArray, lead: Sequence[int]) -> AnyArray:
    """Values of the seeds, [K..., n], so that they broadcast with [K..., *lead], lead = (..., n).

    Examples:
        >>> over_controllers(np.zeros((4, 3)), (2, 3)).shape
        (4, 1, 3)
    """
    return values.reshape(*values.shape[:-1], *(1,) * (len(lead) - 1), values.shape[-1])


def places_of(codes: IntArray, lead: Sequence[int]) -> IntArray:
    """Places of the codes, [..., *lead] or what broadcasts with it, among the tables of all lanes.

    Examples:
        >>> places_of(np.array([[0, 0], [5, 5]]), (2,)).tolist()
        [[0, 1], [10, 11]]
    """
    lanes = math.prod(lead)
    return np.asarray(codes * lanes + np.arange(lanes).reshape(lead))


def sample_paths(
    edges: FloatArray, start: IntArray, uniforms: FloatArray, shape: Shape, lanes: int = 1
) -> IntArray:
    """Sequences sampled token by token by inverse CDF; places [T, N, ...].

    Args:
        edges: Running sums of the probabilities, from :func:`simulations.models.softmax.cumulative`,
            [X, S, V, lanes] flattened.
        start: Place of the first action in each sequence's first state, [N, ...].
        uniforms: In [0, 1), [T, N, ...].
        shape: The table's extents.
        lanes: How many tables lie side by side.

    Examples:
        >>> shape = Shape.of(prompts=1, horizon=2, actions=2)
        >>> edges, uniforms = np.full(6, 0.5), np.array([[0.9, 0.1], [0.1, 0.9]])
        >>> sample_paths(edges, np.array([0, 0]), uniforms, shape).T.tolist()
        [[1, 4], [0, 3]]
    """
    places = np.empty((shape.horizon, *start.shape), dtype=np.int64)
    first = start
    for t, uniform in enumerate(uniforms):
        if t:  # the state of a position is its block's first plus the action before
            first = (places[t - 1] - first) * shape.actions
            first += start + shape.block(t).start * shape.actions * lanes
        select(edges, first, uniform, shape.actions, lanes, out=places[t])
    return places


def table_weights(
    places: IntArray, weights: FloatArray | None, shape: Shape, lead: Sequence[int]
) -> AnyArray:
    """Sum of the sequences' weights over each pair that they use, [*lead, X, S, V].

    Args:
        places: [T, N, *lead].
        weights: One a sequence, [N, *lead]; None counts the uses.
        shape: The table's extents.
        lead: The trajectories' axes.

    Examples:
        >>> shape = Shape.of(prompts=1, horizon=1, actions=3)
        >>> places = np.array([[[0], [2], [2]]])
        >>> table_weights(places, np.array([[1.0], [0.5], [0.5]]), shape, (1,)).tolist()
        [[[[1.0, 0.0, 1.0]]]]
    """
    spread = None if weights is None else np.broadcast_to(weights, places.shape).ravel()
    # bincount adds in order, and a trajectory's bins are its own: the grouping cannot matter.
    size = math.prod(shape.table) * math.prod(lead)
    table = np.bincount(places.ravel(), weights=spread, minlength=size)
    return back(table.reshape(*shape.table, *lead), 3)
