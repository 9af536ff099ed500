"""The port behind the conformance suite's four calls.

``gac_ref.ports.jax:adapter`` is float32 arithmetic, the default; ``gac_ref.ports.jax:adapter_x64``
turns 64-bit mode on, for the whole process. Both only translate: every stage is the function that
:func:`gac_ref.ports.jax.update` is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gac_ref.config import GACConfig
from gac_ref.conformance.port import PROTOCOL, Unsupported
from gac_ref.conformance.stages import STAGES
from gac_ref.ports.jax import batch as tokens
from gac_ref.ports.jax import controller
from gac_ref.ports.jax.proxies import Proxies, disagreement_rows, kl_of, proxies

__all__ = ["JaxPort", "adapter", "adapter_x64"]

Values = Mapping[str, Any]
TOKEN_ARRAYS = ("logprob", "advantages", "ref_logprob")
SIDE_STAGES = ("advantages", "loss")  # a trainer's, not the controller's


class JaxPort:
    """The four calls; `x64` says whether numbers are 64 bits wide."""

    def __init__(self, *, x64: bool) -> None:
        self._wide = x64
        self._dtype = "fp32"
        self._config = GACConfig()
        self._update = jax.jit(controller.update, static_argnames=("config", "axis_name"))
        self._stages: dict[str, Callable[[Values], Values]] = {
            "transport": self._transport,
            "coefficients": lambda x: dict(zip(("c_s", "c_r"), self._streams(x), strict=True)),
            "sequences": self._sequences,
            "proxies": self._proxies,
            "statistics_ema": self._statistics_ema,
            "alpha": lambda x: controller.alpha(
                self._config, real(x["previous_alpha"]), real(x["kl"])
            ),
            "closed_form": lambda x: controller.closed_form(
                self._config,
                *(real(x[name]) for name in ("sigma_s2", "sigma_r2", "delta_g2", "alpha")),
            ),
            "weight_ema": lambda x: controller.weight_ema(
                self._config,
                real(x["previous_mu"]),
                real(x["previous_mu_ada"]),
                real(x["mu_raw"]),
                jnp.asarray(x["not_ready"]),
            ),
            "prior_blend": lambda x: controller.prior_blend(
                self._config, real(x["mu_ada"]), x["step"]
            ),
            "change_cap": lambda x: controller.change_cap(
                self._config, real(x["mu_candidate"]), real(x["previous_mu"])
            ),
            "clip": lambda x: controller.clip(self._config, real(x["mu_capped"])),
            "step": self._step,
            "trajectory": self._trajectory,
        }
        self.reset()

    def hello(self) -> dict[str, Any]:
        """Every stage of the controller; float64 only in 64-bit mode."""
        scalars = "fp64" if self._wide else "fp32"
        dtypes = ["fp64", "fp32", "fp16", "bf16"] if self._wide else ["fp32", "fp16", "bf16"]
        return {
            "protocol": PROTOCOL,
            "name": "gac_ref.ports.jax" + (" (x64)" if self._wide else ""),
            "version": f"jax {jax.__version__}",
            "stages": [name for name in STAGES if name not in SIDE_STAGES],
            "dtypes": dtypes,
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
        jax.config.update("jax_default_device", jax.devices(device)[0])
        self._config = GACConfig.from_dict(config)
        self._dtype = dtype
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first step."""
        if self._wide:
            jax.config.update("jax_enable_x64", True)
        self._state = controller.init(self._config)

    def run(self, stage: str, inputs: Values) -> dict[str, Any]:
        """The outputs of one stage."""
        if stage not in self._stages:
            raise Unsupported(f"no stage {stage}: the port is the controller's")
        outputs = self._stages[stage](inputs)
        return {name: np.asarray(value) for name, value in outputs.items()}

    def _transport(self, x: Values) -> Values:
        echoed = {}
        for name, value in x.items():
            if name in TOKEN_ARRAYS:
                echoed[name] = _bits(self._tokens(value))
            else:
                echoed[name] = value if np.ndim(value) == 0 else jnp.asarray(value)
        return echoed

    def _tokens(self, values: Any) -> jax.Array:
        array = jnp.asarray(values)
        if self._dtype == "bf16":
            return jax.lax.bitcast_convert_type(array, jnp.bfloat16)
        return array

    def _batch(self, x: Values) -> tokens.Batch:
        return tokens.Batch(
            self._tokens(x["logprob"]),
            jnp.asarray(x["response_mask"]),
            self._tokens(x["advantages"]),
            jnp.asarray(x["is_expert"]),
            self._tokens(x["ref_logprob"]) if "ref_logprob" in x else None,
            real(x["batch_kl"]) if "batch_kl" in x else None,
        )

    def _streams(self, x: Values) -> tuple[jax.Array, jax.Array]:
        return tokens.coefficients(self._config, self._batch(x))

    def _sequences(self, x: Values) -> Values:
        batch = self._batch(x)
        width = tokens.compute_dtype(batch)
        streams = (jnp.asarray(x["c_s"], width), jnp.asarray(x["c_r"], width))
        rows = tokens.row_statistics(self._config, batch, streams)
        per_row, constant_s, constant_r = disagreement_rows(self._config, rows)
        return {
            "tokens": rows.tokens,
            "nll": rows.signal,
            "advantage": rows.signal,
            "disagreement": per_row,
            "sft_stream_constant": constant_s,
            "rl_stream_constant": constant_r,
            "kl": kl_of(self._config, rows, batch.kl, batch.ref_logprob is not None),
        }

    def _proxies(self, x: Values) -> Values:
        columns = {name: real(x[name]) for name in ("nll", "advantage", "disagreement")}
        flags = {name: jnp.asarray(x[name]) for name in ("tokens", "is_expert")}
        return proxies(self._config, **columns, **flags)._asdict()

    def _statistics_ema(self, x: Values) -> Values:
        values = [real(x[name]) for name in Proxies._fields[:3]]
        present = [jnp.asarray(x[name]) for name in Proxies._fields[3:6]]
        floored = [jnp.asarray(False)] * 2  # not read by the EMA
        fresh = Proxies(*values, *present, *floored)
        state = self._previous({"previous_mu": 0, "previous_mu_ada": 0, "previous_alpha": 0, **x})
        return controller.statistics_ema(self._config, state, fresh, x["step"])[1]

    def _previous(self, x: Values) -> controller.State:
        like = controller.init(self._config)
        return controller.State(
            *(
                jnp.asarray(x[f"previous_{name}"], value.dtype)
                for name, value in like._asdict().items()
            )
        )

    def _step(self, x: Values) -> Values:
        info: Values = self._update(self._config, self._previous(x), self._batch(x), x["step"])[1]
        return info

    def _trajectory(self, x: Values) -> Values:
        after = self._update(self._config, self._state, self._batch(x), x["step"])
        self._state = after[0]
        info: Values = after[1]
        return info


def real(value: Any) -> jax.Array:
    """A number, or numbers, in the width of the mode."""
    return jnp.asarray(value, jnp.result_type(float))


def _bits(values: jax.Array) -> Any:
    array = np.asarray(values)
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def adapter() -> JaxPort:
    """The port in JAX's default, 32-bit mode."""
    return JaxPort(x64=False)


def adapter_x64() -> JaxPort:
    """The port in 64-bit mode, which this turns on for the process."""
    jax.config.update("jax_enable_x64", True)
    return JaxPort(x64=True)
