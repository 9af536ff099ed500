"""Batches of tensors, and how closely the torch port is held to the estimator here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gac_ref.ports.torch import Batch

DTYPES = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}

# Dozens of float64 or float32 terms of order one, and a disagreement that may cancel to a hundredth
# of them. The conformance suite derives its bounds; these only say "the same formula".
TOLERANCE = {"fp64": 1e-11, "fp32": 2e-5, "fp16": 2e-5, "bf16": 2e-5}


def some_batch(
    seed: int = 0, rows: int = 12, width: int = 7, dtype: Any = torch.float32, **changes: Any
) -> Batch:
    rng = np.random.default_rng(seed)
    batch = Batch(
        torch.from_numpy(-rng.exponential(size=(rows, width))).to(dtype),
        torch.from_numpy(np.arange(width) < rng.integers(1, width + 1, size=(rows, 1))),
        torch.from_numpy(rng.normal(size=(rows, width))).to(dtype),
        torch.from_numpy(np.arange(rows) % 3 == 0),
        ref_logprob=torch.from_numpy(-rng.exponential(size=(rows, width))).to(dtype),
    )
    return batch._replace(**changes)
