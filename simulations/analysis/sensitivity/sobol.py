r"""Sobol indices: what share of an output's variance each input accounts for.

.. math::
    S_i = \frac{\mathrm{Var}\,E[f | x_i]}{\mathrm{Var} f}, \qquad
    T_i = \frac{E\,\mathrm{Var}[f | x_{\sim i}]}{\mathrm{Var} f}

from N (D + 2) evaluations on Saltelli's design, by SALib; the same evaluations by SciPy are the
cross-check. Intervals resample the N rows of the design, all inputs of a row together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.errors import fail
from simulations.analysis.question import finite

__all__ = ["Factor", "Indices", "design", "in_units", "salib_indices", "scipy_indices"]

KINDS = ("linear", "log", "log_complement", "integer", "levels")

LEVELS = 8
"""Values of a factor of kind "levels"."""


class Factor(NamedTuple):
    """An input and the law that it is drawn from.

    Args:
        name: Its name.
        low: Smallest value.
        high: Largest value.
        kind: "linear", uniform; "log", its logarithm uniform; "log_complement", the logarithm of
            1 - x uniform; "integer", uniform on the whole numbers low .. high; "levels", uniform
            on 8 values at equal distances.
    """

    name: str
    low: float
    high: float
    kind: str = "linear"


class Indices(NamedTuple):
    """First-order and total indices of D inputs with their intervals.

    Args:
        first: [D].
        first_low: [D].
        first_high: [D].
        total: [D].
        total_low: [D].
        total_high: [D].
        n: N, rows of the design.
    """

    first: FloatArray
    first_low: FloatArray
    first_high: FloatArray
    total: FloatArray
    total_low: FloatArray
    total_high: FloatArray
    n: int


def design(dimension: int, n: int, *, seed: int) -> FloatArray:
    """Saltelli's design in the unit cube, [n (D + 2), D]: for each row A, its D mixtures, B.

    Args:
        dimension: D, >= 1.
        n: N, a power of two, >= 2.
        seed: Of the scrambled Sobol sequence.

    Raises:
        GACError: n is no power of two.

    Examples:
        >>> design(3, 8, seed=0).shape
        (40, 3)

    References:
        Saltelli et al., Computer Physics Communications 181, 2010.
    """
    if n < 2 or n & (n - 1):
        fail(f"n = {n!r} is not a power of two; a Sobol sequence is balanced for those only")
    from SALib.sample import sobol as sample

    unit = sample.sample(_problem(dimension), n, calc_second_order=False, seed=seed)
    return np.asarray(unit, dtype=np.float64)


def in_units(unit: FloatArray, factors: Sequence[Factor]) -> dict[str, FloatArray]:
    """Columns of the unit cube as values of the factors.

    Raises:
        GACError: A factor of an unknown kind or without width.

    Examples:
        >>> found = in_units(np.array([[0.0], [0.5]]), [Factor("cap", 0.01, 1.0, "log")])
        >>> found["cap"].round(12).tolist()
        [0.01, 0.1]
    """
    out: dict[str, FloatArray] = {}
    for u, (name, low, high, kind) in zip(unit.T, factors, strict=True):
        if not low < high:
            fail(f"factor {name!r} has low = {low!r} and high = {high!r}; pass low < high")
        if kind == "linear":
            out[name] = low + (high - low) * u
        elif kind == "log":
            out[name] = np.exp(np.log(low) + (np.log(high) - np.log(low)) * u)
        elif kind == "log_complement":
            span = np.log(1.0 - low) - np.log(1.0 - high)
            out[name] = 1.0 - np.exp(np.log(1.0 - low) - span * u)
        elif kind == "integer":
            out[name] = np.minimum(np.floor(low + (high - low + 1.0) * u), high)
        elif kind == "levels":
            out[name] = low + (high - low) * np.minimum(np.floor(LEVELS * u), 7.0) / 7.0
        else:
            fail(f"factor {name!r}: kind = {kind!r} is not one of {', '.join(KINDS)}")
    return out


def salib_indices(y: FloatArray, dimension: int, *, resamples: int, seed: int) -> Indices:
    """Indices by SALib, with 95 % bootstrap intervals (normal approximation).

    Args:
        y: Output at the rows of :func:`design`, [n (D + 2)].
        dimension: D.
        resamples: Bootstrap resamples, >= 100.
        seed: Of the bootstrap.

    Raises:
        GACError: A constant output, one that is not finite, or a length that is no design's.

    Examples:
        >>> x = design(2, 256, seed=1)
        >>> found = salib_indices(x[:, 0] + 2.0 * x[:, 1], 2, resamples=100, seed=0)
        >>> found.first.round(1).tolist()
        [0.2, 0.8]
    """
    n = _rows(y, dimension, resamples)
    from SALib.analyze import sobol as analyze

    found: Any = analyze.analyze(
        _problem(dimension),
        y,
        calc_second_order=False,
        num_resamples=resamples,
        conf_level=0.95,
        seed=seed + 1,  # SALib takes a seed of 0 for none
    )
    first, total = np.asarray(found["S1"]), np.asarray(found["ST"])
    by_first, by_total = np.asarray(found["S1_conf"]), np.asarray(found["ST_conf"])
    return Indices(
        first, first - by_first, first + by_first, total, total - by_total, total + by_total, n
    )


def scipy_indices(y: FloatArray, dimension: int, *, resamples: int, seed: int) -> Indices:
    """The same by SciPy, with percentile intervals.

    SciPy's own bootstrap takes no generator, so it gives other bytes each time; here the rows are
    resampled with one.

    Args:
        y: Output at the rows of :func:`design`, [n (D + 2)].
        dimension: D.
        resamples: Bootstrap resamples, >= 100.
        seed: Of the bootstrap.

    Raises:
        GACError: As :func:`salib_indices`.

    Examples:
        >>> x = design(2, 256, seed=1)
        >>> found = scipy_indices(x[:, 0] + 2.0 * x[:, 1], 2, resamples=100, seed=0)
        >>> found.total.round(1).tolist()
        [0.2, 0.8]
    """
    n = _rows(y, dimension, resamples)
    rows, rng = y.reshape(n, dimension + 2), np.random.default_rng(seed)
    estimate = _scipy_estimate(rows)
    drawn = np.stack(
        [_scipy_estimate(rows[rng.integers(n, size=n)]) for _ in range(resamples)], axis=-1
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=-1)
    return Indices(estimate[0], low[0], high[0], estimate[1], low[1], high[1], n)


def _scipy_estimate(rows: FloatArray) -> FloatArray:
    """First-order and total indices of one design, [n, D + 2] -> [2, D]."""
    from scipy.stats import sobol_indices

    evaluated = {
        "f_A": rows[:, :1].T,
        "f_B": rows[:, -1:].T,
        "f_AB": rows[:, 1:-1].T[:, None, :],
    }
    found = sobol_indices(func=evaluated, n=rows.shape[0])
    return np.stack([found.first_order, found.total_order])


def _problem(dimension: int) -> dict[str, Any]:
    if dimension < 1:
        fail(f"dimension = {dimension!r} is below 1; pass one factor or more")
    names = [f"x{i}" for i in range(dimension)]
    return {"num_vars": dimension, "names": names, "bounds": [[0.0, 1.0]] * dimension}


def _rows(y: FloatArray, dimension: int, resamples: int) -> int:
    if y.ndim != 1 or y.size == 0 or y.size % (dimension + 2):
        fail(f"y has shape {y.shape}, which is no design of {dimension} factors; pass its outputs")
    finite(y, "outputs of the design")
    if np.ptp(y) == 0.0:
        fail(f"the output is {float(y[0])!r} everywhere; a constant has no variance to share out")
    if resamples < 100:
        fail(f"resamples = {resamples!r} is below 100, too few for a 95 % interval; pass more")
    return y.size // (dimension + 2)
