"""The random numbers of a step, and what they select whatever theta is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gac_ref._typing import FloatArray, IntArray
from gac_ref.errors import fail
from simulations.models.policy_paths import places_of, sample_paths, table_weights
from simulations.models.policy_tables import constants

if TYPE_CHECKING:
    from simulations.models.policy import PolicyModel

__all__ = ["Drawn", "PolicyDraw", "make_draw", "refill"]


class PolicyDraw(NamedTuple):
    """The random numbers of one step; nothing here depends on theta.

    Args:
        numbers: Uniform in [0, 1), [n, K]: for the prompts of the groups and of the demonstrations,
            the tokens of the demonstrations and of the rollouts, the rewards.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> Bandit().draw(np.random.default_rng(0), 3, 0).numbers.shape
        (3, 100)
    """

    numbers: FloatArray


@dataclass(frozen=True)
class Drawn:
    """What the random numbers of a step select whatever theta is, worked out where it is read.

    Args:
        model: The model.
        numbers: As in the draw; of the seeds of many blocks at once.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit(experts=5)
        >>> drawn = Drawn(bandit, *bandit.draw(np.random.default_rng(0), 3, 0))
        >>> drawn.prompts_s.shape, drawn.expert_pairs.shape
        ((3, 5), (1, 5, 3))
    """

    model: PolicyModel
    numbers: FloatArray

    @property
    def prompts_r(self) -> IntArray:
        """Prompt of each group, [n, P]."""
        return self._prompts("groups").T

    @property
    def prompts_s(self) -> IntArray:
        """Prompt of each demonstration, [n, B]."""
        return self._prompts("groups" if self.model.paired else "experts").T

    @property
    def expert_uses(self) -> FloatArray:
        """How often the demonstrations use each pair, [n, X, S, V]."""
        lead = self.numbers.shape[:1]
        return table_weights(places_of(self.expert_pairs, lead), np.ones(1), self.model.shape, lead)

    @cached_property
    def expert_pairs(self) -> IntArray:
        """State-action pairs of the demonstrations, [T, B, n]."""
        shape, edges = self.model.shape, constants(self.model).expert_edges
        start, tokens = self.prompts_s.T * shape.states, self.part("demonstrations")
        return sample_paths(edges, start, tokens, shape)[0]

    def _prompts(self, part: str) -> IntArray:
        prompts = self.model.shape.prompts
        scaled = self.part(part) * prompts
        return np.asarray(np.minimum(scaled.astype(np.int64), prompts - 1))

    def part(self, name: str) -> FloatArray:
        """The numbers of one use, with the seeds last.

        Args:
            name: "groups" [P, n], "experts" [B, n], "demonstrations" [T, B, n], "rollouts"
                [T, P, G, n] or "rewards" [P, G, n].
        """
        shape, columns = _parts(self.model)[name]
        part = np.ascontiguousarray(self.numbers[:, columns].T)
        return part.reshape(*shape, len(self.numbers))


def make_draw(model: PolicyModel, rng: np.random.Generator, n: int) -> PolicyDraw:
    """All random numbers of a step from one call of the generator.

    Raises:
        GACError: n is below 1.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> make_draw(Bandit(groups=2), np.random.default_rng(0), 5).numbers.shape
        (5, 66)
    """
    if n < 1:
        fail(f"n = {n} seeds; pass at least 1")
    _, last = _parts(model)["rewards"]
    return PolicyDraw(rng.random((n, last.stop)))


def refill(draw: PolicyDraw, rngs: Sequence[np.random.Generator]) -> None:
    """The numbers of equal shares of the seeds, one a generator, over those of a draw.

    Raises:
        GACError: The seeds have no equal shares.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> draw = make_draw(Bandit(), np.random.default_rng(0), 4)
        >>> refill(draw, [np.random.default_rng(1), np.random.default_rng(2)])
        >>> again = make_draw(Bandit(), np.random.default_rng(2), 2)
        >>> bool((draw.numbers[2:] == again.numbers).all())
        True
    """
    count = len(draw.numbers)
    share, left = divmod(count, len(rngs))
    if left:
        fail(f"{count} seeds have no equal shares for {len(rngs)} generators; pass a divisor")
    for index, rng in enumerate(rngs):
        rng.random(out=draw.numbers[index * share : (index + 1) * share])


@lru_cache(maxsize=64)
def _parts(model: PolicyModel) -> dict[str, tuple[tuple[int, ...], slice]]:
    """The shape of each use of the numbers and its columns, in their order."""
    horizon, groups = model.shape.horizon, (model.groups, model.group_size)
    parts: dict[str, tuple[int, ...]] = {
        "groups": (model.groups,),
        "experts": (model.experts,),
        "demonstrations": (horizon, model.experts),
        "rollouts": (horizon, *groups),
        "rewards": groups,
    }
    ends = itertools.accumulate(math.prod(shape) for shape in parts.values())
    return {
        name: (shape, slice(end - math.prod(shape), end))
        for (name, shape), end in zip(parts.items(), ends, strict=True)
    }
