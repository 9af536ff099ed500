"""Bounds of the token-level stages: coefficients, and one number a sequence."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gac_ref._typing import BoolArray, FloatArray
from gac_ref.conformance.tolerance.primitives import (
    EITHER,
    EXACT,
    Budget,
    Tolerance,
    Work,
)
from gac_ref.proxies import SPREAD_RTOL

__all__ = ["coefficients", "phi_budget", "sequences"]

DIVISION = 3.0
"""Roundings in dividing by a count: of the count, of its reciprocal, of the product."""

NORMALISED = 8.0
"""Roundings of one squared normalised difference, direct or from moments: centring, two
divisions by a spread, the difference, the square, and merging a row into the batch."""

NOISE = 4.0
"""A stream may be taken as constant where its spread is below this many times the error of its
own mean: what is left of it is then mostly rounding."""


def coefficients(work: Work) -> dict[str, Tolerance]:
    """The coefficient streams; `c_r` is a copy, `c_s` is :func:`phi_budget`."""
    where, values = work.tokens, work.values
    mask = np.asarray(values["response_mask"], dtype=np.bool_)
    rl = work.linear(where)
    # Copies: an input that does not fit the format is rounded once.
    rounding = where.rounding(_per_token(values["advantages"], mask))
    rl.add("rounding of the input", _kept(mask, rounding), "|A - rounded A|")
    c_r = rl.tolerance(0.0, 0.0)
    if not work.config.use_phi:
        return {"c_s": EXACT, "c_r": c_r}
    sft = phi_budget(work, mask)
    return {"c_s": sft.tolerance(_kept(mask, values["c_s"]), where.tiny), "c_r": c_r}


def phi_budget(work: Work, mask: BoolArray) -> Budget:
    r"""Phi: :math:`p (1 - p)`, :math:`p - p^2` or :math:`-p\,\mathrm{expm1}(\ell)`.

    The error of exp enters times :math:`p |1 - 2p|`; near p = 1 it is the whole error, about
    :math:`u p`, however small phi is.
    """
    where = work.tokens
    logprob = np.where(mask, work.values["logprob"], -1.0)
    budget = work.budget()
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        p = np.exp(logprob)
        slope = p * np.abs(1.0 - 2.0 * p)
        rounding = where.rounding(logprob)
    budget.add("rounding of the input", slope * rounding, "|p (1 - 2p)| |l - rounded l|")
    budget.add("exp", where.exponential(logprob) * slope, "({e} + 2 * {u} |l|) p |1 - 2p|",
               e=where.exp, u=where.u)  # fmt: skip
    budget.add("p - p^2", where.u * p * p, "{u} p^2", u=where.u)
    budget.add("product", 2.0 * where.u * p * np.abs(1.0 - p), "2 * {u} p (1 - p)", u=where.u)
    return budget


def sequences(work: Work) -> dict[str, Tolerance]:
    """Masked means of each sequence, the disagreement, and the KL."""
    values, where = work.values, work.tokens
    mask = np.asarray(values["response_mask"], dtype=np.bool_)
    expert = np.asarray(values["is_expert"], dtype=np.bool_)
    count = mask.sum(axis=-1).astype(np.float64)
    inverse = _inverse(count, work.config.mask_eps)
    nll = _masked_mean(work, np.where(mask, values["logprob"], 0.0), count, inverse)
    gain = _per_token(values["advantages"], mask)
    advantage = _masked_mean(work, _kept(mask, gain), count, inverse)
    out = {
        "tokens": EXACT,
        "nll": nll.tolerance(values["nll"], where.tiny),
        "advantage": advantage.tolerance(values["advantage"], where.tiny),
        "kl": kl(work),
    }
    compared = mask if work.config.disagreement_rows == "all" else mask & ~expert[:, None]
    streams = tuple(_kept(compared, values[name]) for name in ("c_s", "c_r"))
    errors = _stream_errors(work, compared)
    if work.config.coefficient_normalization == "zscore":
        return out | _normalised(work, compared, count, inverse, streams, errors)
    budget = _plain(work, count, inverse, streams, errors)
    return out | {
        "disagreement": budget.tolerance(values["disagreement"], where.tiny),
        "sft_stream_constant": EXACT,
        "rl_stream_constant": EXACT,
    }


def kl(work: Work) -> Tolerance:
    r"""The KL: as given, or the mean over the rollouts' tokens of :math:`e^d - d - 1`.

    With :math:`d = \ell_{ref} - \ell`; the plain formula cancels near d = 0, and is what trainers
    use, so its errors of order u (not u times the KL) are allowed.
    """
    golden, where = float(work.values["kl"]), work.coarser
    if math.isnan(golden):
        return EXACT
    budget = work.linear(where)
    if work.values.get("batch_kl") is not None:
        _, error = work.real("batch_kl", where)
        budget.add("rounding of the input", error + where.constant * abs(golden), "{e} + {u} KL",
                   e=error, u=where.constant)  # fmt: skip
        return _as_tolerance(budget, golden, where.tiny)
    where = work.tokens
    mask = np.asarray(work.values["response_mask"]) & ~np.asarray(work.values["is_expert"])[:, None]
    here = np.asarray(work.values["logprob"], dtype=np.float64)[mask]
    there = np.asarray(work.values["ref_logprob"], dtype=np.float64)[mask]
    n, d = len(here), there - here
    with np.errstate(over="ignore", invalid="ignore"):
        growth = np.exp(d)
        moved = where.rounding(here) + where.rounding(there) + where.u * np.abs(d)
        token = where.exponential(d) * growth + where.u * (np.abs(growth - 1.0) + np.abs(d))
        slope = np.abs(growth - 1.0)
    share = where.sum(n) + DIVISION * where.u
    budget.add("argument", float((slope * moved).sum()) / n, "mean |e^d - 1| {u} |d|", u=where.u)
    budget.add("e^d - d - 1", float(token.sum()) / n, "mean ({e} e^d + {u}(|e^d - 1| + |d|))",
               e=where.exp, u=where.u)  # fmt: skip
    budget.add("mean", share * abs(golden), "{a} KL", a=share)
    return _as_tolerance(budget, golden, where.tiny)


def _as_tolerance(budget: Budget, golden: float, tiny: float) -> Tolerance:
    result: Tolerance = budget.tolerance(golden, tiny)
    return result


def _masked_mean(work: Work, kept: FloatArray, count: FloatArray, inverse: FloatArray) -> Budget:
    where = work.tokens
    size = np.abs(kept)
    equal = kept.max(axis=-1, initial=-np.inf, where=size > 0.0) == kept.min(
        axis=-1, initial=np.inf, where=size > 0.0
    )
    mean = size.sum(axis=-1) * inverse
    budget = work.linear(where)
    a = where.sum(count, systematic=equal)
    rounding = where.rounding(kept)
    if np.ndim(rounding):
        rounding = rounding.sum(axis=-1) * inverse
    budget.add("rounding of the inputs", rounding, "mean |x - rounded x|")
    budget.add("sum", a * mean, "{a} * mean |x|  (largest a)", a=np.max(a, initial=0.0))
    budget.add("division by the count", DIVISION * where.u * mean, "3 * {u} mean |x|", u=where.u)
    return budget


def _stream_errors(work: Work, compared: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Absolute errors of the two streams: as given, or those of computing them here."""
    if work.errors is not None:
        pair = tuple(
            _kept(compared, np.broadcast_to(work.errors.get(name, 0.0), compared.shape))
            for name in ("c_s", "c_r")
        )
        return pair[0], pair[1]
    # A port may take the injected streams or make its own from the tokens.
    own = coefficients(work)
    return _kept(compared, own["c_s"].limit), _kept(compared, own["c_r"].limit)


def _plain(
    work: Work,
    count: FloatArray,
    inverse: FloatArray,
    streams: tuple[FloatArray, ...],
    errors: tuple[FloatArray, FloatArray],
) -> Budget:
    r"""Masked mean of :math:`t^2`, :math:`t = c_s - c_r`."""
    where = work.tokens
    t = streams[0] - streams[1]
    off = errors[0] + errors[1]
    mean = (t * t).sum(axis=-1) * inverse
    a = where.sum(count)
    budget = work.budget()
    carried = (off * (2.0 * np.abs(t) + off)).sum(axis=-1) * inverse
    budget.add("coefficients", carried, "mean (2 |t| e + e^2), e the error of c_s - c_r")
    budget.add("difference and square", 3.0 * where.u * mean, "3 * {u} mean t^2", u=where.u)
    budget.add("sum", a * mean, "{a} * mean t^2  (largest a)", a=np.max(a, initial=0.0))
    budget.add("division by the count", DIVISION * where.u * mean, "3 * {u} mean t^2", u=where.u)
    return budget


class _Stream(NamedTuple):
    """One normalised stream: z-scores, and the relative sizes of what goes wrong with them."""

    z: FloatArray
    token: FloatArray
    mean: float
    rows: FloatArray
    spread: float
    one_pass: FloatArray
    within: FloatArray
    undecided: bool


def _normalised(
    work: Work,
    compared: BoolArray,
    count: FloatArray,
    inverse: FloatArray,
    streams: tuple[FloatArray, ...],
    errors: tuple[FloatArray, FloatArray],
) -> dict[str, Tolerance]:
    r"""Masked mean of :math:`t^2`, :math:`t = z_s - z_r`, directly or from moments.

    The scale of the rounding is :math:`(|z_s| + |z_r|)^2`, not :math:`t^2`: the difference may
    cancel, and a correct port may form it from the moments of the two streams.
    """
    where, golden = work.tokens, np.asarray(work.values["disagreement"], dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        s, r = (
            _normalise(work, x, error, compared, count, inverse)
            for x, error in zip(streams, errors, strict=True)
        )
        t = s.z - r.z
        a = where.sum(count)
        scale = (np.abs(s.z) + np.abs(r.z)) ** 2
        size = scale.sum(axis=-1) * inverse
        shift = np.abs(t.sum(axis=-1)) * inverse
        centre = s.mean + r.mean + a * (s.rows + r.rows)
        off = s.token + r.token
        carried = (off * (2.0 * np.abs(t) + off)).sum(axis=-1) * inverse
        spread: Any = 0.0
        for stream in (s, r):
            first = 2.0 * np.abs((t * stream.z).sum(axis=-1))
            second = stream.spread * (stream.z * stream.z).sum(axis=-1)
            spread = spread + stream.spread * (first + second) * inverse
        one_pass = a * (s.one_pass + r.one_pass) * (s.within + r.within)
    budget = work.budget()
    budget.add("coefficients", carried, "mean (2 |t| e + e^2), e the error of c_s/sd_s - c_r/sd_r")
    budget.add("centring", centre * (2.0 * shift + centre), "2 |mean t| e_m + e_m^2")
    budget.add("spread", spread, "2 |mean t z_s| {s} + 2 |mean t z_r| {r} + second order",
               s=s.spread, r=r.spread)  # fmt: skip
    budget.add("products and sum", (a + (NORMALISED + DIVISION) * where.u) * size,
               "({a} + 11 * {u}) mean (|z_s| + |z_r|)^2  (largest a)",
               a=np.max(a, initial=0.0), u=where.u)  # fmt: skip
    budget.add("one-pass moments of a row", one_pass, "a (rms_s + rms_r)(sd_s + sd_r) of the row")
    alternatives: tuple[Any, ...] = ()
    if s.undecided or r.undecided:
        # Normalised rounding is anything of mean square 1: bounded, and no more than that.
        total = float(count[compared.any(axis=-1)].sum())
        budget.add("a stream of rounding alone", 4.0 * total * inverse, "4 N / n")
        flat = [np.where(one.undecided, 0.0, one.z) for one in (s, r)]
        alternatives = (((flat[0] - flat[1]) ** 2).sum(axis=-1) * inverse,)
    return {
        "disagreement": budget.tolerance(golden, where.tiny, alternatives),
        "sft_stream_constant": EITHER if s.undecided else EXACT,
        "rl_stream_constant": EITHER if r.undecided else EXACT,
    }


def _normalise(
    work: Work,
    x: FloatArray,
    error: FloatArray,
    compared: BoolArray,
    count: FloatArray,
    inverse: FloatArray,
) -> _Stream:
    where, n = work.tokens, int(compared.sum())
    zero = np.zeros(len(x))
    if n == 0:
        return _Stream(np.zeros_like(x), np.zeros_like(x), 0.0, zero, 0.0, zero, zero, False)
    chosen = x[compared]
    mean = float(chosen.sum()) / n
    deviation = np.where(compared, x - mean, 0.0)
    v = float((deviation * deviation).sum()) / n
    high, low = float(chosen.max()), float(chosen.min())
    if high == low:
        return _Stream(np.zeros_like(x), np.zeros_like(x), 0.0, zero, 0.0, zero, zero, False)
    # Rows of equal values (one advantage a sequence) round alike, and so does their pool.
    row_sum = x.sum(axis=-1)
    row_mean = row_sum / np.maximum(count, 1.0)
    inner = np.where(compared, x - row_mean[:, None], 0.0)
    equal = bool(((np.abs(inner).max(axis=-1) == 0.0) & (count > 2.0)).any())
    a = where.sum(n, systematic=equal)
    absolute = float(np.abs(chosen).sum()) / n
    own = (a + DIVISION * where.u) * absolute
    carried = float(error.sum()) / n
    variance_error = (
        a * math.sqrt(v * (v + mean * mean))
        + 4.0 * where.u * v
        + (2.0 * float((np.abs(deviation) * error).sum()) + float((error * error).sum())) / n
        + own * own
        + where.tiny
    )
    noise = (NOISE * (own + carried)) ** 2 + where.tiny
    sd = math.sqrt(v)
    relative = min(1.0, variance_error / v) if v > 0.0 else 1.0
    spread = 1.0 - math.sqrt(1.0 - relative) + where.u
    threshold = SPREAD_RTOL * math.hypot(mean, sd)
    # The threshold itself is for float64; in a coarser format the noise is the wider criterion.
    constant = sd <= threshold
    undecided = v <= noise or abs(sd - threshold) <= spread * sd
    if constant or sd == 0.0:
        flat = np.zeros_like(x)
        return _Stream(flat, flat, 0.0, zero, 0.0, zero, zero, undecided)
    rms = np.sqrt((x * x).sum(axis=-1) * inverse) / sd
    within = np.sqrt((inner * inner).sum(axis=-1) * inverse) / sd
    rows = np.abs(x).sum(axis=-1) * inverse / sd
    return _Stream(
        deviation / sd,
        error / sd,
        (own + carried) / sd,
        rows,
        spread,
        rms,
        within,
        undecided,
    )


def _inverse(count: FloatArray, mask_eps: float) -> FloatArray:
    bottom = count + mask_eps
    return np.asarray(np.where(count > 0.0, 1.0 / np.where(bottom == 0.0, 1.0, bottom), 0.0))


def _per_token(advantages: Any, mask: BoolArray) -> FloatArray:
    values = np.asarray(advantages, dtype=np.float64)
    return np.broadcast_to(values[:, None], mask.shape) if values.ndim == 1 else values


def _kept(mask: BoolArray, values: Any) -> FloatArray:
    return np.where(mask, values, 0.0)
