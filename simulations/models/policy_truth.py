"""Exact gradient-space values of a policy model, assembled from the law of one sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gac_ref._typing import FloatArray
from simulations.folds import tree_sum
from simulations.models.groups import EXACT_BASELINE, group_moments
from simulations.models.layout import by_column
from simulations.models.policy_outcomes import law_of
from simulations.models.policy_tables import constants
from simulations.models.softmax import score_table
from simulations.problem import Truth

if TYPE_CHECKING:
    from simulations.models.policy import PolicyModel

__all__ = ["policy_truth"]


def policy_truth(model: PolicyModel, theta: FloatArray, p: FloatArray, uses: FloatArray) -> Truth:
    r"""Exact truth at theta [..., d].

    With :math:`m_x = E[h \mid x]` the mean of a group's estimator at prompt x and everything
    averaged over the prompts,

    .. math::
        \sigma_s^2 = \frac{E|\nabla \ln \pi(\tau)|^2 - |g_s|^2}{B}, \qquad
        \sigma_r^2 = \frac{E_x E[|h|^2 \mid x] - |E_x m_x|^2}{P}, \qquad
        \kappa = \frac{E_x \langle m^s_x, m^r_x \rangle - \langle g_s, E_x m^r_x \rangle}{P}

    kappa only where demonstrations and groups share their prompts, else exactly 0. The
    differences are clipped at 0, below which only rounding can take them.

    Args:
        model: The model.
        theta: [..., d].
        p: Probabilities at theta, [..., X, S, V].
        uses: Expected uses of each pair at each level under them, [..., X, L, S, V].

    Returns:
        The truth; `bias_r` is 0.0 for the exact baseline.

    Examples:
        >>> from simulations.models.bandit import Bandit
        >>> bandit = Bandit(advantage="value")
        >>> p = np.full((4, 1, 5), 0.2)
        >>> policy_truth(bandit, np.zeros(20), p, bandit.level_uses(p)).bias_r
        0.0
    """
    prompts = model.shape.prompts
    levels = np.asarray(model.levels)
    chance = law_of(uses).chance
    of_expert = np.broadcast_to(
        constants(model).expert_joint[..., None, :, :], (*uses.shape[:-3], 1, *p.shape[-2:])
    )
    joint = np.concatenate((uses, of_expert), axis=-3)
    scores = score_table(joint, p[..., None, :, :])
    # The expert's products with the levels are read for kappa alone.
    seen = slice(None if model.paired else -1)
    gram = np.ascontiguousarray(
        model.score_gram(theta, joint[..., seen, :, :], scores[..., seen, :, :])
    )
    squares = np.ascontiguousarray(model.score_squares(theta, p, joint))
    group = group_moments(
        np.ascontiguousarray(chance),
        squares[..., :-1],
        np.ascontiguousarray(gram[..., : len(levels), : len(levels)]),
        levels=model.levels,
        group_size=model.group_size,
        advantage=model.advantage,
    )

    each = range(len(levels))

    def gradient(weights: FloatArray) -> FloatArray:
        """Minus the prompts' mean of the weighted scores; one weight a level, [..., X, L]."""
        shares = by_column(weights / -prompts, 2)[..., None, None]
        *terms, last = (shares[..., level, :, :] * scores[..., level, :, :] for level in each)
        for term in terms[1:]:
            terms[0] += term
        return model.pullback(theta, model.as_read(np.add, terms[0], last))

    share = np.full((1, 1, 1), -1.0 / prompts)
    g_s = model.pullback(theta, model.as_read(np.multiply, scores[..., -1, :, :], share))
    g_r = gradient(np.broadcast_to(levels, chance.shape))
    unbiased = model.advantage == EXACT_BASELINE
    mean_r = g_r if unbiased else gradient(group.weight)
    difference = g_s - g_r
    kappa: FloatArray | float = 0.0
    if model.paired:
        within = (group.weight * gram[..., :-1, -1]).sum(axis=-1).mean(axis=-1)
        kappa = (within - tree_sum(g_s * mean_r)) / model.groups
    of_demonstration = np.ascontiguousarray(squares[..., -1]).mean(axis=-1)
    return Truth(
        g_s=g_s,
        g_r=g_r,
        sigma_s2=np.maximum(of_demonstration - tree_sum(g_s * g_s), 0.0) / model.experts,
        sigma_r2=np.maximum(group.second.mean(axis=-1) - tree_sum(mean_r * mean_r), 0.0)
        / model.groups,
        delta_g2=tree_sum(difference * difference),
        kappa=kappa,
        bias_s=0.0,
        bias_r=0.0 if unbiased else mean_r - g_r,
    )
