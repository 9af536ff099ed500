"""What each call of the pack is held against: golden values and tolerances, computed once.

A process that checks many ports (the measurement of the suite's power checks hundreds) pays for
them once a case, dtype and precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gac_ref.config import GACConfig
from gac_ref.conformance.case import Case, Exchange
from gac_ref.conformance.compare import Target, compared_rows, decides_nothing, target
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.reference import evaluate, state_inputs
from gac_ref.conformance.stages import PIPELINE, STAGES, STATE
from gac_ref.conformance.tolerance import (
    Precision,
    carried_errors,
    stage_tolerances,
    step_tolerances,
)
from gac_ref.controller import init

__all__ = [
    "TAPPED",
    "Call",
    "StepCall",
    "carried_state",
    "golden_step",
    "moved",
    "own_targets",
    "stage_calls",
    "staged_step",
    "step_calls",
]

Values: TypeAlias = dict[str, Any]
Targets = tuple[Target, ...]

TAPPED = PIPELINE[1:]
"""The stages whose outputs a step may report."""

_ROUNDINGS = 32.0  # of a chain from the closed form to mu, with room
_LIMIT = 50_000  # entries of a memo before it starts anew


class Call(NamedTuple):
    """One stage on golden inputs.

    Args:
        stage: The stage.
        config: The configuration.
        sent: Inputs as the port gets them.
        wide: The same with token arrays as float64.
        golden: The golden outputs.
        targets: What the outputs are held against.
    """

    stage: str
    config: GACConfig
    sent: Values
    wide: Values
    golden: Values
    targets: Targets


class StepCall(NamedTuple):
    """One whole step, from a given state or as part of a trajectory.

    Args:
        case: Its case.
        place: Its place in the case.
        exchange: The exchange.
        state: The golden ``previous_*``.
        targets: For each stage, what the values that a port reports are held against.
        mu: The target of `mu` alone.
        injected: Each stage by itself on golden inputs; of "step" cases only.
    """

    case: Case
    place: int
    exchange: Exchange
    state: Values
    targets: Mapping[str, Targets]
    mu: Target
    injected: Mapping[str, Call]


_stages: dict[Any, tuple[Call, ...]] = {}
_steps: dict[Any, tuple[StepCall, ...]] = {}
_own: dict[Any, Targets] = {}


def stage_calls(case: Case, dtype: str, precision: Precision) -> tuple[Call, ...]:
    """The calls of a "stage" case."""
    key = (case.sha256, dtype, precision)
    if key not in _stages:
        _stages[key] = tuple(
            _call(case.stage, case.config, e.inputs, e.wide, e.expected, precision)
            for e in case.exchanges(dtype)
        )
    return _stages[key]


def step_calls(case: Case, dtype: str, precision: Precision) -> tuple[StepCall, ...]:
    """The calls of a "step" or "trajectory" case."""
    key = (case.sha256, dtype, precision)
    if key not in _steps:
        _steps[key] = _step_calls(case, dtype, precision)
    return _steps[key]


def golden_step(config: GACConfig, values: Mapping[str, Any]) -> Values:
    """The golden outputs of a whole step, on float64 inputs; numbers may overflow quietly."""
    with np.errstate(all="ignore"):
        return evaluate("step", config, values)


def staged_step(config: GACConfig, values: Mapping[str, Any]) -> Values:
    """The golden stages one after another, from any state, even one that an update refuses.

    The rows of a batch are taken in only where a refresh is due.
    """
    last, known, outputs = int(values["previous_last_refresh"]), dict(values), Values()
    due = last < 0 or values["step"] - last >= config.mu_update_freq
    with np.errstate(all="ignore"):
        for stage in TAPPED:
            if stage in ("coefficients", "proxies") and not due:
                continue
            found = evaluate(stage, config, known)
            if stage == "sequences" and not due:
                found = {"kl": found["kl"]}
            known |= found
            outputs |= found
    return outputs


def carried_state(outputs: Mapping[str, Any], before: Mapping[str, Any]) -> Values:
    """The ``previous_*`` of the next step, from what this one returned.

    Args:
        outputs: Outputs of this step; what a port does not report is missing.
        before: The state that this step read, which stands in for what is missing.

    Examples:
        >>> carried_state({"mu": 0.25, "sigma_s2": 1.0, "count_s": 0}, {})
        {'previous_mu': 0.25, 'previous_sigma_s2': 0.0, 'previous_count_s': 0}
    """
    state = {}
    for field in STATE:
        name = field.name.removeprefix("previous_")
        if name in outputs:
            state[field.name] = outputs[name]
        elif field.name in before:
            state[field.name] = before[field.name]
    for name, count in (("sigma_s2", "s"), ("sigma_r2", "r"), ("delta_g2", "delta")):
        if f"previous_{name}" in state and state.get(f"previous_count_{count}") == 0:
            state[f"previous_{name}"] = 0.0  # what was reported is a stand-in
    return state


def moved(goal: Target, value: Any, precision: Precision) -> Target:
    """The target of a scalar around another value, for an explanation that is tried.

    Its bound may be that of a decision which the explanation does not take (0, where a bound of mu
    acted), so a few roundings are allowed in any case.
    """
    expected = float(value)
    rounding = _ROUNDINGS * FORMATS[precision.scalars].unit_roundoff * abs(expected)
    limit = goal.limit if goal.field.kind != "real" else max(goal.limit, rounding)
    return goal._replace(expected=expected, limit=limit, alternatives=())


def own_targets(
    stage: str, config: GACConfig, values: Mapping[str, Any], precision: Precision
) -> Targets:
    """What a stage's outputs are held against, given the values that a port says it read.

    Raises:
        Exception: The golden stage cannot work on them.
    """
    names = [field.name for field in STAGES[stage].inputs if field.name in values]
    key = (stage, config, precision, *(_bits(values[name]) for name in names))
    if key not in _own:
        if len(_own) > _LIMIT:
            _own.clear()
        inputs = {name: values[name] for name in names}
        with np.errstate(all="ignore"):
            golden = evaluate(stage, config, inputs)
            errors = _fused_errors(config, values, precision) if stage == "proxies" else None
            limits = stage_tolerances(
                stage, config, inputs, golden, precision=precision, errors=errors
            )
        _own[key] = _targets(stage, config, {**values, **golden}, golden, limits)
    return _own[key]


def _fused_errors(
    config: GACConfig, values: Mapping[str, Any], precision: Precision
) -> dict[str, Any]:
    """How far the rows that a port reports may be from those that its proxies came from.

    A port may take the proxies from moments and never form the rows, which it then computes for
    the report alone.
    """
    inputs = {**values, **evaluate("coefficients", config, values)}
    rows = evaluate("sequences", config, inputs)
    limits = stage_tolerances("sequences", config, inputs, rows, precision=precision)
    return {name: limits[name].limit for name in ("nll", "advantage", "disagreement")}


def _bits(value: Any) -> Any:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def _call(
    stage: str,
    config: GACConfig,
    sent: Values,
    wide: Values,
    golden: Values,
    precision: Precision,
) -> Call:
    if stage == "transport":  # to the bit: compared as such, where it is run
        return Call(stage, config, sent, wide, golden, ())
    limits = stage_tolerances(stage, config, wide, golden, precision=precision)
    targets = _targets(stage, config, {**wide, **golden}, golden, limits)
    return Call(stage, config, sent, wide, golden, targets)


def _targets(
    stage: str,
    config: GACConfig,
    values: Mapping[str, Any],
    golden: Mapping[str, Any],
    limits: Mapping[str, Any],
) -> Targets:
    """The targets of those outputs of a stage that exist and mean something.

    A closed form by itself does not know that its statistics are stand-ins, and is compared.
    """
    return tuple(
        target(
            field,
            golden[field.name],
            limits[field.name].limit,
            alternatives=limits[field.name].alternatives,
            where=compared_rows(field, config, values),
        )
        for field in STAGES[stage].outputs
        if field.name in golden and not decides_nothing(field.name, config, values)
    )


def _step_calls(case: Case, dtype: str, precision: Precision) -> tuple[StepCall, ...]:
    calls: list[StepCall] = []
    trajectory = case.kind == "trajectory"
    state: Values = state_inputs(init(case.config)) if trajectory else {}
    errors: dict[str, Any] | None = None
    for index, exchange in enumerate(case.exchanges(dtype)):
        if not trajectory:
            state = {field.name: exchange.wide[field.name] for field in STATE}
        values = {**exchange.wide, **state}
        # The pack leaves out stand-ins that decide nothing; the derivations read them.
        golden = golden_step(case.config, values) | exchange.expected
        limits = step_tolerances(case.config, values, golden, precision=precision, errors=errors)
        everything = {**values, **golden}
        targets = {
            stage: _targets(stage, case.config, everything, exchange.expected, limits)
            for stage in TAPPED
        }
        calls.append(
            StepCall(
                case,
                index,
                exchange,
                state,
                {stage: goals for stage, goals in targets.items() if goals},
                targets["clip"][0],
                {} if trajectory else _injected(case, exchange, golden, precision),
            )
        )
        if trajectory:
            state, errors = carried_state(golden, state), carried_errors(limits)
    return tuple(calls)


def _injected(
    case: Case, exchange: Exchange, golden: Values, precision: Precision
) -> dict[str, Call]:
    """Each stage of a step by itself, wherever its golden inputs exist at that step."""
    calls = {}
    held = case.config.unseen_statistic == "hold" and bool(golden["not_ready"])
    sent = {**golden, **exchange.inputs}
    wide = {**golden, **exchange.wide}
    for stage in TAPPED:
        fields = STAGES[stage].inputs
        if not all(field.optional or field.name in sent for field in fields):
            continue  # not a step at which the batch is read
        if stage == "closed_form" and held:
            continue  # there is nothing to compute it from
        names = [field.name for field in fields if field.name in sent]
        inputs = {name: wide[name] for name in names}
        with np.errstate(all="ignore"):
            outputs = evaluate(stage, case.config, inputs)
        calls[stage] = _call(
            stage, case.config, {name: sent[name] for name in names}, inputs, outputs, precision
        )
    return calls
