r"""The loop: every seed and every controller of a problem at once.

.. math:: \theta \leftarrow \theta - \eta_t\,(\mu\, G_s + (1 - \mu)\, G_r)

Order of a step: draw, sample, one update of every controller, measure (when due), move. Exact
quantities are measured at the theta that the gradients were sampled at, with the mu that is about
to be applied; final outcomes at the theta after the last move.

A chunk is a set of consecutive blocks of seeds that are computed together. How seeds are cut into
chunks changes speed and memory, and not one bit of the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gac_ref import baselines
from gac_ref._typing import AnyArray, BoolArray, FloatArray
from gac_ref.baselines import SASR
from gac_ref.errors import fail
from simulations.controllers import Controller
from simulations.curves import Curves
from simulations.observe import LazyTruth, inner, norms, observe, require_signals, uses
from simulations.outcomes import Tally, risk_and_regret
from simulations.problem import Problem, Sample
from simulations.settings import RunSettings
from simulations.streams import BLOCK, BlockStreams, concatenate

__all__ = ["LIMIT", "Chunk", "Plan"]

LIMIT = 1e9
"""A trajectory with a parameter beyond this has diverged: it is frozen there and flagged. Its
squares stay far from overflow, so that it disturbs no sum of the others."""


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
        >>> from simulations.controllers import build_controllers
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
        self.plan, self.blocks, self.step = plan, blocks, 0
        self.sizes = plan.sizes(blocks)
        n = sum(self.sizes)
        self._whole = n == BLOCK * len(blocks)
        count = len(plan.controllers)
        self.shape = (count, n)
        self.streams = BlockStreams(plan.settings.seed, blocks)
        start = concatenate(
            [plan.problem.start(rng, BLOCK) for rng in self.streams.generators["start"]]
        )[:n]
        self.theta0: FloatArray = np.array(start, dtype=np.float64)
        # Order "C": a plain copy would keep the broadcast axis innermost, which is slow, and makes
        # the order of later sums depend on the number of controllers.
        self.theta: FloatArray = np.array(
            np.broadcast_to(self.theta0, (count, *start.shape)), order="C"
        )
        # A rule that reads nothing gives all seeds the same weight: one number is enough.
        self.states = [
            baselines.init(c.rule, (n,) if uses(c.rule) else ()) for c in plan.controllers
        ]
        self.previous_norm = np.full(self.shape, np.nan)
        names = tuple(plan.problem.outcomes(self.theta, 0))
        self.tally = Tally(plan.settings, self.shape, names)
        traced = plan.settings.trace_seeds if blocks[0] == 0 else 0
        curve_names = (*names, "mu", "mu_best", "gradient_mse", "regret")
        self.curves = Curves(
            plan.settings, curve_names, count, self.sizes, min(traced, self.sizes[0])
        )
        self._coins = any("uniform" in uses(c.rule) for c in plan.controllers)
        self._sasr = [isinstance(c.rule, SASR) for c in plan.controllers]
        self._move = np.empty_like(self.theta)
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
        problem, settings, step = self.plan.problem, self.plan.settings, self.step
        generators = self.streams.generators
        draw = concatenate([problem.draw(rng, BLOCK, step) for rng in generators["draw"]])
        coins = None
        if self._coins:
            coins = concatenate([rng.random(BLOCK) for rng in generators["control"]])
            coins = coins[: self.shape[1]]
        if not self._whole:
            draw = _first(draw, self.shape[1])
        sample = problem.sample(self.theta, step, draw)
        if not self._checked:
            require_signals(problem, sample.signals, self.plan.controllers)
            self._checked = True
        truth = LazyTruth(problem, self.theta, step)
        rate = settings.rate(step)
        mu = self._weights(sample, truth, rate, coins)
        self.tally.weigh(mu, self._frozen)
        if step % settings.measure_every == 0:
            self._measure(mu, truth)
        self._descend(sample, mu, rate)

    def _weights(
        self, sample: Sample, truth: LazyTruth, rate: float, coins: FloatArray | None
    ) -> FloatArray:
        """One update of every controller: the weights to apply now, [C, n]."""
        mu = np.empty(self.shape)
        for c, controller in enumerate(self.plan.controllers):
            signals = observe(
                controller.rule,
                c,
                sample,
                truth=truth,
                rate=rate,
                uniform=coins,
                previous_norm=self.previous_norm[c],
                shape=self.shape,
            )
            self.states[c], info = baselines.update(
                controller.rule, self.states[c], signals, step=self.step
            )
            mu[c] = info.mu
            if self._sasr[c]:
                gradient = np.broadcast_to(sample.grad_s, self.theta.shape)[c]
                self.previous_norm[c] = norms(gradient)
        return mu

    def _measure(self, mu: FloatArray, truth: LazyTruth) -> None:
        step, settings = self.step, self.plan.settings
        outcomes = self._outcomes()
        risk, regret, best = risk_and_regret(mu, truth.whole(), settings.alpha)
        away = self.theta - self.theta0
        values = {
            "risk": risk,
            "regret": regret,
            "mu": mu,
            "gap": np.abs(mu - best),
            "drift": 0.5 * inner(away, away),
            **{f"outcome/{name}": value for name, value in outcomes.items()},
        }
        self.tally.measure(values, self._frozen)
        if self.curves.wants(step):
            best = np.broadcast_to(best, self.shape)
            shown = {"mu": mu, "mu_best": best, "gradient_mse": risk, "regret": regret}
            self.curves.add({**outcomes, **shown}, step)
        frozen = self.tally.frozen
        if self.tally.check_target(outcomes, step, frozen).any():
            self._frozen = self.tally.frozen

    def _outcomes(self) -> dict[str, FloatArray]:
        found = self.plan.problem.outcomes(self.theta, self.step)
        return {name: np.broadcast_to(value, self.shape) for name, value in found.items()}

    def _descend(self, sample: Sample, mu: FloatArray, rate: float) -> None:
        """The move of theta, in place; what leaves the limit is frozen there."""
        move = self._move
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(sample.grad_s, sample.grad_r, out=move)
            move *= mu[..., None]
            move += sample.grad_r
            move *= rate
            if self._frozen is not None:
                move[self._frozen] = 0.0
            self.theta -= move
        # NaN fails both comparisons.
        if not (self.theta.max() <= LIMIT and self.theta.min() >= -LIMIT):
            bad = ~(np.abs(self.theta) <= LIMIT).all(axis=-1)
            self.tally.arrays["diverged"] |= bad
            self._frozen = self.tally.frozen
            kept = np.nan_to_num(self.theta[bad], nan=LIMIT, posinf=LIMIT, neginf=-LIMIT)
            self.theta[bad] = np.clip(kept, -LIMIT, LIMIT)

    def result(self) -> dict[str, AnyArray]:
        """Metrics [C, n] as ``metric/NAME``, moments of each block, and traces."""
        metrics = self.tally.finish(self._outcomes())
        return {
            **{f"metric/{name}": value for name, value in metrics.items()},
            **self.curves.arrays,
        }

    def state(self) -> dict[str, AnyArray]:
        """Everything that a continuation needs, as plain arrays."""
        arrays: dict[str, AnyArray] = {
            "step": np.asarray(self.step),
            "theta": self.theta,
            "previous_norm": self.previous_norm,
        }
        arrays |= {f"tally/{name}": value for name, value in self.tally.arrays.items()}
        arrays |= {f"curves/{name}": value for name, value in self.curves.arrays.items()}
        arrays |= {f"stream/{name}": value for name, value in self.streams.state().items()}
        for c, state in enumerate(self.states):
            for name, value in state._asdict().items():
                arrays[f"controller/{c}/{name}"] = np.asarray(value)
        return arrays

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Continue where `state` was taken, for the same plan and blocks."""
        self.step = int(arrays["step"])
        np.copyto(self.theta, arrays["theta"])
        np.copyto(self.previous_norm, arrays["previous_norm"])
        for name, value in self.tally.arrays.items():
            np.copyto(value, arrays[f"tally/{name}"])
        for name, value in self.curves.arrays.items():
            np.copyto(value, arrays[f"curves/{name}"])
        self.streams.restore(
            {k.removeprefix("stream/"): v for k, v in arrays.items() if k.startswith("stream/")}
        )
        for c, state in enumerate(self.states):
            fields: dict[str, Any] = {
                name: arrays[f"controller/{c}/{name}"] for name in state._fields
            }
            fields = {
                name: int(value) if isinstance(getattr(state, name), int) else np.array(value)
                for name, value in fields.items()
            }
            self.states[c] = type(state)(**fields)
        self._frozen = self.tally.frozen if self.tally.frozen.any() else None


def _first(draw: Any, n: int) -> Any:
    """The first n seeds of a draw."""
    if isinstance(draw, dict):
        return {key: _first(value, n) for key, value in draw.items()}
    if isinstance(draw, tuple):
        fields = [_first(value, n) for value in draw]
        return type(draw)(*fields) if hasattr(draw, "_fields") else tuple(fields)
    return draw[:n] if isinstance(draw, np.ndarray) and draw.ndim else draw
