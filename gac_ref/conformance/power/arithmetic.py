"""The ways in which a correct port may add, mask and round: what the controls differ in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import AnyArray, IntArray

__all__ = [
    "KEEPS",
    "MIXED",
    "NARROW",
    "PHIS",
    "TOTALS",
    "VARIANCES",
    "WIDE",
    "Arithmetic",
    "Total",
]

Total = Callable[[AnyArray], Any]
"""Sum along the last axis, in the dtype of the array."""

NUMPY = {"fp64": np.float64, "fp32": np.float32}


class Arithmetic(NamedTuple):
    """How a port computes.

    Args:
        tokens: Format of what is computed from token arrays, by the dtype under test.
        scalars: Format of the controller's scalars, by the dtype under test.
        total: A name in :data:`TOTALS`.
        variance: A name in :data:`VARIANCES`.
        phi: A name in :data:`PHIS`.
        keep: A name in :data:`KEEPS`; read where masked positions are selected.
        accumulation: What the port declares about its sums.
    """

    tokens: dict[str, str]
    scalars: dict[str, str]
    total: str = "pairwise"
    variance: str = "two-pass"
    phi: str = "product"
    keep: str = "where"
    accumulation: str = "sequential"


_EVERY = ("fp64", "fp32", "fp16", "bf16")
_DOUBLE = dict.fromkeys(_EVERY, "fp64")
_SINGLE = dict.fromkeys(_EVERY, "fp32")
_NATIVE = {**_SINGLE, "fp64": "fp64"}

MIXED = Arithmetic(_NATIVE, _DOUBLE)
"""What trainers do: float32 for tokens unless they came in float64, Python floats for scalars."""

NARROW = Arithmetic(_NATIVE, _NATIVE)
"""Scalars in float32, too: what a port that declares nothing is taken for."""

WIDE = Arithmetic(_DOUBLE, _DOUBLE)
"""Everything in float64, whatever came in."""

ALL_SINGLE = Arithmetic(_SINGLE, _SINGLE)
"""Everything in float32, even for float64 inputs."""


def _sequential(x: AnyArray) -> Any:
    return np.add.accumulate(x, axis=-1)[..., -1] if x.shape[-1] else x.sum(axis=-1)


def _tree(x: AnyArray) -> Any:
    while x.shape[-1] > 1:
        half = (x.shape[-1] + 1) // 2
        left, right = x[..., :half], x[..., half:]
        x = left.copy()
        x[..., : right.shape[-1]] += right
    return x.sum(axis=-1)


def _blocked(size: int) -> Total:
    def total(x: AnyArray) -> Any:
        starts = range(0, max(x.shape[-1], 1), size)
        parts = [_sequential(x[..., start : start + size]) for start in starts]
        return _sequential(np.stack(parts, axis=-1))

    return total


def _permuted(x: AnyArray) -> Any:
    order: IntArray = np.random.default_rng(x.shape[-1]).permutation(x.shape[-1])
    return _sequential(x[..., order])


def _kahan(x: AnyArray) -> Any:
    total = np.zeros_like(x[..., 0]) if x.shape[-1] else x.sum(axis=-1)
    lost = np.zeros_like(total)
    for column in np.moveaxis(x, -1, 0):
        term = column - lost
        new = total + term
        lost, total = (new - total) - term, new
    return total


def _neumaier(x: AnyArray) -> Any:
    total = np.zeros_like(x[..., 0]) if x.shape[-1] else x.sum(axis=-1)
    lost = np.zeros_like(total)
    for column in np.moveaxis(x, -1, 0):
        new = total + column
        big = np.abs(total) >= np.abs(column)
        lost = lost + np.where(big, (total - new) + column, (column - new) + total)
        total = new
    return total + lost


def _fsum(x: AnyArray) -> Any:
    if not (x.size and np.isfinite(x).all()):
        return x.sum(axis=-1)
    rows = x.reshape(-1, x.shape[-1]).tolist()
    sums = np.array([math.fsum(row) for row in rows], dtype=x.dtype)
    return sums.reshape(x.shape[:-1])[()]


def _wide(x: AnyArray) -> Any:
    wider = np.longdouble if x.dtype == np.float64 else np.float64
    return np.asarray(x.sum(axis=-1, dtype=wider)).astype(x.dtype)[()]


def _transposed(x: AnyArray) -> Any:
    return np.asfortranarray(x).sum(axis=-1) if x.ndim > 1 else x.sum()


TOTALS: dict[str, Total] = {
    "pairwise": lambda x: x.sum(axis=-1),
    "sequential": _sequential,
    "tree": _tree,
    "reversed": lambda x: _sequential(x[..., ::-1]),
    "blocked by 2": _blocked(2),
    "blocked by 3": _blocked(3),
    "blocked by 8": _blocked(8),
    "permuted": _permuted,
    "Kahan": _kahan,
    "Neumaier": _neumaier,
    "fsum": _fsum,
    "wide accumulator": _wide,
    "sorted": lambda x: _sequential(np.sort(x, axis=-1)),
    "sorted, largest first": lambda x: _sequential(np.sort(x, axis=-1)[..., ::-1]),
    "transposed": _transposed,
    "einsum": lambda x: np.einsum("...t->...", x),
    "dot with ones": lambda x: x @ np.ones(x.shape[-1], dtype=x.dtype),
}
"""Sums along the last axis, each in the dtype of its argument."""


def _two_pass(total: Total, x: AnyArray) -> Any:
    """Centred on the mean; from the first value, so that equal values have no spread at all."""
    x = x - x[0]
    deviation = x - total(x) / x.dtype.type(x.size)
    return total(deviation * deviation) / x.dtype.type(x.size)


def _corrected(total: Total, x: AnyArray) -> Any:
    """Two-pass, less the square of what the rounded mean left."""
    n = x.dtype.type(x.size)
    x = x - x[0]
    deviation = x - total(x) / n
    left = total(deviation) / n
    return total(deviation * deviation) / n - left * left


def _shifted(total: Total, x: AnyArray) -> Any:
    """Raw moments about the middle value: harmless where the shift lies inside the data."""
    n = x.dtype.type(x.size)
    x = x - np.sort(x)[x.size // 2]
    mean = total(x) / n
    return np.maximum(total(x * x) / n - mean * mean, x.dtype.type(0.0))


def _welford(total: Total, x: AnyArray) -> Any:
    del total  # it has an order of its own
    zero = x.dtype.type(0.0)
    mean, scatter = zero, zero
    for count, value in enumerate(x, start=1):
        change = value - mean
        mean = mean + change / x.dtype.type(count)
        scatter = scatter + change * (value - mean)
    return scatter / x.dtype.type(x.size)


def _chan(total: Total, x: AnyArray) -> Any:
    def moments(part: AnyArray) -> tuple[Any, Any, Any]:
        if part.size == 1:
            return part.dtype.type(1.0), part[0], part.dtype.type(0.0)
        (n, a, s), (m, b, t) = moments(part[: part.size // 2]), moments(part[part.size // 2 :])
        change = b - a
        return n + m, a + change * (m / (n + m)), s + t + change * change * (n * m / (n + m))

    del total
    weight, _, scatter = moments(x)
    return scatter / weight


VARIANCES: dict[str, Callable[[Total, AnyArray], Any]] = {
    "two-pass": _two_pass,
    "corrected two-pass": _corrected,
    "shifted": _shifted,
    "Welford": _welford,
    "Chan merge": _chan,
}
"""Population variances of the values [n], n >= 1."""


def _phi_exp2(logprob: AnyArray) -> AnyArray:
    # The split keeps the argument of exp2 small, where its rounding is harmless.
    turns = logprob * logprob.dtype.type(1.0 / math.log(2.0))
    p = np.exp2(turns)
    return np.asarray(p * (logprob.dtype.type(1.0) - p))


PHIS: dict[str, Callable[[AnyArray], AnyArray]] = {
    "product": lambda x: (p := np.exp(x)) * (x.dtype.type(1.0) - p),
    "expm1": lambda x: np.exp(x) * -np.expm1(x),
    "difference": lambda x: (p := np.exp(x)) - p * p,
    "square": lambda x: x.dtype.type(0.25) - np.square(np.exp(x) - x.dtype.type(0.5)),
    "exp2": _phi_exp2,
    "wide": lambda x: np.asarray((p := np.exp(x, dtype=np.float64)) * (1.0 - p)).astype(x.dtype),
}
"""p (1 - p) of a log-probability. All are within a few roundings of 1 in absolute terms."""

KEEPS: dict[str, Callable[[AnyArray, AnyArray], AnyArray]] = {
    "where": lambda x, mask: np.where(mask, x, x.dtype.type(0.0)),
    "assignment": lambda x, mask: _assigned(x, mask),
    "masked array": lambda x, mask: np.ma.MaskedArray(x, ~mask).filled(0.0),
    "product after clean-up": lambda x, mask: np.nan_to_num(x, posinf=0.0, neginf=0.0) * mask,
}
"""Zero outside the mask, without reading what lies there."""


def _assigned(x: AnyArray, mask: AnyArray) -> AnyArray:
    kept = np.zeros_like(x)
    kept[mask] = x[mask]
    return kept
