"""One claim, one row: effect, interval, test, size, seeds and verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.claims.verdict import (
    NOT_TESTABLE,
    judge,
    judge_about,
    smallest_of_interest,
)
from simulations.analysis.statistics import (
    Estimate,
    benjamini_hochberg,
    cohens_d,
    cohens_dz,
    paired_difference,
    paired_t_test,
    permutation_test,
)
from simulations.sweeps.summary import share_interval

__all__ = [
    "Row",
    "about",
    "adjusted",
    "compared",
    "exact",
    "exceeds",
    "fewer",
    "often",
    "reduced",
    "untested",
]

SEED = 0
"""Of the permutations' signs."""


class Row(NamedTuple):
    """A claim and what was found.

    Args:
        key: Short name.
        claim: The claim, with whom it is compared here.
        effect: The effect, positive as claimed; a level where the claim is "about" a number.
        low: Lower end of its 95 % interval.
        high: Upper end.
        unit: Unit of the effect.
        p: Two-sided; NaN where nothing is tested.
        d: Cohen's d, positive as claimed: pooled for two controllers, d_z for one series against a
            threshold; NaN where there is no spread or no test.
        n: Independent observations.
        claimed: The paper's number.
        judged: The effect and its interval as the rule takes them.
        least: The smallest effect of interest, or the tolerance of an "about".
        kind: "number", "threshold", "about" or "none".
        part: Where it was read from; "" where there is nothing to read.
        verdict: One of the three words; "" before p is adjusted.
    """

    key: str
    claim: str
    effect: float
    low: float
    high: float
    unit: str
    p: float
    d: float
    n: int
    claimed: float
    judged: Estimate
    least: float
    kind: str
    part: str
    verdict: str = ""


def compared(
    key: str, claim: str, a: FloatArray, b: FloatArray, *, claimed: float, unit: str, part: str
) -> Row:
    """A larger mean of a than of b, seed by seed, against a claimed number."""
    found = paired_difference(a, b)
    return Row(
        key, claim, *found[:3], unit, _p(a, b), _pooled(a, b), found.n, claimed, found,
        smallest_of_interest(claimed), "number", part,
    )  # fmt: skip


def reduced(
    key: str, claim: str, a: FloatArray, b: FloatArray, *, claimed: float, part: str
) -> Row:
    r"""How much smaller a is than b, a geometric mean over seeds: :math:`1 - e^{E \ln (a/b)}`."""
    log_a, log_b = np.log(a), np.log(b)
    found = paired_difference(log_b, log_a)
    value, low, high = (1.0 - math.exp(-x) for x in found[:3])
    effect = Estimate(value, low, high, found.n)
    return Row(
        key, claim, *effect[:3], "1", _p(log_b, log_a), _pooled(log_b, log_a), found.n, claimed,
        effect, smallest_of_interest(claimed), "number", part,
    )  # fmt: skip


def exceeds(
    key: str, claim: str, values: FloatArray, *, threshold: float, unit: str, part: str
) -> Row:
    """A mean above a threshold, by a t test; one value a seed."""
    level = np.full(values.size, threshold)
    found = paired_difference(values, level)
    constant = float(np.ptp(values)) == 0.0
    p = math.nan if constant else paired_t_test(values, level).p
    d = math.nan if constant else cohens_dz(values, level).value
    shown = [x + threshold for x in found[:3]]
    return Row(
        key, claim, shown[0], shown[1], shown[2], unit, p, d, found.n, threshold, found, 0.0,
        "threshold", part,
    )  # fmt: skip


def often(key: str, claim: str, hits: FloatArray, *, threshold: float, part: str) -> Row:
    """A share of hits above a threshold, by an exact binomial test, with Wilson's interval."""
    from scipy.stats import binomtest

    n, count = hits.size, int(np.count_nonzero(hits))
    share, low, high = share_interval((hits != 0.0).astype(np.float64))
    judged = Estimate(share - threshold, low - threshold, high - threshold, n)
    p = float(binomtest(count, n, threshold).pvalue)
    return Row(
        key, claim, share, low, high, "1", p, math.nan, n, threshold, judged, 0.0, "threshold", part
    )  # fmt: skip


def fewer(
    key: str, claim: str, a: FloatArray, b: FloatArray, *, threshold: float, part: str
) -> Row:
    r"""By what share a is below b, above a threshold; counts, b > 0.

    The share is a mean over seeds of :math:`1 - a/b`. What is tested is
    :math:`a < (1 - \text{threshold})\, b`, which has spread where the share has none.
    """
    if not (b > 0.0).all():
        fail(f"{key}: {np.count_nonzero(b <= 0.0)} of {b.size} seeds have nothing to be below of")
    row = exceeds(key, claim, 1.0 - a / b, threshold=threshold, unit="1", part=part)
    return row._replace(p=_p((1.0 - threshold) * b, a), d=_pooled(b, a))


def about(
    key: str,
    claim: str,
    found: Estimate,
    *,
    claimed: float,
    tolerance: float,
    unit: str,
    part: str,
) -> Row:
    """A level that is about a number."""
    return Row(
        key, claim, *found[:3], unit, math.nan, math.nan, found.n, claimed, found, tolerance,
        "about", part,
    )  # fmt: skip


def exact(
    key: str, claim: str, value: float, *, threshold: float, unit: str, part: str, n: int, sign: int
) -> Row:
    """A number without sampling error, above (sign 1) or below (sign -1) a threshold."""
    excess = sign * (value - threshold)
    judged = Estimate(excess, excess, excess, n)
    return Row(
        key, claim, value, value, value, unit, math.nan, math.nan, n, threshold, judged, 0.0,
        "threshold", part,
    )  # fmt: skip


def untested(key: str, claim: str, *, claimed: float, unit: str) -> Row:
    """A claim that nothing in the toy corresponds to."""
    nan = math.nan
    nothing = Estimate(nan, nan, nan, 0)
    return Row(key, claim, nan, nan, nan, unit, nan, nan, 0, claimed, nothing, nan, "none", "")


def adjusted(rows: Sequence[Row]) -> list[Row]:
    """The rows with p adjusted over all that have one, and with verdicts."""
    tested = [i for i, row in enumerate(rows) if not math.isnan(row.p)]
    p: dict[int, float] = {}
    if tested:
        found = benjamini_hochberg([rows[i].p for i in tested])
        p = dict(zip(tested, found.tolist(), strict=True))
    return [_judged(row._replace(p=p.get(i, math.nan))) for i, row in enumerate(rows)]


def _judged(row: Row) -> Row:
    if row.kind == "none":
        return row._replace(verdict=NOT_TESTABLE)
    value, low, high, _ = row.judged
    if row.kind == "about":
        verdict = judge_about(value, low, high, claimed=row.claimed, tolerance=row.least)
    else:
        verdict = judge(value, low, high, row.p, least=row.least)
    return row._replace(verdict=verdict)


def _p(a: FloatArray, b: FloatArray) -> float:
    return permutation_test(a, b, rng=np.random.default_rng(SEED)).p


def _pooled(a: FloatArray, b: FloatArray) -> float:
    spread = float(np.ptp(a)) + float(np.ptp(b))
    return cohens_d(a, b).value if spread > 0.0 else math.nan
