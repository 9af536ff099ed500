"""References for GAC: inverse-variance weighting, and the closed form on exact values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines._fields import real
from gac_ref.baselines._reader import Reader, constant_state
from gac_ref.baselines.protocol import MixInfo, MixState, advance, start
from gac_ref.config import GACConfig
from gac_ref.errors import fail
from gac_ref.risk import closed_form

__all__ = ["InverseVariance", "OracleGAC"]


@dataclass(frozen=True, kw_only=True)
class InverseVariance:
    r"""Inverse-variance weighting: GAC's closed form without disagreement.

    .. math:: \mu = \frac{\sigma_r^2}{\sigma_s^2 + \sigma_r^2}

    The weight that minimises the variance of the mixture, whatever the two gradients point at. It
    takes this step's statistics, unsmoothed and unguarded; for smoothing and guards run a
    `GACConfig` on proxies with ``delta_g2=0``.

    Args:
        statistics: How the two statistics are taken from a `Batch` (its `trim_ratio`, `eps`,
            `mask_eps` and `masking`). ``GACConfig()``.
        init_mu: Weight held until both statistics are known, in [0, 1]. 0.5, GAC's.

    Reads ``proxies``: sigma_s2 and sigma_r2. A branch that is missing (``has_s``, ``has_r``) holds
    the weight. Without any noise the weight is 1/2, flagged ``flat``.

    Raises:
        GACError: A field is invalid.

    Examples:
        >>> from gac_ref import Proxies, baselines
        >>> rule = InverseVariance()
        >>> signals = baselines.Signals(proxies=Proxies(1.0, 3.0, delta_g2=8.0))
        >>> float(baselines.update(rule, baselines.init(rule), signals, step=0)[1].mu)
        0.75

    References:
        docs/method.md, section 1; arXiv:2605.26184, section 3.1, with D2 = 0.
    """

    statistics: GACConfig = field(default_factory=GACConfig)
    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = ("proxies",)

    def __post_init__(self) -> None:
        """Validate."""
        if not isinstance(self.statistics, GACConfig):
            fail(f"InverseVariance: statistics = {self.statistics!r} is not a GACConfig; pass one")
        real(self, "init_mu", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class OracleGAC:
    r"""The closed form on the exact noise and disagreement: what GAC would do if it knew.

    .. math:: \mu^* = \frac{\alpha \Delta^2 + \sigma_r^2}{\Delta^2 + \sigma_s^2 + \sigma_r^2}

    No smoothing, prior, cap or clip. It has zero regret at every step by construction, so the
    regret of any rule is its distance from this one.

    Args:
        alpha: Weight of the SFT gradient in the target, in [0, 1]. 0.5, GAC's.
        init_mu: Weight held until the values are known, in [0, 1]. 0.5, GAC's.

    Reads ``true_sigma_s2``, ``true_sigma_r2`` and ``true_delta_g2``. Where all three are 0 the risk
    is flat and the weight is alpha, flagged ``flat``.

    Raises:
        GACError: A field is out of range.

    Examples:
        >>> from gac_ref import baselines
        >>> rule = OracleGAC()
        >>> signals = baselines.Signals(true_sigma_s2=1.0, true_sigma_r2=3.0, true_delta_g2=4.0)
        >>> float(baselines.update(rule, baselines.init(rule), signals, step=0)[1].mu)
        0.625

    References:
        arXiv:2605.26184, section 3.1; :func:`gac_ref.closed_form`, :func:`gac_ref.regret`.
    """

    alpha: float = 0.5
    init_mu: float = 0.5

    reads: ClassVar[tuple[str, ...]] = ("true_sigma_s2", "true_sigma_r2", "true_delta_g2")

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "alpha", "init_mu", low=0.0, high=1.0)


start.register(InverseVariance)(constant_state)
start.register(OracleGAC)(constant_state)


@advance.register(InverseVariance)
def _advance_inverse(
    rule: InverseVariance, state: MixState, signals: Any, step: int
) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    proxies = reader.proxies()
    s = reader.checked("sigma_s2", _present(proxies.sigma_s2, proxies.has_s), low=0.0)
    r = reader.checked("sigma_r2", _present(proxies.sigma_r2, proxies.has_r), low=0.0)
    return _closed_form(reader, s, r, np.zeros(reader.shape), 0.5)


@advance.register(OracleGAC)
def _advance_oracle(
    rule: OracleGAC, state: MixState, signals: Any, step: int
) -> tuple[MixState, MixInfo]:
    reader = Reader(rule, state, signals, MixState)
    s, r, d = (reader.read(name, low=0.0) for name in rule.reads)
    return _closed_form(reader, s, r, d, rule.alpha)


def _closed_form(
    reader: Reader, s: FloatArray, r: FloatArray, d: FloatArray, alpha: float
) -> tuple[MixState, MixInfo]:
    known = ~(np.isnan(s) | np.isnan(r) | np.isnan(d))
    s, r, d = (np.where(known, value, 0.0) for value in (s, r, d))
    reader.flags["flat"] = known & (s == 0.0) & (r == 0.0) & (d == 0.0)
    return reader.finish(closed_form(s, r, d, alpha))


def _present(value: ArrayLike, has: ArrayLike) -> FloatArray:
    """`value`, NaN where the branch is missing."""
    return np.where(np.asarray(has, dtype=np.bool_), np.asarray(value, dtype=np.float64), np.nan)
