r"""The geometry of two quadratic bowls, with products that cost O(d).

The axes are the eigenvectors of :math:`H_s`; those of :math:`H_r` are turned by one angle in each
of the planes (i, d - 1 - i), which pair the stiffest direction with the flattest. A product with
:math:`H_r` is then two elementwise products, one of them with the vector reversed, whatever the
angle; no d x d product is ever formed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from simulations.models._checks import constant

__all__ = ["Bowls", "Row", "bowls", "distance2", "dot"]

SCRATCH = 2**15
"""Numbers in a temporary, 256 KiB: it stays in the cache, and the allocator keeps it."""

TILE = 64
"""Trajectories that share one inner loop: a vector of d = 16 repeated 64 times is 8 KiB."""


class Row:
    """A constant vector to combine with arrays [..., d], elementwise.

    Plain broadcasting runs one inner loop of length d a trajectory, which for d = 16 costs about
    three times the arithmetic; a repeated vector lets the loop run over many trajectories. The
    bits are those of broadcasting. A vector of equal components acts as the number that it is.

    Examples:
        >>> Row(np.array([1.0, 2.0]))(np.multiply, np.ones((2, 2))).tolist()
        [[1.0, 2.0], [1.0, 2.0]]
    """

    def __init__(self, values: FloatArray) -> None:
        self.values = constant(values)
        self._number = float(values[0]) if (values == values[0]).all() else None
        self._tiled = constant(np.tile(values, TILE))

    def __call__(self, op: np.ufunc, x: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """``op(x, values)``; `out` may be `x`, and must be C-contiguous."""
        if out is None:
            out = np.empty(x.shape)
        if self._number is not None:
            op(x, self._number, out=out)
            return out
        length = self._tiled.size
        whole = x.size // length * length
        if whole == 0 or not x.flags.c_contiguous:
            op(x, self.values, out=out)
            return out
        many = (-1, length)
        if whole == x.size:
            op(x.reshape(many), self._tiled, out=out.reshape(many))
            return out
        given, into, few = x.reshape(-1), out.reshape(-1), (-1, self.values.size)
        op(given[:whole].reshape(many), self._tiled, out=into[:whole].reshape(many))
        op(given[whole:].reshape(few), self.values, out=into[whole:].reshape(few))
        return out


class Bowls(NamedTuple):
    """Two Hessians and two minima; `cross` is None where the Hessians are both diagonal.

    Args:
        spectrum_s: Eigenvalues of H_s, [d].
        diagonal: Diagonal of H_r, [d].
        cross: Antidiagonal of H_r by row, [d], a palindrome.
        minimum_s: Minimum of the SFT loss, [d].
        minimum_r: Minimum of the RL loss, [d].
    """

    spectrum_s: Row
    diagonal: Row
    cross: Row | None
    minimum_s: Row
    minimum_r: Row

    def times_s(self, x: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """H_s x, [..., d]; `out` may be x, and must be C-contiguous."""
        return self.spectrum_s(np.multiply, x, out)

    def times_r(self, x: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """H_r x, as `times_s`."""
        crossed = None if self.cross is None else self.cross(np.multiply, x)
        product = self.diagonal(np.multiply, x, out)
        if crossed is not None:
            product += crossed[..., ::-1]
        return product

    def gradient_s(self, theta: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """The true SFT gradient, [..., d]; `out` must be C-contiguous.

        H (theta - m), not H theta - H m: exactly 0 at the minimum, where the latter cancels.
        """
        away = self.minimum_s(np.subtract, theta, out)
        return self.times_s(away, out=away)

    def gradient_r(self, theta: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """The true RL gradient, as `gradient_s`."""
        away = self.minimum_r(np.subtract, theta, out)
        return self.times_r(away, out=away)

    def hessian_s(self) -> FloatArray:
        """H_s, [d, d]."""
        return np.diag(self.spectrum_s.values)

    def hessian_r(self) -> FloatArray:
        """H_r, [d, d]."""
        diagonal = np.diag(self.diagonal.values)
        return diagonal if self.cross is None else diagonal + np.diag(self.cross.values)[:, ::-1]

    def minimiser(self, mu: FloatArray) -> FloatArray:
        """Minimum of mu L_s + (1 - mu) L_r, mu [...] to [..., d]."""
        m = mu[..., None]
        pull_s = self.times_s(self.minimum_s.values)
        pull_r = self.times_r(self.minimum_r.values)
        mixed = m[..., None] * self.hessian_s() + (1.0 - m[..., None]) * self.hessian_r()
        pull = m * pull_s + (1.0 - m) * pull_r
        return np.asarray(np.linalg.solve(mixed, pull[..., None])[..., 0], dtype=np.float64)


def bowls(
    dimension: int,
    *,
    curvature: tuple[float, float],
    condition: tuple[float, float],
    rotation: float,
    separation: float,
) -> Bowls:
    r"""The bowls with eigenvalues ``curvature * condition**(-i / (d - 1))``; pairs are (SFT, RL).

    In the plane (i, j = d - 1 - i), i < j, with eigenvalues :math:`h_i, h_j` and angle
    :math:`\phi`, the Hessian of the RL loss is

    .. math::
        \begin{pmatrix} h_i c^2 + h_j s^2 & (h_i - h_j) c s \\
                        (h_i - h_j) c s & h_i s^2 + h_j c^2 \end{pmatrix},
        \quad c = \cos\phi,\; s = \sin\phi

    Examples:
        >>> pair = bowls(2, curvature=(1.0, 4.0), condition=(1.0, 4.0), rotation=math.pi / 2.0,
        ...              separation=0.0)
        >>> pair.hessian_r().tolist()
        [[1.0, 0.0], [0.0, 4.0]]
    """
    index = np.arange(dimension)
    place = index / max(dimension - 1, 1)
    h_s, h = (size * ratio**-place for size, ratio in zip(curvature, condition, strict=True))
    c, s = math.cos(rotation), math.sin(rotation)
    if rotation == math.pi / 2.0:
        c, s = 0.0, 1.0  # cos(pi / 2) is 6e-17 in floating point
    cross = np.sign(index[::-1] - index) * (h - h[::-1]) * (c * s)
    half = np.full(dimension, 0.5 * separation / math.sqrt(dimension))
    return Bowls(
        spectrum_s=Row(h_s),
        diagonal=Row(c * c * h + s * s * h[::-1]),
        cross=Row(cross) if cross.any() else None,
        minimum_s=Row(half),
        minimum_r=Row(-half),
    )


def dot(x: FloatArray, y: FloatArray) -> FloatArray:
    """<x, y> over the last axis, each by itself: the same bits in any company."""
    return np.asarray(np.einsum("...i,...i->...", x, y))


def distance2(x: FloatArray, y: FloatArray) -> FloatArray:
    """``|x - y|^2`` over the last axis, [...], for two C-contiguous arrays of one shape.

    In pieces: a difference of the size of x would be allocated and given back at every step,
    which costs more than the arithmetic.

    Examples:
        >>> distance2(np.array([[3.0, 4.0]]), np.zeros((1, 2))).tolist()
        [25.0]
    """
    if x.size <= SCRATCH:
        difference = x - y
        return dot(difference, difference)
    d = x.shape[-1]
    flat_x, flat_y, rows = x.reshape(-1, d), y.reshape(-1, d), max(SCRATCH // d, 1)
    scratch, out = np.empty((rows, d)), np.empty(len(flat_x))
    for start in range(0, len(out), rows):
        piece = slice(start, min(start + rows, len(out)))
        part = np.subtract(flat_x[piece], flat_y[piece], out=scratch[: piece.stop - start])
        np.einsum("ij,ij->i", part, part, out=out[piece])
    return out.reshape(x.shape[:-1])
