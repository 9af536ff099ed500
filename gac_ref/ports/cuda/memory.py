"""Arrays in the memory of the library's device, without another library for it."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any, Self

import numpy as np

from gac_ref.ports.cuda.binding import Library

__all__ = ["DeviceArray"]


class DeviceArray:
    """A copy of a NumPy array on the device of a build; free it, or use it as a context manager.

    It tells where it lies as a torch tensor does, so that
    :meth:`~gac_ref.ports.cuda.binding.Library.fused_rows` takes it.

    Args:
        library: The build.
        values: The array; copied row by row.
        dtype: A name of the binding's ``DTYPES`` in place of the array's own, as for the bits of
            bfloat16 in an array of uint16.

    Examples:
        ::

            with DeviceArray(library, np.zeros((4, 16))) as rows:
                library.fused_rows(config, batch, rows)
                print(rows.numpy())
    """

    def __init__(self, library: Library, values: Any, dtype: str | None = None) -> None:
        host = np.ascontiguousarray(values).reshape(np.shape(values))
        self.shape = host.shape
        self.dtype = host.dtype.name if dtype is None else dtype
        self.device = library.device
        self._library, self._kind, self._bytes = library, host.dtype, host.nbytes
        self._address = library.alloc(host.nbytes)
        library.upload(self._address, host.ctypes.data, host.nbytes)

    def data_ptr(self) -> int:
        """The address."""
        return self._address

    def stride(self) -> tuple[int, ...]:
        """Elements from one entry to the next along each axis."""
        return tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    def numpy(self) -> Any:
        """A copy on the host; waits for the device."""
        host = np.empty(self.shape, self._kind)
        self._library.download(host.ctypes.data, self._address, self._bytes)
        return host

    def free(self) -> None:
        """Give the memory back; once is enough."""
        if self._address:
            self._library.free(self._address)
            self._address = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.free()
