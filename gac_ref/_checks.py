"""Argument checks that several modules share; each failure is one line that shows the value."""

from __future__ import annotations

import numpy as np

from gac_ref._typing import AnyArray, ArrayLike, BoolArray, FloatArray, IntArray
from gac_ref.errors import fail

# ml_dtypes' floats register with NumPy under kind "V"; each converts to float64 exactly.
BLOCK = 65_536
"""Elements checked at a time."""

_NARROW_FLOATS = frozenset({"bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3"})


def arrays(*values: ArrayLike) -> tuple[FloatArray, ...]:
    """Each of `values` as float64."""
    try:
        return tuple(np.asarray(value, dtype=np.float64) for value in values)
    except (TypeError, ValueError) as error:
        fail(f"an argument is not numeric ({error}); pass numbers or arrays of them")


def ratio(top: ArrayLike, bottom: ArrayLike, flat: ArrayLike) -> FloatArray:
    """``top / bottom``, and `flat` where the bottom is 0 (a parabola without curvature)."""
    is_flat = np.asarray(bottom) == 0.0
    return np.where(is_flat, flat, top / np.where(is_flat, 1.0, bottom))


def rescaled(*values: FloatArray) -> tuple[tuple[FloatArray, ...], IntArray]:
    """`values` divided by a common power of two that brings the largest near 1, and its exponent.

    Exact (but for subnormals). What is homogeneous in its arguments is computed on these, so that
    sums neither overflow nor underflow.
    """
    largest = np.max(np.stack(np.broadcast_arrays(*map(np.abs, values))), axis=0)
    exponent = np.frexp(largest)[1]
    return tuple(np.ldexp(value, -exponent) for value in values), exponent


def require_psd(s: ArrayLike, r: ArrayLike, d: ArrayLike, kappa: ArrayLike) -> None:
    """Refuse negative variances, and a covariance that Cauchy-Schwarz forbids."""
    for name, value in (("sigma_s2", s), ("sigma_r2", r), ("delta_g2", d)):
        require_non_negative(name, value)
    bound = np.asarray(np.sqrt(s) * np.sqrt(r))
    # A relative slack of 1e-12: kappa = sqrt(s r) computed by the caller may round up.
    bad: BoolArray = np.asarray(~(np.abs(kappa) <= bound * (1.0 + 1e-12)))
    if bad.any():
        size = float(np.broadcast_to(np.abs(kappa), bad.shape)[bad].flat[0])
        limit = float(np.broadcast_to(bound, bad.shape)[bad].flat[0])
        fail(f"|kappa| = {size!r} is above sqrt(sigma_s2 sigma_r2) = {limit!r}; no noise has that")


def require_non_negative(name: str, value: ArrayLike) -> None:
    """Refuse what is below 0, or NaN."""
    _require(name, value, np.asarray(value) >= 0.0, "is negative or NaN; pass a value >= 0")


def require_unit(name: str, value: ArrayLike) -> None:
    """Refuse what is outside [0, 1], or NaN."""
    v = np.asarray(value)
    _require(name, value, (v >= 0.0) & (v <= 1.0), "is outside [0, 1]; pass a value in that range")


def require_positive(name: str, value: ArrayLike) -> None:
    """Refuse what is not above 0."""
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
    array = checked_mask(name, values, shape)
    return array if array.dtype == np.bool_ else frozen(array != 0)


def checked_mask(name: str, values: ArrayLike, shape: tuple[int, ...]) -> AnyArray:
    """`values` as they are, read-only, once they are seen to be booleans, or exactly 0 or 1."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        fail(f"{name} is not an array ({error}); pass a rectangular array")
    if array.shape != shape:
        fail(f"{name} has shape {array.shape}; pass {shape}, to match logprob")
    if array.size == 0:
        return np.zeros(shape, dtype=np.bool_)
    if array.dtype != np.bool_:
        if array.dtype.kind not in "iuf" and array.dtype.name not in _NARROW_FLOATS:
            fail(f"{name} has dtype {array.dtype.name}; pass booleans or 0/1 numbers")
        rows = max(1, BLOCK * len(array) // array.size)
        for top in range(0, len(array), rows):  # in blocks: no temporary of the size of the mask
            block = array[top : top + rows]
            bad = (block != 0) & (block != 1)
            refuse_first(name, block, bad, "is neither 0 nor 1; pass a 0/1 mask", first_row=top)
    return frozen(array)


def refuse_first(
    name: str, array: AnyArray, bad: BoolArray, complaint: str, *, first_row: int = 0
) -> None:
    """Fail on the first True of `bad`, showing its index and value."""
    if bad.any():
        index = np.unravel_index(int(np.argmax(bad)), bad.shape)
        place = ", ".join(str(int(i)) for i in (index[0] + first_row, *index[1:]))
        fail(f"{name}[{place}] = {float(array[index])!r} {complaint}")


def frozen(array: AnyArray) -> AnyArray:
    """A read-only view; the caller's array keeps its own flag."""
    view = array.view()
    view.flags.writeable = False
    return view
