"""The search for the inputs on which a port is worst, and the strategies that it draws from."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from gac_ref import Batch, GACConfig, testing
from gac_ref.conformance.formats import FORMATS, widen
from gac_ref.conformance.fuzz import fuzz, load_case, save_case
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.port import Unsupported
from gac_ref.conformance.reference import Reference, evaluate
from gac_ref.conformance.schema import INPUTS
from gac_ref.conformance.stages import STAGES
from gac_ref.errors import GACError

SHORT = 4.0
"""Seconds of a search that has to find a plain fault; a second is enough on an idle machine."""

AMPLE = 120.0
"""Seconds that no search which finds something takes, however busy the machine."""

SLACK = 4.0
"""Seconds that a search may overrun: the example at hand, and importing Hypothesis."""

DRAWN = settings(
    deadline=None, derandomize=True, database=None, max_examples=40,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


class SampleVariance(Reference):
    """Divides by n - 1."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        out = super().run(stage, inputs)
        rows = int(np.count_nonzero(~np.asarray(inputs.get("is_expert", True))))
        if stage == "proxies" and rows > 1 and not out["sigma_r2_floored"]:
            out["proxy_sigma_r2"] *= rows / (rows - 1)
        return out


class Forgetful(Reference):
    """Loses what it was at every seventh step."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if stage == "trajectory" and inputs["step"] % 7 == 4:
            self.reset()
        return super().run(stage, inputs)


class Raising(Reference):
    """Cannot clip."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if stage == "clip":
            raise ZeroDivisionError("no clip today")
        if stage == "alpha":
            raise Unsupported("alpha is not done yet")
        return super().run(stage, inputs)


def search(port: Any, stage: str, **options: Any) -> Any:
    return fuzz(port, **{"seconds": SHORT, "stages": [stage], **options})


def test_the_reference_is_not_found_wrong() -> None:
    report = fuzz(Reference(), seconds=SHORT, seed=1)
    assert report.failures == ()
    assert set(report.worst) <= set(STAGES)
    assert max(report.worst.values()) <= 1.0
    assert report.seconds < SHORT + SLACK


def test_a_fault_is_found_and_made_small(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    report = search(SampleVariance(), "proxies", out=path)
    (failure,) = report.failures
    assert (failure.stage, failure.output) == ("proxies", "proxy_sigma_r2")
    assert failure.ratio > 1.0
    assert failure.got > failure.expected
    assert report.path == str(path)
    inputs = failure.case.exchanges("fp64")[0].inputs
    assert len(inputs["is_expert"]) <= 12
    assert failure.case.config.ema_beta == GACConfig().ema_beta  # what does not matter is plain


def test_a_saved_case_replays_the_failure_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    report = search(SampleVariance(), "proxies", out=path)
    case = load_case(path)
    kept = report.failures[0].case
    assert (case.id, case.kind, case.config) == (kept.id, "stage", kept.config)
    here, there = case.exchanges("fp64")[0], kept.exchanges("fp64")[0]
    for mine, theirs in ((here.inputs, there.inputs), (here.expected, there.expected)):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert np.asarray(value).tobytes() == np.asarray(theirs[name]).tobytes(), name
    wrong = SampleVariance().run("proxies", here.inputs)["proxy_sigma_r2"]
    assert wrong == report.failures[0].got


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_case_of_the_pack_survives_a_file(tmp_path: Path, dtype: str) -> None:
    pack = load_pack()
    for stage in ("step", "trajectory", "loss", "transport"):
        case = next(c for c in pack.select(dtype=dtype, stages=[stage]))
        save_case(tmp_path / "case.json", case, dtype)
        read = load_case(tmp_path / "case.json")
        assert (read.kind, read.stage, read.config) == (case.kind, case.stage, case.config)
        for mine, theirs in zip(read.exchanges(dtype), case.exchanges(dtype), strict=True):
            for one, other in zip(mine, theirs, strict=True):
                assert one.keys() == other.keys()
                for name, value in one.items():
                    same = np.asarray(value).tobytes() == np.asarray(other[name]).tobytes()
                    assert same or name not in INPUTS[stage], name


def test_the_same_seed_finds_the_same_case() -> None:
    # Ended by the failure: shrinking that the time cuts short ends anywhere.
    first, second = (
        search(SampleVariance(), "proxies", seed=5, seconds=AMPLE).failures[0] for _ in range(2)
    )
    assert first.case.id == second.case.id
    assert first.case.sha256 == second.case.sha256


def test_a_fault_of_the_state_is_found_in_trajectories() -> None:
    report = search(Forgetful(), "trajectory")
    (failure,) = report.failures
    assert failure.case.kind == "trajectory"
    assert failure.step < len(failure.case.exchanges("fp64"))


def test_a_port_that_raises_fails_that_stage_and_one_that_declines_does_not() -> None:
    report = fuzz(Raising(), seconds=SHORT, stages=["clip", "alpha"])
    (failure,) = report.failures
    assert (failure.stage, failure.output) == ("clip", "")
    assert "no clip today" in failure.reason


def test_without_a_failure_the_closest_case_is_written(tmp_path: Path) -> None:
    report = search(Reference(), "clip", out=tmp_path / "case.json")
    assert report.failures == ()
    assert load_case(tmp_path / "case.json").stage == "clip"


def test_a_search_stops_on_time_and_tells_of_its_rounds() -> None:
    events: list[dict[str, Any]] = []
    start = time.monotonic()
    fuzz(Reference(), seconds=0.5, on_event=events.append)
    assert time.monotonic() - start < 0.5 + SLACK
    assert {event["event"] for event in events} == {"fuzz"}
    json.dumps(events, allow_nan=False)


def test_a_stage_that_is_not_claimed_is_refused() -> None:
    with pytest.raises(GACError, match="does not claim stage 'nothing'"):
        fuzz(Reference(), seconds=1.0, stages=["nothing"])
    with pytest.raises(GACError, match="unknown dtype 'fp8'"):
        fuzz(Reference(), dtype="fp8", seconds=1.0)


def broken(content: dict[str, Any], *keys: Any, value: Any) -> str:
    copy = json.loads(json.dumps(content))
    place = copy
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return json.dumps(copy)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("format",), "other", "is not a saved case"),
        (("version",), 7, "has version 7"),
        (("id",), "../../etc", "is not of the form stage/slug"),
        (("stage",), "brew", "unknown stage 'brew'"),
        (("dtype",), "fp8", "unknown dtype 'fp8'"),
        (("config", "ema_beta"), 2.0, "ema_beta = 2.0 is outside"),
        (("config",), 3, "config = 3"),
        (("exchanges",), [], "at least one"),
        (("exchanges", 0), {"inputs": {}}, "not an object of inputs and expected"),
        (("exchanges", 0, "inputs", "extra"), 1.0, "no inputs named 'extra'"),
        (("exchanges", 0, "inputs", "nll"), 1.0, "nll = 1.0 is not of kind real"),
        (("exchanges", 0, "inputs", "nll", "dtype"), "fp32", "but fp32 of shape"),
        (("exchanges", 0, "inputs", "nll", "data"), "!!", "is not base64"),
        (("exchanges", 0, "inputs", "nll", "shape"), [-1], "shape"),
        (("exchanges", 0, "expected", "has_s"), 1, "has_s = 1 is not of kind flag"),
        (("exchanges", 0, "inputs"), {}, "lacks"),
    ],
)
def test_a_malformed_file_is_refused_by_name(
    tmp_path: Path, keys: tuple[Any, ...], value: Any, message: str
) -> None:
    path = tmp_path / "case.json"
    save_case(path, load_pack().select(stages=["proxies"])[0])
    path.write_text(broken(json.loads(path.read_text()), *keys, value=value))
    with pytest.raises(GACError, match=message):
        load_case(path)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    for text in ("not json", "[" * 100_000, "[]"):
        (tmp_path / "case.json").write_text(text)
        with pytest.raises(GACError, match="is not"):
            load_case(tmp_path / "case.json")
    with pytest.raises(GACError, match="cannot be read"):
        load_case(tmp_path / "missing.json")


@pytest.mark.parametrize("stage", [s for s in STAGES if s not in ("transport", "trajectory")])
def test_every_drawn_input_is_answered_by_the_reference(stage: str) -> None:
    @DRAWN
    @given(st.sampled_from(list(FORMATS)).flatmap(lambda d: drawn_with(stage, d)))
    def check(drawn: tuple[str, tuple[GACConfig, dict[str, Any]]]) -> None:
        dtype, (config, inputs) = drawn
        tokens = [f.name for f in STAGES[stage].inputs if f.kind == "token" and f.name in inputs]
        for name in tokens:
            assert inputs[name].dtype.str == FORMATS[dtype].storage
        wide = {**inputs, **{name: widen(inputs[name], dtype) for name in tokens}}
        with np.errstate(all="ignore"):
            assert evaluate(stage, config, wide)

    check()


def drawn_with(stage: str, dtype: str) -> Any:
    return st.tuples(st.just(dtype), testing.stage_inputs(stage, dtype))


@DRAWN
@given(testing.batches(per_token=False, missing=False, junk=False, max_rows=4))
def test_the_limits_of_a_batch_are_kept(batch: dict[str, Any]) -> None:
    assert batch["advantages"].ndim == 1
    assert batch["response_mask"].any(axis=1).all()
    assert len(batch["is_expert"]) <= 4
    assert batch["is_expert"].any()
    fields = {name: value for name, value in batch.items() if name != "ref_logprob"}
    assert len(Batch(**fields)) == len(batch["is_expert"])


@DRAWN
@given(testing.configs(alpha=0.25), testing.proxies(), testing.trajectories("bf16", max_steps=2))
def test_configurations_proxies_and_trajectories_are_valid(
    config: GACConfig, proxies: Any, trajectory: Any
) -> None:
    assert config.alpha == 0.25
    assert proxies.sigma_s2 >= 0.0
    assert proxies.has_s or proxies.sigma_s2 == 0.0
    steps = [inputs["step"] for inputs in trajectory[1]]
    assert len(steps) <= 2
    assert steps == sorted(set(steps))


def test_examples_shrink_to_the_documented_configuration_and_a_tiny_batch() -> None:
    config = find(testing.configs(), lambda c: c.mu_change_cap > 0.1, settings=DRAWN)
    assert config == GACConfig(mu_change_cap=config.mu_change_cap, mu_update_freq=1)
    batch = find(testing.batches(), lambda b: b["response_mask"].sum() >= 2, settings=DRAWN)
    assert batch["response_mask"].size <= 4


def test_unknown_names_are_refused_at_once() -> None:
    with pytest.raises(GACError, match="unknown dtype"):
        testing.batches("float32")
    with pytest.raises(GACError, match="unknown stage"):
        testing.stage_inputs("brew")
    with pytest.raises(GACError, match="use trajectories"):
        testing.stage_inputs("trajectory")
    with pytest.raises(GACError, match="unknown config field"):
        testing.configs(temperature=1.0)


def test_without_hypothesis_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(GACError, match="needs hypothesis, which is not installed"):
        testing.configs()
    with pytest.raises(GACError, match="needs hypothesis, which is not installed"):
        fuzz(Reference(), seconds=0.2, stages=["clip"])
