"""Synthetic recordings: small hybrid batches from a seeded generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gac_ref.traces import TraceWriter

Fields = dict[str, Any]


def fields(
    rng: np.random.Generator, rows: int = 8, tokens: int = 6, *, experts: int | None = None
) -> Fields:
    """The arrays of one step: experts first, then rollouts; every row has a response token."""
    experts = rows // 2 if experts is None else experts
    mask = rng.random((rows, tokens)) < 0.8
    if rows:
        mask[:, 0] = True
    logprob = -rng.exponential(0.7, (rows, tokens)) - 0.01
    return {
        "logprob": logprob,
        "response_mask": mask,
        "advantages": np.repeat(rng.normal(size=(rows, 1)), tokens, axis=1),
        "is_expert": np.arange(rows) < experts,
        "group_ids": np.arange(rows) // 4,
        "rewards": rng.random(rows),
        "old_logprob": logprob - 0.01,
        "ref_logprob": logprob - 0.02,
    }


def write_trace(
    path: Path, steps: int, *, seed: int = 0, oracle_every: int = 0, **writer: Any
) -> Path:
    """A trace of `steps` steps; the true values are made up, and drift."""
    rng = np.random.default_rng(seed)
    with TraceWriter(path, source="synthetic", **writer) as out:
        for step in range(steps):
            oracle = None
            if oracle_every and step % oracle_every == 0:
                oracle = {
                    "sigma_s2": 0.2 + 0.001 * step,
                    "sigma_r2": 0.8,
                    "delta_g2": 0.5 - 0.01 * step,
                }
            out.write(step, **fields(rng), oracle=oracle)
    return path


def step_file(trace: Path, step: int, rank: int | None = None) -> Path:
    """Where the format keeps a step."""
    name = f"{step:08d}" if rank is None else f"{step:08d}.r{rank:04d}"
    return trace / "steps" / f"{name}.npz"
