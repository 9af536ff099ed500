"""The exact or estimated moments of both branches after clipping, bias and correlation included."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from simulations.noise.clipping import ClippedMoments, Clipping
from simulations.noise.pair import PairNoise

__all__ = ["BranchLaw", "SampledMoments", "sampled_moments"]

ESTIMATE_DRAWS = 1 << 16
"""The relative standard error of a variance is sqrt(2 / draws), 0.6 percent, for a Gaussian."""


class BranchLaw(NamedTuple):
    """Law of one sample of a branch: ``clip(mean + sqrt(level) * noise)``.

    Args:
        mean: Mean of the unclipped sample, d numbers, gradient units.
        level: Factor on the variance of the noise, >= 0.
        clipping: What is done to the sample, or None.
    """

    mean: tuple[float, ...]
    level: float
    clipping: Clipping | None


class SampledMoments(NamedTuple):
    """Moments of one sample of both branches.

    Args:
        bias_s: What clipping adds to the mean of the SFT sample, [d].
        bias_r: The same for the RL sample, [d].
        sigma_s2: Variance of the SFT sample around its mean, gradient^2.
        sigma_r2: Variance of the RL sample around its mean, gradient^2.
        kappa: Covariance of the two, gradient^2.
        error: Largest standard error among the five, 0 where all are exact; gradient^2 for the
            variances and the covariance, gradient units for the biases.
        exact: Whether nothing was estimated.
    """

    bias_s: FloatArray
    bias_r: FloatArray
    sigma_s2: float
    sigma_r2: float
    kappa: float
    error: float
    exact: bool


@lru_cache(maxsize=4096)
def sampled_moments(pair: PairNoise, sft: BranchLaw, rl: BranchLaw) -> SampledMoments:
    """Moments of one sample of each branch, after clipping.

    A branch that is not clipped is exact, and so is kappa where neither is, or where the branches
    are independent. What :class:`simulations.noise.Clipping` has no closed form for, and the kappa
    of correlated branches of which one is clipped, are estimated from 65,536 draws of a fixed
    seed.

    Args:
        pair: The noise.
        sft: Law of the SFT sample.
        rl: Law of the RL sample.

    Examples:
        >>> from simulations.noise import Independent, Isotropic
        >>> pair = Independent(sft=Isotropic(dimension=1), rl=Isotropic(dimension=1))
        >>> moments = sampled_moments(pair, BranchLaw((1.0,), 1.0, Clipping(threshold=1.0)),
        ...                           BranchLaw((0.0,), 4.0, None))
        >>> round(moments.bias_s.item(), 6), moments.sigma_r2, moments.kappa, moments.exact
        (-0.390452, 4.0, 0.0, True)
    """
    plain = pair.moments(np.asarray(sft.mean), np.asarray(rl.mean))
    own = pair.marginals or (None, None)
    branches = []
    for law, noise, sigma2 in zip((sft, rl), own, plain[:2], strict=True):
        if law.clipping is None:
            zero = np.zeros(len(law.mean))
            branches.append(ClippedMoments(zero, law.level * float(sigma2), zero, 0.0, True))
        elif noise is not None:
            draws = ESTIMATE_DRAWS
            mean = np.asarray(law.mean)
            branches.append(law.clipping.moments(noise, mean, level=law.level, draws=draws))
    clipped = sft.clipping is not None or rl.clipping is not None
    correlated = clipped and not pair.independent
    kappa, error = float(np.sqrt(sft.level * rl.level) * plain.kappa), 0.0
    if correlated or len(branches) < 2:
        estimated, kappa, error = _estimate(pair, sft, rl)
        branches = branches if len(branches) == 2 else estimated
        if pair.independent:
            kappa, error = 0.0, 0.0
    s, r = branches
    errors = [s.sigma2_error, r.sigma2_error, error, *s.bias_error, *r.bias_error]
    return SampledMoments(
        bias_s=s.bias,
        bias_r=r.bias,
        sigma_s2=s.sigma2,
        sigma_r2=r.sigma2,
        kappa=kappa,
        error=float(max(errors)),
        exact=s.exact and r.exact and error == 0.0,
    )


def _estimate(
    pair: PairNoise, sft: BranchLaw, rl: BranchLaw
) -> tuple[list[ClippedMoments], float, float]:
    """Both branches and kappa with its standard error, from one set of draws."""
    means = np.asarray(sft.mean), np.asarray(rl.mean)
    draw = pair.draw(np.random.default_rng(0), ESTIMATE_DRAWS)
    branches, centred = [], []
    for law, g, e in zip((sft, rl), means, pair.noise(draw, *means), strict=True):
        sample = g + np.sqrt(law.level) * e
        shift = (sample if law.clipping is None else law.clipping.apply(sample)) - g
        bias = shift.mean(axis=0)
        centred.append(shift - bias)
        square = np.sum(centred[-1] ** 2, axis=-1)
        branches.append(
            ClippedMoments(
                bias,
                float(square.sum() / (ESTIMATE_DRAWS - 1)),
                shift.std(axis=0, ddof=1) / np.sqrt(ESTIMATE_DRAWS),
                float(square.std(ddof=1) / np.sqrt(ESTIMATE_DRAWS)),
                False,
            )
        )
    product = np.sum(centred[0] * centred[1], axis=-1)
    kappa = float(product.sum() / (ESTIMATE_DRAWS - 1))
    return branches, kappa, float(product.std(ddof=1) / np.sqrt(ESTIMATE_DRAWS))
