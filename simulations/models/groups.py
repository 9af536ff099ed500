r"""Group-relative advantages of sampled rewards, and the exact moments of the estimator they give.

A verifiable reward takes few values (levels) :math:`r_1 < \dots < r_L`. Given how many of a group's
G rollouts reach each level (a composition :math:`n`, multinomial), the advantages are fixed
numbers :math:`A_l(n)` and the rollouts are independent, so that the group's estimator

.. math:: h = \frac1G \sum_{i=1}^G A_i\, s_i, \qquad s_i = \nabla \ln \pi(\text{rollout } i)

has exact first and second moments as sums over compositions, whatever the number of actions.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gac_ref import CONVENTIONS, AdvantageConvention, group_advantages
from gac_ref._checks import frozen
from gac_ref._typing import FloatArray, IntArray
from gac_ref.errors import fail
from simulations.folds import row_min, row_sum

__all__ = [
    "ADVANTAGES",
    "EXACT_BASELINE",
    "CompositionTable",
    "GroupMoments",
    "advantages_of",
    "composition_table",
    "group_moments",
    "relative_advantages",
]

EXACT_BASELINE = "value"
"""The name of the advantage :math:`r - V(x)` with the exact value of the prompt as baseline."""

ADVANTAGES = (EXACT_BASELINE, *(n for n, c in CONVENTIONS.items() if c.spread == "group"))
"""Accepted names. A spread over the whole batch would make the groups dependent; left out."""

MAX_COMPOSITIONS = 20_000
"""Above this the sums over compositions cost more than they tell; a partial credit of 5 levels
fits up to a group of 24."""

MAX_GROUP = 1000
"""Binomial coefficients of a larger group leave the range of float64."""


class CompositionTable(NamedTuple):
    """Every composition of a group over the reward levels; M of them, L levels.

    Args:
        counts: Rollouts at each level, [M, L], integers that sum to G.
        coefficient: Multinomial coefficients, [M].
        advantages: :math:`A_l`, [M, L]; 0 for a level without rollouts.
        moments: :math:`n_l A_l / G` and :math:`n_l A_l^2 / G^2` for each l, and
            :math:`(n_l n_m - [l = m] n_l) A_l A_m / G^2` for each l and m, [M, L + L + L * L].

    Examples:
        >>> composition_table((0.0, 1.0), 2, "dr_grpo").counts.tolist()
        [[2, 0], [1, 1], [0, 2]]
    """

    counts: IntArray
    coefficient: FloatArray
    advantages: FloatArray
    moments: FloatArray


class GroupMoments(NamedTuple):
    r"""Exact moments of one group's estimator h, at a fixed prompt.

    Args:
        weight: :math:`E[A_i 1\{\text{level } l\}] / P(l)`, [..., L]: the mean of h is
            :math:`\sum_l w_l\, E[s\, 1\{l\}]`. 0 for a level without probability.
        second: :math:`E|h|^2`, [...].

    Examples:
        >>> GroupMoments(np.zeros(2), np.float64(1.0)).weight.tolist()
        [0.0, 0.0]
    """

    weight: FloatArray
    second: FloatArray


def advantages_of(rewards: FloatArray, levels: tuple[float, ...], convention: str) -> FloatArray:
    """Advantages of groups whose rewards are levels, [P, G, ...], trajectories last.

    Of two levels they depend on the rollout's own and on the number of wins in its group, and are
    looked up; :func:`relative_advantages` computes them for more.

    Args:
        rewards: [P, G, ...], G >= 2.
        levels: Reward levels, ascending.
        convention: A name in :data:`ADVANTAGES` other than "value".

    Examples:
        >>> advantages_of(np.array([[1.0, 0.0], [1.0, 1.0]]), (0.0, 1.0), "dr_grpo").tolist()
        [[0.5, -0.5], [0.0, 0.0]]
    """
    if len(levels) != 2:
        relative = relative_advantages(np.moveaxis(rewards, 1, -1), convention)
        return np.asarray(np.moveaxis(relative, -1, 1))
    by_wins = composition_table(levels, rewards.shape[1], convention).advantages
    won = rewards == levels[1]
    kind = np.min_scalar_type(2 * rewards.shape[1] + 1)  # small integers: a fraction of the memory
    place = 2 * won.sum(axis=1, keepdims=True, dtype=kind) + won
    return np.asarray(by_wins.reshape(-1).take(place))


def relative_advantages(rewards: FloatArray, convention: str) -> FloatArray:
    """Advantages of whole groups at once; :func:`gac_ref.group_advantages` on any leading axes.

    Args:
        rewards: Rewards, [..., G], finite, G >= 2.
        convention: A name in :data:`ADVANTAGES` other than "value".

    Returns:
        [..., G]; exactly 0 in a group of equal rewards.

    Raises:
        GACError: A group of one has nothing to compare with; an unknown convention.

    Examples:
        >>> relative_advantages(np.array([[1.0, 0.0], [1.0, 1.0]]), "dr_grpo").tolist()
        [[0.5, -0.5], [0.0, 0.0]]

    References:
        GRPO, arXiv:2402.03300; Dr. GRPO, arXiv:2503.20783; the conventions are those of
        :data:`gac_ref.CONVENTIONS`.
    """
    rule = _rule(convention)
    size = rewards.shape[-1]
    _at_least_two(size)
    # Against the lowest reward, so that a group of equal rewards is exactly 0.
    above = rewards - row_min(rewards)[..., None]
    centred: FloatArray = above - (row_sum(above) / size)[..., None]
    if not rule.divides:
        return centred
    variance = row_sum(centred * centred) / (size - rule.ddof)
    spread = np.sqrt(np.maximum(variance, rule.variance_floor))
    if rule.no_spread == "unit":
        spread = np.where(spread == 0.0, 1.0, spread)
    return np.asarray(centred / (spread + rule.eps)[..., None])


@lru_cache(maxsize=64)
def composition_table(
    levels: tuple[float, ...], group_size: int, convention: str
) -> CompositionTable:
    """The compositions of a group and the advantages that each gives; cached, read-only.

    Args:
        levels: Reward levels, ascending, L of them.
        group_size: G, >= 2.
        convention: A name in :data:`ADVANTAGES` other than "value".

    Raises:
        GACError: More than 20,000 compositions, a group of one or of more than 1000, or an
            unknown convention.

    Examples:
        >>> composition_table((0.0, 1.0), 4, "dr_grpo").coefficient.tolist()
        [1.0, 4.0, 6.0, 4.0, 1.0]
    """
    _rule(convention)
    _at_least_two(group_size)
    if group_size > MAX_GROUP:
        fail(
            f"group_size = {group_size} is above {MAX_GROUP}; lower it, or pass advantage = 'value'"
        )
    width = len(levels)
    number = math.comb(group_size + width - 1, width - 1)
    if number > MAX_COMPOSITIONS:
        fail(
            f"group_size = {group_size} with {width} reward levels has {number} compositions, "
            f"above {MAX_COMPOSITIONS}; lower one of them, or pass advantage = 'value'"
        )
    counts = np.array(list(_compositions(group_size, width)), dtype=np.int64)
    coefficient = np.array(
        [
            math.factorial(group_size) // math.prod(math.factorial(int(n)) for n in row)
            for row in counts
        ],
        dtype=np.float64,
    )
    members = np.concatenate([np.repeat(np.arange(width), row) for row in counts])
    ids = np.repeat(np.arange(number), group_size)
    values = np.zeros((number, width))
    values[ids, members] = group_advantages(
        np.asarray(levels)[members], ids, convention=_rule(convention)
    )
    n, scale = counts.astype(np.float64), float(group_size)
    pairs = n[:, :, None] * n[:, None, :] - n[:, :, None] * np.eye(width)
    cross = pairs * values[:, :, None] * values[:, None, :] / scale**2
    return CompositionTable(
        counts=frozen(counts),
        coefficient=frozen(coefficient),
        advantages=frozen(values),
        moments=frozen(
            np.concatenate((n * values / scale, n * values**2 / scale**2, _flat(cross)), axis=1)
        ),
    )


def group_moments(
    chance: FloatArray,
    squares: FloatArray,
    gram: FloatArray,
    *,
    levels: tuple[float, ...],
    group_size: int,
    advantage: str,
) -> GroupMoments:
    r"""Exact mean weights and second moment of one group's estimator.

    With :math:`q_l = P(l)`, :math:`\mu_l = E[s \mid l]` and the multinomial probability of n,

    .. math::
        E\,h = \sum_l E\Bigl[\frac{n_l A_l}{G}\Bigr] \mu_l, \qquad
        E|h|^2 = \sum_l E\Bigl[\frac{n_l A_l^2}{G^2}\Bigr] E[|s|^2 \mid l]
        + \sum_{l,m} E\Bigl[\frac{(n_l n_m - [l = m]\, n_l) A_l A_m}{G^2}\Bigr]
        \langle \mu_l, \mu_m \rangle

    and for the exact baseline, where :math:`A_l = r_l - V` whatever the others do,
    :math:`E|h|^2 = \frac1G \sum_l q_l A_l^2 E[|s|^2 | l] + (1 - \frac1G) |\sum_l q_l A_l \mu_l|^2`.

    Args:
        chance: q, [..., L], probabilities of the levels.
        squares: :math:`E[|s|^2 1\{l\}]`, [..., L], >= 0.
        gram: :math:`\langle E[s 1\{l\}], E[s 1\{m\}] \rangle`, [..., L, L].
        levels: Reward levels, ascending, L of them.
        group_size: G; >= 1 for the exact baseline, >= 2 otherwise.
        advantage: A name in :data:`ADVANTAGES`.

    Returns:
        The moments; exact up to rounding.

    Raises:
        GACError: As :func:`composition_table`.

    Examples:
        >>> half = np.array([0.5, 0.5])
        >>> moments = group_moments(half, half, np.zeros((2, 2)), levels=(0.0, 1.0),
        ...                         group_size=2, advantage="dr_grpo")
        >>> moments.weight.tolist(), float(moments.second)
        ([-0.25, 0.25], 0.0625)
    """
    reached = chance > 0.0
    scale = np.where(reached, 1.0 / np.where(reached, chance, 1.0), 0.0)
    if advantage == EXACT_BASELINE:
        value = (chance * np.asarray(levels)).sum(axis=-1, keepdims=True)
        weight = np.asarray(levels) - value
        own = (weight * weight * squares).sum(axis=-1) / group_size
        pairs = _flat(weight[..., :, None] * weight[..., None, :] * gram).sum(axis=-1)
        return GroupMoments(np.where(reached, weight, 0.0), own + pairs * (1.0 - 1.0 / group_size))
    table = composition_table(tuple(levels), group_size, advantage)
    powers = np.ones((*chance.shape, group_size + 1))
    for k in range(group_size):  # accumulate would run along each row by itself
        np.multiply(powers[..., k], chance, out=powers[..., k + 1])
    likelihood = np.broadcast_to(table.coefficient, (*chance.shape[:-1], len(table.counts)))
    for level in range(len(levels)):
        likelihood = likelihood * powers[..., level, :].take(table.counts[:, level], axis=-1)
    # One [1, M] by [M, K] product a row: as a single product over all rows, the bits of a row would
    # depend on how many there are.
    means = np.matmul(likelihood[..., None, :], table.moments)[..., 0, :]
    first, own, cross = np.split(means, (len(levels), 2 * len(levels)), axis=-1)
    conditional = _flat(gram * scale[..., :, None] * scale[..., None, :])
    second = row_sum(own * scale * squares) + row_sum(cross * conditional)
    return GroupMoments(first * scale, second)


def _flat(square: FloatArray) -> FloatArray:
    return square.reshape(*square.shape[:-2], -1)


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    """All tuples of `parts` counts that sum to `total`, by stars and bars."""
    rows = []
    for bars in itertools.combinations(range(total + parts - 1), parts - 1):
        edges = (-1, *bars, total + parts - 1)
        rows.append(tuple(b - a - 1 for a, b in itertools.pairwise(edges)))
    return rows[::-1]


def _rule(convention: str) -> AdvantageConvention:
    if convention not in ADVANTAGES or convention == EXACT_BASELINE:
        fail(
            f"advantage convention = {convention!r} is unknown here; pass one of "
            f"{', '.join(ADVANTAGES[1:])}"
        )
    return CONVENTIONS[convention]


def _at_least_two(size: int) -> None:
    if size < 2:
        fail(
            f"group_size = {size} leaves nothing to compare with; pass 2 or more, "
            "or advantage = 'value'"
        )
