r"""Which statistic moved the raw estimate: an exact split of each of its changes.

The closed form is a function of :math:`(\sigma_s^2, \sigma_r^2, \Delta_g^2, \alpha)`. A change of
its value between two refreshes is split by Shapley's rule: the part of a statistic is the change
that it makes when it is the next to take its new value, averaged over all orders in which they can.
The parts sum to the change, and a statistic that did not move has none. What "driven by" means is
ours; the paper's text is not available to us.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from gac_ref import GACConfig, guards
from gac_ref._typing import BoolArray, FloatArray
from gac_ref.errors import fail
from simulations.analysis.question import finite

__all__ = ["STATISTICS", "drivers", "raw_estimate", "split_movement"]

STATISTICS = ("sigma_s2", "sigma_r2", "delta_g2", "alpha")
"""The inputs of the closed form, in their order."""


def raw_estimate(config: GACConfig, values: FloatArray) -> FloatArray:
    """The controller's closed form of its smoothed statistics.

    Args:
        config: Reads `flat_risk`, `eps` and `delta_g2_cap_ratio`.
        values: In the order of :data:`STATISTICS`, [4, ...].

    Returns:
        The raw estimate, [...].

    Examples:
        >>> float(raw_estimate(GACConfig(), np.array([1.0, 3.0, 0.0, 0.5])))
        0.75
    """
    s, r, delta, alpha = values
    capped, _ = guards.cap_disagreement(
        delta, s, r, ratio=config.delta_g2_cap_ratio, eps=config.eps
    )
    return guards.guarded_closed_form(
        s, r, capped, alpha, flat_risk=config.flat_risk, eps=config.eps
    )[0]


def split_movement(config: GACConfig, values: FloatArray) -> FloatArray:
    r"""Part of each statistic in each change of the raw estimate.

    .. math:: \phi_k = \sum_{S \not\ni k} \frac{|S|!\,(3 - |S|)!}{4!}
                       \bigl(\mu(S \cup k) - \mu(S)\bigr)

    Args:
        config: The configuration.
        values: Smoothed statistics at each refresh, [4, T, ...], T >= 2.

    Returns:
        Parts, [4, T - 1, ...]; over the first axis they sum to the changes.

    Raises:
        GACError: Fewer than two refreshes, or a value is not finite.

    Examples:
        >>> values = np.array([[1.0, 1.0], [1.0, 3.0], [0.0, 0.0], [0.5, 0.5]])
        >>> split_movement(GACConfig(), values)[:, 0].tolist()
        [0.0, 0.25, 0.0, 0.0]
    """
    finite(values, "statistics")
    if values.shape[0] != len(STATISTICS) or values.shape[1] < 2:
        fail(f"statistics have shape {values.shape}; pass [4, T, ...] with T >= 2")
    old, new = values[:, :-1], values[:, 1:]
    names = range(len(STATISTICS))

    def at(moved: frozenset[int]) -> FloatArray:
        return raw_estimate(config, np.stack([(new if k in moved else old)[k] for k in names]))

    subsets = [
        frozenset(chosen)
        for size in range(len(STATISTICS) + 1)
        for chosen in itertools.combinations(names, size)
    ]
    found = {subset: at(subset) for subset in subsets}
    parts = np.zeros(old.shape)
    for subset, value in found.items():
        for k in names:
            if k not in subset:
                size = len(subset)
                weight = math.factorial(size) * math.factorial(3 - size) / math.factorial(4)
                parts[k] += weight * (found[subset | {k}] - value)
    return parts


def drivers(parts: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Where each statistic has the largest part, and where anything moved at all.

    Args:
        parts: From `split_movement`, [4, T, ...].

    Returns:
        Ones where a statistic is the driver (ties are shared), [4, T, ...]; where there was a
        change, [T, ...].

    Examples:
        >>> driver, moved = drivers(np.array([[0.1, 0.0], [-0.3, 0.0], [0.2, 0.0], [0.0, 0.0]]))
        >>> driver[:, 0].tolist(), moved.tolist()
        ([0.0, 1.0, 0.0, 0.0], [True, False])
    """
    size = np.abs(parts)
    largest = size.max(axis=0)
    moved = np.asarray(largest > 0.0)
    first = ((size == largest) & moved).astype(np.float64)
    return first / np.maximum(first.sum(axis=0), 1.0), moved
