"""Reading a recording, one step at a time."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gac_ref.batch import Batch
from gac_ref.errors import fail
from gac_ref.traces.files import (
    load,
    read_header,
    scalar_names,
    step_files,
)
from gac_ref.traces.merge import batch_of, group_of, oracle_of

__all__ = ["TraceReader", "TraceStep"]


@dataclass(frozen=True)
class TraceStep:
    """One step of a recording, its ranks merged.

    Args:
        step: Step number.
        batch: The whole batch: ranks concatenated along B, padded to the widest T.
        logged: What the trainer reported, by name; of the lowest rank that reported it.
        oracle: True gradient-space values, by name.
        rank_logged: `logged` of each rank (key None without ranks). Ranks that should agree and do
            not are a known failure of data-parallel ports, so nothing is averaged here.
        missing_before: Step numbers missing right before this one.
        files: The files read.
    """

    step: int
    batch: Batch
    logged: dict[str, float] = field(default_factory=dict)
    oracle: dict[str, float] = field(default_factory=dict)
    rank_logged: dict[int | None, dict[str, float]] = field(default_factory=dict)
    missing_before: int = 0
    files: tuple[Path, ...] = ()


class TraceReader:
    """Read a recording lazily: one step in memory at a time.

    Args:
        path: The trace directory.
        allow_gaps: Read on after a missing step. Off, it is an error when iteration gets there: a
            controller has memory, so what it would do after the gap is not known. Steps recorded
            at a regular distance have no gaps, and the last may be nearer.

    Attributes:
        source: What was recorded, in words.
        meta: Settings and facts of the recording.
        steps: The step numbers, ascending.
        ranks: The data-parallel ranks that write a file each; empty for one file a step.
        stride: The smallest distance of two steps, the last one not counted (1 for one step).

    Raises:
        GACError: Not a trace, another schema, or ``trace.json`` cannot be read.

    Examples:
        See :class:`TraceWriter`.
    """

    def __init__(self, path: str | os.PathLike[str], *, allow_gaps: bool = False) -> None:
        self.path = Path(path)
        self.source, self.meta = read_header(self.path)
        self._allow_gaps = allow_gaps
        self._files = step_files(self.path / "steps")
        self.steps = sorted(self._files)
        # A trainer that records every 10th step and its last one leaves a shorter distance there.
        distances = np.diff(self.steps).tolist()
        self.stride = min(distances[:-1] or distances, default=1)
        seen = {rank for files in self._files.values() for rank in files if rank is not None}
        self.ranks = sorted(seen | set(range(self.meta.get("ranks", 0))))

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.steps)

    def __iter__(self) -> Iterator[TraceStep]:
        """The steps in order; GACError at the first that is missing or cannot be read."""
        for step in self.steps:
            missing = self.missing_before(step)
            if missing and not self._allow_gaps:
                lost = self.path / "steps" / f"{step - missing * self.stride:08d}.npz"
                fail(
                    f"{lost}: missing, and the trace goes on at step {step}; restore it, or read "
                    "with allow_gaps=True (gac-ref replay --allow-gaps)"
                )
            yield self.read(step)

    def missing_before(self, step: int) -> int:
        """How many steps are missing between `step` and the recorded step before it."""
        index = bisect.bisect_left(self.steps, step)
        return 0 if index == 0 else (step - self.steps[index - 1] - 1) // self.stride

    def read(self, step: int) -> TraceStep:
        """One step by its number.

        Raises:
            GACError: The step is not there, or a file of it is missing or malformed.
        """
        if step not in self._files:
            fail(f"{self.path}: has no step {step}; reader.steps lists its {len(self)} steps")
        files = self._files[step]
        if None not in files and (absent := sorted(set(self.ranks) - files.keys())):
            lost = self.path / "steps" / f"{step:08d}.r{absent[0]:04d}.npz"
            fail(f"{lost}: missing, though the trace has ranks {self.ranks}; restore it")
        contents = {rank: load(file) for rank, file in files.items()}
        logged = {rank: group_of(contents[rank], "logged") for rank in files}
        merged: dict[str, float] = {}
        for values in logged.values():
            merged = {**values, **merged}
        return TraceStep(
            step=step,
            batch=batch_of(files, contents),
            logged=merged,
            oracle=oracle_of(files, contents),
            rank_logged=logged,
            missing_before=self.missing_before(step),
            files=tuple(files.values()),
        )

    def scalar_names(self, *, steps: int | None = None) -> list[str]:
        """The names ``logged/NAME`` and ``oracle/NAME`` in the first `steps` steps (None: all).

        Only the archives' directories are read; a file that cannot be opened is passed over, and
        reading its step says what is wrong with it.
        """
        files = (file for step in self.steps[:steps] for file in self._files[step].values())
        return sorted({name for file in files for name in scalar_names(file)})
