r"""Gradient-space oracles: what the coefficient-space proxies stand for.

They need per-sample gradients (or two batch sizes), which a trainer cannot afford at every step
and a study can.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.errors import fail

__all__ = [
    "GradientMoments",
    "GradientOracle",
    "TwoBatchSize",
    "gradient_moments",
    "gradient_oracle",
    "oracle_from_moments",
    "two_batch_size",
]


class GradientOracle(NamedTuple):
    """Unbiased estimates for the mean gradients of two batches.

    Args:
        sigma_s2: Noise of the SFT batch mean, gradient^2.
        sigma_r2: Noise of the RL batch mean, gradient^2.
        delta_g2: Squared distance of the true gradients, gradient^2; unbiased, so possibly
            negative. The controller clips it at 0 where it consumes it.
        kappa: Covariance of the two batch means; 0 for independent samples.
        plain_delta_g2: The squared distance of the batch means, which contains the noise.
    """

    sigma_s2: FloatArray
    sigma_r2: FloatArray
    delta_g2: FloatArray
    kappa: FloatArray
    plain_delta_g2: FloatArray


class GradientMoments(NamedTuple):
    """Mergeable partial sums of per-sample gradients, O(d) in size.

    Args:
        samples: n, [...].
        mean: Mean gradient, [..., d].
        scatter: Sum of squared distances to the mean (the trace of the scatter matrix), [...].
    """

    samples: FloatArray
    mean: FloatArray
    scatter: FloatArray

    def merge(*parts: GradientMoments) -> GradientMoments:
        """The moments of all shards together; an empty shard (no samples) changes nothing.

        Examples:
            >>> one, two = gradient_moments([[0.0]]), gradient_moments([[2.0]])
            >>> GradientMoments.merge(one, two).scatter.item()
            2.0
        """
        samples = np.stack([part.samples for part in parts])
        means = np.stack([part.mean for part in parts])
        total = samples.sum(axis=0)
        share = samples / np.where(total == 0.0, 1.0, total)
        mean = np.sum(share[..., None] * means, axis=0)
        between = samples * np.sum((means - mean) ** 2, axis=-1)
        scatter = np.sum(np.stack([part.scatter for part in parts]) + between, axis=0)
        return GradientMoments(total, mean, scatter)


class TwoBatchSize(NamedTuple):
    """The two-batch-size estimates.

    Args:
        gradient2: Squared norm of the true gradient, ``|G|^2``; may be negative.
        noise: Trace of the per-sample gradient covariance, S; may be negative.
    """

    gradient2: FloatArray
    noise: FloatArray


def gradient_moments(gradients: ArrayLike) -> GradientMoments:
    """Partial sums of per-sample gradients, to be merged over shards.

    Args:
        gradients: [..., n, d]; n may be 0.

    Returns:
        Sample count, mean and scatter.

    Raises:
        GACError: Fewer than two axes, or a value that is not finite.

    Examples:
        >>> gradient_moments([[1.0, 0.0], [3.0, 0.0]]).scatter.item()
        2.0
    """
    x = np.asarray(gradients, dtype=np.float64)
    if x.ndim < 2:
        fail(f"gradients have shape {x.shape}; pass per-sample gradients [..., n, d]")
    if not np.isfinite(x).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        fail(f"gradients{list(index)} = {float(x[index])!r} is not finite; pass finite gradients")
    n = x.shape[-2]
    mean = x.sum(axis=-2) / max(n, 1)
    scatter = np.sum((x - mean[..., None, :]) ** 2, axis=(-2, -1))
    return GradientMoments(np.full(mean.shape[:-1], float(n)), mean, scatter)


def oracle_from_moments(sft: GradientMoments, rl: GradientMoments) -> GradientOracle:
    """Finish the oracle of two independent branches from merged partial sums.

    Raises:
        GACError: A branch has fewer than two samples.

    Examples:
        >>> sft, rl = gradient_moments([[1.0], [3.0]]), gradient_moments([[0.0], [0.0]])
        >>> float(oracle_from_moments(sft, rl).delta_g2)
        3.0
    """
    sigma_s2 = _noise_of_mean("SFT", sft)
    sigma_r2 = _noise_of_mean("RL", rl)
    plain = np.sum((sft.mean - rl.mean) ** 2, axis=-1)
    return GradientOracle(
        sigma_s2=np.broadcast_to(sigma_s2, plain.shape),
        sigma_r2=np.broadcast_to(sigma_r2, plain.shape),
        delta_g2=np.asarray(plain - sigma_s2 - sigma_r2),
        kappa=np.zeros_like(plain),
        plain_delta_g2=plain,
    )


def gradient_oracle(x_s: ArrayLike, x_r: ArrayLike, *, paired: bool = False) -> GradientOracle:
    r"""Noise, disagreement and covariance from per-sample gradients.

    .. math::
        \hat\sigma_k^2 = \frac{\sum_i |x_i - \bar x|^2}{n (n - 1)}, \qquad
        \hat\kappa = \frac{\sum_i \langle x_i - \bar x,\, y_i - \bar y\rangle}{n (n - 1)}, \qquad
        \hat\Delta^2 = |\bar x - \bar y|^2 - \hat\sigma_s^2 - \hat\sigma_r^2 + 2\hat\kappa

    All are unbiased; the plain squared distance is not, by the noise it contains.

    Args:
        x_s: Per-sample SFT gradients, [..., n, d], n >= 2.
        x_r: Per-sample RL gradients, [..., m, d], m >= 2.
        paired: Whether sample i of both shares its randomness (then m must equal n); else the
            two batches are independent and kappa is 0.

    Returns:
        The estimates, [...].

    Raises:
        GACError: Shapes that do not match, fewer than two samples, or values not finite.

    Examples:
        >>> oracle = gradient_oracle([[1.0], [3.0]], [[0.0], [0.0]])
        >>> float(oracle.sigma_s2), float(oracle.delta_g2)
        (1.0, 3.0)

    References:
        docs/method.md, section 2.
    """
    x, y = np.asarray(x_s, dtype=np.float64), np.asarray(x_r, dtype=np.float64)
    sft, rl = gradient_moments(x), gradient_moments(y)
    if x.shape[-1] != y.shape[-1]:
        fail(f"x_s has d = {x.shape[-1]} and x_r has d = {y.shape[-1]}; pass equal dimensions")
    try:
        np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        fail(
            f"x_s and x_r have the leading shapes {x.shape[:-2]} and {y.shape[:-2]}, which do not "
            "broadcast; pass equal leading axes"
        )
    oracle = oracle_from_moments(sft, rl)
    if not paired:
        return oracle
    n = x.shape[-2]
    if y.shape[-2] != n:
        fail(f"paired samples need equal counts, got {n} and {y.shape[-2]}; or pass paired=False")
    product = (x - sft.mean[..., None, :]) * (y - rl.mean[..., None, :])
    kappa = np.asarray(np.sum(product, axis=(-2, -1)) / (n * (n - 1)))
    return oracle._replace(kappa=kappa, delta_g2=oracle.delta_g2 + 2.0 * kappa)


def two_batch_size(
    small_norm2: ArrayLike, big_norm2: ArrayLike, *, small: int, big: int
) -> TwoBatchSize:
    r"""True gradient norm and noise from the squared norms at two batch sizes.

    .. math::
        |G|^2 = \frac{B_b |G_b|^2 - B_s |G_s|^2}{B_b - B_s}, \qquad
        S = \frac{|G_s|^2 - |G_b|^2}{1/B_s - 1/B_b}

    Unbiased each; their ratio, the gradient noise scale, is not, so average them first.

    Args:
        small_norm2: Squared norm of the mean gradient over `small` samples, [...], >= 0.
        big_norm2: The same over `big` samples, [...], >= 0.
        small: B_s, >= 1.
        big: B_b, > B_s.

    Returns:
        The estimates, [...].

    Raises:
        GACError: Batch sizes out of order, or a squared norm that is negative or not finite.

    Examples:
        >>> two_batch_size(2.0, 1.5, small=1, big=2)
        TwoBatchSize(gradient2=np.float64(1.0), noise=np.float64(1.0))

    References:
        McCandlish et al., arXiv:1812.06162, appendix A.1.
    """
    if not 1 <= small < big:
        fail(f"batch sizes small = {small!r}, big = {big!r}; pass 1 <= small < big")
    s, b = np.asarray(small_norm2, dtype=np.float64), np.asarray(big_norm2, dtype=np.float64)
    for name, value in (("small_norm2", s), ("big_norm2", b)):
        good = (value >= 0.0) & np.isfinite(value)
        if not good.all():
            bad = float(value[~good].flat[0])
            fail(f"{name} holds {bad!r}, which is negative or not finite; pass squared norms")
    return TwoBatchSize(
        gradient2=(big * b - small * s) / (big - small),
        noise=(s - b) / (1.0 / small - 1.0 / big),
    )


def _noise_of_mean(branch: str, moments: GradientMoments) -> FloatArray:
    n = moments.samples
    if np.any(n < 2):
        fail(
            f"the {branch} branch has {int(np.min(n))} samples; an unbiased variance needs at "
            "least 2"
        )
    return np.asarray(moments.scatter / (n * (n - 1.0)))
