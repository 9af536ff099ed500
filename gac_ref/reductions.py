r"""Reductions that merge: every statistic of a batch as a partial sum of its shards.

A mean or variance over a batch that is split over data-parallel ranks must be merged from the
ranks' partial sums, not averaged over ranks, or short ranks get too much weight. Two carriers do
it: :class:`Moments`, of fixed size, exact up to rounding whatever the split; and the sorted
values themselves for the trimmed variance, whose answer depends on order statistics that no
fixed-size sum determines. Sorting makes that one bit-identical under any split.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref._checks import as_mask
from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail

__all__ = ["Moments", "masked_mean", "merge_values", "trimmed_variance"]


class Moments(NamedTuple):
    r"""Weight, mean and scatter of k-dimensional values; merges by Chan, Golub and LeVeque.

    .. math::
        W = \sum_i w_i, \qquad m = \frac1W \sum_i w_i x_i, \qquad
        S = \sum_i w_i (x_i - m)(x_i - m)^\top

    Raw second moments (:math:`\sum x^2 - W m^2`) would be the shorter code and lose all digits
    when the mean is large against the spread; the centred form loses none.

    Args:
        weight: W, [...], >= 0; 0 for an empty shard.
        mean: m, [..., k]; 0 where the weight is 0.
        scatter: S, [..., k, k], positive semi-definite.

    Examples:
        >>> left, right = Moments.of([[1.0], [2.0]]), Moments.of([[6.0]])
        >>> both = Moments.merge(left, right, Moments.empty(1))
        >>> float(both.weight), both.mean.tolist(), both.scatter.tolist()
        (3.0, [3.0], [[14.0]])

    References:
        Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American
        Statistician 37(3), 1983, equations 2.1.
    """

    weight: FloatArray
    mean: FloatArray
    scatter: FloatArray

    @classmethod
    def empty(cls, k: int) -> Moments:
        """No values at all: the neutral element of `merge`.

        Examples:
            >>> float(Moments.empty(2).weight)
            0.0
        """
        return cls(np.float64(0.0), np.zeros(k), np.zeros((k, k)))  # type: ignore[arg-type]

    @classmethod
    def of(cls, values: ArrayLike, weights: ArrayLike = 1.0) -> Moments:
        """The moments of `values` [n, k] with `weights` [n] or a scalar.

        Examples:
            >>> Moments.of([[1.0], [5.0]], [3.0, 1.0]).mean.tolist()
            [2.0]
        """
        x = np.asarray(values, dtype=np.float64)
        w = np.broadcast_to(np.asarray(weights, dtype=np.float64), x.shape[:1])
        if w.min(initial=0.0) < 0.0:
            fail(f"weights hold {float(w.min())!r}; pass weights >= 0")
        return cls(w, x, np.zeros((*x.shape, x.shape[-1]))).pool()

    @np.errstate(over="ignore", invalid="ignore")  # poisoned values stay poisoned, silently
    def pool(self) -> Moments:
        """Merge along the first axis: [n, ...] becomes [...].

        Examples:
            >>> rows = Moments(np.array([1.0, 1.0]), np.array([[0.0], [2.0]]), np.zeros((2, 1, 1)))
            >>> rows.pool().scatter.tolist()
            [[2.0]]
        """
        weight = self.weight.sum(axis=0)
        share = self.weight / np.where(weight == 0.0, 1.0, weight)
        mean = np.sum(share[..., None] * self.mean, axis=0)
        deviation = self.mean - mean
        between = self.weight[..., None, None] * (deviation[..., :, None] * deviation[..., None, :])
        return Moments(weight, mean, np.sum(self.scatter + between, axis=0))

    def merge(*parts: Moments) -> Moments:
        """The moments of all parts together; the order of the parts changes rounding only.

        Examples:
            >>> Moments.merge(Moments.of([[1.0]]), Moments.of([[3.0]])).mean.tolist()
            [2.0]
        """
        return Moments(*(np.stack(field) for field in zip(*parts, strict=True))).pool()

    def scaled(self, factor: FloatArray) -> Moments:
        """The same values with every weight multiplied by `factor` [...].

        Examples:
            >>> float(Moments.of([[1.0], [3.0]]).scaled(np.float64(0.5)).weight)
            1.0
        """
        return Moments(self.weight * factor, self.mean, self.scatter * factor[..., None, None])

    @property
    def covariance(self) -> FloatArray:
        """Population covariance S / W (ddof 0), [..., k, k]; 0 where the weight is 0."""
        weight = np.where(self.weight == 0.0, 1.0, self.weight)
        return self.scatter / weight[..., None, None]


def masked_mean(
    values: ArrayLike,
    mask: ArrayLike,
    *,
    mask_eps: float = 1e-8,
    masking: str = "select",
) -> FloatArray:
    r"""Mean over the masked positions of the last axis.

    .. math:: \frac{\sum_t v_t m_t}{\sum_t m_t + \epsilon}

    Args:
        values: v, [..., T].
        mask: m, boolean or 0/1, [..., T].
        mask_eps: The guard of the denominator. At 1e-8 a constant c over n tokens has the mean
            c (1 - 1e-8 / n): length invariance holds to 1e-8, and exactly at 0.
        masking: "select" never reads a masked position; "multiply" multiplies it by zero, so
            that NaN or an infinity there makes the mean NaN.

    Returns:
        float64, [...]; 0 where the mask is empty.

    Examples:
        >>> float(masked_mean([1.0, 3.0, np.nan], [True, True, False], mask_eps=0.0))
        2.0
        >>> float(masked_mean([1.0, 3.0, np.nan], [True, True, False], masking="multiply"))
        nan

    References:
        GAC v0.1.1, ``masked_mean``; docs/method.md, section 3.
    """
    if masking not in ("select", "multiply"):
        fail(f"masking = {masking!r} is not 'select' or 'multiply'; pass one of these")
    v = np.asarray(values, dtype=np.float64)
    m = as_mask("mask", mask, np.shape(mask))
    with np.errstate(invalid="ignore"):
        kept = np.where(m, v, 0.0) if masking == "select" else v * m
    return divide_by_count(kept.sum(axis=-1), np.count_nonzero(m, axis=-1), mask_eps)


def divide_by_count(total: ArrayLike, count: ArrayLike, mask_eps: float) -> FloatArray:
    """``total / (count + mask_eps)``, and `total` (which is 0) where that would be 0 / 0."""
    denominator = np.asarray(count) + mask_eps
    return np.asarray(total / np.where(denominator == 0.0, 1.0, denominator))


def trimmed_variance(values: ArrayLike, trim_ratio: float = 0.1) -> float:
    r"""Population variance after dropping ``int(n * trim_ratio)`` values at each end.

    The variance (ddof 0) of :math:`x_{(k+1)}, \dots, x_{(n-k)}`; nothing is dropped when n < 4.
    The product is taken in float64 and truncated, as the released code does: 0.29 * 100 drops 28.
    Values are sorted first, so any order of them gives the same bits. A NaN sorts last, so trimming
    can drop it, as in the released code; what is kept makes the variance NaN.

    Args:
        values: [n], n >= 1.
        trim_ratio: Share dropped at each end, in [0, 0.5).

    Returns:
        The variance, >= 0, unfloored.

    Raises:
        GACError: No values.

    Examples:
        >>> trimmed_variance([0.0, 1.0, 2.0, 3.0, 1000.0], 0.2)
        0.6666666666666666

    References:
        docs/method.md, section 3; GAC v0.1.1, ``_trimmed_variance``.
    """
    x = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if x.size == 0:
        fail("trimmed_variance needs at least one value, got none; check the branch is present")
    if not 0.0 <= trim_ratio < 0.5:
        fail(f"trim_ratio = {trim_ratio!r} is outside [0, 0.5); pass a value in that range")
    k = int(x.size * trim_ratio) if x.size >= 4 else 0
    return float(np.var(x[k : x.size - k]))


def merge_values(*parts: FloatArray) -> FloatArray:
    """Concatenate and sort, so that any split of the same values gives the same array.

    Examples:
        >>> merge_values(np.array([3.0]), np.array([]), np.array([1.0, 2.0])).tolist()
        [1.0, 2.0, 3.0]
    """
    return np.sort(np.concatenate(parts)) if parts else np.empty(0)
