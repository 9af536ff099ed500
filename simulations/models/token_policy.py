r"""Tabular autoregressive token policy: every exact value by dynamic programming."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from gac_ref._checks import frozen
from gac_ref._typing import FloatArray
from simulations.models._checks import real
from simulations.models.sequences import SequenceTask
from simulations.models.tabular import TabularPolicy

__all__ = ["TokenPolicy"]


@dataclass(frozen=True, kw_only=True)
class TokenPolicy(SequenceTask, TabularPolicy):
    r"""A logit for each prompt, position, previous token and token.

    The state of position t > 0 is (t, previous token), and position 0 has one state, so
    :math:`d = X\,(V + (T - 1) V^2)`. The first-order history is enough: the optimal policy of a
    target pattern does not need more. Value, gradient, entropy, KL, the noise of both branches
    and the bias of GRPO are exact at any horizon, without enumerating the :math:`V^T` sequences.

    Args:
        start_skill: Added to the reference policy's logits of the target tokens.
        start_noise: Standard deviation of the reference policy's logits, >= 0.

    The other fields are those of :class:`~simulations.models.sequences.SequenceTask` and
    :class:`~simulations.models.policy.PolicyModel`.

    Raises:
        GACError: A field is out of range.

    Examples:
        >>> policy = TokenPolicy(prompts=2, vocabulary=3, horizon=3)
        >>> policy.dimension
        42
        >>> rng = np.random.default_rng(0)
        >>> theta = policy.start(rng, 4)
        >>> sample = policy.sample(theta, 0, policy.draw(rng, 4, 0))
        >>> sample.grad_r.shape, sorted(policy.outcomes(theta, 0))
        ((4, 42), ['entropy', 'kl', 'loss', 'reward', 'sft_loss'])
        >>> TokenPolicy(required=9)
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: TokenPolicy: required = 9 is above horizon = 4; lower it
    """

    start_skill: float = 1.0
    start_noise: float = 0.3

    name: ClassVar[str] = "token_policy"

    def __post_init__(self) -> None:
        """Validate."""
        real(self, "start_skill")
        real(self, "start_noise", low=0.0)
        SequenceTask.__post_init__(self)

    def reference(self) -> FloatArray:
        """Logits of the reference policy, [d]."""
        return _reference(self)


@lru_cache(maxsize=64)
def _reference(policy: TokenPolicy) -> FloatArray:
    # The task's own generator is taken by the targets; this is its second child.
    rng = np.random.default_rng([policy.task_seed, 1])
    shape = policy.shape
    table = policy.start_noise * rng.standard_normal((shape.prompts, shape.states, shape.actions))
    tokens = np.arange(shape.actions)
    for t in range(shape.horizon):
        is_target = tokens == policy.targets()[:, t, None]
        table[:, shape.block(t)] += policy.start_skill * is_target[:, None, :]
    return frozen(table.reshape(-1))
