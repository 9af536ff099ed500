"""Faults in the disagreement of a sequence and in the z-scores below it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import fault, under

__all__ = ["FAULTS"]

_fault = partial(fault, "sequences")


def _one_pass(dtype: Any) -> Callable[[Model, AnyArray], Any]:
    """Raw second moments less the squared mean."""

    def variance(port: Model, values: AnyArray) -> Any:
        x = values.astype(dtype)
        n = x.dtype.type(x.size)
        mean = x.sum() / n
        return values.dtype.type(max((x * x).sum() / n - mean * mean, 0.0))

    return variance


def _rescaled(change: Callable[[int], float]) -> Callable[[Model, AnyArray], Any]:
    return lambda port, values: port.variance(values) * values.dtype.type(change(values.size))


def _per_sequence(port: Model, x: AnyArray, rows: AnyArray, m: AnyArray) -> tuple[AnyArray, bool]:
    """Each row normalised by its own mean and spread."""
    z, constant = np.zeros_like(x), bool(rows.any())
    for row in np.flatnonzero(rows):
        alone = np.arange(len(x)) == row
        z_row, flat = Model.normalised(port, x, alone, m)
        z[row], constant = z_row[row], constant and flat
    return z, constant


def _halves(port: Model, x: AnyArray, rows: AnyArray, m: AnyArray) -> tuple[AnyArray, bool]:
    """Each half of the batch normalised by itself, as two ranks would do it alone."""
    z, constant = np.zeros_like(x), True
    first = np.arange(len(x)) < (len(x) + 1) // 2
    for half in (first, ~first):
        z_half, flat = Model.normalised(port, x, rows & half, m)
        z[half], constant = z_half[half], constant and flat
    return z, constant


def _pool(rows: Any = None, mask: Any = None) -> Callable[..., tuple[AnyArray, bool]]:
    """Other rows, or another mask, in the pool."""
    keep = lambda a: a  # noqa: E731
    rows, mask = rows or keep, mask or keep
    return lambda port, x, r, m: Model.normalised(port, x, rows(r), mask(m))


def _scaled(scale: bool, centre: bool) -> Callable[..., tuple[AnyArray, bool]]:
    def normalised(port: Model, x: AnyArray, r: AnyArray, m: AnyArray) -> tuple[AnyArray, bool]:
        z, constant = Model.normalised(port, x, r, m)
        values = x[m & r[:, None]]
        if constant or not values.size or not np.isfinite(values).all():
            return z, constant
        mean, spread = values.mean(), np.sqrt(port.variance(values))
        return (x - (mean if centre else 0.0)) / (spread if scale else x.dtype.type(1.0)), False

    return normalised


def _with_eps(port: Model, x: AnyArray, r: AnyArray, m: AnyArray) -> tuple[AnyArray, bool]:
    z, constant = Model.normalised(port, x, r, m)
    values = x[m & r[:, None]]
    if constant or not values.size:
        return z, constant
    spread = np.sqrt(port.variance(values))
    return z * (spread / (spread + x.dtype.type(1e-5))), False


def _row_means(port: Model, x: AnyArray, r: AnyArray, m: AnyArray) -> tuple[AnyArray, bool]:
    """Centred on the mean of the rows' means."""
    z, constant = Model.normalised(port, x, r, m)
    values = x[m & r[:, None]]
    if constant or not values.size:
        return z, constant
    spread = np.sqrt(port.variance(values))
    full = r & m.any(axis=-1)
    centre = port.masked_mean(x, m)[full].mean()
    return (x - centre) / spread, False


def _clipped(port: Model, x: AnyArray, r: AnyArray, m: AnyArray) -> tuple[AnyArray, bool]:
    z, constant = Model.normalised(port, x, r, m)
    return np.clip(z, -1.5, 1.5), constant


def _spread_kept(port: Model, x: AnyArray, r: AnyArray, m: AnyArray) -> tuple[AnyArray, bool]:
    """A constant stream keeps its values."""
    z, constant = Model.normalised(port, x, r, m)
    return (x, constant) if constant else (z, constant)


def _disagree(of: Callable[[AnyArray, AnyArray], AnyArray]) -> Callable[..., AnyArray]:
    return lambda port, v, z_s, z_r: port.masked_mean(of(z_s, z_r), v["response_mask"])


def _before_squaring(port: Model, v: Any, z_s: AnyArray, z_r: AnyArray) -> AnyArray:
    return np.square(port.masked_mean(z_s - z_r, v["response_mask"]))


def _flags(change: Callable[[bool, bool], tuple[bool, bool]]) -> Callable[[Model, Any], Any]:
    def streams(port: Model, v: Any) -> Any:
        z_s, z_r, constant_s, constant_r = Model.streams(port, v)
        return z_s, z_r, *change(constant_s, constant_r)

    return streams


FAULTS = (
    _fault("z-score with ddof 1", "The sample standard deviation of the streams.",
           stream_variance=_rescaled(lambda n: n / max(n - 1, 1))),
    _fault("z-score by the variance", "The square root is missing.",
           stream_variance=lambda s, x: np.square(s.variance(x))),
    _fault("one-pass variance of the streams in float32", "Cancels where the mean is large.",
           stream_variance=_one_pass(np.float32)),
    _fault("one-pass variance of the streams in float16", "Raw moments in float16.",
           stream_variance=_one_pass(np.float16)),
    _fault("z-score pooled per sequence", "Each row is normalised by itself.",
           normalised=_per_sequence),
    _fault("z-score of each rank", "Half of the batch knows nothing of the other half.",
           normalised=_halves),
    _fault("z-score pooled over all rows", "The demonstrations enter the mean and the spread.",
           normalised=_pool(rows=np.ones_like)),
    _fault("z-score pooled over the padding", "The mask is not used in the pool.",
           normalised=_pool(mask=np.ones_like)),
    _fault("z-score without its mean", "Divided by the spread, not centred.",
           normalised=_scaled(scale=True, centre=False)),
    _fault("z-score without its spread", "Centred, not divided.",
           normalised=_scaled(scale=False, centre=True)),
    _fault("z-score centred on the mean of means", "Sequences vote, not tokens.",
           normalised=_row_means),
    _fault("z-score with eps on the spread", "1e-5 is added to the standard deviation.",
           normalised=_with_eps),
    _fault("z-scores clipped", "Bounded to 1.5 standard deviations.", normalised=_clipped),
    _fault("constant stream kept", "A stream without spread keeps its values.",
           normalised=_spread_kept),
    _fault("constant stream normalised",
           "Whatever spread rounding left is divided by: a constant stream becomes noise.",
           negligible=lambda s, n: -1.0),
    _fault("constant streams too readily found", "A spread below a tenth of the mean is none.",
           negligible=lambda s, n: 0.1),
    _fault("no z-score", "Not normalised, as released, where the documents ask for it.",
           streams=under("streams", coefficient_normalization="none")),
    _fault("z-score always", "Normalised although the configuration says not.",
           streams=under("streams", coefficient_normalization="zscore")),
    _fault("flags of the constant streams swapped", "SFT for RL.",
           streams=_flags(lambda a, b: (b, a))),
    _fault("constant streams not flagged", "The flags stay off.",
           streams=_flags(lambda a, b: (False, False))),
    _fault("absolute instead of squared difference", "|c_s - c_r|.",
           disagreement=_disagree(lambda a, b: abs(a - b))),
    _fault("sum instead of difference of the streams", "(c_s + c_r)^2: a sign is lost.",
           disagreement=_disagree(lambda a, b: np.square(a + b))),
    _fault("product of the streams", "1 - z_s z_r, a correlation for a distance.",
           disagreement=_disagree(lambda a, b: 1.0 - a * b)),
    _fault("disagreement squared after the mean", "The square of the mean difference.",
           disagreement=_before_squaring),
    _fault("half of the squared difference", "1 - r instead of 2 (1 - r).",
           disagreement=_disagree(lambda a, b: np.square(a - b) / a.dtype.type(2.0))),
    _fault("SFT stream left out", "c_r^2 alone.", disagreement=_disagree(lambda a, b: b * b)),
    _fault("RL stream left out", "c_s^2 alone.", disagreement=_disagree(lambda a, b: a * a)),
    _fault("disagreement of all rows where rollouts are asked",
           "The pool follows the released choice.",
           streams=under("streams", disagreement_rows="all")),
    _fault("disagreement of the rollouts where all rows are asked",
           "The pool follows the documented choice.",
           streams=under("streams", disagreement_rows="rollouts")),
)  # fmt: skip
