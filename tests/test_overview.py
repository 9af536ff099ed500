"""The main job: it goes on where a part fails, says so, and its page links what is there."""

from __future__ import annotations

import html.parser
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from _recordings import step_file, write_trace

import gac_ref
from gac_ref.conformance.report.summary import runs_from
from overview import figures, job
from overview.captions import caption_html
from overview.cli import main
from overview.page import render
from overview.ports import PORTS, Checked, Port, check_port
from overview.recording import replay_recording
from paper_figures.catalog import FIGURES, figure_named
from paper_figures.spec import PaperFigure

ROOT = Path(__file__).parents[1]


def quick_figures(names: object) -> list[PaperFigure]:
    """Exact formulas alone: nothing to compute."""
    return [figure_named("risk_parabola")]


def a_port(name: str, spec: str, missing: str = "") -> Port:
    return Port(name, name.title(), lambda: missing, lambda folder: spec)


def checked(verdict: str, headline: str, folder: Path) -> Checked:
    """A finished check, without the check."""
    start = {"event": "start", "port": "p", "dtype": "fp64", "device": "cpu", "spec": "p"}
    counts = dict.fromkeys(("executed", "total", "failed", "unsupported", "skipped"), 7)
    end = {"event": "end", "verdict": verdict, "headline": headline, "worst": 0.5, **counts}
    (folder / "p.html").touch()
    port = a_port("example", "p")
    return Checked(port, runs_from([start, end]), folder / "p.html", folder / "p.jsonl")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures of a run, drawn once."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(figures, "figures_named", quick_figures)
        manifest, computed = figures.build_figures(folder / "figures", folder, workers=1)
    assert computed == 0
    return manifest.parent


@pytest.fixture
def quick(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drawn: Path
) -> Callable[..., tuple[int, Path]]:
    """The command on a short recording, one figure, and ports that answer at once."""
    trace = write_trace(tmp_path / "trace", 12, oracle_every=3)
    monkeypatch.setattr(figures, "figures_named", quick_figures)
    monkeypatch.setattr(
        job, "PORTS", (a_port("absent", "", "absent is not installed; install it"),)
    )

    def run(*words: str, recording: Path = trace) -> tuple[int, Path]:
        out = tmp_path / "out"
        return main([str(recording), "--out", str(out), *words]), out

    return run


class Links(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def test_a_run_ends_with_a_page_whose_every_link_is_a_file(quick, capsys) -> None:
    code, out = quick()
    page = (out / "report.html").read_text("utf-8")
    links = Links(page).found
    assert code == 0
    assert len(links) >= 6  # the picture, its link, the manifest, the figure and its files
    assert all((out / unquote(link)).is_file() for link in links)
    assert not any(link.startswith("/") for link in links)  # the folder may be moved
    assert str(out / "report.html") in capsys.readouterr().out


def test_the_replay_is_said_before_ports_and_figures(quick, capsys) -> None:
    quick()
    said = capsys.readouterr().out
    places = [said.index(text) for text in ("1/3", "12 steps; mu from", "2/3", "3/3", "the page:")]
    assert places == sorted(places)


def test_a_port_that_this_machine_cannot_run_is_said_and_does_not_fail(quick, capsys) -> None:
    code, out = quick()
    assert code == 0
    for text in (capsys.readouterr().out, (out / "report.html").read_text("utf-8")):
        assert "not checked" in text
        assert "absent is not installed; install it" in text


def test_what_fails_is_on_the_page_and_the_rest_is_done(quick, tmp_path, capsys) -> None:
    step_file(tmp_path / "trace", 7).write_bytes(b"damaged")
    code, out = quick()
    page = (out / "report.html").read_text("utf-8")
    assert code == 1
    assert "00000007.npz" in capsys.readouterr().err
    assert "What failed" in page
    assert "00000007.npz" in page
    assert "Risk parabola" in page


def test_a_trace_that_is_none_is_said_before_the_work(quick, tmp_path, capsys) -> None:
    code, out = quick(recording=tmp_path / "nowhere")
    captured = capsys.readouterr()
    assert code == 2
    assert "nowhere" in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not out.exists()


def test_a_port_that_cannot_be_built_does_not_stop_the_figures(quick, monkeypatch) -> None:
    def refuse(folder: Path) -> str:
        raise gac_ref.GACError("g++ refused the host library")

    monkeypatch.setattr(job, "PORTS", (Port("cuda", "CUDA", lambda: "", refuse),))
    code, out = quick()
    page = (out / "report.html").read_text("utf-8")
    assert code == 1
    assert "CUDA: g++ refused the host library" in page
    assert "Risk parabola" in page


def test_a_log_that_differs_is_red(quick, tmp_path) -> None:
    trace = tmp_path / "logged"
    with gac_ref.TraceWriter(trace, source="logged") as writer:
        writer.write(
            0, logprob=[[-1.0], [-2.0]], response_mask=[[1], [1]], advantages=[0.0, 1.0],
            is_expert=[True, False], logged={"mu": 0.123},
        )  # fmt: skip
    code, out = quick(recording=trace)
    page = (out / "report.html").read_text("utf-8")
    assert code == 1
    assert "Differs" in page
    assert "0.123" in page


def test_a_divergent_port_is_red_and_ends_with_one(quick, monkeypatch, tmp_path) -> None:
    found = checked("divergence", "FAIL p/cpu/fp64 - origin: clip", tmp_path)
    monkeypatch.setattr(job, "PORTS", (a_port("example", "p"),))
    monkeypatch.setattr(job, "check_port", lambda port, folder, dtype: found)
    code, out = quick()
    page = (out / "report.html").read_text("utf-8")
    assert code == 1
    assert "Diverge<" in page
    assert "origin: clip" in page


def test_a_check_of_a_port_gives_its_verdict_and_its_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    wrong = a_port("wrong", "_bad_ports:Narrow")
    found = check_port(wrong, tmp_path, dtype="fp64")
    assert [run.verdict for run in found.runs] == ["too_few"]
    assert not found.agrees
    assert found.page.is_file()
    assert found.events.is_file()


def test_a_check_without_a_verdict_is_an_error(tmp_path) -> None:
    (tmp_path / "none.html").touch()  # of an earlier run
    with pytest.raises(gac_ref.GACError, match=r"ended with code 2 and no verdict"):
        check_port(a_port("none", "p"), tmp_path, dtype="fp63")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not on the PATH")
def test_the_ports_of_this_machine_are_found(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # from anywhere, not only from the checkout
    by_name = {port.name: port for port in PORTS}
    assert by_name["javascript"].missing() == ""
    script = by_name["javascript"].spec(tmp_path).removeprefix("stdio: node ").strip("'")
    assert (tmp_path / script).resolve() == ROOT / "gac_ref/ports/javascript/stdio.mjs"
    monkeypatch.setenv("PATH", "")
    assert "node is not on the PATH" in by_name["javascript"].missing()


@pytest.mark.parametrize("name", FIGURES)
def test_every_caption_is_set_without_a_trace_of_latex(name) -> None:
    shown = re.sub(r"<math.*?</math>", "", caption_html(figure_named(name).caption))
    assert not re.search(r"[\\$~{}]|--", shown)


def test_text_of_a_recording_cannot_write_the_page(tmp_path, monkeypatch) -> None:
    evil = "<script>alert(1)</script>"
    trace = tmp_path / "trace"
    with gac_ref.TraceWriter(trace, source=evil) as writer:
        writer.write(
            0, logprob=[[-1.0], [-2.0]], response_mask=[[1], [1]], advantages=[0.0, 1.0],
            is_expert=[True, False],
        )  # fmt: skip
    replayed = replay_recording(trace, tmp_path / "replay.svg", say=lambda text: None)
    found = job.Found(replayed, (), (), None, (evil,), evil, 1.0)
    assert evil not in render(found, tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "0"], "--workers 0 is below 1"),
        (["--dtype", "fp63"], "fp63"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(words, said, capsys) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_unwritable_folder_is_said_before_the_work(tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file" / "out")]) == 2
    captured = capsys.readouterr()
    assert "cannot write" in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
