"""Tables of states and actions: their layout and their constants.

A prompt's states are position 0, and then for each later position the previous token:
state ``1 + (t - 1) V + previous``. A state-action pair of prompt x has the code
``(x S + state) V + action``, its place in the flattened table [X, S, V].
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gac_ref._checks import frozen
from gac_ref._typing import FloatArray
from simulations.models.layout import flat
from simulations.models.softmax import cumulative, log_softmax

if TYPE_CHECKING:
    from simulations.models.policy import PolicyModel

__all__ = ["Constants", "SequenceLaw", "Shape", "constants"]


class Shape(NamedTuple):
    """Extents of a policy's table.

    Args:
        prompts: X.
        horizon: T, tokens in a sequence.
        states: S = 1 + (T - 1) V, states of a prompt.
        actions: V.

    Examples:
        >>> Shape.of(prompts=2, horizon=3, actions=4)
        Shape(prompts=2, horizon=3, states=9, actions=4)
    """

    prompts: int
    horizon: int
    states: int
    actions: int

    @classmethod
    def of(cls, *, prompts: int, horizon: int, actions: int) -> Shape:
        """The shape with its number of states worked out.

        Examples:
            >>> Shape.of(prompts=1, horizon=1, actions=4).states
            1
        """
        return cls(prompts, horizon, 1 + (horizon - 1) * actions, actions)

    @property
    def table(self) -> tuple[int, int, int]:
        """Extents (X, S, V) of the table.

        Examples:
            >>> Shape.of(prompts=2, horizon=3, actions=4).table
            (2, 9, 4)
        """
        return (self.prompts, self.states, self.actions)

    def block(self, t: int) -> slice:
        """The states of position t: one at t = 0, V later.

        Examples:
            >>> Shape.of(prompts=1, horizon=3, actions=4).block(2)
            slice(5, 9, None)
        """
        return slice(0, 1) if t == 0 else slice(1 + (t - 1) * self.actions, 1 + t * self.actions)


class SequenceLaw(NamedTuple):
    """The law of a sequence under a policy: what it is rewarded with, and where it goes.

    Args:
        chance: Probability of each reward level, [..., X, L].
        visits: Expected visits of each state, [..., X, S]; they sum to the horizon over S.

    Examples:
        >>> import numpy as np
        >>> SequenceLaw(np.array([[0.5, 0.5]]), np.ones((1, 1))).visits.tolist()
        [[1.0]]
    """

    chance: FloatArray
    visits: FloatArray


class Constants(NamedTuple):
    """Arrays that follow from a model's fields.

    Args:
        reference_logp: Log-probabilities of the reference policy, [X, S, V], nats.
        expert: The expert's probabilities, [X, S, V].
        expert_joint: Expected uses of each pair by the expert, [X, S, V].
        expert_edges: Running sums of the expert's probabilities, [X S, V].

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> float(constants(Bandit()).expert_joint.sum(axis=-1)[0, 0].round(12))
        1.0
    """

    reference_logp: FloatArray
    expert: FloatArray
    expert_joint: FloatArray
    expert_edges: FloatArray


@lru_cache(maxsize=64)
def constants(model: PolicyModel) -> Constants:
    """The constants of a model, built once for each configuration; read-only.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> constants(Bandit()) is constants(Bandit())
        True
    """
    expert = model.expert()
    visits = model.sequence_law(expert).visits
    return Constants(
        reference_logp=frozen(log_softmax(model.logits(model.reference()))),
        expert=frozen(expert),
        expert_joint=frozen(visits[..., None] * expert),
        expert_edges=frozen(flat(cumulative(expert))),
    )
