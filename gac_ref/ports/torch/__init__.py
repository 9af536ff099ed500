"""The controller in PyTorch, as a trainer would run it.

It shares :class:`~gac_ref.config.GACConfig` and the error class with the reference and nothing
else: ``gac-ref check gac_ref.ports.torch:adapter`` holds the one against the other::

    from gac_ref.ports.torch import Batch, GACConfig, init, update

    config = GACConfig()
    state = init(config)
    for step, data in enumerate(loader):
        state, info = update(config, state, Batch(...), step=step, group=group)
        loss = hybrid_loss(..., info.mu, ...)

Nothing is imported, torch included, before a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gac_ref.config import GACConfig
    from gac_ref.ports.torch.advantages import group_advantages
    from gac_ref.ports.torch.batch import Batch
    from gac_ref.ports.torch.controller import GACInfo, init, update
    from gac_ref.ports.torch.losses import aggregation_count, hybrid_loss
    from gac_ref.ports.torch.port import TorchPort as adapter
    from gac_ref.ports.torch.state import GACState, load_state_dict, state_dict

__all__ = [
    "Batch",
    "GACConfig",
    "GACInfo",
    "GACState",
    "adapter",
    "aggregation_count",
    "group_advantages",
    "hybrid_loss",
    "init",
    "load_state_dict",
    "state_dict",
    "update",
]

_HOME = {
    "Batch": "gac_ref.ports.torch.batch:Batch",
    "GACConfig": "gac_ref.config:GACConfig",
    "GACInfo": "gac_ref.ports.torch.controller:GACInfo",
    "GACState": "gac_ref.ports.torch.state:GACState",
    "adapter": "gac_ref.ports.torch.port:TorchPort",
    "aggregation_count": "gac_ref.ports.torch.losses:aggregation_count",
    "group_advantages": "gac_ref.ports.torch.advantages:group_advantages",
    "hybrid_loss": "gac_ref.ports.torch.losses:hybrid_loss",
    "init": "gac_ref.ports.torch.controller:init",
    "load_state_dict": "gac_ref.ports.torch.state:load_state_dict",
    "state_dict": "gac_ref.ports.torch.state:state_dict",
    "update": "gac_ref.ports.torch.controller:update",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name].split(":")
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
