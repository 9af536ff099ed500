r"""Every rank's rows on every rank, by one collective a refresh.

The trimmed variance needs order statistics, which no sum of fixed size determines, so the value
of each demonstration has to travel; and once one number of a sequence travels, its eleven may.
Then every rank holds the same table, in rank order, and runs the same host arithmetic on it: the
statistics of the whole batch, bitwise the same everywhere, and nothing to average over ranks.

The sizes need no collective of their own. Each rank sends `max_rows` rows (padded) under a header
with its true count; where a count turns out larger, which every rank sees, all of them send the
remainder in a second round. Declare `max_rows` at or above the rows of any rank, and there is
never more than one. It must be the same number on every rank, and so must everything that a
fingerprint in the header covers: the configuration, the state and the step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from gac_ref.errors import GACError, fail
from gac_ref.ports.torch.batch import row_dtype
from gac_ref.ports.torch.tokens import COLUMNS

__all__ = ["MAX_ROWS", "Gathered", "Shard", "gather"]

MAX_ROWS = 256
"""Rows a rank sends in the first round unless told otherwise: 22 KiB."""

_HEADER = ("rows", "fingerprint", "kl_source", "kl", "refused")


class Shard(NamedTuple):
    """One rank's part.

    Args:
        rows: [n, len(COLUMNS)], on the rank's device.
        fingerprint: A number below 2**24 that must be the same on all ranks.
        kl: The rank's own KL, or None.
        kl_source: 2 where `kl` is given, 1 where the reference's log-probabilities are, else 0.
        error: Why it has no rows, where it has refused its batch.

    Examples:
        >>> Shard(torch.zeros(0, len(COLUMNS)), 0, None, 0, None).kl is None
        True
    """

    rows: Tensor
    fingerprint: int
    kl: Tensor | float | None
    kl_source: int
    error: GACError | None


class Gathered(NamedTuple):
    """What every rank holds afterwards, float64 on the host.

    Args:
        rows: The rows of all ranks in rank order, [N, len(COLUMNS)].
        rank_of: Which rank each row came from, [N].
        kl: Each rank's own KL, NaN where it passed none, [R].
        kl_source: Each rank's, [R].
        own: This rank's rows within `rows`.

    Examples:
        >>> Gathered._fields[0]
        'rows'
    """

    rows: Tensor
    rank_of: Tensor
    kl: list[float]
    kl_source: list[int]
    own: slice


def gather(shard: Shard, *, group: Any = None, max_rows: int = MAX_ROWS) -> Gathered:
    """The rows of every rank of `group`; without a group, this process's own.

    Moves them to the host: the one point of a step that waits for the device.

    Raises:
        GACError: This rank refused its batch, another one did, or two disagree on the
            fingerprint; on every rank of the group, so that none is left waiting.

    Examples:
        >>> rows = torch.ones(2, len(COLUMNS), dtype=torch.float64)
        >>> gather(Shard(rows, 7, None, 0, None)).own
        slice(0, 2, None)
    """
    if group is None:
        rank, max_rows = 0, shard.rows.shape[0]
    else:
        rank = dist.get_rank(group)
    received = _exchange(_packed(shard, max_rows), group)
    headers, tables = received[:, 0, : len(_HEADER)].tolist(), [received[:, 1:]]
    head = [dict(zip(_HEADER, values, strict=True)) for values in headers]
    _require_agreement(shard, head)
    counts = [int(values["rows"]) for values in head]
    if (left := max(counts) - max_rows) > 0:
        tables.append(_exchange(_padded(shard.rows[max_rows:], left), group))
    whole = torch.cat(tables, dim=1)
    rows = torch.cat([whole[r, :count] for r, count in enumerate(counts)])
    first = sum(counts[:rank])
    return Gathered(
        rows=rows,
        rank_of=torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
        kl=[values["kl"] for values in head],
        kl_source=[int(values["kl_source"]) for values in head],
        own=slice(first, first + counts[rank]),
    )


def _packed(shard: Shard, max_rows: int) -> Tensor:
    """A header and the first `max_rows` rows, [max_rows + 1, columns]."""
    rows = shard.rows
    values = {
        "rows": float(rows.shape[0]),
        "fingerprint": float(shard.fingerprint),
        "kl_source": float(shard.kl_source),
        "refused": float(shard.error is not None),
        "kl": float("nan") if shard.kl is None or isinstance(shard.kl, Tensor) else shard.kl,
    }
    header = torch.zeros(1, len(COLUMNS), dtype=rows.dtype)
    header[0, : len(_HEADER)] = torch.tensor([values[name] for name in _HEADER], dtype=rows.dtype)
    header = header.to(rows.device, non_blocking=True)
    if isinstance(shard.kl, Tensor):
        header[0, _HEADER.index("kl")] = shard.kl.reshape(()).to(rows.device, rows.dtype)
    return torch.cat([header, _padded(rows[:max_rows], max_rows)])


def _padded(rows: Tensor, count: int) -> Tensor:
    return torch.nn.functional.pad(rows, (0, 0, 0, count - rows.shape[0]))


def _exchange(packed: Tensor, group: Any) -> Tensor:
    """[R, rows, columns] of all ranks, float64 on the host: the collective."""
    if group is None:
        return packed.to("cpu", torch.float64)[None]
    device = _device_of(group, packed.device)
    sent = packed.to(device, row_dtype(device)).contiguous()
    ranks = dist.get_world_size(group)
    received = sent.new_empty((ranks * sent.shape[0], sent.shape[1]))
    dist.all_gather_into_tensor(received, sent, group=group)
    return received.to("cpu", torch.float64).reshape(ranks, *packed.shape)


def _device_of(group: Any, device: torch.device) -> torch.device:
    """Where the group's backend wants its tensors: an accelerator's own for NCCL, else the host."""
    backend = str(dist.get_backend(group)).lower()
    if "nccl" not in backend:
        return torch.device("cpu")
    return device if device.type == "cuda" else torch.device("cuda", torch.cuda.current_device())


def _require_agreement(shard: Shard, head: list[dict[str, float]]) -> None:
    if shard.error is not None:
        raise shard.error
    for rank, values in enumerate(head):
        if values["refused"] != 0.0:
            fail(f"rank {rank} refused its batch, so no rank has an update; its own error says why")
        if values["fingerprint"] != head[0]["fingerprint"]:
            fail(
                f"rank {rank} has another config, state or step than rank 0; start every rank "
                "from the same GACConfig and checkpoint"
            )
