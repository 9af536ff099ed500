"""Bounds of the group-relative advantages."""

from __future__ import annotations

import math

import numpy as np

from gac_ref._typing import BoolArray, FloatArray
from gac_ref.advantages import CONVENTIONS, AdvantageConvention
from gac_ref.conformance.tolerance.primitives import (
    Arithmetic,
    Tolerance,
    Work,
    root_error,
    variance,
)

__all__ = ["advantages"]


def advantages(work: Work) -> dict[str, Tolerance]:
    r""":math:`A = (r - \bar r) / (s + \epsilon)`, with the cancellation in the numerator.

    A group without spread is exactly 0 where its sum is exact in the format (rewards 0 and 1 are),
    and otherwise rounding divided by rounding plus eps, which no first-order bound limits: there
    :math:`|A| \le \sqrt G`.
    """
    values, where = work.values, work.tokens
    rule = CONVENTIONS[values["convention"]]
    golden = np.asarray(values["group_advantages"], dtype=np.float64)
    reward = np.asarray(values["rewards"], dtype=np.float64)
    # A port that rounds its rewards rounds equal ones alike: their errors are known exactly.
    shift = _rounding(where, reward) if work.injected else np.zeros_like(reward)
    extra = 0.0 if work.errors is None else work.errors.get("rewards", 0.0)
    carried = np.broadcast_to(np.asarray(extra, dtype=np.float64), reward.shape)
    counted = np.ones(reward.shape, dtype=np.bool_)
    if rule.experts != "pooled":
        counted = ~np.asarray(values["is_expert"], dtype=np.bool_)
    ids = np.asarray(values["group_ids"])
    batch = _spread(where, rule, reward[counted], shift[counted], carried[counted])
    top, bottom, bounded = (np.zeros(reward.shape) for _ in range(3))
    for group in np.unique(ids):
        rows = ids == group
        chosen = rows & counted
        parts = _group(where, rule, reward, shift, carried, rows, chosen, batch)
        top[rows], bottom[rows], bounded[rows] = parts
    budget = work.budget()
    budget.add("r - mean", np.minimum(top, bounded), "(e_r + e_mean + u |r - mean|) / (s + eps)")
    budget.add("spread", np.minimum(bottom, bounded), "|A| e_s / (s + eps)")
    budget.add("division", 3.0 * where.u * np.abs(golden), "3 * {u} |A|", u=where.u)
    if rule.experts == "zero":
        budget.total = np.where(counted, budget.total, 0.0)
    result: Tolerance = budget.tolerance(golden, 0.0)
    zero = (budget.total == 0.0) & (golden == 0.0)
    limit = np.where(zero, 0.0, result.limit + where.tiny)
    return {"group_advantages": result._replace(limit=limit)}


def _group(
    where: Arithmetic,
    rule: AdvantageConvention,
    reward: FloatArray,
    shift: FloatArray,
    carried: FloatArray,
    rows: BoolArray,
    chosen: BoolArray,
    batch: tuple[float, float],
) -> tuple[FloatArray, FloatArray, float]:
    """Errors of the numerator and of the spread, over s + eps, and a bound of either."""
    own, own_shift, own_error = reward[rows], shift[rows], carried[rows]
    sample, moved, error = reward[chosen], shift[chosen], carried[chosen]
    members = len(sample)
    u = where.u
    if members == 1 and rule.singleton == "raw":
        scale = 1.0 / (1.0 + rule.eps) if rule.divides else 1.0
        return (np.abs(own_shift) + own_error) * scale, np.zeros(len(own)), math.inf
    mean = float(sample.mean()) if members else 0.0
    a = where.sum(members, systematic=True)
    size = float(np.abs(sample).mean()) if members else 0.0
    equal = members > 0 and float(np.ptp(sample)) == 0.0
    exact = _sums_exactly(where, sample + moved)
    mean_error = 0.0 if exact and equal else ((0.0 if exact else a) + 2.0 * u) * size
    mean_error += float(error.mean()) if members else 0.0
    drift = np.abs(own_shift - (float(moved.mean()) if members else 0.0))
    difference = np.abs(own - mean)
    numerator = drift + own_error + mean_error + u * difference
    if not rule.divides:
        return numerator, np.zeros(len(own)), math.inf
    v, v_error = batch if rule.spread == "batch" else _spread(where, rule, sample, moved, error)
    v, v_error = max(v, rule.variance_floor), v_error + where.constant * rule.variance_floor
    root = math.sqrt(v)
    off = root_error(v, v_error, u) if v_error or v else 0.0
    if rule.no_spread == "unit" and v == 0.0:
        root, off = 1.0, (0.0 if off == 0.0 else 1.0)  # open: the spread is 0, or rounding
    eps_error = where.constant * rule.eps
    low = max(root - off, 0.0) + rule.eps
    spread = difference / (root + rule.eps) * (off + eps_error + u * root) / low
    # However small the spread, an advantage cannot exceed what normalisation leaves.
    cap = math.inf
    if rule.spread == "group" and rule.variance_floor == 0.0:
        inside = bool(chosen[rows].all())
        cap = 2.0 * math.sqrt(max(members, 1)) if inside else math.inf
    return numerator / low, spread, cap


def _spread(
    where: Arithmetic,
    rule: AdvantageConvention,
    sample: FloatArray,
    moved: FloatArray,
    error: FloatArray,
) -> tuple[float, float]:
    """The variance under the convention's ddof, and its error."""
    n = len(sample)
    if n == 0:
        return 0.0, 0.0
    equal = float(np.ptp(sample)) == 0.0
    drift = np.abs(moved - float(moved.mean())) + error
    v, parts = variance(where, sample, drift, systematic=True)
    if equal and _sums_exactly(where, sample + moved):
        parts["centring"] = 0.0
    scale = n / max(n - rule.ddof, 1)
    return v * scale, sum(parts.values()) * scale


def _rounding(where: Arithmetic, values: FloatArray) -> FloatArray:
    """The signed error of rounding into the format."""
    if where.name == "fp64":
        return np.zeros_like(values)
    return where.rounded(values) - values


def _sums_exactly(where: Arithmetic, values: FloatArray) -> bool:
    r"""Whether every order of adding the values is exact.

    It is where all are multiples of some :math:`2^q` and :math:`\sum |x| \le 2^q / (2u)`.
    """
    total = float(np.abs(values).sum())
    if total == 0.0:
        return True
    quantum = math.ldexp(2.0 * where.u, math.frexp(total)[1])
    return bool(np.all(np.remainder(values, quantum) == 0.0))
