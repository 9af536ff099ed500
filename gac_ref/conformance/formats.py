r"""The floating-point formats that a port is checked in, as exact bits without their libraries.

NumPy has no bfloat16: its bits are carried as ``uint16``, and widened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from gac_ref._typing import AnyArray, ArrayLike, FloatArray
from gac_ref.errors import fail

__all__ = ["FORMATS", "Format", "format_named", "narrow", "widen"]


class Format(NamedTuple):
    """A binary floating-point format.

    Args:
        name: "fp64", "fp32", "fp16" or "bf16".
        storage: The NumPy dtype that carries its bits, little-endian.
        unit_roundoff: u, half the distance from 1 to the next number: the largest relative error
            of one rounding to nearest.

    Examples:
        >>> FORMATS["bf16"].unit_roundoff == 2.0**-8
        True
    """

    name: str
    storage: str
    unit_roundoff: float


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "fp64": Format("fp64", "<f8", 2.0**-53),
        "fp32": Format("fp32", "<f4", 2.0**-24),
        "fp16": Format("fp16", "<f2", 2.0**-11),
        "bf16": Format("bf16", "<u2", 2.0**-8),
    }
)
"""The formats by name, widest first."""


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        GACError: There is none.

    Examples:
        >>> format_named("fp16").storage
        '<f2'
    """
    if name not in FORMATS:
        fail(f"unknown dtype {name!r}; pass one of {', '.join(FORMATS)}")
    return FORMATS[name]


@np.errstate(over="ignore")
def narrow(values: ArrayLike, dtype: str) -> AnyArray:
    """`values` rounded to nearest even in `dtype`, in the array that carries its bits.

    Examples:
        >>> narrow([1.0, 1.00390625], "bf16").tolist()  # a tie goes to the even neighbour
        [16256, 16256]
    """
    wide = np.asarray(values, dtype=np.float64)
    if format_named(dtype).name != "bf16":
        return wide.astype(FORMATS[dtype].storage)
    # Directly from float64: by way of float32 a value could be rounded twice.
    bits = wide.view(np.uint64)
    kept = 45  # significand bits of float64 beyond the 7 of bfloat16
    odd = (bits >> np.uint64(kept)) & np.uint64(1)
    rounded = (bits + np.uint64((1 << (kept - 1)) - 1) + odd) >> np.uint64(kept) << np.uint64(kept)
    finite = np.isfinite(wide)
    single = np.where(finite, rounded.view(np.float64), wide).astype(np.float32)
    return np.asarray((single.view(np.uint32) >> np.uint32(16)).astype("<u2"))


def widen(values: AnyArray, dtype: str) -> FloatArray:
    """The float64 values of an array that carries bits of `dtype`, exactly.

    Examples:
        >>> widen(np.array([16256, 49024], dtype="<u2"), "bf16").tolist()
        [1.0, -1.0]
    """
    if format_named(dtype).name == "bf16":
        single = (np.asarray(values).astype(np.uint32) << np.uint32(16)).view(np.float32)
        return single.astype(np.float64)
    return np.asarray(values).astype(np.float64)
