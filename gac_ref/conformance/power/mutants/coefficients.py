"""Faults in the coefficient streams."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.formats import narrow, widen
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import fault, under

__all__ = ["FAULTS"]

_fault = partial(fault, "coefficients")


def _through(dtype: str, x: AnyArray) -> AnyArray:
    return widen(narrow(x, dtype), dtype).astype(x.dtype)


def _wrong_axis(port: Model, v: Any) -> AnyArray:
    advantages = v["advantages"]
    if advantages.ndim == 1:
        return np.resize(advantages, v["logprob"].shape)  # fills rows, not columns
    return np.asarray(advantages)


def _phi_in(dtype: str) -> Any:
    return lambda s, x: _through(dtype, (p := _through(dtype, np.exp(x))) * (1.0 - p))


FAULTS = (
    _fault("phi = p", "The weight is the probability itself.", phi=lambda s, x: np.exp(x)),
    _fault(
        "phi of log p",
        "l (1 - l): the log-probability is taken for the probability (LUFFY, issue 46).",
        phi=lambda s, x: x * (1.0 - x),
    ),
    _fault(
        "phi uses p^2",
        "p^2 (1 - p).",
        phi=lambda s, x: np.exp(2.0 * x) * (1.0 - np.exp(x)),
    ),
    _fault("phi = 1 - p", "Only the second factor.", phi=lambda s, x: -np.expm1(x)),
    _fault(
        "phi squared", "The weight enters twice.", phi=lambda s, x: np.square(Model.phi(s, x))
    ),
    _fault(
        "phi scaled to a maximum of 1", "4 p (1 - p).", phi=lambda s, x: 4.0 * Model.phi(s, x)
    ),
    _fault(
        "phi to base 2",
        "exp2 instead of exp: the log-probabilities are taken for bits.",
        phi=lambda s, x: (p := np.exp2(x)) * (1.0 - p),
    ),
    _fault(
        "phi = sqrt(p (1 - p))",
        "The standard deviation of a Bernoulli variable, not its variance.",
        phi=lambda s, x: np.sqrt(Model.phi(s, x)),
    ),
    _fault(
        "phi = p log p",
        "An entropy term instead of the variance.",
        phi=lambda s, x: -x * np.exp(x),
    ),
    _fault(
        "log-probabilities clamped at -5",
        "A clamp for stability inside phi.",
        phi=lambda s, x: Model.phi(s, np.maximum(x, x.dtype.type(-5.0))),
    ),
    _fault(
        "phi cut off at small probabilities",
        "Tokens below one in a hundred get no weight.",
        phi=lambda s, x: np.where(np.exp(x) < 0.01, x.dtype.type(0.0), Model.phi(s, x)),
    ),
    _fault(
        "phi in bfloat16",
        "The exponential and the product are rounded to bfloat16.",
        phi=_phi_in("bf16"),
    ),
    _fault(
        "phi in float16",
        "The exponential and the product are rounded to float16.",
        phi=_phi_in("fp16"),
    ),
    _fault(
        "phi in float32",
        "The exponential is taken in float32.",
        dtypes=("fp64",),
        reason="the port declares float32 for the other formats",
        phi=lambda s, x: Model.phi(s, x.astype(np.float32)).astype(x.dtype),
    ),
    _fault("phi always", "The switch use_phi is not read.", c_s=under("c_s", use_phi=True)),
    _fault("phi never", "The switch use_phi is not read.", c_s=under("c_s", use_phi=False)),
    _fault(
        "use_phi inverted",
        "The switch is read the wrong way round.",
        c_s=under("c_s", use_phi=lambda c: not c.use_phi),
    ),
    _fault("SFT coefficient positive", "phi instead of -phi.", c_s=lambda s, v: -Model.c_s(s, v)),
    _fault(
        "no SFT coefficient without phi",
        "0 instead of -1 where use_phi is off.",
        c_s=lambda s, v: Model.c_s(s, v) if s.config.use_phi else np.zeros_like(v["logprob"]),
    ),
    _fault("RL coefficient positive", "A instead of -A.", c_r=lambda s, v: -Model.c_r(s, v)),
    _fault(
        "expert rows keep their advantage",
        "c_r is -A on every row.",
        c_r=lambda s, v: -s.token_advantages(v),
    ),
    _fault(
        "RL coefficient on the expert rows only",
        "The mask of the rows is inverted.",
        c_r=lambda s, v: np.where(v["is_expert"][:, None], -s.token_advantages(v), s.wide(0.0)),
    ),
    _fault(
        "sequence advantages divided by the length",
        "One advantage a sequence is shared out among its tokens.",
        c_r=lambda s, v: (
            Model.c_r(s, v) / s.wide(v["logprob"].shape[1] if v["advantages"].ndim == 1 else 1)
        ),
    ),
    _fault(
        "sequence advantages along the wrong axis",
        "Broadcasting fills the tokens first.",
        token_advantages=_wrong_axis,
    ),
    _fault(
        "advantages clipped to [-1, 1]",
        "A clip for stability.",
        c_r=lambda s, v: np.clip(Model.c_r(s, v), -1.0, 1.0),
    ),
    _fault(
        "advantages centred on the batch",
        "Advantages that are normalised already lose their mean again.",
        c_r=lambda s, v: Model.c_r(s, v) + np.where(
            v["is_expert"][:, None], s.wide(0.0),
            s.token_advantages(v)[v["response_mask"]].sum() / max(v["response_mask"].sum(), 1),
        ).astype(s.wide),
    ),
    _fault(
        "signs of the advantages only",
        "A / |A|.",
        c_r=lambda s, v: np.sign(Model.c_r(s, v)),
    ),
)  # fmt: skip
