r"""The loop: every seed and every controller of a problem at once.

.. math:: \theta \leftarrow \theta - \eta_t\,(\mu\, G_s + (1 - \mu)\, G_r)

Order of a step: draw, sample, one update of every controller, measure (when due), move. Exact
quantities are measured at the theta that the gradients were sampled at, with the mu that is about
to be applied; final outcomes at the theta after the last move. Where nothing but the move looks at
the gradients, the update goes first and each tile draws, samples and moves at once, in the cache.

A chunk is a set of consecutive blocks of seeds that are computed together. How seeds are cut into
chunks changes speed and memory, and not one bit of the results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gac_ref import Proxies, baselines
from gac_ref._typing import AnyArray, BoolArray, FloatArray
from gac_ref.baselines import SASR, CHORDPhi
from gac_ref.errors import fail
from simulations.engine.controllers import Controller
from simulations.engine.curves import Curves
from simulations.engine.heap import keep_freed_memory
from simulations.engine.observe import (
    FROM_GRADIENTS,
    derive_signal,
    norms,
    observe,
    require_signals,
    uses,
)
from simulations.engine.outcomes import Tally, risk_and_regret
from simulations.engine.settings import RunSettings
from simulations.engine.statistics import NOT_DUE, separated, wanted_statistics
from simulations.engine.streams import BLOCK
from simulations.engine.tile import Tile, joined_signals
from simulations.problem import Move, Problem, Sample

__all__ = ["Chunk", "Plan"]

TILE_ELEMENTS = 40_960
"""Parameters in a tile, about: arrays of 320 KiB. Smaller ones fit the second-level cache better,
and lose more to the cost of the calls."""

TILE_TRAJECTORIES = 256
"""Trajectories in a tile, at least: what hides the cost of the calls where d is large."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to simulate: everything that results depend on.

    Args:
        problem: The model.
        controllers: The mixing rules, one or more, with distinct names.
        settings: The run's parameters.
        first_seed: First seed, a multiple of 64.
        seeds: How many seeds from there on; None for all of the settings'.

    Examples:
        >>> from simulations.models.quadratic import Quadratic
        >>> from simulations.engine.controllers import build_controllers
        >>> plan = Plan(problem=Quadratic(), controllers=build_controllers({"fixed": {}}),
        ...             settings=RunSettings(horizon=3, seeds=5))
        >>> chunk = Chunk(plan, plan.blocks)
        >>> chunk.advance(3)
        >>> chunk.result()["metric/mu_mean"].shape
        (1, 5)
    """

    problem: Problem
    controllers: tuple[Controller, ...]
    settings: RunSettings
    first_seed: int = 0
    seeds: int | None = None

    def __post_init__(self) -> None:
        """Validate."""
        if not self.controllers:
            fail("no controllers; name at least one")
        names = [controller.name for controller in self.controllers]
        if len(set(names)) < len(names):
            double = next(name for name in names if names.count(name) > 1)
            fail(f"controller {double!r} is named twice; give each a name of its own")
        if self.first_seed % BLOCK:
            fail(f"first_seed = {self.first_seed} is not a multiple of {BLOCK}; pass one")
        if self.seeds is None:
            object.__setattr__(self, "seeds", self.settings.seeds)

    @property
    def size(self) -> int:
        """Number of seeds."""
        assert self.seeds is not None
        return self.seeds

    @property
    def blocks(self) -> range:
        """Numbers of the blocks that hold the seeds."""
        first = self.first_seed // BLOCK
        return range(first, first + -(-self.size // BLOCK))

    def sizes(self, blocks: Sequence[int]) -> list[int]:
        """Seeds wanted of each block: 64, but for the last."""
        end = self.first_seed + self.size
        return [min(BLOCK, end - block * BLOCK) for block in blocks]


class Chunk:
    """The running state of consecutive blocks; `advance` moves it, `state` saves it."""

    def __init__(self, plan: Plan, blocks: Sequence[int]) -> None:
        keep_freed_memory()
        self.plan, self.blocks, self.step = plan, blocks, 0
        self.sizes = plan.sizes(blocks)
        count, n = len(plan.controllers), sum(self.sizes)
        self.shape = (count, n)
        fewest = -(-TILE_TRAJECTORIES // (count * BLOCK))
        width = max(fewest, TILE_ELEMENTS // (count * BLOCK * plan.problem.dimension))
        self.tiles: list[Tile] = []
        self._places: list[slice] = []  # of each tile on the axis of the seeds
        scratch = np.empty((2, count * min(width * BLOCK, n) * plan.problem.dimension))
        phi = [c for c, each in enumerate(plan.controllers) if isinstance(each.rule, CHORDPhi)]
        readers = [
            c for c, each in enumerate(plan.controllers) if FROM_GRADIENTS & set(uses(each.rule))
        ]
        for first in range(0, len(blocks), width):
            part, sizes = blocks[first : first + width], self.sizes[first : first + width]
            seeds = sum(sizes)
            root = plan.settings.seed
            tile = Tile(plan.problem, root, part, seeds, count, scratch, phi, readers)
            self.tiles.append(tile)
            self._places.append(slice(first * BLOCK, first * BLOCK + seeds))
        # A rule that reads nothing gives all seeds the same weight: one number is enough.
        self.states = [
            baselines.init(c.rule, (n,) if uses(c.rule) else ()) for c in plan.controllers
        ]
        self.previous_norm = np.full(self.shape, np.nan)
        names = tuple(plan.problem.units)
        self.tally = Tally(plan.settings, self.shape, names)
        traced = plan.settings.trace_seeds if blocks[0] == 0 else 0
        curve_names = (*names, "mu", "mu_best", "gradient_mse", "regret")
        self.curves = Curves(
            plan.settings, curve_names, count, self.sizes, min(traced, self.sizes[0])
        )
        self._names = {name for c in plan.controllers for name in uses(c.rule)}
        self._coins = "uniform" in self._names
        # Proxies count where they are due: among the wanted statistics.
        self._reads = bool(self._names - {"proxies"})
        self._frozen: BoolArray | None = None
        self._checked = False

    @property
    def done(self) -> bool:
        """Whether the horizon is reached, or nothing moves any more."""
        stopped = self._frozen is not None and bool(self._frozen.all())
        return self.step >= self.plan.settings.horizon or stopped

    def advance(self, steps: int) -> None:
        """Run at most `steps` steps, up to the horizon."""
        for _ in range(steps):
            if self.done:
                return
            self._step()
            self.step += 1

    def _step(self) -> None:
        settings, step = self.plan.settings, self.step
        wanted = wanted_statistics(
            self.plan.controllers, self.states, step, tokens=self.plan.problem.tokens
        )
        rate, measured = settings.rate(step), step % settings.measure_every == 0
        moves: Iterable[Move]
        if wanted or measured or self._reads:
            found = [tile.sample(step, wanted, self._names) for tile in self.tiles]
            samples = [sample for sample, _ in found]
            parts = [statistics for _, statistics in found if statistics is not None]
            mu = self._weights(samples, separated(wanted, parts) if parts else None, rate)
            moves = [t.move_of(sample) for t, sample in zip(self.tiles, samples, strict=True)]
        else:  # Nothing but the move looks at a sample: a tile's is made as it moves.
            mu = self._weights([], {}, rate)
            moves = (tile.move(step) for tile in self.tiles)
        self.tally.weigh(mu, self._frozen)
        if measured:
            self._measure(mu)
        frozen, diverged = self._frozen, False
        for tile, place, move in zip(self.tiles, self._places, moves, strict=True):
            still = None if frozen is None else frozen[:, place]
            bad = tile.descend(move, mu[:, place], rate, still)
            if bad is not None:
                self.tally.arrays["diverged"][:, place] |= bad
                diverged = True
        if diverged:
            self._frozen = self.tally.frozen

    def _weights(
        self, samples: list[Sample], statistics: Mapping[int, Proxies] | None, rate: float
    ) -> FloatArray:
        """One update of every controller: the weights to apply now, [C, n]."""
        signals = joined_signals(samples)
        if not self._checked:
            given = signals if statistics is None else signals._replace(proxies=NOT_DUE)
            require_signals(self.plan.problem, given, self.plan.controllers)
            self._checked = True
        coins = np.concatenate([tile.coins() for tile in self.tiles]) if self._coins else None
        mu = np.empty(self.shape)
        for c, controller in enumerate(self.plan.controllers):

            def derive(name: str, c: int = c) -> FloatArray:
                return self._derive(name, c, samples, rate)

            mine = observe(
                controller.rule,
                c,
                signals,
                proxies=None if statistics is None else statistics.get(c, NOT_DUE),
                derive=derive,
                uniform=coins,
                previous_norm=self.previous_norm[c],
                controllers=self.shape[0],
            )
            self.states[c], info = baselines.update(
                controller.rule, self.states[c], mine, step=self.step
            )
            mu[c] = info.mu
            if isinstance(controller.rule, SASR):
                for tile, place, sample in zip(self.tiles, self._places, samples, strict=True):
                    self.previous_norm[c, place] = norms(tile.gradients_of(c, sample)[0])
        return mu

    def _derive(self, name: str, c: int, samples: list[Sample], rate: float) -> FloatArray:
        """A signal that follows from one controller's gradients and truth, [n]."""
        parts = []
        for tile, sample in zip(self.tiles, samples, strict=True):
            g_s, g_r = tile.gradients_of(c, sample)
            exact = partial(tile.truth_of, c, self.step)
            parts.append(derive_signal(name, g_s, g_r, exact, rate))
        return np.concatenate(parts)

    def _measure(self, mu: FloatArray) -> None:
        step, settings = self.step, self.plan.settings
        parts = []
        for tile, place in zip(self.tiles, self._places, strict=True):
            here = mu[:, place]
            truth, outcomes = tile.measure(step)
            risk, regret, best = risk_and_regret(here, truth, settings.alpha)
            del truth  # as large as theta
            parts.append(
                {
                    "gradient_mse": risk,
                    "regret": regret,
                    "mu_best": np.broadcast_to(best, here.shape),
                    "drift": tile.drift(),
                    **outcomes,
                }
            )
        found = _joined(parts) | {"mu": mu}
        outcomes = {name: found[name] for name in self.tally.outcomes}
        self.tally.measure(
            {
                "risk": found["gradient_mse"],
                "regret": found["regret"],
                "mu": mu,
                "gap": np.abs(mu - found["mu_best"]),
                "drift": found["drift"],
                **{f"outcome/{name}": value for name, value in outcomes.items()},
            },
            self._frozen,
        )
        if self.curves.wants(step):
            self.curves.add(found, step)
        if self.tally.check_target(outcomes, step, self.tally.frozen).any():
            self._frozen = self.tally.frozen

    def result(self) -> dict[str, AnyArray]:
        """Metrics [C, n] as ``metric/NAME``, moments of each block, and traces."""
        metrics = self.tally.finish(_joined([tile.outcomes(self.step) for tile in self.tiles]))
        return {
            **{f"metric/{name}": value for name, value in metrics.items()},
            **self.curves.arrays,
        }

    def state(self) -> dict[str, AnyArray]:
        """Everything that a continuation needs, as plain arrays."""
        arrays: dict[str, AnyArray] = {
            "step": np.asarray(self.step),
            "previous_norm": self.previous_norm,
        }
        for index, tile in enumerate(self.tiles):
            arrays[f"tile/{index}/theta"] = np.ascontiguousarray(tile.theta)
            for name, value in tile.streams.state().items():
                arrays[f"tile/{index}/stream/{name}"] = value
        arrays |= {f"tally/{name}": value for name, value in self.tally.arrays.items()}
        arrays |= {f"curves/{name}": value for name, value in self.curves.arrays.items()}
        for c, state in enumerate(self.states):
            for name, value in state._asdict().items():
                arrays[f"controller/{c}/{name}"] = np.asarray(value)
        return arrays

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Continue where `state` was taken, for the same plan and blocks."""
        self.step = int(arrays["step"])
        np.copyto(self.previous_norm, arrays["previous_norm"])
        for index, tile in enumerate(self.tiles):
            np.copyto(tile.theta, arrays[f"tile/{index}/theta"])
            head = f"tile/{index}/stream/"
            tile.streams.restore(
                {k.removeprefix(head): v for k, v in arrays.items() if k.startswith(head)}
            )
        for name, value in self.tally.arrays.items():
            np.copyto(value, arrays[f"tally/{name}"])
        for name, value in self.curves.arrays.items():
            np.copyto(value, arrays[f"curves/{name}"])
        for c, state in enumerate(self.states):
            fields: dict[str, Any] = {}
            for name, value in state._asdict().items():
                stored = arrays[f"controller/{c}/{name}"]
                fields[name] = int(stored) if isinstance(value, int) else np.array(stored)
            self.states[c] = type(state)(**fields)
        self._frozen = self.tally.frozen if self.tally.frozen.any() else None


def _joined(parts: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    """Tables [C, t] of several tiles as tables [C, n]."""
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
