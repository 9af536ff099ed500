"""What a replay amounts to: agreement with what was logged, and a summary."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gac_ref.errors import fail
from gac_ref.replay.table import fixed

if TYPE_CHECKING:
    from gac_ref.replay.rows import ReplayRow

QUANTITIES = (
    *("alpha", "refreshed", "proxy_sigma_s2", "proxy_sigma_r2", "proxy_delta_g2"),
    *("sigma_s2", "sigma_r2", "delta_g2", "delta_g2_capped", "mu_raw", "mu_ada"),
    *("prior", "mu_candidate", "mu_capped", "mu"),
)
"""What a trainer can log for comparison, in the order in which one update computes it."""

_ABSENT_IF = {
    **{"proxy_sigma_s2": "missing_s", "proxy_sigma_r2": "missing_r"},
    **{"proxy_delta_g2": "missing_delta", "sigma_s2": "not_ready", "sigma_r2": "not_ready"},
    **{"delta_g2": "not_ready", "delta_g2_capped": "not_ready"},
}
"""The flag with which a NaN in the reference means "no value", not "poisoned"."""


@dataclass(frozen=True)
class Difference:
    """A logged value that the reference does not confirm."""

    step: int
    quantity: str
    logged: float
    reference: float
    rank: int | None = None

    def __str__(self) -> str:
        """The difference in one line, with both values to the last digit."""
        rank = "" if self.rank is None else f" (rank {self.rank})"
        return (
            f"step {self.step}{rank}: {self.quantity} is logged as {self.logged!r}, the reference "
            f"has {self.reference!r} (difference {self.logged - self.reference:.3g})"
        )


@dataclass
class Comparison:
    r"""Holds the logged values against the reference, row by row.

    Equal means :math:`|logged - reference| \le atol + rtol\,|reference|`, or NaN in both. Where
    the reference has no value (``proxy_*`` between refreshes, a branch that the batch lacks, a
    statistic not seen yet), nothing is compared.

    Args:
        rtol: Relative tolerance. Values logged in float32 need about 1e-6.
        atol: Absolute tolerance.

    Attributes:
        first: The first difference: earliest step, then earliest quantity of one update.
        steps: Steps with something to compare.
        different: Steps with at least one difference.
        largest: The largest absolute difference of each compared quantity.
        ignored: Logged names that the reference has no value for.

    Raises:
        GACError: A tolerance is negative or not a number.
    """

    rtol: float = 1e-9
    atol: float = 1e-12
    first: Difference | None = field(default=None, init=False)
    steps: int = field(default=0, init=False)
    different: int = field(default=0, init=False)
    largest: dict[str, float] = field(default_factory=dict, init=False)
    ignored: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        """Refuse tolerances that would make the verdict meaningless."""
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not 0.0 <= value < math.inf:
                fail(f"{name} = {value!r} is outside [0, inf); pass a tolerance in that range")

    def add(self, row: ReplayRow) -> list[Difference]:
        """Compare one row; the differences found in it, in the order of one update."""
        ranks = row.rank_logged or {None: row.logged}
        found: list[Difference] = []
        compared = False
        for name in QUANTITIES:
            reference = float(getattr(row, name))
            if math.isnan(reference) and _has_no_value(row, name):
                continue
            for rank, logged in ranks.items():
                if name not in logged:
                    continue
                compared = True
                value = logged[name]
                gap = _gap(value, reference)
                self.largest[name] = max(self.largest.get(name, 0.0), gap)
                if gap > self.atol + self.rtol * abs(reference) or gap == math.inf:
                    found.append(Difference(row.step, name, value, reference, rank))
        self.ignored |= {name for logged in ranks.values() for name in logged} - set(QUANTITIES)
        self.steps += compared
        self.different += bool(found)
        if self.first is None and found:
            self.first = found[0]
        return found

    def lines(self) -> list[str]:
        """The verdict, in plain text."""
        if not self.steps:
            return []
        names = ", ".join(name for name in QUANTITIES if name in self.largest)
        tolerance = f"rtol {self.rtol:g}, atol {self.atol:g}"
        lines = [f"Logged against reference: {self.steps} steps, {tolerance}, on {names}"]
        if self.first is None:
            worst = max(self.largest.values())
            return [*lines, f"  no difference (the largest is {worst:.3g})"]
        lines.append(f"  {self.different} steps differ; the first is {self.first}")
        single = np.float32(self.first.reference) == np.float32(self.first.logged)
        if single:
            lines.append("  equal as float32: if the log is float32, compare with --rtol 1e-6")
        return lines


def _has_no_value(row: ReplayRow, name: str) -> bool:
    between = name.startswith("proxy_") and not row.refreshed
    return between or _ABSENT_IF.get(name) in row.flags


def _gap(logged: float, reference: float) -> float:
    """Absolute difference: 0 between two NaN or equal infinities, inf between NaN and a number."""
    if logged == reference or (math.isnan(logged) and math.isnan(reference)):
        return 0.0
    gap = abs(logged - reference)
    return math.inf if math.isnan(gap) else gap


@dataclass
class Summary:
    """What one run of :func:`replay` amounts to, in constant memory."""

    steps: int = 0
    missing: int = 0
    low: float = math.inf
    high: float = -math.inf
    last: ReplayRow | None = None
    acted: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, _Pairs] = field(default_factory=dict)

    def add(self, row: ReplayRow) -> None:
        """Count one row."""
        self.steps += 1
        self.missing += row.missing_before
        self.low, self.high = min(self.low, row.mu), max(self.high, row.mu)
        self.last = row
        for flag in row.flags:
            self.acted[flag] = self.acted.get(flag, 0) + 1
        truth = {**row.oracle, "mu": row.mu_oracle}
        for name in ("mu", "sigma_s2", "sigma_r2", "delta_g2"):
            estimate, true = float(getattr(row, name)), truth.get(name, math.nan)
            if math.isfinite(estimate) and math.isfinite(true):
                self.pairs.setdefault(name, _Pairs()).add(estimate, true)

    def lines(self) -> list[str]:
        """The summary, in plain text."""
        if self.last is None:
            return ["The trace has no steps."]
        lines = [
            f"{self.steps} steps; mu from {self.low:.4f} to {self.high:.4f}, "
            f"last {self.last.mu:.4f} at step {self.last.step}"
        ]
        if self.missing:
            lines.append(f"Steps missing: {self.missing}; mu after the first gap is a guess")
        shares = [f"{name} {n / self.steps:.1%}" for name, n in sorted(self.acted.items())]
        lines.append(f"Acted, as a share of the steps: {', '.join(shares) or 'nothing'}")
        if "mu" in self.pairs:
            pairs = self.pairs["mu"]
            lines.append(
                f"Against the true values ({pairs.count} steps): mean |mu - oracle mu| "
                f"{pairs.distance:.4f}"
            )
        if self.pairs:
            each = [f"{name} {fixed(pairs.correlation, 2)}" for name, pairs in self.pairs.items()]
            lines.append(f"Correlation with the true value: {', '.join(each)}")
        return lines


@dataclass
class _Pairs:
    """Running means and co-moments of (estimate, truth) pairs (Welford)."""

    count: int = 0
    distance: float = 0.0
    mean: tuple[float, float] = (0.0, 0.0)
    moments: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def add(self, x: float, y: float) -> None:
        self.count += 1
        self.distance += (abs(x - y) - self.distance) / self.count
        dx, dy = x - self.mean[0], y - self.mean[1]
        self.mean = (self.mean[0] + dx / self.count, self.mean[1] + dy / self.count)
        ex, ey = x - self.mean[0], y - self.mean[1]
        xx, xy, yy = self.moments
        self.moments = (xx + dx * ex, xy + dx * ey, yy + dy * ey)

    @property
    def correlation(self) -> float:
        xx, xy, yy = self.moments
        return xy / math.sqrt(xx * yy) if xx > 0.0 and yy > 0.0 else math.nan
