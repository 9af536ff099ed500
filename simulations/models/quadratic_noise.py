r"""Gaussian gradient noise, correlated between two branches, and what a batch tells about it.

Isotropic: :math:`E e_k e_k^\top = (\sigma_k^2 / d) I` and
:math:`E e_s e_r^\top = (\rho\,\sigma_s \sigma_r / d) I`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail

__all__ = ["QuadraticDraw", "fill_gaussian_pair", "noise_estimates"]


class QuadraticDraw(NamedTuple):
    """The random numbers of one step; none depends on theta.

    Args:
        noise_s: :math:`e_s`, [n, d].
        noise_r: :math:`e_r`, [n, d].
        sigma_s2: Estimate of sigma_s2 from per-sample gradients, [n]; None for exact proxies.
        sigma_r2: Estimate of sigma_r2 from per-sample gradients, [n]; None for exact proxies.
        kappa: Estimate of kappa from paired gradients, [n], 0 without correlation; None for exact
            proxies.

    Examples:
        >>> QuadraticDraw(np.zeros((3, 4)), np.zeros((3, 4))).kappa is None
        True
    """

    noise_s: FloatArray
    noise_r: FloatArray
    sigma_s2: FloatArray | None = None
    sigma_r2: FloatArray | None = None
    kappa: FloatArray | None = None


def fill_gaussian_pair(
    rngs: Sequence[np.random.Generator],
    noise_s: FloatArray,
    noise_r: FloatArray,
    scales: tuple[FloatArray | float, FloatArray | float],
    correlation: float,
) -> None:
    """Draw the noise of both branches into two C-contiguous arrays [n, d].

    Args:
        rngs: Generators, each of an equal share of the seeds; as many normals are taken as the
            arrays hold, whatever the parameters.
        noise_s: Where that of the SFT branch goes.
        noise_r: Where that of the RL branch goes.
        scales: Standard deviations of a component (SFT, RL).
        correlation: Between the same components of the two branches, in [-1, 1].

    Raises:
        GACError: The seeds have no equal shares.

    Examples:
        >>> s, r = np.empty((2, 5, 3))
        >>> fill_gaussian_pair([np.random.default_rng(0)], s, r, (1.0, 2.0), 1.0)
        >>> bool((r == 2.0 * s).all())
        True
    """
    if len(noise_s) % len(rngs):
        fail(
            f"{len(noise_s)} seeds have no equal shares for {len(rngs)} generators; pass a divisor"
        )
    share = len(noise_s) // len(rngs)
    for index, rng in enumerate(rngs):
        mine = slice(index * share, (index + 1) * share)
        rng.standard_normal(out=noise_s[mine])
        rng.standard_normal(out=noise_r[mine])
    if correlation != 0.0:
        noise_r *= math.sqrt((1.0 - correlation) * (1.0 + correlation))
        noise_r += correlation * noise_s
    noise_s *= scales[0]
    noise_r *= scales[1]


def noise_estimates(
    rng: np.random.Generator,
    n: int,
    sizes: tuple[float, float],
    correlation: float,
    degrees: tuple[int, int],
) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""Unbiased estimates of sigma_s2, sigma_r2 and kappa, drawn from their exact law.

    Without correlation :math:`\hat\sigma_k^2 \sim \sigma_k^2 \chi^2_{\nu_k} / \nu_k` independently
    and kappa is known to be 0. With it, the samples are paired, and
    :math:`\nu\,\bigl(\begin{smallmatrix} \hat\sigma_s^2 & \hat\kappa \\
    \hat\kappa & \hat\sigma_r^2 \end{smallmatrix}\bigr)` has the 2 x 2 Wishart law of the true
    covariance with :math:`\nu` degrees of freedom.

    Args:
        rng: Generator.
        n: Seeds.
        sizes: sigma_s and sigma_r (not squared), >= 0.
        correlation: In [-1, 1].
        degrees: :math:`\nu_s, \nu_r`, >= 1; with correlation equal and >= 2.

    Returns:
        Three arrays [n].

    Examples:
        >>> s, r, k = noise_estimates(np.random.default_rng(0), 2, (1.0, 2.0), -1.0, (6, 6))
        >>> bool(np.allclose(r, 4.0 * s)), bool(np.allclose(k, -2.0 * s))
        (True, True)

    References:
        Bartlett's decomposition: Anderson, "An Introduction to Multivariate Statistical
        Analysis", third edition, section 7.2.
    """
    (size_s, size_r), (nu_s, nu_r) = sizes, degrees
    first = rng.chisquare(nu_s, n)
    if correlation == 0.0:
        second = rng.chisquare(nu_r, n)
        return size_s**2 * first / nu_s, size_r**2 * second / nu_r, np.zeros(n)
    # The scatter is (L A)(L A)' with L the Cholesky factor of the covariance and A lower
    # triangular with independent chi and normal entries.
    rest = math.sqrt((1.0 - correlation) * (1.0 + correlation))
    chi = np.sqrt(first)
    below = size_r * (correlation * chi + rest * rng.standard_normal(n))
    corner = (size_r * rest) ** 2 * rng.chisquare(nu_s - 1, n)
    return (
        size_s**2 * first / nu_s,
        (below * below + corner) / nu_s,
        size_s * chi * below / nu_s,
    )
