"""From one row a sequence to the three proxies of the batch."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gac_ref.errors import fail
from gac_ref.ports.jax.batch import Rows
from gac_ref.ports.jax.pytree import Settings

__all__ = ["Proxies", "disagreement_rows", "kl_of", "proxies"]

SPREAD_RATIO = {"float64": 2.0**-40, "float32": 2.0**-18}
"""A stream with less spread than this share of its size has none: the rest is rounding."""


class Proxies(NamedTuple):
    """The proxies of a batch, whether it measures each, and where the floor acted."""

    proxy_sigma_s2: jax.Array
    proxy_sigma_r2: jax.Array
    proxy_delta_g2: jax.Array
    has_s: jax.Array
    has_r: jax.Array
    has_delta: jax.Array
    sigma_s2_floored: jax.Array
    sigma_r2_floored: jax.Array


def compared(config: Settings, is_expert: jax.Array, is_rollout: jax.Array) -> jax.Array:
    """The rows that the disagreement is taken over, [B]."""
    return is_rollout | (config.compares_all_rows & is_expert)


def measures(config: Settings, tokens: jax.Array, rows: jax.Array) -> jax.Array:
    """Whether rows measure anything; "zero" counts one without a token as one of value 0."""
    return (rows & (config.missing_is_zero | (tokens > 0))).any()


def disagreement_rows(config: Settings, rows: Rows) -> tuple[jax.Array, jax.Array, jax.Array]:
    r"""Mean squared disagreement of each row, [B], and whether each stream is constant.

    With u = (1/sd_s, -1/sd_r) the mean of :math:`(z_s - z_r)^2` over a row is
    :math:`(u^\top S u + n (u^\top (m - M))^2) / (n + \epsilon)`: nothing is read twice.
    """
    chosen = compared(config, rows.is_expert, rows.is_rollout)
    dtype = rows.mean_s.dtype
    tokens = rows.tokens.astype(dtype)
    weight = jnp.where(chosen, tokens, 0)
    count = jnp.maximum(weight.sum(), 1)
    any_token = measures(config, rows.tokens, chosen)

    def centre(mean: jax.Array, scatter: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        pooled = (weight * jnp.where(chosen, mean, 0)).sum() / count
        offset = mean - pooled
        spread = jnp.sqrt(jnp.where(chosen, scatter + weight * offset**2, 0).sum() / count)
        ratio = SPREAD_RATIO[dtype.name]
        flat = jnp.isfinite(spread) & (spread <= ratio * jnp.hypot(pooled, spread))
        inverse = jnp.where(flat, 0, 1 / jnp.where(flat, 1, spread))
        return offset, inverse, config.zscore & flat & any_token

    offset_s, u_s, constant_s = centre(rows.mean_s, rows.scatter_ss)
    offset_r, u_r, constant_r = centre(rows.mean_r, rows.scatter_rr)
    within = u_s**2 * rows.scatter_ss - 2 * u_s * u_r * rows.scatter_sr + u_r**2 * rows.scatter_rr
    total = within + tokens * (u_s * offset_s - u_r * offset_r) ** 2
    denominator = tokens + config.mask_eps.astype(dtype)
    normalised = total / jnp.where(denominator == 0, 1, denominator)
    mean = jnp.where(config.zscore, normalised, rows.difference)
    return jnp.where(chosen, mean, 0), constant_s, constant_r


def proxies(
    config: Settings,
    *,
    tokens: jax.Array,
    nll: jax.Array,
    advantage: jax.Array,
    disagreement: jax.Array,
    is_expert: jax.Array,
    is_rollout: jax.Array,
) -> Proxies:
    """The three proxies from one number a sequence, [B] each."""
    chosen = compared(config, is_expert, is_rollout)
    has_s, has_r, has_delta = (
        measures(config, tokens, rows) for rows in (is_expert, is_rollout, chosen)
    )
    sigma_s2 = _trimmed_variance(config, nll, is_expert)
    sigma_r2 = _variance(advantage, is_rollout)
    delta_g2 = jnp.where(chosen, disagreement, 0).sum() / jnp.maximum(chosen.sum(), 1)
    eps = config.eps.astype(nll.dtype)
    return Proxies(
        jnp.where(has_s, jnp.maximum(sigma_s2, eps), 0),
        jnp.where(has_r, jnp.maximum(sigma_r2, eps), 0),
        jnp.where(has_delta, delta_g2, 0),
        has_s,
        has_r,
        has_delta,
        has_s & (sigma_s2 < eps),
        has_r & (sigma_r2 < eps),
    )


def _variance(values: jax.Array, rows: jax.Array) -> jax.Array:
    """Population variance of the values of the chosen rows, from centred squares."""
    count = jnp.maximum(rows.sum(), 1).astype(values.dtype)
    mean = jnp.where(rows, values, 0).sum() / count
    return jnp.where(rows, (values - mean) ** 2, 0).sum() / count


def _trimmed_variance(config: Settings, values: jax.Array, rows: jax.Array) -> jax.Array:
    size, reach = rows.shape[0], config.trim_cuts.shape[-1] - 1
    if size > reach:
        fail(f"a batch of {size} rows under settings for {reach}; pass settings(..., rows={size})")
    n = rows.sum()
    k = config.trim_cuts[n]
    # A NaN among the values sorts after the infinities that could stand for the other rows, so
    # these must not count by their place: the order is of rows first.
    order = jnp.lexsort((values, ~rows))
    place = jnp.arange(size)
    return _variance(values[order], (place >= k) & (place < n - k))


def kl_of(config: Settings, rows: Rows, *, given: bool, estimated: bool) -> jax.Array:
    """KL on the rollouts: as given, or the mean of the k3 estimate; NaN where unknown.

    What several ranks were given is averaged by their rollouts' tokens, about the first one's:
    where all were given the same number it is that number.
    """
    nan = jnp.asarray(jnp.nan, rows.kl.dtype)
    if rows.kl.shape[0] == 0 or not (given or estimated):
        return nan
    tokens = jnp.where(rows.is_rollout, rows.tokens, 0)
    count = tokens.sum()
    below = jnp.maximum(count, 1).astype(nan.dtype)
    if given:
        first = rows.kl[jnp.argmax(tokens > 0)]
        value = first + jnp.where(tokens > 0, tokens * (rows.kl - first), 0).sum() / below
    else:
        value = jnp.where(rows.is_rollout, rows.kl, 0).sum() / below
    return jnp.where(config.kl_driven & (count > 0), value, nan)
