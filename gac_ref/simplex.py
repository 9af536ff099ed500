r"""K gradient signals on the simplex: the closed form beyond two branches.

Minimise over weights :math:`w \ge 0`, :math:`\sum_k w_k = 1`

.. math:: R(w) = (w - a)^\top \Gamma (w - a) + w^\top S w

with :math:`\Gamma` the Gram matrix of the true gradients, S the covariance of their noise and a
the target weights. Two signals give back the closed form: on w = (mu, 1 - mu) the first term is
:math:`(\mu - \alpha)^2 |g_s - g_r|^2`.
"""

from __future__ import annotations

import numpy as np

from gac_ref._typing import ArrayLike, BoolArray, FloatArray, IntArray
from gac_ref.errors import fail

__all__ = ["simplex_minimiser", "simplex_risk"]

PSD_RTOL = 1e-10
"""Slack on the smallest eigenvalue, relative to the largest: a Gram matrix computed in float64
from K vectors is off by about K * 1e-16 of it, and callers estimate theirs from samples."""

FLAT_RTOL = 2.0**-44
"""Curvature below this share of the largest is rounding: K products of float64 leave K * 2**-53."""

ENTRY_RTOL = 2.0**-50
"""And below this share of the largest entry: reducing cancels entries, rounded at 2**-53 each."""

TIE_RTOL = 2.0**-40
"""Risks this close are equal where the risk is flat in some direction; sums of K^2 terms resolve
about K^2 * 2**-53."""


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
    supports = (np.flatnonzero([members >> i & 1 for i in range(k)]) for members in range(1, 2**k))
    faces = [_face_minimiser(gram, noise, target, support) for support in supports]
    weights = np.stack([w for w in faces if w is not None])
    risks = simplex_risk(weights, gram, noise, target)
    best = weights[int(np.argmin(risks))]
    curvature = np.asarray(
        np.linalg.eigvalsh(_reduced(gram, noise, _zero_sum_basis(k))), np.float64
    )
    if not _is_flat(curvature, gram, noise, np.arange(k)).any():
        return np.asarray(best)
    terms = float(simplex_risk(best, np.abs(gram), np.abs(noise), -target))
    tied = weights[risks - risks.min() <= TIE_RTOL * terms]
    distance = np.sum((tied - target) ** 2, axis=-1)
    return np.asarray(tied[int(np.argmin(distance))])


def _face_minimiser(
    gram: FloatArray, noise: FloatArray, target: FloatArray, support: IntArray
) -> FloatArray | None:
    """The minimiser among weights on `support` that sum to 1, nearest to the target if several.

    None where it has a negative weight: then the minimiser over the face lies on a smaller one.
    """
    basis = np.zeros((target.size, support.size - 1))
    basis[support] = _zero_sum_basis(support.size)
    start = np.zeros(target.size)
    start[support] = target[support]
    start[support] += (1.0 - start.sum()) / support.size
    slope = basis.T @ (gram @ (start - target) + noise @ start)
    curvature, axes = np.linalg.eigh(_reduced(gram, noise, basis))
    flat = _is_flat(curvature, gram, noise, support)
    # The pseudo-inverse step: none along flat directions, so the start stays nearest there.
    step = np.where(flat, 0.0, -(axes.T @ slope) / np.where(flat, 1.0, curvature))
    weights = start + basis @ (axes @ step)
    if np.any(weights < 0.0):
        return None
    return np.asarray(weights / weights.sum())


def _zero_sum_basis(k: int) -> FloatArray:
    """Orthonormal basis of the vectors of sum 0, [k, k - 1] (Helmert's)."""
    basis = np.tril(np.ones((k, k)), -1).T[:, 1:] - np.diag(np.arange(k, dtype=np.float64))[:, 1:]
    return np.asarray(basis / np.sqrt(np.arange(1.0, k) * np.arange(2.0, k + 1)))


def _reduced(gram: FloatArray, noise: FloatArray, basis: FloatArray) -> FloatArray:
    """The Hessian along `basis`; summed after reducing, or a large Gram would swamp the noise."""
    return np.asarray(basis.T @ gram @ basis + basis.T @ noise @ basis)


def _is_flat(
    curvature: FloatArray, gram: FloatArray, noise: FloatArray, support: IntArray
) -> BoolArray:
    """Which curvatures are rounding: against the largest one, and against the matrices' entries."""
    face = np.ix_(support, support)
    entries = np.abs(gram[face]).max() + np.abs(noise[face]).max()
    return np.asarray(
        curvature <= max(FLAT_RTOL * curvature.max(initial=0.0), ENTRY_RTOL * entries)
    )


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
            bad = float(matrix[~np.isfinite(matrix)].flat[0])
            fail(f"{name} holds {bad!r}, which is not finite; pass a finite matrix")
        size = np.abs(matrix).max(initial=0.0)
        transposed = np.swapaxes(matrix, -1, -2)
        gap = np.abs(matrix - transposed)
        if gap.max(initial=0.0) > PSD_RTOL * size:
            worst = np.unravel_index(int(np.argmax(gap)), gap.shape)
            pair = f"{float(matrix[worst])!r} and {float(transposed[worst])!r}"
            fail(f"{name} is not symmetric: it holds {pair}; pass a symmetric matrix")
        lowest = float(np.linalg.eigvalsh(matrix).min(initial=0.0))
        if lowest < -PSD_RTOL * size:
            fail(f"{name} has the eigenvalue {lowest!r}; pass a positive semi-definite matrix")
    total = target.sum(axis=-1)
    if not (np.all(target >= 0.0) and np.all(np.abs(total - 1.0) <= 1e-12)):
        low = np.asarray(target[~(target >= 0.0)])
        shown = f"holds {float(low.flat[0])!r}" if low.size else f"sums to {_farthest(total)!r}"
        fail(f"target {shown}, off the simplex; pass weights >= 0 that sum to 1")
    return k


def _farthest(total: FloatArray) -> float:
    return float(np.asarray(total).flat[int(np.argmax(np.abs(total - 1.0)))])
