"""The C ABI of ``gac_cuda.h`` from Python, by pointer.

A tensor is anything that tells where its memory is: a ``torch.Tensor`` (of the device that the
library is for) or a NumPy array (for the host build). Nothing is copied, and nothing of either is
imported.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any

from gac_ref.config import GACConfig
from gac_ref.conformance.adapters.c_library import CConfig, c_config
from gac_ref.errors import GACError, fail

__all__ = ["CODES", "DTYPES", "ROW", "BadCall", "CBatch", "CTensor", "Library", "tensor"]

DTYPES = {
    **{"float64": 0, "float32": 1, "float16": 2, "bfloat16": 3, "int64": 4, "bool": 5},
    **{"int32": 7, "uint8": 8},
}
"""The codes of the dtypes by name, as torch and NumPy call them."""

CODES = (
    *("OK", "BAD_DTYPE", "BAD_SIZE", "NULL_POINTER", "MISALIGNED", "BAD_LAUNCH", "TOO_LARGE"),
    "DEVICE",
)
"""The names of the error codes, ``GAC_CUDA_...``."""

ROW = (
    *("expert", "tokens", "refused", "mean_logprob", "mean_s", "mean_r"),
    *("scatter_ss", "scatter_sr", "scatter_rr", "squared", "kl"),
    *("nll", "advantage", "disagreement", "sorted_nll", "reserved"),
)
"""The columns of a row, ``gac_row``: float64 each."""


class BadCall(GACError):
    """A call that the library refused; `code` is a name of :data:`CODES`."""

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


class CBatch(ctypes.Structure):
    """``gac_batch``."""

    _fields_ = (
        ("sequences", ctypes.c_int64),
        ("tokens", ctypes.c_int64),
        *((n, CTensor) for n in ("logprob", "response_mask", "advantages", "is_expert")),
        ("ref_logprob", CTensor),
    )


class _Launch(ctypes.Structure):
    _fields_ = (("block", ctypes.c_int32), ("grid", ctypes.c_int32))


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
    if hasattr(values, "data_ptr"):
        address, strides = values.data_ptr(), tuple(values.stride())
    elif hasattr(values, "__array_interface__"):
        address = values.__array_interface__["data"][0]
        strides = tuple(step // values.itemsize for step in values.strides)
    else:
        fail(f"a {type(values).__name__} is not a tensor; pass one of torch, or a NumPy array")
    row, token = (*strides, 0)[:2] if strides else (0, 0)
    return CTensor(address, row, token, DTYPES[name], 0)


class Library:
    """A build of the port.

    Args:
        path: From :func:`gac_ref.ports.cuda.build.build`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._c = ctypes.CDLL(os.fspath(path))
        for name in ("gac_message", "gac_refusal", "gac_device_name"):
            getattr(self._c, name).restype = ctypes.c_char_p
        self._c.gac_refusal.argtypes = [ctypes.c_int64]

    @property
    def device(self) -> str:
        """What the library runs on: "cuda", or "cpu" where the kernels are emulated."""
        name: bytes = self._c.gac_device_name()
        return name.decode()

    def fused_rows(
        self,
        config: GACConfig,
        batch: Mapping[str, Any],
        rows: Any,
        *,
        dtypes: Mapping[str, str] | None = None,
        block: int = 0,
        grid: int = 0,
        stream: int | None = None,
    ) -> None:
        """One pass over the tokens into `rows`, enqueued on a stream.

        Args:
            config: Read for `use_phi`, `masking`, `mask_eps`, `alpha_mode`, `disagreement_rows`.
            batch: ``logprob, response_mask, advantages, is_expert`` and perhaps ``ref_logprob``,
                [B, T], advantages also [B]; tensors of the library's device, of any strides.
            rows: [B, 16] of float64 without gaps, on the same device; columns as in :data:`ROW`.
            dtypes: Names for tensors whose own dtype does not say it; see :func:`tensor`.
            block: Threads of a block; 0 leaves the choice to the library. Without effect on bits.
            grid: The most blocks; 0 likewise.
            stream: A ``cudaStream_t``, such as ``torch.cuda.current_stream().cuda_stream``.

        Raises:
            BadCall: The library refused, with the code's name.
        """
        named = dtypes or {}
        names = [field[0] for field in CBatch._fields_[2:]]
        there = {name: tensor(batch.get(name), named.get(name)) for name in names}
        c_batch = CBatch(*batch["logprob"].shape, *(there[name] for name in names))
        self.call_fused_rows(c_config(config.to_dict()), c_batch, tensor(rows), block, grid, stream)

    def call_fused_rows(
        self,
        config: CConfig,
        batch: CBatch,
        rows: CTensor,
        block: int = 0,
        grid: int = 0,
        stream: int | None = None,
    ) -> None:
        """`fused_rows` on structs, checked by the library alone."""
        code = self._c.gac_fused_rows(
            ctypes.byref(batch),
            ctypes.byref(config),
            ctypes.c_void_p(rows.data),
            ctypes.byref(_Launch(block, grid)),
            ctypes.c_void_p(stream),
        )
        if code != 0:
            raise BadCall(CODES[code], f"gac_fused_rows: {self._c.gac_message(code).decode()}")

    def refusal(self, refused: float) -> str:
        """What the `refused` of a row says; "" for 0.

        Args:
            refused: The column of that name, or the sum of several.
        """
        text: bytes = self._c.gac_refusal(int(refused))
        return text.decode()

    def emulation_order(self, order: int) -> None:
        """The order of emulated threads: 0 ascending, 1 descending, else a seed."""
        self._c.gac_emulation_order(ctypes.c_uint32(order))
