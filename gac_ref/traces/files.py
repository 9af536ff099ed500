"""The files of a recording: names, conversion to and from ``.npz``, atomic writes."""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.errors import GACError, fail

SCHEMA = "gac-trace/1"
"""The value of ``schema`` in ``trace.json``."""

REQUIRED = ("logprob", "response_mask", "advantages", "is_expert")
PER_TOKEN = ("logprob", "response_mask", "old_logprob", "ref_logprob")
PER_ROW = ("is_expert", "group_ids", "rewards")
MEANS = ("kl", "entropy")
FIELDS = (*REQUIRED, "group_ids", "rewards", "old_logprob", "ref_logprob", *MEANS)

_STEP_FILE = re.compile(r"(\d+)(?:\.r(\d+))?\.npz", re.ASCII)
_UNREADABLE = (
    *(ValueError, OSError, EOFError, KeyError, MemoryError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
    RuntimeError,  # an encrypted member, or (NotImplementedError) an unknown compression
)


def to_numpy(where: str, name: str, value: Any) -> AnyArray:
    """`value` as a NumPy array of a dtype that ``.npz`` keeps without pickle."""
    for method in ("detach", "cpu"):
        if callable(getattr(value, method, None)):
            value = getattr(value, method)()
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":
        value = value.float()  # NumPy has no bfloat16, and torch hands none over
    dlpack_only = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
    try:
        array: AnyArray = np.from_dlpack(value) if dlpack_only else np.asarray(value)
        if array.dtype.name.startswith(("bfloat16", "float8")):
            array = array.astype(np.float32)  # exact; as bfloat16 the file would need ml_dtypes
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        fail(
            f"{where}: {name} cannot become a NumPy array ({error}); cast it to float32 or "
            "float64 on the CPU first"
        )
    if array.dtype.kind not in "biuf":
        fail(f"{where}: {name} has dtype {array.dtype}; pass numbers or booleans")
    if not name.isprintable() or name.endswith((".npy", "/")):
        fail(f"{where}: {name!r} cannot name an array; use letters, digits and _ . + - /")
    return array


def check_fields(where: str, arrays: Mapping[str, AnyArray]) -> None:
    """Refuse unknown, missing and misshapen fields."""
    for name in arrays:
        if name not in FIELDS:
            fail(
                f"{where}: unknown array {name!r}; the fields are {', '.join(FIELDS)}, and "
                "everything else goes under logged/, oracle/ or extra/"
            )
    for name in REQUIRED:
        if name not in arrays:
            fail(f"{where}: {name} is missing; a step needs {', '.join(REQUIRED)}")
    shape = arrays["logprob"].shape
    if len(shape) != 2:
        fail(f"{where}: logprob has shape {shape}; pass a 2-D array [B, T]")
    for name, array in arrays.items():
        allowed = [shape] if name in PER_TOKEN else [shape[:1]] if name in PER_ROW else [()]
        if name == "advantages":
            allowed = [shape, shape[:1]]
        if array.shape not in allowed:
            wanted = " or ".join(map(str, allowed))
            fail(f"{where}: {name} has shape {array.shape}; pass {wanted}, as logprob has {shape}")


def scalar(where: str, name: str, array: AnyArray) -> AnyArray:
    """`array` if it holds one number."""
    if array.size != 1:
        fail(f"{where}: {name} has shape {array.shape}; pass one number a step")
    return array.reshape(()).astype(np.float64)


def read_header(path: Path) -> tuple[str, dict[str, Any]]:
    """`source` and `meta` of ``trace.json``, with its schema checked."""
    file = path / "trace.json"
    try:
        header = json.loads(file.read_bytes())
    except OSError as error:
        fail(f"{file}: cannot be read ({error.strerror}); pass a {SCHEMA} directory")
    except (ValueError, RecursionError) as error:
        fail(f"{file}: is not JSON ({error}); write {{'schema': {SCHEMA!r}}} there at the least")
    schema = header.get("schema") if isinstance(header, dict) else header
    if schema != SCHEMA:
        fail(f"{file}: schema = {str(schema)[:80]!r}; this program reads {SCHEMA!r}")
    source, meta = header.get("source", ""), header.get("meta", {})
    if not isinstance(source, str) or not isinstance(meta, dict):
        fail(f"{file}: source = {source!r:.80} or meta = {meta!r:.80} is not a text or an object")
    ranks = meta.get("ranks", 1)
    if not isinstance(ranks, int) or isinstance(ranks, bool) or ranks < 1:
        fail(f"{file}: meta.ranks = {ranks!r}; write how many ranks recorded, or leave it out")
    return source, meta


def step_files(folder: Path) -> dict[int, dict[int | None, Path]]:
    """The files of each step, by rank (None: one file for all ranks)."""
    found: dict[int, dict[int | None, Path]] = {}
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        fail(f"{folder}: cannot be listed ({error.strerror}); a trace keeps its steps there")
    for name in names:
        if name.startswith(".") or not name.endswith(".npz"):
            continue
        match = _STEP_FILE.fullmatch(name)
        if match is None:
            fail(f"{folder / name}: is not named as a step; rename it to 00000000.npz and so on")
        step, rank = int(match[1]), None if match[2] is None else int(match[2])
        files = found.setdefault(step, {})
        if rank in files or (files and (rank is None or None in files)):
            other = next(iter(files.values())).name
            fail(f"{folder / name}: holds step {step}, and so does {other}; keep one of them")
        files[rank] = folder / name
    return {step: dict(sorted(files.items(), key=_rank_order)) for step, files in found.items()}


def _rank_order(item: tuple[int | None, Path]) -> int:
    return -1 if item[0] is None else item[0]


def load(file: Path) -> dict[str, AnyArray]:
    """The known arrays of one file, checked for names, types and shapes."""
    arrays: dict[str, AnyArray] = {}
    name = "the archive"
    try:
        # The handle is ours: on a damaged archive np.load may leave its own open.
        with open(file, "rb") as handle:
            archive = np.load(handle, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                fail(f"{file}: is a single array; write the fields with np.savez")
            for name in archive.files:
                if not name.startswith("extra/"):
                    arrays[name] = archive[name]
    except GACError:
        raise
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        if "allow_pickle" in reason or "pickled" in reason:
            reason = "it is not an array file, or holds pickled objects, which are never loaded"
        fail(f"{file}: {name} cannot be read: {reason}; write the step again with np.savez")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            dtype = getattr(array, "dtype", "no dtype")
            hint = "widen bfloat16 to float32" if "V" in str(dtype) else "write numbers or booleans"
            fail(f"{file}: {name} has dtype {dtype}; {hint} before np.savez")
    scalars = {k: v for k, v in arrays.items() if k.startswith(("logged/", "oracle/"))}
    check_fields(str(file), {k: v for k, v in arrays.items() if k not in scalars})
    return arrays | {k: scalar(str(file), k, v) for k, v in scalars.items()}


def scalar_names(file: Path) -> set[str]:
    """The names of the scalars in one file, from its directory alone; none if it has no such."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return set()
    return {name for name in names if name.startswith(("logged/", "oracle/"))}
