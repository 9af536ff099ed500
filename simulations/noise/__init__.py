"""Noisy gradients and batches whose exact moments are known, as composable pieces.

A noise (`Isotropic` ... `Multiplicative`) is one branch's; a pair (`Independent` ... `PairSum`)
is both branches'; a regime (`Constant` ... `RandomWalk`) is a number over time. Together they make
`SyntheticGradients`, a problem for the engine; `SCENARIOS` names some. `TokenBatches` makes
:class:`gac_ref.Batch` objects instead, for the coefficient-space proxies.
"""

from __future__ import annotations

from simulations.noise.base import Noise
from simulations.noise.catalog import KINDS, from_dict, to_dict
from simulations.noise.clipped_pair import BranchLaw, SampledMoments, sampled_moments
from simulations.noise.clipping import ClippedMoments, Clipping
from simulations.noise.gaussian import Anisotropic, Dense, Isotropic, LowRank
from simulations.noise.joint import (
    Correlated,
    Independent,
    JointGaussian,
    PairSum,
)
from simulations.noise.lengths import LengthLaw
from simulations.noise.multiplicative import Multiplicative
from simulations.noise.pair import PairMoments, PairNoise
from simulations.noise.plane import PlaneVector, plane_basis
from simulations.noise.regimes import Burst, Constant, Product, Ramp, Regime, Seasonal, Step
from simulations.noise.scenarios import SCENARIOS, scenario
from simulations.noise.synthetic import SyntheticGradients
from simulations.noise.tails import Contaminated, Laplace, StudentT
from simulations.noise.token_moments import TokenMoments, token_moments
from simulations.noise.tokens import TokenBatches
from simulations.noise.walk import RandomWalk

__all__ = [
    "KINDS",
    "SCENARIOS",
    "Anisotropic",
    "BranchLaw",
    "Burst",
    "ClippedMoments",
    "Clipping",
    "Constant",
    "Contaminated",
    "Correlated",
    "Dense",
    "Independent",
    "Isotropic",
    "JointGaussian",
    "Laplace",
    "LengthLaw",
    "LowRank",
    "Multiplicative",
    "Noise",
    "PairMoments",
    "PairNoise",
    "PairSum",
    "PlaneVector",
    "Product",
    "Ramp",
    "RandomWalk",
    "Regime",
    "SampledMoments",
    "Seasonal",
    "Step",
    "StudentT",
    "SyntheticGradients",
    "TokenBatches",
    "TokenMoments",
    "from_dict",
    "plane_basis",
    "sampled_moments",
    "scenario",
    "to_dict",
    "token_moments",
]
