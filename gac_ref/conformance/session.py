"""One port on the cases of a pack: every call made, every answer compared, every check counted.

A check is one stage of one call in one mode, and each exists whether or not the port takes part: a
stage that it does not offer, or a value that it does not report, is counted as unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gac_ref.conformance.case import Case
from gac_ref.conformance.compare import Difference, worst
from gac_ref.conformance.events import Result
from gac_ref.conformance.golden import (
    Call,
    StepCall,
    Targets,
    carried_state,
    own_targets,
    stage_calls,
    step_calls,
)
from gac_ref.conformance.reference import state_inputs
from gac_ref.conformance.runner import Answer, Runner
from gac_ref.conformance.stages import STAGES
from gac_ref.conformance.tolerance import Precision
from gac_ref.controller import init

__all__ = ["Session", "StepRecord", "own_values"]

Values = dict[str, Any]

_NOTHING_NEW: Values = {
    **dict.fromkeys(("proxy_sigma_s2", "proxy_sigma_r2", "proxy_delta_g2"), 0.0),
    **dict.fromkeys(("has_s", "has_r", "has_delta"), False),
}
_STREAMS = ("disagreement", "sft_stream_constant", "rl_stream_constant")


class StepRecord(NamedTuple):
    """One whole step that was answered: what localisation works on.

    Args:
        call: The call.
        state: The ``previous_*`` that the step should have read: given, or reported one step
            before.
        outputs: What the port returned.
        results: The checks of it, by mode and stage.
    """

    call: StepCall
    state: Values
    outputs: Values
    results: dict[tuple[str, str], Result]

    @property
    def bad(self) -> bool:
        """Whether anything in it is wrong."""
        return any(result.failed for result in self.results.values())


class Session:
    """The checks of one port in one dtype.

    Args:
        runner: The port.
        dtype: The dtype under test.
        precision: What the port declares for it.
        on_result: Called with each result.

    Attributes:
        results: Every check, in order.
        records: The whole steps that were answered.
        answers: The outputs of each call, by case, index and stage.
        mutated: Calls whose inputs the port changed: case, stage and the inputs' names.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        dtype: str,
        precision: Precision,
        on_result: Callable[[Result], Result],
    ) -> None:
        self.runner = runner
        self.dtype = dtype
        self.precision = precision
        self.results: list[Result] = []
        self.records: list[StepRecord] = []
        self.answers: dict[tuple[str, int, str], Values] = {}
        self.mutated: list[tuple[str, str, tuple[str, ...]]] = []
        self._on_result = on_result

    def add(self, result: Result) -> Result:
        """Count a check."""
        result = self._on_result(result)
        self.results.append(result)
        return result

    def run(self, case: Case) -> None:
        """Make the calls of a case."""
        if case.kind == "stage":
            self._stage_case(case)
        elif case.kind == "step":
            self._step_case(case)
        else:
            self._trajectory(case)

    def _stage_case(self, case: Case) -> None:
        if not self.runner.claims(case.stage):
            answer = self._ask(case, 0, case.stage, {}, None)
            for index in range(len(case.exchanges(self.dtype))):
                self.add(_unanswered(case, index, case.stage, "injected", answer))
            return
        fault = self.runner.configure(case.config)
        for index, call in enumerate(stage_calls(case, self.dtype, self.precision)):
            self._injected(case, index, call, fault)

    def _injected(self, case: Case, index: int, call: Call, fault: Answer | None) -> None:
        answer = self._ask(case, index, call.stage, call.sent, fault)
        if answer.status != "ok":
            self.add(_unanswered(case, index, call.stage, "injected", answer))
            return
        if call.stage == "transport":
            self.add(_echo(case, index, call.wide, answer.outputs))
            return
        self.add(_compared(case, index, call.stage, "injected", call.targets, answer.outputs))

    def _step_case(self, case: Case) -> None:
        fault = self.runner.configure(case.config)
        for index, call in enumerate(step_calls(case, self.dtype, self.precision)):
            answer = self._ask(case, index, "step", call.exchange.inputs, fault)
            self._whole(call, answer, call.state, step=None)
            for stage in call.injected:
                self._injected(case, index, call.injected[stage], fault)

    def _trajectory(self, case: Case) -> None:
        # `reset` after `configure`, which starts anew by itself: the guards see whether both do.
        fault = self.runner.configure(case.config) or self.runner.reset()
        state = state_inputs(init(case.config))
        for call in step_calls(case, self.dtype, self.precision):
            step = int(call.exchange.inputs["step"])
            answer = self._ask(case, call.place, "trajectory", call.exchange.inputs, fault)
            self._whole(call, answer, state, step=step)
            state = carried_state(answer.outputs, {})
            if answer.status not in ("ok", "unsupported") and fault is None:
                fault = Answer("skipped", {}, f"the state was lost at step {step}: {answer.status}")

    def _ask(
        self, case: Case, index: int, stage: str, inputs: Mapping[str, Any], fault: Answer | None
    ) -> Answer:
        answer = self.runner.call(stage, inputs) if fault is None else fault
        if answer.status == "ok":
            self.answers[case.id, index, stage] = answer.outputs
        if answer.mutated:
            self.mutated.append((case.id, stage, answer.mutated))
        return answer

    def _whole(self, call: StepCall, answer: Answer, state: Values, *, step: int | None) -> None:
        case, index = call.case, call.place
        results: dict[tuple[str, str], Result] = {}

        def add(result: Result) -> None:
            results[result.mode, result.stage] = self.add(result._replace(step=step))

        if answer.status != "ok":
            add(_unanswered(case, index, case.stage, "black_box", answer))
            if answer.status != "unsupported":
                answer = Answer("skipped", {}, f"the {case.stage} gave no answer: {answer.status}")
            for stage in call.targets:
                add(_unanswered(case, index, stage, "tapped", answer))
                add(_unanswered(case, index, stage, "consistent", answer))
            return
        add(_compared(case, index, case.stage, "black_box", (call.mu,), answer.outputs))
        for stage, goals in call.targets.items():
            add(_compared(case, index, stage, "tapped", goals, answer.outputs))
        for stage in call.targets:
            add(self._consistent(call, stage, state, answer.outputs, results))
        self.records.append(StepRecord(call, state, answer.outputs, results))

    def _consistent(
        self,
        call: StepCall,
        stage: str,
        state: Values,
        outputs: Values,
        results: Mapping[tuple[str, str], Result],
    ) -> Result:
        """The golden stage on the port's own upstream values, against what it reported."""
        case, index = call.case, call.place
        values = own_values(call, state, outputs)
        missing = [f.name for f in STAGES[stage].inputs if not f.optional and f.name not in values]
        if missing:
            reason = f"{missing[0]} was not reported"
            return Result(case.id, index, stage, "consistent", "unsupported", reason=reason)
        try:
            goals = own_targets(stage, case.config, values, self.precision)
        except Exception as error:  # whatever a value that no stage would return leads to
            reason = f"the golden stage cannot work on the reported values: {error}"
            return Result(case.id, index, stage, "consistent", "unsupported", reason=reason)
        due = {goal.field.name for goal in call.targets[stage]}
        goals = tuple(goal for goal in goals if goal.field.name in due)
        if stage == "sequences" and _failed(results, "coefficients"):
            # The golden rows come from the batch, and say nothing about streams that are wrong.
            goals = tuple(goal for goal in goals if goal.field.name not in _STREAMS)
        return _compared(case, index, stage, "consistent", goals, outputs)


def _failed(results: Mapping[tuple[str, str], Result], stage: str) -> bool:
    result = results.get(("tapped", stage))
    return result is not None and result.failed


def own_values(call: StepCall, state: Mapping[str, Any], outputs: Mapping[str, Any]) -> Values:
    """Every value of a step by name, as the port should have had it: batch, state, its outputs."""
    absent: Values = {}
    if "proxy_sigma_s2" not in call.exchange.expected:  # a step that does not read its batch
        nothing = np.zeros(call.exchange.wide["logprob"].shape)
        absent = {**_NOTHING_NEW, "c_s": nothing, "c_r": nothing}
    return {**absent, **outputs, **state, **call.exchange.wide}


def _unanswered(case: Case, index: int, stage: str, mode: str, answer: Answer) -> Result:
    kind = "" if answer.status in ("unsupported", "skipped") else answer.status
    return Result(case.id, index, stage, mode, answer.status, reason=answer.reason, kind=kind)


def _compared(
    case: Case, index: int, stage: str, mode: str, goals: Targets, outputs: Values
) -> Result:
    found = worst(goals, outputs)
    if found is None:
        if goals and mode in ("tapped", "consistent"):
            reason = f"no output of {stage} was reported"
            return Result(case.id, index, stage, mode, "unsupported", reason=reason)
        return Result(case.id, index, stage, mode, "pass", reason="nothing in it decides anything")
    if found.ratio <= 1.0:
        return Result(case.id, index, stage, mode, "pass", worst=found)
    return Result(case.id, index, stage, mode, "fail", worst=found, kind=found.kind)


def _echo(case: Case, index: int, sent: Mapping[str, Any], outputs: Mapping[str, Any]) -> Result:
    """What the port says that it received, to the bit (NaN payloads aside)."""
    for name, value in sent.items():
        expected, got = np.asarray(value), np.asarray(outputs[name])
        same = expected == got
        if expected.dtype.kind == "f":
            same &= np.signbit(expected) == np.signbit(got)
            same |= np.isnan(expected) & np.isnan(got)
        if not np.all(same):
            at = tuple(int(i) for i in np.argwhere(~np.atleast_1d(same))[0])[: expected.ndim]
            values = float(got[at]), float(expected[at])
            found = Difference(float("inf"), name, at, *values, 0.0, "value")
            return Result(
                case.id, index, "transport", "injected", "fail", worst=found, kind="value"
            )
    return Result(case.id, index, "transport", "injected", "pass")
