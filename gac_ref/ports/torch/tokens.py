r"""The token pass: from ``[B, T]`` tensors to one row of partial sums a sequence, on the device.

Tokens are widened to float32 (float64 for float64) and summed there; counts are integers; what
there is one of a sequence is float64 where the device has it. Moments are taken about each
sequence's own first response token and then about its mean, so that neither a large mean nor a
constant stream leaves rounding behind where the spread should be.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gac_ref.config import GACConfig
from gac_ref.ports.torch.batch import Batch, as_mask, compute_dtype, row_dtype, rows_of

__all__ = ["COLUMNS", "coefficients", "row_table", "sequence_rows"]

COLUMNS = (
    "expert",  # 1 for a demonstration
    "tokens",  # response tokens
    "level",  # masked mean NLL of a demonstration, masked mean advantage of a rollout
    "mean_s",  # of c_s and of c_r over the response tokens; "zscore" only
    "mean_r",
    "scatter_ss",  # sums of products of their deviations; "zscore" only
    "scatter_sr",
    "scatter_rr",
    "squared",  # masked mean of (c_s - c_r)^2; "none" only
    "kl",  # sum of the KL estimate over the response tokens of a rollout
    "refused",  # 1 where a response token holds what it must not
)
"""The numbers of a sequence that leave the device."""


PASS_TOKENS = {"cpu": 2**17}
"""Tokens of one pass, by device type: the fastest on a CPU; `ELSEWHERE` for the others."""

ELSEWHERE = 2**23
"""Enough to keep an accelerator busy; the temporaries of a pass stay near 200 MiB."""


def row_table(config: GACConfig, batch: Batch) -> Tensor:
    """The rows of a batch, [B, len(COLUMNS)]: some rows at a time, through both stages.

    Args:
        config: Read by the stages.
        batch: From :func:`~gac_ref.ports.torch.batch.require_batch`.

    Examples:
        >>> batch = Batch(torch.zeros(3, 2), torch.ones(3, 2), torch.zeros(3), torch.zeros(3) > 0)
        >>> row_table(GACConfig(), batch).shape
        torch.Size([3, 11])
    """
    rows, width = batch.logprob.shape
    at_once = max(1, PASS_TOKENS.get(batch.logprob.device.type, ELSEWHERE) // max(width, 1))
    tables = []
    for top in range(0, max(rows, 1), at_once):
        part = rows_of(batch, slice(top, top + at_once))
        tables.append(sequence_rows(config, part, *coefficients(config, part)))
    return tables[0] if len(tables) == 1 else torch.cat(tables)


def coefficients(config: GACConfig, batch: Batch) -> tuple[Tensor, Tensor]:
    r"""The coefficient streams :math:`c_s = -\varphi(p)` (or -1) and :math:`c_r = -A`.

    Args:
        config: Reads `use_phi`.
        batch: From :func:`~gac_ref.ports.torch.batch.require_batch`.

    Returns:
        c_s and c_r, [B, T], in the dtype of token arithmetic; c_r is 0 on expert rows. Outside
        the mask they are whatever follows from what lies there.

    Examples:
        >>> half = torch.full((1, 1), 0.5).log()
        >>> batch = Batch(half, torch.ones(1, 1), torch.tensor([3.0]), torch.tensor([False]))
        >>> [c.item() for c in coefficients(GACConfig(), batch)]
        [-0.25, -3.0]
    """
    dtype = compute_dtype(batch.logprob, batch.advantages)
    with torch.no_grad():
        logprob, advantages = batch.logprob.to(dtype), batch.advantages.to(dtype)
        if advantages.ndim == 1:
            c_r = torch.where(batch.is_expert, 0.0, -advantages)[:, None].expand(logprob.shape)
        else:
            c_r = torch.where(batch.is_expert[:, None], 0.0, -advantages)
        if not config.use_phi:
            return torch.full_like(logprob, -1.0), c_r
        # p (1 - p) by expm1: the digits of 1 - p survive near p = 1.
        return torch.exp(logprob) * torch.expm1(logprob), c_r


def sequence_rows(config: GACConfig, batch: Batch, c_s: Tensor, c_r: Tensor) -> Tensor:
    """One row of :data:`COLUMNS` a sequence.

    Args:
        config: Reads `masking`, `mask_eps`, `coefficient_normalization` and `alpha_mode`.
        batch: From :func:`~gac_ref.ports.torch.batch.require_batch`.
        c_s: From :func:`coefficients`, [B, T].
        c_r: Likewise.

    Returns:
        [B, len(COLUMNS)], on the device of the batch.

    Examples:
        >>> batch = Batch(torch.tensor([[-1.0, -3.0]]), torch.ones(1, 2), torch.zeros(1),
        ...               torch.tensor([True]))
        >>> rows = sequence_rows(GACConfig(mask_eps=0.0), batch, *coefficients(GACConfig(), batch))
        >>> dict(zip(COLUMNS, rows[0].tolist()))["level"]
        2.0
    """
    with torch.no_grad():
        logprob, mask = batch.logprob.to(c_s.dtype), as_mask(batch.response_mask)
        if mask.shape[1] == 0:  # one column without a response token says the same
            mask, c_s, c_r, logprob = (
                torch.nn.functional.pad(x, (0, 1)) for x in (mask, c_s, c_r, logprob)
            )
        wide = row_dtype(c_s.device)
        rows: dict[str, Tensor] = {"expert": batch.is_expert, "tokens": mask.sum(dim=-1)}
        count = rows["tokens"].to(wide)
        ones = mask.to(c_s.dtype)
        inside = torch.where(mask, logprob, 0.0)
        refused = _out_of_range(inside)

        # Selected once, all is finite, and multiplying by `ones` selects: on a CPU it is ten
        # times faster. Multiplied from the start, as released, what lies outside may poison.
        if config.masking == "select":
            logprob, c_s, c_r = inside, torch.where(mask, c_s, 0.0), torch.where(mask, c_r, 0.0)
            refused |= ~c_r.sum(dim=-1).isfinite()
        else:
            refused |= ~torch.where(mask, c_r, 0.0).sum(dim=-1).isfinite()
        first = _first(ones)
        pivot_r, from_r = _relative(c_r, ones, first)
        advantage = -(pivot_r.to(wide) * count + from_r.sum(dim=-1).to(wide))
        nll = -(logprob * ones).sum(dim=-1)
        level = torch.where(batch.is_expert, nll.to(wide), advantage)
        rows["level"] = _over_count(config, level, count)

        if config.coefficient_normalization == "zscore":
            pivot_s, from_s = _relative(c_s, ones, first)
            rows["mean_s"], centred_s = _centred(pivot_s, from_s, ones, count)
            rows["mean_r"], centred_r = _centred(pivot_r, from_r, ones, count)
            rows["scatter_ss"] = (centred_s * centred_s).sum(dim=-1)
            rows["scatter_sr"] = (centred_s * centred_r).sum(dim=-1)
            rows["scatter_rr"] = (centred_r * centred_r).sum(dim=-1)
        else:
            difference = (c_s - c_r) * ones
            total = (difference * difference).sum(dim=-1)
            rows["squared"] = _over_count(config, total.to(wide), count)

        if batch.response_mask.dtype != torch.bool:
            refused |= (mask & (batch.response_mask != 1)).any(dim=-1)
        if config.alpha_mode == "kl" and batch.kl is None and batch.ref_logprob is not None:
            rows["kl"], above = _kl_sums(batch, inside, mask)
            refused |= above
        rows["refused"] = refused
        blank = torch.zeros_like(count)
        return torch.stack([rows.get(name, blank).to(wide) for name in COLUMNS], dim=-1)


def _first(ones: Tensor) -> Tensor:
    """The position of each row's first 1, [B, 1]; the last position where there is none."""
    # Not argmax, which is ten times slower on a CPU. Exact below 2**24 columns.
    width = ones.shape[1]
    falling = torch.arange(width, 0, -1, dtype=ones.dtype, device=ones.device)
    return (width - (ones * falling).amax(dim=-1, keepdim=True)).clamp(max=width - 1).long()


def _relative(stream: Tensor, ones: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's first response token, [B] (0 without one), and the stream relative to it."""
    pivot = torch.where(ones.gather(1, first) != 0.0, stream.gather(1, first), 0.0)
    return pivot[:, 0], (stream - pivot) * ones


def _centred(pivot: Tensor, relative: Tensor, ones: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's mean, [B], and the stream relative to it, 0 outside the mask."""
    shift = relative.sum(dim=-1) / count.clamp(min=1.0).to(relative.dtype)
    centred = (relative - shift[:, None]) * ones
    return pivot.to(count.dtype) + shift.to(count.dtype), centred


def _over_count(config: GACConfig, total: Tensor, count: Tensor) -> Tensor:
    """``total / (count + mask_eps)``, and the total (which is 0) where that is 0 / 0."""
    below = count + config.mask_eps
    return total / torch.where(below == 0.0, 1.0, below)


def _out_of_range(inside: Tensor) -> Tensor:
    """Rows with a log-probability above 0, or one that is not finite."""
    return ~((inside.clamp(min=0.0).sum(dim=-1) <= 0.0) & inside.sum(dim=-1).isfinite())


def _kl_sums(batch: Batch, inside: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    r"""Sum of :math:`e^d - d - 1`, :math:`d = \ell_{ref} - \ell`, over each rollout's tokens."""
    assert batch.ref_logprob is not None
    reference = batch.ref_logprob.to(inside.dtype)
    if reference.shape != mask.shape:
        reference = torch.nn.functional.pad(reference, (0, 1))
    here = mask & ~batch.is_expert[:, None]
    reference = torch.where(here, reference, 0.0)
    d = torch.where(here, reference - inside, 0.0)
    return (torch.expm1(d) - d).sum(dim=-1), _out_of_range(reference)
