"""Proxies against measured truths in the recorded and the repeated training of a transformer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.traces import TraceReader
from simulations.analysis.fidelity.falsify import STATISTICS, falsified, read_proxies
from simulations.recording import SHIPPED_TRACE
from simulations.recording.study import SHIPPED_STUDY
from simulations.recording.study.observer import grouped
from simulations.recording.study.store import load_study

__all__ = ["TRUTHS", "recording", "study"]

TRUTHS = ("sigma_s2", "sigma_r2", "delta_g2", "sigma_r2_groups", "delta_g2_groups")
"""Measured gradient-space values; `_groups` take a group's mean as one sample."""


def recording(*, seed: int, shuffles: int, trace: Path = SHIPPED_TRACE) -> dict[str, AnyArray]:
    """The statistics of every recorded step, and their falsified versions where the truth is known.

    Args:
        seed: Of the shuffles.
        shuffles: How often each falsification is drawn.
        trace: The recording.

    Returns:
        `step`, `share` (of the groups whose rewards differ) and `proxies` [4, steps]; `known`, the
        steps with truths; `truths` [5, known]; `smoothed` [3, known], what the live controller had
        after its statistics EMA; `falsified` [falsifications, shuffles, 4, known];
        `group_size`.
    """
    rng = np.random.default_rng(seed)
    steps, shares, found, known, truths, broken, smoothed = [], [], [], [], [], [], []
    sizes = set()
    for item in TraceReader(trace):
        rewards = grouped(item.batch)
        sizes.add(rewards.shape[1])
        steps.append(item.step)
        shares.append(float(np.mean(np.ptp(rewards, axis=1) > 0.0)))
        found.append(read_proxies(item.batch))
        if item.oracle:
            known.append(item.step)
            smoothed.append([item.logged[name] for name in TRUTHS[:3]])
            truths.append([item.oracle[name] for name in TRUTHS])
            broken.append(falsified(item.batch, rng, shuffles=shuffles))
    (size,) = sizes
    return {
        "step": np.array(steps),
        "share": np.array(shares),
        "proxies": np.array(found).T,
        "known": np.array(known),
        "truths": np.array(truths).T,
        "smoothed": np.array(smoothed).T,
        "falsified": np.moveaxis(np.array(broken), 0, -1),
        "group_size": np.array(size),
    }


def study(*, results: str, path: Path = SHIPPED_STUDY) -> dict[str, AnyArray]:
    """The statistics of every run of the shipped study where the truth is known.

    Args:
        results: Digest of the study's arrays; other results, another saved part.
        path: The packed study.

    Returns:
        `proxies` [4, seeds, controllers * points] and `truths` [5, seeds, controllers * points];
        `share` and `sigma_r2` [seeds, controllers * steps]; `controller` [controllers * points],
        whose point it is; `seeds`; `group_size`.
    """
    del results
    held = load_study(path)

    def by_seed(values: AnyArray) -> AnyArray:
        moved = np.moveaxis(values, 0, 1)
        return moved.reshape(moved.shape[0], -1)

    at = held.oracle_steps
    return {
        "proxies": np.stack([by_seed(held.series[name][:, :, at]) for name in STATISTICS]),
        "truths": np.stack([by_seed(held.truths[name]) for name in TRUTHS]),
        "share": by_seed(held.series["spread"]),
        "sigma_r2": by_seed(held.series["sigma_r2"]),
        "controller": np.repeat(np.array(held.controllers), at.size),
        "seeds": held.seeds,
        "group_size": np.array(held.meta["plan"]["recording"]["group_size"]),
    }
