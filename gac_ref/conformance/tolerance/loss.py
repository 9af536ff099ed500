"""Bounds of the hybrid loss and of its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref._typing import BoolArray, FloatArray
from gac_ref.conformance.tolerance.primitives import EXACT, MARGIN, Budget, Tolerance, Work
from gac_ref.losses import aggregation_weights

__all__ = ["loss"]

ENUMERATED = 5
"""Undecided tokens whose every combination of sides is listed: 31 gradients."""

WEIGHT = 5.0
"""Roundings of a token's weight: two counts, their quotient, and its products with the branch
weight and the token's loss."""


def loss(work: Work) -> dict[str, Tolerance]:
    r"""The value and gradient of :math:`(1 - \mu) L_{RL} + \mu L_{SFT}`.

    Near a clip bound, where rounding decides on which side the ratio lies, the gradient may be
    that of either side: the other one is listed as an alternative. The value has no jump there.
    """
    values, where = work.values, work.tokens
    mask = np.asarray(values["response_mask"], dtype=np.bool_)
    expert = np.asarray(values["is_expert"], dtype=np.bool_)
    mu, mu_error = work.real("mu", where)
    weights = _weights(work, mask, expert)
    mixed = np.where(expert[:, None], mu, 1.0 - mu) * weights
    value, grad = work.budget(), work.budget()
    _surrogate(work, value, grad, mask & ~expert[:, None], mixed)
    _supervised(work, value, grad, mask & expert[:, None], mixed)
    tokens = np.abs(mixed * _token_loss(work, mask, expert))
    size = float(tokens.sum())
    a = where.sum(int(mask.sum()), systematic=True) + WEIGHT * where.u
    value.add("weights and sum", a * size, "{a} sum |W loss|", a=a)
    plain = float(np.abs(weights * _token_loss(work, mask, expert)).sum())
    mu_error = mu_error + where.u * abs(1.0 - mu)
    value.add("mu", mu_error * plain, "{e} (|L_RL| + |L_SFT|)", e=mu_error)
    golden = np.asarray(values["loss_grad"], dtype=np.float64)
    grad.add("weights", WEIGHT * where.u * np.abs(golden), "5 * {u} |g|", u=where.u)
    slope = np.abs(weights * _token_slope(work, mask, expert))
    grad.add("mu", mu_error * slope, "{e} |W slope|", e=mu_error)
    other = _other_sides(work, mask & ~expert[:, None], mixed, golden)
    result: Tolerance = grad.tolerance(golden, where.tiny, other)
    limit = np.where(mask, result.limit, 0.0)
    total = float(values["loss_value"])
    return {
        "loss_value": value.tolerance(total, where.tiny) if np.isfinite(total) else EXACT,
        "loss_grad": result._replace(limit=limit),
    }


def _weights(work: Work, mask: BoolArray, expert: BoolArray) -> FloatArray:
    weights = np.zeros(mask.shape)
    for rows, branch in ((~expert, "rl"), (expert, "sft")):
        weights[rows] = aggregation_weights(
            mask[rows],
            work.values[f"{branch}_aggregation"],
            normalizer=work.values.get(f"{branch}_normalizer"),
        )
    return weights


def _ratio(work: Work, rows: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Ratio, its error, lower and upper bound at the rollouts' tokens, [B, T]."""
    values, where = work.values, work.tokens
    new, old = (np.where(rows, values[name], 0.0) for name in ("logprob", "old_logprob"))
    gain = np.where(rows, _per_token(values["advantages"], rows), 0.0)
    argument = new - old
    with np.errstate(over="ignore"):
        ratio = np.exp(argument)
    moved = where.rounding(new) + where.rounding(old) + where.u * np.abs(argument)
    error = ratio * (moved + where.exponential(argument))
    low = np.where(gain < 0.0, 1.0 - values["clip_low"], 0.0)
    high = np.where(gain < 0.0, np.inf, 1.0 + values["clip_high"])
    return ratio, error, low, high


def _near(work: Work, rows: BoolArray) -> BoolArray:
    """Tokens whose ratio is within the error of a bound."""
    ratio, error, low, high = _ratio(work, rows)
    bound_error = (2.0 * work.tokens.constant + 2.0 * work.tokens.u) * 2.0
    slack = MARGIN * (error + bound_error)
    finite = np.where(np.isinf(high), 0.0, high)
    near_high = np.isfinite(high) & (np.abs(ratio - finite) <= slack)
    near_low = (low > 0.0) & (np.abs(ratio - low) <= slack)
    return np.asarray(rows & (near_high | near_low))


def _surrogate(work: Work, value: Budget, grad: Budget, rows: BoolArray, mixed: FloatArray) -> None:
    where = work.tokens
    gain = np.where(rows, _per_token(work.values["advantages"], rows), 0.0)
    ratio, error, low, high = _ratio(work, rows)
    near = _near(work, rows)
    clipped = ((ratio < low) | (ratio > high)) & ~near
    bound = np.minimum(np.maximum(ratio, low), high)
    bound_error = (2.0 * where.constant + where.u) * bound
    token = np.where(clipped, bound_error, np.where(near, np.maximum(error, bound_error), error))
    weight = np.abs(mixed * gain)
    rounding = where.rounding(gain) * np.abs(mixed * bound)
    value.add("ratio", float((weight * token)[rows].sum()), "sum |W A| e_ratio")
    value.add("rounding of the advantages", float(np.sum(rounding)), "sum |W ratio| |A - rounded|")
    live = np.where(clipped, 0.0, 1.0)
    grad.add("ratio", np.where(rows, weight * error * live, 0.0), "|W A| e_ratio")
    grad.add("rounding of the advantages", rounding * live, "|W ratio| |A - rounded A|")


def _supervised(
    work: Work, value: Budget, grad: Budget, rows: BoolArray, mixed: FloatArray
) -> None:
    where = work.tokens
    logprob = np.where(rows, work.values["logprob"], -1.0)
    size = np.where(rows, np.abs(mixed), 0.0)
    rounding = where.rounding(logprob)
    if work.values["sft"] == "nll":
        value.add("rounding of the inputs", float(np.sum(size * rounding)), "sum |W| |l - rounded|")
        return
    p = np.exp(logprob)
    slope, phi = p * np.abs(1.0 - 2.0 * p), p * (1.0 - p)
    error = slope * (rounding + where.exponential(logprob)) + where.u * (p * p + 2.0 * phi)
    moved = np.abs(logprob) * error + phi * rounding
    value.add("phi", float((size * moved).sum()), "sum |W l| e_phi")
    grad.add("phi", size * error, "|W| e_phi")


def _token_loss(work: Work, mask: BoolArray, expert: BoolArray) -> FloatArray:
    rows = mask & ~expert[:, None]
    ratio, _, low, high = _ratio(work, rows)
    gain = np.where(rows, _per_token(work.values["advantages"], rows), 0.0)
    bounded = np.minimum(np.maximum(ratio, low), high)
    logprob = np.where(mask, work.values["logprob"], 0.0)
    factor = _phi(work, logprob)
    return np.where(rows, -gain * bounded, np.where(mask, -logprob * factor, 0.0))


def _token_slope(work: Work, mask: BoolArray, expert: BoolArray) -> FloatArray:
    rows = mask & ~expert[:, None]
    ratio, _, low, high = _ratio(work, rows)
    gain = np.where(rows, _per_token(work.values["advantages"], rows), 0.0)
    inside = (low <= ratio) & (ratio <= high)
    factor = _phi(work, np.where(mask, work.values["logprob"], 0.0))
    return np.where(rows, np.where(inside, -gain * ratio, 0.0), np.where(mask, -factor, 0.0))


def _phi(work: Work, logprob: FloatArray) -> FloatArray:
    if work.values["sft"] == "nll":
        return np.ones_like(logprob)
    return np.asarray(np.exp(logprob) * -np.expm1(logprob))


def _other_sides(
    work: Work, rows: BoolArray, mixed: FloatArray, golden: FloatArray
) -> tuple[FloatArray, ...]:
    """The gradients with some of the undecided tokens on the other side of their clip bounds."""
    near = np.argwhere(_near(work, rows))
    if not len(near):
        return ()
    ratio, _, _, _ = _ratio(work, rows)
    gain = np.where(rows, _per_token(work.values["advantages"], rows), 0.0)
    other = np.where(golden == 0.0, -gain * ratio * mixed, 0.0)
    sides = []
    # Beyond `ENUMERATED` tokens only each by itself and all together.
    sets = range(1, 2 ** len(near)) if len(near) <= ENUMERATED else ()
    masks = [[bool(number >> k & 1) for k in range(len(near))] for number in sets]
    if not masks:
        masks = [[k == one for k in range(len(near))] for one in range(len(near))]
        masks.append([True] * len(near))
    for mask in masks:
        side = golden.copy()
        at = tuple(near[mask].T)
        side[at] = other[at]
        sides.append(side)
    return tuple(sides)


def _per_token(advantages: Any, mask: BoolArray) -> FloatArray:
    values = np.asarray(advantages, dtype=np.float64)
    return np.broadcast_to(values[:, None], mask.shape) if values.ndim == 1 else values
