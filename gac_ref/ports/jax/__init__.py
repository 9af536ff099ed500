"""GAC in JAX: pure functions on pytrees, under ``jit``, ``vmap`` and ``shard_map``.

``update(settings, state, batch, step)`` is the whole step. The settings, the state and the batch
are pytrees of arrays and the step is traced: nothing is compiled anew from one step to the next, or
from one configuration to another. With 64-bit mode off everything is float32, as production runs
it. ``docs/ports/jax.md`` shows it in a training loop.

Examples:
    ::

        config = settings(GACConfig())
        state, step_fn = init(config), jax.jit(update)
        state, info = step_fn(config, state, Batch(logprob, mask, advantages, is_expert), step)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gac_ref.ports.jax.batch import Batch, padded
    from gac_ref.ports.jax.controller import Info, State, init, update
    from gac_ref.ports.jax.port import adapter, adapter_x64
    from gac_ref.ports.jax.pytree import Settings, settings

__all__ = [
    "Batch",
    "Info",
    "Settings",
    "State",
    "adapter",
    "adapter_x64",
    "init",
    "padded",
    "settings",
    "update",
]

_HOME = {
    "Batch": "batch",
    "Info": "controller",
    "Settings": "pytree",
    "State": "controller",
    "adapter": "port",
    "adapter_x64": "port",
    "init": "controller",
    "padded": "batch",
    "settings": "pytree",
    "update": "controller",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the adapter must choose the width of numbers before JAX starts."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
