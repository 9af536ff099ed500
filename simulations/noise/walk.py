"""A regime that wanders: a random walk with optional reversion, a pure function of its seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from gac_ref._typing import ArrayLike, FloatArray
from gac_ref.baselines._fields import real, whole
from gac_ref.errors import fail
from simulations.noise.regimes import Regime, whole_steps

__all__ = ["RandomWalk"]

BLOCK = 4096
"""Steps of a path made at once; a long horizon keeps a few blocks and one number for each other."""


STRIDE = 64
"""Steps of the seeds' paths made at once."""


@dataclass(frozen=True, kw_only=True)
class RandomWalk(Regime):
    r"""A random walk around a level, of the value or of its logarithm.

    .. math::
        u_0 = 0, \quad u_{t+1} = (1 - \theta)\, u_t + s\, \xi_t, \quad
        x_t = \begin{cases} x_0\, e^{u_t} & \text{geometric} \\ x_0 + u_t & \text{else}\end{cases}

    with standard normal :math:`\xi`. So :math:`E u_t = 0` and

    .. math:: \mathrm{Var}\, u_t = s^2 \sum_{i<t} (1 - \theta)^{2i}

    `at` is one path, a pure function of the fields: its value at a step does not depend on which
    steps were asked for before, and another `seed` is another path. `of_seeds` has a path for each
    seed of a generator, a pure function of the fields and of what the generator was seeded with,
    so that no grouping of the seeds can change it. `path` takes the draws from the caller.

    Args:
        level: :math:`x_0`, the value at step 0 and the median of all; > 0 where geometric.
        spread: s, the standard deviation of one step (of the logarithm where geometric), >= 0.
        reversion: :math:`\theta`, the share of the way back to the level taken in one step, in
            [0, 1]; 0 is the pure random walk, which leaves every bound in the end.
        geometric: Whether the logarithm walks, so that the value stays positive.
        seed: Seed of the path, >= 0.

    Raises:
        GACError: A field is out of its range.

    Examples:
        >>> walk = RandomWalk(level=2.0, spread=0.1, seed=3)
        >>> walk.at(0).item(), bool(walk.at([5, 9])[1] == walk.at(9))
        (2.0, True)
        >>> RandomWalk(level=1.0, spread=0.5, geometric=False).path([2.0, -1.0]).tolist()
        [1.0, 2.0, 1.5]
    """

    level: float = 1.0
    spread: float = 0.05
    reversion: float = 0.0
    geometric: bool = True
    seed: int = 0
    kind: str = field(default="random_walk", init=False, repr=False)

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "level")
        real(self, "spread", low=0.0)
        real(self, "reversion", low=0.0, high=1.0)
        whole(self, "seed")
        if not isinstance(self.geometric, bool):
            fail(f"RandomWalk: geometric = {self.geometric!r} is not True or False; pass one")
        if self.geometric and self.level <= 0.0:
            fail(
                f"RandomWalk: level = {self.level!r} has no logarithm to walk; pass a level > 0, "
                "or geometric=False"
            )

    @property
    def lowest(self) -> float:
        """0 where geometric, else -inf."""
        return 0.0 if self.geometric else -math.inf

    def variance(self, steps: ArrayLike) -> FloatArray:
        """Exact variance over seeds of u (the walk before the level) at each step."""
        t = whole_steps(steps)
        decay = (1.0 - self.reversion) ** 2
        if decay == 1.0:
            return self.spread**2 * t
        with np.errstate(under="ignore"):
            return np.asarray(self.spread**2 * (1.0 - decay**t) / (1.0 - decay))

    def at(self, steps: ArrayLike) -> FloatArray:
        """The value of this seed's path at each step."""
        t = whole_steps(steps).astype(np.int64)
        walk = np.empty(t.shape)
        for block in np.unique(t // BLOCK):
            here = t // BLOCK == block
            walk[here] = _block(self.seed, 1.0 - self.reversion, int(block))[t[here] % BLOCK]
        return self._value(self.spread * walk)

    def of_seeds(self, step: int, rng: np.random.Generator, n: int) -> FloatArray:
        """The values of the paths of the n seeds that `rng` draws for, [n].

        Examples:
            >>> walk, rng = RandomWalk(), np.random.default_rng(3)
            >>> walk.of_seeds(0, rng, 2).tolist(), len(set(walk.of_seeds(9, rng, 4).tolist()))
            ([1.0, 1.0], 4)
        """
        whole_steps(step)
        origin: Any = rng.bit_generator.seed_seq
        key = (origin.entropy, *origin.spawn_key) if isinstance(origin.entropy, int) else None
        if key is None:
            fail(f"RandomWalk: the generator's seed {origin!r} is not a whole number; pass one")
        paths = _paths(self.seed, 1.0 - self.reversion, key, n)
        return self._value(self.spread * paths.at(step))

    def path(self, draws: ArrayLike) -> FloatArray:
        """The paths of the caller's standard normals, [..., T] to [..., T + 1]."""
        xi = np.asarray(draws, dtype=np.float64)
        walk = np.zeros((*xi.shape[:-1], xi.shape[-1] + 1))
        for t in range(xi.shape[-1]):
            walk[..., t + 1] = (1.0 - self.reversion) * walk[..., t] + xi[..., t]
        return self._value(self.spread * walk)

    def _value(self, walk: FloatArray) -> FloatArray:
        return np.asarray(self.level * np.exp(walk) if self.geometric else self.level + walk)


class _Paths:
    """Unit-spread walks of n seeds; a few steps of them are kept, wherever one looks."""

    def __init__(self, seed: int, persistence: float, key: tuple[int, ...], n: int) -> None:
        self._seed, self._persistence, self._key, self._n = seed, persistence, key, n
        self._restart()

    def _restart(self) -> None:
        self._chunk, self._exit = -1, np.zeros(self._n)
        self._kept = np.empty((0, self._n))

    def at(self, step: int) -> FloatArray:
        """The walks at a step, [n]; going on is cheap, going back starts again."""
        chunk, place = divmod(step, STRIDE)
        if chunk < self._chunk:
            self._restart()
        while self._chunk < chunk:
            self._advance()
        kept: FloatArray = self._kept[place]
        return kept

    def _advance(self) -> None:
        self._chunk += 1
        entropy, *spawned = self._key
        stream = np.random.SeedSequence(entropy, spawn_key=(*spawned, self._seed, self._chunk))
        xi = np.random.Generator(np.random.Philox(stream)).standard_normal((STRIDE, self._n))
        walk, u = np.empty_like(xi), self._exit
        for t in range(STRIDE):
            walk[t] = u
            u = self._persistence * u + xi[t]
        self._kept, self._exit = walk, u


@lru_cache(maxsize=512)
def _paths(seed: int, persistence: float, key: tuple[int, ...], n: int) -> _Paths:
    return _Paths(seed, persistence, key, n)


@lru_cache(maxsize=16)
def _block(seed: int, persistence: float, block: int) -> FloatArray:
    """Unit-spread walk at the steps of one block, [BLOCK]."""
    stream = np.random.SeedSequence(seed, spawn_key=(block,))
    xi = np.random.default_rng(stream).standard_normal(BLOCK).tolist()
    walk, u = [], _entry(seed, persistence, block)
    for x in xi:
        walk.append(u)
        u = persistence * u + x
    _exits[(seed, persistence, block)] = u
    array = np.array(walk)
    array.flags.writeable = False
    return array


_exits: dict[tuple[int, float, int], float] = {}
"""Where the walk leaves a block: 8 bytes for 4,096 steps, so a path never has to be kept."""


def _entry(seed: int, persistence: float, block: int) -> float:
    """Where the walk enters a block; makes the earlier ones where they were never visited."""
    if block == 0:
        return 0.0
    if (seed, persistence, block - 1) not in _exits:
        for earlier in range(block):
            if (seed, persistence, earlier) not in _exits:
                _block(seed, persistence, earlier)
    return _exits[(seed, persistence, block - 1)]
