"""The batch, and the only pass over its tokens: one row of statistics a sequence."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gac_ref.config import GACConfig

__all__ = ["Batch", "Rows", "coefficients", "row_statistics"]


class Batch(NamedTuple):
    """One training batch, a pytree.

    Args:
        logprob: Log-probability of each token, [B, T], nats; float64, float32, float16, bfloat16.
        response_mask: Which positions are response tokens, [B, T], boolean or 0/1.
        advantages: [B, T] or one a sequence [B].
        is_expert: True for a demonstration, [B].
        ref_logprob: Reference log-probability, [B, T], or None.
        kl: KL to the reference policy on the rollouts, nats a token, or None.
    """

    logprob: jax.Array
    response_mask: jax.Array
    advantages: jax.Array
    is_expert: jax.Array
    ref_logprob: jax.Array | None = None
    kl: jax.Array | None = None


class Rows(NamedTuple):
    """What a batch comes to, one row a sequence, [B] each: all that ranks need to exchange.

    Args:
        is_expert: True for a demonstration.
        tokens: Response tokens.
        signal: Masked mean NLL of a demonstration, masked mean advantage of a rollout.
        mean_s: Plain mean of the SFT coefficients over the response tokens.
        mean_r: The same of the RL coefficients.
        scatter_ss: Sum of squared deviations of the SFT coefficients from `mean_s`.
        scatter_sr: The cross products.
        scatter_rr: The squares of the RL coefficients.
        difference: Masked mean of the squared difference of the two.
        kl_sum: Sum of the k3 estimate over the response tokens of a rollout.
    """

    is_expert: jax.Array
    tokens: jax.Array
    signal: jax.Array
    mean_s: jax.Array
    mean_r: jax.Array
    scatter_ss: jax.Array
    scatter_sr: jax.Array
    scatter_rr: jax.Array
    difference: jax.Array
    kl_sum: jax.Array


def compute_dtype(batch: Batch) -> jnp.dtype:
    """The format of the arithmetic: float64 for float64 tokens, else float32."""
    return jnp.promote_types(batch.logprob.dtype, jnp.float32)


def coefficients(config: GACConfig, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The two coefficient streams, [B, T]: -phi(p) or -1, and -A, 0 on expert rows."""
    dtype = compute_dtype(batch)
    logprob = batch.logprob.astype(dtype)
    p = jnp.exp(logprob)
    sft = -(p * (1 - p)) if config.use_phi else jnp.full(logprob.shape, -1.0, dtype)
    advantages = batch.advantages.astype(dtype)
    if advantages.ndim == 1:
        advantages = jnp.broadcast_to(advantages[:, None], logprob.shape)
    return sft, jnp.where(batch.is_expert[:, None], 0.0, -advantages)


def row_statistics(
    config: GACConfig, batch: Batch, streams: tuple[jax.Array, jax.Array] | None = None
) -> Rows:
    """The statistics of each sequence, from widened tokens and centred sums."""
    sft, rl = coefficients(config, batch) if streams is None else streams
    dtype = sft.dtype
    mask = batch.response_mask.astype(bool)
    expert = batch.is_expert.astype(bool)
    tokens = mask.sum(axis=-1)

    def total(values: jax.Array) -> jax.Array:
        # Selected before anything else is done to them: what lies in the padding is never read,
        # unless the configuration asks for the released product.
        # (XLA makes a selection of a product with a mask; the product with 0 stays one.)
        dropped = values * 0.0 if config.masking == "multiply" else 0.0
        kept = jnp.where(mask, values, dropped)
        return kept.sum(axis=-1)

    def over_count(values: jax.Array) -> jax.Array:
        denominator = tokens + jnp.asarray(config.mask_eps, dtype)
        return values / jnp.where(denominator == 0, 1, denominator)

    count = jnp.maximum(tokens, 1).astype(dtype)
    mean_s, mean_r = total(sft) / count, total(rl) / count
    off_s, off_r = sft - mean_s[:, None], rl - mean_r[:, None]
    signal = jnp.where(expert[:, None], -batch.logprob.astype(dtype), -rl)
    kl_sum = jnp.zeros(mask.shape[0], dtype)
    if batch.ref_logprob is not None:
        d = jnp.where(mask, batch.ref_logprob.astype(dtype) - batch.logprob.astype(dtype), 0.0)
        kl_sum = jnp.where(expert, 0.0, (jnp.expm1(d) - d).sum(axis=-1))
    return Rows(
        is_expert=expert,
        tokens=tokens,
        signal=over_count(total(signal)),
        mean_s=mean_s,
        mean_r=mean_r,
        scatter_ss=total(off_s**2),
        scatter_sr=total(off_s * off_r),
        scatter_rr=total(off_r**2),
        difference=over_count(total((sft - rl) ** 2)),
        kl_sum=kl_sum,
    )
