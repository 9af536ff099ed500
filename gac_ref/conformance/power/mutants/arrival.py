"""Faults on the way in: what a port receives is not what was sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.formats import narrow, widen
from gac_ref.conformance.power.model import TOKENS, Model
from gac_ref.conformance.power.mutants._mutant import fault

__all__ = ["FAULTS"]

Values = Mapping[str, Any]
_fault = partial(fault, "transport")


def _tokens(change: Callable[[Model, AnyArray], AnyArray]) -> Callable[[Model, Values], Values]:
    """`change` applied to every token array."""

    def arrive(port: Model, inputs: Values) -> Values:
        changed = {n: change(port, v) for n, v in inputs.items() if n in TOKENS}
        return {**inputs, **changed}

    return arrive


def _arrays(change: Callable[[AnyArray], AnyArray]) -> Callable[[Model, Values], Values]:
    def arrive(port: Model, inputs: Values) -> Values:
        return {n: change(v) if np.ndim(v) else v for n, v in inputs.items()}

    return arrive


def _one(name: str, change: Callable[[Any], Any]) -> Callable[[Model, Values], Values]:
    def arrive(port: Model, inputs: Values) -> Values:
        return {**inputs, name: change(inputs[name])} if name in inputs else inputs

    return arrive


def _through(dtype: str) -> Callable[[Model, AnyArray], AnyArray]:
    def rounded(port: Model, bits: AnyArray) -> AnyArray:
        wide = widen(bits, port.dtype)
        with np.errstate(over="ignore"):
            return narrow(widen(narrow(wide, dtype), dtype), port.dtype)

    return rounded


def _last_column(bits: AnyArray) -> AnyArray:
    changed = bits.copy()
    changed[:, -1:] = 0
    return changed


def _clean(port: Model, bits: AnyArray) -> AnyArray:
    wide = widen(bits, port.dtype)
    return narrow(np.where(np.isfinite(wide), wide, 0.0), port.dtype)


def _swapped_tokens(port: Model, inputs: Values) -> Values:
    if "ref_logprob" not in inputs:
        return inputs
    return {**inputs, "logprob": inputs["ref_logprob"], "ref_logprob": inputs["logprob"]}


FAULTS = (
    _fault(
        "axes swapped",
        "Token arrays are read in column order: right only where a batch is symmetric.",
        arrive=_tokens(lambda port, x: x.T.reshape(x.shape)),
    ),
    _fault("rows reversed", "Arrays arrive bottom up.", arrive=_arrays(lambda x: x[::-1])),
    _fault(
        "rows rotated by one",
        "An off-by-one in the gather of the rows.",
        arrive=_tokens(lambda port, x: np.roll(x, 1, axis=0)),
    ),
    _fault(
        "byte order reversed",
        "Big-endian bytes read as little-endian ones.",
        arrive=_tokens(lambda port, x: x.byteswap()),
    ),
    _fault(
        "through bfloat16",
        "A cast to bfloat16 on the way in, as an autocast region leaves behind.",
        dtypes=("fp64", "fp32", "fp16"),
        reason="bfloat16 inputs survive the cast",
        arrive=_tokens(_through("bf16")),
    ),
    _fault(
        "through float16",
        "A cast to float16 on the way in.",
        dtypes=("fp64", "fp32", "bf16"),
        reason="float16 inputs survive the cast",
        arrive=_tokens(_through("fp16")),
    ),
    _fault(
        "through float32",
        "A default dtype of float32.",
        dtypes=("fp64",),
        reason="the other formats are exact in float32",
        arrive=_tokens(_through("fp32")),
    ),
    _fault(
        "response mask inverted",
        "A padding mask taken for a response mask.",
        arrive=_one("response_mask", lambda m: ~m),
    ),
    _fault(
        "response mask shifted by one",
        "Labels are shifted by one token and the mask is not.",
        arrive=_one("response_mask", lambda m: np.roll(m, 1, axis=1)),
    ),
    _fault(
        "experts and rollouts swapped",
        "The expert flag is read as an on-policy flag.",
        arrive=_one("is_expert", lambda e: ~e),
    ),
    _fault(
        "last column lost",
        "A copy of T - 1 columns.",
        arrive=_tokens(lambda port, x: _last_column(x) if x.ndim == 2 else x),
    ),
    _fault(
        "padding cleaned up",
        "NaN and infinities in the padding are replaced on arrival, which hides a poisoned batch.",
        arrive=_tokens(_clean),
    ),
    _fault("logprob and ref_logprob swapped", "Two arguments in the wrong order.",
           arrive=_swapped_tokens),
    _fault("reference log-probabilities lost", "An optional argument falls back to zeros.",
           arrive=_one("ref_logprob", np.zeros_like)),
    _fault("given KL lost", "An optional argument falls back to zero.",
           arrive=_one("batch_kl", lambda kl: 0.0)),
    _fault(
        "log-probabilities negated",
        "The trainer's NLL is taken for a log-probability.",
        arrive=_one("logprob", lambda x: x ^ x.dtype.type(0x8000) if x.dtype == np.uint16 else -x),
    ),
)  # fmt: skip
