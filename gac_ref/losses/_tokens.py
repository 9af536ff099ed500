"""Reading token arrays: response tokens are selected and checked, the rest is never looked at."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gac_ref._checks import as_mask, as_numbers
from gac_ref._typing import ArrayLike, BoolArray, FloatArray
from gac_ref.errors import fail


class Loss(NamedTuple):
    r"""A loss and its derivative with respect to the log-probabilities.

    Args:
        value: The aggregated loss, a Python float.
        grad: d value / d logprob, [B, T], float64; exactly 0 at masked positions.

    Examples:
        >>> from gac_ref.losses import sft_loss
        >>> loss = sft_loss([[-0.5, -1.5]], [[1, 1]])
        >>> loss.value, loss.grad.tolist()
        (1.0, [[-0.5, -0.5]])
    """

    value: float
    grad: FloatArray


def token_mask(response_mask: ArrayLike, logprob: ArrayLike | None = None) -> BoolArray:
    """`response_mask` as booleans [B, T], of the shape of `logprob` when that is given."""
    like = as_numbers(
        *(("response_mask", response_mask) if logprob is None else ("logprob", logprob)),
        kinds="fiub",
    )
    if like.ndim != 2:
        fail(
            f"{'response_mask' if logprob is None else 'logprob'} has shape {like.shape}; "
            "pass a 2-D array [B, T]"
        )
    return as_mask("response_mask", response_mask, like.shape)


def select_tokens(
    name: str, values: ArrayLike, mask: BoolArray, *, highest: float = math.inf
) -> FloatArray:
    """The values at the response tokens, [N] in row order, float64, finite and <= `highest`."""
    array = as_numbers(name, values, kinds="f" if highest == 0.0 else "fiu")
    if array.shape != mask.shape:
        fail(f"{name} has shape {array.shape}; pass {mask.shape}, as response_mask has")
    chosen = array[mask].astype(np.float64)
    _check(name, chosen, mask, highest)
    return chosen


def select_advantages(values: ArrayLike, mask: BoolArray) -> FloatArray:
    """Advantages at the response tokens, [N], from one a token [B, T] or one a sequence [B]."""
    array = as_numbers("advantages", values, kinds="fiu")
    if array.shape == mask.shape[:1]:
        array = np.broadcast_to(array[:, np.newaxis], mask.shape)
    if array.shape != mask.shape:
        fail(
            f"advantages has shape {array.shape}; pass {mask.shape[:1]} or {mask.shape}, "
            "one a sequence or one a token"
        )
    chosen = array[mask].astype(np.float64)
    _check("advantages", chosen, mask, math.inf)
    return chosen


def finish(
    weights: FloatArray, mask: BoolArray, token_loss: FloatArray, token_slope: FloatArray
) -> Loss:
    """Aggregate the token losses and their slopes, both [N], with the token weights [B, T].

    The sum is exactly rounded (``math.fsum``), so it does not depend on the order of the tokens.
    """
    _check("the token loss", token_loss, mask, math.inf)
    _check("the token gradient", token_slope, mask, math.inf)
    weight = weights[mask]
    grad = np.zeros(mask.shape)
    grad[mask] = weight * token_slope
    return Loss(math.fsum((weight * token_loss).tolist()), grad)


def _check(name: str, chosen: FloatArray, mask: BoolArray, highest: float) -> None:
    bad = ~np.isfinite(chosen) | (chosen > highest)
    if not bad.any():
        return
    first = int(np.argmax(bad))
    row, column = (int(i) for i in np.argwhere(mask)[first])
    where = f"{name}[{row}, {column}] = {float(chosen[first])!r}"
    if highest < chosen[first] < math.inf:
        fail(f"{where} is above 0; log-probabilities are natural logs, so pass values <= 0")
    fail(f"{where} is not finite on a response token; mask the position out or repair it")
