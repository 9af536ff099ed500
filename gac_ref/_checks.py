"""Argument checks that several modules share; each failure is one line that shows the value."""

from __future__ import annotations

import numpy as np

from gac_ref._typing import AnyArray, ArrayLike, BoolArray, FloatArray
from gac_ref.errors import fail

# ml_dtypes' floats register with NumPy under kind "V"; each converts to float64 exactly.
_NARROW_FLOATS = frozenset({"bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3"})


def arrays(*values: ArrayLike) -> tuple[FloatArray, ...]:
    return tuple(np.asarray(value, dtype=np.float64) for value in values)


def ratio(top: ArrayLike, bottom: ArrayLike, flat: ArrayLike) -> FloatArray:
    """``top / bottom``, and `flat` where the bottom is 0 (a parabola without curvature)."""
    is_flat = np.asarray(bottom) == 0.0
    return np.where(is_flat, flat, top / np.where(is_flat, 1.0, bottom))


def require_psd(s: ArrayLike, r: ArrayLike, d: ArrayLike, kappa: ArrayLike) -> None:
    for name, value in (("sigma_s2", s), ("sigma_r2", r), ("delta_g2", d)):
        require_non_negative(name, value)
    product = np.asarray(s) * np.asarray(r)
    # A relative slack of 1e-12: kappa = sqrt(s r) computed by the caller may round up.
    bad: BoolArray = np.asarray(~(np.square(kappa) <= product * (1.0 + 1e-12)))
    if bad.any():
        size = float(np.broadcast_to(np.abs(kappa), bad.shape)[bad].flat[0])
        bound = float(np.sqrt(np.broadcast_to(product, bad.shape)[bad].flat[0]))
        fail(f"|kappa| = {size!r} is above sqrt(sigma_s2 sigma_r2) = {bound!r}; no noise has that")


def require_non_negative(name: str, value: ArrayLike) -> None:
    _require(name, value, np.asarray(value) >= 0.0, "is negative or NaN; pass a value >= 0")


def require_unit(name: str, value: ArrayLike) -> None:
    v = np.asarray(value)
    _require(name, value, (v >= 0.0) & (v <= 1.0), "is outside [0, 1]; pass a value in that range")


def require_positive(name: str, value: ArrayLike) -> None:
    _require(name, value, np.asarray(value) > 0.0, "is not positive; pass a value > 0")


def _require(name: str, value: ArrayLike, good: BoolArray, complaint: str) -> None:
    if not np.all(good):
        first = float(np.asarray(value, dtype=np.float64)[~np.asarray(good)].flat[0])
        fail(f"{name} = {first!r} {complaint}")


def as_numbers(name: str, values: ArrayLike, *, kinds: str) -> AnyArray:
    """`values` as a read-only array whose dtype is of one of `kinds` (f, i, u, b)."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        fail(f"{name} is not an array ({error}); pass a rectangular numeric array")
    dtype = array.dtype
    narrow = dtype.name in _NARROW_FLOATS
    if dtype.kind not in kinds and not ("f" in kinds and narrow):
        wanted = "float16, bfloat16, float32 or float64" if kinds == "f" else "numbers"
        if kinds == "iu":
            wanted = "integers"
        fail(f"{name} has dtype {dtype.name}; pass {wanted}")
    if dtype.kind == "f" and dtype.itemsize > 8:
        fail(f"{name} has dtype {dtype.name}, wider than float64; narrow it to float64 first")
    return frozen(array)


def as_mask(name: str, values: ArrayLike, shape: tuple[int, ...]) -> BoolArray:
    """`values` as a read-only boolean array; numbers must be exactly 0 or 1."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        fail(f"{name} is not an array ({error}); pass a rectangular array")
    if array.shape != shape:
        fail(f"{name} has shape {array.shape}; pass {shape}, to match logprob")
    if array.size == 0:
        return np.zeros(shape, dtype=np.bool_)
    if array.dtype == np.bool_:
        return frozen(array)
    if array.dtype.kind not in "iuf" and array.dtype.name not in _NARROW_FLOATS:
        fail(f"{name} has dtype {array.dtype.name}; pass booleans or 0/1 numbers")
    truth = array == 1
    bad = ~(truth | (array == 0))
    refuse_first(name, array, bad, "is neither 0 nor 1; pass a boolean or 0/1 mask")
    return frozen(truth)


def refuse_first(name: str, array: AnyArray, bad: BoolArray, complaint: str) -> None:
    """Fail on the first True of `bad`, showing its index and value."""
    if bad.any():
        index = np.unravel_index(int(np.argmax(bad)), bad.shape)
        place = ", ".join(str(int(i)) for i in index)
        fail(f"{name}[{place}] = {float(array[index])!r} {complaint}")


def frozen(array: AnyArray) -> AnyArray:
    """A read-only view; the caller's array keeps its own flag."""
    view = array.view()
    view.flags.writeable = False
    return view
