"""How much is done: all of it on a GPU; the same on the CPU, small enough for a test."""

from __future__ import annotations

from typing import NamedTuple


class Model(NamedTuple):
    """A decoder-only transformer, whose forward and backward pass stands for a training step."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    tokens: int  # of the one sequence that is timed


class Plan(NamedTuple):
    """Sizes; `device` is what torch and the CUDA library call it, `jax_device` what JAX does."""

    device: str
    jax_device: str
    build: str
    sanitized: str
    stages: tuple[str, ...]  # checked; none for all
    repeated: tuple[int, int]  # B, T of the determinism checks
    measured: tuple[int, int]  # B, T of the fused pass
    copied: int  # bytes
    ring: int  # bytes that the measured batches have together, at least
    calls: int  # between two readings of the clock
    rounds: int  # of which the fastest counts
    model: Model


RUNS = 20
BLOCKS = (32, 64, 96, 128, 256, 320, 512, 1024)
BANDWIDTH_GOAL = 0.8
SHARE_GOAL = 0.001

GPU = Plan(
    device="cuda",
    jax_device="gpu",
    build="device",
    sanitized="device",
    stages=(),
    repeated=(256, 1024),
    measured=(1024, 8192),
    copied=2**30,
    ring=2**30,  # beyond any second-level cache, so that every pass comes from memory
    calls=200,
    rounds=7,
    model=Model(layers=16, width=2048, heads=16, vocabulary=32_768, tokens=8192),
)

CPU = Plan(
    device="cpu",
    jax_device="cpu",
    build="host",
    sanitized="sanitized",
    stages=("proxies", "closed_form"),
    repeated=(5, 40),
    measured=(6, 64),
    copied=2**16,
    ring=2**14,
    calls=2,
    rounds=2,
    model=Model(layers=1, width=32, heads=2, vocabulary=64, tokens=16),
)
