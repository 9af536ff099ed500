"""A finite data set, the losses of a regression on it, and the moments of its row gradients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref._typing import FloatArray, IntArray
from gac_ref.errors import fail
from simulations.models._checks import constant
from simulations.models.quadratic_bowls import dot

__all__ = [
    "BatchMoments",
    "RegressionData",
    "RegressionDraw",
    "batch_moments",
    "logits",
    "make_data",
    "mean_function",
    "mean_losses",
    "minimise",
    "pointwise_entropy",
    "weighted_features",
]

HALVINGS = 40
"""Shortest Newton step tried, as a power of 1/2; below it rounding decides."""


SHARE = 0.1
"""Share of the first-order decrease that a step must achieve; without it, steps of the size of
rounding would go on."""


class RegressionData(NamedTuple):
    """A data set; all arrays are read-only.

    Args:
        x: Features, [N, d].
        columns: The same by feature, [d, N].
        y_s: The teacher's labels, [N].
        y_r: The true labels, [N].
        norm2: Squared lengths of the rows of x, [N].
    """

    x: FloatArray
    columns: FloatArray
    y_s: FloatArray
    y_r: FloatArray
    norm2: FloatArray


class RegressionDraw(NamedTuple):
    """Rows of the two batches, drawn uniformly with replacement.

    Args:
        rows_s: [n, B_s], int64.
        rows_r: [n, B_r], int64; ignored where the batch is shared.
    """

    rows_s: IntArray
    rows_r: IntArray


class BatchMoments(NamedTuple):
    """Moments of the row gradients ``residual_i x_i`` over the last axis of `residual`.

    Args:
        residual: f(z) - y, [..., B].
        mean: Mean gradient, [..., d].
        scatter: Sum of squared distances to the mean, [...], >= 0.
    """

    residual: FloatArray
    mean: FloatArray
    scatter: FloatArray

    def joint_scatter(self, other: BatchMoments, norm2: FloatArray) -> FloatArray:
        """Sum of inner products of the two branches' deviations on the same rows, [...]."""
        together = dot(self.residual * other.residual, norm2)
        return np.asarray(together - self.residual.shape[-1] * dot(self.mean, other.mean))


def make_data(
    link: str,
    seed: int,
    *,
    shape: tuple[int, int],
    condition: float,
    signal: float,
    teacher_bias: float,
    noise: tuple[float, float],
) -> RegressionData:
    """Draw the data set that `Regression` documents.

    Examples:
        >>> data = make_data("logistic", 0, shape=(5, 2), condition=1.0, signal=1.0,
        ...                  teacher_bias=0.0, noise=(0.0, 0.0))
        >>> data.x.shape, bool((data.y_s == data.y_r).all())
        ((5, 2), True)
    """
    rows, d = shape
    rng = np.random.default_rng(seed)
    variances = condition ** -(np.arange(d) / max(d - 1, 1))
    x = rng.standard_normal((rows, d)) * np.sqrt(variances)
    true = rng.standard_normal(d)
    true *= signal / np.linalg.norm(true)
    shift = rng.standard_normal(d)
    teacher = true + teacher_bias / np.linalg.norm(shift) * shift
    labels = []
    for weights, scale in zip((teacher, true), noise, strict=True):
        unit = rng.standard_normal(rows) if link == "linear" else rng.logistic(size=rows)
        value = (x * weights).sum(axis=-1) + scale * unit
        labels.append(value if link == "linear" else np.where(value > 0.0, 1.0, 0.0))
    y_s, y_r = labels
    return RegressionData(
        x=constant(x),
        columns=constant(np.ascontiguousarray(x.T)),
        y_s=constant(y_s),
        y_r=constant(y_r),
        norm2=constant((x * x).sum(axis=-1)),
    )


def logits(theta: FloatArray, columns: FloatArray) -> FloatArray:
    """<x_i, theta> for theta [..., d] and columns [d, ..., B]: [..., B].

    Feature by feature, not a matrix product: its blocking would let the number of seeds change
    the last bits.
    """
    z: FloatArray = theta[..., 0, None] * columns[0]
    for j in range(1, len(columns)):
        z += theta[..., j, None] * columns[j]
    return z


def weighted_features(weights: FloatArray, columns: FloatArray) -> FloatArray:
    """sum_i w_i x_i for weights [..., B] and columns [d, ..., B]: [..., d]."""
    return np.stack([dot(weights, column) for column in columns], axis=-1)


def batch_moments(residual: FloatArray, columns: FloatArray, norm2: FloatArray) -> BatchMoments:
    """Moments of the gradients ``residual_i x_i`` of the given rows.

    Args:
        residual: [..., B].
        columns: Features of the rows, [d, ..., B].
        norm2: Squared lengths of the rows, [..., B].

    Returns:
        The moments. The scatter is a difference of two sums, which loses as many digits as the
        mean gradient's square exceeds the variance by; a negative remainder is rounding, and 0.

    Examples:
        >>> columns = np.array([[1.0, 1.0]])
        >>> moments = batch_moments(np.array([1.0, 3.0]), columns, np.ones(2))
        >>> moments.mean.tolist(), float(moments.scatter)
        ([2.0], 2.0)
    """
    size = residual.shape[-1]
    mean = weighted_features(residual, columns) / size
    total = dot(residual * residual, norm2)
    scatter = np.maximum(total - size * dot(mean, mean), 0.0)
    return BatchMoments(residual, mean, scatter)


def mean_function(link: str, z: FloatArray) -> FloatArray:
    """f(z): z itself, or the logistic function, which does not overflow."""
    return z if link == "linear" else 0.5 * (1.0 + np.tanh(0.5 * z))


def mean_losses(link: str, z: FloatArray, *labels: FloatArray) -> list[FloatArray]:
    """Mean over the last axis of half the squared error, or of the cross-entropy in nats.

    Args:
        link: "linear" or "logistic".
        z: Logits, [..., N].
        labels: Labels [N], one array a branch; in [0, 1] for "logistic".

    Returns:
        One array [...] a branch.

    Examples:
        >>> mean_losses("linear", np.array([3.0, 1.0]), np.array([1.0, 1.0]))[0].item()
        1.0
    """
    rows = z.shape[-1]
    if link == "linear":
        differences = [z - y for y in labels]
        return [0.5 * dot(difference, difference) / rows for difference in differences]
    softplus = np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))
    # Row by row: of a large logit with the right label little is left, and a difference of sums
    # would lose the small terms.
    return [(softplus - y * z).sum(axis=-1) / rows for y in labels]


def pointwise_entropy(z: FloatArray) -> FloatArray:
    """Entropy of a Bernoulli variable with logit z, nats, in [0, log 2].

    Examples:
        >>> pointwise_entropy(np.array([0.0, 800.0])).round(6).tolist()
        [0.693147, 0.0]
    """
    # In |z|, where log(1 + e^-a) + a p is a sum of terms >= 0: nothing cancels.
    decay = np.exp(-np.abs(z))
    return np.asarray(np.log1p(decay) + np.abs(z) * decay / (1.0 + decay))


def minimise(link: str, x: FloatArray, y: FloatArray, ridge: float) -> FloatArray:
    """Minimum of the mean loss on (x, y) plus ``ridge |theta|^2 / 2``, [d], to rounding.

    Newton's method. A share t of a step shortens the gradient by the factor 1 - t + o(t), so a
    step is halved until the gradient is shorter by `SHARE` of that; the search ends where rounding
    prevents it. The squared loss needs one step.

    Examples:
        >>> minimise("linear", np.ones((2, 1)), np.array([1.0, 3.0]), 0.0).tolist()
        [2.0]
    """
    rows, d = x.shape

    def gradient(theta: FloatArray) -> FloatArray:
        residual = mean_function(link, x @ theta) - y
        return np.asarray(x.T @ residual / rows + ridge * theta)

    theta = np.zeros(d)
    now = gradient(theta)
    while True:
        p = mean_function(link, x @ theta)
        weight = np.ones(rows) if link == "linear" else p * (1.0 - p)
        hessian = (x.T * weight) @ x / rows + ridge * np.eye(d)
        try:
            step = np.linalg.solve(hessian, now)
        except np.linalg.LinAlgError:
            fail("the features do not determine the weights; pass more examples, or ridge > 0")
        for halving in range(HALVINGS):
            t = 0.5**halving
            candidate = theta - t * step
            then = gradient(candidate)
            if np.linalg.norm(then) < (1.0 - SHARE * t) * np.linalg.norm(now):
                break
        else:
            return theta
        theta, now = candidate, then
