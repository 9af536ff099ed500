"""Faults planted in the source text of the JAX port, and what the suite says of each.

Those of `SHARDED` show only where a batch is split over devices, which the suite's calls do not
do: the port's own tests run these under ``shard_map``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gac_ref.conformance.port import Port
from gac_ref.conformance.power.planted import Plant, PlantedFault, planted

__all__ = ["FAULTS", "PLANT", "PLANT_X64", "SHARDED", "planted_port"]

PLANT = Plant("jax", "gac_ref.ports.jax:adapter", ("ports/jax",))
"""The port in 32-bit mode."""

PLANT_X64 = Plant("jax, 64-bit mode", "gac_ref.ports.jax:adapter_x64", ("ports/jax",))
"""For the faults that are seen in float64 only."""

_HALF = ("fp16", "bf16")


def _rows(stage: str, file: str, *rows: tuple[str, str, str]) -> tuple[PlantedFault, ...]:
    return tuple(
        PlantedFault(name, stage, f"ports/jax/{file}.py", old, new, ("fp32", "fp16", "bf16"))
        for name, old, new in rows
    )


FAULTS: tuple[PlantedFault, ...] = (
    *_rows(
        "coefficients",
        "batch",
        ("phi with the sign lost", "-(p * (1 - p))", "p * (1 - p)"),
        ("phi of p squared", "-(p * (1 - p))", "-(p * (1 - p * p))"),
        ("SFT coefficient of the wrong sign without phi", "jnp.asarray(-1, dtype)",
         "jnp.asarray(1, dtype)"),
        ("RL coefficient with the sign lost", "jnp.where(expert, 0.0, -_advantages(batch))",
         "jnp.where(expert, 0.0, _advantages(batch))"),
        ("experts keep their advantages", "jnp.where(expert, 0.0, -_advantages(batch))",
         "-_advantages(batch)"),
    ),
    *_rows(
        "sequences",
        "batch",
        ("padded rows are rollouts", "~expert & present", "~expert"),
        ("masked positions counted", "tokens = mask.sum(axis=-1)",
         "tokens = jnp.ones_like(mask).sum(axis=-1)"),
        ("where for multiply", "dropped = jnp.where(config.multiplies, values * 0, 0)",
         "dropped = 0.0"),
        ("multiply for where", "dropped = jnp.where(config.multiplies, values * 0, 0)",
         "dropped = values * 0"),
        ("row mean over the width", "count = jnp.maximum(tokens, 1).astype(dtype)",
         "count = jnp.asarray(mask.shape[1], dtype)"),
        ("masked mean off by one", "tokens.astype(dtype) + config.mask_eps.astype(dtype)",
         "tokens.astype(dtype) + 1"),
        ("raw second moments", "sft - mean_s[:, None], rl - mean_r[:, None]", "sft, rl"),
        ("NLL without its minus", "-batch.logprob.astype(dtype), -rl)",
         "batch.logprob.astype(dtype), -rl)"),
        ("KL of the other direction",
         "batch.ref_logprob.astype(dtype) - batch.logprob.astype(dtype)",
         "batch.logprob.astype(dtype) - batch.ref_logprob.astype(dtype)"),
        ("KL without its linear term", "(jnp.expm1(d) - d)", "jnp.expm1(d)"),
    ),
    *_rows(
        "sequences",
        "proxies",
        ("spread with ddof 1", "count = jnp.maximum(weight.sum(), 1)",
         "count = jnp.maximum(weight.sum() - 1, 1)"),
        ("pooled mean by rows", "pooled = (weight * jnp.where(chosen, mean, 0)).sum() / count",
         "pooled = jnp.where(chosen, mean, 0).sum() / jnp.maximum(chosen.sum(), 1)"),
        ("cross term once", "- 2 * u_s * u_r", "- u_s * u_r"),
        ("offset of a row left out", "total = within + tokens *", "total = within + 0 * tokens *"),
        ("disagreement over the experts, too", "(config.compares_all_rows & is_expert)",
         "is_expert"),
        ("constant streams too readily found", '"float32": 2.0**-18', '"float32": 0.5'),
        ("KL over the experts, too", "tokens = jnp.where(rows.is_rollout, rows.tokens, 0)",
         "tokens = rows.tokens"),
        # The flags of the streams hang on it, too.
        ("a missing branch always measures nothing",
         "(rows & (config.missing_is_zero | (tokens > 0))).any()", "(rows & (tokens > 0)).any()"),
        ("KL of the first sequence alone", "value = jnp.where(rows.is_rollout, rows.kl, 0).sum()",
         "value = jnp.where(rows.is_rollout, rows.kl, 0)[0]"),
    ),
    *_rows(
        "proxies",
        "proxies",
        ("sample variance", "count = jnp.maximum(rows.sum(), 1).astype(values.dtype)",
         "count = jnp.maximum(rows.sum() - 1, 1).astype(values.dtype)"),
        ("trimming unsorted", "jnp.lexsort((values, ~rows))", "jnp.argsort(~rows)"),
        ("trimming on one side", "(place < n - k)", "(place < n)"),
        ("the other branch sorted in", "jnp.lexsort((values, ~rows))",
         "jnp.lexsort((~rows, values))"),
        ("floor of one variance left out", "jnp.maximum(sigma_r2, eps)", "sigma_r2"),
        ("mean over the padded shape", "jnp.maximum(chosen.sum(), 1)", "chosen.shape[0]"),
    ),
    *_rows(
        "proxies",
        "pytree",
        ("trimming rounds", "(n * config.trim_ratio).astype(np.int32)",
         "np.rint(n * config.trim_ratio).astype(np.int32)"),
        ("no trimming below eleven", "n >= 4", "n >= 11"),
    ),
    *_rows(
        "statistics_ema",
        "controller",
        ("seeded by zero", "        mean = jnp.where(count == 0, value, mean)\n", ""),
        ("refresh one step late", ">= config.mu_update_freq", "> config.mu_update_freq"),
        ("a stale static refresh", ">= config.mu_update_freq", ">= 10"),
        ("a missing branch always held", "(present | config.missing_is_zero)", "present"),
        ("a stale static beta", "mean = config.ema_beta * old", "mean = 0.99 * old"),
    ),
    *_rows(
        "alpha",
        "controller",
        ("KL gain of the wrong sign", "(1.0 + config.kl_gain * error)",
         "(1.0 - config.kl_gain * error)"),
        ("KL error not clipped", "jnp.clip(kl / config.kl_target - 1.0, -ERROR_CLIP, ERROR_CLIP)",
         "kl / config.kl_target - 1.0"),
        ("static alpha driven, too", "known = config.kl_driven &", "known ="),
    ),
    *_rows(
        "closed_form",
        "controller",
        ("SFT noise on top", "target * d + r, d + s + r", "target * d + s, d + s + r"),
        ("eps always in the denominator", "jnp.where(config.flat_is_alpha, 0.0, config.eps)",
         "config.eps"),
        ("a cap of 0 caps", "(delta > limit) & (config.delta_g2_cap_ratio > 0)", "delta > limit"),
    ),
    *_rows(
        "weight_ema",
        "controller",
        ("weight EMA always of its own state",
         "previous = jnp.where(config.ema_internal, mu_ada, mu)", "previous = mu_ada"),
        ("weight EMA moves while held",
         "    value = jnp.where(config.unseen_is_held & not_ready, previous, value)\n", ""),
    ),
    *_rows(
        "prior_blend",
        "controller",
        ("half a cosine too slow", "math.pi * ((t", "0.5 * math.pi * ((t"),
        ("weights of the blend exchanged",
         "config.blend_rest * prior + config.blend_weight * mu_ada",
         "config.blend_weight * prior + config.blend_rest * mu_ada"),
        ("a prior that is not there", "jnp.where(config.has_prior, blend, mu_ada)", "blend"),
    ),
    *_rows(
        "change_cap",
        "controller",
        ("cap of the wrong sign", "mu + jnp.copysign(", "mu - jnp.copysign("),
        ("a stale static cap", "jnp.abs(change) > config.mu_change_cap", "jnp.abs(change) > 0.01"),
    ),
    *_rows(
        "clip",
        "controller",
        ("upper bound of one", '"mu": jnp.clip(value, config.mu_min, config.mu_max)',
         '"mu": jnp.clip(value, config.mu_min, 1.0)'),
    ),
    *_rows(
        "wiring",
        "controller",
        ("clipped before the cap", 'change_cap(config, blend["mu_candidate"], state.mu)',
         'change_cap(config, clip(config, blend["mu_candidate"])["mu"], state.mu)'),
        ("change capped against the weight EMA",
         'change_cap(config, blend["mu_candidate"], state.mu)',
         'change_cap(config, blend["mu_candidate"], state.mu_ada)'),
        ("alpha of the last step", 'smooth["delta_g2"], target["alpha"]',
         'smooth["delta_g2"], state.alpha'),
    ),
    *_rows(
        "state",
        "controller",
        ("weight EMA not kept", '        mu_ada=ada["mu_ada"].astype(state.mu.dtype),\n', ""),
        ("alpha not kept", '        alpha=target["alpha"].astype(state.mu.dtype),\n', ""),
        ("mu before its bounds kept", 'mu=applied["mu"].astype(state.mu.dtype)',
         'mu=capped["mu_capped"].astype(state.mu.dtype)'),
    ),
    PlantedFault(
        "exponential not widened", "coefficients", "ports/jax/batch.py",
        "jnp.exp(batch.logprob.astype(dtype))", "jnp.exp(batch.logprob).astype(dtype)",
        ("fp16",), "XLA keeps the excess precision of bfloat16: the same bits; the others are wide",
    ),
    PlantedFault(
        "sums in the tokens' format", "sequences", "ports/jax/batch.py",
        "jnp.where(mask, values, dropped).sum(axis=-1)",
        "jnp.where(mask, values, dropped).astype(batch.logprob.dtype).sum(axis=-1).astype(dtype)",
        _HALF, "the others are as wide as their arithmetic",
    ),
    PlantedFault(
        "mask cast to the tokens' format", "sequences", "ports/jax/batch.py",
        "tokens = mask.sum(axis=-1)",
        "tokens = mask.astype(batch.logprob.dtype).sum(axis=-1).astype(int)",
        ("bf16",), "the others count further than the pack's widest row",
    ),
    PlantedFault(
        "64-bit mode silently off", "transport", "ports/jax/port.py",
        "jax.enable_x64(self._wide)", "jax.enable_x64(False)",
        ("fp64",), "the others fit into 32 bits",
    ),
    PlantedFault(
        "float64 tokens in float32", "coefficients", "ports/jax/batch.py",
        "jnp.promote_types(batch.logprob.dtype, jnp.float32)", "jnp.dtype(jnp.float32)",
        ("fp64",), "the others are computed in float32",
    ),
)  # fmt: skip
"""Each with the stage that a check should name."""

SHARDED: tuple[PlantedFault, ...] = (
    *_rows(
        "ranks",
        "controller",
        ("statistics of each shard", "    if axis_name is not None:\n", "    if False:\n"),
        ("mean over the ranks", "jax.lax.all_gather(table, axis_name, tiled=True)",
         "jax.lax.pmean(table, axis_name)"),
        ("sum over the ranks", "jax.lax.all_gather(table, axis_name, tiled=True)",
         "jax.lax.psum(table, axis_name)"),
        ("exchange in bfloat16", "column.astype(dtype) for column in rows",
         "column.astype(jnp.bfloat16) for column in rows"),
    ),
    *_rows(
        "ranks",
        "proxies",
        ("KL of the first rank", "value = first + jnp", "value = first + 0 * jnp"),
    ),
)  # fmt: skip
"""Seen only over several devices."""


@contextmanager
def planted_port(fault: PlantedFault | None) -> Iterator[Port]:
    """The port with that fault, in 64-bit mode where the fault is seen in float64 alone."""
    wide = fault is not None and fault.dtypes == ("fp64",)
    with planted(PLANT_X64 if wide else PLANT, fault) as port:
        yield port
