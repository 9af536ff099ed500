"""Outcomes of each run of the shipped study, and their curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.errors import fail
from simulations.analysis.question import finite
from simulations.recording.study import SHIPPED_STUDY
from simulations.recording.study.store import load_study

__all__ = ["OUTCOMES", "outcomes"]

OUTCOMES = {
    "held_reward": ("held-out reward at the end", "reward", 1.0),
    "held_exact": ("held-out exact answers at the end", "share", 1.0),
    "reward": ("training reward of the last steps", "reward", 1.0),
    "kl_area": ("KL to the start, summed over the run", "nats/token steps", -1.0),
    "large_changes": ("share of steps with a large change of mu", "share", -1.0),
}
"""Outcome by name: what it is, its unit, and 1 where more is better, -1 where less is."""


def outcomes(
    *, results: str, last: int, large_change: float, path: Path = SHIPPED_STUDY
) -> dict[str, AnyArray]:
    """Read the shipped study.

    Args:
        results: Digest of its arrays; other results, another saved part.
        last: Steps at the end that the training reward and the weight are averaged over.
        large_change: A change of mu in one step at least this large counts as large.
        path: The packed study.

    Returns:
        Each of `OUTCOMES` [controllers, seeds]; `last_mu` [controllers, seeds], the weight of the
        last steps; the curves `mu` and `reward_curve` [controllers, seeds, steps] and `held_curve`
        [controllers, seeds, tests]; `controllers`, `seeds`, `evaluated`, and the held-out reward
        before training, `held_start` [seeds].

    Raises:
        GACError: The file is damaged, a value is not finite, or the runs are shorter than `last`.
    """
    del results
    study = load_study(path)
    mu, reward = study.series["mu"], study.series["reward"]
    if mu.shape[2] < last:
        fail(f"last = {last} but the runs have {mu.shape[2]} steps; pass fewer")
    starts = study.held_reward[:, :, 0]
    if float(np.ptp(starts, axis=0).max()) > 0.0:
        fail("the controllers of a seed start from different models; make the study again")
    found: dict[str, AnyArray] = {
        "held_reward": study.held_reward[:, :, -1],
        "held_exact": study.held_exact[:, :, -1],
        "reward": reward[:, :, -last:].mean(axis=-1),
        "kl_area": study.series["kl"].sum(axis=-1),
        "large_changes": (np.abs(np.diff(mu, axis=-1)) >= large_change).mean(axis=-1),
    }
    for name, values in found.items():
        finite(values, f"{name} of the study")
    return {
        **found,
        "mu": mu,
        "last_mu": mu[:, :, -last:].mean(axis=-1),
        "reward_curve": reward,
        "held_curve": study.held_reward,
        "held_start": starts[0],
        "controllers": np.array(study.controllers),
        "seeds": study.seeds,
        "evaluated": study.evaluated,
    }
