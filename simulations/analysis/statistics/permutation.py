r"""Permutation tests of equal means: signs of paired differences, or labels of two samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.statistics._samples import pairs, sample
from simulations.analysis.statistics.estimate import Outcome

__all__ = ["EXACT_UP_TO", "permutation_test"]

EXACT_UP_TO = 10_000
"""Permutations that are all listed; where there are more, a sample of them is drawn."""


def permutation_test(
    a: Any,
    b: Any,
    *,
    rng: np.random.Generator,
    paired: bool = True,
    resamples: int = 9999,
    level: float = 0.05,
) -> Outcome:
    """Two-sided permutation test; the statistic is the difference of the means.

    Under the hypothesis the sign of each paired difference is as likely + as - (`paired`), or the
    labels of the two samples are exchangeable. p is the share of permutations whose statistic is at
    least as extreme; drawn ones count the observed one in, :math:`p = (1 + k) / (1 + R)`, so that
    the test is valid at every R.

    Args:
        a: [n].
        b: [m]; m = n where paired.
        rng: Generator, used where there are more than `EXACT_UP_TO` permutations.
        paired: Whether value i of both is of one seed.
        resamples: Permutations drawn, R.
        level: The level that p will be held against; too few values to reach it are an error.

    Returns:
        Difference of means, p, and n (n + m where unpaired).

    Raises:
        GACError: So few values that no outcome has p <= level, unequal lengths where paired, or a
            value is not finite.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> permutation_test([1.0] * 6, [0.0] * 6, rng=rng)
        Outcome(statistic=1.0, p=0.03125, n=6)
        >>> permutation_test([1.0] * 3, [0.0] * 3, rng=rng)
        Traceback (most recent call last):
            ...
        gac_ref.errors.GACError: n = 3 pairs can give no p below 0.25; a sign test at level 0.05 \
needs at least 6

    References:
        Phipson and Smyth, arXiv:1603.05766, on the observed permutation in p; enumeration and
        sampling by :func:`scipy.stats.permutation_test`.
    """
    if not 0.0 < level < 1.0:
        fail(f"level = {level!r} is not inside (0, 1); pass 0.05, for example")
    if resamples < math.ceil(1.0 / level):
        fail(f"resamples = {resamples} can give no p of {level}; pass at least {1 / level:.0f}")
    return _signs(a, b, rng, resamples, level) if paired else _labels(a, b, rng, resamples, level)


def _signs(a: Any, b: Any, rng: np.random.Generator, resamples: int, level: float) -> Outcome:
    x, y = pairs(a, b)
    n, difference = x.size, x - y
    least = math.ceil(1.0 - math.log2(level) - 1e-12)  # 2 / 2^n <= level
    if n < least:
        fail(
            f"n = {n} pairs can give no p below {2.0 ** (1 - n):.4g}; a sign test at level {level} "
            f"needs at least {least}"
        )
    observed = float(difference.mean())
    if 2.0**n <= EXACT_UP_TO:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        means = (1.0 - 2.0 * bits) @ difference / n
        return Outcome(observed, float(np.mean(_extreme(means, observed, difference))), n)
    extreme = 0
    for first in range(0, resamples, 4096):  # a block of signs at a time bounds the memory
        signs = rng.integers(0, 2, size=(min(4096, resamples - first), n)) * 2 - 1
        extreme += int(np.count_nonzero(_extreme(signs @ difference / n, observed, difference)))
    return Outcome(observed, (1 + extreme) / (1 + resamples), n)


def _labels(a: Any, b: Any, rng: np.random.Generator, resamples: int, level: float) -> Outcome:
    from scipy.stats import permutation_test as scipy_permutation_test

    x, y = sample(a, "a"), sample(b, "b")
    smallest = 2.0 / math.comb(x.size + y.size, x.size) if x.size and y.size else 1.0
    if smallest > level:
        each = next(k for k in range(1, 64) if 2.0 / math.comb(2 * k, k) <= level)
        fail(
            f"n = {x.size} and m = {y.size} can give no p below {min(smallest, 1.0):.4g}; a "
            f"permutation test at level {level} needs at least {each} of each"
        )

    def difference(u: FloatArray, v: FloatArray, axis: int) -> FloatArray:
        return np.asarray(np.mean(u, axis=axis) - np.mean(v, axis=axis))

    exact = math.comb(x.size + y.size, x.size) <= EXACT_UP_TO
    found = scipy_permutation_test(
        (x, y),
        difference,
        permutation_type="independent",
        n_resamples=np.inf if exact else resamples,
        batch=4096,
        vectorized=True,
        rng=rng,
    )
    return Outcome(float(found.statistic), min(1.0, float(found.pvalue)), x.size + y.size)


def _extreme(means: FloatArray, observed: float, difference: FloatArray) -> Any:
    """At least as far from 0 as observed; sums in another order may differ by rounding."""
    slack = 1e-12 * float(np.abs(difference).mean())
    return np.abs(means) >= abs(observed) - slack
