"""Recordings of real training, ``gac-trace/1``: a directory that any language can write.

::

    TRACE/trace.json                {"schema": "gac-trace/1", "source": ..., "meta": {...}}
    TRACE/steps/00000000.npz        the arrays of one step
    TRACE/steps/00000000.r0003.npz  the same, one file a data-parallel rank

A step holds ``logprob`` [B, T] (nats), ``response_mask`` [B, T], ``advantages`` [B, T] or [B] and
``is_expert`` [B]; optionally ``group_ids`` [B], ``rewards`` [B], ``old_logprob`` [B, T],
``ref_logprob`` [B, T], ``kl`` and ``entropy`` (batch means, nats); scalars ``logged/NAME`` (what
the trainer's own controller reported) and ``oracle/NAME`` (true gradient-space values); and
``extra/NAME``, anything else, which is never read. Plain ``np.savez`` writes such a file.

One file a step means that a crash loses at most the step being written. A single growing file
(HDF5, Zarr, JSON lines) was left: it needs a dependency or a text float per token.
"""

from __future__ import annotations

from gac_ref.traces.files import SCHEMA
from gac_ref.traces.reader import TraceReader, TraceStep
from gac_ref.traces.writer import TraceWriter

__all__ = ["SCHEMA", "TraceReader", "TraceStep", "TraceWriter"]
