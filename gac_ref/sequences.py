r"""From tokens to one row of numbers a sequence: the only pass over the ``[B, T]`` arrays.

Everything after it works on at most B numbers, so it is where the time goes, and where tiles
matter. Sums run in NumPy's pairwise order along each row; squares are of centred values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gac_ref._tiles import Keeper, Scratch, Tile, keep, tiles
from gac_ref._typing import FloatArray, IntArray
from gac_ref.batch import Batch
from gac_ref.coefficients import phi_into
from gac_ref.config import GACConfig
from gac_ref.reductions import Moments, divide_by_count

__all__ = ["SequenceStatistics", "sequence_statistics"]


class SequenceStatistics(NamedTuple):
    """Statistics of each sequence of one branch; n is how many it has.

    Args:
        mean: Masked mean of the branch's own signal: NLL (nats) for experts, advantage for
            rollouts, [n].
        streams: Moments over response tokens of the two coefficient streams, without their
            signs (phi and A): weight [n] (token counts), mean [n, 2], scatter [n, 2, 2].
        squared_difference: Masked mean of (c_s - c_r)^2, [n].

    Of the last two only the one that `coefficient_normalization` asks for is filled, and only
    where the branch enters the disagreement; the other has n = 0.

    Examples:
        >>> batch = Batch([[-1.0, -3.0]], [[1, 1]], [0.0], [True])
        >>> sequence_statistics(GACConfig(mask_eps=0.0), batch, expert=True).mean.tolist()
        [2.0]
    """

    mean: FloatArray
    streams: Moments
    squared_difference: FloatArray


def sequence_statistics(
    config: GACConfig, batch: Batch, *, expert: bool, rows: IntArray | None = None
) -> SequenceStatistics:
    """The statistics of each expert demonstration, or of each rollout.

    Args:
        config: Reads `mask_eps`, `use_phi`, `coefficient_normalization`, `disagreement_rows`
            and `masking`.
        batch: B sequences.
        expert: Which branch.
        rows: Row numbers of that branch, ascending, [n]; None for all of them.

    Returns:
        The statistics, in the order of the rows.

    Examples:
        >>> batch = Batch(np.log([[0.5, 0.5]]), [[1, 1]], [[1.0, 3.0]], [False])
        >>> rollouts = sequence_statistics(GACConfig(), batch, expert=False)
        >>> rollouts.streams.mean.tolist(), rollouts.streams.scatter[0, 1, 1].item()
        ([[0.25, 2.0]], 2.0)
    """
    if rows is None:
        rows = batch.expert_rows if expert else batch.rollout_rows
    compares = not expert or config.disagreement_rows == "all"
    normalises = config.coefficient_normalization == "zscore"

    total = np.zeros(rows.size)
    streams = _no_moments(rows.size if compares and normalises else 0)
    squares = np.zeros(rows.size if compares and not normalises else 0)
    scratch = Scratch(3, batch.shape)
    for tile in tiles(rows, batch.shape[1]):
        mask = batch.mask_of(tile)
        keeper = scratch.keeper(mask, config.masking)
        with np.errstate(over="ignore", invalid="ignore"):
            if expert:
                logprob = scratch.load(0, tile.of(batch.source("logprob")))
                total[tile.where] -= keep(logprob, keeper).sum(axis=-1)
            if not compares:
                continue
            sft = _sft_stream(config, batch, tile, scratch)
            rl = np.zeros((tile.rows.size, 1)) if expert else _rl_stream(batch, tile, scratch)
            count = np.count_nonzero(mask, axis=-1)
            if normalises:
                part = _moments(sft, rl, keeper, count, scratch.take(1, tile.shape))
                advantage = part.mean[:, 1] * part.weight
                _add(streams, tile, part)
            else:
                difference = np.subtract(sft, rl, out=sft)
                square = np.multiply(difference, difference, out=difference)
                squares[tile.where] += keep(square, keeper).sum(axis=-1)
                advantage = _row_sums(rl, keeper, count)
            if not expert:
                total[tile.where] += advantage
    length = batch.lengths[rows]
    return SequenceStatistics(
        mean=divide_by_count(total, length, config.mask_eps),
        streams=streams,
        squared_difference=divide_by_count(squares, length[: squares.size], config.mask_eps),
    )


def _sft_stream(config: GACConfig, batch: Batch, tile: Tile, scratch: Scratch) -> FloatArray:
    """Phi on a tile, or ones, [r, c], in scratch, not yet masked."""
    out = scratch.take(0, tile.shape)
    if config.use_phi:
        source = tile.of(batch.source("logprob"))
        return phi_into(source, out, spare=scratch.take(1, tile.shape))
    out.fill(1.0)
    return out


def _rl_stream(batch: Batch, tile: Tile, scratch: Scratch) -> FloatArray:
    """The advantages of a tile of rollouts, not yet masked: [r, c] in scratch, or [r, 1]."""
    source = batch.source("advantages")
    if batch.has_token_advantages:
        return scratch.load(2, tile.of(source))
    return source[tile.rows].astype(np.float64)[:, None]


def _moments(
    sft: FloatArray, rl: FloatArray, keeper: Keeper, count: IntArray, product: FloatArray
) -> Moments:
    """Moments of the two streams over each row; the streams are overwritten."""
    mean_s = _centre(sft, keeper, count)
    square_s = np.multiply(sft, sft, out=product).sum(axis=-1)
    if rl.shape == sft.shape:
        mean_r = _centre(rl, keeper, count)
        square_r = np.multiply(rl, rl, out=product).sum(axis=-1)
        cross = np.multiply(sft, rl, out=product).sum(axis=-1)
    else:  # one advantage a sequence does not vary within it
        mean_r = _row_sums(rl, keeper, count) / np.maximum(count, 1)
        square_r = cross = np.zeros_like(mean_r)
    scatter = np.stack((square_s, cross, cross, square_r), axis=-1).reshape(-1, 2, 2)
    return Moments(count.astype(np.float64), np.stack((mean_s, mean_r), axis=-1), scatter)


def _centre(stream: FloatArray, keeper: Keeper, count: IntArray) -> FloatArray:
    """Subtract each row's masked mean, in place, leaving 0 outside the mask; return the means."""
    mean = _row_sums(stream, keeper, count) / np.maximum(count, 1)
    np.subtract(stream, mean[:, None], out=stream)
    keep(stream, keeper)
    return mean


def _row_sums(stream: FloatArray, keeper: Keeper, count: IntArray) -> FloatArray:
    """Sum of each row over the mask; [r, 1] stands for a row of equal values."""
    if stream.shape[1] == 1 and (keeper is None or keeper.shape[1] != 1):
        empty = (count == 0) & (keeper is None or keeper.dtype != np.float64)
        return np.where(empty, 0.0, stream[:, 0]) * count
    return np.asarray(keep(stream, keeper).sum(axis=-1))


def _no_moments(n: int) -> Moments:
    return Moments(np.zeros(n), np.zeros((n, 2)), np.zeros((n, 2, 2)))


def _add(streams: Moments, tile: Tile, part: Moments) -> None:
    """Put the moments of a tile in the place of its rows, merged where a row is cut."""
    if tile.columns.start > 0:
        part = Moments.merge(Moments(*(field[tile.where] for field in streams)), part)
    for whole, field in zip(streams, part, strict=True):
        whole[tile.where] = field
