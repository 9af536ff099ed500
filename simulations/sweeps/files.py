"""Npz files that are whole or absent, carry a digest, and may be written by several at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gac_ref._typing import AnyArray

__all__ = ["Damaged", "clear_leftovers", "read_arrays", "replace_file", "write_arrays"]


class Damaged(Exception):
    """A file that is not what its name says."""


def read_arrays(path: Path) -> dict[str, AnyArray]:
    """What `write_arrays` wrote.

    Raises:
        Damaged: The file cannot be read, or its arrays do not match their digest.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_arrays(Path(folder) / "a.npz", {"x": np.arange(3)})
        ...     read_arrays(Path(folder) / "a.npz")["x"].tolist()
        [0, 1, 2]
    """
    try:
        # Opened here: NumPy leaves its own handle open where the archive is damaged.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        digest = str(arrays.pop("digest"))
    except Exception as error:  # zipfile, zlib and NumPy each raise their own on damage
        raise Damaged(f"not readable as an npz of plain arrays: {error}") from error
    if digest != _digest(arrays):
        raise Damaged("its arrays do not match their digest")
    return arrays


def write_arrays(target: Path, arrays: Mapping[str, AnyArray]) -> None:
    """Write arrays and their digest as an npz, whole or not at all; equal arrays, equal bytes."""
    plain: dict[str, Any] = {**arrays, "digest": np.array(_digest(arrays))}
    replace_file(target, lambda file: np.savez(file, **plain))


def _digest(arrays: Mapping[str, AnyArray]) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {np.shape(arrays[name])}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def replace_file(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write whole or not at all, also when several processes write the same name at once.

    Recordings have one writer a file, and a fixed temporary name; here two runs, or a worker that
    outlives its run for a moment, may write the same cell.
    """
    temporary = target.parent / f".{target.name}.{_host()}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def clear_leftovers(folder: Path) -> None:
    """Remove temporary files of processes of this machine that are gone."""
    for file in folder.glob(".*.tmp"):
        host, process = file.name.split(".")[-3:-1]
        if host == _host() and process.isdigit() and not _alive(int(process)):
            file.unlink(missing_ok=True)


def _host() -> str:
    return os.uname().nodename.replace(".", "-") if hasattr(os, "uname") else "host"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    try:  # a process that has ended, and that nobody has asked about yet, still has its number
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state != "Z"
