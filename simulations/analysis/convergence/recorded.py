"""How fast the statistics of the recorded transformer drift, and the averaging that would fit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gac_ref import GACConfig, proxies
from gac_ref._typing import AnyArray, ArrayLike, FloatArray
from gac_ref.errors import fail
from gac_ref.traces import TraceReader
from simulations.analysis.question import finite

__all__ = ["LocalLevel", "fit_local_level", "recorded_drift"]

TRACE = Path(__file__).parents[2] / "recording" / "trace"

RATIOS = np.concatenate(([0.0], np.logspace(-6.0, 3.0, 361)))
"""Ratios tried, 40 a decade: a step of 6 %, far below any interval's width."""

HALF_CHI2 = 1.9207294103470562
"""Half the 95 % quantile of chi-square with one degree of freedom."""

FEWEST = 20
"""Shorter series do not tell drift from noise."""


class LocalLevel(NamedTuple):
    """Maximum-likelihood ratio of drift to noise variance, with its 95 % profile interval.

    Args:
        names: What the series are, [P].
        ratio: q / r a step, [P].
        low: Lower end; 0 where no drift is compatible, [P].
        high: Upper end, [P].
        n: Observations, [P].
        drift: q, [P].
        noise: r, [P].
    """

    names: AnyArray
    ratio: FloatArray
    low: FloatArray
    high: FloatArray
    n: AnyArray
    drift: FloatArray
    noise: FloatArray


def fit_local_level(series: ArrayLike, name: str = "series") -> LocalLevel:
    """Fit a random walk observed with noise, by the likelihood of its Kalman filter.

    The first value starts the filter (a diffuse prior); the noise variance is concentrated out.

    Args:
        series: [T].
        name: What it is, for messages.

    Returns:
        The fit, every array of length 1.

    Raises:
        GACError: A value is not finite, the series is constant or too short.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> walk = np.cumsum(rng.standard_normal(400)) + rng.standard_normal(400)
        >>> fit = fit_local_level(walk)
        >>> bool(fit.low[0] < 1.0 < fit.high[0])
        True

    References:
        Durbin and Koopman, "Time Series Analysis by State Space Methods", sections 2.9 and 2.10.
    """
    y = np.asarray(finite(np.asarray(series, dtype=np.float64), name))
    if y.ndim != 1 or y.size < FEWEST:
        fail(f"{name} has shape {y.shape}; pass one series of at least {FEWEST} values")
    if y.min() == y.max():
        fail(f"{name} is constant ({float(y[0])!r}); it has neither drift nor noise to compare")
    level, spread = np.full(RATIOS.shape, y[0]), np.ones(RATIOS.shape)
    squares, logs = np.zeros(RATIOS.shape), np.zeros(RATIOS.shape)
    for value in y[1:]:
        predicted = spread + RATIOS
        total = predicted + 1.0
        surprise = value - level
        squares += surprise**2 / total
        logs += np.log(total)
        level = level + predicted / total * surprise
        spread = predicted / total
    count = y.size - 1
    likelihood = -0.5 * (count * np.log(squares / count) + logs)
    best = int(np.argmax(likelihood))
    inside = RATIOS[likelihood >= likelihood[best] - HALF_CHI2]
    noise = squares[best] / count
    values = (RATIOS[best], inside.min(), inside.max(), y.size, RATIOS[best] * noise, noise)
    return LocalLevel(np.array([name]), *(np.array([value]) for value in values))


def recorded_drift(variant: str = "documented", path: Path = TRACE) -> LocalLevel:
    """Fit the three statistics of every recorded batch.

    Args:
        variant: The variant whose proxies are taken.
        path: The recording.

    Returns:
        The fits of sigma_s2, sigma_r2 and delta_g2.

    Raises:
        GACError: The recording cannot be read, or a statistic is missing in a batch.
    """
    config = GACConfig.variant(variant)
    names = ("sigma_s2", "sigma_r2", "delta_g2")
    values = []
    for step in TraceReader(path):
        found = proxies(config, step.batch)
        for has in ("has_s", "has_r", "has_delta"):
            if not np.all(getattr(found, has)):
                fail(
                    f"step {step.step} of {path.name} lacks a branch ({has}); leave it out by name"
                )
        values.append([float(getattr(found, name)) for name in names])
    columns = np.array(values).T
    fits = [fit_local_level(column, name) for name, column in zip(names, columns, strict=True)]
    return LocalLevel(*(np.concatenate(column) for column in zip(*fits, strict=True)))
