"""The commands `analyse` and `report`, on a small question that the tests bring along."""

from __future__ import annotations

import json
import math
import sys
from types import ModuleType

import numpy as np
import pytest

from gac_ref.errors import GACError
from simulations.analysis import catalog
from simulations.analysis.catalog import parts_of, question
from simulations.analysis.question import Figure, Finding, Part, Section, finite
from simulations.analysis.report.build import write_report
from simulations.analysis.results import Results, compute_parts, sound
from simulations.cli import main

SQUARE = Part("claims.square", lambda x: {"square": np.array(x * x)}, {"x": 3})


class Small:
    """A question with one number and one figure."""

    name, title = "claims", "How large is nine?"

    def __init__(self, part=SQUARE):
        self.part = part

    def parts(self):
        return (self.part,)

    def section(self, results):
        value = float(finite(results.read(self.part)["square"], "square"))
        finding = Finding("three squared", value, value - 1, value + 1, 5, "m", self.part.name)
        figure = Figure("claims-square", "A point.", lambda ax: ax.plot([1], [value], "o")[0].axes)
        return Section(self.title, (f"It is {finding.text()}.",), (finding,), (figure,))

    def claims(self, results):
        return [{"claim": "nine", "effect": math.nan, "n": 5, "command": self.part.command}]


@pytest.fixture
def saved(tmp_path):
    results = Results(tmp_path / "results")
    compute_parts([SQUARE], results)
    return results


def test_every_number_of_the_page_names_its_file_and_its_command(saved, tmp_path):
    write_report([Small()], saved, tmp_path / "report")
    for page in ("report.md", "report.html"):
        text = (tmp_path / "report" / page).read_text()
        assert saved.path(SQUARE).name in text
        assert "python -m simulations analyse claims.square --again" in text
        assert "9.0 [8.0, 10.0] m" in text


def test_the_html_page_holds_its_figures_and_fetches_nothing(saved, tmp_path):
    write_report([Small()], saved, tmp_path / "report")
    text = (tmp_path / "report" / "report.html").read_text()
    assert 'src="data:image/svg+xml;base64,' in text
    assert 'src="figures' not in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_the_same_results_give_the_same_bytes(saved, tmp_path):
    first = write_report([Small()], saved, tmp_path / "a")
    second = write_report([Small()], saved, tmp_path / "b")
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]
    assert [f.name for f in first][:3] == ["report.html", "report.md", "claims.json"]


def test_claims_without_a_number_are_null_in_json(saved, tmp_path):
    write_report([Small()], saved, tmp_path / "report")
    (row,) = json.loads((tmp_path / "report" / "claims.json").read_text())
    assert row == {"claim": "nine", "effect": None, "n": 5, "command": SQUARE.command}


def test_nothing_is_computed_by_the_report(tmp_path):
    with pytest.raises(GACError, match=r"missing; compute it with: .* analyse claims.square"):
        write_report([Small()], Results(tmp_path / "none"), tmp_path / "report")


def test_a_result_that_is_not_a_number_stops_the_report(tmp_path):
    part = Part("claims.square", lambda: {"square": np.array(math.nan)}, {})
    results = Results(tmp_path)
    compute_parts([part], results)
    with pytest.raises(GACError, match="1 of 1 values are not finite"):
        write_report([Small(part)], results, tmp_path / "report")


def test_a_damaged_result_is_refused_and_computed_again(saved):
    content = bytearray(saved.path(SQUARE).read_bytes())
    content[len(content) // 2] ^= 0xFF
    saved.path(SQUARE).write_bytes(content)
    with pytest.raises(GACError, match="damaged"):
        saved.read(SQUARE)
    assert not sound(SQUARE, saved)
    assert compute_parts([SQUARE], saved) == 1
    assert saved.read(SQUARE)["square"] == 9


def test_other_settings_are_another_file(saved):
    other = Part("claims.square", SQUARE.compute, {"x": 4})
    assert saved.path(other) != saved.path(SQUARE)
    assert not sound(other, saved)


def test_a_result_under_another_name_is_refused(saved):
    other = Part("claims.square", SQUARE.compute, {"x": 4})
    saved.path(SQUARE).rename(saved.path(other))
    with pytest.raises(GACError, match="holds other settings than its name says"):
        saved.read(other)


def test_a_finished_part_is_not_computed_twice(saved):
    assert compute_parts([SQUARE], saved) == 0


def test_results_of_other_code_are_told_apart(saved, monkeypatch):
    assert not saved.stale(SQUARE)
    monkeypatch.setattr(
        "simulations.analysis.results.digest_of", lambda *folders, **options: "other"
    )
    assert saved.stale(SQUARE)


@pytest.mark.parametrize("name", catalog.QUESTIONS)
def test_every_question_names_itself_and_its_parts(name):
    asked = question(name)
    assert asked.name == name
    assert asked.title.endswith("?")
    assert asked.parts()
    for part in asked.parts():
        assert part.name.startswith(f"{name}.")
        assert json.loads(json.dumps(dict(part.settings))) == dict(part.settings)


def test_parts_are_found_by_question_and_by_name():
    whole = parts_of(["bounds"])
    assert parts_of([whole[0].name]) == whole[:1]
    assert parts_of(["bounds", whole[0].name]) == whole


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["analyse", "bound"], "unknown question 'bound'; did you mean 'bounds'?"),
        (["analyse", "bounds.nothing"], "unknown part 'bounds.nothing'"),
        (["report", "nonsense"], "unknown question 'nonsense'"),
        (["report", "bounds", "--results", "/nonexistent"], "missing; compute it with"),
    ],
)
def test_a_wrong_call_is_one_line(argv, said, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error


def test_analyse_then_report_from_the_command_line(tmp_path, monkeypatch, capsys):
    module = ModuleType("simulations.analysis.claims")
    small = Small()
    for name in ("name", "title", "parts", "section", "claims"):
        setattr(module, name, getattr(small, name))
    monkeypatch.setitem(sys.modules, "simulations.analysis.claims", module)
    out = str(tmp_path / "results")
    assert main(["analyse", "claims", "--out", out]) == 0
    assert "1 parts computed" in capsys.readouterr().out
    assert main(["analyse", "claims", "--out", out]) == 0
    assert "0 parts computed" in capsys.readouterr().out
    assert main(["report", "claims", "--results", out, "--out", str(tmp_path / "page")]) == 0
    assert str(tmp_path / "page" / "report.html") in capsys.readouterr().out
