"""The batch, rows that only fill its shape, and the only pass over its tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gac_ref.errors import fail
from gac_ref.ports.jax.pytree import Settings

__all__ = ["Batch", "Rows", "coefficients", "padded", "require_batch", "row_statistics"]


class Batch(NamedTuple):
    """One training batch, a pytree.

    Args:
        logprob: Log-probability of each token, [B, T], nats; float64, float32, float16, bfloat16.
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1.
        advantages: [B, T] or one a sequence [B].
        is_expert: True for a demonstration, [B], boolean or 0/1.
        ref_logprob: Reference log-probability, [B, T], or None.
        kl: KL to the reference policy on the rollouts, nats a token, or None.
        is_row: False for a row that only fills the shape, [B]; None if there is none.
    """

    logprob: jax.Array
    response_mask: jax.Array
    advantages: jax.Array
    is_expert: jax.Array
    ref_logprob: jax.Array | None = None
    kl: jax.Array | None = None
    is_row: jax.Array | None = None


class Rows(NamedTuple):
    """What a batch comes to, one row a sequence, [B] each: all that ranks need to exchange.

    Args:
        is_expert: True for a demonstration.
        is_rollout: True for a rollout; a row that only fills the shape is neither.
        tokens: Response tokens.
        signal: Masked mean NLL of a demonstration, masked mean advantage of a rollout.
        mean_s: Plain mean of the SFT coefficients over the response tokens.
        mean_r: The same of the RL coefficients.
        scatter_ss: Sum of squared deviations of the SFT coefficients from `mean_s`.
        scatter_sr: The cross products.
        scatter_rr: The squares of the RL coefficients.
        difference: Masked mean of the squared difference of the two.
        kl: The KL that came with the batch, or the sum of its k3 estimate over the response tokens.
        refused: A response token holds what no log-probability or advantage is, or a mask or flag
            is neither 0 nor 1.
    """

    is_expert: jax.Array
    is_rollout: jax.Array
    tokens: jax.Array
    signal: jax.Array
    mean_s: jax.Array
    mean_r: jax.Array
    scatter_ss: jax.Array
    scatter_sr: jax.Array
    scatter_rr: jax.Array
    difference: jax.Array
    kl: jax.Array
    refused: jax.Array


def padded(batch: Batch, rows: int, tokens: int) -> Batch:
    """The same batch in a larger shape [rows, tokens], so that few shapes are ever compiled.

    What is added is zero and belongs to no sequence: its mask is False, its `is_row` is False.
    Counts, flags and order statistics are those of the batch, since they are taken over what is
    selected. A sum gains terms that are exactly 0, which change no partial sum whatever the
    order; only the order itself, which XLA chooses by the shape, may differ between two shapes.

    Args:
        batch: Any batch.
        rows: At least its B.
        tokens: At least its T.

    Raises:
        GACError: The batch is larger.

    Examples:
        >>> batch = Batch(jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.ones(1), jnp.ones(1))
        >>> wide = padded(batch, 3, 4)
        >>> wide.logprob.shape, wide.is_row.tolist()
        ((3, 4), [True, False, False])
    """
    b, t = batch.logprob.shape
    if b > rows or t > tokens:
        fail(f"the batch is [{b}, {t}], larger than [{rows}, {tokens}]; pass a larger shape")
    present = np.ones(b, bool) if batch.is_row is None else batch.is_row

    def wider(values: Any) -> Any:
        if np.ndim(values) == 0:
            return values
        added = ((0, rows - b), (0, tokens - t))[: values.ndim]
        # On the host where the batch still is: each shape would be a program for the device.
        return np.pad(values, added) if isinstance(values, np.ndarray) else jnp.pad(values, added)

    return Batch(*(wider(values) for values in batch._replace(is_row=present)))


def require_batch(batch: Batch) -> None:
    """Refuse, while it is traced, a batch whose shapes and dtypes are no batch's.

    Raises:
        GACError: It names the field.
    """
    shape = batch.logprob.shape
    if len(shape) != 2:
        fail(f"logprob has shape {shape}; pass [B, T]")
    row = shape[:1]
    allowed = {
        "logprob": (shape,),
        "response_mask": (shape,),
        "advantages": (shape, row),
        "is_expert": (row,),
        "ref_logprob": (shape,),
        "kl": ((),),
        "is_row": (row,),
    }
    for name, shapes in allowed.items():
        value = getattr(batch, name)
        if value is not None and jnp.shape(value) not in shapes:
            wanted = " or ".join(map(str, shapes))
            fail(f"{name} has shape {jnp.shape(value)} where logprob has {shape}; pass {wanted}")
    for name in ("logprob", "advantages", "ref_logprob"):
        value = getattr(batch, name)
        if value is not None and not jnp.issubdtype(value.dtype, jnp.floating):
            fail(f"{name} has dtype {value.dtype}; pass floating-point numbers")


def compute_dtype(batch: Batch) -> jnp.dtype:
    """The format of the arithmetic: float64 for float64 tokens, else float32."""
    return jnp.promote_types(batch.logprob.dtype, jnp.float32)


def coefficients(config: Settings, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The two coefficient streams, [B, T]: -phi(p) or -1, and -A, 0 on expert rows."""
    dtype = compute_dtype(batch)
    p = jnp.exp(batch.logprob.astype(dtype))
    sft = jnp.where(config.use_phi, -(p * (1 - p)), jnp.asarray(-1, dtype))
    expert = batch.is_expert.astype(bool)[:, None]
    return sft, jnp.where(expert, 0.0, -_advantages(batch))


def row_statistics(
    config: Settings, batch: Batch, streams: tuple[jax.Array, jax.Array] | None = None
) -> Rows:
    """The statistics of each sequence, from widened tokens and centred sums."""
    sft, rl = coefficients(config, batch) if streams is None else streams
    dtype = sft.dtype
    mask, expert = batch.response_mask.astype(bool), batch.is_expert.astype(bool)
    present = jnp.ones_like(expert) if batch.is_row is None else batch.is_row.astype(bool)
    mask &= present[:, None]
    tokens = mask.sum(axis=-1)

    def total(values: jax.Array) -> jax.Array:
        # Selected before anything else is done to them: what lies in the padding is never read,
        # unless the configuration asks for the released product. XLA makes a selection of a
        # product with a mask, so the product is written with 0, which stays one.
        dropped = jnp.where(config.multiplies, values * 0, 0)
        return jnp.where(mask, values, dropped).sum(axis=-1)

    def over_count(values: jax.Array) -> jax.Array:
        denominator = tokens.astype(dtype) + config.mask_eps.astype(dtype)
        return values / jnp.where(denominator == 0, 1, denominator)

    count = jnp.maximum(tokens, 1).astype(dtype)
    mean_s, mean_r = total(sft) / count, total(rl) / count
    off_s, off_r = sft - mean_s[:, None], rl - mean_r[:, None]
    signal = jnp.where(expert[:, None], -batch.logprob.astype(dtype), -rl)
    return Rows(
        is_expert=expert & present,
        is_rollout=~expert & present,
        tokens=tokens,
        signal=over_count(total(signal)),
        mean_s=mean_s,
        mean_r=mean_r,
        scatter_ss=total(off_s**2),
        scatter_sr=total(off_s * off_r),
        scatter_rr=total(off_r**2),
        difference=over_count(total((sft - rl) ** 2)),
        kl=_kl(batch, mask, dtype),
        refused=_refused(config, batch, mask) & present,
    )


def _advantages(batch: Batch) -> jax.Array:
    values = batch.advantages.astype(compute_dtype(batch))
    values = values if values.ndim == 2 else values[:, None]
    return jnp.broadcast_to(values, batch.logprob.shape)


def _kl(batch: Batch, mask: jax.Array, dtype: jnp.dtype) -> jax.Array:
    if batch.kl is not None:
        return jnp.full(mask.shape[0], batch.kl, dtype)
    if batch.ref_logprob is None:
        return jnp.zeros(mask.shape[0], dtype)
    d = jnp.where(mask, batch.ref_logprob.astype(dtype) - batch.logprob.astype(dtype), 0)
    return (jnp.expm1(d) - d).sum(axis=-1)


def _refused(config: Settings, batch: Batch, mask: jax.Array) -> jax.Array:
    """Rows that hold what they must not, where it is read; a jitted function cannot raise."""
    rollout = ~batch.is_expert.astype(bool)[:, None]
    bad = ~_is_logprob(batch.logprob) | (rollout & ~jnp.isfinite(_advantages(batch)))
    if batch.kl is None and batch.ref_logprob is not None:
        bad |= config.kl_driven & rollout & ~_is_logprob(batch.ref_logprob)
    odd = (mask & bad) | _neither(batch.response_mask)
    return odd.any(axis=-1) | _neither(batch.is_expert)


def _is_logprob(values: jax.Array) -> jax.Array:
    return jnp.isfinite(values) & (values <= 0)


def _neither(flags: jax.Array) -> jax.Array:
    return (flags != 0) & (flags != 1)
