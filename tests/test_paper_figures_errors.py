"""What the command of the paper figures refuses: one line that says what to do, exit code 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("tueplots")
pytest.importorskip("scipy")

from gac_ref.errors import GACError
from paper_figures import cli, computing, floats
from paper_figures.cli import main
from paper_figures.spec import PaperFigure
from simulations.analysis.question import Part
from simulations.analysis.results import Results


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stability_mpa"], "did you mean 'stability_map'"),
        (["risk_parabola", "--venue", "icmll"], "did you mean 'icml'"),
        (["risk_parabola", "--venue", "neurips", "--columns", "2"], "NeurIPS has one column"),
        (["risk_parabola", "--columns", "3"], "--columns 3: a page has one or two; pass 1 or 2"),
        (["risk_parabola", "--workers", "0"], "--workers 0 is below 1"),
        (["risk_parabola", "--nonsense"], "unrecognized arguments: --nonsense; see python -m"),
        (["stability_map", "--saved-only"], "no saved results for convergence.additive_noise"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*words, "--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")])
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert error.count("\n") == 1


def test_an_output_folder_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in the folder's place refuses root too, whom permissions do not."""
    blocked = tmp_path / "out"
    blocked.write_text("", encoding="utf-8")
    assert main(["risk_parabola", "--out", str(blocked)]) == 2
    error = capsys.readouterr().err
    assert f"{blocked}" in error
    assert "cannot write" in error
    assert "--out" in error
    assert error.count("\n") == 1


def test_a_results_folder_that_cannot_be_written_is_named_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "compute", lambda name: pytest.fail("began to compute"))
    blocked = tmp_path / "results"
    blocked.write_text("", encoding="utf-8")
    assert main(["regime_switch", "--results", str(blocked), "--out", str(tmp_path / "o")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_result_that_cannot_be_computed_here_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lacking() -> dict[str, Any]:
        raise ModuleNotFoundError("No module named 'SALib'")

    def gone() -> dict[str, Any]:
        return {"x": np.array(Path("/nowhere/trace").stat().st_size)}

    monkeypatch.setattr(computing, "part_named", lambda name: Part(name, lacking, {}))
    with pytest.raises(GACError, match=r"cannot compute a\.b: .*SALib.*requirements/figures\.lock"):
        computing.compute("a.b")
    monkeypatch.setattr(computing, "part_named", lambda name: Part(name, gone, {}))
    with pytest.raises(GACError, match=r"cannot compute a\.b: /nowhere/trace: .*restore"):
        computing.compute("a.b")


def test_missing_results_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted() -> dict[str, Any]:
        asked.append("x")
        return {"x": np.arange(3.0)}

    part = Part("convergence.made_up", counted, {})
    monkeypatch.setattr(computing, "part_named", lambda name: part)
    figure = PaperFigure("x", "", (part.name,), 1)
    results = Results(tmp_path)
    assert computing.compute_missing([figure, figure], results, workers=2) == 1
    assert computing.compute_missing([figure], results, workers=2) == 0
    assert asked == ["x"]
    assert computing.compute_missing([figure], results, workers=2, again=True) == 1
    assert computing.read(figure, results)[part.name].arrays["x"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--compile"], "no TeX is installed"),
        (["--venue", "neurips", "--columns", "2"], "has one column"),
        (["--out", "{blocked}"], "cannot write"),
    ],
)
def test_what_cannot_work_is_said_before_minutes_of_computing(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "compute_missing", lambda *_, **__: pytest.fail("began to compute"))
    monkeypatch.setattr(floats.shutil, "which", lambda name: None)
    blocked = tmp_path / "blocked"
    blocked.write_text("", encoding="utf-8")
    words = [word.format(blocked=blocked) for word in words]
    assert main(["--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
