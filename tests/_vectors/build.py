"""From drafts to records: narrowed inputs, 50-digit answers, array bytes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from _oracles import stages as oracle

from gac_ref.conformance.formats import FORMATS, narrow, widen
from gac_ref.conformance.schema import INPUTS, OUTPUTS, STORAGE
from gac_ref.conformance.stages import Field

from .draft import Draft, Values


class Record(NamedTuple):
    """A case as the pack stores it, and its array bytes."""

    case: Values
    arrays: bytes


def record(one: Draft) -> Record:
    """Narrow the inputs of a draft, answer them, and lay both out."""
    fields = INPUTS[one.stage]
    block = _Block()
    per_dtype = {dtype: answered(one, dtype) for dtype in one.dtypes}
    exchanges = []
    for number, given in enumerate(one.exchanges):
        each = {dtype: answers[number] for dtype, answers in per_dtype.items()}
        if "response_mask" in given:
            block.width = given["response_mask"].shape[1]
        exchanges.append(
            {
                "inputs": {
                    name: block.add(
                        {d: inputs[name] for d, (inputs, _) in each.items()}, fields[name]
                    )
                    for name in next(iter(each.values()))[0]
                },
                "expected": {
                    name: block.add(
                        {d: expected[name] for d, (_, expected) in each.items()},
                        OUTPUTS[one.stage][name],
                    )
                    for name in next(iter(each.values()))[1]
                },
            }
        )
    kind = one.stage if one.stage in ("step", "trajectory") else "stage"
    case = {
        "id": one.id,
        "kind": kind,
        "stage": one.stage,
        "config": one.config,
        "tags": list(one.tags),
        "comment": one.comment,
        "dtypes": list(one.dtypes),
        "exchanges": exchanges,
    }
    return Record(case, bytes(block.content))


def answered(one: Draft, dtype: str) -> list[tuple[Values, Values]]:
    """Inputs as sent and answers of each exchange, in one dtype."""
    sent = [sent_inputs(one, given, dtype) for given in one.exchanges]
    wide = [as_lists(one.stage, inputs, dtype) for inputs in sent]
    if one.stage == "trajectory":
        answers = oracle.trajectory(one.config, wide)
    else:
        answers = [oracle.evaluate(one.stage, one.config, inputs) for inputs in wide]
    if one.stage == "transport":
        return [(inputs, dict(inputs)) for inputs in sent]
    return [
        (inputs, {name: rounded(value) for name, value in answer.items()})
        for inputs, answer in zip(sent, answers, strict=True)
    ]


def sent_inputs(one: Draft, given: Values, dtype: str) -> Values:
    """The inputs in one dtype; the coefficients that a sequence case takes follow from it."""
    fields = INPUTS[one.stage]
    sent = {
        name: narrow(value, dtype) if fields[name].kind == "token" else value
        for name, value in given.items()
    }
    if one.stage == "sequences" and "c_s" not in sent:
        streams = oracle.evaluate("coefficients", one.config, as_lists(one.stage, sent, dtype))
        sent |= {name: rounded(value) for name, value in streams.items()}
    return sent


def as_lists(stage: str, sent: Values, dtype: str) -> Values:
    """The inputs as the oracle reads them: exact numbers in nested lists."""
    fields = INPUTS[stage]
    wide = {
        name: widen(value, dtype) if fields[name].kind == "token" else value
        for name, value in sent.items()
    }
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in wide.items()
    }


def rounded(value: Any) -> Any:
    """An answer of the oracle as float64, int64 or bool."""
    if isinstance(value, bool | int):
        return value
    if not isinstance(value, list):
        return float(value)
    if not value:  # of a batch without rows, whose width a list does not show
        return value
    if isinstance(value[0], int):
        return np.array(value, dtype=np.int64)
    if isinstance(value[0], list):
        return np.array([[float(x) for x in row] for row in value], dtype=np.float64)
    return np.array([float(x) for x in value], dtype=np.float64)


class _Block:
    """The array bytes of a case; equal arrays are stored once."""

    def __init__(self) -> None:
        self.width = 0  # of a batch without rows, which the oracle's lists do not show
        self.content = bytearray()
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, values: Values, field: Field) -> Any:
        encoded = {dtype: self._one(value, field, dtype) for dtype, value in values.items()}
        first = next(iter(encoded.values()))
        if field.kind != "token" and all(other == first for other in encoded.values()):
            return first
        return encoded

    def _one(self, value: Any, field: Field, dtype: str) -> Any:
        if not field.shape:
            return self._scalar(value, field)
        storage = FORMATS[dtype].storage if field.kind == "token" else STORAGE[field.kind]
        array = np.asarray(value)
        if array.ndim < len(field.shape) and array.size == 0:
            array = array.reshape(0, self.width)
        content = np.ascontiguousarray(array, dtype=storage).tobytes()
        if field.kind != "token":
            # One NaN: the sign of those that arithmetic makes differs between machines.
            content = _one_nan(np.ascontiguousarray(array, dtype=storage)).tobytes()
        key = (storage, content)
        if key not in self._known:
            self.content += bytes(-len(self.content) % 8)
            self._known[key] = len(self.content)
            self.content += content
        return [storage, list(array.shape), self._known[key]]

    def _scalar(self, value: Any, field: Field) -> Any:
        if field.kind == "real":
            number = float(value)
            if math.isfinite(number):
                return number
            return {"float": "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"}
        kinds: dict[str, Any] = {"flag": bool, "count": int, "text": str}
        return kinds[field.kind](value)


def _one_nan(array: Any) -> Any:
    if array.dtype.kind == "f":
        array = array.copy()
        array[np.isnan(array)] = np.nan
    return array
