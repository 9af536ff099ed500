"""The port behind the conformance suite's four calls.

``gac_ref.ports.jax:adapter`` is float32 arithmetic, JAX's default; in
``gac_ref.ports.jax:adapter_x64`` 64-bit mode is on, within its calls only. Both only translate:
every stage is the function that :func:`gac_ref.ports.jax.update` is made of, jitted, and the whole
step is :func:`gac_ref.ports.jax.update` itself.

Batches are padded to a few shapes, as production JAX pads them, so that the hundreds of
configurations and dozens of shapes of the suite are compiled a few times in all. That is exact:

* Counts, flags, order statistics and the choice of rows are integers and selections, of which no
  padded position or row is part.
* A sum over tokens or rows gains terms that are exactly +0: x + 0 is x to the bit, whether the
  additions go one after another, in lanes, or in a tree. (Only -0 + 0 is another bit, +0, and no
  value that comes of these sums tells the two apart.)
* What the shape does change is the order in which XLA adds, a matter of its code for that shape,
  as it is between two shapes without any padding: single sums then differ in their last bits,
  within the bound that the suite derives for sequential sums. In one shape a batch has the same
  bits whenever it comes, and whatever lies in the padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gac_ref.config import GACConfig
from gac_ref.conformance.port import PROTOCOL, Unsupported
from gac_ref.conformance.stages import BATCH, STAGES
from gac_ref.ports.jax import batch as tokens
from gac_ref.ports.jax import controller
from gac_ref.ports.jax.proxies import Proxies, proxies
from gac_ref.ports.jax.pytree import Settings, settings

__all__ = ["ROWS", "TOKENS", "JaxPort", "adapter", "adapter_x64"]

Values = Mapping[str, Any]
_KINDS = {"real": np.float64, "flag": np.bool_, "count": np.int32}
TOKEN_ARRAYS = ("logprob", "advantages", "ref_logprob")
SIDE_STAGES = ("advantages", "loss")  # a trainer's, not the controller's
ROWS, TOKENS = 32, 64
"""The smallest shape; each next is four times the rows, or 64 times the tokens."""


class JaxPort:
    """The four calls; `x64` says whether numbers are 64 bits wide."""

    def __init__(self, *, x64: bool) -> None:
        self._wide = x64
        self._stages = {name: jax.jit(stage) for name, stage in _STAGES.items()}
        self._update = jax.jit(controller.update, static_argnames="axis_name")
        self.configure({}, dtype="fp32", device=jax.devices()[0].platform)

    def hello(self) -> dict[str, Any]:
        """Who it is and what it claims."""
        dtypes = ("fp64", "fp32", "fp16", "bf16") if self._wide else ("fp32", "fp16", "bf16")
        scalars = "fp64" if self._wide else "fp32"
        return {
            "protocol": PROTOCOL,
            "name": "gac_ref.ports.jax",
            "version": jax.__version__,
            "stages": [name for name in STAGES if name not in SIDE_STAGES],
            "dtypes": list(dtypes),
            "devices": sorted({device.platform for device in jax.devices()}),
            "precision": {
                name: {"tokens": "fp64" if name == "fp64" else "fp32", "scalars": scalars}
                for name in dtypes
            },
            "accumulation": "sequential",
        }

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        """Take a configuration, and start a new trajectory."""
        if dtype == "fp64" and not self._wide:
            raise Unsupported("float64 needs 64-bit mode; check gac_ref.ports.jax:adapter_x64")
        self._device = jax.devices(device)[0]
        self._dtype = dtype
        with self._mode():
            self._config = settings(GACConfig.from_dict(config))
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first step."""
        with self._mode():
            self._state = controller.init(self._config)

    def run(self, stage: str, inputs: Values) -> dict[str, Any]:
        """The outputs of one stage."""
        if stage in SIDE_STAGES:
            raise Unsupported(f"no stage {stage}: the port is the controller's")
        with self._mode():
            batch = self._batch(inputs) if "logprob" in inputs else None
            values = _values(stage, inputs)
            if stage == "transport":
                return self._echoed(inputs)
            if stage == "trajectory":
                self._state, outputs = self._update(
                    self._config, self._state, batch, values["step"]
                )
            elif stage == "step":
                state = _previous(values)
                outputs = self._update(self._config, state, batch, values["step"])[1]
            else:
                outputs = self._stages[stage](self._config, values, batch)
            return _cut(jax.device_get(outputs), inputs)

    def _mode(self) -> ExitStack:
        """The width of numbers and the device, for the length of a call."""
        modes = ExitStack()
        modes.enter_context(jax.enable_x64(self._wide))
        modes.enter_context(jax.default_device(self._device))
        return modes

    def _batch(self, x: Values) -> tokens.Batch:
        there = {
            name: self._stored(x[name]) if name in TOKEN_ARRAYS else x[name]
            for name in tokens.Batch._fields
            if name in x
        }
        if "batch_kl" in x or "ref_logprob" not in x:
            there["kl"] = np.asarray(x.get("batch_kl", math.nan), jnp.result_type(float))
        rows, width = x["logprob"].shape
        return tokens.padded(tokens.Batch(**there), _rung(ROWS, 4, rows), _rung(TOKENS, 64, width))

    def _stored(self, values: Any) -> Any:
        return values.view(jnp.dtype(jnp.bfloat16)) if self._dtype == "bf16" else values

    def _echoed(self, x: Values) -> dict[str, Any]:
        """The batch, after its way through the device."""
        batch = jax.device_get(jax.device_put(self._batch(x)))
        found = {**_cut(batch._asdict(), x), "batch_kl": x.get("batch_kl")}
        if self._dtype == "bf16":
            found |= {name: found[name].view(np.uint16) for name in TOKEN_ARRAYS if name in x}
        return {name: found[name] for name in x}


def _values(stage: str, x: Values) -> dict[str, Any]:
    """The inputs beside the batch, in the width of the mode, padded to the ladder of rows."""
    beside = [f for f in STAGES[stage].inputs if "logprob" not in x or f not in BATCH]
    found: dict[str, Any] = {
        f.name: np.asarray(x[f.name], _KINDS[f.kind]) for f in beside if f.name in x
    }
    if "logprob" not in x and "tokens" in x:
        found["is_row"] = np.ones(len(x["tokens"]), bool)
    # Numbers in the width of the mode already: NumPy's float64 would be another trace.
    real = jnp.result_type(float)
    narrow = {n: v.astype(real) if v.dtype == np.float64 else v for n, v in found.items()}
    return {name: _padded(value) for name, value in narrow.items()}


def _padded(values: Any) -> Any:
    ladders = ((ROWS, 4), (TOKENS, 64))
    sizes = zip(ladders, values.shape, strict=False)
    added = [(0, _rung(*ladder, size) - size) for ladder, size in sizes]
    return np.pad(values, added) if added else values


def _rung(least: int, times: int, size: int) -> int:
    """The first of least, least * times, least * times^2, ... that holds `size`."""
    while least < size:
        least *= times
    return least


def _cut(outputs: Mapping[str, Any], x: Values) -> dict[str, Any]:
    """The outputs without what was padded."""
    shape = x["logprob"].shape if "logprob" in x else np.shape(x.get("tokens", 0.0))
    return {
        name: value[tuple(slice(size) for size in shape[: np.ndim(value)])]
        for name, value in outputs.items()
        if value is not None and name != "refused"
    }


def _previous(values: Values) -> controller.State:
    return controller.State(*(values[f"previous_{name}"] for name in controller.State._fields))


def _coefficients(config: Settings, x: Values, batch: tokens.Batch) -> Values:
    return dict(zip(("c_s", "c_r"), tokens.coefficients(config, batch), strict=True))


def _sequences(config: Settings, x: Values, batch: tokens.Batch) -> Values:
    width = tokens.compute_dtype(batch)
    streams = x["c_s"].astype(width), x["c_r"].astype(width)
    rows = tokens.row_statistics(config, batch, streams)
    return controller.sequences(config, rows, batch)


def _proxies(config: Settings, x: Values, batch: None) -> Values:
    is_expert, is_row = x["is_expert"], x["is_row"]
    columns = {name: x[name] for name in ("tokens", "nll", "advantage", "disagreement")}
    branches = {"is_expert": is_expert & is_row, "is_rollout": ~is_expert & is_row}
    return proxies(config, **columns, **branches)._asdict()


def _statistics_ema(config: Settings, x: Values, batch: None) -> Values:
    floored = [jnp.asarray(False)] * 2  # not read by the EMA
    fresh = Proxies(*(x[name] for name in Proxies._fields[:6]), *floored)
    unread = dict.fromkeys(("previous_mu", "previous_mu_ada", "previous_alpha"), 0.0)
    return controller.statistics_ema(config, _previous({**unread, **x}), fresh, x["step"])[1]


_STAGES: dict[str, Callable[[Settings, Values, Any], Values]] = {
    "coefficients": _coefficients,
    "sequences": _sequences,
    "proxies": _proxies,
    "statistics_ema": _statistics_ema,
    "alpha": lambda c, x, _: controller.alpha(c, x["previous_alpha"], x["kl"]),
    "closed_form": lambda c, x, _: controller.closed_form(
        c, x["sigma_s2"], x["sigma_r2"], x["delta_g2"], x["alpha"]
    ),
    "weight_ema": lambda c, x, _: controller.weight_ema(
        c, x["previous_mu"], x["previous_mu_ada"], x["mu_raw"], x["not_ready"]
    ),
    "prior_blend": lambda c, x, _: controller.prior_blend(c, x["mu_ada"], x["step"]),
    "change_cap": lambda c, x, _: controller.change_cap(c, x["mu_candidate"], x["previous_mu"]),
    "clip": lambda c, x, _: controller.clip(c, x["mu_capped"]),
}


def adapter() -> JaxPort:
    """The port in JAX's default, 32-bit mode."""
    return JaxPort(x64=False)


def adapter_x64() -> JaxPort:
    """The port in 64-bit mode, which is on within its calls only."""
    return JaxPort(x64=True)
