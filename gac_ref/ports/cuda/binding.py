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
from gac_ref.errors import fail
from gac_ref.ports.cuda.tensors import (
    CODES,
    DTYPES,
    ROW,
    SEEN_HERE,
    BadCall,
    CTensor,
    place,
    refuse,
    require_shapes,
    tensor,
)

__all__ = [
    "CODES",
    "DTYPES",
    "ROW",
    "SEEN_HERE",
    "BadCall",
    "CBatch",
    "CTensor",
    "Library",
    "tensor",
]


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


def _addresses(config: CConfig, cells: CTensor, stream: int | None) -> tuple[Any, Any, Any]:
    return ctypes.byref(config), ctypes.c_void_p(cells.data), ctypes.c_void_p(stream)


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
        self._c.gac_device_alloc.restype = ctypes.c_void_p
        self._c.gac_device_alloc.argtypes = [ctypes.c_int64]
        self._c.gac_device_free.argtypes = [ctypes.c_void_p]
        for name in ("gac_upload", "gac_download"):
            getattr(self._c, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]

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

        Shapes and devices are checked here, since a pointer tells neither: nothing is read or
        written beyond a tensor.

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
            BadCall: Refused, with the code's name.
        """
        self._require_places({**batch, "rows": rows})
        c_batch = self.batch(batch, rows, dtypes=dtypes)
        self.call_fused_rows(c_config(config.to_dict()), c_batch, tensor(rows), block, grid, stream)

    @staticmethod
    def batch(
        batch: Mapping[str, Any], rows: Any, *, dtypes: Mapping[str, str] | None = None
    ) -> CBatch:
        """The struct of a batch; as for :meth:`fused_rows`, its shapes checked."""
        sizes, named = require_shapes(batch, rows), dtypes or {}
        names = [field[0] for field in CBatch._fields_[2:]]
        return CBatch(*sizes, *(tensor(batch.get(name), named.get(name)) for name in names))

    def _require_places(self, values: Mapping[str, Any]) -> None:
        places = {name: place(value) for name, value in values.items() if value is not None}
        home = places["rows"]
        for name, found in places.items():
            if found.partition(":")[0] != self.device:
                refuse("WRONG_DEVICE", f"{name} is on {found}", f"this build is for {self.device}")
            if found != home and found.count(":") == home.count(":"):  # "cuda" is any of them
                refuse("WRONG_DEVICE", f"{name} is on {found}, rows on {home}", "pass one device")

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
        self._require("gac_fused_rows", code)

    def call_start(self, config: CConfig, cells: CTensor, stream: int | None = None) -> None:
        """The state before the first step, ``gac_start``."""
        self._require("gac_start", self._c.gac_start(*_addresses(config, cells, stream)))

    def call_step(
        self,
        config: CConfig,
        batch: CBatch,
        rows: CTensor,
        cells: CTensor,
        stream: int | None = None,
    ) -> None:
        """One whole step on its batch, ``gac_step``; `cells` are :attr:`cells` of 8 bytes."""
        configured, there, queue = _addresses(config, cells, stream)
        row_data, launch = ctypes.c_void_p(rows.data), ctypes.c_void_p(None)
        code = self._c.gac_step(ctypes.byref(batch), configured, row_data, there, 1, launch, queue)
        self._require("gac_step", code)

    def _require(self, function: str, code: int) -> None:
        if code != 0:
            raise BadCall(CODES[code], f"{function}: {self._c.gac_message(code).decode()}")

    @property
    def cells(self) -> int:
        """How many cells a step has; ``mu_clipped`` is the last of them."""
        return self.cell("mu_clipped") + 1

    def cell(self, name: str) -> int:
        """The place of a cell, counted in cells; -1 for a name that is none."""
        place: int = self._c.gac_cell(name.encode())
        return place

    def alloc(self, size: int) -> int:
        """Bytes of device memory, to be given to :meth:`free`."""
        address: int | None = self._c.gac_device_alloc(size)
        if address is None:
            fail(f"the device has no {size} bytes left; free some, or pass smaller sizes")
        return address

    def free(self, address: int) -> None:
        """Give memory back."""
        self._c.gac_device_free(address)

    def upload(self, address: int, host: int, size: int) -> None:
        """Copy from the host; waits for the device."""
        self._require("gac_upload", self._c.gac_upload(address, host, size))

    def download(self, host: int, address: int, size: int) -> None:
        """Copy to the host; waits for the device."""
        self._require("gac_download", self._c.gac_download(host, address, size))

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
