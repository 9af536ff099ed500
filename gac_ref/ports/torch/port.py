"""The port behind the four calls of the conformance suite.

Nothing is computed here: each stage is the function that :func:`~gac_ref.ports.torch.update`
itself goes through, fed with the suite's inputs. Started with RANK and WORLD_SIZE in the
environment, it is one rank of a job, and whole steps are measured over all ranks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from gac_ref.config import GACConfig
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.port import PROTOCOL, Unsupported
from gac_ref.conformance.stages import STAGES
from gac_ref.ports.torch.batch import require_batch, row_dtype
from gac_ref.ports.torch.controller import init, update
from gac_ref.ports.torch.stages import STAGE_FUNCTIONS, batch_of, state_of, taps
from gac_ref.ports.torch.state import GACState
from gac_ref.ports.torch.tokens import coefficients

__all__ = ["TorchPort"]

Values = Mapping[str, Any]
Outputs = dict[str, Any]

RENDEZVOUS = timedelta(seconds=60)
"""How long the ranks wait for one another to start."""

COLLECTIVE = timedelta(seconds=8)
"""How long a collective waits for a rank that does not come."""

_DTYPES = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
_TOKENS = {
    stage: {field.name for field in row.inputs if field.kind == "token"}
    for stage, row in STAGES.items()
}


class TorchPort:
    """The torch port, as ``gac-ref check gac_ref.ports.torch:adapter`` asks for it.

    Examples:
        >>> port = TorchPort()
        >>> port.configure(GACConfig().to_dict(), dtype="bf16", device="cpu")
        >>> port.run("clip", {"mu_capped": 0.95})
        {'mu': 0.9, 'mu_clipped': True}
    """

    def __init__(self) -> None:
        self._config = GACConfig()
        self._dtype = "fp64"
        self._device = torch.device("cpu")
        self._state = init(self._config)

    def hello(self) -> dict[str, Any]:
        """Every stage and dtype; tokens in float32 but for fp64, scalars in float64."""
        _group()
        return {
            "protocol": PROTOCOL,
            "name": "torch",
            "version": str(torch.__version__),
            "stages": list(STAGES),
            "dtypes": list(FORMATS),
            "devices": _devices(),
            "precision": {
                name: {"tokens": "fp64" if name == "fp64" else "fp32", "scalars": "fp64"}
                for name in FORMATS
            },
            "accumulation": "tree",
            "ranks": True,
        }

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        """Take a configuration, and start a new trajectory."""
        try:
            self._device = torch.device(device)
        except RuntimeError:
            raise Unsupported(f"device {device!r} is none that torch knows") from None
        if self._device.type not in _devices():
            raise Unsupported(f"torch {torch.__version__} finds no {self._device.type} device here")
        if dtype not in _DTYPES:
            raise Unsupported(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
        if dtype == "fp64" and row_dtype(self._device) != torch.float64:
            raise Unsupported(f"{self._device.type} has no float64")
        self._config = GACConfig.from_dict(config)
        self._dtype = dtype
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first step."""
        self._state = init(self._config)

    def run(self, stage: str, inputs: Values) -> Outputs:
        """The outputs of one stage; "trajectory" advances the state."""
        if stage not in STAGES:
            raise Unsupported(f"stage {stage!r} is unknown to this port")
        tensors = {name: self._tensor(stage, name, value) for name, value in inputs.items()}
        if stage == "trajectory":
            self._state, outputs = self._step(self._state, tensors)
        elif stage == "step":
            outputs = self._step(state_of(tensors), tensors)[1]
        elif stage == "transport":
            outputs = {name: _echo(value, inputs[name]) for name, value in tensors.items()}
            return outputs
        else:
            outputs = STAGE_FUNCTIONS[stage](self._config, tensors)
        return {name: _array(value) for name, value in outputs.items()}

    def _tensor(self, stage: str, name: str, value: Any) -> Any:
        """An array of the suite as a tensor on the device; anything else as it is."""
        if not isinstance(value, np.ndarray):
            return value
        array = np.array(value)  # the suite's own are read-only, which torch cannot express
        if name not in _TOKENS[stage]:
            tensor = torch.from_numpy(array)
            wide = tensor.dtype == torch.float64
            return tensor.to(self._device, row_dtype(self._device) if wide else tensor.dtype)
        if self._dtype == "bf16":
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(self._device)
        return torch.from_numpy(array).to(self._device)

    def _step(self, state: GACState, inputs: Values) -> tuple[GACState, Outputs]:
        batch, config = batch_of(inputs), self._config
        after, info = update(config, state, batch, step=int(inputs["step"]), group=_group())
        outputs = taps(after, info)
        if info.refreshed:
            c_s, c_r = coefficients(config, require_batch(batch))
            outputs |= {"c_s": c_s, "c_r": c_r}
        return after, outputs


def _array(value: Any) -> Any:
    """A tensor as an array, floats as float64; a scalar as it is."""
    if not isinstance(value, Tensor):
        return value
    host = value.detach().cpu()
    return (host.double() if host.is_floating_point() else host).numpy()


def _echo(value: Any, sent: Any) -> Any:
    """What came, to the bit: bfloat16 as the bits of its own."""
    if not isinstance(value, Tensor):
        return value
    host = value.cpu()
    if host.dtype == torch.bfloat16:
        return host.view(torch.int16).numpy().view(np.asarray(sent).dtype)
    return host.numpy().astype(np.asarray(sent).dtype, copy=False)


def _devices() -> list[str]:
    accelerator = torch.accelerator.current_accelerator()
    return ["cpu"] if accelerator is None else ["cpu", accelerator.type]


def _group() -> Any:
    """The group of the job that the environment describes, or None; joined on first use."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks < 2 or "RANK" not in os.environ:
        return None
    if not dist.is_initialized():
        rank = int(os.environ["RANK"])
        store = dist.TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            ranks,
            is_master=rank == 0,
            timeout=RENDEZVOUS,
        )
        dist.init_process_group(
            "gloo", store=store, rank=rank, world_size=ranks, timeout=COLLECTIVE
        )
    return dist.group.WORLD
