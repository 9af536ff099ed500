"""Problems that a run was never shown. NumPy only."""

from __future__ import annotations

import numpy as np

from gac_ref.errors import fail
from simulations.recording import task
from simulations.recording.settings import Settings

_STREAM = 20


def held_out_problems(settings: Settings, count: int) -> list[task.Problem]:
    """Draw distinct problems outside the warm start, the rollouts' pool and the demonstrations.

    Problems with a short operand are few and nearly all of them are shown, so that what is left has
    long operands: with the defaults, two of two digits with rare exceptions. The same seed gives
    every controller the same test.

    Args:
        settings: Settings of the run.
        count: How many.

    Returns:
        `count` problems, ascending.

    Raises:
        GACError: Fewer were never shown.

    Examples:
        >>> problems = held_out_problems(Settings(), 3)
        >>> {len(problem.prompt) for problem in problems}
        {6}
    """
    unseen = sorted(_every(settings) - _shown(settings))
    if len(unseen) < count:
        fail(
            f"held_out = {count} but only {len(unseen)} problems are never shown; pass fewer, or "
            "a larger max_operand_digits"
        )
    rng = np.random.default_rng([settings.seed, _STREAM])
    chosen = np.sort(rng.choice(len(unseen), count, replace=False))
    return [task.Problem(*unseen[i]) for i in chosen]


def _every(settings: Settings) -> set[tuple[int, int]]:
    numbers = range(10**settings.max_operand_digits)
    return {(left, right) for left in numbers for right in numbers}


def _shown(settings: Settings) -> set[tuple[int, int]]:
    warm = task.warm_start_batches(settings, task.warm_start_rng(settings))
    shown = [problem for problems, _ in warm for problem in problems]
    shown += task.rollout_problems(settings) + task.demonstrated_problems(settings)
    shown += task.validation_problems(settings)
    return {(problem.left, problem.right) for problem in shown}
