"""A tile: the parameters of a few blocks of seeds, small enough to stay in cache through a step.

Everything that touches arrays of d numbers a trajectory happens tile by tile; what has one number a
trajectory (controllers, sums) happens for many tiles at once, which hides the cost of the calls.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray, BoolArray, FloatArray
from gac_ref.baselines import Signals
from gac_ref.proxies import Proxies
from simulations.engine.observe import PER_PROMPT, inner
from simulations.engine.statistics import Wanted, taken
from simulations.engine.streams import BLOCK, BlockStreams, concatenate, first_seeds
from simulations.problem import (
    InPlace,
    Measuring,
    Move,
    Moving,
    Problem,
    Redrawing,
    Sample,
    Truth,
)

__all__ = ["LIMIT", "Tile", "joined_signals"]

LIMIT = 1e9
"""A trajectory with a parameter beyond this has diverged: it is frozen there and flagged. Its
squares stay far from overflow, so that it disturbs no sum of the others."""


Gradients = tuple[FloatArray, FloatArray]
"""Sampled gradients of both branches, SFT and RL, [C, t, d] each."""


class Tile:
    """Parameters and random streams of consecutive blocks, [C, t, d].

    Args:
        problem: The model.
        root: Root seed.
        blocks: Numbers of the blocks.
        seeds: t, how many of their seeds are wanted.
        controllers: C.
        scratch: Two rows of at least C t d numbers, which tiles share: what a tile leaves there is
            used up before the next one is asked for anything.
        phi_weighted: Places of the controllers whose SFT tokens are weighted by phi, where the
            model has tokens.
        readers: Places of the controllers that look at their gradients or at the truth.
    """

    def __init__(
        self,
        problem: Problem,
        root: int,
        blocks: Sequence[int],
        seeds: int,
        controllers: int,
        scratch: FloatArray,
        phi_weighted: Sequence[int] = (),
        readers: Sequence[int] = (),
    ) -> None:
        self.problem, self.seeds = problem, seeds
        self._phi_weighted, self._readers = list(phi_weighted), list(readers)
        self._in_place = problem if isinstance(problem, InPlace) else None
        self._redrawing = problem if isinstance(problem, Redrawing) else None
        self._measuring = problem if isinstance(problem, Measuring) else None
        self._moving = problem if isinstance(problem, Moving) else None
        self.streams = BlockStreams(root, blocks)
        start = [problem.start(rng, BLOCK) for rng in self.streams.generators["start"]]
        self.theta0: FloatArray = np.array(concatenate(start)[:seeds], dtype=np.float64)
        # Order "C": a plain copy would keep the broadcast axis innermost, which is slow, and makes
        # the order of later sums depend on the number of controllers.
        shape = (controllers, *self.theta0.shape)
        self.theta: FloatArray = np.array(np.broadcast_to(self.theta0, shape), order="C")
        if self._moving is not None:
            self.theta = self._moving.laid(self.theta)
        one, two = (row[: self.theta.size].reshape(shape) for row in scratch)
        self._shared: Gradients = one, two
        self._own: Gradients | None = None  # what `sample` writes over, step after step
        self._whole_draw: Any = None  # of whole blocks
        self._draw: Any = None  # of the seeds that are wanted

    def sample(
        self, step: int, wanted: Sequence[Wanted], names: Collection[str]
    ) -> tuple[Sample, list[Proxies] | None]:
        """Draw this step's random numbers, observe, take what is wanted and the signals by name.

        Here and now, while what they come from is in cache; it is not kept.
        """
        if self._in_place is not None and self._own is None:
            self._own = np.empty(self.theta.shape), np.empty(self.theta.shape)
        sample = self._observe(step, self._own)
        signals = sample.signals if sample.on_demand is None else sample.on_demand(names)
        kept = Sample(sample.grad_s, sample.grad_r, signals, move=sample.move)
        return kept, taken(sample, wanted)

    def move(self, step: int) -> Move:
        """Draw this step's random numbers; what they move theta by, for `descend` at once."""
        if self._moving is not None:
            self._draw_step(step)
            return self._moving.move(self.theta, step, self._draw)
        return self.move_of(self._observe(step, self._shared))

    def gradients_of(self, c: int, sample: Sample) -> tuple[FloatArray, FloatArray]:
        """Gradients of one controller that looks at them, [t, d] each."""
        if self._moving is not None:
            place = self._readers.index(c)
            return sample.grad_s[place], sample.grad_r[place]
        shape = self.theta.shape
        return np.broadcast_to(sample.grad_s, shape)[c], np.broadcast_to(sample.grad_r, shape)[c]

    def move_of(self, sample: Sample) -> Move:
        """What a sample moves theta by."""
        return sample.move or partial(self._mixed, sample.grad_s, sample.grad_r)

    def _mixed(
        self,
        grad_s: FloatArray,
        grad_r: FloatArray,
        mu: FloatArray,
        rate: float,
        phi_weighted: Sequence[int] = (),
    ) -> FloatArray:
        """The move of two gradients; phi has nothing to weight where there are no tokens."""
        move = self._shared[0]  # which may be grad_s itself
        np.subtract(grad_s, grad_r, out=move)
        move *= mu[..., None]
        move += grad_r
        move *= rate
        return move

    def _observe(self, step: int, out: Gradients | None) -> Sample:
        self._draw_step(step)
        if self._in_place is not None and out is not None:
            return self._in_place.sample_into(self.theta, step, self._draw, out)
        if self._moving is not None:
            return self._moving.sample(self.theta, step, self._draw, self._readers)
        return self.problem.sample(self.theta, step, self._draw)

    def _draw_step(self, step: int) -> None:
        rngs = self.streams.generators["draw"]
        if self._redrawing is not None and self._whole_draw is not None:
            self._redrawing.redraw(self._whole_draw, rngs, step)
            return
        self._whole_draw = concatenate([self.problem.draw(rng, BLOCK, step) for rng in rngs])
        self._draw = first_seeds(self._whole_draw, self.seeds)

    def coins(self) -> FloatArray:
        """This step's uniform numbers for controllers that flip coins, [t]."""
        generators = self.streams.generators["control"]
        coins: FloatArray = concatenate([rng.random(BLOCK) for rng in generators])[: self.seeds]
        return coins

    def measure(self, step: int) -> tuple[Truth, dict[str, FloatArray]]:
        """Exact values for every controller, and `outcomes`."""
        if self._measuring is None:
            found = self.outcomes(step)  # first: the truth is as large as theta
            return self.problem.truth(self.theta, step, self._draw), found
        truth, found = self._measuring.measure(self.theta, step, self._draw)
        return truth, self._each(found)

    def truth_of(self, c: int, step: int) -> Truth:
        """Exact values for one controller: the same bits as its part of the whole."""
        return self.problem.truth(self.theta[c], step, self._draw)

    def outcomes(self, step: int) -> dict[str, FloatArray]:
        """Outcomes by name, each [C, t]."""
        return self._each(self.problem.outcomes(self.theta, step))

    def _each(self, found: dict[str, FloatArray]) -> dict[str, FloatArray]:
        shape = self.theta.shape[:-1]
        return {name: np.broadcast_to(value, shape) for name, value in found.items()}

    def drift(self) -> FloatArray:
        """Half the squared distance from the start, [C, t]."""
        away = np.subtract(self.theta, self.theta0, order="C")  # as `inner` sums it
        return 0.5 * inner(away, away)

    def descend(
        self,
        move_by: Move,
        mu: FloatArray,
        rate: float,
        frozen: BoolArray | None,
    ) -> BoolArray | None:
        """Move theta in place; returns where it left the limit, [C, t], or None for nowhere."""
        with np.errstate(over="ignore", invalid="ignore"):
            move = move_by(mu, rate, self._phi_weighted)
            if frozen is not None:
                move[frozen] = 0.0
            self.theta -= move
            # NaN fails both comparisons.
            if self.theta.max() <= LIMIT and self.theta.min() >= -LIMIT:
                return None
        bad: BoolArray = np.asarray(~(np.abs(self.theta) <= LIMIT).all(axis=-1))
        kept = np.nan_to_num(self.theta[bad], nan=LIMIT, posinf=LIMIT, neginf=-LIMIT)
        self.theta[bad] = np.clip(kept, -LIMIT, LIMIT)
        return bad


def joined_signals(samples: Sequence[Sample]) -> Signals:
    """The signals of several tiles as one, joined along the seeds."""
    if not samples:
        return Signals()
    if len(samples) == 1:
        return samples[0].signals
    out: dict[str, Any] = {}
    for name in Signals._fields:
        values = [getattr(sample.signals, name) for sample in samples]
        if isinstance(values[0], Proxies):
            out[name] = Proxies(*(_joined(column, 1) for column in zip(*values, strict=True)))
        elif values[0] is not None and name != "rng":
            out[name] = _joined(values, 2 if name in PER_PROMPT else 1)
    return Signals(**out)


def _joined(values: Sequence[Any], axis_from_end: int) -> AnyArray | Any:
    if np.ndim(values[0]) < axis_from_end:  # one number for all seeds
        return values[0]
    return np.concatenate(values, axis=-axis_from_end)
