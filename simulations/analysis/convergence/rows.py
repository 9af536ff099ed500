r"""Exact moments of minibatch SGD on a linear regression: noise that grows with the error.

A batch gradient is a mean over rows drawn with replacement, so its noise is multiplicative. The
mean and the covariance of theta still obey closed recursions: with the regression's data matrix X,
:math:`\Sigma = X^\top X / N`, :math:`H = \Sigma + \lambda I`, branch means
:math:`\bar g_k = \Sigma\bar\theta - E[x y_k]`, and

.. math::
    C' &= (I - \eta H)\, C\, (I - \eta H) + \eta^2 \Bigl[\frac{\mu^2}{B_s} V_s
          + \frac{(1 - \mu)^2}{B_r} V_r\Bigr] \\
    V_k &= E\bigl[x x^\top (x^\top C x + (x^\top \bar\theta - y_k)^2)\bigr]
          - \Sigma C \Sigma - \bar g_k \bar g_k^\top

(:math:`+\,2\mu(1 - \mu)/B` times the symmetric cross term where the batch is shared).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail
from simulations.models.regression import Regression

__all__ = ["RowMoments", "growth_rate", "mean_limit", "mean_square_limit", "row_moments"]


class RowMoments(NamedTuple):
    """Moments of theta before the first step and after each of T.

    Args:
        mean: [T + 1, d].
        covariance: [T + 1, d, d].
    """

    mean: FloatArray
    covariance: FloatArray


def row_moments(problem: Regression, mu: ArrayLike, learning_rate: float) -> RowMoments:
    r"""Mean and covariance of theta after every step of minibatch SGD.

    Args:
        problem: A regression with the link "linear".
        mu: Weight on SFT at each step, [T].
        learning_rate: :math:`\eta`.

    Returns:
        The moments, the start included.

    Raises:
        GACError: Another link: its gradients are not linear in theta.

    Examples:
        >>> moments = row_moments(Regression(dimension=2), np.full(3, 0.5), 0.1)
        >>> moments.covariance.shape
        (4, 2, 2)

    References:
        Defossez and Bach, "Averaged least-mean-squares", AISTATS 2015, for a constant weight.
    """
    x, sigma, hessian = _matrices(problem)
    weights = np.asarray(mu, dtype=np.float64)
    n, d = x.shape
    labels = (problem.data.y_s, problem.data.y_r)
    pulls = [-x.T @ y / n for y in labels]
    mean, spread = np.zeros(d), problem.start_spread**2 / d * np.eye(d)
    means, spreads = np.empty((weights.size + 1, d)), np.empty((weights.size + 1, d, d))
    means[0], spreads[0] = mean, spread
    shrink = np.eye(d) - learning_rate * hessian
    for t, m in enumerate(weights.tolist()):
        leverage = np.einsum("ni,ij,nj->n", x, spread, x)
        residual_s, residual_r = (x @ mean - y for y in labels)
        g_s, g_r = (sigma @ mean + pull for pull in pulls)
        common = sigma @ spread @ sigma

        def between(one: FloatArray, two: FloatArray, lever: FloatArray = leverage) -> FloatArray:
            return np.asarray((x.T * (lever + one * two)) @ x / n)

        v_s = between(residual_s, residual_s) - common - np.outer(g_s, g_s)
        v_r = between(residual_r, residual_r) - common - np.outer(g_r, g_r)
        noise = m**2 / problem.batch_s * v_s + (1.0 - m) ** 2 / problem.batch_r * v_r
        if problem.shared_batch:
            cross = np.outer(g_s, g_r)
            v_sr = between(residual_s, residual_r) - common - 0.5 * (cross + cross.T)
            noise += 2.0 * m * (1.0 - m) / problem.batch_s * v_sr
        pull = m * pulls[0] + (1.0 - m) * pulls[1]
        mean = mean - learning_rate * (hessian @ mean + pull)
        spread = shrink @ spread @ shrink + learning_rate**2 * noise
        means[t + 1], spreads[t + 1] = mean, spread
    return RowMoments(means, spreads)


def mean_limit(problem: Regression) -> float:
    r"""Learning rate above which the mean of theta diverges, :math:`2 / \lambda_{\max}(H)`."""
    return float(2.0 / np.linalg.eigvalsh(_matrices(problem)[2])[-1])


def mean_square_limit(problem: Regression, mu: ArrayLike) -> FloatArray:
    r"""Learning rate above which the covariance of theta diverges, for a constant weight.

    The second moment of the error is mapped by :math:`1 - \eta L_1 + \eta^2 L_2` with

    .. math::
        L_1 M = H M + M H, \qquad
        L_2 M = H M H + \nu\,\bigl(E[x x^\top M x x^\top] - \Sigma M \Sigma\bigr), \qquad
        \nu = \frac{\mu^2}{B_s} + \frac{(1 - \mu)^2}{B_r}

    (1/B for a shared batch). The map keeps the cone of covariances, so its spectral radius is an
    eigenvalue, and reaches 1 where :math:`L_1 - \eta L_2` is singular: the limit is one over the
    largest eigenvalue of :math:`L_1^{-1} L_2`.

    Args:
        problem: A regression with the link "linear".
        mu: Constant weights on SFT, [...].

    Returns:
        The limits, [...], at most `mean_limit`.

    Examples:
        >>> problem = Regression(dimension=2, batch_s=1, batch_r=1)
        >>> limits = mean_square_limit(problem, [0.0, 0.5])
        >>> bool(limits[0] < limits[1] < mean_limit(problem))
        True

    References:
        Defossez and Bach, "Averaged least-mean-squares", AISTATS 2015, section 2.
    """
    x, sigma, hessian = _matrices(problem)
    n, d = x.shape
    eye = np.eye(d)
    pairs = (x[:, :, None] * x[:, None, :]).reshape(n, d * d)
    fourth = pairs.T @ pairs / n  # vec(M) -> vec(E[x x' M x x'])
    first = np.kron(hessian, eye) + np.kron(eye, hessian)
    plain, drift = np.kron(hessian, hessian), fourth - np.kron(sigma, sigma)
    weights = np.asarray(mu, dtype=np.float64)
    size = weights**2 / problem.batch_s + (1.0 - weights) ** 2 / problem.batch_r
    if problem.shared_batch:
        size = np.full(weights.shape, 1.0 / problem.batch_s)
    solved = np.linalg.solve(first, plain + size[..., None, None] * drift)
    return np.asarray(1.0 / np.abs(np.linalg.eigvals(solved)).max(axis=-1))


def growth_rate(
    problem: Regression,
    mu: ArrayLike,
    learning_rate: ArrayLike,
    *,
    rng: np.random.Generator,
    chains: int,
    steps: int,
) -> FloatArray:
    r"""Lyapunov exponent of the error, estimated: its mean log growth a step on a typical path.

    Negative where almost every trajectory settles, even where the covariance, carried by rare
    large excursions, does not.

    Args:
        problem: A regression with the link "linear".
        mu: Constant weights on SFT, [...].
        learning_rate: [...], broadcast against `mu`.
        rng: Generator of the rows.
        chains: Independent products of random matrices.
        steps: Length of each; the first tenth is not counted.

    Returns:
        The exponents, [...], per step.

    Examples:
        >>> rate = growth_rate(Regression(dimension=2), [0.5], [0.01],
        ...                    rng=np.random.default_rng(0), chains=2, steps=50)
        >>> bool(rate[0] < 0.0)
        True

    References:
        Furstenberg and Kesten, "Products of random matrices", 1960.
    """
    x, _, _ = _matrices(problem)
    weights, rates = np.broadcast_arrays(np.asarray(mu, np.float64), np.asarray(learning_rate))
    shape, d = weights.shape, problem.dimension
    m, eta = weights.reshape(-1, 1, 1), rates.reshape(-1, 1, 1)
    error = rng.standard_normal((chains, d))
    # Every place sees the same starts and rows: their differences are of the place alone.
    error = np.repeat((error / np.linalg.norm(error, axis=-1, keepdims=True))[None], m.size, axis=0)
    total, burn = np.zeros((m.size, chains)), steps // 10
    for step in range(steps):
        rows_s = x[rng.integers(len(x), size=(chains, problem.batch_s))]
        rows_r = rows_s
        if not problem.shared_batch:
            rows_r = x[rng.integers(len(x), size=(chains, problem.batch_r))]
        pull_s, pull_r = (
            np.einsum("cbd,cbe->cde", rows, rows) / rows.shape[1] for rows in (rows_s, rows_r)
        )
        force = m * np.einsum("cde,pce->pcd", pull_s, error)
        force += (1.0 - m) * np.einsum("cde,pce->pcd", pull_r, error)
        error = error - eta * (force + problem.ridge * error)
        size = np.linalg.norm(error, axis=-1)
        if step >= burn:
            total += np.log(size)
        error = error / size[..., None]
    return np.asarray((total.mean(axis=-1) / (steps - burn)).reshape(shape))


def _matrices(problem: Regression) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Features, their second moment, and the Hessian."""
    if problem.link != "linear":
        fail(f"link = {problem.link!r} has gradients that are not linear in theta; pass 'linear'")
    x = problem.data.x
    sigma = x.T @ x / len(x)
    return x, sigma, sigma + problem.ridge * np.eye(problem.dimension)
