"""The error model: it covers every correct arithmetic, and nothing much wider."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import pytest

from gac_ref import GACConfig, _drawing
from gac_ref._typing import FloatArray
from gac_ref.conformance.case import Case
from gac_ref.conformance.compare import compare, compared_rows, decides_nothing, target
from gac_ref.conformance.formats import FORMATS, widen
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.power import arithmetic as arithmetics
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.reference import Reference, evaluate
from gac_ref.conformance.schema import INPUTS, OUTPUTS
from gac_ref.conformance.stages import PIPELINE, STAGES
from gac_ref.conformance.tolerance import (
    Precision,
    Tolerance,
    carried_errors,
    explain,
    stage_tolerances,
    start_inputs,
    step_tolerances,
    trajectory_tolerances,
)
from gac_ref.conformance.tolerance.primitives import COMPARISONS, FAILURE, LAM, arithmetic
from gac_ref.conformance.tolerance.proxies import trimmed
from gac_ref.errors import GACError

T = TypeVar("T")
Values = Mapping[str, Any]

RESOLUTION = 8.0
"""Largest ratio of the smallest relative fault that a stage shows to the noise of its controls."""

FIRST_ORDER = 1.05
"""Propagation is exact to first order; perturbations of 1e-6 leave this much at second order."""

DOUBLE = Precision("fp64", "fp64")
SINGLE = Precision("fp32", "fp32")

CONTROLS = [
    ("fp32", arithmetics.NARROW._replace(total="sequential", variance="Welford")),
    ("fp32", arithmetics.NARROW._replace(total="reversed", phi="difference")),
    ("fp32", arithmetics.NARROW._replace(total="Kahan", variance="shifted", phi="expm1")),
    ("fp32", arithmetics.MIXED._replace(total="sorted, largest first", variance="Chan merge")),
    ("fp64", arithmetics.NARROW._replace(total="blocked by 8", variance="Chan merge")),
    ("fp64", arithmetics.ALL_SINGLE._replace(total="permuted", variance="corrected two-pass")),
    ("bf16", arithmetics.NARROW._replace(total="tree", accumulation="tree")),
    ("fp16", arithmetics.MIXED._replace(total="wide accumulator", phi="exp2")),
]
"""Correct ports that differ in order, variance formula and width."""


class Rolled:
    """Choices from a generator, for thousands of inputs at little cost."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def pick(self, choices: tuple[T, ...]) -> T:
        return choices[int(self._rng.integers(len(choices)))]

    def integer(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high + 1))

    def raw(self, size: int) -> bytes:
        return self._rng.bytes(size)

    def number(self, low: float, high: float) -> float:
        return self.pick((low, high, *self._rng.uniform(low, high, 4).tolist()))


def widened(stage: str, sent: Values, dtype: str) -> dict[str, Any]:
    tokens = {name for name, field in INPUTS[stage].items() if field.kind == "token"}
    return {k: widen(v, dtype) if k in tokens else v for k, v in sent.items()}


def case_tolerances(case: Case, dtype: str, precision: Precision) -> list[dict[str, Tolerance]]:
    exchanges = case.exchanges(dtype)
    if case.stage == "trajectory":
        pairs = [(e.wide, e.expected) for e in exchanges]
        return trajectory_tolerances(case.config, pairs, precision=precision)
    return [
        stage_tolerances(case.stage, case.config, e.wide, e.expected, precision=precision)
        for e in exchanges
    ]


def numbers(
    stage: str, config: GACConfig, values: Values, name: str, limit: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Golden values and limits of the entries that are compared; None for flags and stand-ins."""
    field = OUTPUTS[stage][name]
    if field.kind not in ("real", "token") or decides_nothing(name, config, values):
        return None
    golden = np.asarray(values[name], dtype=np.float64)
    rows = compared_rows(field, config, values)
    spread = np.broadcast_to(limit, golden.shape)
    return (golden.ravel(), spread.ravel()) if rows is None else (golden[rows], spread[rows])


def ratios(
    stage: str,
    config: GACConfig,
    values: Values,
    golden: Values,
    limits: Mapping[str, Tolerance],
    got: Values,
    scale: float = 1.0,
) -> Iterator[tuple[str, float]]:
    """Error over bound of every output that was answered."""
    everything = {**values, **golden}
    for name in golden.keys() & got.keys():
        if decides_nothing(name, config, {**everything, "not_ready": False}):
            continue
        if stage in ("step", "trajectory") and decides_nothing(name, config, everything):
            continue
        field, found = OUTPUTS[stage][name], limits[name]
        goal = target(
            field,
            golden[name],
            np.asarray(found.limit) * scale,
            alternatives=found.alternatives,
            where=compared_rows(field, config, everything),
        )
        yield name, compare(goal, got[name]).ratio


@pytest.mark.parametrize(("dtype", "how"), CONTROLS, ids=lambda x: x if isinstance(x, str) else "")
def test_no_bound_of_the_pack_is_exceeded_by_a_correct_port(
    dtype: str, how: arithmetics.Arithmetic
) -> None:
    port = Model(how)
    precision = Precision.declared(port.hello(), dtype)
    for case in load_pack().select(dtype=dtype):
        if case.stage == "transport":
            continue
        port.configure(case.config.to_dict(), dtype=dtype, device="cpu")
        limits = case_tolerances(case, dtype, precision)
        for e, one in zip(case.exchanges(dtype), limits, strict=True):
            with np.errstate(all="ignore"):
                got = port.run(case.stage, e.inputs)
            for name, ratio in ratios(case.stage, case.config, e.wide, e.expected, one, got):
                assert ratio <= 1.0, (case.id, name)


@pytest.mark.parametrize("stage", [s for s in STAGES if s not in ("transport", "trajectory")])
@pytest.mark.parametrize(("dtype", "how"), CONTROLS[::2], ids=lambda x: x if str(x) == x else "")
def test_no_bound_is_exceeded_on_random_inputs(
    dtype: str, how: arithmetics.Arithmetic, stage: str
) -> None:
    port, source = Model(how), Rolled(7)
    precision = Precision.declared(port.hello(), dtype)
    # The golden values come from the estimator, which rounds as a float64 port does.
    scale = 2.0 if "fp64" in precision else 1.0
    for _ in range(60):
        config = _drawing.config(source, {})
        sent = _drawing.stage(source, stage, dtype, config)
        wide = widened(stage, sent, dtype)
        with np.errstate(all="ignore"):
            golden = evaluate(stage, config, wide)
            port.configure(config.to_dict(), dtype=dtype, device="cpu")
            got = port.run(stage, sent)
            limits = stage_tolerances(stage, config, wide, golden, precision=precision)
        for name, ratio in ratios(stage, config, wide, golden, limits, got, scale):
            assert ratio <= 1.0, (name, config, sent)


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_trajectories_stay_within_the_errors_carried_from_step_to_step(dtype: str) -> None:
    source = Rolled(5)
    for how in (arithmetics.NARROW, arithmetics.MIXED):
        port, reference = Model(how), Reference()
        precision = Precision.declared(port.hello(), dtype)
        for _ in range(25):
            config = _drawing.config(source, {"masking": "select", "missing_branch": "zero"})
            steps = _drawing.trajectory(source, config, dtype, 6)
            for one in (port, reference):
                one.configure(config.to_dict(), dtype=dtype, device="cpu")
            with np.errstate(all="ignore"):
                golden = [reference.run("trajectory", sent) for sent in steps]
                got = [port.run("trajectory", sent) for sent in steps]
            wide = [widened("trajectory", sent, dtype) for sent in steps]
            limits = trajectory_tolerances(
                config, list(zip(wide, golden, strict=True)), precision=precision
            )
            for values, want, bound, answer in zip(wide, golden, limits, got, strict=True):
                pairs = ratios("trajectory", config, values, want, bound, answer, 2.0)
                assert all(ratio <= 1.0 for _, ratio in pairs)


@pytest.mark.parametrize("dtype", FORMATS)
def test_no_bound_admits_zero_in_place_of_a_value(dtype: str) -> None:
    for case in load_pack().select(dtype=dtype):
        if case.stage == "transport":
            continue
        limits = case_tolerances(case, dtype, Precision.declared({}, dtype))
        for e, one in zip(case.exchanges(dtype), limits, strict=True):
            values = {**e.wide, **e.expected}
            for name in e.expected:
                pair = numbers(case.stage, case.config, values, name, one[name].limit)
                if pair is None:
                    continue
                golden, limit = pair
                solid = np.isfinite(golden) & (np.abs(golden) > 1e-30)
                assert np.all(limit[solid] < np.abs(golden[solid])), (case.id, name)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_resolution_is_within_a_few_times_the_noise_of_correct_ports(dtype: str) -> None:
    fault: dict[str, float] = {}
    noise: dict[str, float] = {}
    ports = [Model(how) for how in (arithmetics.NARROW, CONTROLS[0][1], CONTROLS[1][1])]
    for case in load_pack().select(dtype=dtype):
        if case.stage == "transport":
            continue
        for port in ports:
            port.configure(case.config.to_dict(), dtype=dtype, device="cpu")
        limits = case_tolerances(case, dtype, Precision.declared(ports[0].hello(), dtype))
        for e, one in zip(case.exchanges(dtype), limits, strict=True):
            with np.errstate(all="ignore"):
                answers = [port.run(case.stage, e.inputs) for port in ports]
            values = {**e.wide, **e.expected}
            for name in e.expected:
                pair = numbers(case.stage, case.config, values, name, one[name].limit)
                if pair is None:
                    continue
                golden, limit = pair
                solid = np.isfinite(golden) & (golden != 0.0) & (limit > 0.0)
                if not solid.any():
                    continue
                key, size = f"{case.stage}.{name}", np.abs(golden[solid])
                fault[key] = min(fault.get(key, math.inf), float((limit[solid] / size).min()))
                for got in answers:
                    if name not in got:
                        continue
                    shown, _ = numbers(  # type: ignore[misc]
                        case.stage, case.config, {**values, name: got[name]}, name, one[name].limit
                    )
                    error = np.abs(shown - golden)[solid] / size
                    noise[key] = max(noise.get(key, 0.0), float(np.nanmax(error)))
    assert len(fault) > 40
    for key, smallest in fault.items():
        assert smallest <= RESOLUTION * noise[key], (key, smallest, noise[key])


def test_raw_second_moments_fail_where_the_mean_is_large() -> None:
    rng = np.random.default_rng(2)
    for precision, kind, mean in ((SINGLE, np.float32, 3e3), (DOUBLE, np.float64, 3e7)):
        count = 40
        inputs = {
            "tokens": np.full(count, 5),
            "nll": np.zeros(count),
            "advantage": (mean + rng.normal(size=count)).astype(kind).astype(np.float64),
            "disagreement": np.ones(count),
            "is_expert": np.zeros(count, dtype=np.bool_),
        }
        config = GACConfig()
        golden = evaluate("proxies", config, inputs)
        limit = stage_tolerances("proxies", config, inputs, golden, precision=precision)
        x = inputs["advantage"].astype(kind)
        raw = float(np.add.accumulate(x * x)[-1] / kind(count)) - float(x.mean()) ** 2
        error = abs(raw - golden["proxy_sigma_r2"])
        assert error > 2.0 * float(limit["proxy_sigma_r2"].limit)


PERTURBED = [
    stage
    for stage in PIPELINE
    if stage not in ("transport", "coefficients", "sequences", "proxies")
]


@pytest.mark.parametrize("stage", [*PERTURBED, "proxies"])
def test_errors_of_the_inputs_are_carried_by_no_less_than_the_derivatives(stage: str) -> None:
    source, rng = Rolled(11), np.random.default_rng(1)
    for _ in range(150):
        config = _drawing.config(source, {"eps": 1e-3, "delta_g2_cap_ratio": 0.7})
        inputs = _drawing.stage(source, stage, "fp64", config)
        real = [name for name, field in INPUTS[stage].items() if field.kind == "real"]
        errors = {name: 1e-6 * np.abs(inputs[name]) for name in real}
        golden = evaluate(stage, config, inputs)
        limits = stage_tolerances(stage, config, inputs, golden, precision=DOUBLE, errors=errors)
        moved = dict(inputs)
        for name in real:
            sign = rng.choice((-1.0, 1.0), size=np.shape(inputs[name]))
            value = inputs[name] + sign * errors[name]
            moved[name] = value if np.ndim(value) else float(value)
        got = evaluate(stage, config, moved)
        for name, ratio in ratios(stage, config, inputs, golden, limits, got, FIRST_ORDER):
            assert ratio <= 1.0, (name, config, inputs)


@pytest.mark.parametrize("normalization", ["zscore", "none"])
def test_errors_of_the_streams_are_carried_into_the_disagreement(normalization: str) -> None:
    rng = np.random.default_rng(4)
    config = GACConfig(coefficient_normalization=normalization, use_phi=False)
    shape = (6, 5)
    gain = rng.normal(0.3, 1.0, shape)
    inputs: dict[str, Any] = {
        "logprob": -np.ones(shape),
        "response_mask": rng.random(shape) < 0.8,
        "advantages": gain,
        "is_expert": np.arange(6) % 3 == 0,
        "c_s": -np.ones(shape),
        "c_r": np.where(np.arange(6)[:, None] % 3 == 0, 0.0, -gain),
    }
    golden = evaluate("sequences", config, inputs)
    error = 1e-6 * np.abs(inputs["c_r"])
    limits = stage_tolerances(
        "sequences", config, inputs, golden, precision=DOUBLE, errors={"c_r": error}
    )
    for _ in range(50):
        moved = gain + rng.uniform(-1.0, 1.0, shape) * error
        got = evaluate("sequences", config, {**inputs, "advantages": moved})
        off = np.abs(got["disagreement"] - golden["disagreement"])
        assert np.all(off <= FIRST_ORDER * limits["disagreement"].limit)


def test_the_error_of_phi_near_certainty_is_that_of_p_and_no_more() -> None:
    inputs = {
        "logprob": np.array([[-1e-4]]),
        "response_mask": np.array([[True]]),
        "advantages": np.array([[0.0]]),
        "is_expert": np.array([False]),
    }
    golden = evaluate("coefficients", GACConfig(), inputs)
    limit = stage_tolerances("coefficients", GACConfig(), inputs, golden, precision=SINGLE)
    u = FORMATS["fp32"].unit_roundoff
    assert u < float(limit["c_s"].limit[0, 0]) < 8.0 * u


def test_lambda_follows_from_the_failure_probability() -> None:
    assert COMPARISONS * 2.0 * math.exp(-(LAM**2) / 2.0) == pytest.approx(FAILURE)


@pytest.mark.parametrize("name", FORMATS)
def test_a_sum_errs_by_no_more_than_its_worst_case_and_less_where_it_is_long(name: str) -> None:
    one, tree = arithmetic(name, "sequential"), arithmetic(name, "tree")
    assert one.sum(1) == 0.0
    assert one.sum(2) == pytest.approx(one.u, rel=2.0 * one.u)
    assert tree.sum(1000) <= one.sum(1000)
    counts = np.array([0, 1, 2, 7, 500])
    assert one.sum(counts.astype(np.float64)).tolist() == [one.sum(int(n)) for n in counts]
    if name in ("fp64", "fp32"):
        assert one.sum(1000) < one.sum(1000, systematic=True)


def clip_limits(value: float, precision: Precision) -> dict[str, Tolerance]:
    config = GACConfig()
    golden = evaluate("clip", config, {"mu_capped": value})
    return stage_tolerances("clip", config, {"mu_capped": value}, golden, precision=precision)


def test_a_flag_is_open_near_its_kink_and_decided_on_it() -> None:
    near = 0.9 * (1.0 + 2.0**-26)
    assert float(clip_limits(near, SINGLE)["mu_clipped"].limit) == 1.0
    assert float(clip_limits(near, DOUBLE)["mu_clipped"].limit) == 0.0
    # A value that is the bound itself rounds as the bound does, and is not beyond it.
    assert float(clip_limits(0.9, SINGLE)["mu_clipped"].limit) == 0.0
    assert float(clip_limits(0.95, SINGLE)["mu_clipped"].limit) == 0.0


def test_both_answers_to_a_flat_risk_are_allowed_at_its_threshold_only() -> None:
    config = GACConfig(alpha=0.3)
    for size, open_ in ((2e-8 * (1.0 + 1e-8), True), (3e-8, False), (1e-8, False)):
        inputs = {"sigma_s2": 1e-9, "sigma_r2": size, "delta_g2": 0.0, "alpha": 0.3}
        golden = evaluate("closed_form", config, inputs)
        found = stage_tolerances("closed_form", config, inputs, golden, precision=SINGLE)
        assert bool(found["mu_raw"].alternatives) is open_
        assert float(found["flat_risk"].limit) == float(open_)


def test_a_ratio_at_its_clip_bound_may_have_either_gradient() -> None:
    ratio = 1.2 * (1.0 + 1e-8)
    inputs: dict[str, Any] = {
        "logprob": np.array([[-1.0 + math.log(ratio), -0.5]]),
        "response_mask": np.array([[True, True]]),
        "is_expert": np.array([False]),
        "old_logprob": np.array([[-1.0, -0.6]]),
        "advantages": np.array([[2.0, 1.0]]),
        "mu": 0.25,
        "clip_low": 0.2,
        "clip_high": 0.2,
        "sft": "nll",
        "rl_aggregation": "token_mean",
        "sft_aggregation": "token_mean",
        "rl_normalizer": 2.0,
        "sft_normalizer": 0.0,
    }
    golden = evaluate("loss", GACConfig(), inputs)
    found = stage_tolerances("loss", GACConfig(), inputs, golden, precision=SINGLE)
    assert golden["loss_grad"][0, 0] == 0.0
    (other,) = found["loss_grad"].alternatives
    assert other[0].tolist() == pytest.approx([-0.75 * ratio, golden["loss_grad"][0, 1]])


def test_a_group_without_spread_is_exact_where_its_sum_is() -> None:
    for reward, exact in ((1.0, True), (0.1, False)):
        inputs = {
            "rewards": np.full(7, reward),
            "group_ids": np.zeros(7, dtype=np.int64),
            "is_expert": np.zeros(7, dtype=np.bool_),
            "convention": "verl",
        }
        golden = evaluate("advantages", GACConfig(), inputs)
        found = stage_tolerances("advantages", GACConfig(), inputs, golden, precision=SINGLE)
        limit = found["group_advantages"].limit
        assert bool(np.all(limit == 0.0)) is exact
        # What a float32 mean leaves of equal rewards, over itself plus eps, is what float32 gives.
        x = inputs["rewards"].astype(np.float32)
        mean = np.add.accumulate(x)[-1] / np.float32(7)
        spread = np.sqrt(np.sum((x - mean) ** 2) / np.float32(6))
        assert np.all(np.abs((x - mean) / (spread + np.float32(1e-6))) <= limit)


def test_every_limit_of_the_pack_is_finite_and_not_negative() -> None:
    cases = load_pack().select(dtype="fp32")
    for case in cases:
        case.exchanges("fp32")
    found = [one for case in cases for one in case_tolerances(case, "fp32", SINGLE)]
    for limits in found:
        for name, tolerance in limits.items():
            assert np.all(np.isfinite(tolerance.limit)), name
            assert np.all(tolerance.limit >= 0.0), name


def test_a_longer_trajectory_carries_the_errors_of_its_state() -> None:
    config = GACConfig(prior="none")
    inputs = {
        "logprob": np.log([[0.5, 0.25], [0.125, 0.5]]),
        "response_mask": np.ones((2, 2), dtype=np.bool_),
        "advantages": np.array([0.0, 1.0]),
        "is_expert": np.array([True, False]),
        "step": 0,
    }
    values = {**inputs, **start_inputs(config)}
    golden = evaluate("step", config, values)
    first = step_tolerances(config, values, golden, precision=SINGLE, errors={})
    errors = carried_errors(first)
    assert set(errors) == {name for name in start_inputs(config) if isinstance(values[name], float)}
    # A port in float32 starts from a rounded init_mu; a float64 one from the constant itself.
    assert errors["previous_mu"] > 0.0
    later = {**inputs, "step": 1, **start_inputs(config)}
    wide = step_tolerances(
        config, later, evaluate("step", config, later), precision=SINGLE,
        errors={**errors, "previous_mu": 1e-3},
    )  # fmt: skip
    assert 0.9e-3 < float(wide["mu"].limit) < 1.2e-3


def test_an_explanation_adds_up_to_its_bound() -> None:
    pack = load_pack()
    for case in (pack.select(stages=["sequences"])[0], pack.select(stages=["trajectory"])[0]):
        text = explain(case, "bf16")
        assert case.id in text
        assert "absolute bound" in text
        assert "relative to the golden value" in text
    case = pack.select(stages=["proxies"])[0]
    exchange = case.exchanges("fp32")[0]
    found = stage_tolerances(
        "proxies", case.config, exchange.wide, exchange.expected, precision=SINGLE, keep=True
    )["proxy_sigma_r2"]
    assert found.terms
    total = sum(float(np.max(term.size)) for term in found.terms)
    assert total == pytest.approx(float(found.limit))
    with pytest.raises(GACError, match="there is no 99"):
        explain(case, "fp32", exchange=99)
    with pytest.raises(GACError, match="no output 'nothing'"):
        explain(case, "fp32", outputs=["nothing"])


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        ({"precision": 3}, "is not an object"),
        ({"precision": {"bf16": {"tokens": "fp8"}}}, "is unknown"),
        ({"precision": {"bf16": {"token": "fp32"}}}, "is not of the form"),
        ({"precision": {"bf16": {"tokens": ["fp32"]}}}, "is unknown"),
        ({"accumulation": "pairwise"}, "accumulation = 'pairwise'"),
    ],
)
def test_a_malformed_declaration_is_refused(hello: dict[str, Any], message: str) -> None:
    with pytest.raises(GACError, match=message):
        Precision.declared(hello, "bf16")


@pytest.mark.parametrize("weight_ema", ["applied", "internal"])
def test_the_bound_of_a_long_trajectory_settles(weight_ema: str) -> None:
    # An EMA forgets: rounding adds up to at most 1 / (1 - beta) times that of one step.
    config = GACConfig(prior="none", weight_ema=weight_ema)
    state: dict[str, Any] = {**start_inputs(config), "previous_mu": 0.6, "previous_mu_ada": 0.6}
    errors: dict[str, Any] = {}
    for _ in range(1000):
        values = {**state, "not_ready": False, "mu_raw": 0.6, "step": 0}
        for stage in PIPELINE[-4:]:
            golden = evaluate(stage, config, values)
            found = stage_tolerances(stage, config, values, golden, precision=SINGLE, errors=errors)
            values |= golden
            errors |= {name: float(one.limit) for name, one in found.items()}
        errors = {f"previous_{name}": errors[name] for name in ("mu", "mu_ada")}
    one_step = 12.0 * FORMATS["fp32"].unit_roundoff
    assert errors["previous_mu"] < one_step / (1.0 - config.ema_beta)


def test_an_ema_whose_weight_was_rounded_first_is_covered() -> None:
    inputs = {"previous_mu": 0.0, "previous_mu_ada": 0.0, "mu_raw": 1.0, "not_ready": False}
    config = GACConfig(mu_min=0.0)
    golden = evaluate("weight_ema", config, inputs)
    limit = stage_tolerances("weight_ema", config, inputs, golden, precision=SINGLE)["mu_ada"].limit
    # 1 - 0.99 in float32 is off by 99 times what 0.01 would be.
    rounded = float(np.float32(1.0) - np.float32(0.99))
    assert 0.5 * float(limit) < abs(rounded - 0.01) + FORMATS["fp32"].unit_roundoff
    assert abs(rounded - golden["mu_ada"]) <= float(limit)


def test_order_statistics_move_within_their_errors_and_far_ones_do_not_move_others() -> None:
    rng = np.random.default_rng(8)
    values = np.array([0.0, 1.0, 1.0, 1.001, 1.002, 1.01, 2.0, 50.0])
    error = np.array([0.0, 0.0, 1e-2, 0.0, 2e-3, 0.0, 1e-3, 5.0])
    kept, bound = trimmed(values, error, 0.13)
    assert kept.tolist() == values[1:-1].tolist()
    assert bound.max() < 1.1e-2  # the outlier's own error is trimmed with it
    reached = np.zeros_like(bound)
    for _ in range(2000):
        moved = values + error * rng.choice((-1.0, 0.0, 1.0), size=values.size)
        off = np.abs(np.sort(moved)[1:-1] - kept)
        assert np.all(off <= bound + 1e-15)
        reached = np.maximum(reached, off)
    assert np.all(reached >= 0.5 * bound)


def test_a_row_feels_the_spread_that_other_rows_changed() -> None:
    config, size = GACConfig(use_phi=False, mask_eps=0.0), 1e-6
    gain = np.array([[1.0, -1.0], [1.0, -1.0]])
    inputs: dict[str, Any] = {
        "logprob": -np.ones((2, 2)),
        "response_mask": np.ones((2, 2), dtype=np.bool_),
        "advantages": gain,
        "is_expert": np.zeros(2, dtype=np.bool_),
        "c_s": -np.ones((2, 2)),
        "c_r": -gain,
    }
    golden = evaluate("sequences", config, inputs)
    error = np.array([[size, size], [0.0, 0.0]])
    limits = stage_tolerances(
        "sequences", config, inputs, golden, precision=DOUBLE, errors={"c_r": error}
    )
    moved = evaluate("sequences", config, {**inputs, "advantages": gain * (1.0 + error)})
    off = abs(moved["disagreement"][1] - golden["disagreement"][1])
    assert 0.99 * size < off <= FIRST_ORDER * float(limits["disagreement"].limit[1])


def rollouts(gain: FloatArray) -> dict[str, Any]:
    """The inputs of "sequences" for rollouts of these advantages, without phi."""
    return {
        "logprob": -np.ones(gain.shape),
        "response_mask": np.ones(gain.shape, dtype=np.bool_),
        "advantages": gain,
        "is_expert": np.zeros(len(gain), dtype=np.bool_),
        "c_s": -np.ones(gain.shape),
        "c_r": -gain,
    }


def test_the_error_of_one_token_reaches_its_row() -> None:
    config, size = GACConfig(use_phi=False, mask_eps=0.0), 1e-6
    gain = np.where(np.arange(80).reshape(40, 2) % 2 == 0, 1.0, -1.0)
    inputs = rollouts(gain)
    golden = evaluate("sequences", config, inputs)
    error = np.zeros_like(gain)
    error[0, 0] = size
    limits = stage_tolerances(
        "sequences", config, inputs, golden, precision=DOUBLE, errors={"c_r": error}
    )
    moved = evaluate("sequences", config, {**inputs, "advantages": gain + error})
    off = abs(moved["disagreement"][0] - golden["disagreement"][0])
    assert 0.9 * size < off <= FIRST_ORDER * float(limits["disagreement"].limit[0])


def test_a_stream_of_rounding_may_count_as_constant_and_one_of_equal_values_must() -> None:
    config = GACConfig(use_phi=False)
    spread = np.array([[1.0, -1.0], [1.0, -1.0]])
    for size, limit in ((0.0, 0.0), (1e-7, 1.0), (1e-2, 0.0)):
        inputs = rollouts(1.0 + size * spread)
        golden = evaluate("sequences", config, inputs)
        found = stage_tolerances("sequences", config, inputs, golden, precision=SINGLE)
        assert float(found["rl_stream_constant"].limit) == limit
        assert bool(found["disagreement"].alternatives) is (limit == 1.0)
        assert float(found["sft_stream_constant"].limit) == 0.0  # ones are ones
