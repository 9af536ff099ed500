"""The tensors of one training batch, checked without reading their values.

Reading a value on an accelerator waits for it; values are judged later, from the row table, when
it has been moved to the host anyway.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gac_ref.errors import fail

__all__ = ["Batch", "as_mask", "compute_dtype", "require_batch", "row_dtype", "rows_of"]

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
WITHOUT_FLOAT64 = frozenset({"mps"})
"""Device types that cannot hold float64."""


class Batch(NamedTuple):
    """One rank's share of a training batch; B and T may be 0.

    Args:
        logprob: Log-probability of each token under the current policy, [B, T], nats, any float
            dtype; <= 0 and finite on response tokens. May require grad; no graph is kept.
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1 of any dtype.
        advantages: One a token [B, T] or one a sequence [B]; unread on expert rows.
        is_expert: True for a demonstration, False for a rollout, [B], boolean or 0/1.
        ref_logprob: Log-probability under the reference policy, [B, T], nats; read only where
            alpha is driven by the KL and `kl` is absent.
        kl: KL to the reference policy, nats a token: the mean over this rank's rollout tokens,
            a number or a 0-d tensor.

    Examples:
        >>> batch = Batch(torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2), torch.tensor([1, 0]))
        >>> batch.logprob.shape
        torch.Size([2, 3])
    """

    logprob: Tensor
    response_mask: Tensor
    advantages: Tensor
    is_expert: Tensor
    ref_logprob: Tensor | None = None
    kl: Tensor | float | None = None


def require_batch(batch: Batch) -> Batch:
    """`batch`, detached, with boolean masks, once shapes, dtypes and devices are seen to fit.

    Raises:
        GACError: One does not.

    Examples:
        >>> require_batch(Batch(torch.zeros(3), torch.ones(3), torch.zeros(3), torch.ones(3)))
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: logprob has shape (3,); pass a 2-D tensor [B, T]
    """
    if not isinstance(batch, Batch):
        fail(f"batch is a {type(batch).__name__}; pass a gac_ref.ports.torch.Batch")
    _require_tensor("logprob", batch.logprob, FLOATS)
    shape = tuple(batch.logprob.shape)
    if len(shape) != 2:
        fail(f"logprob has shape {shape}; pass a 2-D tensor [B, T]")
    rows = shape[:1]
    device = batch.logprob.device
    wanted = {
        "response_mask": (FLOATS + INTEGERS, (shape,)),
        "advantages": (FLOATS + INTEGERS, (shape, rows)),
        "is_expert": (FLOATS + INTEGERS, (rows,)),
        "ref_logprob": (FLOATS, (shape,)),
    }
    for name, (dtypes, shapes) in wanted.items():
        tensor = getattr(batch, name)
        if tensor is None and name == "ref_logprob":
            continue
        _require_tensor(name, tensor, dtypes)
        if tuple(tensor.shape) not in shapes:
            options = " or ".join(map(str, shapes))
            fail(f"{name} has shape {tuple(tensor.shape)} but logprob has {shape}; pass {options}")
        if tensor.device != device:
            fail(f"{name} is on {tensor.device} but logprob is on {device}; move it there")
    _require_kl(batch.kl)
    return Batch(
        batch.logprob.detach(),
        batch.response_mask.detach(),
        batch.advantages.detach(),
        as_mask(batch.is_expert.detach()),
        None if batch.ref_logprob is None else batch.ref_logprob.detach(),
        batch.kl.detach() if isinstance(batch.kl, Tensor) else batch.kl,
    )


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """The dtype of token arithmetic: float64 for float64 inputs, float32 for all others.

    Examples:
        >>> compute_dtype(torch.zeros(1, dtype=torch.bfloat16))
        torch.float32
    """
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return torch.float64 if wide else torch.float32


def row_dtype(device: torch.device) -> torch.dtype:
    """The dtype of numbers of which there is one a sequence: float64 where the device has it.

    Examples:
        >>> row_dtype(torch.device("mps"))
        torch.float32
    """
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64


def as_mask(tensor: Tensor) -> Tensor:
    """`tensor` as booleans; itself where it is boolean, which ``!= 0`` would copy.

    Examples:
        >>> as_mask(torch.tensor([0, 1]))
        tensor([False,  True])
    """
    return tensor if tensor.dtype == torch.bool else tensor != 0


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch, as views.

    Examples:
        >>> batch = Batch(torch.zeros(3, 2), torch.ones(3, 2), torch.zeros(3), torch.zeros(3))
        >>> rows_of(batch, slice(1, 3)).logprob.shape
        torch.Size([2, 2])
    """
    return batch._replace(
        logprob=batch.logprob[rows],
        response_mask=batch.response_mask[rows],
        advantages=batch.advantages[rows],
        is_expert=batch.is_expert[rows],
        ref_logprob=None if batch.ref_logprob is None else batch.ref_logprob[rows],
    )


def _require_tensor(name: str, value: object, dtypes: tuple[torch.dtype, ...]) -> None:
    if not isinstance(value, Tensor):
        fail(f"{name} is a {type(value).__name__}; pass a torch.Tensor")
    if value.dtype not in dtypes:
        kind = "float16, bfloat16, float32 or float64" if dtypes == FLOATS else "real numbers"
        fail(f"{name} has dtype {value.dtype}; pass {kind}")


def _require_kl(kl: object) -> None:
    if kl is None or isinstance(kl, float | int):
        return
    if not isinstance(kl, Tensor) or kl.numel() != 1:
        shown = tuple(kl.shape) if isinstance(kl, Tensor) else repr(kl)
        fail(f"kl = {shown} is not one number; pass the mean over the rollout tokens, or None")
