"""Independent exact oracles: plain loops over ``Fraction`` and 50-digit ``mpmath`` numbers.

Written from the specification text alone, never from the package under test. Every float input is
converted exactly; nothing here imports NumPy or the package under test.

What follows which part of the specification (section numbers are those of method.md):

=============  ====================================================================================
``exact``      number conversions and the golden-section search (no section: arithmetic only)
``risk``       section 1: exact risk, curvature, minimisers, shrinkage, regret, sensitivities
``bounds``     section 1: triangle bound, Young family, effective-noise surrogate, their minimisers
``simplex``    section 1, last item: K signals over the simplex by support enumeration
``gradients``  section 2: noise, unbiased distance, paired covariance, two-batch-size estimator
``statistics`` section 3 and the contract's "Proxies": masked mean, trimming, the three proxies, KL
``priors``     section 4, "Prior": linear warm-up, cosine decay, valley
``guards``     section 4: smoothing, cap, blend, clip, KL-driven alpha
``controller`` the contract's "Order of one update", over every configuration axis
``authority``  section 4: steady-state gain of the guard recursion, found by running it
``measures``   section 3, stage by stage: coefficients, one number a sequence, proxies, batch KL
``objectives`` the tables of peers.md: group advantages; the loss of a micro-batch, its gradient
``stages``     the contract's "Order of one update", every stage on its own, steps, trajectories
=============  ====================================================================================

Importing the package sets ``mpmath.mp.dps`` to 50.
"""

from __future__ import annotations

from . import (
    authority,
    bounds,
    controller,
    exact,
    gradients,
    guards,
    measures,
    objectives,
    priors,
    risk,
    simplex,
    stages,
    statistics,
)

__all__ = [
    "authority",
    "bounds",
    "controller",
    "exact",
    "gradients",
    "guards",
    "measures",
    "objectives",
    "priors",
    "risk",
    "simplex",
    "stages",
    "statistics",
]
