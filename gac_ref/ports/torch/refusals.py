"""Values that a batch must not hold: seen in the row table, then looked for in the tensors.

The search waits for the device, and only happens when there is something to find.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gac_ref.config import GACConfig
from gac_ref.errors import fail
from gac_ref.ports.torch.batch import Batch
from gac_ref.ports.torch.distributed import Gathered
from gac_ref.ports.torch.tokens import COLUMNS

__all__ = ["refuse"]

_EXPERT, _TOKENS, _REFUSED = (COLUMNS.index(name) for name in ("expert", "tokens", "refused"))


def refuse(config: GACConfig, batch: Batch, gathered: Gathered) -> None:
    """Fail, on every rank, where any rank's response tokens hold what they must not.

    Raises:
        GACError: A log-probability above 0 or not finite, an advantage or KL that is not finite,
            a mask that is not 0/1, or no KL although alpha is driven by it.

    Examples:
        >>> from gac_ref.ports.torch.controller import measure
        >>> batch = Batch(torch.tensor([[0.25]]), torch.ones(1, 1), torch.ones(1), torch.ones(1))
        >>> measure(GACConfig(), batch)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: logprob[0, 0] = 0.25 is above 0; log-probabilities are natural ...
    """
    bad = gathered.rows[:, _REFUSED] != 0.0
    if bad.any():
        if bad[gathered.own].any():
            _show(batch)
        rank = int(gathered.rank_of[bad][0])
        fail(f"rank {rank} refused its batch, so no rank has an update; its own error says why")
    if config.alpha_mode != "kl":
        return
    rollout = (gathered.rows[:, _EXPERT] == 0.0) & (gathered.rows[:, _TOKENS] > 0.0)
    for rank, (kl, source) in enumerate(zip(gathered.kl, gathered.kl_source, strict=True)):
        if not (rollout & (gathered.rank_of == rank)).any():
            continue
        if source == 0:
            fail(
                f"alpha_mode = 'kl' but the batch of rank {rank} has neither kl nor ref_logprob; "
                "pass one of them"
            )
        if source == 2 and not math.isfinite(kl):
            fail(f"kl = {kl!r} on rank {rank} is not finite; pass a finite number of nats")


def _show(batch: Batch) -> None:
    """Fail on the first value of this rank that is out of range."""
    mask = batch.response_mask
    _first("response_mask", mask, (mask != 0) & (mask != 1), "is neither 0 nor 1; pass a 0/1 mask")
    inside = mask != 0
    rollout = inside & ~batch.is_expert[:, None]
    _logprob("logprob", batch.logprob, inside)
    advantages = batch.advantages
    if advantages.ndim == 1:
        advantages = advantages[:, None].expand(inside.shape)
    _first(
        "advantages",
        advantages,
        rollout & ~advantages.isfinite(),
        "is not finite on a response token; mask the position out or repair it",
    )
    if batch.ref_logprob is not None:
        _logprob("ref_logprob", batch.ref_logprob, rollout)
    fail("a sum over a sequence overflows; rescale the advantages")


def _logprob(name: str, values: Tensor, inside: Tensor) -> None:
    above = "is above 0; log-probabilities are natural logs, so pass values <= 0"
    _first(name, values, inside & (values > 0.0) & values.isfinite(), above)
    _first(
        name,
        values,
        inside & ~values.isfinite(),
        "is not finite on a response token; mask the position out or repair it",
    )


def _first(name: str, values: Tensor, bad: Tensor, complaint: str) -> None:
    where = torch.nonzero(bad)
    if where.shape[0]:
        row, column = (int(i) for i in where[0])
        fail(f"{name}[{row}, {column}] = {float(values[row, column])!r} {complaint}")
