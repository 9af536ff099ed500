"""The batch a trainer hands over: validated once, widened exactly, never changed."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from gac_ref._checks import as_mask, as_numbers, checked_mask, frozen, refuse_first
from gac_ref._tiles import Scratch, Tile, keep, tiles
from gac_ref._typing import AnyArray, ArrayLike, BoolArray, FloatArray, IntArray
from gac_ref.errors import fail

__all__ = ["Batch"]


class Batch:
    r"""One training batch of expert demonstrations and on-policy rollouts.

    Arrays are viewed, not copied: the caller's memory is never written, and must not be written
    by the caller while the batch is in use. Float inputs of any width up to 64 bits are accepted
    (bfloat16 through ``ml_dtypes``), and each element is widened to float64 exactly once, when it
    is read; the attributes return float64.

    Args:
        logprob: Log-probability of each token under the current policy, [B, T], nats, <= 0 and
            finite on response tokens. Floating point.
        response_mask: Which positions are response (loss-bearing) tokens, [B, T], boolean or 0/1.
        advantages: Advantages of the rollouts, [B, T] or one a sequence [B], finite on response
            tokens. The values on expert rows are never used, but NaN there is refused too: it is
            more often a fault upstream than a convention.
        is_expert: True for an expert demonstration, False for a rollout, [B], boolean or 0/1.
        group_ids: Prompt group of each sequence, [B], integers.
        rewards: Reward of each sequence, [B], finite.
        old_logprob: Log-probabilities under the policy that sampled the rollouts, [B, T], nats.
        ref_logprob: Log-probabilities under the reference policy, [B, T], nats.
        entropy: Mean token entropy of the policy on the rollouts, nats, >= 0.
        kl: KL divergence of the policy from the reference on the rollouts, nats per token,
            finite; not used where the batch has no rollout, and may be NaN there, the mean of
            nothing. Without it, a KL-driven alpha takes
            the k3 estimate from `ref_logprob`.

    B = 0 is legal (an empty shard), and so is a batch without one of the branches. Outside the
    response, any value is legal, NaN and infinities included.

    Raises:
        GACError: A shape, dtype or value is not as above.

    Examples:
        >>> batch = Batch([[-0.1, -2.0], [-0.7, float("nan")]], [[1, 1], [1, 0]],
        ...               [0.0, 1.5], [True, False])
        >>> batch.shape, batch.logprob.dtype.name, batch.is_expert.tolist()
        ((2, 2), 'float64', [True, False])
    """

    def __init__(
        self,
        logprob: ArrayLike,
        response_mask: ArrayLike,
        advantages: ArrayLike,
        is_expert: ArrayLike,
        *,
        group_ids: ArrayLike | None = None,
        rewards: ArrayLike | None = None,
        old_logprob: ArrayLike | None = None,
        ref_logprob: ArrayLike | None = None,
        entropy: float | None = None,
        kl: float | None = None,
    ) -> None:
        self._logprob = as_numbers("logprob", logprob, kinds="f")
        if self._logprob.ndim != 2:
            fail(f"logprob has shape {self._logprob.shape}; pass a 2-D array [B, T]")
        self.shape: tuple[int, int] = self._logprob.shape  # type: ignore[assignment]
        rows = self.shape[:1]
        self._response_mask = checked_mask("response_mask", response_mask, self.shape)
        self.is_expert: BoolArray = as_mask("is_expert", is_expert, rows)
        self._advantages = as_numbers("advantages", advantages, kinds="fiu")
        if self._advantages.shape not in (self.shape, rows):
            fail(
                f"advantages has shape {self._advantages.shape} but logprob has shape "
                f"{self.shape}; pass {self.shape} or {rows}"
            )
        self._old_logprob = self._optional("old_logprob", old_logprob, self.shape, "f")
        self._ref_logprob = self._optional("ref_logprob", ref_logprob, self.shape, "f")
        self._rewards = self._optional("rewards", rewards, rows, "fiub")
        ids = self._optional("group_ids", group_ids, rows, "iu")
        if ids is not None and ids.size and int(ids.max()) > np.iinfo(np.int64).max:
            fail(f"group_ids holds {int(ids.max())}, beyond int64; number the groups from 0")
        self.group_ids: IntArray | None = None if ids is None else frozen(ids.astype(np.int64))
        self.entropy = _scalar("entropy", entropy, minimum=0.0)
        no_rollouts = self.rollout_rows.size == 0
        undefined = no_rollouts and isinstance(kl, float | np.floating) and math.isnan(kl)
        self.kl = None if undefined else _scalar("kl", kl, minimum=-math.inf)
        self._check_values()

    @property
    def logprob(self) -> FloatArray:
        """Log-probabilities [B, T] in nats, float64, read-only."""
        return self._widened("_logprob")

    @property
    def response_mask(self) -> BoolArray:
        """Which positions are response tokens, [B, T], boolean, read-only."""
        return frozen(self._response_mask.astype(np.bool_, copy=False))

    @property
    def advantages(self) -> FloatArray:
        """Advantages [B, T] or [B], float64, read-only."""
        return self._widened("_advantages")

    @property
    def rewards(self) -> FloatArray | None:
        """Rewards [B], float64, read-only, or None."""
        return None if self._rewards is None else self._widened("_rewards")

    @property
    def old_logprob(self) -> FloatArray | None:
        """Sampling-policy log-probabilities [B, T] in nats, float64, read-only, or None."""
        return None if self._old_logprob is None else self._widened("_old_logprob")

    @property
    def ref_logprob(self) -> FloatArray | None:
        """Reference log-probabilities [B, T] in nats, float64, read-only, or None."""
        return None if self._ref_logprob is None else self._widened("_ref_logprob")

    @property
    def has_token_advantages(self) -> bool:
        """Whether the advantages are per token, [B, T], and not per sequence, [B]."""
        return self._advantages.ndim == 2

    @cached_property
    def expert_rows(self) -> IntArray:
        """Row numbers of the expert demonstrations, ascending."""
        return np.flatnonzero(self.is_expert)

    @cached_property
    def rollout_rows(self) -> IntArray:
        """Row numbers of the rollouts, ascending."""
        return np.flatnonzero(~self.is_expert)

    @cached_property
    def lengths(self) -> IntArray:
        """Response tokens in each sequence, [B]."""
        counts = np.zeros(self.shape[0], dtype=np.int64)
        for tile in tiles(np.arange(self.shape[0]), self.shape[1]):
            counts[tile.where] += np.count_nonzero(self.mask_of(tile), axis=-1)
        return counts

    def mask_of(self, tile: Tile) -> BoolArray:
        """One tile of `response_mask`: a mask of another dtype is never converted as a whole."""
        mask = tile.of(self._response_mask)
        return mask if mask.dtype == np.bool_ else np.asarray(mask != 0)

    def source(self, name: str) -> AnyArray:
        """The array `name` as the caller passed it (any width), for reading in tiles.

        Examples:
            >>> half = np.float16([[-0.5]])
            >>> Batch(half, [[1]], [1.0], [False]).source("logprob").dtype.name
            'float16'
        """
        array: AnyArray = getattr(self, f"_{name}")
        return array

    def __len__(self) -> int:
        """The number of sequences, B."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Shape and composition, not the values."""
        experts = self.expert_rows.size
        return (
            f"Batch(B={self.shape[0]}, T={self.shape[1]}, experts={experts}, "
            f"rollouts={self.shape[0] - experts}, response_tokens={int(self.lengths.sum())})"
        )

    def _widened(self, name: str) -> FloatArray:
        array: AnyArray = getattr(self, name)
        return frozen(array.astype(np.float64, copy=False))

    def _optional(
        self, name: str, values: ArrayLike | None, shape: tuple[int, ...], kinds: str
    ) -> AnyArray | None:
        if values is None:
            return None
        array = as_numbers(name, values, kinds=kinds)
        if array.shape != shape:
            fail(f"{name} has shape {array.shape}; pass {shape}, as logprob has {self.shape}")
        return array

    def _check_values(self) -> None:
        every = np.arange(self.shape[0])
        scratch = Scratch(1, self.shape)
        self._check_tokens("logprob", every, scratch, highest=0.0)
        if self._old_logprob is not None:
            self._check_tokens("old_logprob", self.rollout_rows, scratch, highest=0.0)
        if self._ref_logprob is not None:
            self._check_tokens("ref_logprob", self.rollout_rows, scratch, highest=0.0)
        if self.has_token_advantages:
            self._check_tokens("advantages", every, scratch, highest=math.inf)
        else:
            bad = (self.lengths > 0) & ~np.isfinite(self._widened("_advantages"))
            refuse_first("advantages", self._advantages, bad, "is not finite; pass finite values")
        if self._rewards is not None:
            bad = ~np.isfinite(self._widened("_rewards"))
            refuse_first("rewards", self._rewards, bad, "is not finite; pass finite values")

    def _check_tokens(self, name: str, rows: IntArray, scratch: Scratch, *, highest: float) -> None:
        """Refuse non-finite values, and values above `highest`, on the response tokens."""
        values = self.source(name)
        native = values.dtype.kind == "f"
        for tile in tiles(rows, self.shape[1]):
            raw = tile.of(values)
            if native and _within(raw, highest):
                continue  # the padding is clean too, which is common and cheap to see
            keeper = scratch.keeper(self.mask_of(tile), "select")
            block = keep(scratch.load(0, raw), keeper)
            if _within(block, highest):
                continue
            with np.errstate(invalid="ignore"):
                bad = ~np.isfinite(block) | (block > highest)
            i, j = np.unravel_index(int(np.argmax(bad)), bad.shape)
            value, row, column = block[i, j], tile.rows[i], int(tile.columns.start + j)
            where = f"{name}[{row}, {column}] = {float(value)!r}"
            if value > highest and value < math.inf:
                fail(
                    f"{where} is above 0 on a response token; log-probabilities are natural logs "
                    "of probabilities, so pass values <= 0"
                )
            fail(f"{where} is not finite on a response token; mask the position out or repair it")


def _within(block: AnyArray, highest: float) -> bool:
    """Whether all values are finite and at most `highest`; NaN fails the comparisons."""
    top, bottom = block.max(), block.min()
    return bool(top <= highest and top < math.inf and bottom > -math.inf)


def _scalar(name: str, value: Any, *, minimum: float) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        fail(f"{name} = {value!r} is not a number; pass one value for the batch, or None")
    if not math.isfinite(number) or number < minimum:
        bound = "finite" if minimum == -math.inf else f"finite and >= {minimum:g}"
        fail(f"{name} = {number!r} is not {bound}; pass a {bound} number of nats")
    return number
