"""A second implementation of the method, as the author of a plain port would write it.

It shares no mathematics with the estimator: token arrays in NumPy, the controller's scalars one by
one. Every stage is a method that reads named values and returns named values, and what a port can
get wrong is a small method of its own, so that a mutant (or a correct variation) overrides a line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.config import GACConfig
from gac_ref.conformance.formats import FORMATS, widen
from gac_ref.conformance.port import PROTOCOL
from gac_ref.conformance.power.arithmetic import (
    KEEPS,
    MIXED,
    NUMPY,
    PHIS,
    TOTALS,
    VARIANCES,
    Arithmetic,
)
from gac_ref.conformance.power.scalars import Scalars
from gac_ref.conformance.power.side import Side
from gac_ref.conformance.stages import PIPELINE, STAGES

__all__ = ["Model", "Values"]

Values = Mapping[str, Any]
Outputs = dict[str, Any]

TOKENS = ("logprob", "advantages", "ref_logprob", "old_logprob")
"""The inputs that travel in the dtype under test."""

STATISTICS = ("sigma_s2", "sigma_r2", "delta_g2")

NOTHING_NEW: Outputs = {
    **dict.fromkeys((f"proxy_{name}" for name in STATISTICS), 0.0),
    **dict.fromkeys(("has_s", "has_r", "has_delta"), False),
}
"""The proxies of a batch that is not due."""


class Model(Scalars, Side):
    """A port; subclasses override what they do differently.

    Args:
        arithmetic: How it computes.

    Examples:
        >>> port = Model()
        >>> port.configure(GACConfig().to_dict(), dtype="fp64", device="cpu")
        >>> port.run("clip", {"mu_capped": 0.95})
        {'mu': 0.9, 'mu_clipped': True}
    """

    name: ClassVar[str] = "plain NumPy port"
    order: ClassVar[tuple[str, ...]] = (
        "statistics_ema",
        "alpha",
        "closed_form",
        "hold",
        "weight_ema",
        "prior_blend",
        "change_cap",
        "clip",
    )
    arithmetic: Arithmetic = MIXED

    def __init__(self, arithmetic: Arithmetic | None = None) -> None:
        self.arithmetic = arithmetic or self.arithmetic
        self.total = TOTALS[self.arithmetic.total]
        self.configure(GACConfig().to_dict(), dtype="fp64", device="cpu")

    # The four calls of a port.

    def hello(self) -> Outputs:
        """Every stage, every dtype, and the arithmetic that it really uses."""
        tokens, scalars = self.arithmetic.tokens, self.arithmetic.scalars
        return {
            "protocol": PROTOCOL,
            "name": self.name,
            "version": "1",
            "stages": list(STAGES),
            "dtypes": list(FORMATS),
            "devices": ["cpu"],
            "precision": {d: {"tokens": tokens[d], "scalars": scalars[d]} for d in FORMATS},
            "accumulation": self.arithmetic.accumulation,
        }

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        """Take a configuration, and start a new trajectory."""
        del device
        self.config = _config(tuple(config.items()))
        self.dtype = dtype
        self.wide: Any = NUMPY[self.arithmetic.tokens[dtype]]
        self.real: Any = float if self.arithmetic.scalars[dtype] == "fp64" else np.float32
        self.column: Any = NUMPY[self.arithmetic.scalars[dtype]]
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first step."""
        c = self.config
        self.state: Outputs = {
            "previous_mu": self.real(c.init_mu),
            "previous_mu_ada": self.real(c.init_mu),
            "previous_alpha": self.real(c.alpha),
            **{f"previous_{name}": self.real(0.0) for name in STATISTICS},
            **{f"previous_count_{branch}": 0 for branch in ("s", "r", "delta")},
            "previous_last_refresh": -1,
        }

    def run(self, stage: str, inputs: Values) -> Outputs:
        """The outputs of one stage; "trajectory" advances the state."""
        inputs = self.arrive(inputs)
        if stage == "transport":
            return dict(inputs)
        values = {name: self.read(name, value) for name, value in inputs.items()}
        if stage == "step":
            return self.step(values)
        if stage == "trajectory":
            outputs = self.step({**self.state, **values})
            self.state = self.carry(outputs)
            return outputs
        outputs = getattr(self, stage)(values)
        return {name: outputs[name] for name in STAGES[stage].output_names}

    # Reading and passing on.

    def read(self, name: str, value: Any) -> Any:
        """An input in the arithmetic of the port."""
        if name in TOKENS:
            return self.widen(name, value).astype(self.wide)
        if isinstance(value, float):
            return self.real(value)
        if isinstance(value, np.ndarray) and value.dtype == np.float64:
            return value.astype(self.wide)
        return value

    def widen(self, name: str, bits: AnyArray) -> AnyArray:
        """Token values from the bits of the dtype under test."""
        return widen(bits, self.dtype)

    def arrive(self, inputs: Values) -> Values:
        """The inputs as they reach the port."""
        return inputs

    def step(self, v: Values) -> Outputs:
        """One whole step, with every intermediate value."""
        values = dict(v)
        if self.due(values):
            for stage in ("coefficients", "sequences", "proxies"):
                values |= getattr(self, stage)(values)
        else:
            values |= NOTHING_NEW | {"kl": self.kl(values)}
        for stage in self.order:
            values |= getattr(self, stage)(values)
        return self.taps(values)

    def taps(self, values: Outputs) -> Outputs:
        """What a step reports: the outputs of every stage that ran."""
        silent: set[str] = set() if "c_s" in values else {"coefficients", "sequences", "proxies"}
        names = [n for s in PIPELINE[1:] if s not in silent for n in STAGES[s].output_names]
        return {name: values[name] for name in [*names, "kl"]}

    def carry(self, outputs: Outputs) -> Outputs:
        """The state that a step leaves to the next."""
        return {name: outputs[name.removeprefix("previous_")] for name in self.state}

    # Tokens.

    def coefficients(self, v: Values) -> Outputs:
        """The two coefficient streams."""
        with np.errstate(over="ignore", invalid="ignore"):
            return {"c_s": self.c_s(v), "c_r": self.c_r(v)}

    def c_s(self, v: Values) -> AnyArray:
        """The SFT stream: -phi(p), or -1."""
        if self.config.use_phi:
            return -self.phi(v["logprob"])
        return np.full_like(v["logprob"], -1.0)

    def phi(self, logprob: AnyArray) -> AnyArray:
        """The token weight p (1 - p)."""
        return PHIS[self.arithmetic.phi](logprob)

    def c_r(self, v: Values) -> AnyArray:
        """The RL stream: -A on rollouts, 0 on demonstrations."""
        return np.where(v["is_expert"][:, None], self.wide(0.0), -self.token_advantages(v))

    def token_advantages(self, v: Values) -> AnyArray:
        """Advantages [B, T], from one a token or one a sequence."""
        advantages = v["advantages"]
        if advantages.ndim == 1:
            advantages = np.broadcast_to(advantages[:, None], v["logprob"].shape)
        return np.asarray(advantages)

    def masked(self, x: AnyArray, mask: AnyArray) -> AnyArray:
        """`x` with zero outside the mask, by the configured rule."""
        if self.config.masking == "multiply":
            return np.asarray(x * mask.astype(x.dtype))
        return KEEPS[self.arithmetic.keep](x, mask)

    def count(self, mask: AnyArray) -> AnyArray:
        """Response tokens of each row."""
        return np.asarray(np.count_nonzero(mask, axis=-1))

    def masked_mean(self, x: AnyArray, mask: AnyArray) -> AnyArray:
        """Mean over the response tokens of each row."""
        total = np.asarray(self.total(self.masked(x, mask)))
        count = (self.count(mask) + self.config.mask_eps).astype(self.wide)
        return total / np.where(count == 0.0, self.wide(1.0), count)

    def sequences(self, v: Values) -> Outputs:
        """One number a sequence."""
        mask = v["response_mask"]
        with np.errstate(over="ignore", invalid="ignore"):
            z_s, z_r, constant_s, constant_r = self.streams(v)
            return {
                "tokens": np.count_nonzero(mask, axis=-1),
                "nll": self.nll(v),
                "advantage": self.advantage(v),
                "disagreement": self.disagreement(v, z_s, z_r),
                "sft_stream_constant": constant_s,
                "rl_stream_constant": constant_r,
                "kl": self.kl(v),
            }

    def nll(self, v: Values) -> AnyArray:
        """Masked mean NLL of each row."""
        return self.masked_mean(-v["logprob"], v["response_mask"])

    def advantage(self, v: Values) -> AnyArray:
        """Masked mean advantage of each row."""
        return self.masked_mean(self.token_advantages(v), v["response_mask"])

    def disagreement(self, v: Values, z_s: AnyArray, z_r: AnyArray) -> AnyArray:
        """Masked mean of the squared difference of the streams."""
        difference = z_s - z_r
        return self.masked_mean(difference * difference, v["response_mask"])

    def compared(self, v: Values) -> AnyArray:
        """The rows that enter the disagreement."""
        every = self.config.disagreement_rows == "all"
        return np.ones_like(v["is_expert"]) if every else ~v["is_expert"]

    def streams(self, v: Values) -> tuple[AnyArray, AnyArray, bool, bool]:
        """Both streams as they are compared, and whether either has no spread."""
        if self.config.coefficient_normalization == "none":
            return v["c_s"], v["c_r"], False, False
        rows, mask = self.compared(v), v["response_mask"]
        (z_s, constant_s), (z_r, constant_r) = (
            self.normalised(v[name], rows, mask) for name in ("c_s", "c_r")
        )
        return z_s, z_r, constant_s, constant_r

    def normalised(self, x: AnyArray, rows: AnyArray, mask: AnyArray) -> tuple[AnyArray, bool]:
        """Z-scores by mean and spread over the tokens of `rows`; zeros where there is no spread."""
        if self.config.masking == "multiply" and not np.isfinite(x[rows]).all():
            return np.full_like(x, np.nan), False  # zero times what lies in the padding
        pool = mask & rows[:, None]
        if not pool.any():
            return np.zeros_like(x), bool(rows.any() and self.config.missing_branch == "zero")
        values = x[pool]
        spread = np.sqrt(self.stream_variance(values))
        centre = values[0] + self.total(values - values[0]) / self.wide(values.size)
        if spread <= self.negligible(values.size) * np.hypot(centre, spread):
            return np.zeros_like(x), True
        return (x - centre) / spread, False

    def stream_variance(self, values: AnyArray) -> Any:
        """Spread of a stream, squared: a population variance."""
        return self.variance(values)

    def negligible(self, count: int) -> float:
        """The share of its magnitude below which a spread is rounding."""
        del count
        return 2.0**-40

    def variance(self, values: AnyArray) -> Any:
        """Population variance."""
        return VARIANCES[self.arithmetic.variance](self.total, values)

    def kl(self, v: Values) -> Any:
        """KL to the reference on the rollouts, a token; NaN where unknown or not needed."""
        pool = v["response_mask"] & ~v["is_expert"][:, None]
        if self.config.alpha_mode == "static" or not pool.any():
            return math.nan
        if v.get("batch_kl") is not None:
            return v["batch_kl"]
        if v.get("ref_logprob") is None:
            return math.nan
        terms = self.kl_terms(v["ref_logprob"][pool] - v["logprob"][pool])
        return self.real(self.total(terms) / self.wide(terms.size))

    def kl_terms(self, d: AnyArray) -> AnyArray:
        """The k3 estimate of each token, d = log p_ref - log p."""
        return np.expm1(d) - d


@lru_cache(maxsize=1024)
def _config(items: tuple[tuple[str, Any], ...]) -> GACConfig:
    """Validated once: the measurement of the suite configures the same hundreds of times."""
    return GACConfig.from_dict(dict(items))
