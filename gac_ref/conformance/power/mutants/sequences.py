"""Faults in the masked means and in the KL: what one sequence contributes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.formats import narrow, widen
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import WIDE_ONLY, fault

__all__ = ["FAULTS"]

_fault = partial(fault, "sequences")


def _mean(
    mask: Callable[[AnyArray], AnyArray] = lambda m: m,
    count: Callable[[Any, AnyArray], AnyArray] | None = None,
) -> Callable[[Model, AnyArray, AnyArray], AnyArray]:
    """The masked mean with another mask above, or another count below, the line."""

    def masked_mean(port: Model, x: AnyArray, m: AnyArray) -> AnyArray:
        total = np.asarray(port.total(port.masked(x, mask(m))))
        below = port.count(m) + port.config.mask_eps if count is None else count(port, m)
        below = np.asarray(below).astype(port.wide)
        return total / np.where(below == 0.0, port.wide(1.0), below)

    return masked_mean


def _tail_unmasked(mask: AnyArray) -> AnyArray:
    whole = mask.shape[1] // 4 * 4
    tail = np.arange(mask.shape[1]) >= whole
    return np.asarray(mask | tail)


def _without(columns: slice) -> Callable[[AnyArray], AnyArray]:
    def dropped(mask: AnyArray) -> AnyArray:
        kept = mask.copy()
        kept[:, columns] = False
        return kept

    return dropped


def _last_row(port: Model, x: AnyArray, mask: AnyArray) -> AnyArray:
    mean = Model.masked_mean(port, x, mask)
    mean[-1:] = 0.0
    return mean


def _low_count(dtype: str) -> Callable[[Model, AnyArray], AnyArray]:
    """The count as a running sum in a narrow format."""

    def count(port: Model, mask: AnyArray) -> AnyArray:
        total = np.zeros(len(mask))
        for column in mask.T:
            total = widen(narrow(total + column, dtype), dtype)
        return widen(narrow(total + port.config.mask_eps, dtype), dtype)

    return count


def _low_sums(dtype: str) -> Callable[[Model, AnyArray, AnyArray], AnyArray]:
    """The sum as a running sum in a narrow format."""

    def masked_mean(port: Model, x: AnyArray, mask: AnyArray) -> AnyArray:
        total = np.zeros(len(mask))
        with np.errstate(invalid="ignore", over="ignore"):
            for column in port.masked(x, mask).T:
                total = widen(narrow(total + column, dtype), dtype)
        count = (port.count(mask) + port.config.mask_eps).astype(port.wide)
        return (total / np.where(count == 0.0, 1.0, count)).astype(port.wide)

    return masked_mean


def _kl(terms: Callable[[AnyArray], AnyArray]) -> Any:
    return {"kl_terms": lambda port, d: terms(d)}


def _kl_over(change: Callable[[Any], dict[str, Any]]) -> Callable[[Model, Any], Any]:
    """The KL of a changed batch."""
    return lambda port, v: Model.kl(port, {**v, **change(v)})


def _kl_of_rows(port: Model, v: Any) -> Any:
    if v.get("batch_kl") is not None or v.get("ref_logprob") is None:
        return Model.kl(port, v)
    rows = [
        Model.kl(
            port, {**v, "response_mask": v["response_mask"] & (np.arange(len(e)) == i)[:, None]}
        )
        for e in [v["is_expert"]]
        for i in range(len(e))
    ]
    known = [value for value in rows if value == value]
    return port.real(sum(known) / len(known)) if known else float("nan")


def _every_token(mask: AnyArray) -> AnyArray:
    return np.ones_like(mask)


FAULTS = (
    _fault(
        "mask denominator counts padding",
        "The sum over the response divided by the width of the row.",
        masked_mean=_mean(count=lambda s, m: np.full(len(m), m.shape[1]) + s.config.mask_eps),
    ),
    _fault(
        "mask ignored above the line",
        "The sum runs over the padding, the count does not.",
        masked_mean=_mean(mask=_every_token),
    ),
    _fault(
        "mean over the whole row",
        "A plain mean: neither the sum nor the count knows the mask.",
        masked_mean=_mean(_every_token, lambda s, m: np.full(len(m), m.shape[1])),
    ),
    _fault("tail tile unmasked", "Columns past the last multiple of four escape the mask.",
           masked_mean=_mean(_tail_unmasked)),
    _fault("last token dropped", "Sums stop one column short.",
           masked_mean=_mean(_without(slice(-1, None)))),
    _fault("first token dropped", "Sums start one column late.",
           masked_mean=_mean(_without(slice(0, 1)))),
    _fault("last row dropped", "A kernel launched for one row too few.", masked_mean=_last_row),
    _fault("sum instead of mean", "No division by the length: long sequences weigh more.",
           masked_mean=_mean(count=lambda s, m: np.ones(len(m)))),
    _fault("count off by one", "Divided by n + 1.",
           masked_mean=_mean(count=lambda s, m: s.count(m) + 1.0)),
    _fault("mean by n - 1", "Divided by n - 1, and by 1 for a single token.",
           masked_mean=_mean(count=lambda s, m: np.maximum(s.count(m) - 1.0, 1.0))),
    _fault("mask_eps left out", "Nothing added to the count.", dtypes=WIDE_ONLY,
           reason="1e-8 of one token is below the rounding of float32",
           masked_mean=_mean(count=lambda s, m: s.count(m))),
    _fault("mask_eps as a floor", "max(n, eps) instead of n + eps.", dtypes=WIDE_ONLY,
           reason="1e-8 of one token is below the rounding of float32",
           masked_mean=_mean(count=lambda s, m: np.maximum(s.count(m), s.config.mask_eps))),
    _fault("mask_eps of 1e-5", "Another trainer's constant.",
           masked_mean=_mean(count=lambda s, m: s.count(m) + 1e-5)),
    _fault("empty row is NaN", "0 / 0 where a row has no response token.",
           masked_mean=lambda s, x, m: np.where(
               m.any(axis=-1), Model.masked_mean(s, x, m), s.wide("nan"))),
    _fault("token count in bfloat16", "The mask is summed in bfloat16: 257 tokens count as 256.",
           masked_mean=_mean(count=_low_count("bf16"))),
    _fault("token count in float16", "The mask is summed in float16: 2049 tokens count as 2048.",
           dtypes=WIDE_ONLY,
           reason="rows of 2049 tokens are not in the pack; what shows is the lost mask_eps",
           masked_mean=_mean(count=_low_count("fp16"))),
    _fault("bf16 accumulation", "Row sums are kept in bfloat16.", masked_mean=_low_sums("bf16")),
    _fault("fp16 accumulation", "Row sums are kept in float16.", masked_mean=_low_sums("fp16")),
    _fault("mask multiplied", "Padding is multiplied by zero, so that NaN and infinities spread.",
           masked=lambda s, x, m: np.asarray(x * m.astype(x.dtype))),
    _fault("mask selected where multiplication is asked",
           "A poisoned batch looks healthy: the released behaviour is not followed.",
           masked=lambda s, x, m: np.where(m, x, x.dtype.type(0.0))),
    _fault("NLL with the sign of the log-probability", "l instead of -l.",
           nll=lambda s, v: -Model.nll(s, v)),
    _fault("perplexity instead of NLL", "exp of the mean NLL.",
           nll=lambda s, v: np.exp(Model.nll(s, v))),
    _fault("NLL in bits", "Divided by ln 2.", nll=lambda s,
           v: Model.nll(s, v) / np.log(s.wide(2.0))),
    _fault("NLL of the mean probability", "-log of the mean of p.",
           nll=lambda s, v: -np.log(np.maximum(
               s.masked_mean(np.exp(v["logprob"]), v["response_mask"]), s.wide(1e-30)))),
    _fault("NLL summed over the sequence", "Not normalised by the length.",
           nll=lambda s, v: s.total(s.masked(-v["logprob"], v["response_mask"]))),
    _fault("advantage of the first token", "One token stands for the sequence.",
           advantage=lambda s, v: s.token_advantages(v)[:, 0].astype(s.wide)),
    _fault("advantage summed over the sequence", "Long sequences weigh more.",
           advantage=lambda s, v: s.total(s.masked(s.token_advantages(v), v["response_mask"]))),
    _fault("advantage averaged over the padding", "The mask is not used.",
           advantage=lambda s, v: s.total(s.token_advantages(v)) / s.wide(v["logprob"].shape[1])),
    _fault("absolute advantages", "|A| is averaged.",
           advantage=lambda s, v: s.masked_mean(abs(s.token_advantages(v)), v["response_mask"])),
    _fault("KL by k1", "The plain log-ratio.", **_kl(lambda d: -d)),
    _fault("KL by k2", "Half the squared log-ratio.", **_kl(lambda d: 0.5 * d * d)),
    _fault("KL with the log-ratio reversed", "The divergence of the other direction.",
           **_kl(lambda d: np.expm1(-d) + d)),
    _fault("KL without its linear term", "exp(d) - 1.", **_kl(np.expm1)),
    _fault("absolute log-ratio as KL", "The mean of |d|.", **_kl(np.abs)),
    _fault("KL over the demonstrations, too", "Every row enters.",
           kl=_kl_over(lambda v: {"is_expert": np.zeros_like(v["is_expert"])})),
    _fault("KL over the padding, too", "The mask is not used.",
           kl=_kl_over(lambda v: {"response_mask": np.ones_like(v["response_mask"])})),
    _fault("KL as a mean of sequence means", "Short sequences get the vote of long ones.",
           kl=_kl_of_rows),
    _fault("given KL ignored", "The KL is estimated although the trainer passed one.",
           kl=_kl_over(lambda v: {"batch_kl": None})),
    _fault("unknown KL is zero", "0 instead of NaN on a batch without rollouts.",
           kl=lambda s, v: 0.0 if (kl := Model.kl(s, v)) != kl else kl),
)  # fmt: skip
