"""Tensors as the library sees them, and what must hold of them that their pointers do not tell."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, NoReturn

from gac_ref.errors import GACError, fail

__all__ = [
    "CODES",
    "DTYPES",
    "ROW",
    "SEEN_HERE",
    "BadCall",
    "CTensor",
    "place",
    "refuse",
    "require_shapes",
    "tensor",
]

DTYPES = {
    **{"float64": 0, "float32": 1, "float16": 2, "bfloat16": 3, "int64": 4, "bool": 5},
    **{"int32": 7, "uint8": 8},
}
"""The codes of the dtypes by name, as torch and NumPy call them."""

WIDTHS = {
    **{"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "bool": 1},
    **{"int32": 4, "uint8": 1},
}
"""Bytes of an element."""

CODES = (
    *("OK", "BAD_DTYPE", "BAD_SIZE", "NULL_POINTER", "MISALIGNED", "BAD_LAUNCH", "TOO_LARGE"),
    "DEVICE",
)
"""The names of the error codes, ``GAC_CUDA_...``."""

SEEN_HERE = ("BAD_SHAPE", "WRONG_DEVICE")
"""What a pointer does not tell, so that the binding refuses it before the library is called."""

ROW = (
    *("expert", "tokens", "refused", "mean_logprob", "mean_s", "mean_r"),
    *("scatter_ss", "scatter_sr", "scatter_rr", "squared", "kl"),
    *("nll", "advantage", "disagreement", "sorted_nll", "reserved"),
)
"""The columns of a row, ``gac_row``: float64 each."""


class BadCall(GACError):
    """A refused call; `code` is a name of :data:`CODES` or of :data:`SEEN_HERE`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class CTensor(ctypes.Structure):
    """``gac_tensor``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("row_stride", ctypes.c_int64),
        ("token_stride", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


def tensor(values: Any, dtype: str | None = None) -> CTensor:
    """Where a tensor of one or two axes lies.

    Args:
        values: A torch tensor, a NumPy array, or None for no tensor.
        dtype: A name in :data:`DTYPES` in place of the tensor's own, as for the bits of bfloat16
            in a NumPy array of uint16.

    Raises:
        GACError: Neither, or of a dtype that the library does not know.

    Examples:
        >>> import numpy as np
        >>> there = tensor(np.zeros((4, 8), dtype=np.float32)[:, ::2])
        >>> there.row_stride, there.token_stride, there.dtype
        (8, 2, 1)
    """
    if values is None:
        return CTensor()
    name = str(values.dtype).removeprefix("torch.") if dtype is None else dtype
    if name not in DTYPES:
        fail(f"dtype {name} is unknown to the CUDA port; pass one of {', '.join(DTYPES)}")
    if dtype is not None and values.itemsize != WIDTHS[dtype]:
        refuse("BAD_DTYPE", f"{values.dtype} has no bits of {dtype}", f"pass {WIDTHS[dtype]} bytes")
    if hasattr(values, "data_ptr"):
        address, strides = values.data_ptr(), tuple(values.stride())
    elif hasattr(values, "__array_interface__"):
        address = values.__array_interface__["data"][0]
        strides = tuple(step // values.itemsize for step in values.strides)
    else:
        fail(f"a {type(values).__name__} is not a tensor; pass one of torch, or a NumPy array")
    row, token = (*strides, 0)[:2] if strides else (0, 0)
    return CTensor(address, row, token, DTYPES[name], 0)


def place(values: Any) -> str:
    """The device of a tensor, as torch writes it; NumPy's memory is the host's."""
    return str(getattr(values, "device", "cpu"))


def refuse(code: str, what: str, todo: str) -> NoReturn:
    """Raise a `BadCall` in one line."""
    raise BadCall(code, f"{what}; {todo}")


def require_shapes(batch: Mapping[str, Any], rows: Any) -> tuple[int, int]:
    """B and T, once every tensor is known to have as many entries as will be read of it."""
    shape = tuple(batch["logprob"].shape)
    if len(shape) != 2:
        refuse("BAD_SHAPE", f"logprob has shape {list(shape)}", "pass [B, T]")
    allowed: dict[str, tuple[tuple[int, ...], ...]] = {
        "response_mask": (shape,),
        "advantages": (shape, shape[:1]),
        "is_expert": (shape[:1],),
        "ref_logprob": (shape,),
    }
    for name, shapes in allowed.items():
        values = batch.get(name)
        if values is None and name == "ref_logprob":
            continue
        if values is None:
            refuse("NULL_POINTER", f"{name} is missing", "pass a tensor")
        if tuple(values.shape) not in shapes:
            wanted = " or ".join(str(list(each)) for each in shapes)
            refuse("BAD_SHAPE", f"{name} has shape {list(values.shape)}", f"pass {wanted}")
    there, wide = tensor(rows), (shape[0], len(ROW))
    gaps = (there.token_stride != 1 and shape[0] > 0) or (
        there.row_stride != len(ROW) and shape[0] > 1
    )
    if tuple(rows.shape) != wide or gaps:
        refuse("BAD_SHAPE", f"rows have shape {list(rows.shape)}", f"pass {list(wide)}, no gaps")
    if there.dtype != DTYPES["float64"]:
        refuse("BAD_DTYPE", f"rows are of {rows.dtype}", "pass float64")
    return shape[0], shape[1]
