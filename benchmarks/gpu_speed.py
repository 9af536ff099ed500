"""The fused pass against what the device's memory can do, and against a training step."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

from gpu_checks import FAILED, NOT_RUN, PASSED, Part
from gpu_device import has
from gpu_plan import BANDWIDTH_GOAL, SHARE_GOAL, Plan

from gac_ref import GACConfig
from gac_ref.conformance.adapters.c_library import c_config
from gac_ref.ports.cuda.binding import ROW, Library, tensor

WARM_UP = 3

Call = Callable[[], object]


def seconds(plan: Plan, calls: int, call: Call) -> float:
    """Of one call, by the device's own clock where it has one; the fastest of some rounds."""
    import torch

    best = math.inf
    for _ in range(WARM_UP):
        call()
    for _ in range(plan.rounds):
        if plan.device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            for _ in range(calls):
                call()
            end.record()
            end.synchronize()
            taken = start.elapsed_time(end) / 1e3
        else:
            began = time.perf_counter()
            for _ in range(calls):
                call()
            taken = time.perf_counter() - began
        best = min(best, taken / calls)
    return best


def queued(plan: Plan, calls: int, call: Call) -> float:
    """Seconds that the host takes to enqueue a call: above the device's time, it is the limit."""
    import torch

    began = time.perf_counter()
    for _ in range(calls):
        call()
    taken = (time.perf_counter() - began) / calls
    if plan.device == "cuda":
        torch.cuda.synchronize()
    return taken


def copy_bandwidth(plan: Plan) -> float:
    """Bytes a second that a copy within the device's memory reads and writes."""
    import torch

    source = torch.zeros(plan.copied, dtype=torch.uint8, device=plan.device)
    target = torch.empty_like(source)
    return 2 * plan.copied / seconds(plan, max(plan.calls // 10, 1), lambda: target.copy_(source))


def bf16_batch(plan: Plan, seed: int) -> dict[str, Any]:
    """A batch of ragged rows, three quarters of T long on average, an eighth demonstrations."""
    import torch

    rows, width = plan.measured
    generator = torch.Generator().manual_seed(seed)
    length = torch.randint(width // 2, width + 1, (rows, 1), generator=generator)
    values = {
        "logprob": -torch.rand(rows, width, generator=generator).to(torch.bfloat16),
        "response_mask": torch.arange(width) < length,
        "advantages": torch.randn(rows, width, generator=generator).to(torch.bfloat16),
        "is_expert": torch.arange(rows) % 8 == 0,
    }
    return {name: value.to(plan.device) for name, value in values.items()}


def passes(plan: Plan, library: Library) -> tuple[Call, Call, int]:
    """The fused pass and the whole step, over batches in turn; and the bytes of one pass."""
    import torch

    rows, width = plan.measured
    size = rows * width * 5 + rows + rows * len(ROW) * 8  # two bf16, a bool; what is written
    first = bf16_batch(plan, 0)
    # The values may be the same; the memory must not, or the cache would serve it.
    ring = [first]
    while len(ring) * size < plan.ring:
        ring.append({name: value.clone() for name, value in first.items()})
    config = c_config(GACConfig().to_dict())
    stream = torch.cuda.current_stream().cuda_stream if plan.device == "cuda" else None
    cells = torch.zeros(library.cells, dtype=torch.float64, device=plan.device)
    library.call_start(config, tensor(cells), stream)
    prepared = []
    for batch in ring:
        out = torch.zeros(rows, len(ROW), dtype=torch.float64, device=plan.device)
        prepared.append((library.batch(batch, out), tensor(out), (batch, out)))
    turns = itertools.cycle(prepared)

    def fused() -> None:
        there, out, _ = next(turns)
        library.call_fused_rows(config, there, out, stream=stream)

    def step() -> None:
        there, out, _ = next(turns)
        library.call_step(config, there, out, tensor(cells), stream=stream)

    return fused, step, size


def training_step(plan: Plan) -> tuple[float, int, float]:
    """Seconds of a forward and backward pass over one sequence, parameters, operations."""
    import torch
    from gpu_model import build, operations

    decoder = build(plan.model, plan.device)
    parameters = sum(p.numel() for p in decoder.parameters())
    tokens = torch.randint(plan.model.vocabulary, (1, plan.model.tokens), device=plan.device)

    def call() -> None:
        decoder.zero_grad(set_to_none=True)
        decoder(tokens).backward()

    taken = seconds(plan, max(plan.calls // 40, 1), call)
    return taken, parameters, operations(plan.model, parameters)


def verdict(plan: Plan, met: bool) -> str:
    if plan.device == "cpu":
        return "not judged on the CPU"
    return "met" if met else "MISSED"


def speed(plan: Plan, library: Library | None, reason: str) -> Part:
    """Bandwidth, and the share of a training step."""
    title = "Speed"
    if library is None or not has("torch"):
        why = reason if library is None else "torch is not installed; it times the device"
        return Part(title, NOT_RUN, (why,))
    copied = copy_bandwidth(plan)
    fused, step, size = passes(plan, library)
    one, enqueued = seconds(plan, plan.calls, fused), queued(plan, plan.calls, fused)
    whole = seconds(plan, plan.calls, step)
    bandwidth = size / one
    lines = [
        f"copy of {plan.copied / 2**20:g} MiB: {copied / 1e9:.4g} GB/s, bytes read and written",
        f"fused pass, B = {plan.measured[0]}, T = {plan.measured[1]}, bf16: {one * 1e6:.2f} us, "
        f"{size / 1e6:.4g} MB, {bandwidth / 1e9:.4g} GB/s; the host takes {enqueued * 1e6:.2f} us "
        "to enqueue it",
        f"fused pass over copy: {bandwidth / copied:.1%} (goal: at least {BANDWIDTH_GOAL:.0%}, "
        f"{verdict(plan, bandwidth >= BANDWIDTH_GOAL * copied)})",
        f"whole step, all kernels: {whole * 1e6:.2f} us",
    ]
    taken, parameters, work = training_step(plan)
    batch = taken * math.prod(plan.measured) / plan.model.tokens
    model = plan.model
    lines += [
        f"transformer, {model.layers} layers of width {model.width}, {model.heads} heads, "
        f"vocabulary {model.vocabulary}, {parameters / 1e6:.4g} million parameters, bf16: forward "
        f"and backward over one sequence of {model.tokens} tokens take {taken * 1e3:.2f} ms "
        f"({work / taken / 1e12:.4g} TFLOP/s), without the optimiser, so {batch:.3g} s for the "
        "tokens of the batch",
        f"whole step over that: {whole / batch:.2e} (goal: under {SHARE_GOAL:.1%}, "
        f"{verdict(plan, whole < SHARE_GOAL * batch)})",
    ]
    finite = all(math.isfinite(x) and x > 0 for x in (copied, one, whole, taken))
    return Part(title, PASSED if finite else FAILED, tuple(lines))
