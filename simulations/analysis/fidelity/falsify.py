"""Batches whose information is destroyed on purpose: a proxy that does not notice carries none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.batch import Batch
from gac_ref.config import GACConfig
from gac_ref.proxies import proxies

__all__ = ["FALSIFICATIONS", "STATISTICS", "falsified", "read_proxies"]

STATISTICS = ("sigma_s2", "sigma_r2", "delta_g2", "delta_g2_released")
"""The proxies under study: those of the documented variant, and the disagreement as released."""

_DOCUMENTED, _RELEASED = GACConfig.documented(), GACConfig.released()


def read_proxies(batch: Batch, *, use_phi: bool = True) -> FloatArray:
    """The four statistics of a batch, in the order of `STATISTICS`.

    Examples:
        >>> batch = Batch([[-0.1], [-0.7], [-2.0]], [[1]] * 3, [0.0, 1.0, -1.0],
        ...               [True, False, False])
        >>> read_proxies(batch).shape
        (4,)
    """
    found = proxies(_DOCUMENTED.replace(use_phi=use_phi), batch)
    released = proxies(_RELEASED.replace(use_phi=use_phi), batch)
    values = (found.sigma_s2, found.sigma_r2, found.delta_g2, released.delta_g2)
    return np.array([np.asarray(value, dtype=np.float64) for value in values])


def _shuffled_advantages(batch: Batch, rng: np.random.Generator) -> Batch:
    """Each rollout token takes the advantage of a random rollout token."""
    tokens = _token_advantages(batch)
    place = _tokens(batch, expert=False)
    tokens[place] = rng.permutation(tokens[place])
    return _batch(batch, advantages=tokens)


def _permuted_sequences(batch: Batch, rng: np.random.Generator) -> Batch:
    """Each rollout takes the advantages of a random rollout; what it said stays."""
    tokens = _token_advantages(batch)
    rows = batch.rollout_rows
    # Rows differ in length: a sequence's advantage is one number, so its first token has it.
    first = tokens[rows, np.argmax(batch.response_mask[rows], axis=1)]
    tokens[rows] = rng.permutation(first)[:, None]
    return _batch(batch, advantages=tokens)


def _shuffled_phi(batch: Batch, rng: np.random.Generator) -> Batch:
    """Log-probabilities change places among the tokens of their branch, and phi with them."""
    logprob = np.array(batch.logprob)
    for expert in (True, False):
        place = _tokens(batch, expert=expert)
        logprob[place] = rng.permutation(logprob[place])
    return _batch(batch, logprob=logprob)


def _constant_advantages(batch: Batch, rng: np.random.Generator) -> Batch:
    return _batch(batch, advantages=np.where(batch.is_expert, 0.0, 1.0))


def _unchanged(batch: Batch, rng: np.random.Generator) -> Batch:
    return batch


FALSIFICATIONS: Mapping[str, Callable[[Batch, np.random.Generator], Batch]] = MappingProxyType(
    {
        "shuffled advantages": _shuffled_advantages,
        "permuted sequences": _permuted_sequences,
        "shuffled phi": _shuffled_phi,
        "constant advantages": _constant_advantages,
        "constant phi": _unchanged,
    }
)
"""What is destroyed, by name; the constant phi is a choice of the estimator's, not of the batch."""

_RANDOM = ("shuffled advantages", "permuted sequences", "shuffled phi")


def falsified(batch: Batch, rng: np.random.Generator, *, shuffles: int) -> FloatArray:
    """The four statistics under each falsification, [falsifications, shuffles, 4].

    A falsification without chance is computed once, and repeated.

    Examples:
        >>> batch = Batch([[-0.1], [-0.7], [-2.0]], [[1]] * 3, [0.0, 1.0, -1.0],
        ...               [True, False, False])
        >>> falsified(batch, np.random.default_rng(0), shuffles=2).shape
        (5, 2, 4)
    """
    out = np.empty((len(FALSIFICATIONS), shuffles, len(STATISTICS)))
    for index, (name, change) in enumerate(FALSIFICATIONS.items()):
        use_phi = name != "constant phi"
        for shuffle in range(shuffles if name in _RANDOM else 1):
            out[index, shuffle] = read_proxies(change(batch, rng), use_phi=use_phi)
        if name not in _RANDOM:
            out[index, 1:] = out[index, 0]
    return out


def _tokens(batch: Batch, *, expert: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray(batch.response_mask & (batch.is_expert == expert)[:, None])


def _token_advantages(batch: Batch) -> FloatArray:
    given = batch.advantages
    return np.array(np.broadcast_to(given if given.ndim == 2 else given[:, None], batch.shape))


def _batch(
    batch: Batch, *, logprob: FloatArray | None = None, advantages: FloatArray | None = None
) -> Batch:
    return Batch(
        batch.logprob if logprob is None else logprob,
        batch.response_mask,
        batch.advantages if advantages is None else advantages,
        batch.is_expert,
    )
