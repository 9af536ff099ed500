"""Rotations, roots of covariances, and products whose bits do not depend on the grouping."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail

Rows = tuple[tuple[float, ...], ...]

PSD_RTOL = 1e-10
"""An eigenvalue above minus this share of the largest is a zero that was rounded."""

SYMMETRY_RTOL = 1e-12
"""Two mirrored entries this close, relative to the largest entry, are one number."""


def matrix_field(owner: object, name: str, value: ArrayLike) -> Rows:
    """`value` as nested tuples of floats, a valid covariance, or a one-line error."""
    label = f"{type(owner).__name__}: {name}"
    try:
        matrix = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        fail(f"{label} is not a rectangular matrix of numbers; pass d rows of d numbers")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        fail(f"{label} has shape {matrix.shape}; pass a square matrix, d rows of d numbers")
    if not np.isfinite(matrix).all():
        fail(f"{label} has a value that is not finite; pass finite numbers")
    largest = float(np.abs(matrix).max())
    gap = np.abs(matrix - matrix.T)
    if float(gap.max()) > SYMMETRY_RTOL * largest:
        i, j = (int(k) for k in np.unravel_index(int(np.argmax(gap)), gap.shape))
        fail(
            f"{label}[{i}, {j}] = {float(matrix[i, j])!r} but [{j}, {i}] = "
            f"{float(matrix[j, i])!r}; a covariance is symmetric, so pass equal values"
        )
    matrix = 0.5 * (matrix + matrix.T)
    lowest = float(np.linalg.eigvalsh(matrix)[0])
    if lowest < -PSD_RTOL * largest:
        fail(
            f"{label} has the eigenvalue {lowest!r}; no noise has a negative variance, so pass a "
            "positive semi-definite matrix"
        )
    return tuple(tuple(float(x) for x in row) for row in matrix)


@lru_cache(maxsize=64)
def rotation(seed: int | None, dimension: int) -> FloatArray:
    """An orthogonal matrix [d, d], uniform (Haar) for a seed; the identity for None."""
    if seed is None:
        return _frozen(np.eye(dimension))
    normal = np.random.default_rng(seed).standard_normal((dimension, dimension))
    q, r = np.linalg.qr(normal)
    # Without the signs QR is not uniform: LAPACK fixes those of R's diagonal.
    return _frozen(q * np.where(np.diagonal(r) < 0.0, -1.0, 1.0))


@lru_cache(maxsize=64)
def symmetric_root(rows: Rows) -> FloatArray:
    """The symmetric L with ``L @ L`` the matrix given as nested tuples, [d, d]."""
    values, vectors = np.linalg.eigh(np.asarray(rows, dtype=np.float64))
    return spectral_root(np.maximum(values, 0.0), vectors)


def spectral_root(values: FloatArray, vectors: FloatArray) -> FloatArray:
    """``Q diag(sqrt(values)) Q'``, [d, d], exactly symmetric."""
    root = (vectors * np.sqrt(values)) @ vectors.T
    return _frozen(0.5 * (root + root.T))


def transform(matrix: FloatArray, rows: FloatArray) -> FloatArray:
    """``matrix @ row`` for every row of `rows` [..., k]; matrix is [d, k], the result [..., d].

    One term after the other, elementwise. A matrix product over the rows would be faster for
    large d, and would sum in an order that depends on how many rows are computed together.
    """
    out = rows[..., 0, None] * matrix[:, 0]
    for k in range(1, matrix.shape[1]):
        out += rows[..., k, None] * matrix[:, k]
    return out


def _frozen(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array
