"""Correct ports that differ in how they add, mask, round and arrange: none may be failed.

Each declares the precision that it really has. What makes a control correct is written in its
description where it is not plain; none is allowed an error that its declaration does not cover.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.power.arithmetic import (
    ALL_SINGLE,
    MIXED,
    NARROW,
    WIDE,
    Arithmetic,
)
from gac_ref.conformance.power.model import Model

__all__ = ["CONTROLS", "Control", "controls"]


@dataclass(frozen=True, kw_only=True)
class Control:
    """A correct port.

    Args:
        name: Unique.
        description: What it does differently.
        arithmetic: How it computes, which is also what it declares.
        methods: Methods of the plain port that it replaces by equal ones.
        dtypes: In which dtypes it is correct.

    Examples:
        >>> CONTROLS[0].port().hello()["precision"]["fp64"]["tokens"]
        'fp64'
    """

    name: str
    description: str
    arithmetic: Arithmetic = MIXED
    methods: Mapping[str, Callable[..., Any]] = field(default_factory=dict, repr=False)
    dtypes: tuple[str, ...] = tuple(FORMATS)

    def port(self) -> Model:
        """The port."""
        made = type("Control", (Model,), {**self.methods, "name": self.name})
        port = made(self.arithmetic)
        assert isinstance(port, Model)
        return port


def _sums(name: str, description: str, base: Arithmetic = MIXED, **changes: Any) -> Control:
    return Control(
        name=f"{name} sums",
        description=description,
        arithmetic=base._replace(total=name, **changes),
    )


def _with(name: str, description: str, base: Arithmetic = MIXED, **methods: Any) -> Control:
    return Control(name=name, description=description, arithmetic=base, methods=methods)


def _how(name: str, description: str, base: Arithmetic = MIXED, **changes: Any) -> Control:
    return Control(name=name, description=description, arithmetic=base._replace(**changes))


def _rows_one_by_one(port: Model, x: AnyArray, mask: AnyArray) -> AnyArray:
    """Each sequence gathered and averaged by itself."""
    if port.config.masking == "multiply":
        return Model.masked_mean(port, x, mask)
    mean = np.zeros(len(x), dtype=x.dtype)
    for row, (values, kept) in enumerate(zip(x, mask, strict=True)):
        total = port.total(values[kept]) if kept.any() else port.wide(0.0)
        count = port.wide(np.count_nonzero(kept) + port.config.mask_eps)
        mean[row] = total / count if count else total
    return mean


def _unmasked_where_full(port: Model, x: AnyArray, mask: AnyArray) -> AnyArray:
    return x if mask.all() else Model.masked(port, x, mask)


def _fused(port: Model, x: AnyArray, mask: AnyArray) -> AnyArray:
    """Multiply and add without rounding between: emulated in float64."""
    if port.config.masking == "multiply" or x.dtype != np.float32:
        return Model.masked_mean(port, x, mask)
    total = np.where(mask, x, 0.0).astype(np.float64).sum(axis=-1)
    count = np.count_nonzero(mask, axis=-1) + port.config.mask_eps
    return np.asarray(total / np.where(count == 0.0, 1.0, count)).astype(x.dtype)


def _fused_moments(port: Model, x: AnyArray, rows: AnyArray, m: AnyArray) -> tuple[AnyArray, bool]:
    """Centre and spread in one pass over shifted values."""
    values = x[m & rows[:, None]]
    plain = Model.normalised(port, x, rows, m)
    if plain[1] or not values.size or not np.isfinite(x[rows]).all():
        return plain
    shift = values[0]
    shifted = (values - shift).astype(np.float64)
    centre = shifted.mean()
    spread = math.sqrt(max(np.square(shifted).mean() - centre * centre, 0.0))
    if spread <= 1e-3 * abs(centre):  # one pass has lost too much
        return plain
    z = ((x - shift).astype(np.float64) - centre) / spread
    return z.astype(x.dtype), False


def _reciprocal(port: Model, x: AnyArray, rows: AnyArray, m: AnyArray) -> tuple[AnyArray, bool]:
    """One division, then products."""
    values = x[m & rows[:, None]]
    plain = Model.normalised(port, x, rows, m)
    if plain[1] or not values.size or not np.isfinite(x[rows]).all():
        return plain
    inverse = x.dtype.type(1.0) / np.sqrt(port.variance(values))
    centre = values[0] + port.total(values - values[0]) / port.wide(values.size)
    return (x - centre) * inverse, False


def _increment(port: Model, previous: Any, value: Any) -> Any:
    return previous + (1.0 - port.config.ema_beta) * (value - previous)


def _shrinkage(port: Model, s: Any, r: Any, d: Any, alpha: Any) -> Any:
    """W alpha + (1 - w) mu_iv."""
    noise = s + r
    if port.config.flat_risk == "zero" or noise == 0.0 or port.flat(s, r, d) or d != d:
        return Model.mu_raw(port, s, r, d, alpha)
    weight = d / (d + noise)
    return weight * alpha + (port.real(1.0) - weight) * (r / noise)


def _other_order(port: Model, s: Any, r: Any, d: Any, alpha: Any) -> Any:
    if port.config.flat_risk == "alpha" and port.flat(s, r, d):
        return alpha
    bottom = s + (r + d) + (port.config.eps if port.config.flat_risk == "zero" else 0.0)
    top = r + d * alpha
    return top / bottom if bottom != 0.0 else top


def _clamped(port: Model, value: Any, low: float, high: float) -> tuple[Any, bool]:
    clipped = np.minimum(np.maximum(value, low), high)
    return port.real(clipped), bool(value < low or value > high)


def _median(port: Model, value: Any, low: float, high: float) -> tuple[Any, bool]:
    if value != value:
        return value, False
    return port.real(sorted((low, value, high))[1]), bool(value < low or value > high)


def _half_angle(port: Model, angle: float) -> float:
    """Cos a = 1 - 2 sin^2(a / 2)."""
    return 1.0 - 2.0 * math.sin(0.5 * angle) ** 2


def _capped(port: Model, v: Any) -> dict[str, Any]:
    """Previous + clip(change, -cap, cap), but for a candidate that the cap leaves alone."""
    previous, candidate, cap = v["previous_mu"], v["mu_candidate"], port.config.mu_change_cap
    change = candidate - previous
    acted = bool(change > cap or change < -cap)
    value = previous + port.real(min(max(change, -cap), cap)) if acted else candidate
    return {"mu_capped": value, "change_capped": acted}


def _counts_in_float(port: Model, mask: AnyArray) -> AnyArray:
    return np.asarray(mask.astype(port.wide).sum(axis=-1))


def _sorted_first(port: Model, v: Any) -> dict[str, Any]:
    """Rows grouped by branch first, as a trainer that packs them does."""
    order = np.argsort(v["is_expert"], kind="stable")
    inverse = np.argsort(order)
    names = ("logprob", "response_mask", "advantages", "is_expert", "ref_logprob", "c_s", "c_r")
    moved = {n: v[n][order] for n in names if v.get(n) is not None}
    outputs = Model.sequences(port, {**v, **moved})
    return {n: x[inverse] if np.ndim(x) else x for n, x in outputs.items()}


def _padded(port: Model, v: Any) -> dict[str, Any]:
    """Rows padded to a multiple of eight columns."""
    mask = v["response_mask"]
    extra = -mask.shape[1] % 8
    names = ("logprob", "response_mask", "advantages", "ref_logprob", "c_s", "c_r")
    wider = {
        n: np.pad(v[n], ((0, 0), (0, extra)))
        for n in names
        if v.get(n) is not None and v[n].ndim == 2
    }
    return Model.sequences(port, {**v, **wider})


def _trimmed_by_partition(port: Model, v: Any) -> Any:
    nll = v["nll"][v["is_expert"]].astype(port.column)
    k = port.trimmed(nll.size)
    if k == 0 or np.isnan(nll).any():
        return Model.sigma_s2(port, v)
    return port.nll_variance(np.partition(nll, (k, nll.size - k - 1))[k : nll.size - k])


def _pairwise_differences(port: Model, values: AnyArray) -> Any:
    """Half the mean squared difference of all pairs."""
    difference = values[:, None] - values[None, :]
    square = (difference * difference).reshape(-1)
    return port.total(square) / values.dtype.type(2 * values.size) / values.dtype.type(values.size)


def _k3_by_exp(port: Model, d: AnyArray) -> AnyArray:
    """exp(d) - d - 1 in double, where the cancellation does no harm."""
    wide = d.astype(np.float64)
    return np.asarray(np.expm1(wide) - wide).astype(d.dtype)


CONTROLS = (
    _how("plain", "The plain port."),
    _how("everything in float64", "Whatever comes in.", WIDE),
    _how("scalars in float32", "What is assumed of a port that declares nothing.", NARROW),
    _how("everything in float32", "Even for float64 inputs, and it says so.", ALL_SINGLE),
    *(
        _sums(name, f"Sums {how}.")
        for name, how in (
            ("sequential", "from left to right"),
            ("reversed", "from right to left"),
            ("permuted", "in a shuffled order"),
            ("blocked by 2", "of blocks of two"),
            ("blocked by 3", "of blocks of three"),
            ("blocked by 8", "of blocks of eight"),
            ("Kahan", "with Kahan's compensation"),
            ("Neumaier", "with Neumaier's compensation"),
            ("fsum", "rounded once"),
            ("wide accumulator", "in the next wider format"),
            ("sorted", "in ascending order"),
            ("sorted, largest first", "in descending order"),
            ("transposed", "over columns in memory order"),
            ("einsum", "by einsum"),
            ("dot with ones", "by a matrix product"),
        )
    ),
    _sums("tree", "A reduction tree, declared as such.", accumulation="tree"),
    Control(
        name="sequential sums in float32",
        description="Left to right, scalars too.",
        arithmetic=ALL_SINGLE._replace(total="sequential"),
    ),
    Control(
        name="tree sums in float32",
        description="A reduction tree, scalars in float32.",
        arithmetic=ALL_SINGLE._replace(total="tree", accumulation="tree"),
    ),
    Control(
        name="Kahan sums in float32",
        description="Compensated, scalars in float32.",
        arithmetic=ALL_SINGLE._replace(total="Kahan"),
    ),
    _how("corrected two-pass variance", "Less the square of the mean deviation.",
         variance="corrected two-pass"),
    _how("variance of shifted values", "Raw moments about the middle value.", variance="shifted"),
    _how("Welford's variance", "One pass, updated value by value.", variance="Welford"),
    _how("Welford's variance in float32", "One pass, in float32.", ALL_SINGLE, variance="Welford"),
    _how("merged variance", "Chan, Golub and LeVeque, over a tree.", variance="Chan merge"),
    _with("variance of pairs", "Half the mean squared difference.", variance=_pairwise_differences),
    _how("phi by expm1", "p (-expm1(l)).", phi="expm1"),
    _how("phi by exp2", "Powers of two, as attention kernels use.", phi="exp2"),
    _how("phi as p - p^2", "The same weight.", phi="difference"),
    _how("phi in float64", "Rounded at the end.", phi="wide"),
    _how("masked by assignment", "Boolean indexing.", keep="assignment"),
    _how("masked arrays", "numpy.ma.", keep="masked array"),
    _how("masked by a product", "After NaN and infinities are replaced.",
         keep="product after clean-up"),
    _with("masked only where needed", "A full mask is not applied.", masked=_unmasked_where_full),
    _with("loop over sequences", "Each gathered by itself.", masked_mean=_rows_one_by_one),
    _with("fused multiply-add", "Emulated by a wider intermediate.", masked_mean=_fused),
    _with("fused moments", "Centre and spread in one pass over shifted values.",
          normalised=_fused_moments),
    _with("z-score by a reciprocal", "One division, then products.", normalised=_reciprocal),
    _with("counts in floating point", "The mask is summed in the working format.",
          count=_counts_in_float),
    _with("rows grouped by branch", "Sorted, reduced, put back.", sequences=_sorted_first),
    _with("rows padded to eight columns", "As a kernel's tiles are.", sequences=_padded),
    _with("trim by partition", "Only the ends are put in order.", sigma_s2=_trimmed_by_partition),
    _with("KL in float64", "Rounded at the end.", kl_terms=_k3_by_exp),
    _with("EMA by increments", "x + (1 - beta) (v - x).", ema=_increment),
    _with("blend by increments", "prior + lambda (mu - prior).",
          blend=lambda s, p, a: p + s.config.blend_weight * (a - p)),
    _with("blend the other way round", "lambda mu + (1 - lambda) prior.",
          blend=lambda s, p, a: s.config.blend_weight * a + (1.0 - s.config.blend_weight) * p),
    _with("closed form as shrinkage", "w alpha + (1 - w) mu_iv.", mu_raw=_shrinkage),
    _with("closed form in another order", "s2_r first.", mu_raw=_other_order),
    _with("clip by minimum and maximum", "numpy.minimum(numpy.maximum()).", bounded=_clamped),
    _with("clip as a median", "The middle of three.", bounded=_median),
    _with("prior by half angles", "1 - 2 sin^2.", cosine=_half_angle),
    _with("cap by a clipped change", "previous + clip(change).", change_cap=_capped),
    _with("EMA by increments in float32", "All in float32.", ALL_SINGLE, ema=_increment),
    _with("closed form as shrinkage in float32", "All in float32.", ALL_SINGLE, mu_raw=_shrinkage),
)  # fmt: skip
"""The correct ports."""


def controls() -> tuple[Control, ...]:
    """The correct ports.

    Examples:
        >>> len({control.name for control in controls()}) == len(controls()) >= 36
        True
    """
    return CONTROLS
