r"""What "p < 0.05 and Cohen's d > 0.8 over three seeds" lets through, exactly and by simulation.

Three pairs reject at :math:`|t| > t_{2,\,0.975} = 4.30`, which is :math:`|d_z| > 2.48`; two samples
of three at :math:`|t| > t_{4,\,0.975} = 2.78`, which is :math:`|d| > 2.27`. So d > 0.8 holds
whenever p < 0.05 does, and asks for nothing more than the direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.statistics import noncentral_t_cdf

__all__ = ["Passing", "exact_passing", "simulate_criterion", "smallest_passing_d"]

LEVEL, LEAST_D = 0.05, 0.8


class Passing(NamedTuple):
    """How often the criterion is met.

    Args:
        share: Of all experiments, at each true effect, [k].
        wrong_direction: Of all experiments, p < 0.05 with the other sign, [k].
        p_alone: Of all experiments, p < 0.05 in the claimed direction, whatever d, [k].
        mean_d: Mean d of those that pass, [k]; NaN where none does.
        runs: Experiments.
    """

    share: FloatArray
    wrong_direction: FloatArray
    p_alone: FloatArray
    mean_d: FloatArray
    runs: int


def smallest_passing_d(seeds: int, *, paired: bool = True) -> float:
    """The smallest d that p < 0.05 allows.

    Examples:
        >>> round(smallest_passing_d(3), 2), round(smallest_passing_d(3, paired=False), 2)
        (2.48, 2.27)
    """
    from scipy.special import stdtrit

    if seeds < 2:
        fail(f"seeds = {seeds} is too few for a t test; at least 2 are needed")
    df = seeds - 1 if paired else 2 * seeds - 2
    critical = float(stdtrit(df, 1.0 - LEVEL / 2.0))
    return critical / math.sqrt(seeds) if paired else critical * math.sqrt(2.0 / seeds)


def exact_passing(effect: float, seeds: int, *, paired: bool = True) -> float:
    """Chance that normal data with a true d (d_z where paired) meet the criterion.

    Examples:
        >>> round(exact_passing(0.0, 3), 6)  # half of the two-sided level: the claimed direction
        0.025
    """
    df = seeds - 1 if paired else 2 * seeds - 2
    root = math.sqrt(seeds) if paired else math.sqrt(seeds / 2.0)
    least = max(smallest_passing_d(seeds, paired=paired), LEAST_D) * root
    return 1.0 - noncentral_t_cdf(least, df, effect * root)


def simulate_criterion(
    effects: Sequence[float],
    seeds: int,
    *,
    rng: np.random.Generator,
    runs: int,
    paired: bool = True,
) -> Passing:
    """Experiments of normal data, each judged by the criterion.

    Args:
        effects: True d (d_z where paired), [k].
        seeds: Seeds of an experiment (of each method), >= 2.
        rng: Generator.
        runs: Experiments at each effect.
        paired: Whether both methods ran on the same seeds.

    Examples:
        >>> found = simulate_criterion([9.0], 3, rng=np.random.default_rng(0), runs=100)
        >>> bool(found.share[0] > 0.9)
        True
    """
    from scipy.special import stdtr

    columns: list[tuple[float, float, float, float]] = []
    df = seeds - 1 if paired else 2 * seeds - 2
    for effect in effects:
        if paired:
            x = rng.normal(effect, 1.0, (runs, seeds))
            d = x.mean(axis=1) / x.std(axis=1, ddof=1)
            t = d * math.sqrt(seeds)
        else:
            x, y = rng.normal(effect, 1.0, (runs, seeds)), rng.normal(0.0, 1.0, (runs, seeds))
            pooled = (x.var(axis=1, ddof=1) + y.var(axis=1, ddof=1)) / 2.0
            d = (x.mean(axis=1) - y.mean(axis=1)) / np.sqrt(pooled)
            t = d * math.sqrt(seeds / 2.0)
        significant = 2.0 * stdtr(df, -np.abs(t)) < LEVEL
        passes = significant & (d > LEAST_D)
        columns.append(
            (
                float(passes.mean()),
                float((significant & (d < 0.0)).mean()),
                float((significant & (d > 0.0)).mean()),
                float(d[passes].mean()) if passes.any() else math.nan,
            )
        )
    share, wrong, alone, mean_d = (np.array(column) for column in zip(*columns, strict=True))
    return Passing(share, wrong, alone, mean_d, runs)
