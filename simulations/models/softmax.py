r"""Softmax in logs, and sampling from it by inverse CDF: what every policy here shares.

All functions act on the last axis and broadcast over the others, and their sums are those of
:mod:`simulations.folds`: the bits of a row depend on nothing but the row. Speed depends on how it
lies in memory: see :mod:`simulations.models.layout`.
"""

from __future__ import annotations

import math

import numpy as np

from gac_ref._typing import FloatArray, IntArray
from simulations.folds import row_max, row_sum

__all__ = [
    "choose",
    "cumulative",
    "entropy",
    "inverse_cdf",
    "kl_divergence",
    "log_and_softmax",
    "log_softmax",
    "score_table",
    "select",
    "softmax",
]


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
    shifted = logits - row_max(logits)[..., None]
    # The largest term is 1, so the sum is >= 1 and its log >= 0: no result rounds above 0.
    return np.asarray(shifted - np.log(row_sum(np.exp(shifted)))[..., None])


def softmax(logits: FloatArray, out: FloatArray | None = None) -> FloatArray:
    r"""Probabilities :math:`e^{z_v - \max z} / \sum_w e^{z_w - \max z}`.

    Args:
        logits: z, [..., V], finite.
        out: Where to write; may be the logits.

    Returns:
        [..., V], each row summing to 1 up to rounding.

    Examples:
        >>> softmax(np.array([1000.0, 1000.0])).tolist()
        [0.5, 0.5]
    """
    p: FloatArray = np.subtract(logits, row_max(logits)[..., None], out=out)
    np.exp(p, out=p)
    p /= row_sum(p)[..., None]
    return p


def log_and_softmax(logits: FloatArray) -> tuple[FloatArray, FloatArray]:
    """:func:`log_softmax` and :func:`softmax`, to the bit, from the same exponentials.

    Examples:
        >>> logp, p = log_and_softmax(np.array([1000.0, 1000.0]))
        >>> logp.round(6).tolist(), p.tolist()
        ([-0.693147, -0.693147], [0.5, 0.5])
    """
    logp = logits - row_max(logits)[..., None]
    p = np.exp(logp)
    total = row_sum(p)[..., None]
    p /= total
    logp -= np.log(total)
    return logp, p


def entropy(logp: FloatArray, p: FloatArray | None = None) -> FloatArray:
    r"""Entropy :math:`-\sum_v p_v \ln p_v` in nats, [...], >= 0.

    Args:
        logp: [..., V], normalised natural logs.
        p: Their exponentials, where they are at hand.

    Examples:
        >>> float(entropy(np.log([0.5, 0.5])).round(12)) == float(np.log(2.0).round(12))
        True
    """
    return -row_sum((np.exp(logp) if p is None else p) * logp)


def kl_divergence(logp: FloatArray, logq: FloatArray, p: FloatArray | None = None) -> FloatArray:
    r"""Kullback-Leibler divergence :math:`\sum_v p_v (\ln p_v - \ln q_v)` in nats, [...].

    Computed as :math:`\sum_v p_v (e^d - 1 - d)` with :math:`d = \ln q_v - \ln p_v`, which is the
    same for normalised p and q, has no cancelling terms and is never negative.

    Args:
        logp: [..., V], normalised natural logs, finite.
        logq: The same; it broadcasts with `logp`.
        p: Exponentials of `logp`, where they are at hand.

    Examples:
        >>> p, q = np.log([0.5, 0.5]), np.log([0.75, 0.25])
        >>> round(float(kl_divergence(p, q)), 12) == round(float(np.log(2 / np.sqrt(3))), 12)
        True
        >>> float(kl_divergence(p, p))
        0.0
    """
    d = np.asarray(logq - logp)
    # p e^d is q: the product of a tiny p and a huge e^d would be 0 times infinity. Where d is
    # large the two forms agree; where it is small expm1 keeps the digits.
    if p is None:
        p = np.exp(logp)
    large = np.abs(d) >= 1.0
    near = np.expm1(np.where(large, 0.0, d))
    near -= d
    near *= p
    far = np.exp(logq) - p
    d *= p
    far -= d
    np.copyto(near, far, where=large)
    return row_sum(near)


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
    return joint - row_sum(joint)[..., None] * p


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
    rows = np.arange(math.prod(p.shape[:-1]), dtype=np.int64).reshape(p.shape[:-1])
    return choose(cumulative(p), rows, uniform)


def cumulative(p: FloatArray) -> FloatArray:
    """The running sums of each row, [..., V], in the layout of p.

    The last entry of a row is p itself: nothing reads it, see :func:`select`.

    Examples:
        >>> cumulative(np.array([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]])).tolist()
        [[0.5, 0.75, 0.25], [0.0, 0.5, 0.5]]
    """
    edges = p.copy(order="K")
    for v in range(1, p.shape[-1] - 1):
        edges[..., v] += edges[..., v - 1]
    return edges


def choose(edges: FloatArray, rows: IntArray, uniform: FloatArray) -> IntArray:
    """As :func:`inverse_cdf`, with each number's row given by its index.

    Args:
        edges: What `cumulative` gave, [..., V], V >= 2.
        rows: Index of the row among all leading axes, [N...].
        uniform: In [0, 1); broadcasts with `rows`.

    Returns:
        Outcomes, of the broadcast shape.

    Examples:
        >>> edges = cumulative(np.array([[0.5, 0.5], [0.1, 0.9]]))
        >>> choose(edges, np.array([1, 0, 1]), np.array([0.2, 0.2, 0.05])).tolist()
        [1, 0, 0]
    """
    columns = edges.reshape(-1, edges.shape[-1]).T
    return select(columns.ravel(), rows, uniform, edges.shape[-1])


def select(edges: FloatArray, first: IntArray, uniform: FloatArray, outcomes: int) -> IntArray:
    """As :func:`choose`, from sums that lie column by column.

    Args:
        edges: What `cumulative` gave, all first entries of the rows, then all second ones, ...
        first: Index of the row, [N...].
        uniform: In [0, 1); broadcasts with `first`.
        outcomes: V >= 2, the number of columns.

    Returns:
        Outcomes, of the broadcast shape.

    Examples:
        >>> two_rows = np.array([[0.5, 0.1], [0.5, 0.9]])
        >>> select(two_rows.ravel(), np.array([1, 0, 1]), np.array([0.2, 0.2, 0.05]), 2).tolist()
        [1, 0, 0]
    """
    column = len(edges) // outcomes
    half = outcomes // 2
    found = half * (uniform >= edges[(half - 1) * column :].take(first))
    left = outcomes - half
    # Bisection of all numbers at once. The larger half may overlap the smaller by one entry: the
    # sums ascend, so that a comparison too many changes nothing.
    while left > 1:
        half = left // 2
        at = found * column
        at += first
        reached = uniform >= edges[(half - 1) * column :].take(at)
        found += reached if half == 1 else half * reached
        left -= half
    return np.asarray(found)
