"""Writing a recording."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from gac_ref._files import write_atomically
from gac_ref.errors import fail
from gac_ref.traces.files import (
    SCHEMA,
    check_fields,
    read_header,
    scalar,
    to_numpy,
)

__all__ = ["TraceWriter"]


class TraceWriter:
    """Write a recording step by step, each step whole or not at all.

    Args:
        path: The trace directory; made if missing. An existing ``gac-trace/1`` is continued.
        source: What was recorded, in words. When a trace is continued: None, or the same text.
        meta: Settings and facts for ``trace.json``, JSON values; merged over what is there.
        rank: This process's data-parallel rank, >= 0; None for one file a step. Rank 0 (or None)
            writes ``trace.json``, so `source` and `meta` of the other ranks are not used.
        ranks: How many ranks write, kept as ``meta["ranks"]`` so that a reader misses none.
        compress: Deflate the arrays.

    Raises:
        GACError: The directory holds another schema or another source, or an argument is invalid.

    Examples:
        >>> from gac_ref.traces import TraceReader
        >>> import tempfile
        >>> import numpy as np
        >>> folder = tempfile.TemporaryDirectory()
        >>> with TraceWriter(folder.name, source="a hand-made example") as writer:
        ...     _ = writer.write(
        ...         0,
        ...         logprob=np.log([[0.5, 0.25], [0.9, 1.0]]),
        ...         response_mask=[[True, True], [True, False]],
        ...         advantages=[0.0, 1.0],
        ...         is_expert=[True, False],
        ...         logged={"mu": 0.5},
        ...     )
        >>> reader = TraceReader(folder.name)
        >>> [(step.step, step.batch.shape, step.logged) for step in reader]
        [(0, (2, 2), {'mu': 0.5})]
        >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        source: str | None = None,
        meta: Mapping[str, Any] | None = None,
        rank: int | None = None,
        ranks: int | None = None,
        compress: bool = True,
    ) -> None:
        if ranks is not None and ranks < 1:
            fail(f"ranks = {ranks!r} is below 1; pass how many ranks write")
        if rank is not None and not 0 <= rank < (ranks or rank + 1):
            fail(f"rank = {rank!r} is outside 0..{(ranks or 0) - 1}; pass this process's rank")
        self.path = Path(path)
        self._rank, self._compress, self._closed = rank, compress, False
        self._steps = self.path / "steps"
        self._steps.mkdir(parents=True, exist_ok=True)
        update = {**(meta or {}), **({} if ranks is None else {"ranks": int(ranks)})}
        exists = (self.path / "trace.json").exists()
        old_source, old_meta = read_header(self.path) if exists else (source or "", {})
        if rank:
            return
        if source is not None and source != old_source:
            fail(
                f"{self.path}: source = {source!r}, but the trace there is of {old_source!r}; "
                "record into another directory"
            )
        if old_meta.get("ranks", ranks) != ranks and ranks is not None:
            fail(f"{self.path}: ranks = {ranks}, but the trace there has {old_meta['ranks']}")
        if not exists or {**old_meta, **update} != old_meta:
            self._write_header(old_source, {**old_meta, **update})

    def write(
        self,
        step: int,
        *,
        logged: Mapping[str, Any] | None = None,
        oracle: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        **fields: Any,
    ) -> Path:
        """Write one step: to a temporary name, flushed to the disk, then renamed.

        Shapes and types are checked here, values only when the trace is read: a NaN in a training
        run is what one wants to find in its recording, not a reason to stop the run.

        Args:
            step: Step number, >= 0.
            logged: Scalars that the trainer's own controller reported, by name.
            oracle: True gradient-space values, scalars (``sigma_s2``, ``sigma_r2``, ``delta_g2``,
                ``kappa``), by name.
            extra: Arrays that are kept and never read.
            overwrite: Replace the step if it is there.
            **fields: ``logprob`` and the other arrays named at the top of this module: NumPy
                arrays, or anything with ``__array__`` or DLPack. A bfloat16 array is widened to
                float32, which is exact and which every NumPy can read. None means absent.

        Returns:
            The file written.

        Raises:
            GACError: An unknown, missing or malformed field, or the step exists already.
        """
        name = f"{step:08d}" if self._rank is None else f"{step:08d}.r{self._rank:04d}"
        target = self._steps / f"{name}.npz"
        if self._closed:
            fail(f"{target}: the writer is closed; open another one to continue the trace")
        if isinstance(step, bool) or step < 0:
            fail(f"step = {step!r} is below 0; pass a step number >= 0")
        if target.exists() and not overwrite:
            fail(f"{target}: step {step} exists; pass overwrite=True to replace it")
        where = str(target)
        arrays = {k: to_numpy(where, k, v) for k, v in fields.items() if v is not None}
        check_fields(where, arrays)
        for group, values in (("logged", logged), ("oracle", oracle), ("extra", extra)):
            for key, value in sorted((values or {}).items()):
                full = f"{group}/{key}"
                array = to_numpy(where, full, value)
                arrays[full] = array if group == "extra" else scalar(where, full, array)
        # np.savez stamps every member with the same date, so equal steps are equal files.
        save: Callable[..., None] = np.savez_compressed if self._compress else np.savez
        write_atomically(target, lambda file: save(file, **arrays))
        return target

    def close(self, meta: Mapping[str, Any] | None = None) -> None:
        """End the recording; `meta` is merged into ``trace.json``, which is replaced as a whole."""
        if meta and self._rank:
            fail(f"{self.path}: meta is written by rank 0, and this is rank {self._rank}")
        if meta:
            source, old = read_header(self.path)
            self._write_header(source, {**old, **meta})
        self._closed = True

    def __enter__(self) -> TraceWriter:
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; what was written stays, whatever was raised."""
        self.close()

    def _write_header(self, source: str, meta: dict[str, Any]) -> None:
        header = {"schema": SCHEMA, "source": source, "meta": meta}
        try:
            text = json.dumps(header, indent=2, sort_keys=True, allow_nan=False, default=_plain)
        except (TypeError, ValueError) as error:
            fail(f"{self.path / 'trace.json'}: meta is not JSON: {error}; pass plain finite values")
        write_atomically(self.path / "trace.json", lambda file: file.write(f"{text}\n".encode()))


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays in `meta` as JSON values."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.60}")
