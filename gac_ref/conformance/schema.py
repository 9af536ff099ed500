"""What a stored case may look like, checked value by value before anything reads it.

A value is a JSON number, boolean or text; ``{"float": "nan" | "inf" | "-inf"}``; an array
``[storage, shape, offset]`` in the case's own bytes; or, where it depends on the dtype of the
inputs, an object of one of these for each dtype.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.case import Exchange
from gac_ref.conformance.formats import FORMATS, widen
from gac_ref.conformance.stages import PIPELINE, STAGES, Field, Stage
from gac_ref.errors import GACError, fail

__all__ = ["INPUTS", "OUTPUTS", "check_exchange", "decode_exchange"]

STORAGE: Mapping[str, str] = {"real": "<f8", "flag": "|b1", "count": "<i8"}
"""How the elements of an array are stored, by kind of field; tokens follow the dtype."""

NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

_SCALARS: Mapping[str, type] = {"real": float, "flag": bool, "count": int, "text": str}

_ITEMSIZE = {
    storage: np.dtype(storage).itemsize
    for storage in (*STORAGE.values(), *(format.storage for format in FORMATS.values()))
}


def _outputs(stage: Stage) -> dict[str, Field]:
    if stage.name not in ("step", "trajectory"):
        return {field.name: field for field in stage.outputs}
    return {field.name: field for name in PIPELINE[1:] for field in STAGES[name].outputs}


INPUTS = {name: {field.name: field for field in stage.inputs} for name, stage in STAGES.items()}
OUTPUTS = {name: _outputs(stage) for name, stage in STAGES.items()}


def check_exchange(where: str, stage: str, raw: Any, dtypes: Sequence[str], size: int) -> None:
    """Refuse an exchange that is not of the form above, with what is wrong and where.

    Args:
        where: The place, for the message.
        stage: A stage that exists.
        raw: The exchange as stored.
        dtypes: Those that the case exists in.
        size: Bytes of the case's arrays.

    Raises:
        GACError: It is not of that form.
    """
    if not isinstance(raw, dict) or raw.keys() != {"inputs", "expected"}:
        fail(f"{where} is not an object of inputs and expected")
    axes: dict[str, int] = {}
    for part, fields in (("inputs", INPUTS[stage]), ("expected", OUTPUTS[stage])):
        values = raw[part]
        if not isinstance(values, dict):
            fail(f"{where}, {part} is not an object")
        for name, value in values.items():
            if name not in fields:
                fail(f"{where}: stage {stage} has no {part} named {name!r}")
            try:
                _check_value(fields[name], value, dtypes, size, axes)
            except GACError as error:
                fail(f"{where}, {name} {error}")
        missing = _needed(stage, part, raw) - values.keys()
        if missing:
            fail(f"{where} lacks {part} {', '.join(sorted(missing))}")


def _needed(stage: str, part: str, raw: Mapping[str, Any]) -> set[str]:
    if part == "inputs":
        return {name for name, field in INPUTS[stage].items() if not field.optional}
    if stage in ("step", "trajectory"):
        return {"mu"}
    return set(raw["inputs"] if stage == "transport" else OUTPUTS[stage])


def _check_value(
    field: Field, value: Any, dtypes: Sequence[str], size: int, axes: dict[str, int]
) -> None:
    if isinstance(value, dict) and "float" not in value:
        if value.keys() != set(dtypes):
            fail(f"has values for {', '.join(value)}, not for {', '.join(dtypes)}")
        for dtype, one in value.items():
            _check_one(field, one, dtype, size, axes)
    elif field.kind == "token":
        fail(f"is a token array; it needs a value for each of {', '.join(dtypes)}")
    else:
        _check_one(field, value, "", size, axes)


def _check_one(field: Field, value: Any, dtype: str, size: int, axes: dict[str, int]) -> None:
    if field.shape:
        _check_array(field, value, dtype, size, axes)
    elif isinstance(value, dict):
        if field.kind != "real" or value.get("float") not in NON_FINITE or len(value) != 1:
            fail(f"= {value!r} is not a number")
    elif type(value) is not _SCALARS[field.kind]:
        fail(f"= {value!r} is not of kind {field.kind}")


def _check_array(field: Field, value: Any, dtype: str, size: int, axes: dict[str, int]) -> None:
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[1], list):
        fail(f"= {value!r} is not an array [storage, shape, offset]")
    storage, shape, offset = value
    wanted = FORMATS[dtype].storage if field.kind == "token" else STORAGE[field.kind]
    if storage != wanted:
        fail(f"is stored as {storage!r}; it should be {wanted!r}")
    names = field.shape[:1] if field.name == "advantages" and len(shape) == 1 else field.shape
    if len(shape) != len(names):
        fail(f"has shape {shape}; it should be [{', '.join(names)}]")
    count = 1
    for name, n in zip(names, shape, strict=True):
        if type(n) is not int or n < 0:
            fail(f"has shape {shape}; sizes are whole numbers >= 0")
        if axes.setdefault(name, n) != n:
            fail(f"has shape {shape}, but {name} is {axes[name]} elsewhere")
        count *= n
    if type(offset) is not int or offset < 0:
        fail(f"starts at byte {offset!r}; offsets are whole numbers >= 0")
    if offset + count * _ITEMSIZE[storage] > size:
        fail(f"ends at byte {offset + count * _ITEMSIZE[storage]} of the {size} that there are")


def decode_exchange(stage: str, raw: Mapping[str, Any], arrays: memoryview, dtype: str) -> Exchange:
    """A checked exchange in one dtype; arrays are read-only views of `arrays`."""
    fields = INPUTS[stage]
    inputs = {name: _decode(value, arrays, dtype) for name, value in raw["inputs"].items()}
    wide = {
        name: _read_only(widen(value, dtype)) if fields[name].kind == "token" else value
        for name, value in inputs.items()
    }
    outputs = OUTPUTS[stage]
    expected = {name: _decode(value, arrays, dtype) for name, value in raw["expected"].items()}
    for name, value in expected.items():
        if outputs[name].kind == "token":
            expected[name] = _read_only(widen(value, dtype))
    return Exchange(inputs, wide, expected)


def _decode(value: Any, arrays: memoryview, dtype: str) -> Any:
    if isinstance(value, dict):
        return NON_FINITE[value["float"]] if "float" in value else _decode(value[dtype], arrays, "")
    if not isinstance(value, list):
        return value
    storage, shape, offset = value
    count = math.prod(shape)
    if count == 0:
        return _read_only(np.empty(shape, dtype=storage))
    return np.frombuffer(arrays, dtype=storage, count=count, offset=offset).reshape(shape)


def _read_only(array: AnyArray) -> AnyArray:
    array.flags.writeable = False
    return array
