"""Bounds of the three proxies of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref._typing import BoolArray, FloatArray
from gac_ref.conformance.tolerance.primitives import EITHER, EXACT, Tolerance, Work, variance

__all__ = ["proxies", "trimmed"]

DIVISION = 3.0
"""Roundings in dividing by a count: of the count, of its reciprocal, of the product."""


def proxies(work: Work) -> dict[str, Tolerance]:
    """Trimmed variance, variance, mean; the ``has_`` flags are exact."""
    values = work.values
    expert = np.asarray(values["is_expert"], dtype=np.bool_)
    every = work.config.disagreement_rows == "all"
    compared = np.ones_like(expert) if every else ~expert
    out = dict.fromkeys(("has_s", "has_r", "has_delta"), EXACT)
    out |= _variance(work, "s", "nll", expert)
    out |= _variance(work, "r", "advantage", ~expert)
    out["proxy_delta_g2"] = _mean(work, compared)
    return out


def _variance(work: Work, branch: str, source: str, rows: BoolArray) -> dict[str, Tolerance]:
    value, flag = f"proxy_sigma_{branch}2", f"sigma_{branch}2_floored"
    golden, eps, where = float(work.values[value]), work.config.eps, work.coarser
    if not work.values[f"has_{branch}"] or not np.isfinite(golden):
        return {value: EXACT, flag: EXACT}
    sample, error = _sample(work, source, rows)
    if branch == "s":
        sample, error = trimmed(sample, error, work.config.trim_ratio)
    v, parts = variance(where, sample, error, systematic=bool(np.ptp(sample) == 0.0))
    total = sum(parts.values()) + where.tiny
    floor = where.constant * eps + where.tiny
    decided = abs(v - eps) > total + floor
    budget = work.budget()
    if decided and v < eps:
        budget.add("the floor is a constant", floor, "{u} eps", u=where.constant)
    else:
        formulas = {
            "inputs": "2/n sum |x - m| e + mean e^2",
            "squares": "a sqrt(v (v + m^2)) + 4 u v",
            "centring": "((a + 2 u) mean |x|)^2",
        }
        for name, size in parts.items():
            budget.add(name, size, formulas[name])
        if not decided:
            budget.add("the floor is a constant", floor, "{u} eps", u=where.constant)
    return {
        value: budget.tolerance(golden, where.tiny),
        flag: EXACT if decided else EITHER,
    }


def _mean(work: Work, rows: BoolArray) -> Tolerance:
    golden, where = float(work.values["proxy_delta_g2"]), work.coarser
    if not work.values["has_delta"] or not np.isfinite(golden):
        return EXACT
    sample, error = _sample(work, "disagreement", rows)
    n = max(len(sample), 1)
    share = where.sum(n, systematic=bool(len(sample) and np.ptp(sample) == 0.0))
    share += DIVISION * where.u
    budget = work.linear(where)
    budget.add("inputs", float(np.sum(error)) / n, "mean of their errors")
    size = share * float(np.abs(sample).sum()) / n
    budget.add("mean", size, "{a} * mean |x|", a=share)
    tolerance: Tolerance = budget.tolerance(golden, where.tiny)
    return tolerance


def _sample(work: Work, name: str, rows: BoolArray) -> tuple[FloatArray, FloatArray]:
    values, error = work.real(name, work.coarser)
    kept = np.asarray(values, dtype=np.float64)[rows]
    return kept, np.broadcast_to(np.asarray(error, dtype=np.float64), rows.shape)[rows]


def trimmed(values: FloatArray, error: FloatArray, ratio: float) -> tuple[FloatArray, Any]:
    r"""What trimming keeps, and the error of each order statistic.

    An order statistic grows with every value, so that the i-th one lies between the i-th smallest
    of the :math:`x_j - \delta_j` and that of the :math:`x_j + \delta_j`, and reaches both: the
    error of an outlier stays with the outlier.
    """
    order = np.argsort(values, kind="stable")
    x, e = values[order], error[order]
    lost = np.isnan(x)  # a NaN sorts last, where trimming may drop it
    if lost.any():
        x, e = np.where(lost, np.inf, x), np.where(lost, 0.0, e)
    with np.errstate(invalid="ignore"):
        upper = np.sort(x + e) - x
        lower = x - np.sort(x - e)
    k = int(x.size * ratio) if x.size >= 4 else 0
    kept = slice(k, x.size - k)
    return x[kept], np.maximum(upper, lower)[kept]
