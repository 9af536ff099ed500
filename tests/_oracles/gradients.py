"""Gradient-space estimators in rationals (method.md, section 2)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .exact import dot, frac, fracs, matrix


def mean_vector(x: Any) -> list[Fraction]:
    """Mean of the rows of ``x [n, d]``."""
    rows = matrix(x)
    return [sum((row[j] for row in rows), Fraction(0)) / len(rows) for j in range(len(rows[0]))]


def s2_hat(x: Any) -> Fraction:
    """Noise of the batch mean: ``sum_i |x_i - xbar|^2 / (n (n - 1))``, for n >= 2."""
    return kappa_hat(x, x)


def kappa_hat(x: Any, y: Any) -> Fraction:
    """Noise covariance of paired batch means: ``sum_i <x_i - xbar, y_i - ybar>/(n (n - 1))``."""
    xs, ys = matrix(x), matrix(y)
    n = len(xs)
    if n != len(ys):
        raise ValueError(f"kappa_hat: {n} and {len(ys)} samples cannot be paired")
    if n < 2:
        raise ValueError(f"kappa_hat: {n} sample(s), at least 2 are needed")
    x_mean, y_mean = mean_vector(xs), mean_vector(ys)
    total = Fraction(0)
    for xi, yi in zip(xs, ys, strict=True):
        dx = [v - c for v, c in zip(xi, x_mean, strict=True)]
        dy = [v - c for v, c in zip(yi, y_mean, strict=True)]
        total += dot(dx, dy)
    return total / (n * (n - 1))


def plain_distance(x_s: Any, x_r: Any) -> Fraction:
    """Squared distance of the two batch means, noise included."""
    gap = [s - r for s, r in zip(mean_vector(x_s), mean_vector(x_r), strict=True)]
    return dot(gap, gap)


def d2_hat(x_s: Any, x_r: Any, *, paired: bool = False) -> Fraction:
    """Unbiased squared distance of the true means; may be negative.

    ``|xbar - ybar|^2 - s2_s - s2_r``, plus ``2 kappa_hat`` when the samples are paired.
    """
    correction = s2_hat(x_s) + s2_hat(x_r)
    if paired:
        correction -= 2 * kappa_hat(x_s, x_r)
    return plain_distance(x_s, x_r) - correction


def gradient_oracle(x_s: Any, x_r: Any, *, paired: bool = False) -> dict[str, Fraction | None]:
    """Return ``sigma_s2``, ``sigma_r2``, ``delta_g2`` (unclipped), ``kappa`` (None unpaired)."""
    return {
        "sigma_s2": s2_hat(x_s),
        "sigma_r2": s2_hat(x_r),
        "delta_g2": d2_hat(x_s, x_r, paired=paired),
        "kappa": kappa_hat(x_s, x_r) if paired else None,
    }


def two_batch_size(
    b_small: Any, sq_small: Any, b_big: Any, sq_big: Any
) -> tuple[Fraction, Fraction]:
    """Two-batch-size estimates ``(|G|^2, S)`` from squared gradient norms ``sq_small``, ``sq_big``.

    Solves ``E|G_B|^2 = |G|^2 + S/B`` at the two sizes as a 2 x 2 linear system (Cramer's rule).
    """
    u, v = 1 / frac(b_small), 1 / frac(b_big)
    small, big = frac(sq_small), frac(sq_big)
    determinant = v - u
    if determinant == 0:
        raise ValueError(f"two_batch_size: both batches have size {b_small}")
    return (small * v - u * big) / determinant, (big - small) / determinant


def two_batch_size_vectors(
    b_small: Any, g_small: Any, b_big: Any, g_big: Any
) -> tuple[Fraction, Fraction]:
    """The same from the two batch-mean gradient vectors."""
    small, big = fracs(g_small), fracs(g_big)
    return two_batch_size(b_small, dot(small, small), b_big, dot(big, big))
