"""Monte Carlo comparisons in standard errors, and the noises that several tests go through."""

from __future__ import annotations

import numpy as np

from simulations.noise import (
    Anisotropic,
    Contaminated,
    Dense,
    Isotropic,
    Laplace,
    LowRank,
    Multiplicative,
    StudentT,
)

STANDARD_ERRORS = 5.5
"""A correct value is missed by more with probability 4e-8 a comparison (normal, two-sided). The
noise tests make fewer than 10,000, so one of them fails by chance with probability below 4e-4,
once and for all: the seeds are fixed."""

ROUNDING = 1e-12
"""Relative to the scale of the values: a few thousand roundings."""

DRAWS = 40_000
GRADIENT = np.array([1.5, -0.5, 2.0])

_MATRIX = ((2.0, 0.5, 0.0), (0.5, 1.0, -0.4), (0.0, -0.4, 0.5))
_TILTED = Anisotropic(variances=(0.2, 1.0, 3.0), rotation=5)

GAUSSIANS = {
    "isotropic": Isotropic(dimension=3, sigma2=2.0),
    "anisotropic": Anisotropic(variances=(0.0, 1.0, 3.0)),
    "rotated": _TILTED,
    "low_rank": LowRank(dimension=3, rank=1, sigma2=2.0, floor=0.1, rotation=2),
    "singular": LowRank(dimension=3, rank=2, sigma2=1.5, rotation=3),
    "dense": Dense(matrix=_MATRIX),
    "multiplicative": Multiplicative(dimension=3, relative=0.6),
    "common_factor": Multiplicative(dimension=3, relative=0.6, common=True),
}

# Tails light enough for the squared noise to have a usable standard error.
TAILED = {
    "student_shared": StudentT(base=_TILTED, df=9.0),
    "student_each": StudentT(base=_TILTED, df=9.0, elliptical=False),
    "laplace_shared": Laplace(base=_TILTED, elliptical=True),
    "laplace_each": Laplace(base=Isotropic(dimension=3, sigma2=2.0)),
    "contaminated_shared": Contaminated(base=_TILTED, share=0.1, ratio=9.0),
    "contaminated_each": Contaminated(base=_TILTED, share=0.1, ratio=9.0, elliptical=False),
    "student_multiplicative": StudentT(base=Multiplicative(dimension=3, relative=0.5), df=9.0),
}

NOISES = GAUSSIANS | TAILED


def assert_mean_is(samples, exact, *, error=None):
    """The mean over axis 0 is `exact` within STANDARD_ERRORS, known or taken from the samples.

    A coordinate without spread has to be exact up to rounding.
    """
    samples = np.asarray(samples, dtype=np.float64)
    if error is None:
        error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    exact = np.asarray(exact, dtype=np.float64)
    slack = STANDARD_ERRORS * error + ROUNDING * (np.abs(exact) + np.abs(samples).mean(axis=0))
    miss = np.abs(samples.mean(axis=0) - exact)
    assert np.all(np.isfinite(miss))
    worst = np.unravel_index(int(np.argmax(miss - slack)), miss.shape)
    assert np.all(miss <= slack), (
        f"mean {samples.mean(axis=0)[worst]!r} against exact {exact[worst]!r}: "
        f"off by {miss[worst] / np.broadcast_to(error, miss.shape)[worst]:.1f} standard errors"
    )
