"""What a study will take in memory, said before it starts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gac_ref.baselines import Signals
from gac_ref.errors import GACError, fail
from simulations.engine.observe import require_signals
from simulations.engine.outcomes import metric_units
from simulations.engine.run import Plan
from simulations.engine.statistics import NOT_DUE
from simulations.engine.streams import BLOCK
from simulations.sweeps.cell import Cell, blocks_at_once

__all__ = ["Room", "available_bytes", "cell_bytes", "check_before_start"]

ARRAYS = 24
"""Arrays of theta's shape that any problem has alive at once: theta, gradients and truths of both
branches, those that a tile writes over step after step, the draws, and what is made on the way."""

BATCH_FIELDS = ("samples", "experts", "groups", "group_size")
"""Fields of problems that the size of a draw is proportional to."""

TRIAL_SEEDS, TRIAL_BATCH = 4, 64


def cell_bytes(plan: Plan) -> int:
    """Memory of one cell that any problem needs, bytes; traces alone depend on the horizon.

    Examples:
        >>> from simulations.engine.controllers import build_controllers
        >>> from simulations.models.quadratic import Quadratic
        >>> from simulations.engine.settings import RunSettings
        >>> def size(horizon):
        ...     settings = RunSettings(horizon=horizon, seeds=64)
        ...     return cell_bytes(Plan(problem=Quadratic(), settings=settings,
        ...                            controllers=build_controllers({"fixed": {}})))
        >>> size(10_000) == size(10_000_000)
        True
    """
    settings, count = plan.settings, len(plan.controllers)
    working = ARRAYS * count * _seeds_at_once(plan) * plan.problem.dimension
    metrics = len(metric_units(plan.problem.units))
    tallies = 3 * metrics * count * plan.size
    names = len(plan.problem.units) + 4
    curves = 4 * names * len(plan.blocks) * count * -(-settings.horizon // settings.curve_every)
    points = -(-settings.horizon // settings.trace_interval)
    traces = 3 * names * min(settings.trace_seeds, BLOCK) * count * points
    return 8 * (working + tallies + curves + traces)


def _seeds_at_once(plan: Plan) -> int:
    return BLOCK * min(blocks_at_once(plan), len(plan.blocks))


def available_bytes() -> int | None:
    """Memory that can be had without swapping, bytes; None where the system does not say."""
    limits: list[int] = []
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        text = Path("/proc/meminfo").read_text()
        line = next(line for line in text.splitlines() if line.startswith("MemAvailable:"))
        limits.append(1024 * int(line.split()[1]))
    with contextlib.suppress(OSError, ValueError):  # a container's limit
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        limits.append(limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    if not limits:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(min(limits), 0) if limits else None


class Room(NamedTuple):
    """Memory that a study may use.

    Args:
        available: Bytes; None where nobody says.
        where: Of what, for people.
    """

    available: int | None
    where: str = "this machine"


def check_before_start(cells: Sequence[Cell], *, at_once: int = 1, room: Room | None = None) -> int:
    """Refuse a study that cannot run: too little memory, or a signal that nobody gives.

    One step of a few seeds is tried, with a small batch, and its memory scaled up.

    Args:
        cells: The cells of the study.
        at_once: How many run at the same time in that room.
        room: What can be had; None asks this machine. Where it is unknown, nothing is refused for
            its size.

    Returns:
        The estimate, bytes.

    Raises:
        GACError: Gives the estimate, what there is, and what to lower; or names the signal.
    """
    room = Room(available_bytes()) if room is None else room
    free = room.available
    largest = 0
    for cell in _distinct(cells):
        plan = cell.plan
        needed = cell_bytes(plan) * at_once
        if free is None or needed <= free:
            needed += _trial_bytes(plan) * at_once
        if free is not None and needed > free:
            settings = plan.settings
            batch = "".join(
                f", {name} {getattr(plan.problem, name)}"
                for name in BATCH_FIELDS
                if hasattr(plan.problem, name)
            )
            fail(
                f"this needs about {_text(needed)} of memory and {_text(free)} are free on "
                f"{room.where}: "
                f"{at_once} at once of {len(plan.controllers)} controllers x {plan.size} seeds x "
                f"dimension {plan.problem.dimension}{batch}, horizon {settings.horizon} with a "
                f"trace point every {settings.trace_interval} steps; lower one of these"
            )
        largest = max(largest, needed)
    return largest


def _distinct(cells: Sequence[Cell]) -> list[Cell]:
    """One cell for each problem and set of controllers: those of other seeds are no larger."""
    first: dict[str, Cell] = {}
    for cell in cells:
        tree = {k: v for k, v in cell.configuration.items() if k not in ("first_seed", "seeds")}
        first.setdefault(repr(tree), cell)
    return list(first.values())


def _trial_bytes(plan: Plan) -> int:
    """Memory of one step's draw, sample and truth, from a small trial of the problem."""
    problem: Any = plan.problem
    scale = 1.0
    for name in BATCH_FIELDS:
        size = getattr(problem, name, 0)
        if isinstance(size, int) and size > TRIAL_BATCH:
            with contextlib.suppress(GACError):  # a field that another one binds
                problem = dataclasses.replace(problem, **{name: TRIAL_BATCH})
                scale *= size / TRIAL_BATCH
    rng = np.random.default_rng(0)
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    try:
        theta = problem.start(rng, TRIAL_SEEDS)[None]
        # Once before, so that what a problem caches is not counted for every seed.
        problem.sample(theta, 0, problem.draw(rng, TRIAL_SEEDS, 0))
        drawn, draw = _peak(lambda: problem.draw(rng, TRIAL_SEEDS, 0))
        sampled, sample = _peak(lambda: problem.sample(theta, 0, draw))
        measured, _ = _peak(lambda: problem.truth(theta, 0, draw))
    finally:
        if not traced:
            tracemalloc.stop()
    signals = sample.signals if sample.on_demand is None else sample.on_demand(Signals._fields)
    if sample.statistics is not None:
        signals = signals._replace(proxies=NOT_DUE)
    require_signals(problem, signals, plan.controllers)
    # A draw is shared by the controllers; what was sampled is still there when the truth is
    # computed, which no batch makes larger.
    count = len(plan.controllers)
    a_seed = scale * (drawn + sampled * count) + measured * count
    return int(a_seed / TRIAL_SEEDS * _seeds_at_once(plan))


def _peak(work: Callable[[], Any]) -> tuple[int, Any]:
    """Peak memory of a call beyond what was there before, bytes, and its result."""
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    result = work()
    return tracemalloc.get_traced_memory()[1] - before, result


def _text(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
