"""The JAX port: its values, its transformations, and that nothing is compiled step by step."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("jax", reason="JAX is not installed")

CASES = (
    "step/documented",
    "step/released",
    "step/decoupled",
)
"""Each whole step of another shape is compiled for some seconds; the rest is the suite's."""

SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from functools import partial
from jax.sharding import Mesh, PartitionSpec as P
from gac_ref.config import GACConfig
from gac_ref.ports.jax import Batch, init, update

rng = np.random.default_rng(0)
B, T = 12, 7
arrays = (
    jnp.asarray(-rng.exponential(size=(B, T)), jnp.float32),
    jnp.asarray(rng.random((B, T)) < 0.8),
    jnp.asarray(rng.normal(size=(B, T)), jnp.float32),
    jnp.arange(B) % 5 == 0,
)
config = GACConfig(mu_update_freq=1, mu_change_cap=1.0, prior="none", weight_ema="off")
state = init(config)
alone = update(config, state, Batch(*arrays), 3)[1]["mu"]

traces = []
def sharded(arrays, step):
    traces.append(1)
    _, info = update(config, state, Batch(*arrays), step, axis_name="ranks")
    return info["mu"][None]

mesh = Mesh(np.array(jax.devices()), ("ranks",))
ranks = jax.jit(
    jax.shard_map(sharded, mesh=mesh, in_specs=(P("ranks"), P()), out_specs=P("ranks"))
)
for step in (3, 4, 5):
    mu = np.asarray(ranks(arrays, step))
assert len(jax.devices()) == 4 and mu.shape == (4,)
assert len(traces) == 1, f"traced {len(traces)} times"
mu = np.asarray(ranks(arrays, 3))
assert (mu == mu[0]).all(), mu
assert abs(mu[0] - alone) <= 4 * np.finfo(np.float32).eps, (mu[0], alone)

stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(init(config) for _ in range(3)))
many = Batch(*(jnp.stack([a] * 3) for a in arrays))
batched = jax.vmap(partial(update, config), in_axes=(0, 0, None))(stacked, many, 3)[1]["mu"]
assert np.allclose(batched, alone, rtol=4 * np.finfo(np.float32).eps), (batched, alone)
"""


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["adapter", "adapter_x64"])
def test_whole_steps_and_single_stages_pass(adapter: str) -> None:
    from gac_ref.conformance.adapters import open_port
    from gac_ref.conformance.check import run_check

    spec = f"gac_ref.ports.jax:{adapter}"
    with open_port(spec, timeout=120.0) as port:
        for wanted in ({"ids": CASES}, {"stages": ["closed_form", "change_cap", "clip", "alpha"]}):
            report = run_check(port, spec=spec, dtype="fp32", minimum=1, **wanted)  # type: ignore[arg-type]
            assert report.verdict == "ok", report.headline


@pytest.mark.slow
def test_ranks_and_trajectories_agree_with_one_device_and_steps_share_one_trace() -> None:
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
