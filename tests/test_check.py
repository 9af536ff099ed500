"""The checker: what it counts, what it calls a failure, and what no port gets away with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from _one_fault import Composed, Values, black_box, tapped_only
from _small_pack import small_pack

from gac_ref import GACConfig
from gac_ref.conformance.adapters import Crashed, TimedOut
from gac_ref.conformance.check import Report, exit_code, run_check
from gac_ref.conformance.compare import compare, compared_rows, decides_nothing, target
from gac_ref.conformance.port import Skipped, Unsupported
from gac_ref.conformance.reference import Reference
from gac_ref.conformance.report.events import EventFile, read_events
from gac_ref.conformance.runner import PATIENCE
from gac_ref.conformance.stages import PIPELINE, STAGES
from gac_ref.errors import GACError

MU = STAGES["clip"].output("mu")
FLAG = STAGES["clip"].output("mu_clipped")
NLL = STAGES["sequences"].output("nll")
C_S = STAGES["coefficients"].output("c_s")


def checked(port: Any, **options: Any) -> Report:
    return run_check(port, **{"pack": small_pack(), "hints": False, **options})


def statuses(report: Report, **wanted: Any) -> Counter[str]:
    """How often each status occurs among the checks with those fields."""
    return Counter(
        event["status"]
        for event in report.events
        if event["event"] == "check" and all(event[k] == v for k, v in wanted.items())
    )


def guard(report: Report, name: str) -> dict[str, Any]:
    return next(e for e in report.events if e.get("case") == f"adapter/{name}")


class TestRightPorts:
    @pytest.mark.parametrize("dtype", ["fp64", "fp32"])
    @pytest.mark.parametrize("port", [Reference, Composed])
    def test_are_ok_and_every_check_is_executed(self, port: Any, dtype: str) -> None:
        report = checked(port(), dtype=dtype)
        assert report.verdict == "ok"
        assert report.executed == report.total
        assert report.failed == report.unsupported == report.skipped == 0
        assert (report.origin, report.first_bad_step) == (None, None)
        assert 0.0 < report.worst <= 1.0
        assert exit_code(report) == 0

    @pytest.mark.parametrize("made", [black_box, tapped_only])
    def test_that_offer_less_are_ok_and_what_they_lack_is_counted(self, made: Any) -> None:
        report = checked(made(Composed))
        assert report.verdict == "ok"
        assert report.executed + report.unsupported == report.total
        assert statuses(report, mode="injected") == {"unsupported": report.unsupported} or (
            statuses(report, mode="tapped")["unsupported"] > 0
        )
        assert f"{report.unsupported} unsupported" in report.headline

    def test_the_total_does_not_depend_on_what_a_port_offers(self) -> None:
        def of_the_pack(report: Report) -> int:
            return sum(e["event"] == "check" and e["mode"] != "guard" for e in report.events)

        every = {of_the_pack(checked(p)) for p in (Composed(), black_box(Composed))}
        assert len(every) == 1


class TestCounting:
    def test_each_check_is_an_event_and_has_one_status(self) -> None:
        report = checked(tapped_only(Composed))
        status = statuses(report)
        assert status.total() == report.total
        assert report.executed == report.total - status["unsupported"] - status["skipped"]
        assert [report.events[0]["event"], report.events[-1]["event"]] == ["start", "end"]

    def test_events_arrive_as_they_happen_and_survive_a_file(self, tmp_path: Any) -> None:
        seen: list[dict[str, Any]] = []
        report = checked(Composed(), stages=["clip"], on_event=seen.append)
        assert seen == report.events
        with EventFile(tmp_path / "events.jsonl") as file:
            for event in report.events:
                file.write(event)
        assert len(read_events([tmp_path / "events.jsonl"])) == len(seen)

    def test_the_rows_of_the_summary_add_up_to_the_total(self) -> None:
        report = checked(NanClip())
        columns = ("passed", "failed", "propagated", "unsupported", "other")
        assert sum(row[c] for row in report.stages for c in columns) == report.total
        assert sum(row["failed"] + row["propagated"] for row in report.stages) == report.failed

    def test_too_few_checks_are_no_verdict(self) -> None:
        class OneStage(Composed):
            offered = ("clip",)

        report = checked(OneStage())
        assert (report.verdict, exit_code(report)) == ("too_few", 4)
        assert report.headline.startswith("TOO FEW CHECKS")
        assert checked(OneStage(), minimum=report.executed).verdict == "ok"
        assert checked(OneStage(), minimum=report.executed + 1).verdict == "too_few"
        assert checked(OneStage(), stages=["clip"]).verdict == "ok"

    def test_a_selection_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(GACError, match="unknown stage"):
            checked(Composed(), stages=["clipp"])
        with pytest.raises(GACError, match="no case"):
            checked(Composed(), ids=["clip/nothing"])
        with pytest.raises(GACError, match="unknown dtype"):
            checked(Composed(), dtype="fp8")

    def test_a_dtype_that_is_not_claimed_is_unsupported_throughout(self) -> None:
        class Narrow(Composed):
            def hello(self) -> Values:
                return {**super().hello(), "dtypes": ["fp32"]}

        report = checked(Narrow(), dtype="fp64")
        assert report.verdict == "too_few"
        assert statuses(report, mode="injected").keys() == {"unsupported"}


class NanClip(Composed):
    def stage(self, stage: str, values: Values) -> Values:
        outputs = super().stage(stage, values)
        return {**outputs, "mu": math.nan} if stage == "clip" else outputs


class TestBrokenAnswers:
    def test_nan_is_a_divergence_of_its_own_kind(self) -> None:
        report = checked(NanClip())
        assert (report.verdict, report.origin) == ("divergence", "clip")
        event = next(e for e in report.events if e.get("status") == "fail")
        assert (event["kind"], event["ratio"]) == ("nan", math.inf)

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            ({"mu": [0.5, 0.5], "mu_clipped": False}, "shape"),
            ({"mu": "half", "mu_clipped": False}, "mu is"),
            ({"mu": 0.5}, "no mu_clipped"),
            ({"mu": 0.5, "mu_clipped": False, "nu": 1.0}, "nu"),
            (None, "no mapping"),
        ],
    )
    def test_an_answer_of_another_form_fails_its_check_and_no_other(
        self, answer: Any, reason: str
    ) -> None:
        class Malformed(Composed):
            def alone(self, stage: str, values: Values) -> Values:
                return answer if stage == "clip" else super().alone(stage, values)

        report = checked(Malformed())
        assert (report.verdict, exit_code(report)) == ("adapter_failure", 3)
        assert report.origin == "clip"
        assert statuses(report, stage="clip", mode="injected").keys() == {"bad_reply"}
        assert reason in report.statement
        others = statuses(report, mode="injected") - statuses(report, stage="clip", mode="injected")
        assert others.keys() == {"pass"}

    def test_an_exception_is_an_error_of_its_check_alone(self) -> None:
        class Raising(Composed):
            def alone(self, stage: str, values: Values) -> Values:
                if stage == "alpha":
                    raise KeyError("beta")
                return super().alone(stage, values)

        report = checked(Raising())
        assert statuses(report, stage="alpha", mode="injected").keys() == {"error"}
        assert (report.verdict, report.origin) == ("adapter_failure", "alpha")
        assert "KeyError: 'beta'" in report.statement

    @pytest.mark.parametrize(("failure", "status"), [(Crashed, "crash"), (TimedOut, "timeout")])
    def test_a_stage_that_keeps_crashing_is_given_up(self, failure: Any, status: str) -> None:
        class Dying(Composed):
            def alone(self, stage: str, values: Values) -> Values:
                if stage == "proxies":
                    raise failure("gone")
                return super().alone(stage, values)

        report = checked(Dying())
        assert statuses(report, stage="proxies", mode="injected")[status] == PATIENCE
        assert statuses(report, stage="proxies", mode="injected")["skipped"] > 0
        assert statuses(report, stage="clip", mode="injected").keys() == {"pass"}
        reasons = {e["reason"] for e in report.events if e.get("status") == "skipped"}
        assert reasons == {f"proxies was given up after {PATIENCE} crashes or time-outs in a row"}
        assert report.verdict == "adapter_failure"

    def test_crashes_with_answers_between_them_are_not_given_up(self) -> None:
        class Flaky(Composed):
            count = 0

            def alone(self, stage: str, values: Values) -> Values:
                if stage == "clip":
                    self.count += 1
                    if self.count % 2:
                        raise Crashed("gone")
                return super().alone(stage, values)

        assert statuses(checked(Flaky()), mode="injected")["skipped"] == 0

    def test_a_crash_in_a_trajectory_leaves_out_the_rest_of_it(self) -> None:
        class Dying(Composed):
            def step(self, values: Values) -> Values:
                if values["step"] == 3:
                    raise Crashed("gone")
                return super().step(values)

        report = checked(Dying(), ids=["trajectory/held-10"])
        black = [e["status"] for e in report.events if e.get("mode") == "black_box"]
        assert black == [
            "pass",
            "pass",
            "pass",
            "crash",
            "skipped",
            "skipped",
        ]

    def test_a_divergence_outranks_an_adapter_failure(self) -> None:
        class Both(NanClip):
            def alone(self, stage: str, values: Values) -> Values:
                if stage == "alpha":
                    raise KeyError("beta")
                return super().alone(stage, values)

        report = checked(Both())
        assert (report.verdict, exit_code(report)) == ("divergence", 1)
        assert f"{report.adapter_failures} adapter failures" in report.headline
        assert report.adapter_failures > 0

    def test_a_port_that_cannot_say_hello_is_one_failure_and_nothing_is_asked(self) -> None:
        class Mute(Composed):
            def hello(self) -> Values:
                raise OSError("no device")

        report = checked(Mute())
        assert (report.verdict, report.failed) == ("adapter_failure", 1)
        assert report.executed == 1
        assert "no device" in guard(report, "hello")["reason"]

    def test_what_a_port_declines_is_unsupported_or_skipped(self) -> None:
        class Choosy(Composed):
            def alone(self, stage: str, values: Values) -> Values:
                if stage == "alpha":
                    raise Unsupported("no KL here")
                if stage == "clip":
                    raise Skipped("out of memory")
                return super().alone(stage, values)

        report = checked(Choosy())
        assert statuses(report, stage="alpha", mode="injected").keys() == {"unsupported"}
        assert statuses(report, stage="clip", mode="injected").keys() == {"skipped"}
        assert (report.skipped > 0, report.executed < report.total) == (True, True)
        empty = guard(report, "claims-alpha")
        assert (empty["status"], report.verdict) == ("bad_reply", "adapter_failure")


class TestImpostors:
    def test_changed_inputs_are_found_and_do_not_reach_the_golden_ones(self) -> None:
        class Writing(Composed):
            def run(self, stage: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
                outputs = super().run(stage, inputs)
                if stage == "coefficients":
                    inputs["logprob"].flags.writeable = True
                    inputs["logprob"][0, 0] = -9.0
                return outputs

        report = checked(Writing())
        assert guard(report, "inputs")["status"] == "fail"
        assert "coefficients changes its input logprob" in guard(report, "inputs")["reason"]
        assert (report.verdict, report.origin) == ("divergence", "adapter")
        assert checked(Reference()).verdict == "ok"

    def test_writing_to_a_read_only_input_is_named_too(self) -> None:
        class Writing(Composed):
            def run(self, stage: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
                if stage == "coefficients":
                    inputs["logprob"][0, 0] = -9.0
                return super().run(stage, inputs)

        assert guard(checked(Writing()), "inputs")["status"] == "fail"

    def test_state_kept_over_reset(self) -> None:
        class Kept(Composed):
            def reset(self) -> None:
                pass

        report = checked(Kept())
        assert guard(report, "reset")["status"] == "fail"
        assert guard(report, "configure")["status"] == "pass"
        assert (report.verdict, report.origin) == ("divergence", "state")

    def test_state_kept_over_configure(self) -> None:
        class Kept(Composed):
            def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
                kept = getattr(self, "previous", None)
                super().configure(config, dtype=dtype, device=device)
                self.previous = kept or self.previous

        report = checked(Kept())
        assert guard(report, "reset")["status"] == "pass"
        assert guard(report, "configure")["status"] == "fail"
        assert report.origin == "state"

    def test_answers_of_the_call_before(self) -> None:
        class Late(Composed):
            """Right the first time that inputs are seen, then what was answered last."""

            def __init__(self) -> None:
                super().__init__()
                self.seen: set[bytes] = set()
                self.last: dict[str, Values] = {}

            def alone(self, stage: str, values: Values) -> Values:
                key = repr((stage, self.config, values)).encode()
                if key in self.seen:
                    return self.last[stage]
                self.seen.add(key)
                self.last[stage] = super().alone(stage, values)
                return self.last[stage]

        report = checked(Late())
        assert report.origin == "adapter"
        assert guard(report, "order-proxies")["status"] == "fail"

    def test_answers_that_change_from_call_to_call(self) -> None:
        class Noisy(Composed):
            rng = np.random.default_rng(0)

            def stage(self, stage: str, values: Values) -> Values:
                outputs = super().stage(stage, values)
                if stage == "proxies":
                    outputs["proxy_sigma_r2"] *= 1.0 + 2.0**-52 * int(self.rng.integers(2))
                return outputs

        report = checked(Noisy())
        assert guard(report, "repeat-proxies")["status"] == "fail"
        assert guard(report, "repeat-clip")["status"] == "pass"
        assert report.verdict == "divergence"

    @pytest.mark.parametrize("answer", [0.0, 0.5, 1.0])
    def test_a_constant_is_not_right(self, answer: float) -> None:
        class Constant(Composed):
            offered = ("step", "trajectory")

            def run(self, stage: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
                return {"mu": answer}

        assert checked(Constant()).verdict == "divergence"

    def test_an_echo_that_is_not_to_the_bit_is_wrong(self) -> None:
        class Lossy(Composed):
            def echo(self, inputs: Values) -> Values:
                return {**inputs, "advantages": inputs["advantages"] * (1.0 + 2.0**-52)}

        assert checked(Lossy()).origin == "transport"


class TestCompare:
    """Entries against bounds."""

    def test_the_ratio_is_the_error_over_the_bound_of_the_worst_entry(self) -> None:
        goal = target(NLL, np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.25, 0.5]))
        found = compare(goal, np.array([1.0, 2.5, 3.5]))
        assert (found.ratio, found.place, found.got, found.expected) == (2.0, (1,), 2.5, 2.0)
        assert found.bound == 0.25

    @pytest.mark.parametrize("shape", [(), (3,)])
    @pytest.mark.parametrize(
        ("got", "expected", "limit", "ratio"),
        [
            (0.0, -0.0, 0.0, 0.0),
            (math.nan, math.nan, 0.0, 0.0),
            (math.inf, math.inf, 0.0, 0.0),
            (math.nan, 1.0, 9.0, math.inf),
            (1.0, math.nan, 9.0, math.inf),
            (math.inf, 1.0, math.inf, math.inf),
            (-math.inf, math.inf, 9.0, math.inf),
            (1.5, 1.0, 0.0, math.inf),
            (1.0, 1.0, 0.0, 0.0),
            (1.5, 1.0, math.nan, math.inf),
            (1.5, 1.0, 0.5, 1.0),
            (1.5, 1.0, math.inf, 0.0),
        ],
    )
    def test_special_values(
        self, shape: tuple[int, ...], got: float, expected: float, limit: float, ratio: float
    ) -> None:
        field = MU if shape == () else NLL
        goal = target(field, np.full(shape, expected), np.full(shape, limit))
        assert compare(goal, np.full(shape, got)).ratio == ratio

    def test_a_flag_is_exact_unless_either_is_right(self) -> None:
        assert compare(target(FLAG, True, 0.0), False).ratio == math.inf
        assert compare(target(FLAG, True, 1.0), False).ratio == 0.0

    def test_an_alternative_is_right_as_a_whole(self) -> None:
        one, other = np.array([0.0, 0.0]), np.array([1.0, 1.0])
        goal = target(NLL, one, 0.1, alternatives=[other])
        assert compare(goal, one).ratio == compare(goal, other).ratio == 0.0
        assert compare(goal, np.array([0.0, 1.0])).ratio > 1.0

    def test_entries_that_mean_nothing_are_not_compared(self) -> None:
        mask = np.array([[True, False], [True, True]])
        goal = target(C_S, np.zeros((2, 2)), 0.0, where=mask)
        assert compare(goal, np.array([[0.0, math.nan], [0.0, 0.0]])).ratio == 0.0
        found = compare(goal, np.array([[0.0, math.nan], [0.0, 3.0]]))
        assert (found.ratio, found.place) == (math.inf, (1, 1))

    def test_no_entries_are_right(self) -> None:
        assert compare(target(NLL, np.zeros(0), 0.0), np.zeros(0)).ratio == 0.0

    def test_rows_follow_the_branch_and_the_configuration(self) -> None:
        values = {"is_expert": [True, False, False], "response_mask": [[True], [False], [True]]}
        outputs = {f.name: f for f in (*STAGES["sequences"].outputs, C_S)}

        def rows(name: str, config: GACConfig) -> Any:
            found = compared_rows(outputs[name], config, values)
            return None if found is None else found.tolist()

        every = GACConfig(disagreement_rows="all")
        assert rows("nll", every) == [True, False, False]
        assert rows("advantage", every) == [False, True, True]
        assert rows("disagreement", every) is None
        assert rows("disagreement", GACConfig()) == [False, True, True]
        assert rows("c_s", every) == [[True], [False], [True]]
        assert rows("tokens", every) is None

    def test_stand_ins_are_compared_only_where_something_reads_them(self) -> None:
        unseen = {"count_s": 0, "count_r": 1, "not_ready": True}
        hold, unit = GACConfig(), GACConfig(unseen_statistic="unit")
        assert decides_nothing("sigma_s2", hold, unseen)
        assert decides_nothing("mu_raw", hold, unseen)
        assert not decides_nothing("sigma_r2", hold, unseen)
        assert not decides_nothing("mu_ada", hold, unseen)
        assert not decides_nothing("mu_raw", hold, {"not_ready": False})
        assert not any(decides_nothing(name, unit, unseen) for name in ("sigma_s2", "mu_raw"))


def test_every_stage_of_the_pipeline_is_in_the_small_pack() -> None:
    """What the other tests rely on."""
    assert {*PIPELINE, "step", "trajectory"} <= {case.stage for case in small_pack().cases}
