"""The JAX port under jit, vmap and shard_map, in a process with four host devices of its own.

Run as a program: with "x64" as its argument in 64-bit mode. It prints one JSON object, from the
name of each property to "" or what was wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

# Shapes recur on purpose: nine tenths of the time goes into compiling one more of them.
DEVICES = 4
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import Mesh  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

from gac_ref.config import GACConfig  # noqa: E402
from gac_ref.errors import GACError  # noqa: E402
from gac_ref.ports.jax import Batch, init, padded, settings, update  # noqa: E402

SUMS = 32  # epsilons of float32: another order of sums of some ten terms of one size, squared once
CONFIGS = (
    GACConfig(mu_update_freq=1, mu_change_cap=1.0),
    GACConfig.released(mu_update_freq=1, mu_change_cap=0.3),
    GACConfig.decoupled(trim_ratio=0.3, alpha_mode="kl", ema_beta=0.5, mu_update_freq=2),
    GACConfig(prior="none", weight_ema="off", use_phi=False, mu_change_cap=1.0, mu_update_freq=1),
)
OPEN = GACConfig(
    mu_update_freq=1, mu_change_cap=1.0, prior="none", weight_ema="off", alpha_mode="kl",
    mu_min=0.0, mu_max=1.0,
)  # fmt: skip
"""Nothing between the statistics and mu."""


def some_batch(rows: int, width: int, seed: int = 0, **more: Any) -> Batch:
    """Finite tokens everywhere; every third row is a demonstration."""
    rng = np.random.default_rng(seed)
    values = {
        "logprob": -rng.exponential(size=(rows, width)),
        "advantages": rng.normal(size=(rows, width)),
        "ref_logprob": -rng.exponential(size=(rows, width)),
    }
    arrays = {name: value.astype(np.float32) for name, value in values.items()}
    mask = np.arange(width) < rng.integers(1, width + 1, (rows, 1))
    return Batch(**{**arrays, **more}, response_mask=mask, is_expert=np.arange(rows) % 3 == 0)


def same(one: Any, other: Any, *, epsilons: float = 0.0) -> None:
    """Two trees agree: flags and counts always to the bit, numbers within so many epsilons."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), (path, a.dtype, b.dtype, a.shape, b.shape)
        equal = (a == b) | ((a != a) & (b != b))
        if a.dtype.kind == "f" and epsilons:
            equal |= np.abs(a - b) <= epsilons * np.finfo(np.float32).eps * np.maximum(abs(a), 1)
        assert equal.all(), (jax.tree_util.keystr(path), a.ravel()[:3], b.ravel()[:3])


def cut(info: Any, rows: int, width: int) -> Any:
    """The outputs of a padded batch without its padding."""
    return jax.tree.map(lambda x: x[tuple(map(slice, (rows, width)[: x.ndim]))], info)


def padding_changes_nothing_but_the_order_of_additions() -> None:
    """Flags and counts to the bit in any shape; numbers to the bit however one shape is filled."""
    step = jax.jit(update)
    for config in CONFIGS:
        made, state = settings(config), init(config)
        for rows, width in ((11, 5), (13, 33)):
            batch = some_batch(rows, width)
            whole = step(made, state, padded(batch, 32, 64), 3)
            alone = step(made, state, batch, 3)
            same((whole[0], cut(whole[1], rows, width)), alone, epsilons=SUMS)
            again = padded(padded(batch, rows + 2, width + 3), 32, 64)
            same(step(made, state, again, 3), whole)


def what_lies_in_the_padding_is_never_read() -> None:
    """Masked positions and filling rows may hold anything where they are selected away."""
    made, state, batch = settings(OPEN), init(OPEN), padded(some_batch(11, 5), 32, 64)
    expected = jax.jit(update)(made, state, batch, 3)
    outside = ~batch.response_mask
    for value in (np.nan, np.inf, -np.inf, 7.0):
        spoilt = {
            name: np.where(outside, np.float32(value), getattr(batch, name))
            for name in ("logprob", "advantages", "ref_logprob")
        }
        found = jax.jit(update)(made, state, batch._replace(**spoilt), 3)
        drop = dict.fromkeys(("c_s", "c_r"), 0)
        same((found[0], {**found[1], **drop}), (expected[0], {**expected[1], **drop}))


def one_advantage_a_sequence_is_that_advantage_at_every_token() -> None:
    """[B] and [B, T], to the bit."""
    batch = some_batch(11, 5)
    once = batch.advantages[:, 0]
    spread = np.repeat(once[:, None], 5, axis=1)
    for config in CONFIGS:
        one, many = (
            jax.jit(update)(settings(config), init(config), batch._replace(advantages=a), 3)
            for a in (once, spread)
        )
        same(one, many)


def vmap_over_trajectories_is_each_alone() -> None:
    """States, batches and steps of their own."""
    config = settings(CONFIGS[0])
    batches = [some_batch(9, 7, seed) for seed in range(3)]
    states = [init(CONFIGS[0])._replace(mu=jnp.asarray(0.2 * k, float)) for k in range(1, 4)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
    many = jax.jit(jax.vmap(update, in_axes=(None, 0, 0, 0)))
    steps = np.array([3, 300, 1200], np.int32)
    for _ in range(2):
        found = many(config, stacked, jax.tree.map(lambda *x: np.stack(x), *batches), steps)
        alone = [
            jax.jit(update)(config, s, b, int(n))
            for s, b, n in zip(states, batches, steps, strict=True)
        ]
        same(found, jax.tree.map(lambda *x: jnp.stack(x), *alone), epsilons=SUMS)
        stacked, states, steps = found[0], [a[0] for a in alone], steps + 1


def vmap_over_configurations_is_each_alone() -> None:
    """Every choice and number is an array: variants run side by side."""
    batch = some_batch(9, 7)
    together = jax.tree.map(lambda *x: jnp.stack(x), *map(settings, CONFIGS))
    states = jax.vmap(init)(together)
    found = jax.jit(jax.vmap(update, in_axes=(0, 0, None, None)))(together, states, batch, 3)
    alone = [jax.jit(update)(settings(c), init(c), batch, 3) for c in CONFIGS]
    same(found, jax.tree.map(lambda *x: jnp.stack(x), *alone), epsilons=SUMS)


def _rank(made: Any, state: Any, batch: Batch, step: Any) -> Any:
    """One device's part; `kl` comes as one number a row, so that it is dealt like the rest."""
    if batch.kl is not None:
        batch = batch._replace(kl=batch.kl[0])
    state, info = update(made, state, batch, step, axis_name="ranks")
    scalars = {name: value[None] for name, value in info.items() if value.ndim == 0}
    return jax.tree.map(lambda x: x[None], state), scalars


_MESH = Mesh(np.array(jax.devices()), ("ranks",))
_SPECS = (P(), P(), P("ranks"), P())
_RANKS = jax.jit(jax.shard_map(_rank, mesh=_MESH, in_specs=_SPECS, out_specs=P("ranks")))


def every_rank_has_the_mu_of_the_whole_batch() -> None:
    """Uneven shares, ranks without a branch or without a sequence; to the bit among ranks."""
    for config in (*CONFIGS, OPEN):
        batch = some_batch(13, 33)
        expert = batch.is_expert
        deals = {
            "uneven": [[0, 1, 2, 3, 4, 5], [6, 7], [8], [9, 10, 11, 12]],
            "a branch each": [np.flatnonzero(expert), np.flatnonzero(~expert), [], []],
            "all on the last": [[], [], [], np.arange(13)],
        }
        scalars = jax.jit(update)(settings(config), init(config), batch, 3)
        for name, deal in deals.items():
            parts = [
                padded(jax.tree.map(lambda x, i=index: x[np.asarray(i, int)], batch), 13, 33)
                for index in deal
            ]
            split = jax.tree.map(lambda *x: np.concatenate(x), *parts)
            state, info = _RANKS(settings(config), init(config), split, 3)
            for rank in range(1, DEVICES):
                first, other = (jax.tree.map(lambda x, r=r: x[r], (state, info)) for r in (0, rank))
                same(other, first)
            alone = {key: scalars[1][key] for key in info}
            found = jax.tree.map(lambda x: x[0], (state, info))
            try:
                same(found, (scalars[0], alone), epsilons=SUMS)
            except AssertionError as error:
                raise AssertionError(f"{name}, {config.weight_ema}: {error}") from None


def the_kl_of_ranks_is_averaged_by_their_rollouts_tokens() -> None:
    """Each rank's own number; the same number everywhere is that number."""
    batch = some_batch(16, 7, ref_logprob=None)
    tokens = (batch.response_mask & ~batch.is_expert[:, None]).sum(axis=1).reshape(4, 4).sum(axis=1)
    given = np.array([0.01, 0.02, 0.03, 0.05], np.float32)
    made, state = settings(OPEN), init(OPEN)
    found = _RANKS(made, state, batch._replace(kl=np.repeat(given, 4)), 3)[1]["kl"]
    expected = (tokens * given).sum() / tokens.sum()
    assert abs(found - expected).max() <= 4 * np.finfo(np.float32).eps * expected, (found, expected)
    again = _RANKS(made, state, batch._replace(kl=np.full(16, 0.03, np.float32)), 3)[1]["kl"]
    assert (again == np.float32(0.03)).all(), again


def steps_states_and_configurations_share_one_trace() -> None:
    """Counted while tracing, from step to step, and from configuration to configuration."""
    traces = []

    def counted(*args: Any) -> Any:
        traces.append(1)
        return update(*args)

    run, batch = jax.jit(counted), some_batch(9, 7)
    for config in CONFIGS:
        state = init(config)
        for step in range(4):
            state, _ = run(settings(config), state, batch, step)
    assert len(traces) == 1, f"traced {len(traces)} times"
    constant = jax.jit(partial(counted, CONFIGS[0]))
    state = init(CONFIGS[0])
    for step in range(4):
        state, _ = constant(state, batch, step)
    assert len(traces) == 2, f"traced {len(traces)} times"


def numbers_have_the_width_of_the_mode() -> None:
    """float32 throughout with 64-bit mode off; in it a state and scalars of float64."""
    wide = jnp.result_type(float)
    assert wide == (jnp.float64 if "x64" in sys.argv else jnp.float32)
    config, batch = settings(OPEN), some_batch(9, 7)
    state, info = jax.jit(update)(config, init(OPEN), batch, 3)
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, init(OPEN))
    assert {info[n].dtype for n in ("mu", "mu_raw", "sigma_s2", "alpha", "prior")} == {wide}
    rows = {info[n].dtype for n in ("c_s", "nll", "disagreement", "proxy_sigma_s2")}
    assert rows == {np.dtype(np.float32)}, rows
    half = batch._replace(logprob=batch.logprob.astype(jnp.bfloat16))
    assert jax.jit(update)(config, init(OPEN), half, 3)[1]["nll"].dtype == np.float32


def a_bad_batch_makes_mu_nan_and_leaves_the_state() -> None:
    """And names the row; what is outside the mask is not looked at."""
    config, state, batch = settings(OPEN), init(OPEN), some_batch(9, 7)
    rollout = 4
    for name, value in (
        ("logprob", 0.25), ("logprob", np.nan), ("logprob", -np.inf), ("advantages", np.inf),
        ("ref_logprob", np.nan), ("response_mask", 2), ("is_expert", 3),
    ):  # fmt: skip
        array = getattr(batch, name)
        array = array.astype(np.float32) if array.dtype == bool else array.copy()
        array[(rollout, 0) if array.ndim == 2 else rollout] = value
        found, info = jax.jit(update)(config, state, batch._replace(**{name: array}), 3)
        assert np.flatnonzero(info["refused"]).tolist() == [rollout], (name, value)
        assert np.isnan(info["mu"]), (name, value)
        same(found, state)


def shapes_and_dtypes_that_are_no_batch_are_refused_by_name() -> None:
    """While tracing, before anything runs."""
    config, state, batch = settings(OPEN), init(OPEN), some_batch(9, 7)
    for name, array in (
        ("response_mask", batch.response_mask[:, 1:]), ("is_expert", batch.is_expert[None]),
        ("advantages", batch.advantages[:3]), ("logprob", batch.logprob[0]),
        ("kl", np.zeros(2, np.float32)), ("logprob", np.zeros((9, 7), np.int32)),
    ):  # fmt: skip
        said = refusal(config, state, batch._replace(**{name: array}))
        assert said.startswith(name), (name, said)
    assert "rows=9" in refusal(settings(OPEN, rows=8), state, batch)


def refusal(config: Any, state: Any, batch: Batch) -> str:
    """What a step says of a batch that it does not take; "" where it takes it."""
    try:
        jax.jit(update)(config, state, batch, 3)
    except GACError as error:
        return str(error)
    return ""


def no_rows_and_no_tokens_are_right_answers() -> None:
    """Nothing is measured, and the state's statistics stay."""
    for rows, width in ((0, 3), (4, 0), (0, 0)):
        empty = jax.tree.map(lambda x, r=rows, w=width: x[:r, :w] if x.ndim == 2 else x[:r],
                             some_batch(5, 5))  # fmt: skip
        state, info = jax.jit(update)(settings(OPEN), init(OPEN), empty, 3)
        assert not (info["has_s"] | info["has_r"] | info["has_delta"])
        assert (info["mu"], state.count_s) == (OPEN.init_mu, 0)


PROPERTIES: tuple[Callable[[], None], ...] = (
    padding_changes_nothing_but_the_order_of_additions,
    what_lies_in_the_padding_is_never_read,
    one_advantage_a_sequence_is_that_advantage_at_every_token,
    vmap_over_trajectories_is_each_alone,
    vmap_over_configurations_is_each_alone,
    every_rank_has_the_mu_of_the_whole_batch,
    the_kl_of_ranks_is_averaged_by_their_rollouts_tokens,
    steps_states_and_configurations_share_one_trace,
    numbers_have_the_width_of_the_mode,
    a_bad_batch_makes_mu_nan_and_leaves_the_state,
    shapes_and_dtypes_that_are_no_batch_are_refused_by_name,
    no_rows_and_no_tokens_are_right_answers,
)


def main() -> None:
    """Check all of them, or those named."""
    jax.config.update("jax_enable_x64", "x64" in sys.argv)
    found = {}
    for check in PROPERTIES:
        if "only" in sys.argv and check.__name__ not in sys.argv:
            continue
        try:
            check()
            print(check.__name__, "holds", file=sys.stderr, flush=True)
            found[check.__name__] = ""
        except Exception as error:
            found[check.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
