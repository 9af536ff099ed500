"""The origin: one fault each, found where it is, however much or little the port reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
from _one_fault import ROWS, Composed, Values, black_box, tapped_only
from _small_pack import CONFIGS, STEPS, make, small_pack

from gac_ref import GACConfig
from gac_ref.conformance.axes import common_axis
from gac_ref.conformance.check import Report, run_check
from gac_ref.conformance.golden import carried_state
from gac_ref.conformance.hints import TELLING
from gac_ref.conformance.power import mutants as library
from gac_ref.conformance.reference import state_inputs
from gac_ref.controller import init

TRAJECTORIES = [case.id for case in small_pack().cases if case.kind == "trajectory"]


def checked(port: Any, **options: Any) -> Report:
    return run_check(port, **{"pack": small_pack(), "hints": False, **options})


def faulty(name: str, **methods: Any) -> type[Composed]:
    return type(name, (Composed,), methods)


def at(stage: str, change: Any) -> type[Composed]:
    """A port whose one stage answers otherwise."""

    def wrong(self: Composed, asked: str, values: Values) -> Values:
        outputs = Composed.stage(self, asked, values)
        return {**outputs, **change(self, values, outputs)} if asked == stage else outputs

    return faulty(f"Wrong_{stage}", stage=wrong)


def fed(stage: str, change: Any) -> type[Composed]:
    """A port that hands one stage other values within a step."""

    def feed(self: Composed, asked: str, values: Values) -> Values:
        return {**values, **change(values)} if asked == stage else values

    return faulty(f"Fed_{stage}", feed=feed)


def carrying(change: Any) -> type[Composed]:
    """A port that carries other values to the next step."""

    def carry(self: Composed, outputs: Values) -> Values:
        return {**carried_state(outputs, {}), **change(self, outputs)}

    return faulty("Carrying", carry=carry)


STAGE_FAULTS = {
    "coefficients": lambda port, v, out: {"c_r": 0.5 * out["c_r"]},
    "sequences": lambda port, v, out: {"nll": out["nll"] * out["tokens"]},
    "proxies": lambda port, v, out: {"proxy_sigma_r2": out["proxy_sigma_r2"] * 3.0 / 2.0},
    "statistics_ema": lambda port, v, out: {"sigma_s2": 0.99 * out["sigma_s2"]},
    "alpha": lambda port, v, out: {"alpha": out["alpha"] + 1e-6},
    "closed_form": lambda port, v, out: {"mu_raw": 1.0 - out["mu_raw"]},
    "weight_ema": lambda port, v, out: {"mu_ada": 0.5 * (out["mu_ada"] + v["mu_raw"])},
    "prior_blend": lambda port, v, out: {"mu_candidate": 1.001 * out["mu_candidate"]},
    "change_cap": lambda port, v, out: {"mu_capped": v["mu_candidate"]},
    "clip": lambda port, v, out: {"mu": v["mu_capped"]},
}


class TestOneStage:
    @pytest.mark.parametrize("stage", STAGE_FAULTS)
    def test_that_can_be_run_by_itself(self, stage: str) -> None:
        report = checked(at(stage, STAGE_FAULTS[stage])())
        assert (report.verdict, report.origin) == ("divergence", stage)
        assert f"origin: {stage}" in report.headline
        assert "by itself" in report.statement

    @pytest.mark.parametrize("stage", STAGE_FAULTS)
    def test_that_is_only_reported_within_steps(self, stage: str) -> None:
        report = checked(tapped_only(at(stage, STAGE_FAULTS[stage])))
        assert report.origin == stage
        assert "does not follow" in report.statement

    @pytest.mark.parametrize("dtype", ["fp64", "fp32"])
    def test_what_comes_after_it_is_propagated(self, dtype: str) -> None:
        report = checked(at("closed_form", STAGE_FAULTS["closed_form"])(), dtype=dtype)
        rows = {(row["stage"], row["mode"]): row for row in report.stages}
        assert rows["closed_form", "tapped"]["propagated"] == 0
        assert rows["closed_form", "tapped"]["failed"] > 0
        assert rows["weight_ema", "tapped"]["propagated"] > 0
        assert rows["weight_ema", "tapped"]["failed"] == 0
        assert rows["weight_ema", "injected"]["failed"] == 0

    def test_of_two_faults_the_earlier_is_the_origin(self) -> None:
        both = at("clip", STAGE_FAULTS["clip"])
        wrong = STAGE_FAULTS["proxies"]

        def stage(self: Composed, asked: str, values: Values) -> Values:
            outputs = both.stage(self, asked, values)
            return {**outputs, **wrong(self, values, outputs)} if asked == "proxies" else outputs

        assert checked(faulty("Two", stage=stage)()).origin == "proxies"

    def test_an_earlier_one_that_cannot_be_run_alone_outranks_one_that_can(self) -> None:
        port = at("proxies", STAGE_FAULTS["proxies"])
        clip = at("clip", STAGE_FAULTS["clip"])

        def stage(self: Composed, asked: str, values: Values) -> Values:
            return (clip if asked == "clip" else port).stage(self, asked, values)

        made = faulty("Two", stage=stage, offered=("clip", "step", "trajectory"))
        assert checked(made()).origin == "proxies"

    def test_a_stage_beside_the_pipeline(self) -> None:
        report = checked(
            at("advantages", lambda p, v, o: {"group_advantages": -o["group_advantages"]})()
        )
        assert (report.origin, report.first_bad_step) == ("advantages", None)

    @pytest.mark.parametrize("made", [lambda port: port(), tapped_only])
    @pytest.mark.parametrize("step", range(STEPS))
    def test_the_first_bad_step_is_named(self, step: int, made: Any) -> None:
        late = at(
            "prior_blend",
            lambda p, v, out: {"mu_candidate": out["mu_candidate"] + 0.01 * (v["step"] >= step)},
        )
        report = checked(made(late), ids=TRAJECTORIES)
        assert (report.origin, report.first_bad_step) == ("prior_blend", step)

    def test_with_reports_missing_before_it_those_are_named(self) -> None:
        port = at("proxies", STAGE_FAULTS["proxies"])
        port.reported = frozenset({"sigma_r2", "mu"})
        report = checked(tapped_only(port))
        assert report.origin == "statistics_ema"
        assert "proxies before it report nothing" in report.statement

    def test_a_fault_that_only_long_runs_meet_is_the_stage_s(self) -> None:
        """Right on the pack's own calls, wrong on values of its own trajectory."""
        known: set[float] = {
            e.expected["mu_raw"]
            for case in small_pack().cases
            if case.kind == "step"
            for e in case.exchanges("fp64")
        }
        drift = at(
            "closed_form",
            lambda p, v, out: {} if out["mu_raw"] in known else {"mu_raw": out["mu_raw"] + 1e-3},
        )
        report = checked(drift())
        assert (report.origin, report.first_bad_step) == ("closed_form", 0)
        assert "on the values that it was given" in report.statement


WIRES = {
    "previous_mu_ada": (
        "weight_ema",
        lambda v: {"previous_mu": v["previous_mu_ada"], "previous_mu_ada": v["previous_mu"]},
    ),
    "previous_alpha": ("closed_form", lambda v: {"alpha": v["previous_alpha"]}),
    "the step after": ("prior_blend", lambda v: {"step": v["step"] + 1}),
    "mu_ada": ("change_cap", lambda v: {"previous_mu": v["mu_ada"]}),
    "proxy_sigma_r2": (
        "closed_form",
        lambda v: {"sigma_r2": v.get("proxy_sigma_r2", v["sigma_r2"])},
    ),
}


class TestBetweenStages:
    @pytest.mark.parametrize("other", WIRES)
    def test_a_stage_that_is_fed_another_value(self, other: str) -> None:
        stage, change = WIRES[other]
        report = checked(fed(stage, change)())
        assert report.origin == "wiring"
        assert stage in report.statement

    def test_the_value_is_named_where_one_explains_all(self) -> None:
        report = checked(fed(*WIRES["previous_alpha"])())
        assert "closed_form reads previous_alpha where alpha is due" in report.statement
        report = checked(fed(*WIRES["the step after"])())
        assert "prior_blend reads the step after where step is due" in report.statement

    def test_it_is_named_from_mu_alone(self) -> None:
        report = checked(black_box(fed(*WIRES["mu_ada"])))
        assert report.origin == "wiring"
        assert "change_cap reads mu_ada where previous_mu is due" in report.statement

    def test_an_order_that_changes_nothing_explains_nothing(self) -> None:
        """Within the bounds, clip and cap commute: exchanging them agrees with any fault before."""
        ids = [f"closed_form/{name}" for name in CONFIGS]
        report = checked(fed(*WIRES["previous_alpha"])(), ids=[*ids, *TRAJECTORIES])
        assert report.origin == "wiring"
        assert "closed_form reads previous_alpha where alpha is due" in report.statement

    def test_a_weight_that_is_not_the_last_one_is_no_exchange(self) -> None:
        """The candidate returned as mu, every stage reported as it is."""

        def step(self: Composed, values: Values) -> Values:
            outputs = Composed.step(self, values)
            return {**outputs, "mu": outputs["mu_candidate"]}

        report = checked(faulty("Early", step=step)())
        assert report.origin == "wiring"
        assert "clip is right by itself, and wrong within a step" in report.statement

    @pytest.mark.parametrize("made", [lambda port: port(), tapped_only, black_box])
    @pytest.mark.parametrize(
        ("order", "words"),
        [
            (("weight_ema", "prior_blend", "clip", "change_cap"), "clip runs before change_cap"),
            (
                ("weight_ema", "change_cap", "prior_blend", "clip"),
                "change_cap runs before prior_blend",
            ),
        ],
    )
    def test_stages_in_another_order(self, order: Any, words: str, made: Any) -> None:
        into = {
            "weight_ema": ("mu_raw", "mu_ada"),
            "prior_blend": ("mu_ada", "mu_candidate"),
            "change_cap": ("mu_candidate", "mu_capped"),
            "clip": ("mu_capped", "mu"),
        }

        def step(self: Composed, values: Values) -> Values:
            outputs = Composed.step(self, values)
            known = {**values, **outputs}
            weight = known["mu_raw"]
            for stage in order:
                taken, given = into[stage]
                found = self.stage(stage, {**known, taken: weight})
                weight = found[given]
                outputs |= found
            return {**outputs, "mu": weight}

        report = checked(made(faulty("Exchanged", step=step)))
        # A stage that cannot be run by itself may as well be wrong as early.
        assert report.origin in ({"order"} if made is not tapped_only else {"order", *into})
        if report.origin == "order":
            assert words in report.statement


class TestBetweenSteps:
    @pytest.mark.parametrize("made", [lambda port: port(), tapped_only, black_box])
    @pytest.mark.parametrize("field", ["previous_mu", "previous_sigma_s2", "previous_count_s"])
    def test_a_field_that_is_lost(self, field: str, made: Any) -> None:
        port = carrying(lambda self, out: {field: state_inputs(init(self.config))[field]})
        report = checked(made(port))
        assert report.origin == "state"
        if made is not black_box:  # mu alone may have several explanations
            assert f"{field} is lost" in report.statement

    def test_a_field_that_is_late(self) -> None:
        def change(self: Composed, out: Values) -> Values:
            kept, self.kept = getattr(self, "kept", None), out["mu"]
            first = self.previous == state_inputs(init(self.config))
            return {"previous_mu": self.config.init_mu if first else kept}

        report = checked(carrying(change)())
        assert report.origin == "state"
        assert "previous_mu is a step late" in report.statement or "lost" in report.statement

    def test_a_field_that_holds_another_value(self) -> None:
        report = checked(carrying(lambda self, out: {"previous_mu": out["mu_candidate"]})())
        assert report.origin == "state"
        assert "previous_mu holds mu_candidate" in report.statement

    def test_a_state_from_which_the_step_follows_explains_nothing(self) -> None:
        """Too small for the step's own bounds, seen by the stage on what it was given."""

        def run(self: Composed, stage: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            outputs = dict(Composed.run(self, stage, inputs))
            if stage == "trajectory" and inputs["step"] >= 2:
                outputs["mu_ada"] *= 1.0 + 2.0**-50
            return outputs

        # `held` feeds the applied weight back: its own last value may be anything.
        kinds = ("weight_ema/held", "step/held", "trajectory/held-10", "trajectory/held-20")
        report = checked(faulty("Slightly", run=run)(), ids=kinds)
        rows = {(row["stage"], row["mode"]): row for row in report.stages}
        assert rows["weight_ema", "consistent"]["failed"] > 0
        assert report.origin == "state"
        assert "lost" not in report.statement
        assert "late" not in report.statement

    def test_a_state_that_is_not_reset(self) -> None:
        def forget(self: Composed) -> None:
            if not hasattr(self, "previous"):
                self.previous = state_inputs(init(self.config))

        report = checked(faulty("Kept", forget=forget)())
        assert (report.origin, report.first_bad_step) == ("state", 0)
        assert "left over from the trajectory before" in report.statement

    def test_a_step_counted_by_the_port(self) -> None:
        def run(self: Composed, stage: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            if stage == "trajectory":
                self.calls += 1
                inputs = {**inputs, "step": self.calls - 1}
            return Composed.run(self, stage, inputs)

        def forget(self: Composed) -> None:
            self.previous = state_inputs(init(self.config))
            self.calls = 0

        def later(dtype: str) -> tuple[Any, ...]:
            """A trajectory that was resumed at step 2 sees the prior of step 2."""
            config = CONFIGS["internal"]
            calls = small_pack().case("trajectory/internal-10").exchanges(dtype)
            reference = Composed()
            reference.configure(config.to_dict(), dtype="fp64", device="cpu")
            found = []
            for call in calls:
                wide = {**call.wide, "step": call.wide["step"] + 2}
                inputs = {**call.inputs, "step": call.inputs["step"] + 2}
                found.append(
                    call._replace(
                        inputs=inputs, wide=wide, expected=reference.run("trajectory", wide)
                    )
                )
            return tuple(found)

        case = make("resumed", "trajectory", CONFIGS["internal"], later)
        pack = small_pack()._replace(cases=(*small_pack().cases, case), sha256="with-resumed")
        report = checked(faulty("Counting", run=run, forget=forget, calls=0)(), pack=pack)
        assert (report.origin, report.first_bad_step) == ("state", 2)
        assert "number of calls since reset" in report.statement


class TestBlackBox:
    def test_nothing_is_claimed_beyond_what_failing_cases_share(self) -> None:
        def step(self: Composed, values: Values) -> Values:
            outputs = Composed.step(self, values)
            bend = 0.0123 if self.config.masking == "multiply" else 0.0
            return {**outputs, "mu": outputs["mu"] + bend * np.sin(100.0 * outputs["mu_raw"])}

        report = checked(black_box(faulty("Bent", step=step)))
        assert report.origin is None
        assert "reports too little" in report.statement
        assert "no passing one" in report.statement

    def test_the_axis_that_tells_failing_from_passing_cases(self) -> None:
        def case(name: str, **changes: Any) -> Any:
            return make(name, "step", GACConfig(**changes), None)

        failing = [case("a", masking="multiply"), case("b", masking="multiply", use_phi=False)]
        passing = [case("c"), case("d", use_phi=False)]
        words = common_axis(failing, passing)
        assert words == "all 2 failing cases have masking=multiply, and no passing one"
        assert common_axis(failing, []) == common_axis([], passing) == ""
        assert common_axis([case("a")], [case("c")]) == ""


class Known(NamedTuple):
    """A mutant, as the library gives them."""

    name: str
    stage: str
    made: type[Composed]

    def port(self) -> Composed:
        return self.made()


class TestHints:
    @pytest.fixture
    def known(self, monkeypatch: pytest.MonkeyPatch) -> list[Known]:
        mutants: list[Known] = []
        monkeypatch.setattr(
            library, "mutants", lambda stage: [m for m in mutants if m.stage == stage]
        )
        return mutants

    def test_a_mutant_that_agrees_on_every_call_is_named(self, known: list[Known]) -> None:
        wrong = at("proxies", STAGE_FAULTS["proxies"])
        known += [
            Known("right", "proxies", Composed),
            Known(
                "twice",
                "proxies",
                at("proxies", lambda p, v, o: {"proxy_sigma_r2": 2.0 * o["proxy_sigma_r2"]}),
            ),
            Known("half more", "proxies", wrong),
        ]
        report = checked(wrong(), hints=True)
        calls = sum(
            e.get("stage") == "proxies" and e.get("mode") == "injected" for e in report.events
        )
        assert report.hint == f"agrees with 'half more' on {calls} of {calls} calls"

    def test_one_that_agrees_on_some_calls_only_is_not(self, known: list[Known]) -> None:
        known.append(
            Known(
                "twice",
                "proxies",
                at("proxies", lambda p, v, o: {"proxy_sigma_r2": 2.0 * o["proxy_sigma_r2"]}),
            )
        )
        assert checked(at("proxies", STAGE_FAULTS["proxies"])(), hints=True).hint == ""

    def test_one_that_is_itself_hardly_ever_wrong_says_nothing(self, known: list[Known]) -> None:
        def rare(port: Composed, v: Values, out: Values) -> Values:
            few = [
                e.expected["mu_capped"]
                for e in small_pack().case("step/internal").exchanges("fp64")
            ][: TELLING - 2]
            return {"mu": out["mu"] + 0.1} if v["mu_capped"] in few else {}

        known.append(Known("rare", "clip", at("clip", rare)))
        report = checked(at("clip", rare)(), hints=True, ids=["clip/internal", "clip/held"])
        assert (report.origin, report.hint) == ("clip", "")

    def test_a_library_that_raises_costs_nothing_but_the_hint(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(stage: str) -> Any:
            raise RuntimeError(stage)

        monkeypatch.setattr(library, "mutants", broken)
        report = checked(at("clip", STAGE_FAULTS["clip"])(), hints=True)
        assert (report.origin, report.hint) == ("clip", "")

    def test_the_real_library_knows_the_sample_variance(self) -> None:
        def sample(port: Composed, v: Values, out: Values) -> Values:
            rollouts = np.asarray(v["advantage"])[~np.asarray(v["is_expert"])]
            return {"proxy_sigma_r2": float(np.var(rollouts, ddof=1))}

        report = checked(at("proxies", sample)(), hints=True)
        assert "sample instead of population variance of the advantages" in report.hint


def test_the_rows_of_a_batch_are_stages_before_the_controller() -> None:
    """What `Composed` leaves out between refreshes."""
    assert ROWS == ("coefficients", "sequences", "proxies")
