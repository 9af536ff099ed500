"""How far two float64 evaluations of a stage may differ: units in the last place of its terms.

The expected values of a pack are those of a 50-digit oracle, rounded once. The estimator rounds
at every operation, so it differs from them by a few units of :math:`u S`, where u is the unit
roundoff of float64 and S the sum of the absolute terms of a sum (so that cancellation counts), or
the value itself where no terms cancel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray, BoolArray, FloatArray
from gac_ref.config import GACConfig
from gac_ref.conformance.case import Case
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.pack import Pack
from gac_ref.conformance.reference import Reference, evaluate
from gac_ref.conformance.schema import OUTPUTS
from gac_ref.conformance.stages import Field
from gac_ref.errors import GACError

__all__ = ["disagreement", "golden", "verify"]

Values = Mapping[str, Any]

PLATFORM_UNITS = 16.0
"""What another machine's exp, log and order of sums may add to the agreement at release."""


def verify(pack: Pack) -> list[str]:
    """Recompute every golden value with the estimator; one line for each case that disagrees.

    Examples:
        >>> from gac_ref.conformance.pack import load_pack
        >>> verify(load_pack()._replace(cases=load_pack().cases[:3]))
        []
    """
    return [line for case in pack.cases for line in _verify(case, pack.agreement)]


def _verify(case: Case, agreement: Mapping[str, float]) -> Iterator[str]:
    allowed = 2.0 * agreement.get(case.stage, 0.0) + PLATFORM_UNITS
    for dtype in case.dtypes:
        try:
            outputs = golden(case, dtype)
        except GACError as error:
            yield f"{case.id}, {dtype}: the estimator refuses it: {error}"
            continue
        for number, (exchange, output) in enumerate(
            zip(case.exchanges(dtype), outputs, strict=True)
        ):
            units, name = disagreement(
                case.stage, case.config, exchange.wide, exchange.expected, output
            )
            if not units <= allowed:
                yield (
                    f"{case.id}, {dtype}, exchange {number}: {name} differs by {units:.3g} units; "
                    f"{allowed:.3g} are allowed"
                )
                break


def golden(case: Case, dtype: str) -> list[dict[str, Any]]:
    """The estimator's answers to a case."""
    exchanges = case.exchanges(dtype)
    if case.kind != "trajectory":
        return [evaluate(case.stage, case.config, exchange.wide) for exchange in exchanges]
    port = Reference()
    port.configure(case.config.to_dict(), dtype=dtype, device="cpu")
    return [port.run("trajectory", exchange.inputs) for exchange in exchanges]


def disagreement(
    stage: str, config: GACConfig, wide: Values, expected: Values, given: Values
) -> tuple[float, str]:
    """The largest difference over the outputs, in units of u S, and the output that has it.

    Infinite where a flag, a count, a shape or the place of a NaN differs.
    """
    worst, where = 0.0, ""
    for name, value in expected.items():
        field = OUTPUTS[stage][name]
        units = _units(field, config, wide, expected, np.asarray(value), given.get(name))
        if not units <= worst:
            worst, where = units, name
    return worst, where


def _units(
    field: Field, config: GACConfig, wide: Values, expected: Values, value: AnyArray, given: Any
) -> float:
    other = np.asarray(np.nan if given is None else given)
    if other.shape != value.shape:
        return np.inf
    here = compared(field, config, wide, value.shape)
    if field.kind in ("flag", "count", "text"):
        return 0.0 if np.array_equal(value[here], other[here]) else np.inf
    scale = np.broadcast_to(_scale(field.name, config, wide, expected, value), value.shape)[here]
    value, other = value[here].astype(np.float64), other[here].astype(np.float64)
    same = (value == other) | (np.isnan(value) & np.isnan(other))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        units = np.abs(value - other) / (FORMATS["fp64"].unit_roundoff * scale)
    units = np.where(np.isnan(units), np.inf, units)
    return float(np.max(np.where(same, 0.0, units)))


def compared(field: Field, config: GACConfig, wide: Values, shape: tuple[int, ...]) -> BoolArray:
    """Which entries of an output mean something, and so are compared."""
    if field.rows == "all" or not shape:
        return np.ones(shape, dtype=np.bool_)
    if field.rows == "response":
        return np.asarray(wide["response_mask"], dtype=np.bool_)
    expert = np.asarray(wide["is_expert"], dtype=np.bool_)
    if field.rows == "experts":
        return expert
    if field.rows == "rollouts" or config.disagreement_rows == "rollouts":
        return ~expert
    return np.ones_like(expert)


def _scale(
    name: str, config: GACConfig, wide: Values, expected: Values, value: AnyArray
) -> FloatArray:
    """S of an output."""
    size = np.abs(value).astype(np.float64)
    if name in _SCALES:
        with np.errstate(all="ignore"):
            return np.asarray(np.fmax(size, _SCALES[name](config, wide, expected)))
    return size


def _terms(wide: Values, name: str) -> FloatArray:
    """The absolute values of a token array, 0 outside the response; NaN counts as nothing."""
    mask = np.asarray(wide["response_mask"], dtype=np.bool_)
    values = np.asarray(wide[name], dtype=np.float64)
    if values.ndim == 1:
        values = np.broadcast_to(values[:, None], mask.shape)
    return np.where(mask, np.abs(values), 0.0)


def _row_mean(wide: Values, terms: FloatArray) -> FloatArray:
    lengths = np.asarray(wide["response_mask"], dtype=np.bool_).sum(axis=1)
    return np.asarray(terms.sum(axis=1) / np.maximum(lengths, 1))


def _probability(wide: Values) -> FloatArray:
    mask = np.asarray(wide["response_mask"], dtype=np.bool_)
    return np.where(mask, np.exp(np.minimum(wide["logprob"], 0.0)), 0.0)


def _nll(config: GACConfig, wide: Values, expected: Values) -> FloatArray:
    return _row_mean(wide, _terms(wide, "logprob"))


def _advantage(config: GACConfig, wide: Values, expected: Values) -> FloatArray:
    return _row_mean(wide, _terms(wide, "advantages"))


def _disagreement(config: GACConfig, wide: Values, expected: Values) -> FloatArray:
    """Of the squares of the streams, each over its spread; 1 - p has lost p's last digit."""
    mask = np.asarray(wide["response_mask"], dtype=np.bool_)
    expert = np.asarray(wide["is_expert"], dtype=np.bool_)
    sft = _probability(wide) if config.use_phi else np.where(mask, 1.0, 0.0)
    rl = np.where(expert[:, None], 0.0, _terms(wide, "advantages"))
    if config.coefficient_normalization == "none":
        return _row_mean(wide, (sft + rl) ** 2)
    rows = mask if config.disagreement_rows == "all" else mask & ~expert[:, None]
    total = np.zeros(mask.shape)
    for stream, size in (("c_s", sft), ("c_r", rl)):
        values = np.asarray({**wide, **expected}[stream])[rows]
        spread = float(values.std()) if values.size else 0.0
        typical = size[rows].sum() / max(int(rows.sum()), 1)
        total = total + (size + typical) / (spread or 1.0)
    # The spread itself has lost digits, and enters every term.
    return _row_mean(wide, np.where(mask, total, 0.0) ** 2) * max(1.0, float(total.max(initial=0)))


def _kl(config: GACConfig, wide: Values, expected: Values) -> FloatArray:
    rows = np.asarray(wide["response_mask"], dtype=np.bool_)
    rows = rows & ~np.asarray(wide["is_expert"], dtype=np.bool_)[:, None]
    if wide.get("ref_logprob") is None or not rows.any():
        return np.zeros(())
    gap = np.asarray(wide["ref_logprob"])[rows] - np.asarray(wide["logprob"])[rows]
    size = np.abs(wide["ref_logprob"])[rows] + np.abs(wide["logprob"])[rows]
    return np.asarray((np.abs(np.expm1(gap)) + size).mean())


def _mean_square(name: str, expert: bool) -> Any:
    def scale(config: GACConfig, wide: Values, expected: Values) -> FloatArray:
        if name in wide:
            rows = np.abs(np.asarray(wide[name]))
        else:
            rows = {"nll": _nll, "advantage": _advantage}[name](config, wide, expected)
        chosen = rows[np.asarray(wide["is_expert"], dtype=np.bool_) == expert]
        return np.asarray((chosen**2).mean() if chosen.size else 0.0)

    return scale


def _mean_disagreement(config: GACConfig, wide: Values, expected: Values) -> FloatArray:
    if "disagreement" in wide:
        return np.asarray(np.abs(expected["proxy_delta_g2"]))
    rows = _disagreement(config, wide, expected)
    if config.disagreement_rows == "rollouts":
        rows = rows[~np.asarray(wide["is_expert"], dtype=np.bool_)]
    return np.asarray(rows.mean() if rows.size else 0.0)


def _group_advantages(config: GACConfig, wide: Values, expected: Values) -> FloatArray:
    rewards, groups = np.asarray(wide["rewards"]), np.asarray(wide["group_ids"])
    largest = float(np.abs(rewards).max(initial=0.0))
    condition = np.ones(rewards.shape)
    for group in np.unique(groups):
        members = rewards[groups == group]
        spread = float(members.std(ddof=1)) if members.size > 1 else 0.0
        condition[groups == group] = largest / (spread or 1.0)
    size = 1.0 + np.abs(expected["group_advantages"])
    return np.asarray(size * np.maximum(condition, largest))


def _loss_value(config: GACConfig, wide: Values, expected: Values) -> FloatArray:
    slopes = np.abs(np.asarray(expected["loss_grad"]))
    return np.asarray((slopes * (1.0 + _terms(wide, "logprob"))).sum())


def _loss_grad(config: GACConfig, wide: Values, expected: Values) -> FloatArray:
    size = 1.0 + _terms(wide, "logprob") + _terms(wide, "old_logprob")
    size = np.where(np.isnan(size), 1.0, size)
    return np.asarray(np.abs(expected["loss_grad"]) * size)


_SCALES: Mapping[str, Any] = {
    "c_s": lambda config, wide, expected: _probability(wide),
    "nll": _nll,
    "advantage": _advantage,
    "disagreement": _disagreement,
    "kl": _kl,
    "proxy_sigma_s2": _mean_square("nll", True),
    "proxy_sigma_r2": _mean_square("advantage", False),
    "proxy_delta_g2": _mean_disagreement,
    "group_advantages": _group_advantages,
    "loss_value": _loss_value,
    "loss_grad": _loss_grad,
}
