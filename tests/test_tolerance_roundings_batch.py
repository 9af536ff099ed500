"""Each bound of the stages of a batch on rounding is that of the plain formula, or little more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from _roundings import EXP_UNITS, GOLDEN, SLACK, Rounds, first_order, hold, tolerances

from gac_ref import GACConfig
from gac_ref._typing import FloatArray
from gac_ref.conformance.reference import evaluate

GUARDED = 1.12
"""A tenth is added for products of errors."""

FORMATS = ("fp32", "fp64")

LOGPROB = np.array([[-0.125, -2.5, -0.75, -1.5], [-4.0, -0.0625, -1.25, -3.0]])
GAIN = np.array([[0.5, -1.25, 2.0, 0.75], [-0.25, 1.5, -3.0, 0.375]])
MASK = np.array([[True, True, False, True], [True, True, True, False]])


def batch(**changes: Any) -> dict[str, Any]:
    """One demonstration and one rollout of three tokens each; every input fits every format."""
    inputs = {
        "logprob": LOGPROB,
        "response_mask": MASK,
        "advantages": GAIN,
        "is_expert": np.array([True, False]),
        "c_s": np.where(MASK, -1.0, 0.0),
        "c_r": np.where(MASK & np.array([[False], [True]]), -GAIN, 0.0),
    }
    return {**inputs, **changes}


@pytest.mark.parametrize("dtype", FORMATS)
def test_phi(dtype: str) -> None:
    chosen = LOGPROB[MASK]

    def p(o: Rounds) -> Any:
        return o(np.exp(o(chosen, 2.0)), EXP_UNITS)

    def product(o: Rounds) -> Any:
        q = p(o)
        return -o(q * o(1.0 - q))

    def difference(o: Rounds) -> Any:
        q = p(o)
        return -o(q - o(q * q))

    config, inputs = GACConfig(), batch()
    golden = evaluate("coefficients", config, inputs)["c_s"][MASK]
    limit = tolerances("coefficients", config, inputs, dtype)["c_s"].limit
    needed = [first_order(one, dtype) for one in (product, difference)]
    for one in needed:
        assert np.all(limit[MASK] >= SLACK * (one + GOLDEN * np.abs(golden)))
    assert np.all(limit[MASK] <= 1.6 * np.max(needed, axis=0))


@pytest.mark.parametrize("output", ["c_s", "c_r"])
def test_a_token_that_does_not_fit_its_format_is_rounded_once(output: str) -> None:
    config = GACConfig(use_phi=output == "c_s")
    fits = batch()
    off = batch(logprob=LOGPROB * (1.0 + 1e-6), advantages=GAIN * (1.0 + 1e-6))
    kept = MASK & np.array([[output == "c_s"], [True]])
    before, after = (
        tolerances("coefficients", config, x, "fp32")[output].limit for x in (fits, off)
    )
    source = off["logprob" if output == "c_s" else "advantages"]
    moved = np.abs(source.astype(np.float32).astype(np.float64) - source)
    p = np.exp(LOGPROB)
    slope = p * np.abs(1.0 - 2.0 * p) if output == "c_s" else np.ones_like(p)
    grown = (np.broadcast_to(after, MASK.shape) - np.broadcast_to(before, MASK.shape))[kept]
    # The rest of the bound moves by 1e-6 of itself, the rounding itself is guarded.
    rest = 4e-6 * np.broadcast_to(before, MASK.shape)[kept]
    assert np.all(grown >= (slope * moved)[kept] - rest)
    assert np.all(grown <= GUARDED * (slope * moved)[kept] + rest)
    assert np.any(grown > 0.0)


def mean_of(o: Rounds, terms: Any, eps: float) -> Any:
    """Sum from left to right, times the reciprocal of the count."""
    return o(o.total(list(terms)) * o(1.0 / o(len(terms) + eps)))


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_masked_means(dtype: str) -> None:
    config = GACConfig(mask_eps=0.25)
    for name, rows in (("advantage", GAIN), ("nll", -LOGPROB)):
        inputs = batch(advantages=GAIN)
        limit = tolerances("sequences", config, inputs, dtype)[name].limit
        golden = np.abs(evaluate("sequences", config, inputs)[name])
        size = (np.abs(rows) * MASK).sum(axis=-1) / 3.25
        # Two additions and three roundings of the division: 5 u mean |x|.
        wanted = 5.0 * size * 2.0 ** (-53 if dtype == "fp64" else -24) + GOLDEN * golden
        np.testing.assert_allclose(limit, wanted, rtol=1e-5)


def test_the_mean_of_an_advantage_a_sequence_adds_equal_roundings() -> None:
    """Equal terms round alike: their sum is bounded by the worst case, however long."""
    shape, u = (2, 1000), 2.0**-24
    gain = np.array([0.1, 0.3]).astype(np.float32).astype(np.float64)
    inputs = {
        "logprob": np.tile([-0.25, -0.75], (2, 500)),
        "response_mask": np.ones(shape, dtype=np.bool_),
        "advantages": gain,
        "is_expert": np.array([True, False]),
        "c_s": -np.ones(shape),
        "c_r": np.zeros(shape),
    }
    found = tolerances("sequences", GACConfig(), inputs, "fp32")
    assert 999.0 * u * 0.3 < float(found["advantage"].limit[1]) < 1.01 * 1002.0 * u * 0.3
    likely = (7.53 * math.sqrt(999.0) + 3.0) * u * 0.5
    assert 0.99 * likely < float(found["nll"].limit[0]) < 1.01 * likely


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_plain_disagreement(dtype: str) -> None:
    config = GACConfig(use_phi=False, coefficient_normalization="none", mask_eps=0.25)

    def program(o: Rounds) -> Any:
        squares = []
        for value in -1.0 + GAIN[1, :3]:
            t = o(value)
            squares.append(o(t * t))
        return mean_of(o, squares, 0.25)

    inputs = batch()
    golden = evaluate("sequences", config, inputs)["disagreement"][1]
    limit = tolerances("sequences", config, inputs, dtype)["disagreement"].limit[1]
    needed = first_order(program, dtype) + GOLDEN * golden
    assert program(Rounds(-1, False)) == pytest.approx(golden)
    assert needed * SLACK <= limit <= 1.25 * needed


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("scale", "loose"), [(1.0, 1.35), (2.0**-5, 1.25)])
def test_the_kl(scale: float, loose: float, dtype: str) -> None:
    config = GACConfig(alpha_mode="kl")
    there = LOGPROB + scale * np.array([[0.5, 0.25, -0.5, 0.125], [0.75, -0.5, 1.0, 0.25]])
    inputs = batch(ref_logprob=there)

    def program(o: Rounds) -> Any:
        terms = []
        for new, old in zip(LOGPROB[1, :3], there[1, :3], strict=True):
            d = o(old - new)
            terms.append(o(o(o(np.exp(o(d, 2.0)), EXP_UNITS) - 1.0) - d))
        return mean_of(o, terms, 0.0)

    hold("sequences", config, inputs, "kl", dtype, {"k3": program}, loose)


def test_a_kl_that_is_given_is_rounded_once() -> None:
    config, inputs = GACConfig(alpha_mode="kl"), batch(batch_kl=0.037)
    limit = float(tolerances("sequences", config, inputs, "fp32")["kl"].limit)
    assert 0.037 * 2.0**-24 < limit < 2.1 * 0.037 * 2.0**-24
    assert float(tolerances("sequences", config, inputs, "fp64")["kl"].limit) < 1e-17


SAMPLE = np.array([0.5, -1.25, 2.0, 0.75, -1.5, -0.375])


def proxy_inputs(**changes: Any) -> dict[str, Any]:
    expert = np.array([True] * 6 + [False] * 6)
    inputs = {
        "tokens": np.full(12, 5),
        "nll": np.where(expert, np.tile(SAMPLE, 2), 0.0),
        "advantage": np.where(expert, 0.0, np.tile(SAMPLE, 2)),
        "disagreement": np.where(expert, 0.0, np.tile(np.abs(SAMPLE), 2)),
        "is_expert": expert,
    }
    return {**inputs, **changes}


def variance(o: Rounds, sample: FloatArray) -> Any:
    x = [o.constant(float(one)) for one in sample]
    n = len(x)
    mean = o(o.total(x) / n)
    squares = []
    for one in x:
        off = o(one - mean)
        squares.append(o(off * off))
    return o(o.total(squares) / n)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(
    ("output", "ratio"), [("proxy_sigma_r2", 0.0), ("proxy_sigma_s2", 0.0), ("proxy_sigma_s2", 0.2)]
)
def test_the_variances(output: str, ratio: float, dtype: str) -> None:
    config = GACConfig(trim_ratio=ratio)
    kept = np.sort(SAMPLE)[1:-1] if ratio else SAMPLE

    def program(o: Rounds) -> Any:
        return variance(o, kept)

    hold("proxies", config, proxy_inputs(), output, dtype, {"two-pass": program}, 1.6)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("rows", ["rollouts", "all"])
def test_the_mean_disagreement(rows: Any, dtype: str) -> None:
    config, inputs = GACConfig(disagreement_rows=rows), proxy_inputs()
    sample = inputs["disagreement"][0 if rows == "all" else 6 :]

    def program(o: Rounds) -> Any:
        return mean_of(o, [o.constant(float(one)) for one in sample], 0.0)

    loose = 2.1 if rows == "all" else 1.6  # the bound does not know that half of them are 0
    hold("proxies", config, inputs, "proxy_delta_g2", dtype, {"mean": program}, loose)


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_variance_below_the_floor_has_the_error_of_the_floor(dtype: str) -> None:
    config = GACConfig(eps=100.0)

    def program(o: Rounds) -> Any:
        return o.constant(100.0)

    inputs = proxy_inputs()
    hold("proxies", config, inputs, "proxy_sigma_r2", dtype, {"floor": program}, GUARDED)


REWARDS = np.array([0.5, 1.25, 3.0, -0.75, 2.0, 0.25, -1.5])
GROUPS = np.array([0, 0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("convention", ["trl", "trl_batch", "dr_grpo", "verl_vectorized"])
def test_the_group_advantages(convention: str, dtype: str) -> None:
    """The sums of these rewards are exact: what errs is the division, and the spread."""
    eps, floor = (1e-4, 0.0) if convention.startswith("trl") else (1e-6, 1e-6)

    def spread(o: Rounds, rows: FloatArray) -> Any:
        mean = rows.mean()
        squares = []
        for one in rows:
            off = o(one - mean)
            squares.append(o(off * off))
        return o(o.total(squares) / (len(rows) - 1))

    def program(o: Rounds) -> Any:
        out = []
        whole = spread(o, REWARDS) if convention == "trl_batch" else None
        for group in (0, 1):
            rows = REWARDS[group == GROUPS]
            mean = o(o.total(list(rows)) / len(rows))
            if convention != "dr_grpo":
                v = spread(o, rows) if whole is None else whole
                bottom = o(o(np.sqrt(max(v, floor))) + o.constant(eps))
            for one in rows:
                top = o(one - mean)
                out.append(top if convention == "dr_grpo" else o(top / bottom))
        return out

    inputs = {
        "rewards": REWARDS,
        "group_ids": GROUPS,
        "is_expert": np.zeros(7, dtype=np.bool_),
        "convention": convention,
    }
    hold("advantages", GACConfig(), inputs, "group_advantages", dtype, {"z": program}, 3.6)


def loss_inputs(**changes: Any) -> dict[str, Any]:
    return {
        **{k: v for k, v in batch().items() if k not in ("c_s", "c_r")},
        "old_logprob": LOGPROB + np.array([[0.0] * 4, [0.125, -0.5, 0.375, 0.0]]),
        "mu": 0.375,
        "clip_low": 0.2,
        "clip_high": 0.3,
        "sft": "nll",
        "rl_aggregation": "token_mean",
        "sft_aggregation": "token_mean",
        "rl_normalizer": 3.0,
        "sft_normalizer": 3.0,
        **changes,
    }


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("sft", ["nll", "phi"])
def test_the_loss_and_its_gradient(sft: str, dtype: str) -> None:
    inputs = loss_inputs(sft=sft)

    def program(o: Rounds) -> Any:
        mu = o.constant(0.375)
        weight = {True: o(mu * o(1.0 / 3.0)), False: o(o(1.0 - mu) * o(1.0 / 3.0))}
        grad, losses = np.zeros((2, 4)), []
        for (row, col), kept in np.ndenumerate(MASK):
            if not kept:
                continue
            new, old, gain = LOGPROB[row, col], inputs["old_logprob"][row, col], GAIN[row, col]
            if row == 0:
                q = o(np.exp(o(new, 2.0)), EXP_UNITS) if sft == "phi" else 0.0
                factor = o(q * o(1.0 - q)) if sft == "phi" else 1.0
                losses.append(o(weight[True] * o(-new * factor)))
                grad[row, col] = o(-weight[True] * factor)
                continue
            ratio = o(np.exp(o(o(new - old), 2.0)), EXP_UNITS)
            low, high = 1.0 - 0.2, 1.0 + 0.3
            if gain > 0.0 and ratio > high:
                bound = o(1.0 + o.constant(0.3))
            elif gain < 0.0 and ratio < low:
                bound = o(1.0 - o.constant(0.2))
            else:
                bound = ratio
                grad[row, col] = o(o(-weight[False] * gain) * ratio)
            losses.append(o(weight[False] * o(-gain * bound)))
        return [o.total(losses), *grad.ravel()]

    config = GACConfig()
    golden = evaluate("loss", config, inputs)
    flat = np.array([golden["loss_value"], *golden["loss_grad"].ravel()])
    np.testing.assert_allclose(program(Rounds(-1, False)), flat, rtol=1e-9)
    found = tolerances("loss", config, inputs, dtype)
    limit = np.array([float(found["loss_value"].limit), *found["loss_grad"].limit.ravel()])
    needed = first_order(program, dtype) + GOLDEN * np.abs(flat)
    assert np.all(limit >= SLACK * needed)
    assert np.all(limit[flat == 0.0] <= 2.0**-126)
    ratio = limit[flat != 0.0] / needed[flat != 0.0]
    # Two counts and their quotient are allowed for; this program divides once.
    assert np.all(ratio[1:] <= 2.2), ratio
    assert ratio[0] <= 3.4, ratio
