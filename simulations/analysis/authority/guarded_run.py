"""What the guards did at every step of a run: recorded from the controller, never modelled."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from gac_ref import GACConfig, GACInfo, Proxies, init, proxies, update_from_proxies
from gac_ref._typing import BoolArray, FloatArray
from gac_ref.errors import fail
from gac_ref.traces import TraceReader

__all__ = ["GuardedRun", "record", "recorded_proxies", "run_proxies"]


class GuardedRun(NamedTuple):
    """Inputs and intermediates of the guards over T steps, [T, ...] each.

    Args:
        mu_raw: The raw estimate.
        held: Where there was no estimate, and the weight EMA stayed where it was.
        prior: The schedule prior, [T]; NaN without one.
        mu_ada: After the weight EMA and its clip.
        mu_candidate: After the prior blend.
        mu_capped: After the change cap.
        mu: Applied.
        ada_clipped: Where the clip of the weight EMA acted.
        change_capped: Where the cap acted.
        mu_clipped: Where the last clip acted.
    """

    mu_raw: FloatArray
    held: BoolArray
    prior: FloatArray
    mu_ada: FloatArray
    mu_candidate: FloatArray
    mu_capped: FloatArray
    mu: FloatArray
    ada_clipped: BoolArray
    change_capped: BoolArray
    mu_clipped: BoolArray


def record(config: GACConfig, infos: Iterable[GACInfo]) -> GuardedRun:
    """The run that a controller's diagnoses tell of, from its first step on.

    Raises:
        GACError: There are none.
    """
    found = list(infos)
    if not found:
        fail("the run has no steps; record at least one")
    hold = config.unseen_statistic == "hold"
    return GuardedRun(
        mu_raw=np.stack([info.mu_raw for info in found]),
        held=np.stack([info.flags["not_ready"] & hold for info in found]),
        prior=np.array([info.prior for info in found]),
        mu_ada=np.stack([info.mu_ada for info in found]),
        mu_candidate=np.stack([info.mu_candidate for info in found]),
        mu_capped=np.stack([info.mu_capped for info in found]),
        mu=np.stack([info.mu for info in found]),
        ada_clipped=np.stack([info.flags["mu_ada_clipped"] for info in found]),
        change_capped=np.stack([info.flags["change_capped"] for info in found]),
        mu_clipped=np.stack([info.flags["mu_clipped"] for info in found]),
    )


def run_proxies(
    config: GACConfig, values: Iterable[Proxies], shape: tuple[int, ...] = ()
) -> GuardedRun:
    """Run the controller over proxies, one set a step.

    Args:
        config: The configuration.
        values: Proxies of step 0, 1, ...; read where a refresh is due.
        shape: Shape of the trajectories.

    Examples:
        >>> run_proxies(GACConfig(), [Proxies(1.0, 1.0, 0.0)] * 3).mu.round(4).tolist()
        [0.49, 0.48, 0.47]
    """
    state, infos = init(config, shape), []
    for step, found in enumerate(values):
        state, info = update_from_proxies(config, state, found, step=step)
        infos.append(info)
    return record(config, infos)


def recorded_proxies(config: GACConfig, path: str | os.PathLike[str]) -> list[Proxies]:
    """Proxies of the batches of a recorded training run, for every step.

    Only the batches that a refresh is due at are measured, from step 0 on; the steps between them
    repeat what nothing reads. They depend on the configuration's choices, not on its guards.

    Args:
        config: Choices of the proxies, and `mu_update_freq`.
        path: The trace directory; its steps count from 0 without a gap.

    Raises:
        GACError: The recording is missing or damaged, or its steps do not count from 0.
    """
    reader = TraceReader(path)
    if reader.steps != list(range(len(reader))):
        fail(f"{os.fspath(path)}: its steps do not count from 0 without a gap; pass a whole trace")
    every = config.mu_update_freq
    found = [proxies(config, reader.read(step).batch) for step in reader.steps[::every]]
    return [found[step // every] for step in reader.steps]
