"""The reports of a check: from a short list of events, to the letter where it matters."""

from __future__ import annotations

import io
import json
import math
import re
from xml.etree import ElementTree

import pytest
from _events import bad_run, check, end, failing, good_run, start

from gac_ref.conformance.events import EXIT_CODES
from gac_ref.conformance.report import html, junit, markdown, terminal
from gac_ref.conformance.report.events import EventFile, plain, read_events, real
from gac_ref.conformance.report.record import overall
from gac_ref.conformance.report.summary import VERDICTS, runs_from, worst_verdict
from gac_ref.errors import GACError

FORMS = [terminal.render, markdown.render, html.render, junit.render]
HOSTILE = '<script>alert("x")</script> & | ` \x1b[31m \x00 ]]> \ud800'

GOLDEN = """\
FAIL torch/cuda/bf16 - origin: proxies (proxy_sigma_r2, 7.2x bound), 3 of 5
  failed; executed 5 of 6; 1 unsupported

stage          mode        pass  fail  prop unsup  worst error/bound
coefficients   injected       1     -     -     -   0.25x |##        |
proxies        injected       -     1     -     -    7.2x |##########>
closed_form    consistent     1     -     -     -      0x |          |
               tapped         -     -     1     -      3x |##########>
step           black box      -     -     1     -      2x |##########>

Without advantages: not supported

First   proxies/sample (proxies, injected)
        Sample and population variance differ by half.
        element   proxy_sigma_r2
        got       1.5
        expected  1.0
        bound     0.069; the error is 0.5, 7.2x the bound

Why     proxies is wrong by itself, on golden inputs

Hint    agrees with "sample variance" on 1 of 1 cases

Replay  gac-ref check my.port:adapter --dtype bf16 --case proxies/sample

With    port torch 0.3; vectors version 1, sha256 9f2c9f2c9f2c9f2c; precision
        tokens fp32, scalars fp64; python 3.12.1; gpu a GPU

FAIL torch/cuda/bf16 - origin: proxies (proxy_sigma_r2, 7.2x bound), 3 of 5
  failed; executed 5 of 6; 1 unsupported
"""


# The summary


def test_each_start_event_begins_a_run():
    assert [run.dtype for run in runs_from([*good_run("fp64"), *bad_run()])] == ["fp64", "bf16"]


def test_every_check_is_counted_in_exactly_one_column():
    run = runs_from(bad_run())[0]
    counted = sum(r.passed + r.failed + r.propagated + r.unsupported + r.other for r in run.stages)
    assert counted == len(run.checks) == 6


def test_a_wrong_report_that_follows_from_its_inputs_is_propagated():
    status = {(c.stage, c.mode): c.status for c in runs_from(bad_run())[0].checks}
    assert status["closed_form", "tapped"] == "propagated"
    assert status["step", "black_box"] == "propagated"
    assert status["proxies", "injected"] == "fail"


def test_a_wrong_report_that_does_not_follow_is_a_failure_of_its_own():
    events = [event for event in bad_run() if event.get("mode") != "consistent"]
    status = {(c.stage, c.mode): c.status for c in runs_from(events)[0].checks}
    assert status["closed_form", "tapped"] == "fail"


def test_an_inconsistent_report_explains_nothing():
    events = bad_run()
    events[4]["status"] = "fail"
    status = {(c.stage, c.mode): c.status for c in runs_from(events)[0].checks}
    assert status["closed_form", "tapped"] == "fail"


def test_a_consistent_report_of_another_exchange_explains_nothing():
    events = bad_run()
    events[4]["exchange"] = 1
    status = {(c.stage, c.mode): c.status for c in runs_from(events)[0].checks}
    assert status["closed_form", "tapped"] == "fail"


@pytest.mark.parametrize("origin", ["wiring", "state", "order", None])
def test_the_end_of_a_step_is_no_consequence_of_what_is_no_stage(origin):
    events = [*bad_run()[:-1], end("divergence", origin=origin)]
    status = {(c.stage, c.mode): c.status for c in runs_from(events)[0].checks}
    assert status["step", "black_box"] == "fail"


def test_the_first_failure_is_the_origin_by_itself():
    events = [
        start(),
        failing("step/early", "tapped", stage="proxies"),
        failing("coefficients/other", "tapped"),
        failing("proxies/alone"),
        end("divergence", origin="proxies"),
    ]
    first = runs_from(events)[0].first
    assert first is not None
    assert first.case == "proxies/alone"


def test_events_that_stop_early_are_incomplete_and_never_ok():
    run = runs_from(good_run()[:-1])[0]
    assert run.verdict == "incomplete"
    assert run.headline.startswith("INCOMPLETE torch/cuda/fp32")
    assert run.counts["executed"] == 2
    assert EXIT_CODES[run.verdict] != 0


def test_an_unknown_verdict_is_not_ok():
    assert runs_from([start(), end("splendid")])[0].verdict == "incomplete"


def test_an_unknown_status_is_a_failure():
    run = runs_from([start(), check("clip/a", status="fine, really"), end()])[0]
    assert [row.failed for row in run.stages] == [1]
    assert ElementTree.fromstring(junit.render([run])).findall(".//failure")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_worst_verdict_of_several_runs_wins(verdict):
    runs = runs_from([*good_run(), start(), end(verdict), *good_run()])
    assert worst_verdict(runs) == verdict


# One JSON object


def test_the_object_of_one_run_has_the_promised_keys():
    record = overall(runs_from(bad_run()))
    assert {"verdict", "executed", "total", "unsupported", "failed", "origin"} <= set(record)
    assert (record["verdict"], record["origin"], record["exit_code"]) == (
        "divergence",
        "proxies",
        1,
    )
    assert record["first_failure"]["case"] == "proxies/sample"
    json.dumps(plain(record), allow_nan=False)


def test_several_runs_sum_their_counts_under_the_worst_verdict():
    record = overall(runs_from([*good_run(), *bad_run(), *good_run("fp64")]))
    assert (record["verdict"], record["origin"]) == ("divergence", "proxies")
    assert (record["executed"], record["total"], record["failed"]) == (9, 10, 3)
    assert [run["verdict"] for run in record["runs"]] == ["ok", "divergence", "ok"]
    assert record["worst"] == 7.25


def test_nothing_checked_is_not_ok():
    assert overall(())["verdict"] == "too_few"


# Events as lines


def test_events_come_back_as_they_were_written(tmp_path):
    with EventFile(tmp_path / "events.jsonl") as file:
        for event in bad_run():
            file.write(event)
    assert read_events([tmp_path / "events.jsonl"]) == bad_run()


def test_each_event_is_on_disk_once_it_is_written(tmp_path):
    with EventFile(tmp_path / "events.jsonl") as file:
        file.write(start())
        assert read_events([tmp_path / "events.jsonl"]) == [start()]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0.1])
def test_numbers_survive_the_trip(value):
    assert real(json.loads(json.dumps(plain(value), allow_nan=False))) == value


def test_nan_survives_the_trip():
    assert math.isnan(real(plain(math.nan)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no events"),
        (b"\n\n", "holds no events"),
        (b"{not json\n", "line 1 is not JSON"),
        (b"[1, 2]\n", "line 1 is no event"),
        (b'{"event": "boom"}\n', "line 1 is no event"),
        (b'{"event": "start", "port": "p"}\n', "'dtype' of a start event"),
        (b'{"event": "end", "verdict": "ok"}\n', "does not begin with a start event"),
        (b"\xff\xfe\n", "is not UTF-8"),
        (b"[" * 100_000 + b"\n", "is not JSON"),
        (b'"' + b"x" * (1 << 21), "line 1 is longer"),
    ],
)
def test_a_file_that_is_not_of_a_check_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with pytest.raises(GACError, match=re.escape(message)) as caught:
        read_events([path])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(GACError, match="cannot be read"):
        read_events([tmp_path / "none.jsonl"])


# Text


def test_the_text_to_the_letter():
    assert terminal.render(runs_from(bad_run())) == GOLDEN


def test_the_headline_is_first_and_last_and_nothing_is_wider_than_80():
    text = terminal.render(runs_from(bad_run()))
    lines = [line for line in text.splitlines() if not line.startswith("Replay")]
    assert lines[0] == lines[-2]
    assert max(map(len, lines)) <= 80


def test_several_runs_end_with_every_headline():
    text = terminal.render(runs_from([*good_run(), *bad_run()]))
    tail = text.splitlines()[-3:]
    assert tail[0].startswith("OK torch/cuda/fp32")
    assert tail[1].startswith("FAIL torch/cuda/bf16")


def test_colours_are_only_added():
    runs = runs_from(bad_run())
    coloured = terminal.render(runs, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == GOLDEN


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_need_a_terminal_and_no_veto(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.colours_wanted(Terminal())
    assert not terminal.colours_wanted(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.colours_wanted(Terminal())


def test_the_progress_line_counts_cases_and_leaves_nothing_behind(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(now)))
    stream = io.StringIO()
    progress = terminal.Progress("bf16", 4, stream=stream)
    for case, failed in (("a", False), ("a", True), ("b", False)):
        progress.add(case, failed=failed)
    assert "bf16  2 of 4 cases, 1 wrong, 3 s left" in stream.getvalue()
    progress.clear()
    assert stream.getvalue().endswith(" \r")


def test_a_hidden_progress_writes_nothing():
    stream = io.StringIO()
    progress = terminal.Progress("bf16", 4, stream=stream, shown=False)
    progress.add("a", failed=False)
    progress.clear()
    assert stream.getvalue() == ""


# Markdown


def test_markdown_has_headline_stages_failure_and_replay():
    text = markdown.render(runs_from(bad_run()))
    assert "* **FAIL torch/cuda/bf16 - origin: proxies" in text
    assert "| **proxies** | injected | - | 1 | - | - | 7.2x |" in text
    assert "* expected: `1.0`" in text
    assert "```\ngac-ref check my.port:adapter --dtype bf16 --case proxies/sample\n```" in text


def test_markdown_lists_some_of_many_failures_and_says_how_many_more():
    many = [failing(f"clip/{number}") for number in range(markdown.SHOWN + 6)]
    text = markdown.render(runs_from([start(), *many, end("divergence")]))
    assert "... and 5 more, in the events." in text


# JUnit


def test_junit_has_one_testcase_a_check_and_counts_that_add_up():
    events = bad_run()
    events.insert(3, check("clip/x", status="crash", ratio=None, reason="signal 11"))
    root = ElementTree.fromstring(junit.render(runs_from(events)))
    suite = root.find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.get("tests", "")) == 7
    for tag, attribute, number in (
        ("failure", "failures", 3),
        ("error", "errors", 1),
        ("skipped", "skipped", 1),
    ):
        assert len(suite.findall(f"testcase/{tag}")) == number
        assert suite.get(attribute) == str(number)


def test_junit_names_got_expected_and_replay():
    root = ElementTree.fromstring(junit.render(runs_from(bad_run())))
    failure = root.find(".//testcase[@name='proxies/sample proxies']/failure")
    assert failure is not None
    assert failure.get("message") == "proxy_sigma_r2: 7.2x the bound"
    for part in ("got: 1.5", "expected: 1.0", "replay: gac-ref check"):
        assert part in (failure.text or "")


@pytest.mark.parametrize("verdict", [name for name in VERDICTS if name != "ok"])
def test_junit_is_never_green_for_a_verdict_that_is_not_ok(verdict):
    root = ElementTree.fromstring(junit.render(runs_from([start(), check("clip/a"), end(verdict)])))
    assert root.findall(".//testcase/error")


def test_junit_of_a_good_run_is_green():
    root = ElementTree.fromstring(junit.render(runs_from(good_run())))
    assert not root.findall(".//failure")
    assert not root.findall(".//error")


# HTML


def page(*events):
    return ElementTree.fromstring(html.render(runs_from(events)))


def texts(root: ElementTree.Element) -> str:
    return " ".join("".join(root.itertext()).split())


def test_the_page_is_well_formed_and_has_every_part():
    text = texts(page(*good_run("fp64"), *bad_run()))
    for part in ("Agrees", "Diverges in proxies", "Hint", "7.2x", "a GPU", "closed_form"):
        assert part in text


def test_the_page_requests_nothing():
    text = html.render(runs_from([*good_run(), *bad_run()]))
    body = text.replace("http://www.w3.org/1999/xhtml", "").replace(
        "http://www.w3.org/2000/svg", ""
    )
    for request in ("http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"):
        assert request not in body
    assert "default-src 'none'" in text


def test_the_picture_has_a_title_a_bound_and_a_shape_for_every_wrong_check():
    root = page(*good_run(), *bad_run())
    picture = next(e for e in root.iter() if e.get("class") == "picture")
    names = [child.tag.rpartition("}")[2] for child in picture]
    assert names[:2] == ["title", "desc"]
    classes = [element.get("class") or "" for element in picture]
    assert classes.count("limit") == 1
    wrong = [name for name in classes if name.startswith("out")]
    assert sorted(wrong) == ["out propagated dtype-bf16"] * 2 + ["out wrong dtype-bf16"]
    assert any(name == "dots dtype-fp32" for name in classes)


def test_what_is_beyond_its_bound_lies_right_of_the_line():
    root = page(*bad_run(), start(), failing("clip/x", ratio="inf"), end("divergence"))
    picture = next(e for e in root.iter() if e.get("class") == "picture")
    limit = next(e for e in picture if e.get("class") == "limit")
    line = float(re.match(r"M([\d.]+)", limit.get("d") or "")[1])
    outside = [float(e.get("cx")) for e in picture if (e.get("class") or "").startswith("out")]
    inside = [
        float(x)
        for e in picture
        if (e.get("class") or "").startswith("dots")
        for x in re.findall(r"M([\d.]+)", e.get("d") or "")
    ]
    width = float((picture.get("viewBox") or "").split()[2])
    assert min(outside) > line > max(inside)
    assert max(outside) < width


@pytest.mark.parametrize("ratio", [0.0, 1e-300, 1.0, 1e300, "inf", "nan", None])
def test_any_ratio_can_be_drawn(ratio):
    for render in FORMS:
        assert render(runs_from([start(), check("clip/a", ratio=ratio), end(worst=ratio)]))


def test_failures_expand_to_their_details():
    root = page(*bad_run())
    details = [e for e in root.iter() if e.tag.endswith("details") and e.get("class") is None]
    assert len(details) == 3
    assert "expected 1.0" in texts(details[0]).replace("expected1.0", "expected 1.0")


# Whatever a port, a case or a file says is text, in every form


@pytest.mark.parametrize("render", FORMS)
def test_hostile_text_stays_text(render):
    events = [
        start(port=HOSTILE, environment={HOSTILE: HOSTILE}, precision=HOSTILE),
        failing("clip/x", stage=HOSTILE, mode=HOSTILE, output=HOSTILE, reason=HOSTILE),
        check(HOSTILE, status=HOSTILE, index="x", got={"a": 1}, step="four"),
        end("divergence", origin=HOSTILE, hint=HOSTILE, headline=HOSTILE, statement=HOSTILE),
    ]
    text = render(runs_from(events))
    text.encode("utf-8")
    assert "\x1b" not in text
    assert "\x00" not in text
    if render in (html.render, junit.render):
        ElementTree.fromstring(text)
        assert "<script" not in text
    if render is markdown.render:
        outside = re.sub(r"(`+).*?\1", "", text, flags=re.DOTALL)
        assert "<script" not in outside


@pytest.mark.parametrize("render", FORMS)
def test_a_run_without_checks_can_be_reported(render):
    text = render(runs_from([start(), end("adapter_failure", headline="FAIL - no answer")]))
    assert "FAIL - no answer" in text
