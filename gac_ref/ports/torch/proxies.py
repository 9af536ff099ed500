r"""From the rows of all ranks to the proxies of the whole batch, on the host, in float64.

The sums are exactly rounded (``math.fsum``), so neither the order of the rows nor the way they
were split over ranks shows in a single bit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gac_ref.config import GACConfig
from gac_ref.ports.torch.tokens import COLUMNS

__all__ = ["Proxies", "Sequences", "proxies", "sequences"]

SPREAD_RTOL = 2.0**-40
"""A stream whose spread is below this share of its magnitude has none: what is left is rounding."""


class Sequences(NamedTuple):
    """One number a sequence, for the sequences of all ranks in rank order, float64 on the host.

    Args:
        is_expert: [N], boolean.
        tokens: Response tokens, [N], int64.
        nll: Masked mean NLL, [N], nats; 0 on rollouts.
        advantage: Masked mean advantage, [N]; 0 on demonstrations.
        disagreement: Masked mean of (c_s - c_r)^2, z-normalised where that is on, [N]; 0 on rows
            that are not compared.
        sft_stream_constant: The SFT coefficients have no spread to normalise by.
        rl_stream_constant: The advantages have no spread to normalise by.

    Examples:
        >>> Sequences._fields[1]
        'tokens'
    """

    is_expert: Tensor
    tokens: Tensor
    nll: Tensor
    advantage: Tensor
    disagreement: Tensor
    sft_stream_constant: bool
    rl_stream_constant: bool


class Proxies(NamedTuple):
    """The three statistics of one batch, 0.0 where missing, and which of them it measures."""

    sigma_s2: float
    sigma_r2: float
    delta_g2: float
    has_s: bool
    has_r: bool
    has_delta: bool
    sigma_s2_floored: bool = False
    sigma_r2_floored: bool = False


def sequences(config: GACConfig, rows: Tensor) -> Sequences:
    r"""Read the row table, and z-normalise the disagreement by the pooled moments of its rows.

    With u = (1/sd_s, -1/sd_r) the difference of two z-scores is u . (x - m), so that a row's sum
    of squares is ``u' S u + n (u . (m_row - m))^2``: from each row's own moments, without a
    second pass over the tokens, and without cancellation.

    Args:
        config: Reads `coefficient_normalization`, `disagreement_rows`, `missing_branch` and
            `mask_eps`.
        rows: [N, len(COLUMNS)], float64, on the host.

    Returns:
        The sequences' statistics.

    Examples:
        >>> sequences(GACConfig(), torch.zeros(0, len(COLUMNS), dtype=torch.float64)).nll.shape
        torch.Size([0])
    """
    column = dict(zip(COLUMNS, rows.unbind(dim=-1), strict=True))
    expert, count, level = column["expert"] != 0.0, column["tokens"], column["level"]
    compared = _compared(config, expert)
    constant = (False, False)
    disagreement = column["squared"]
    if config.coefficient_normalization == "zscore":
        disagreement = torch.zeros_like(count)
        if _measures(config, count, compared):
            chosen = {name: values[compared] for name, values in column.items()}
            disagreement[compared], constant = _normalised(config, chosen)
    return Sequences(
        is_expert=expert,
        tokens=count.to(torch.int64),
        nll=torch.where(expert, level, 0.0),
        advantage=torch.where(expert, 0.0, level),
        disagreement=torch.where(compared, disagreement, 0.0),
        sft_stream_constant=constant[0],
        rl_stream_constant=constant[1],
    )


def proxies(config: GACConfig, batch: Sequences) -> Proxies:
    """The three proxies of the whole batch.

    Args:
        config: Reads `eps`, `trim_ratio`, `disagreement_rows` and `missing_branch`.
        batch: The sequences of all ranks.

    Returns:
        The proxies; a NaN (which multiplied masks make of an infinity) is passed on.

    Examples:
        >>> nothing = sequences(GACConfig(), torch.zeros(0, len(COLUMNS), dtype=torch.float64))
        >>> proxies(GACConfig(), nothing).has_s
        False
    """
    expert = batch.is_expert
    compared = _compared(config, expert)
    has_s, has_r, has_delta = (
        _measures(config, batch.tokens, rows) for rows in (expert, ~expert, compared)
    )
    sigma_s2 = _variance(_trimmed(batch.nll[expert], config.trim_ratio)) if has_s else 0.0
    sigma_r2 = _variance(batch.advantage[~expert]) if has_r else 0.0
    delta_g2 = _mean(batch.disagreement[compared]) if has_delta else 0.0
    floored_s = has_s and sigma_s2 < config.eps
    floored_r = has_r and sigma_r2 < config.eps
    return Proxies(
        sigma_s2=config.eps if floored_s else sigma_s2,
        sigma_r2=config.eps if floored_r else sigma_r2,
        delta_g2=delta_g2,
        has_s=has_s,
        has_r=has_r,
        has_delta=has_delta,
        sigma_s2_floored=floored_s,
        sigma_r2_floored=floored_r,
    )


def _compared(config: GACConfig, expert: Tensor) -> Tensor:
    return torch.ones_like(expert) if config.disagreement_rows == "all" else ~expert


def _measures(config: GACConfig, tokens: Tensor, rows: Tensor) -> bool:
    """Whether a branch measures anything: "zero" counts sequences without a token, too."""
    return bool(rows.any() if config.missing_branch == "zero" else (tokens[rows] > 0).any())


def _normalised(config: GACConfig, column: dict[str, Tensor]) -> tuple[Tensor, tuple[bool, bool]]:
    """The disagreement of each row, normalised, and which of the streams is constant."""
    count = column["tokens"]
    weight = total(count) or 1.0
    means = column["mean_s"], column["mean_r"]
    # About the first row's mean: a constant stream has a pooled mean of exactly that.
    pooled = [x[0].item() + total(count * (x - x[0])) / weight for x in means]
    apart = [x - mean for x, mean in zip(means, pooled, strict=True)]
    scatter = (column["scatter_ss"], column["scatter_rr"])
    spread = [
        math.sqrt(total(own + count * d * d) / weight)
        for own, d in zip(scatter, apart, strict=True)
    ]
    constant = [
        math.isfinite(sd) and sd <= SPREAD_RTOL * math.hypot(mean, sd)
        for sd, mean in zip(spread, pooled, strict=True)
    ]
    u_s, u_r = (0.0 if c else 1.0 / sd for c, sd in zip(constant, spread, strict=True))
    offset = u_s * apart[0] - u_r * apart[1]
    square = (
        u_s * u_s * column["scatter_ss"]
        - 2.0 * u_s * u_r * column["scatter_sr"]
        + u_r * u_r * column["scatter_rr"]
        + count * offset * offset
    ).clamp(min=0.0)
    below = count + config.mask_eps
    return square / torch.where(below == 0.0, 1.0, below), (constant[0], constant[1])


def _trimmed(values: Tensor, trim_ratio: float) -> Tensor:
    """The sorted values without ``int(n * trim_ratio)`` at each end; all of them below four."""
    n = values.numel()
    dropped = int(n * trim_ratio) if n >= 4 else 0
    return values.sort().values[dropped : n - dropped]


def _mean(values: Tensor) -> float:
    return total(values) / int(values.numel())


def _variance(values: Tensor) -> float:
    """Population variance, two-pass."""
    deviation = values - _mean(values)
    return _mean(deviation * deviation)


def total(values: Tensor) -> float:
    """The sum, exactly rounded; NaN or infinite where the values are."""
    try:
        return math.fsum(values.tolist())
    except (OverflowError, ValueError):  # an overflow on the way, or infinities of both signs
        return float(values.sum())
