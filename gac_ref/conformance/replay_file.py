"""A case in a file of its own: JSON, exact to the bit, readable by ``gac-ref check --case``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gac_ref.config import GACConfig
from gac_ref.conformance.adapters.wire import decode_values, encode_values
from gac_ref.conformance.case import Case, Exchange
from gac_ref.conformance.formats import FORMATS, format_named, widen
from gac_ref.conformance.schema import INPUTS, OUTPUTS
from gac_ref.conformance.stages import Field, stage_named
from gac_ref.errors import GACError, fail

__all__ = ["load_case", "new_case", "save_case"]

FORMAT = "gac_ref case"
VERSION = 1
LARGEST = 1 << 26
"""Bytes of a file that is read; a case of the pack has at most a few hundred thousand."""

_KEYS = {"format", "version", "id", "stage", "config", "dtype", "comment", "exchanges"}
_ID = re.compile(r"[a-z0-9_]+/[a-z0-9]+(-[a-z0-9]+)*")
_SCALARS: Mapping[str, tuple[type, ...]] = {
    "real": (float, int),
    "flag": (bool,),
    "count": (int,),
    "text": (str,),
}
_STORAGE = {"real": "<f8", "flag": "|b1", "count": "<i8"}


def new_case(
    stage: str, config: GACConfig, dtype: str, exchanges: Sequence[Exchange], comment: str
) -> Case:
    """A case that is in no pack; its id ends in the first digits of the hash of its content.

    Args:
        stage: The stage, "step" or "trajectory".
        config: The configuration.
        dtype: The one dtype that it exists in.
        exchanges: Its calls; consecutive steps from the start for a trajectory.
        comment: What it is there to catch.
    """
    content = _content(stage, config, dtype, exchanges)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return _case(f"{stage}/found-{digest[:8]}", stage, config, dtype, exchanges, comment, digest)


def save_case(path: str | Path, case: Case, dtype: str | None = None) -> None:
    """Write a case, with its inputs and golden values to the bit.

    Args:
        path: The file.
        case: The case, of a search or of the pack.
        dtype: In which dtype; the first that it has by default.
    """
    chosen = case.dtypes[0] if dtype is None else format_named(dtype).name
    content = _content(case.stage, case.config, chosen, case.exchanges(chosen))
    head = {"format": FORMAT, "version": VERSION, "id": case.id, "comment": case.comment}
    text = json.dumps({**head, **content}, indent=1, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def load_case(path: str | Path) -> Case:
    """Read a case that was saved; nothing in it is evaluated.

    Raises:
        GACError: The file is not one, or a value in it is not what the stage table says.
    """
    where = str(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        fail(f"{where}: cannot be read ({error.strerror}); pass a file that gac-ref fuzz wrote")
    if len(raw) > LARGEST:
        fail(f"{where}: is larger than {LARGEST} bytes; it is no case")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        fail(f"{where}: is not JSON; pass a file that gac-ref fuzz wrote")
    if not isinstance(data, dict) or data.get("format") != FORMAT or set(data) != _KEYS:
        fail(f"{where}: is not a saved case; pass a file that gac-ref fuzz wrote")
    if data["version"] != VERSION:
        fail(f"{where}: has version {data['version']!r}; this gac-ref reads {VERSION}")
    for name in ("id", "stage", "dtype", "comment"):
        if not isinstance(data[name], str):
            fail(f"{where}: {name} = {data[name]!r} is not text")
    if not _ID.fullmatch(data["id"]):
        fail(f"{where}: id = {data['id']!r} is not of the form stage/slug")
    stage, dtype = stage_named(data["stage"]).name, format_named(data["dtype"]).name
    exchanges = data["exchanges"]
    if not isinstance(exchanges, list) or not exchanges:
        fail(f"{where}: exchanges is not a list of at least one")
    try:
        config = GACConfig.from_dict(data["config"])
        read = [_exchange(stage, dtype, one) for one in exchanges]
    except GACError as error:
        fail(f"{where}: {error}")
    digest = hashlib.sha256(raw).hexdigest()
    return _case(data["id"], stage, config, dtype, read, data["comment"], digest)


def _content(
    stage: str, config: GACConfig, dtype: str, exchanges: Sequence[Exchange]
) -> dict[str, Any]:
    return {
        "stage": stage,
        "config": config.to_dict(),
        "dtype": dtype,
        "exchanges": [
            {"inputs": encode_values(one.inputs), "expected": encode_values(one.expected)}
            for one in exchanges
        ],
    }


def _case(
    case_id: str,
    stage: str,
    config: GACConfig,
    dtype: str,
    exchanges: Sequence[Exchange],
    comment: str,
    digest: str,
) -> Case:
    fixed = tuple(exchanges)
    return Case(
        case_id,
        "step" if stage == "step" else "trajectory" if stage == "trajectory" else "stage",
        stage,
        config,
        ("found",),
        comment,
        (dtype,),
        digest,
        lambda _: fixed,
    )


def _exchange(stage: str, dtype: str, raw: Any) -> Exchange:
    if not isinstance(raw, dict) or set(raw) != {"inputs", "expected"}:
        fail("an exchange is not an object of inputs and expected")
    parts = []
    for part, fields in (("inputs", INPUTS[stage]), ("expected", OUTPUTS[stage])):
        values = decode_values(raw[part], what=part)
        axes: dict[str, int] = {}
        for name, value in values.items():
            if name not in fields:
                fail(f"stage {stage} has no {part} named {name!r}")
            # Golden tokens (of transport) are kept wide, as in a pack.
            stored = FORMATS[dtype if part == "inputs" else "fp64"].storage
            values[name] = _checked(fields[name], value, stored, axes)
        parts.append(values)
    missing = [f.name for f in INPUTS[stage].values() if not f.optional and f.name not in parts[0]]
    if missing or not parts[1]:
        fail(f"an exchange lacks {', '.join(missing) or 'what is expected'}")
    tokens = [name for name in parts[0] if INPUTS[stage][name].kind == "token"]
    wide = {**parts[0], **{name: _frozen(widen(parts[0][name], dtype)) for name in tokens}}
    return Exchange(parts[0], wide, parts[1])


def _checked(field: Field, value: Any, tokens: str, axes: dict[str, int]) -> Any:
    if not isinstance(value, np.ndarray):
        if field.shape or type(value) not in _SCALARS.get(field.kind, ()):
            fail(f"{field.name} = {value!r} is not of kind {field.kind}, shape {field.shape}")
        return float(value) if field.kind == "real" else value
    storage = tokens if field.kind == "token" else _STORAGE.get(field.kind)
    if value.dtype.str != storage:
        fail(f"{field.name} has dtype {value.dtype.str}; it is stored as {storage}")
    shape = field.shape[:1] if field.name == "advantages" and value.ndim == 1 else field.shape
    if value.ndim != len(shape):
        fail(f"{field.name} has shape {list(value.shape)}; pass {list(shape)}")
    for axis, size in zip(shape, value.shape, strict=True):
        if axes.setdefault(axis, size) != size:
            fail(
                f"{field.name} has shape {list(value.shape)}, but {axis} is {axes[axis]} elsewhere"
            )
    return value


def _frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array
