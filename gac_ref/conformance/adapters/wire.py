"""Values as JSON, exactly: the same encoding in requests and replies.

A number is a JSON number (the shortest text that reads back to the same bits), or one of the
texts ``"NaN"``, ``"Infinity"``, ``"-Infinity"``; a flag is ``true`` or ``false``. An array is an
object of ``dtype``, ``shape`` and either ``data`` (base64 of its little-endian bytes, row by row)
or ``values``, a flat list; a reply may also hold plain nested lists. A bfloat16 array travels as
its bits in ``data``, and as numbers in ``values``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.adapters.failures import BadReply
from gac_ref.conformance.formats import FORMATS, narrow, widen
from gac_ref.conformance.stages import STAGES

__all__ = ["MAX_REPLY", "decode", "decode_values", "encode", "encode_values", "parse", "shown"]

MAX_REPLY = 1 << 26
"""Bytes of one reply line; a stage answers with a few arrays of the batch's shape."""

_STORAGE = {name: form.storage for name, form in FORMATS.items()} | {"int64": "<i8", "bool": "|b1"}
_NAMES = {storage: name for name, storage in _STORAGE.items()}
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_AXES = 4  # no value of the stage table has more than two
_TEXTS = {
    field.name
    for stage in STAGES.values()
    for field in (*stage.inputs, *stage.outputs)
    if field.kind == "text"
}


def encode(value: Any, *, lists: bool = False) -> Any:
    """A value of the stage table as JSON.

    Args:
        value: A ``bool``, ``int``, ``float``, ``str``, NumPy scalar or array, or what
            ``np.asarray`` makes one of.
        lists: Write arrays as flat lists of numbers instead of base64.

    Raises:
        TypeError: It is none of these.

    Examples:
        >>> encode(float("nan")), encode(np.float32(0.1))
        ('NaN', 0.10000000149011612)
        >>> encode(np.array([1.0, 2.0], dtype="<f4"))
        {'dtype': 'fp32', 'shape': [2], 'data': 'AACAPwAAAEA='}
        >>> encode(np.array([True, False]), lists=True)
        {'dtype': 'bool', 'shape': [2], 'values': [True, False]}
    """
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else _text(value)
    if kind is bool or kind is int or kind is str:
        return value
    array = value if kind is np.ndarray else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a {kind.__module__}.{kind.__qualname__}")
    if array.ndim == 0:
        return encode(array.item() if array.dtype.itemsize <= 8 else float(array))
    return _encode_array(array, lists)


def _text(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _encode_array(array: AnyArray, lists: bool) -> dict[str, Any]:
    name = _NAMES.get(array.dtype.str)
    if name is None:
        array = array.astype("<f8" if array.dtype.kind == "f" else "<i8")
        name = _NAMES[array.dtype.str]
    header: dict[str, Any] = {"dtype": name, "shape": list(array.shape)}
    if not lists:
        return {**header, "data": base64.b64encode(array.tobytes()).decode("ascii")}
    numbers = widen(array, name) if name in FORMATS else array
    return {**header, "values": [encode(value) for value in numbers.ravel().tolist()]}


def encode_values(values: Mapping[str, Any], *, lists: bool = False) -> dict[str, Any]:
    """The values of a mapping, encoded.

    Raises:
        BadReply: One cannot be, with its name.

    Examples:
        >>> encode_values({"mu": 0.5, "mu_clipped": False})
        {'mu': 0.5, 'mu_clipped': False}
    """
    encoded = {}
    for name, value in values.items():
        try:
            encoded[str(name)] = encode(value, lists=lists)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise BadReply(
                f"output {name!r} is a {kind} that is no number or array ({error}); return floats, "
                "ints, bools or NumPy arrays of them"
            ) from None
    return encoded


def decode(value: Any, name: str = "value") -> Any:
    """The value behind its JSON; arrays come back read-only, in the storage of their dtype.

    Raises:
        BadReply: It is not a value, with `name` and what is wrong.

    Examples:
        >>> decode("-Infinity")
        -inf
        >>> decode({"dtype": "bf16", "shape": [2], "values": [1.0, 0.5]}).tolist()
        [16256, 16128]
        >>> decode([[0.5, "NaN"]]).tolist()
        [[0.5, nan]]
    """
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        if name in _TEXTS:
            return value
        if value in _SPECIAL:
            return _SPECIAL[value]
        raise BadReply(
            f"{name} is the text {shown(value)}; write a JSON number, or one of "
            '"NaN", "Infinity", "-Infinity"'
        )
    if isinstance(value, dict):
        return _decode_array(value, name)
    if isinstance(value, list):
        return _decode_list(value, name)
    raise BadReply(f"{name} is null; leave out what is not known, or write a value")


def _decode_array(value: dict[str, Any], name: str) -> AnyArray:
    dtype, shape = value.get("dtype"), value.get("shape")
    if not isinstance(dtype, str) or dtype not in _STORAGE:
        raise BadReply(f"{name} has dtype {shown(dtype)}; write one of {', '.join(_STORAGE)}")
    axes: list[Any] = shape if isinstance(shape, list) else [None]
    if len(axes) > _AXES or not all(type(n) is int and 0 <= n < 1 << 40 for n in axes):
        raise BadReply(f"{name} has shape {shown(shape)}; write a list of sizes, such as [3, 5]")
    size = math.prod(axes)
    if "values" in value:
        numbers = value["values"]
        if not isinstance(numbers, list) or len(numbers) != size:
            raise BadReply(
                f"{name}: values is not a flat list of {size} numbers, as its shape says"
            )
        flat = _numbers(numbers, name)
        return _frozen(_as_dtype(flat, dtype, name).reshape(axes))
    data = value.get("data")
    try:
        raw = base64.b64decode(data, validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadReply(f"{name}: data {shown(data)} is not base64 ({error})") from None
    storage = np.dtype(_STORAGE[dtype])
    if len(raw) != size * storage.itemsize:
        raise BadReply(
            f"{name}: data holds {len(raw)} bytes, but {dtype} of shape {axes} needs "
            f"{size * storage.itemsize}"
        )
    if dtype == "bool" and any(raw.translate(None, b"\0\1")):
        raise BadReply(f"{name}: a bool is a byte 0 or 1, and data holds others")
    return np.frombuffer(raw, dtype=storage).reshape(axes)


def _decode_list(value: list[Any], name: str) -> AnyArray:
    if not any(isinstance(row, list) for row in value):
        return _frozen(_numbers(value, name))
    if not all(isinstance(row, list) and len(row) == len(value[0]) for row in value):
        raise BadReply(f"{name} is a list of rows of different lengths; all rows have one length")
    flat = _numbers([entry for row in value for entry in row], name)
    return _frozen(flat.reshape(len(value), len(value[0])))


def _numbers(values: list[Any], name: str) -> AnyArray:
    """A flat list as the narrowest of bool, int64 and float64 that holds it."""
    plain = [_SPECIAL.get(v, v) if isinstance(v, str) else v for v in values]
    for entry in plain:
        if not isinstance(entry, bool | int | float):
            raise BadReply(f"{name} holds {shown(entry)}, which is not a number")
    kinds = {type(entry) for entry in plain}
    try:
        if kinds == {bool}:
            return np.array(plain, dtype=np.bool_)
        if kinds == {int}:
            return np.array(plain, dtype=np.int64)
        return np.array(plain, dtype=np.float64)
    except OverflowError:
        raise BadReply(f"{name} holds an integer beyond 64 bits") from None


def _as_dtype(flat: AnyArray, dtype: str, name: str) -> AnyArray:
    if dtype in FORMATS:
        return narrow(flat, dtype)
    wanted = _STORAGE[dtype]
    if not flat.size or flat.dtype == np.dtype(wanted):
        return flat.astype(wanted)
    raise BadReply(f"{name} says dtype {dtype}, but its values are {flat.dtype}")


def _frozen(array: AnyArray) -> AnyArray:
    array.flags.writeable = False
    return array


def decode_values(values: Any, *, what: str = "the reply") -> dict[str, Any]:
    """The values of a JSON object, decoded.

    Raises:
        BadReply: It is no object, or one of its values is malformed.
    """
    if not isinstance(values, dict):
        raise BadReply(f"{what} is {shown(values)}; write an object of values by name")
    return {name: decode(value, name) for name, value in values.items()}


def _refuse(constant: str) -> None:
    raise ValueError(f'a bare {constant} is not JSON; write the text "{constant}"')


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def parse(line: bytes) -> dict[str, Any]:
    """One line as a JSON object.

    Raises:
        BadReply: It is not one, showing the line.

    Examples:
        >>> parse(b'{"id": 1, "ok": {}}')
        {'id': 1, 'ok': {}}
    """
    try:
        value = _DECODER.decode(line.decode("utf-8"))
    except RecursionError:
        raise BadReply(f"the line {shown(line)} is nested too deeply") from None
    except ValueError as error:
        raise BadReply(f"the line {shown(line)} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise BadReply(f"the line {shown(line)} is not a JSON object")
    return value


def shown(value: object, limit: int = 120) -> str:
    """`value` as it is quoted in a message: its repr, shortened.

    Examples:
        >>> shown(b"loading the model")
        "'loading the model'"
    """
    if isinstance(value, bytes):
        value = value[: 4 * limit].decode("utf-8", "replace")
    if isinstance(value, str):
        value = value[: 4 * limit]
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, say
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."
