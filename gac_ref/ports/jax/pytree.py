"""The configuration as a pytree of numbers and flags, so that one compilation serves them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gac_ref.config import GACConfig

__all__ = ["ROWS", "Settings", "settings"]

ROWS = 4096
"""Sequences of a batch, over all devices, that settings reach to unless told otherwise."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a step reads of a :class:`gac_ref.GACConfig`: a pytree, made by :func:`settings`.

    Every field is an array, so that a jitted step takes another configuration without another
    compilation, and ``vmap`` runs over several. What float32 could not hold is taken in float64
    beforehand: 1 - beta, of which float32 would keep five digits, and the integers at which
    n * trim_ratio is cut, a table over n.

    Choices are flags. A branch that is not taken costs a few scalar operations, or a selection in
    the pass over the tokens, which waits for memory anyway.
    """

    trim_cuts: jax.Array  # [rows + 1], for each number of demonstrations
    ema_beta: jax.Array
    ema_rest: jax.Array  # 1 - beta
    mu_min: jax.Array
    mu_max: jax.Array
    init_mu: jax.Array
    mu_change_cap: jax.Array
    blend_weight: jax.Array
    blend_rest: jax.Array  # 1 - lambda
    mu_update_freq: jax.Array
    alpha: jax.Array
    alpha_min: jax.Array
    alpha_max: jax.Array
    kl_target: jax.Array
    kl_gain: jax.Array
    eps: jax.Array
    mask_eps: jax.Array
    delta_g2_cap_ratio: jax.Array
    prior_warmup: jax.Array
    prior_decay: jax.Array
    prior_peak: jax.Array
    prior_valley: jax.Array
    use_phi: jax.Array
    zscore: jax.Array
    compares_all_rows: jax.Array
    ema_internal: jax.Array
    ema_off: jax.Array
    missing_is_zero: jax.Array
    unseen_is_held: jax.Array
    multiplies: jax.Array
    flat_is_alpha: jax.Array
    kl_driven: jax.Array
    has_prior: jax.Array


def settings(config: GACConfig | Settings, *, rows: int = ROWS) -> Settings:
    """The pytree of a configuration; one that is a pytree already is returned as it is.

    Numbers are float64 where 64-bit mode is on, else float32.

    Args:
        config: The configuration.
        rows: The most sequences of a batch, over all devices.

    Examples:
        >>> settings(GACConfig(ema_beta=0.75)).ema_rest.item()
        0.25
        >>> settings(GACConfig(trim_ratio=0.3), rows=11).trim_cuts.tolist()
        [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    """
    if isinstance(config, Settings):
        return config
    n = np.arange(rows + 1)
    cuts = np.where(n >= 4, (n * config.trim_ratio).astype(np.int32), np.int32(0))
    numbers: dict[str, Any] = {
        name: value
        for name, value in config.to_dict().items()
        if isinstance(value, float | int) and name not in ("trim_ratio", "use_phi")
    }
    flags = {
        "use_phi": config.use_phi,
        "zscore": config.coefficient_normalization == "zscore",
        "compares_all_rows": config.disagreement_rows == "all",
        "ema_internal": config.weight_ema == "internal",
        "ema_off": config.weight_ema == "off",
        "missing_is_zero": config.missing_branch == "zero",
        "unseen_is_held": config.unseen_statistic == "hold",
        "multiplies": config.masking == "multiply",
        "flat_is_alpha": config.flat_risk == "alpha",
        "kl_driven": config.alpha_mode == "kl",
        "has_prior": config.prior != "none",
    }
    numbers |= {"ema_rest": 1.0 - config.ema_beta, "blend_rest": 1.0 - config.blend_weight}
    arrays = {name: np.asarray(v, _kind(v)) for name, v in {**numbers, **flags}.items()}
    return jax.device_put(Settings(trim_cuts=cuts, **arrays))  # type: ignore[no-any-return]


def _kind(value: Any) -> Any:
    if isinstance(value, bool):
        return np.bool_
    return np.int32 if isinstance(value, int) else jnp.result_type(float)
