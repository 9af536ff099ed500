r"""Exact moments of SGD on two quadratic bowls under a given weight schedule.

One step of :math:`\theta \leftarrow \theta - \eta\,(\mu G_s + (1 - \mu) G_r)` is affine in
:math:`\theta` with independent noise, so the mean and the covariance obey closed recursions. The
weight is a given function of the step: a controller that reads noisy gradients has none.

Dense d x d algebra, independent of the shortcuts that the trajectories take.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail
from simulations.models._checks import finite
from simulations.models.quadratic import Quadratic

__all__ = [
    "ExpectedOutcomes",
    "SGDMoments",
    "Stationary",
    "expected_outcomes",
    "sgd_moments",
    "stability_limit",
    "stationary",
]

STEPS_AT_ONCE = 256
"""Steps whose matrices are made together."""


class SGDMoments(NamedTuple):
    """Moments of theta before the first step and after each of T.

    Args:
        mean: [..., T + 1, d].
        covariance: [..., T + 1, d, d].

    Examples:
        >>> sgd_moments(Quadratic(dimension=2), np.full(3, 0.5), 0.1).covariance.shape
        (4, 2, 2)
    """

    mean: FloatArray
    covariance: FloatArray


class Stationary(NamedTuple):
    """Where SGD with a constant weight and learning rate settles.

    Args:
        mean: [..., d].
        covariance: [..., d, d].
        rate: Spectral radius of I - eta H_mu, in [0, 1), [...]: the mean's error shrinks by at
            least this factor a step, the covariance's by its square.
    """

    mean: FloatArray
    covariance: FloatArray
    rate: FloatArray


class ExpectedOutcomes(NamedTuple):
    """Expectations over the moments' law, [...] each.

    Args:
        loss: E of the target loss alpha L_s + (1 - alpha) L_r.
        loss_s: E L_s.
        loss_r: E L_r.
        distance2: ``E |theta - optimum|^2``, the mean square of the outcome `distance`.
    """

    loss: FloatArray
    loss_s: FloatArray
    loss_r: FloatArray
    distance2: FloatArray


def sgd_moments(
    problem: Quadratic,
    mu: ArrayLike,
    learning_rate: ArrayLike,
    *,
    initial: tuple[ArrayLike, ArrayLike] | None = None,
) -> SGDMoments:
    r"""Mean and covariance of theta after every step.

    .. math::
        \bar\theta' &= \bar\theta - \eta\,\bigl[\mu (H_s(\bar\theta - m_s) + b_s)
                       + (1 - \mu)(H_r(\bar\theta - m_r) + b_r)\bigr] \\
        C' &= (I - \eta H_\mu)\, C\, (I - \eta H_\mu)^\top + \eta^2 \frac{q(\mu)}{d} I

    with :math:`H_\mu = \mu H_s + (1 - \mu) H_r` and
    :math:`q(\mu) = \mu^2 \sigma_s^2 + (1 - \mu)^2 \sigma_r^2 + 2\mu(1 - \mu)\kappa`. The law is
    Gaussian at every step when the start is. A learning rate above `stability_limit` gives moments
    that grow, up to infinity.

    Args:
        problem: The bowls and their noise.
        mu: Weight on SFT at each step, [..., T]; any real number.
        learning_rate: :math:`\eta`, broadcast to the shape of `mu`, >= 0.
        initial: Mean [d] or [..., d] and covariance [d, d] or [..., d, d] to start from, e.g. the
            last of an earlier call; the problem's own starting points when None.

    Returns:
        The moments, the start included; T + 1 dense covariances are kept.

    Raises:
        GACError: A schedule that is empty, not finite or of the wrong shape; a negative learning
            rate; a start of the wrong shape, or a covariance that no law has.

    Examples:
        >>> problem = Quadratic(dimension=1, condition_s=1.0, condition_r=1.0, separation=0.0,
        ...                     start_distance=1.0)
        >>> moments = sgd_moments(problem, [1.0, 1.0], 0.5)
        >>> moments.mean[:, 0].tolist(), moments.covariance[:, 0, 0].tolist()
        ([1.0, 0.5, 0.25], [0.0, 0.25, 0.3125])

    References:
        Schaul, Zhang and LeCun, arXiv:1206.1106; Mandt, Hoffman and Blei, arXiv:1704.04289, in
        discrete time.
    """
    weights, rates = _schedule(mu, learning_rate)
    lead, d = weights.shape[:-1], problem.dimension
    mean, covariance = _start(problem, initial, lead)
    steps = weights.shape[-1]
    # Time leads, and what does not depend on the moments is made for many steps at once: a step
    # of the loop is then three products of small matrices.
    m, eta = np.moveaxis(weights, -1, 0), np.moveaxis(rates, -1, 0)
    means = np.empty((steps + 1, *lead, d, 1))
    covariances = np.empty((steps + 1, *lead, d, d))
    means[0], covariances[0] = mean[..., None], covariance
    with np.errstate(over="ignore", invalid="ignore"):
        pull = eta[..., None, None] * _mean_gradient(problem, m, np.zeros(d))[..., None]
        injected = (eta**2 * _noise(problem, m) / d)[..., None]
        for first in range(0, steps, STEPS_AT_ONCE):
            block = slice(first, first + STEPS_AT_ONCE)
            shrinks = np.eye(d) - eta[block][..., None, None] * _hessian(problem, m[block])
            for t, shrink in enumerate(shrinks, start=first):
                means[t + 1] = shrink @ means[t] - pull[t]
                after = covariances[t + 1]
                np.matmul(shrink @ covariances[t], np.swapaxes(shrink, -1, -2), out=after)
                np.einsum("...ii->...i", after)[...] += injected[t]
    return SGDMoments(np.moveaxis(means[..., 0], 0, -2), np.moveaxis(covariances, 0, -3))


def expected_outcomes(
    problem: Quadratic, mean: FloatArray, covariance: FloatArray
) -> ExpectedOutcomes:
    r"""Exact expected losses and squared distance under given moments.

    .. math::
        E L_k = \tfrac12 (\bar\theta - m_k)^\top H_k (\bar\theta - m_k)
                + \tfrac12 \mathrm{tr}\, H_k C, \qquad
        E|\theta - \theta^*|^2 = |\bar\theta - \theta^*|^2 + \mathrm{tr}\, C

    Args:
        problem: The bowls.
        mean: [..., d].
        covariance: [..., d, d].

    Returns:
        The expectations, [...].

    Examples:
        >>> problem = Quadratic(dimension=2, separation=0.0)
        >>> float(expected_outcomes(problem, np.zeros(2), np.eye(2)).distance2)
        2.0
    """
    losses = []
    for h, m in (
        (problem.hessian_s, problem.minimum_s),
        (problem.hessian_r, problem.minimum_r),
    ):
        away = mean - m
        losses.append(
            0.5 * np.einsum("...i,ij,...j->...", away, h, away)
            + 0.5 * np.einsum("ij,...ij->...", h, covariance)
        )
    loss_s, loss_r = losses
    return ExpectedOutcomes(
        loss=problem.alpha * loss_s + (1.0 - problem.alpha) * loss_r,
        loss_s=loss_s,
        loss_r=loss_r,
        distance2=np.sum((mean - problem.optimum) ** 2, axis=-1)
        + np.einsum("...ii->...", covariance),
    )


def stationary(problem: Quadratic, mu: ArrayLike, learning_rate: ArrayLike) -> Stationary:
    r"""Stationary mean and covariance for a constant weight, and the rate of approach.

    The mean is where the biased mixed gradient vanishes. The covariance solves the discrete
    Lyapunov equation

    .. math:: C = A C A^\top + \eta^2 \frac{q(\mu)}{d} I, \qquad A = I - \eta H_\mu,

    whose solution for isotropic noise is
    :math:`C = \frac{\eta\, q(\mu)}{d} \bigl[H_\mu (2I - \eta H_\mu)\bigr]^{-1}`.

    Args:
        problem: The bowls and their noise.
        mu: Constant weight on SFT, [...], in [0, 1].
        learning_rate: :math:`\eta`, broadcast against `mu`, in (0, `stability_limit`).

    Returns:
        Mean, covariance and rate.

    Raises:
        GACError: `mu` outside [0, 1]; a learning rate that is not positive or not below the limit.

    Examples:
        >>> problem = Quadratic(dimension=1, condition_s=1.0, condition_r=1.0, separation=0.0)
        >>> law = stationary(problem, 1.0, 0.5)
        >>> round(float(law.covariance[0, 0]), 12), float(law.rate)
        (0.333333333333, 0.5)

    References:
        Mandt, Hoffman and Blei, arXiv:1704.04289, before the limit of a small step.
    """
    m, eta = _broadcast(mu, learning_rate)
    limit = stability_limit(problem, m)
    bad = ~((eta > 0.0) & (eta < limit))
    if bad.any():
        value, most = float(eta[bad].flat[0]), float(limit[bad].flat[0])
        fail(
            f"stationary: learning_rate = {value!r} is outside (0, {most:.6g}), where SGD "
            "settles; pass a smaller one"
        )
    d = problem.dimension
    hessian = _hessian(problem, m)
    eigenvalues, axes = np.linalg.eigh(hessian)
    scaled = eta[..., None] * eigenvalues
    along = (eta**2 * _noise(problem, m) / d)[..., None] / (scaled * (2.0 - scaled))
    covariance = (axes * along[..., None, :]) @ np.swapaxes(axes, -1, -2)
    pull = -_mean_gradient(problem, m, np.zeros((*m.shape, d)))
    return Stationary(
        mean=np.asarray(np.linalg.solve(hessian, pull[..., None])[..., 0], dtype=np.float64),
        covariance=covariance,
        rate=np.max(np.abs(1.0 - scaled), axis=-1),
    )


def stability_limit(problem: Quadratic, mu: ArrayLike) -> FloatArray:
    r"""The learning rate at and above which SGD with constant weight does not settle.

    .. math:: \eta_{\max}(\mu) = 2 / \lambda_{\max}(H_\mu)

    Args:
        problem: The bowls.
        mu: Constant weight on SFT, [...], in [0, 1].

    Returns:
        The limit, [...].

    Raises:
        GACError: `mu` outside [0, 1].

    Examples:
        >>> stability_limit(Quadratic(curvature_s=4.0), [0.0, 1.0]).round(12).tolist()
        [2.0, 0.5]
    """
    m = finite("stability_limit", "mu", mu)
    bad = (m < 0.0) | (m > 1.0)
    if bad.any():
        fail(f"mu = {float(m[bad].flat[0])!r} is outside [0, 1]; pass a value in that range")
    return np.asarray(2.0 / np.linalg.eigvalsh(_hessian(problem, m))[..., -1])


def _hessian(problem: Quadratic, mu: FloatArray) -> FloatArray:
    m = mu[..., None, None]
    return np.asarray(m * problem.hessian_s + (1.0 - m) * problem.hessian_r)


def _mean_gradient(problem: Quadratic, mu: FloatArray, theta: FloatArray) -> FloatArray:
    m = mu[..., None]
    g_s = (theta - problem.minimum_s) @ problem.hessian_s + problem.bias_vector_s
    g_r = (theta - problem.minimum_r) @ problem.hessian_r + problem.bias_vector_r
    return np.asarray(m * g_s + (1.0 - m) * g_r)


def _noise(problem: Quadratic, mu: FloatArray) -> FloatArray:
    """Trace of the covariance of the mixed gradient."""
    s, r = mu**2 * problem.sigma_s2, (1.0 - mu) ** 2 * problem.sigma_r2
    # Rounding may leave less than nothing of perfectly anticorrelated noise.
    return np.maximum(s + r + 2.0 * mu * (1.0 - mu) * problem.kappa, 0.0)


def _broadcast(mu: ArrayLike, learning_rate: ArrayLike) -> tuple[FloatArray, FloatArray]:
    m, eta = finite("SGD", "mu", mu), finite("SGD", "learning_rate", learning_rate)
    try:
        shape = np.broadcast_shapes(m.shape, eta.shape)
    except ValueError:
        fail(f"mu has shape {m.shape} and learning_rate {eta.shape}; pass shapes that broadcast")
    return np.broadcast_to(m, shape), np.broadcast_to(eta, shape)


def _schedule(mu: ArrayLike, learning_rate: ArrayLike) -> tuple[FloatArray, FloatArray]:
    m, eta = _broadcast(mu, learning_rate)
    if m.ndim == 0 or m.shape[-1] == 0:
        fail(f"mu has shape {m.shape}; pass a schedule [..., T] with T >= 1")
    if (eta < 0.0).any():
        fail(f"learning_rate = {float(eta.min())!r} is negative; pass a value >= 0")
    return m, eta


def _start(
    problem: Quadratic,
    initial: tuple[ArrayLike, ArrayLike] | None,
    lead: tuple[int, ...],
) -> tuple[FloatArray, FloatArray]:
    if initial is None:
        return problem.start_mean, problem.start_covariance
    d = problem.dimension
    mean = finite("initial", "mean", initial[0])
    covariance = finite("initial", "covariance", initial[1])
    if mean.shape not in ((d,), (*lead, d)) or covariance.shape not in ((d, d), (*lead, d, d)):
        fail(
            f"initial has shapes {mean.shape} and {covariance.shape}; pass a mean [{d}] and a "
            f"covariance [{d}, {d}]"
        )
    slack = 1e-12 * float(np.abs(covariance).max())
    if float(np.abs(covariance - np.swapaxes(covariance, -1, -2)).max()) > slack:
        fail("initial covariance is not symmetric; pass a positive semidefinite matrix")
    lowest = float(np.linalg.eigvalsh(covariance).min())
    # A covariance computed from data or by the recursion may be indefinite by a rounding.
    if lowest < -slack:
        fail(f"initial covariance has the eigenvalue {lowest!r}; pass a positive semidefinite one")
    return mean, covariance
