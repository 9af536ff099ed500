"""The commands that check a port: exit codes, files, one JSON object, one line of error."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from _events import bad_run, end, good_run, start

from gac_ref.cli import _parser, main
from gac_ref.conformance.adapters.templates import template
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.report.events import EventFile, read_events

ROOT = Path(__file__).resolve().parents[1]
TESTS = str(Path(__file__).parent)
Captured = pytest.CaptureFixture[str]

REFERENCE = "gac_ref.conformance.reference:Reference"
WRONG = "_bad_ports:WrongClosedForm"
# One stage, called within this process: a check of it takes a few milliseconds.
QUICK = ["--in-process", "--stage", "closed_form"]


@pytest.fixture(autouse=True)
def _ports_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TESTS)


def record(captured: Captured) -> dict[str, Any]:
    """What was printed, which must be one JSON object and no more."""
    out = captured.readouterr().out
    assert out.count("\n") == 1
    value = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(value, dict)
    return value


def error(captured: Captured) -> str:
    """What was printed to stderr, which must be one line, with nothing on stdout."""
    out, err = captured.readouterr()
    assert out == ""
    assert err.startswith("gac-ref: error: ")
    assert err.count("\n") == 1
    return err


# check: verdicts and exit codes


def test_a_right_port_exits_0_with_the_headline_first_and_last(capsys: Captured) -> None:
    assert main(["check", REFERENCE, *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("OK gac_ref reference/cpu/fp64 - executed ")
    assert lines[lines.index("") - 1 :: -1] == lines[: -lines.index("") - 1 : -1]


def test_a_wrong_port_exits_1_and_the_stage_is_named(capsys: Captured) -> None:
    assert main(["check", WRONG, *QUICK]) == 1
    out = capsys.readouterr().out
    assert out.startswith("FAIL wrong/cpu/fp64 - origin: closed_form (mu_raw")
    assert f"gac-ref check {WRONG} --dtype fp64 --case closed_form/" in out


def test_a_failure_says_what_its_case_is_for(capsys: Captured) -> None:
    main(["check", WRONG, *QUICK, "--format", "json"])
    first = record(capsys)["first_failure"]
    assert first["comment"] == load_pack().case(first["case"]).comment


@pytest.mark.parametrize(("port", "code"), [(REFERENCE, 0), (WRONG, 1), ("none_such:port", 3)])
def test_json_is_one_object_with_the_promised_keys(capsys: Captured, port: str, code: int) -> None:
    assert main(["check", port, *QUICK, "--format", "json"]) == code
    found = record(capsys)
    assert {"verdict", "executed", "total", "unsupported", "failed", "origin"} <= set(found)
    assert found["exit_code"] == code


def test_a_port_that_is_not_there_exits_3_and_says_what_to_do(capsys: Captured) -> None:
    assert main(["check", "none_such:port"]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "no module 'none_such'" in out
    assert "gac-ref adapter smoke" in out


def test_a_port_that_crashes_is_checked_to_the_end(capsys: Captured) -> None:
    arguments = ["--stage", "clip", "--stage", "alpha", "--format", "json"]
    assert main(["check", "_bad_ports:Crashing", *arguments]) == 3
    found = record(capsys)
    assert found["verdict"] == "adapter_failure"
    passed = {row["stage"]: row["passed"] for row in found["stages"]}
    assert passed["alpha"] > 0
    assert passed["clip"] == 0


def test_too_few_checks_exit_4(capsys: Captured) -> None:
    assert main(["check", REFERENCE, *QUICK, "--minimum", "100000"]) == 4
    assert "TOO FEW" in capsys.readouterr().out


def test_a_port_that_claims_next_to_nothing_is_not_ok(capsys: Captured) -> None:
    assert main(["check", "_bad_ports:Narrow", *QUICK]) == 4


def test_all_is_every_dtype_that_the_port_claims(capsys: Captured) -> None:
    assert main(["check", WRONG, *QUICK, "--dtype", "all", "--format", "json"]) == 1
    found = record(capsys)
    assert [run["dtype"] for run in found["runs"]] == ["fp64", "fp32"]
    assert found["executed"] == sum(run["executed"] for run in found["runs"])
    assert found["verdict"] == "divergence"


def test_dtypes_are_known_by_their_framework_names(capsys: Captured) -> None:
    dtypes = ["--dtype", "bfloat16", "--dtype", "float32", "--dtype", "bf16"]
    assert main(["check", REFERENCE, *QUICK, *dtypes, "--format", "json"]) == 0
    assert [run["dtype"] for run in record(capsys)["runs"]] == ["bf16", "fp32"]


def test_one_case_can_be_repeated_alone(capsys: Captured) -> None:
    case = load_pack().select(stages=["clip"])[0]
    main(["check", REFERENCE, "--in-process", "--case", case.id, "--format", "json"])
    assert {row["stage"] for row in record(capsys)["stages"]} <= {"clip", "adapter"}


def test_ranks_of_a_port_that_has_none_are_too_few(capsys: Captured) -> None:
    assert main(["check", REFERENCE, *QUICK, "--ranks", "2", "--format", "json"]) == 4
    runs = record(capsys)["runs"]
    assert [run["ranks"] for run in runs] == [None, 2]
    assert [run["verdict"] for run in runs] == ["ok", "too_few"]


# check: files


def test_every_report_is_written_and_the_events_give_the_same_again(
    capsys: Captured, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"a.{name}" for name in ("jsonl", "html", "markdown", "junit")}
    options = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    assert main(["check", WRONG, *QUICK, *options]) == 1
    again = {name: tmp_path / f"b.{name}" for name in ("html", "markdown", "junit")}
    options = [part for name, path in again.items() for part in (f"--{name}", str(path))]
    assert main(["report", str(files["jsonl"]), *options]) == 0
    for name, path in again.items():
        assert path.read_bytes() == files[name].read_bytes()
    assert ElementTree.parse(again["junit"]).findall(".//failure")


def test_a_report_of_several_files_holds_all_runs(capsys: Captured, tmp_path: Path) -> None:
    for name, events in (("a", good_run()), ("b", bad_run())):
        with EventFile(tmp_path / name) as file:
            for event in events:
                file.write(event)
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--format", "json"]) == 0
    assert [run["verdict"] for run in record(capsys)["runs"]] == ["ok", "divergence"]


def test_an_interrupted_check_leaves_events_that_are_not_ok(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gac_ref.conformance import check_command

    def interrupted(*args: Any, on_event: Any, **options: Any) -> None:
        on_event(start())
        raise KeyboardInterrupt

    monkeypatch.setattr(check_command, "run_check", interrupted)
    events = tmp_path / "events.jsonl"
    assert main(["check", REFERENCE, *QUICK, "--jsonl", str(events)]) == 130
    assert [event["event"] for event in read_events([events])] == ["start"]
    assert main(["report", str(events)]) == 0
    assert capsys.readouterr().out.startswith("INCOMPLETE")


def test_the_exit_code_is_that_of_the_worst_run(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gac_ref.conformance import check_command

    verdicts = iter(["ok", "divergence", "too_few", "adapter_failure"])

    def faked(*args: Any, on_event: Any, **options: Any) -> None:
        on_event(start())
        on_event(end(next(verdicts)))

    monkeypatch.setattr(check_command, "run_check", faked)
    assert main(["check", REFERENCE, "--in-process", "--dtype", "all"]) == 1


# Usage errors: exit 2, one line, before any port is started


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["check"], "SPEC"),
        (["check", "p", "--dtype", "fp8"], "unknown dtype 'fp8'"),
        (["check", "p", "--stage", "warp"], "unknown stage 'warp'"),
        (["check", "p", "--case", "clip/none"], "clip/none"),
        (["check", "p", "--case", "missing.json"], "missing.json"),
        (["check", "p", "--timeout", "0"], "--timeout"),
        (["check", "p", "--timeout", "soon"], "--timeout"),
        (["check", "p", "--minimum", "-1"], "--minimum"),
        (["check", "p", "--ranks", "2,x"], "--ranks"),
        (["check", "p", "--ranks", "1"], "--ranks"),
        (["check", "p", "--html", "none/such/dir/a.html"], "none/such/dir"),
        (["check", "p", "--jsonl", "none/such/dir/a.jsonl"], "none/such/dir"),
        (["check", "p", "--junit", "."], "is a directory"),
        (["report", "none.jsonl"], "none.jsonl"),
        (["vectors"], "COMMAND"),
        (["vectors", "show", "clip/both-bound"], "clip/both-bound"),
        (["vectors", "list", "--tag", "no-such-tag"], "no-such-tag"),
        (["tolerance", "clip/both-bounds", "--dtype", "fp8"], "fp8"),
        (["adapter"], "COMMAND"),
        (["fuzz", "p", "--out", "none/such/dir/a.json"], "none/such/dir"),
    ],
)
def test_a_usage_error_is_one_line_and_exits_2(
    capsys: Captured, arguments: list[str], part: str
) -> None:
    assert main(arguments) == 2
    assert part in error(capsys)


def test_an_adapter_in_this_process_must_be_python(capsys: Captured) -> None:
    assert main(["check", "stdio: true", "--in-process"]) == 3
    assert "cannot run in this process" in capsys.readouterr().out


# vectors, tolerance, adapter


def test_the_list_has_every_case_once(capsys: Captured) -> None:
    assert main(["vectors", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [case.id for case in load_pack().cases]
    assert lines[-1].startswith(f"{len(lines) - 1} of {len(lines) - 1} cases")


def test_the_list_as_json_can_be_narrowed(capsys: Captured) -> None:
    assert main(["vectors", "list", "--stage", "clip", "--format", "json"]) == 0
    cases = record(capsys)["cases"]
    assert cases
    assert {case["stage"] for case in cases} == {"clip"}


def test_a_case_is_shown_with_its_golden_values(capsys: Captured) -> None:
    assert main(["vectors", "show", "clip/both-bounds", "--dtype", "float32"]) == 0
    assert "mu = 0.85" in capsys.readouterr().out


def test_the_pack_verifies(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    from gac_ref.conformance import agreement

    monkeypatch.setattr(agreement, "verify", lambda pack: [])  # minutes of work, tested elsewhere
    assert main(["vectors", "verify"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("OK version 1")
    assert f"{len(load_pack().cases)} cases" in out


def test_a_golden_value_that_is_not_reproduced_exits_1(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gac_ref.conformance import agreement

    monkeypatch.setattr(agreement, "verify", lambda pack: ["clip/a, fp64: mu differs"])
    assert main(["vectors", "verify"]) == 1
    assert "clip/a, fp64: mu differs\nFAIL version 1" in capsys.readouterr().out


def test_an_exported_pack_is_the_pack(capsys: Captured, tmp_path: Path) -> None:
    assert main(["vectors", "export", str(tmp_path / "pack")]) == 0
    assert load_pack(tmp_path / "pack").sha256 == load_pack().sha256


def test_an_export_overwrites_nothing(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert main(["vectors", "export", str(tmp_path)]) == 2
    assert "no empty directory" in error(capsys)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_a_tolerance_is_derived_in_words(capsys: Captured) -> None:
    assert main(["tolerance", "clip/both-bounds", "--dtype", "bf16"]) == 0
    assert "mu" in capsys.readouterr().out


def test_smoke_ends_with_the_next_thing_to_do(capsys: Captured) -> None:
    assert main(["adapter", "smoke", "none_such:port"]) == 3
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: ")


def test_a_found_case_is_replayed_from_its_file(capsys: Captured, tmp_path: Path) -> None:
    pytest.importorskip("hypothesis")
    out = str(tmp_path / "worst case.json")
    code = main(["fuzz", WRONG, "--in-process", "--seconds", "6", "--out", out])
    assert "wrong in closed_form" in capsys.readouterr().out
    assert code == 1
    assert main(["check", WRONG, "--in-process", "--case", out]) == 1
    assert f"--case '{out}'" in capsys.readouterr().out
    assert main(["check", REFERENCE, "--in-process", "--case", out, "--minimum", "1"]) == 0


# The program as a whole


def test_every_command_in_the_guide_is_one_that_the_program_takes() -> None:
    guide = (ROOT / "docs" / "conformance.md").read_text()
    lines = re.findall(r"^(?:\$ )?gac-ref (.*)$", guide, re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        words = shlex.split(line.partition("  #")[0])
        assert callable(_parser().parse_args(words).run), line


def test_the_guides_wrong_port_fails_as_the_guide_says(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (ROOT / "docs" / "conformance.md").read_text()
    shown = re.search(r"\n\$ gac-ref check broken:Port --stage clip\n(.*?)```", guide, re.DOTALL)
    assert shown is not None
    right = 'self.config["mu_min"], self.config["mu_max"]'
    source = template("python")
    assert source.count(right) == 1
    (tmp_path / "broken.py").write_text(source.replace(right, 'self.config["mu_min"], 1.0'))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["check", "broken:Port", "--stage", "clip"]) == 1
    # All but what depends on the machine and on the release.
    kept = [text.partition("\nWith ")[0] for text in (shown[1], capsys.readouterr().out)]
    assert kept[0] == kept[1]


def test_the_version_waits_for_no_suite() -> None:
    code = (
        "import sys; from gac_ref.cli import main; main(['--version']);"
        "print(*sorted(name for name in sys.modules if name.startswith('gac_ref.conformance')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded == {"gac_ref.conformance", "gac_ref.conformance.cli"}
