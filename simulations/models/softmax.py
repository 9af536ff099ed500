r"""Softmax in logs, and sampling from it by inverse CDF: what every policy here shares.

All functions act on the last axis and broadcast over the others. Sums run over the last axis of
a fresh array only, so the bits of one row do not depend on how many rows there are.
"""

from __future__ import annotations

import math

import numpy as np

from gac_ref._typing import FloatArray, IntArray

__all__ = [
    "choose",
    "cumulative",
    "entropy",
    "inverse_cdf",
    "kl_divergence",
    "log_softmax",
    "row_sum",
    "score_table",
    "softmax",
]

SHORT = 16
"""Up to here adding columns is faster than NumPy's reduction over a short last axis."""


def row_sum(values: FloatArray) -> FloatArray:
    """Sum over the last axis, which is usually short and always at least 1 long.

    The order of the additions depends on the length of that axis only.

    Args:
        values: [..., V].

    Returns:
        [...], float64.

    Examples:
        >>> row_sum(np.array([[1.0, 2.0, 3.0]])).tolist()
        [6.0]
    """
    width = values.shape[-1]
    if width > SHORT:
        return np.asarray(np.ascontiguousarray(values).sum(axis=-1))
    total = values[..., 0].copy()
    for v in range(1, width):
        total += values[..., v]
    return total


def _row_max(values: FloatArray) -> FloatArray:
    if values.shape[-1] > SHORT:
        return np.asarray(values.max(axis=-1))
    highest = values[..., 0].copy()
    for v in range(1, values.shape[-1]):
        np.maximum(highest, values[..., v], out=highest)
    return highest


def log_softmax(logits: FloatArray) -> FloatArray:
    r"""Log-probabilities :math:`z_v - \max z - \ln \sum_w e^{z_w - \max z}`.

    Args:
        logits: z, [..., V], finite, any size: the largest exponent is 0, so nothing overflows.

    Returns:
        Natural logs, [..., V], <= 0 and finite.

    Examples:
        >>> log_softmax(np.array([1000.0, 1000.0])).round(6).tolist()
        [-0.693147, -0.693147]
    """
    shifted = logits - _row_max(logits)[..., None]
    # The largest term is 1, so the sum is >= 1 and its log >= 0: no result rounds above 0.
    return np.asarray(shifted - np.log(row_sum(np.exp(shifted)))[..., None])


def softmax(logits: FloatArray) -> FloatArray:
    r"""Probabilities :math:`e^{z_v - \max z} / \sum_w e^{z_w - \max z}`.

    Args:
        logits: z, [..., V], finite.

    Returns:
        [..., V], each row summing to 1 up to rounding.

    Examples:
        >>> softmax(np.array([1000.0, 1000.0])).tolist()
        [0.5, 0.5]
    """
    width = logits.shape[-1]
    # Columns first: V contiguous passes over the rows beat one over short rows.
    columns = np.array(logits.reshape(-1, width).T, order="C")
    highest = columns[0].copy()
    for v in range(1, width):
        np.maximum(highest, columns[v], out=highest)
    columns -= highest
    np.exp(columns, out=columns)
    total = columns[0].copy()
    for v in range(1, width):
        total += columns[v]
    columns /= total
    return np.ascontiguousarray(columns.T).reshape(logits.shape)


def entropy(logp: FloatArray) -> FloatArray:
    r"""Entropy :math:`-\sum_v p_v \ln p_v` in nats, [...], >= 0.

    Examples:
        >>> float(entropy(np.log([0.5, 0.5])).round(12)) == float(np.log(2.0).round(12))
        True
    """
    return -row_sum(np.exp(logp) * logp)


def kl_divergence(logp: FloatArray, logq: FloatArray) -> FloatArray:
    r"""Kullback-Leibler divergence :math:`\sum_v p_v (\ln p_v - \ln q_v)` in nats, [...].

    Computed as :math:`\sum_v p_v (e^d - 1 - d)` with :math:`d = \ln q_v - \ln p_v`, which is the
    same for normalised p and q, has no cancelling terms and is never negative.

    Args:
        logp: [..., V], normalised natural logs, finite.
        logq: The same; it broadcasts with `logp`.

    Examples:
        >>> p, q = np.log([0.5, 0.5]), np.log([0.75, 0.25])
        >>> round(float(kl_divergence(p, q)), 12) == round(float(np.log(2 / np.sqrt(3))), 12)
        True
        >>> float(kl_divergence(p, p))
        0.0
    """
    d = logq - logp
    # p e^d is q: the product of a tiny p and a huge e^d would be 0 times infinity. Where d is
    # large the two forms agree; where it is small expm1 keeps the digits.
    p = np.exp(logp)
    small = np.abs(d) < 1.0
    near = p * (np.expm1(np.where(small, d, 0.0)) - d)
    return row_sum(np.where(small, near, np.exp(logq) - p - p * d))


def score_table(joint: FloatArray, p: FloatArray) -> FloatArray:
    r"""Gradient of :math:`\sum_{s,v} J_{sv} \ln p_{sv}` with respect to the logits.

    .. math:: J_{sv} - p_{sv} \sum_w J_{sw}

    Args:
        joint: J, weights of the state-action pairs, [..., V].
        p: Probabilities, [..., V].

    Returns:
        [..., V]; each row sums to 0.

    Examples:
        >>> score_table(np.array([1.0, 0.0]), np.array([0.25, 0.75])).tolist()
        [0.75, -0.75]
    """
    total = row_sum(joint)
    out: FloatArray = np.empty(np.broadcast_shapes(joint.shape, p.shape))
    for v in range(out.shape[-1]):  # by column: a broadcast over a short last axis costs twice
        np.subtract(joint[..., v], total * p[..., v], out=out[..., v])
    return out


def inverse_cdf(p: FloatArray, uniform: FloatArray) -> IntArray:
    """The outcome that a uniform number selects: how many cumulative sums it has reached.

    The last cumulative sum is never looked at, so rounding cannot select a value beyond V - 1.

    Args:
        p: Probabilities, [..., V].
        uniform: In [0, 1), [...]; broadcasts with p's leading axes.

    Returns:
        Outcomes in 0 .. V - 1, [...].

    Examples:
        >>> inverse_cdf(np.array([0.25, 0.75]), np.array([0.0, 0.2499, 0.25, 0.99])).tolist()
        [0, 0, 1, 1]
    """
    edges = cumulative(p)
    rows = np.arange(math.prod(p.shape[:-1]), dtype=np.int64).reshape(p.shape[:-1])
    return choose(edges, rows, uniform)


def cumulative(p: FloatArray) -> FloatArray:
    """The first V - 1 cumulative sums of each row, [V - 1, rows]; rows are the leading axes.

    Examples:
        >>> cumulative(np.array([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]])).tolist()
        [[0.5, 0.0], [0.75, 0.5]]
    """
    width = p.shape[-1]
    edges = np.array(p.reshape(-1, width)[:, : width - 1].T, order="C")
    for v in range(1, width - 1):
        edges[v] += edges[v - 1]
    return edges


def choose(edges: FloatArray, rows: IntArray, uniform: FloatArray) -> IntArray:
    """As :func:`inverse_cdf`, with each number's row given by its index.

    Args:
        edges: What `cumulative` gave, [V - 1, rows].
        rows: Index of the row, [N...].
        uniform: In [0, 1); broadcasts with `rows`.

    Returns:
        Outcomes, of the broadcast shape.

    Examples:
        >>> edges = cumulative(np.array([[0.5, 0.5], [0.1, 0.9]]))
        >>> choose(edges, np.array([1, 0, 1]), np.array([0.2, 0.2, 0.05])).tolist()
        [1, 0, 0]
    """
    chosen = np.zeros(np.broadcast_shapes(rows.shape, uniform.shape), dtype=np.int64)
    # V - 1 passes over the numbers: a reduction over a short last axis would cost more.
    for edge in edges:
        chosen += uniform >= edge.take(rows)
    return chosen
