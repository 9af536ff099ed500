"""From one row a sequence to the three proxies of the batch."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gac_ref.config import GACConfig
from gac_ref.ports.jax.batch import Rows

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


def compared(config: GACConfig, is_expert: jax.Array) -> jax.Array:
    """The rows that the disagreement is taken over, [B]."""
    return jnp.ones_like(is_expert) if config.disagreement_rows == "all" else ~is_expert


def measures(config: GACConfig, tokens: jax.Array, rows: jax.Array) -> jax.Array:
    """Whether rows measure anything; "zero" counts one without a token as one of value 0."""
    return rows.any() if config.missing_branch == "zero" else ((tokens > 0) & rows).any()


def disagreement_rows(config: GACConfig, rows: Rows) -> tuple[jax.Array, jax.Array, jax.Array]:
    r"""Mean squared disagreement of each row, [B], and whether each stream is constant.

    With u = (1/sd_s, -1/sd_r) the mean of :math:`(z_s - z_r)^2` over a row is
    :math:`(u^\top S u + n (u^\top (m - M))^2) / (n + \epsilon)`: nothing is read twice.
    """
    chosen = compared(config, rows.is_expert)
    no = jnp.zeros((), bool)
    if config.coefficient_normalization == "none":
        return jnp.where(chosen, rows.difference, 0.0), no, no
    dtype = rows.mean_s.dtype
    weight = jnp.where(chosen, rows.tokens, 0).astype(dtype)
    count = jnp.maximum(weight.sum(), 1)

    def centre(mean: jax.Array, scatter: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        pooled = (weight * jnp.where(chosen, mean, 0.0)).sum() / count
        offset = mean - pooled
        spread2 = jnp.where(chosen, scatter + weight * offset**2, 0.0).sum() / count
        spread = jnp.sqrt(spread2)
        ratio = SPREAD_RATIO[dtype.name]
        flat = jnp.isfinite(spread) & (spread <= ratio * jnp.hypot(pooled, spread))
        inverse = jnp.where(flat, 0.0, 1 / jnp.where(flat, 1.0, spread))
        return offset, inverse, flat & measures(config, rows.tokens, chosen)

    offset_s, u_s, constant_s = centre(rows.mean_s, rows.scatter_ss)
    offset_r, u_r, constant_r = centre(rows.mean_r, rows.scatter_rr)
    within = u_s**2 * rows.scatter_ss - 2 * u_s * u_r * rows.scatter_sr + u_r**2 * rows.scatter_rr
    total = within + rows.tokens * (u_s * offset_s - u_r * offset_r) ** 2
    denominator = rows.tokens + jnp.asarray(config.mask_eps, dtype)
    mean = total / jnp.where(denominator == 0, 1, denominator)
    return jnp.where(chosen, mean, 0.0), constant_s, constant_r


def proxies(
    config: GACConfig,
    *,
    tokens: jax.Array,
    nll: jax.Array,
    advantage: jax.Array,
    disagreement: jax.Array,
    is_expert: jax.Array,
) -> Proxies:
    """The three proxies from one number a sequence, [B] each."""
    chosen = compared(config, is_expert)
    branches = (is_expert, ~is_expert, chosen)
    has_s, has_r, has_delta = (measures(config, tokens, rows) for rows in branches)
    sigma_s2 = _trimmed_variance(config, nll, is_expert)
    sigma_r2 = _variance(advantage, ~is_expert)
    delta_g2 = jnp.where(chosen, disagreement, 0.0).sum() / jnp.maximum(chosen.sum(), 1)
    eps = jnp.asarray(config.eps, nll.dtype)
    return Proxies(
        jnp.where(has_s, jnp.maximum(sigma_s2, eps), 0.0),
        jnp.where(has_r, jnp.maximum(sigma_r2, eps), 0.0),
        jnp.where(has_delta, delta_g2, 0.0),
        has_s,
        has_r,
        has_delta,
        has_s & (sigma_s2 < eps),
        has_r & (sigma_r2 < eps),
    )


def _variance(values: jax.Array, rows: jax.Array) -> jax.Array:
    """Population variance of the values of the chosen rows, from centred squares."""
    count = jnp.maximum(rows.sum(), 1)
    mean = jnp.where(rows, values, 0.0).sum() / count
    return jnp.where(rows, (values - mean) ** 2, 0.0).sum() / count


def _trimmed_variance(config: GACConfig, values: jax.Array, rows: jax.Array) -> jax.Array:
    # int(n * ratio) for each n that can occur, taken in float64 whatever the mode.
    size = rows.shape[0]
    cuts = np.array([int(n * config.trim_ratio) if n >= 4 else 0 for n in range(size + 1)])
    n = rows.sum()
    k = jnp.asarray(cuts)[n]
    # A NaN among the values sorts after the infinities that stand for the other rows, so these
    # must not count by their place: the order is of rows first.
    order = jnp.lexsort((values, ~rows))
    place = jnp.arange(size)
    return _variance(values[order], (place >= k) & (place < n - k))


def kl_of(config: GACConfig, rows: Rows, given: jax.Array | None, estimated: bool) -> jax.Array:
    """KL on the rollouts: as given, or the mean of the k3 estimate; NaN where unknown."""
    count = jnp.where(rows.is_expert, 0, rows.tokens).sum()
    nan = jnp.asarray(jnp.nan, rows.kl_sum.dtype)
    if config.alpha_mode != "kl" or (given is None and not estimated):
        return nan
    value = rows.kl_sum.sum() / jnp.maximum(count, 1) if given is None else given
    return jnp.where(count > 0, value, nan)
