"""GAC in JAX: pure functions on pytrees, under ``jit``, ``vmap`` and ``shard_map``.

``update(config, state, batch, step)`` is the whole step. The configuration is static (it is
hashable), the state and the batch are pytrees of arrays, the step is traced: nothing is compiled
anew from one step to the next. With 64-bit mode off everything is float32, as production runs it.

Examples:
    ::

        step_fn = jax.jit(update, static_argnames=("config", "axis_name"))
        state = init(config)
        state, info = step_fn(config, state, Batch(logprob, mask, advantages, is_expert), step)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gac_ref.ports.jax.batch import Batch
    from gac_ref.ports.jax.controller import Info, State, init, update
    from gac_ref.ports.jax.port import adapter, adapter_x64

__all__ = ["Batch", "Info", "State", "adapter", "adapter_x64", "init", "update"]

_HOME = {
    "Batch": "batch",
    "Info": "controller",
    "State": "controller",
    "adapter": "port",
    "adapter_x64": "port",
    "init": "controller",
    "update": "controller",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the adapter must choose the width of numbers before JAX starts."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
