"""The functions of ``gac_port.h`` in a loaded library, as a port."""

from __future__ import annotations

import ctypes
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.config import GACConfig
from gac_ref.conformance.adapters.failures import (
    AbiMismatch,
    AdapterFailure,
    BadReply,
    NotFound,
    PortError,
)
from gac_ref.conformance.adapters.replies import expected_outputs, output_shape
from gac_ref.conformance.adapters.wire import parse
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.port import Skipped, Unsupported
from gac_ref.conformance.stages import Field, stage_named

__all__ = ["ABI", "SYMBOLS", "CConfig", "CPort", "c_config"]

ABI = 1
"""``GAC_PORT_ABI`` of the header."""

SYMBOLS = (
    "gac_port_abi",
    "gac_port_hello",
    "gac_port_configure",
    "gac_port_reset",
    "gac_port_run",
)

_DTYPES = {"<f8": 0, "<f4": 1, "<f2": 2, "<u2": 3, "<i8": 4, "|b1": 5}
_INT64, _FLAG, _TEXT = 4, 5, 6
_MESSAGE = 512
_GUARD = 64
_GUARD_BYTE = 0xC3
_EDGES = bytes([_GUARD_BYTE]) * (2 * _GUARD)
_POISON = {0: 0x7FF8DEADC0DEDEAD, 4: 0x5BADF00DC0DEDEAD, 5: 0xA5}
_POISON_BYTE = 0xA5  # of echoed tokens, in any format


def _field_type(kind: Any) -> Any:
    return ctypes.c_double if kind is float else ctypes.c_int32


class CConfig(ctypes.Structure):
    """``gac_config``: numbers as they are, flags as 0 or 1, choices as their place in the list."""

    _fields_ = [(field.name, _field_type(field.type)) for field in dataclasses.fields(GACConfig)]


class _CArray(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("shape", ctypes.c_int64 * 2),
        ("data", ctypes.c_void_p),
        ("written", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    ]


def c_config(config: Mapping[str, Any]) -> CConfig:
    """A configuration as the struct.

    Examples:
        >>> c_config(GACConfig(weight_ema="off").to_dict()).weight_ema
        2
    """
    struct = CConfig()
    for field in dataclasses.fields(GACConfig):
        value, choices = config[field.name], get_args(field.type)
        setattr(struct, field.name, choices.index(value) if choices else value)
    return struct


class _Output(NamedTuple):
    """An output buffer: guard bytes, poisoned data, guard bytes."""

    field: Field
    memory: AnyArray
    data: AnyArray
    poison: AnyArray

    @staticmethod
    def of(field: Field, code: int, storage: str, shape: tuple[int, ...]) -> _Output:
        size = math.prod(shape) * np.dtype(storage).itemsize
        memory = np.full(size + 2 * _GUARD, _GUARD_BYTE, dtype=np.uint8)
        inner = memory[_GUARD : _GUARD + size]
        bits = f"<u{np.dtype(storage).itemsize}"
        inner.view(bits)[:] = _POISON.get(code, int.from_bytes([_POISON_BYTE] * 2, "little"))
        if field.kind == "token":
            inner[:] = _POISON_BYTE
        return _Output(field, memory, inner.view(storage).reshape(shape), inner.view(bits).copy())

    def untouched(self) -> AnyArray:
        bits: AnyArray = self.data.reshape(-1).view(self.poison.dtype)
        return np.asarray(bits == self.poison)

    def check_guards(self) -> None:
        edges = self.memory[:_GUARD].tobytes() + self.memory[-_GUARD:].tobytes()
        if edges != _EDGES:
            raise BadReply(
                f"the port wrote outside of output {self.field.name!r}, which has shape "
                f"{self.data.shape}; fill its entries only"
            )


class CPort:
    """A loaded library behind the four calls of a port.

    Args:
        path: The library.

    Raises:
        NotFound: It cannot be loaded, or lacks a function.
        AbiMismatch: It was built against another version of the header.
    """

    def __init__(self, path: str) -> None:
        try:
            self._library = ctypes.CDLL(path)
        except OSError as error:
            raise NotFound(f"cannot load {path}: {error}") from None
        missing = [name for name in SYMBOLS if not hasattr(self._library, name)]
        if missing:
            with open(path, "rb") as file:
                mangled = f"_Z{len(missing[0])}{missing[0]}".encode() in file.read()
            raise NotFound(
                f"{path} does not export {', '.join(missing)}; "
                + ('declare them extern "C"' if mangled else "include gac_port.h, define all five")
            )
        abi = int(self._library.gac_port_abi())
        if abi != ABI:
            raise AbiMismatch(f"{path} has ABI {abi}, this suite {ABI}; build with its gac_port.h")
        self._library.gac_port_hello.restype = ctypes.c_char_p
        self._library.gac_port_reset.restype = None

    def hello(self) -> dict[str, Any]:
        """The JSON text of ``gac_port_hello``."""
        text = self._library.gac_port_hello()
        if text is None:
            raise BadReply("gac_port_hello returned NULL; return JSON text")
        return parse(text)

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        """Hand over the struct."""
        struct = c_config(GACConfig.from_dict(config).to_dict())
        code = list(FORMATS).index(dtype)
        message = _Message()
        status = self._library.gac_port_configure(
            ctypes.byref(struct), code, device.encode(), message.buffer, _MESSAGE
        )
        message.raise_for(status, "gac_port_configure")

    def reset(self) -> None:
        """Call ``gac_port_reset``."""
        self._library.gac_port_reset()

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Call ``gac_port_run`` with poisoned outputs, and read back what was written."""
        given = {name: _as_input(value) for name, value in inputs.items()}
        outputs = _outputs(stage, inputs)
        c_inputs = (_CArray * len(given))(
            *(_c_array(name, code, data) for name, (code, data) in given.items())
        )
        c_outputs = (_CArray * len(outputs))(
            *(_c_array(o.field.name, code, o.data) for o, code in outputs)
        )
        before = {name: data.tobytes() for name, (_, data) in given.items()}
        message = _Message()
        status = self._library.gac_port_run(
            stage.encode(), c_inputs, len(given), c_outputs, len(outputs), message.buffer, _MESSAGE
        )
        for output, _ in outputs:
            output.check_guards()
        for name, (_, data) in given.items():
            if data.tobytes() != before[name]:
                raise BadReply(f"the port wrote to its input {name!r}; inputs are const")
        message.raise_for(status, "gac_port_run")
        marked = [bool(struct.written) for struct in c_outputs]
        return {
            output.field.name: output.data
            for (output, _), written in zip(outputs, marked, strict=True)
            if _given(output, written)
        }


def _given(output: _Output, written: bool) -> bool:
    """Whether the port gave this output; half-written ones are refused."""
    untouched, name = output.untouched(), output.field.name
    if not written:
        if not untouched.all():
            raise BadReply(f"{name} was filled, but its `written` is not set")
        return False
    # Entries that no one compares may stay as they are: poison is a NaN.
    if untouched.any() and (output.field.rows == "all" or untouched.all()):
        raise BadReply(
            f"{name} is marked as written, but entry {int(np.argmax(untouched))} of its "
            f"{untouched.size} was not"
        )
    if output.data.dtype == np.bool_ and output.data.size and output.data.view(np.uint8).max() > 1:
        raise BadReply(f"{name} holds a byte that is neither 0 nor 1")
    return True


class _Message:
    """The buffer for the port's reason."""

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(_MESSAGE + _GUARD)

    def raise_for(self, status: int, function: str) -> None:
        if status == 0:
            return
        text = self.buffer.raw[:_MESSAGE].split(b"\0")[0].decode("utf-8", "replace")
        kinds: dict[int, type[Unsupported | Skipped | AdapterFailure]] = {
            1: Unsupported,
            2: Skipped,
            3: PortError,
        }
        if status not in kinds:
            raise BadReply(f"{function} returned {status}; return 0, 1, 2 or 3")
        raise kinds[status](text or f"{function} returned {status} without a message")


def _as_input(value: Any) -> tuple[int, AnyArray]:
    """The code and a buffer of our own for one input."""
    if isinstance(value, str):
        return _TEXT, np.frombuffer(value.encode() + b"\0", dtype=np.uint8).copy()
    array = np.array(value, order="C")  # a copy, which the port may spoil
    if array.dtype.kind in "iu" and array.dtype.str not in _DTYPES:
        array = array.astype("<i8")
    return _DTYPES[array.dtype.str], array


def _outputs(stage: str, inputs: Mapping[str, Any]) -> list[tuple[_Output, int]]:
    outputs = []
    for name, field in expected_outputs(stage).items():
        if field.kind == "token" and name not in inputs:
            continue
        if stage == "transport" and name not in inputs:
            continue
        storage = {"flag": "|b1", "count": "<i8"}.get(field.kind, "<f8")
        if field.kind == "token":
            storage = np.asarray(inputs[name]).dtype.str
        code = _DTYPES[storage]
        shape = output_shape(stage_named(stage), field, inputs)
        outputs.append((_Output.of(field, code, storage, shape), code))
    return outputs


def _c_array(name: str, code: int, data: AnyArray) -> _CArray:
    text = code == _TEXT
    ndim = 0 if text else data.ndim
    shape = (*data.shape, 1, 1)[:2] if not text else (data.size, 1)
    return _CArray(name.encode(), code, ndim, (ctypes.c_int64 * 2)(*shape), data.ctypes.data)
