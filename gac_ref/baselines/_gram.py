"""The Gram matrix of two gradients, as the rules that combine gradients read it."""

from __future__ import annotations

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.baselines._reader import Reader
from gac_ref.errors import fail

GRAM_RTOL = 1e-9
"""Slack of Cauchy-Schwarz, |G_sr| <= sqrt(G_ss G_rr): callers accumulate the three products over
millions of parameters, often from float32 gradients reduced in another order each."""

READS = ("gram_ss", "gram_sr", "gram_rr")


def read_gram(reader: Reader) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The three entries of a Gram matrix that two gradients can have."""
    ss = reader.read("gram_ss", low=0.0)
    sr = reader.read("gram_sr")
    rr = reader.read("gram_rr", low=0.0)
    bound = np.sqrt(ss) * np.sqrt(rr)
    bad = np.abs(sr) > bound * (1.0 + GRAM_RTOL)
    if bad.any():
        size, largest = float(sr[bad].flat[0]), float(bound[bad].flat[0])
        fail(
            f"{type(reader.rule).__name__}: signal 'gram_sr' = {size!r} exceeds "
            f"sqrt(gram_ss gram_rr) = {largest!r} in size; no two gradients have that"
        )
    return ss, np.clip(sr, -bound, bound), rr


def read_scaled_gram(reader: Reader) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The same over the larger of the two squared norms, which no mixing weight depends on."""
    ss, sr, rr = read_gram(reader)
    longer = np.maximum(ss, rr)
    scale = np.where(longer > 0.0, longer, 1.0)
    return ss / scale, sr / scale, rr / scale
