"""The store: one atomic npz a cell, checkpoints of unfinished cells, damaged files set aside.

    STORE/study.json          the study as it was run last
    STORE/cells/HASH.npz      a finished cell; never written twice
    STORE/partial/HASH.npz    the last checkpoint of an unfinished cell
    STORE/locks/HASH          held by the run that computes the cell
    STORE/damaged/HASH.N.npz  a cell file that could not be read, as it was found

A cell file holds its configuration, whose hash is its name, and a digest of its arrays.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.errors import GACError, fail
from simulations.sweeps.cell import Cell, cell_name
from simulations.sweeps.files import (
    Damaged,
    clear_leftovers,
    read_arrays,
    replace_file,
    write_arrays,
)

try:
    import fcntl
except ImportError:  # not POSIX: runs at once may compute a cell twice, and store the same bytes
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileCheckpoint", "Store", "StoreFull"]


FOLDERS = ("cells", "partial", "locks")


class StoreFull(GACError):
    """The store could not be written; what is in it is whole."""


class Store:
    """A folder of cells.

    Args:
        root: The folder; made when first written to.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store, cell = Store(folder), Cell({"x": 1})
        ...     store.write(cell, {"a": np.arange(3)})
        ...     store.read(cell)["a"].tolist()
        [0, 1, 2]
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def path(self, cell: Cell) -> Path:
        """Where a finished cell lies."""
        return self.root / "cells" / f"{cell.name}.npz"

    def partial(self, cell: Cell) -> Path:
        """Where the checkpoint of an unfinished cell lies."""
        return self.root / "partial" / f"{cell.name}.npz"

    def has(self, cell: Cell) -> bool:
        """Whether a file for the cell is there (it may be damaged)."""
        return self.path(cell).is_file()

    def prepare(self) -> None:
        """Make the folders and clear what killed runs of this machine left half written.

        Raises:
            StoreFull: The folder cannot be written.
        """
        with _writing(self.root):
            for folder in (self.root, *(self.root / name for name in FOLDERS)):
                folder.mkdir(parents=True, exist_ok=True)
                clear_leftovers(folder)

    def write(self, cell: Cell, arrays: Mapping[str, AnyArray]) -> None:
        """Store a finished cell, whole or not at all, and drop its checkpoint.

        Raises:
            StoreFull: The disk is full or the folder cannot be written.
        """
        text = json.dumps(cell.configuration, sort_keys=True)
        arrays = {**arrays, "configuration": np.array(text)}
        target = self.path(cell)
        with _writing(self.root):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(target, arrays)
            with contextlib.suppress(OSError):
                self.partial(cell).unlink(missing_ok=True)

    def read(self, cell: Cell) -> dict[str, AnyArray]:
        """A finished cell's arrays.

        Raises:
            Damaged: The file cannot be read, or is not what its name says.
        """
        arrays = read_arrays(self.path(cell))
        try:
            named = cell_name(json.loads(str(arrays.pop("configuration"))))
        except (KeyError, ValueError) as error:
            raise Damaged(f"lacks its configuration: {error}") from error
        if named != cell.name:
            raise Damaged("holds another configuration")
        return arrays

    def set_aside(self, cell: Cell) -> Path:
        """Move a damaged cell file out of the way, keeping it for a post-mortem."""
        folder = self.root / "damaged"
        with _writing(self.root):
            folder.mkdir(exist_ok=True)
            number = len(list(folder.glob(f"{cell.name}.*")))
            target = folder / f"{cell.name}.{number}.npz"
            os.replace(self.path(cell), target)
        return target

    @contextlib.contextmanager
    def lock(self, cell: Cell) -> Iterator[bool]:
        """Hold the right to compute a cell; yields whether it was free.

        The lock goes with its holder: a killed run leaves none behind.
        """
        path = self.root / "locks" / cell.name
        with _writing(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            free = _try_lock(handle)
            yield free
            # Only after the cell is stored: whoever waits on this file finds it finished.
            if free and self.has(cell):
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def locked(self, cell: Cell) -> bool:
        """Whether a run is computing the cell now."""
        path = self.root / "locks" / cell.name
        if not path.exists():
            return False
        handle = os.open(path, os.O_RDWR)
        try:
            return not _try_lock(handle)
        finally:
            os.close(handle)

    def write_manifest(self, tree: Mapping[str, Any]) -> None:
        """Keep the study as it is run, for `resume`, `status`, `summary` and `export`."""
        text = json.dumps(tree, indent=2) + "\n"
        with _writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            replace_file(self.root / "study.json", lambda file: file.write(text.encode()))

    def read_manifest(self) -> dict[str, Any]:
        """The study as it was run last.

        Raises:
            GACError: There is none, or it cannot be read.
        """
        path = self.root / "study.json"
        if not path.is_file():
            fail(f"{self.root}: holds no study; start one with: python -m simulations run STUDY")
        try:
            tree = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            fail(f"{path}: not readable ({error}); start the study again with run")
        if not isinstance(tree, dict):
            fail(f"{path}: not a study; start the study again with run")
        return tree


class FileCheckpoint:
    """The checkpoint of one cell as a file, saved at most once every few seconds.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoint = FileCheckpoint(Path(folder) / "cell.npz", seconds=0.0)
        ...     checkpoint.save({"step": np.array(3)})
        ...     int(checkpoint.load()["step"])
        3
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether `seconds` have passed since the last time."""
        return time.monotonic() - self._last >= self.seconds

    def load(self) -> dict[str, AnyArray] | None:
        """The last state, or None where there is none that can be read."""
        try:
            return read_arrays(self.path)
        except Damaged:
            return None

    def save(self, arrays: Mapping[str, AnyArray]) -> None:
        """Write the state; a full disk costs the checkpoint, not the cell."""
        with contextlib.suppress(OSError):
            write_arrays(self.path, arrays)
        self._last = time.monotonic()


@contextlib.contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "make room there and resume" if full else "correct that, or pass another --out"
        raise StoreFull(
            f"{root}: cannot write ({error.strerror or error}); what is stored is whole, so "
            f"{remedy}"
        ) from error


def _try_lock(handle: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
