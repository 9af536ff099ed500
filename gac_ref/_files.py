"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO


def write_atomically(target: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write under a temporary name, flush to the disk, rename: after a crash, whole or absent."""
    folder, name = os.path.split(os.fspath(target))
    # A fixed name: what a crash leaves behind is replaced when the file is written again.
    temporary = os.path.join(folder, f".{name}.tmp")
    with open(temporary, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target)
    if os.name == "posix":  # elsewhere a directory cannot be opened
        directory = os.open(folder or os.curdir, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
