r"""What every derivation is built from: roundings, sums, square roots of uncertain numbers, terms.

Forward running error analysis to first order: each elementary operation errs by at most u times
the size of its result, a sum of n terms by at most

.. math:: \min\bigl(\lambda \sqrt d,\; d / (1 - d u)\bigr)\, u \sum_i |x_i|

and an error on the way in is multiplied by the absolute value of the derivative. Products of two
errors are kept where they can be seen (in squares and near a spread of 0) and otherwise covered by
`GUARD`.

References:
    Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., sections 3.1 and 4.2;
    Higham and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci.
    Comput. 41(5), 2019, theorem 2.4; Ipsen and Zhou, SIAM J. Matrix Anal. Appl. 41(4), 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from gac_ref.config import GACConfig
from gac_ref.conformance.formats import FORMATS, narrow, widen
from gac_ref.conformance.tolerance.precision import Precision

__all__ = [
    "COMPARISONS",
    "EITHER",
    "EXACT",
    "EXP_ULPS",
    "FAILURE",
    "GUARD",
    "LAM",
    "LATER",
    "MARGIN",
    "Arithmetic",
    "Budget",
    "Number",
    "Term",
    "Tolerance",
    "Work",
    "arithmetic",
    "root_error",
    "variance",
]

Number: TypeAlias = Any
"""A float or a float array; derivations are written once for both."""

FAILURE = 1e-6
"""Accepted probability that a correct port exceeds any bound on a sum, over a whole pack."""

COMPARISONS = 1_000_000
"""Numbers compared when one port is checked on a whole pack; no pack of 5 MB holds more."""

LAM = math.sqrt(2.0 * math.log(2.0 * COMPARISONS / FAILURE))
r""":math:`\lambda`: a sum of mean-independent roundings leaves :math:`\lambda\sqrt d\,u S` with
probability at most :math:`2 e^{-\lambda^2/2}` (Azuma), which times COMPARISONS is FAILURE."""

EXP_ULPS = 3.0
"""exp, expm1 and cos in units of the last place: 1 in SLEEF and in the usual C libraries, 2 in
CUDA's documentation of float, 2.52 in NumPy's vectorised exp of float32 (its own account; 2.516 in
20 million draws)."""

GUARD = 1.1
"""For the products of two errors that first order drops: they are below a tenth of the sum of
errors as long as each relative error is below a tenth. The others are kept explicitly."""

LATER = 4.0
"""Roundings that an error passes through on its way out of one linear stage."""

MARGIN = 1.2
"""A decision counts as open up to this many times its first-order error: a little above the guard
of the limits, so that a flag is never held against a value that was let through."""

U64 = FORMATS["fp64"].unit_roundoff
"""The golden values are the true ones rounded once to float64."""

# GPUs flush subnormal float32 and bfloat16 results to 0; float16 and float64 keep theirs.
_TINY = {"fp64": 2.0**-1074, "fp32": 2.0**-126, "fp16": 2.0**-24, "bf16": 2.0**-126}


class Term(NamedTuple):
    """One summand of a bound: its name, how it comes about, and its size."""

    name: str
    formula: str
    size: FloatArray


class Tolerance(NamedTuple):
    """How far an output may be from its golden value.

    Args:
        limit: Largest absolute error of each element, broadcastable to the output; 0 for exact.
            For a flag 0, or 1 where rounding may decide it either way.
        alternatives: Other values that are right as a whole, of the shape of the output, because
            a discrete decision lies within the error of its kink.
        terms: What the limit is the sum of; filled only where a derivation is asked for.
    """

    limit: FloatArray
    alternatives: tuple[Any, ...] = ()
    terms: tuple[Term, ...] = ()


EXACT = Tolerance(np.asarray(0.0))
"""No error at all: shapes, counts, decided flags, bits in transport."""

EITHER = Tolerance(np.asarray(1.0))
"""A flag whose margin is within the error."""


class Arithmetic:
    """Rounding in one format with one order of additions."""

    def __init__(self, name: str, accumulation: str) -> None:
        self.name = name
        self.u = FORMATS[name].unit_roundoff
        self.tiny = _TINY[name]
        # A config constant or an input is a float64: exact there, rounded once elsewhere.
        self.constant = 0.0 if name == "fp64" else self.u
        self.exp = 2.0 * EXP_ULPS * self.u
        self._tree = accumulation == "tree"

    def sum(self, count: Number, *, systematic: Number = False) -> Number:
        """Relative error of a sum of `count` terms, against the sum of their absolute values.

        `systematic` where the terms are equal: their roundings then are too, and only the worst
        case is a bound.
        """
        if isinstance(count, np.ndarray):
            return self._sums(count, systematic)
        depth = float(max(count - 1, 0))
        if self._tree and count > 2:
            depth = min(depth, math.ceil(math.log2(count)) + 1.0)
        worst = depth * self.u
        likely = LAM * math.sqrt(depth) * self.u
        if worst >= 0.5 or (not systematic and likely < worst):
            return likely
        return worst / (1.0 - worst)

    def _sums(self, count: AnyArray, systematic: Number) -> FloatArray:
        depth = np.maximum(count - 1.0, 0.0)
        if self._tree:
            depth = np.minimum(depth, np.ceil(np.log2(np.maximum(count, 1))) + 1.0)
        worst = depth * self.u
        likely = LAM * np.sqrt(depth) * self.u
        worst = np.where(worst < 0.5, worst / np.maximum(1.0 - worst, 0.5), likely)
        return np.asarray(np.where(systematic, worst, np.minimum(worst, likely)))

    def exponential(self, argument: Number) -> Number:
        """Relative error of exp, also where it is exp2 of a rounded multiple of the argument.

        Shader and tile compilers do the latter, and the rounding of the multiple costs 2u times
        the size of the argument.
        """
        return self.exp + 2.0 * self.u * abs(argument)

    def rounding(self, values: Number) -> Number:
        """Error of the one rounding of inputs into this format; 0 where they fit."""
        if self.name == "fp64":
            return 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.abs(self.rounded(values) - values)
        return np.where(np.isfinite(error), error, 0.0)

    def rounded(self, values: Number) -> FloatArray:
        """The values as this format holds them."""
        return widen(narrow(values, self.name), self.name)


class Budget:
    """The terms of one bound, added up; their formulas are kept only for a derivation."""

    __slots__ = ("count", "guard", "terms", "total")

    def __init__(self, keep: bool, guard: float) -> None:
        self.guard = guard
        self.total: Number = 0.0
        self.count = 0
        self.terms: list[Term] | None = [] if keep else None

    def add(self, name: str, size: Number, formula: str = "", **numbers: float) -> None:
        """Add one term; `numbers` go into the formula."""
        self.total = self.total + size
        self.count += 1
        if self.terms is not None:
            shown = {key: f"{float(value):.4g}" for key, value in numbers.items()}
            self.terms.append(Term(name, formula.format(**shown), np.asarray(size)))

    def tolerance(self, golden: Number, tiny: float, alternatives: tuple[Any, ...] = ()) -> Any:
        """The limit: the guarded sum, underflow, and the rounding of the golden value itself."""
        oracle = U64 * abs(golden)
        limit = self.guard * self.total + oracle + tiny
        if isinstance(limit, float):
            if limit != limit:
                limit = 0.0
        else:
            limit = np.where(np.isnan(limit), 0.0, limit)
        terms: tuple[Term, ...] = ()
        if self.terms is not None:
            rest = self.guard - 1.0
            guard = Term("products of errors", f"{rest:.2g} * sum", np.asarray(rest * self.total))
            last = Term("rounding of the golden value", "2^-53 |golden|", np.asarray(oracle))
            floor = Term("underflow", f"{tiny:.3g}", np.asarray(tiny))
            terms = (*self.terms, guard, last, floor)
        return Tolerance(np.asarray(limit), alternatives, terms)


class Work:
    """What a derivation reads: the configuration, the values and their errors, and the arithmetic.

    Args:
        config: The configuration.
        values: Inputs and golden outputs by name, wide.
        precision: The port's.
        errors: Absolute errors of inputs by name, those missing being exact; None where the
            inputs are injected as float64 and rounded once.
        keep: Whether the terms are kept.
    """

    def __init__(
        self,
        config: GACConfig,
        values: Mapping[str, Any],
        precision: Precision,
        errors: Mapping[str, Number] | None = None,
        keep: bool = False,
    ) -> None:
        self.config = config
        self.values = values
        self.precision = precision
        self.errors = errors
        self.keep = keep

    @property
    def injected(self) -> bool:
        """Whether the inputs are handed over as float64, and rounded once."""
        return self.errors is None

    @cached_property
    def tokens(self) -> Arithmetic:
        """The arithmetic of tokens and sequences."""
        return arithmetic(self.precision.tokens, self.precision.accumulation)

    @cached_property
    def scalars(self) -> Arithmetic:
        """The arithmetic of the controller."""
        return arithmetic(self.precision.scalars, self.precision.accumulation)

    @cached_property
    def coarser(self) -> Arithmetic:
        """The wider-spaced of the two: the proxies stand between tokens and scalars."""
        return max(self.tokens, self.scalars, key=lambda one: one.u)

    def real(self, name: str, where: Arithmetic) -> tuple[Number, Number]:
        """A real input and its absolute error."""
        value = self.values[name]
        if self.errors is None:
            size = abs(value) * where.constant
            return value, size if not where.constant else size + where.tiny
        return value, self.errors.get(name, 0.0)

    def budget(self) -> Budget:
        """An empty sum of terms."""
        return Budget(self.keep, GUARD)

    def linear(self, where: Arithmetic) -> Budget:
        """The same for what is linear in its inputs: errors only meet later roundings.

        With the general guard the error of a state would grow tenfold in 25 stages.
        """
        return Budget(self.keep, 1.0 + LATER * where.u)


_ARITHMETIC = {
    (name, accumulation): Arithmetic(name, accumulation)
    for name in FORMATS
    for accumulation in ("sequential", "tree")
}


def arithmetic(name: str, accumulation: str) -> Arithmetic:
    """The arithmetic of one format."""
    return _ARITHMETIC[name, accumulation]


def variance(
    where: Arithmetic, values: FloatArray, errors: Number, *, systematic: bool = False
) -> tuple[float, dict[str, float]]:
    r"""The population variance of a sample and the parts of its error.

    With a = :meth:`Arithmetic.sum`, v the variance and m the mean:

    * inputs: :math:`\frac2n \sum |x_i - m| \delta_i + \frac1n \sum \delta_i^2`;
    * summation of squares by any backward stable algorithm, one-pass (Welford, Chan) or two-pass:
      :math:`a \sqrt{v (v + m^2)}`, the condition number of the variance times v (Chan, Golub and
      LeVeque 1983, table 1). Raw second moments err by :math:`a (v + m^2)` and are not covered;
    * centring on a rounded mean: :math:`(a\, \overline{|x|})^2`, second order by the identity
      :math:`\overline{(x - m - \eta)^2} = v + \eta^2`, and all that is left where v = 0.
    """
    n = len(values)
    mean = float(values.sum()) / n
    deviation = values - mean
    v = float((deviation * deviation).sum()) / n
    a, u = where.sum(n, systematic=systematic), where.u
    centring = (a + 2.0 * u) * (float(np.abs(values).sum()) / n)
    squares = np.square(errors)
    return v, {
        "inputs": (2.0 * float((np.abs(deviation) * errors).sum()) + float(np.sum(squares))) / n,
        "squares": a * math.sqrt(v * (v + mean * mean)) + 4.0 * u * v,
        "centring": centring * centring,
    }


def root_error(v: float, error: float, u: float) -> float:
    r"""Absolute error of :math:`\sqrt v`: :math:`\delta / (\sqrt v + \sqrt{v - \delta})`."""
    root = math.sqrt(v)
    bottom = root + math.sqrt(max(v - error, 0.0))
    return (error / bottom if bottom > 0.0 else math.sqrt(error)) + u * root
