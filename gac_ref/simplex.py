r"""K gradient signals on the simplex: the closed form beyond two branches.

Minimise over weights :math:`w \ge 0`, :math:`\sum_k w_k = 1`

.. math:: R(w) = (w - a)^\top \Gamma (w - a) + w^\top S w

with :math:`\Gamma` the Gram matrix of the true gradients, S the covariance of their noise and a
the target weights. Two signals give back the closed form: on w = (mu, 1 - mu) the first term is
:math:`(\mu - \alpha)^2 |g_s - g_r|^2`.
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail

__all__ = ["simplex_minimiser", "simplex_risk"]

PSD_RTOL = 1e-10
"""Slack on the smallest eigenvalue, relative to the largest: a Gram matrix computed in float64
from K vectors is off by about K * 1e-16 of it, and callers estimate theirs from samples."""


def simplex_risk(
    weights: ArrayLike, gram: ArrayLike, noise: ArrayLike, target: ArrayLike
) -> FloatArray:
    r"""Risk of mixing weights, :math:`(w - a)^\top \Gamma (w - a) + w^\top S w`.

    Args:
        weights: w, [..., K].
        gram: Gram matrix of the true gradients, [..., K, K].
        noise: Covariance of the gradient noises (their inner products), [..., K, K].
        target: a, [..., K].

    Returns:
        The risk, [...].

    Examples:
        >>> float(simplex_risk([0.5, 0.5], np.zeros((2, 2)), np.diag([1.0, 3.0]), [0.5, 0.5]))
        1.0
    """
    w = np.asarray(weights, dtype=np.float64)
    d = w - np.asarray(target, dtype=np.float64)
    gram, noise = np.asarray(gram, dtype=np.float64), np.asarray(noise, dtype=np.float64)
    return np.asarray(_quadratic(d, gram) + _quadratic(w, noise))


def simplex_minimiser(gram: ArrayLike, noise: ArrayLike, target: ArrayLike) -> FloatArray:
    r"""The weights on the simplex that minimise :func:`simplex_risk`.

    A convex quadratic programme, solved exactly by enumerating which signals are in use: on each
    support the equality-constrained problem is linear, and of the feasible solutions the best one
    is the minimiser. That costs :math:`2^K - 1` solves of size K, and no tolerance or iteration
    count; K is the number of training signals, so it is small (at most 12 here).

    Where several weights share the minimum, as where the matrices vanish, the one nearest to the
    target is returned; so K = 2 and a flat risk give alpha, as :func:`gac_ref.closed_form` does.

    Args:
        gram: Gram matrix of the true gradients, [..., K, K], symmetric positive semi-definite.
        noise: Noise covariance, [..., K, K], symmetric positive semi-definite.
        target: a, [..., K], on the simplex.

    Returns:
        w, [..., K], >= 0, of sum 1.

    Raises:
        GACError: Wrong shapes, K above 12, a target off the simplex, or an indefinite matrix.

    Examples:
        >>> simplex_minimiser(np.zeros((2, 2)), np.diag([1.0, 3.0]), [0.5, 0.5]).tolist()
        [0.75, 0.25]
    """
    gram = np.asarray(gram, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    target = np.asarray(target, dtype=np.float64)
    k = _check(gram, noise, target)
    lead = np.broadcast_shapes(gram.shape[:-2], noise.shape[:-2], target.shape[:-1])
    gram = np.broadcast_to(gram, (*lead, k, k)).reshape(-1, k, k)
    noise = np.broadcast_to(noise, (*lead, k, k)).reshape(-1, k, k)
    target = np.broadcast_to(target, (*lead, k)).reshape(-1, k)
    best = np.stack([_minimise_one(g, s, a) for g, s, a in zip(gram, noise, target, strict=True)])
    return best.reshape(*lead, k)


def _minimise_one(gram: FloatArray, noise: FloatArray, target: FloatArray) -> FloatArray:
    k = target.size
    hessian, pull = gram + noise, gram @ target
    scale = float(np.abs(hessian).max())
    if scale == 0.0:
        return target.copy()
    if not _is_strictly_convex(hessian, scale):
        # Distance to the target breaks the tie: at 2**-44 of the scale it is below what float64
        # sums of K terms resolve in the risk, and far above the rounding of the solve.
        ridge = scale * 2.0**-44
        hessian, pull = hessian + ridge * np.eye(k), pull + ridge * target
    best, lowest = target, np.inf
    for members in range(1, 2**k):
        support = np.flatnonzero([members >> i & 1 for i in range(k)])
        weights = _equality_minimiser(hessian, pull, support)
        if weights is None:
            continue
        value = float(weights @ hessian @ weights - 2.0 * pull @ weights)
        if value < lowest:
            best, lowest = weights, value
    return best


def _is_strictly_convex(hessian: FloatArray, scale: float) -> bool:
    """Whether the risk is curved in every direction along the simplex (weights summing to 1)."""
    steps = np.eye(hessian.shape[0])[:, 1:] - np.eye(hessian.shape[0])[:, :1]
    curvature = np.linalg.eigvalsh(steps.T @ hessian @ steps)
    return bool(curvature.min(initial=np.inf) > 2.0**-40 * scale)


def _equality_minimiser(
    hessian: FloatArray, pull: FloatArray, support: np.ndarray
) -> FloatArray | None:
    """Minimise on ``sum(w) = 1`` with the support given; None where a weight is negative."""
    n = support.size
    system = np.zeros((n + 1, n + 1))
    system[:n, :n] = hessian[np.ix_(support, support)]
    # The multiplier is scaled like the Hessian, so that the system is well balanced.
    system[:n, n] = system[n, :n] = np.abs(hessian).max()
    right = np.append(pull[support], system[n, 0])
    solution = np.linalg.solve(system, right)[:n]
    if np.any(solution < 0.0):
        return None
    weights = np.zeros(pull.size)
    weights[support] = solution / solution.sum()
    return weights


def _quadratic(x: FloatArray, matrix: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("...i,...ij,...j->...", x, matrix, x))


def _check(gram: FloatArray, noise: FloatArray, target: FloatArray) -> int:
    if target.ndim == 0:
        fail("target is a scalar; pass target weights [..., K]")
    k = int(target.shape[-1])
    if not 1 <= k <= 12:
        fail(f"target has K = {k} signals; pass between 1 and 12 (the method enumerates supports)")
    for name, matrix in (("gram", gram), ("noise", noise)):
        if matrix.shape[-2:] != (k, k):
            fail(f"{name} has shape {matrix.shape}; pass [..., {k}, {k}] to match the target")
        if not np.all(np.isfinite(matrix)):
            fail(f"{name} has values that are not finite; pass a finite matrix")
        size = np.abs(matrix).max(initial=0.0)
        if np.abs(matrix - np.swapaxes(matrix, -1, -2)).max(initial=0.0) > PSD_RTOL * size:
            fail(f"{name} is not symmetric; pass a symmetric matrix")
        lowest = float(np.linalg.eigvalsh(matrix).min(initial=0.0))
        if lowest < -PSD_RTOL * size:
            fail(f"{name} has the eigenvalue {lowest!r}; pass a positive semi-definite matrix")
    off = np.abs(target.sum(axis=-1) - 1.0).max(initial=0.0)
    if not (np.all(target >= 0.0) and off <= 1e-12):
        fail("target is off the simplex; pass weights >= 0 that sum to 1")
    return k
