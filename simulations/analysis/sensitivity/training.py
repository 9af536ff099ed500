r"""Training runs that differ in their hyperparameters, all under the same random numbers.

As `simulations.engine.run`, with the model's own sampling, but with the controller of
:mod:`simulations.analysis.sensitivity.hyper`, so that thousands of hyperparameter values run at
once. One value run alone gives the bits of the engine; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import AnyArray, FloatArray
from simulations.analysis.question import finite
from simulations.analysis.sensitivity.hyper import Values, advance, begin, hyperparameters
from simulations.engine.streams import BLOCK, BlockStreams, first_seeds
from simulations.problem import Problem, Sample

__all__ = ["SCALES", "Trained", "train"]

SCALES = ("scale_s", "scale_r", "scale_d")
"""Factors on the three proxies before the controller sees them; 1 is right."""

BEFORE = ("trim_ratio", "mask_eps")
"""Hyperparameters that act on the tokens, before the controller."""

CHUNK = 256
"""Values of the hyperparameters that are run together: their arrays stay in cache."""


class Trained(NamedTuple):
    """What came out, [C, n] each.

    Args:
        outcome: The named outcome after the last step.
        mu: Applied weight at the last step.
        mu_mean: Its mean over all steps.
    """

    outcome: FloatArray
    mu: FloatArray
    mu_mean: FloatArray


def train(
    problem: Problem,
    config: GACConfig,
    changes: Mapping[str, Any],
    *,
    outcome: str,
    horizon: int,
    seeds: int,
    learning_rate: float,
    seed: int = 0,
) -> Trained:
    """Train C times, with the same noise, start and batches for each.

    Args:
        problem: The model.
        config: Choices, and the values of what does not differ.
        changes: Hyperparameters, :data:`SCALES` and :data:`BEFORE` that differ, [C] each.
        outcome: Which of the model's outcomes.
        horizon: Optimiser steps, >= 1.
        seeds: n, at most 64.
        learning_rate: Of the optimiser.
        seed: Root of the random numbers.

    Returns:
        Outcome and weights.

    Raises:
        GACError: A hyperparameter that cannot differ, or an outcome that is not finite.

    Examples:
        >>> from simulations.models.quadratic import Quadratic
        >>> found = train(Quadratic(), GACConfig(), {"alpha": [0.1, 0.9]}, outcome="loss",
        ...               horizon=5, seeds=3, learning_rate=0.05)
        >>> found.outcome.shape
        (2, 3)
    """
    arrays = {name: np.atleast_1d(np.asarray(value)) for name, value in changes.items()}
    count = max((value.size for value in arrays.values()), default=1)
    parts = []
    for first in range(0, count, CHUNK):
        chunk = {name: v[first : first + CHUNK] for name, v in arrays.items()}
        size = min(CHUNK, count - first)
        parts.append(
            _train_chunk(problem, config, chunk, size, outcome, horizon, seeds, learning_rate, seed)
        )
    found = Trained(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    finite(found.outcome, f"{outcome} of {problem.name}")
    return found


def _train_chunk(
    problem: Problem,
    config: GACConfig,
    arrays: Mapping[str, AnyArray],
    count: int,
    outcome: str,
    horizon: int,
    seeds: int,
    learning_rate: float,
    seed: int,
) -> Trained:
    streams = BlockStreams(seed, [0]).generators
    columns = {name: value[:, None] for name, value in arrays.items()}
    apart = (*SCALES, *BEFORE)
    h = hyperparameters(config, {k: v for k, v in columns.items() if k not in apart})
    theta0 = problem.start(streams["start"][0], BLOCK)[:seeds]
    theta = np.array(np.broadcast_to(theta0, (count, *theta0.shape)), order="C")
    state = begin(h, (count, seeds))
    total = np.zeros((count, seeds))
    groups = _groups(config, columns, count)
    for step in range(horizon):
        draw = first_seeds(problem.draw(streams["draw"][0], BLOCK, step), seeds)
        sample = problem.sample(theta, step, draw)
        values = _values(problem, config, sample, columns, h, groups, step)
        state, _ = advance(config, h, state, values, step)
        total += state.mu
        move = sample.grad_s - sample.grad_r
        move *= state.mu[..., None]
        move += sample.grad_r
        move *= learning_rate
        theta -= move
    final = np.asarray(problem.outcomes(theta, horizon)[outcome])
    return Trained(final, state.mu, total / horizon)


def _groups(
    config: GACConfig, columns: Mapping[str, AnyArray], count: int
) -> list[tuple[GACConfig, list[int]]]:
    """Trajectories with the same values of :data:`BEFORE`, each with its configuration."""
    found: dict[tuple[float, ...], list[int]] = {}
    values = [
        np.broadcast_to(columns[name][:, 0] if name in columns else getattr(config, name), count)
        for name in BEFORE
    ]
    for c, key in enumerate(zip(*(v.tolist() for v in values), strict=True)):
        found.setdefault(key, []).append(c)
    return [
        (config.replace(**dict(zip(BEFORE, key, strict=True))), places)
        for key, places in found.items()
    ]


def _values(
    problem: Problem,
    config: GACConfig,
    sample: Sample,
    columns: Mapping[str, AnyArray],
    h: Mapping[str, AnyArray],
    groups: list[tuple[GACConfig, list[int]]],
    step: int,
) -> Values:
    """This step's proxies as the controller gets them, and the KL where alpha follows it."""
    kl: Any = float("nan")
    if config.alpha_mode == "kl":
        seen = sample.signals if sample.on_demand is None else sample.on_demand(("kl",))
        kl = seen.kl
    if not np.any(step % h["mu_update_freq"] == 0):
        return Values(0.0, 0.0, 0.0, kl)
    assert sample.statistics is not None  # the models here all have them
    if len(groups) == 1:
        found = sample.statistics(groups[0][0])
    else:
        shape = np.shape(sample.grad_s)[:-1]
        whole = [np.empty(shape) for _ in range(3)]
        for choices, places in groups:
            part: Proxies = sample.statistics(choices, places)
            for array, value in zip(whole, part[:3], strict=True):
                array[places] = value
        found = Proxies(whole[0], whole[1], whole[2])
    scaled = [
        np.asarray(value) * columns[name] if name in columns else np.asarray(value)
        for name, value in zip(SCALES, found[:3], strict=True)
    ]
    if problem.tokens:  # each has its own floor
        scaled[:2] = [np.maximum(value, h["eps"]) for value in scaled[:2]]
    return Values(scaled[0], scaled[1], scaled[2], kl)
