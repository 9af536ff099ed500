"""Exact outcomes of a policy model, from the law of one sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gac_ref._typing import FloatArray
from simulations.folds import row_sum, tree_sum
from simulations.models.policy_tables import SequenceLaw, constants
from simulations.models.softmax import entropy, kl_divergence

if TYPE_CHECKING:
    from simulations.models.policy import PolicyModel

__all__ = ["law_of", "policy_outcomes"]


def policy_outcomes(
    model: PolicyModel, logp: FloatArray, p: FloatArray, law: SequenceLaw
) -> dict[str, FloatArray]:
    r"""Exact outcomes, each [...].

    `reward` is the value V; `loss` is the best attainable value minus V; `sft_loss` is the
    expected NLL of a demonstration; `kl` is :math:`KL(\pi \| \pi_{ref})` and `entropy` the
    policy's, both over whole sequences and divided by the horizon.

    Args:
        model: The model.
        logp: Log-probabilities, [..., X, S, V], nats.
        p: Their exponentials.
        law: The law of a sequence under them.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit, p = Bandit(contexts=1, arms=2), np.full((1, 1, 2), 0.5)
        >>> found = policy_outcomes(bandit, np.log(p), p, bandit.sequence_law(p))
        >>> float(found["reward"]), float(found["entropy"].round(6))
        (0.5, 0.693147)
    """
    fixed, horizon = constants(model), model.shape.horizon
    reward = _per_prompt(law.chance * np.asarray(model.levels))
    return {
        "reward": reward,
        "loss": model.best_value() - reward,
        "sft_loss": _per_prompt(-row_sum(fixed.expert_joint * logp)),
        "kl": _per_prompt(law.visits * kl_divergence(logp, fixed.reference_logp, p)) / horizon,
        "entropy": _per_prompt(law.visits * entropy(logp, p)) / horizon,
    }


def law_of(uses: FloatArray) -> SequenceLaw:
    """The law of a sequence from the expected uses of each pair at each level, [..., X, L, S, V].

    Examples:
        >>> law_of(np.full((1, 2, 1, 2), 0.25)).chance.tolist()
        [[0.5, 0.5]]
    """
    # Every sequence uses exactly one pair at position 0.
    chance = row_sum(uses[..., 0, :])
    return SequenceLaw(chance, row_sum(row_sum(np.moveaxis(uses, -3, -1))))


def _per_prompt(values: FloatArray) -> FloatArray:
    """Mean over the prompts of a sum over what follows, [..., X, K] to [...]."""
    return np.asarray(tree_sum(values.reshape(*values.shape[:-2], -1)) / values.shape[-2])
