"""The command line: its exit codes, its formats, and that it never shows a traceback."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _recordings import fields, step_file, write_trace

import gac_ref
from gac_ref.authority import authority
from gac_ref.batch import Batch
from gac_ref.cli import main
from gac_ref.config import GACConfig
from gac_ref.controller import init, update
from gac_ref.replay import replay
from gac_ref.replay import table as _table
from gac_ref.traces import TraceReader, TraceWriter

ROOT = str(Path(__file__).resolve().parent.parent)
Captured = pytest.CaptureFixture[str]


def logged_trace(path: Path, config: GACConfig) -> Path:
    state = init(config)
    with TraceWriter(path, source="a live run", meta={"config": config.to_dict()}) as writer:
        for step in range(6):
            made = fields(np.random.default_rng(step))
            state, info = update(config, state, Batch(**made), step=step)
            writer.write(step, **made, logged={"mu": info.mu, "loss": 1.0})
    return path


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT, "PYTHON": sys.executable, **environment},
    )


def one_line_error(captured: Captured) -> str:
    error = captured.readouterr().err
    assert error.startswith("gac-ref: error: ")
    assert error.count("\n") == 1
    return error


# Formats


def test_json_lines_are_the_rows(tmp_path: Path, capsys: Captured) -> None:
    write_trace(tmp_path, 5, oracle_every=2)
    arguments = ["replay", str(tmp_path), "--variant", "released", "--set", "alpha=0.3"]
    assert main([*arguments, "--format", "jsonl"]) == 0
    rows = list(replay(TraceReader(tmp_path), GACConfig.released(alpha=0.3)))
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [row.to_json() for row in rows]
    assert captured.err == ""
    assert json.loads(captured.out.splitlines()[0])["alpha"] == 0.3


def test_csv_has_every_step_and_every_digit(tmp_path: Path, capsys: Captured) -> None:
    write_trace(tmp_path, 60, oracle_every=7)
    assert main(["replay", str(tmp_path), "--format", "csv"]) == 0
    rows = list(replay(TraceReader(tmp_path), GACConfig()))
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [int(cells["step"]) for cells in table] == [row.step for row in rows]
    for cells, row in zip(table, rows, strict=True):
        assert float(cells["mu"]) == row.mu
        assert cells["flags"] == "+".join(row.flags)
        truth = cells["oracle.delta_g2"]
        assert (float(truth) if truth else None) == row.oracle.get("delta_g2")
    assert table[1]["mu_oracle"] == ""


def test_the_table_has_the_rows_the_summary_and_the_authority(
    tmp_path: Path, capsys: Captured
) -> None:
    write_trace(tmp_path, 4, oracle_every=1)
    assert main(["replay", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    rows = list(replay(TraceReader(tmp_path), GACConfig()))
    lines = out.splitlines()
    assert lines[0] == f"{tmp_path}: synthetic; variant documented"
    assert lines[1].split() == list(_table.COLUMNS)
    for text, row in zip(lines[2:6], rows, strict=True):
        assert text.split()[:2] == [str(row.step), f"{row.mu:.4f}"]
        assert text.split()[9] == f"{row.mu_oracle:.4f}"
    assert lines[7].startswith("4 steps; mu from ")
    assert "mean |mu - oracle mu|" in out
    assert "Authority of the noise-aware estimate (variant documented)" in out


def shown_steps(out: str) -> list[int]:
    head = out.split("\n\n")[0].splitlines()
    return [int(line.split()[0]) for line in head if line.split()[0].isdigit()]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ([], [*range(0, 60, 2), 59]),
        (["--every", "1"], [*range(60)]),
        (["--every", "25"], [0, 25, 50, 59]),
    ],
)
def test_a_long_table_is_thinned_and_says_so(
    tmp_path: Path, capsys: Captured, extra: list[str], expected: list[int]
) -> None:
    write_trace(tmp_path, 60)
    assert main(["replay", str(tmp_path), *extra]) == 0
    out = capsys.readouterr().out
    head = out.replace("60 steps, one row", "one row")  # not a row of the table
    assert shown_steps(head) == expected
    assert ("--every 1 shows all" in out) == (expected != [*range(60)])


@pytest.mark.parametrize("words", [["a=1", "--set", "b=2"], ["a=1", "b=2"]])
def test_settings_can_be_repeated_or_listed_and_do_not_swallow_the_trace(words: list[str]) -> None:
    from gac_ref.cli import _expanded

    expected = ["replay", "--set", "a=1", "--set", "b=2"]
    assert _expanded(["replay", "--set", *words, "TRACE"]) == [*expected, "TRACE"]
    assert _expanded(["replay", "x=y", "--set", *words]) == ["replay", "x=y", *expected[1:]]


def test_a_source_text_cannot_drive_the_terminal(tmp_path: Path, capsys: Captured) -> None:
    write_trace(tmp_path, 1)
    header = {"schema": "gac-trace/1", "source": "a\x1b[2J\nb"}
    (tmp_path / "trace.json").write_text(json.dumps(header))
    assert main(["replay", str(tmp_path)]) == 0
    assert "a?[2J?b" in capsys.readouterr().out.splitlines()[0]


# Comparison


def test_compare_agrees_with_its_own_log(tmp_path: Path, capsys: Captured) -> None:
    logged_trace(tmp_path, GACConfig())
    assert main(["replay", str(tmp_path), "--compare"]) == 0
    assert "6 steps, rtol 1e-09, atol 1e-12, on mu" in capsys.readouterr().out


def test_compare_exits_1_and_names_step_quantity_and_both_values(
    tmp_path: Path, capsys: Captured
) -> None:
    logged_trace(tmp_path, GACConfig())
    with TraceWriter(tmp_path) as writer:
        made = fields(np.random.default_rng(3))
        writer.write(3, **made, logged={"mu": 0.25}, overwrite=True)
    assert main(["replay", str(tmp_path), "--compare", "--format", "jsonl"]) == 1
    captured = capsys.readouterr()
    reference = list(replay(TraceReader(tmp_path), GACConfig()))[3].mu
    message = f"step 3: mu is logged as 0.25, the reference has {reference!r}"
    assert message in captured.err
    assert len(captured.out.splitlines()) == 6
    assert main(["replay", str(tmp_path), "--compare", "--atol", "1"]) == 0


def test_compare_with_nothing_comparable_is_a_usage_error(tmp_path: Path, capsys: Captured) -> None:
    write_trace(tmp_path, 2)
    assert main(["replay", str(tmp_path), "--compare"]) == 2
    assert "nothing to compare, the trace logs nothing; log one of" in one_line_error(capsys)


def test_recorded_settings_are_used_or_noted(tmp_path: Path, capsys: Captured) -> None:
    config = GACConfig.released(mu_change_cap=0.002)
    logged_trace(tmp_path, config)
    assert main(["replay", str(tmp_path), "--variant", "recorded", "--compare"]) == 0
    assert "Note" not in capsys.readouterr().out
    assert main(["replay", str(tmp_path), "--variant", "released", "--compare"]) == 1
    assert (
        "recording was made with mu_change_cap=0.002; --variant recorded" in capsys.readouterr().out
    )
    write_trace(tmp_path / "other", 1)
    assert main(["replay", str(tmp_path / "other"), "--variant", "recorded"]) == 2
    assert "meta.config is not there" in one_line_error(capsys)


# Errors: one line, exit 2, and what could be read is printed before it


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["replay"], "TRACE"),
        (["replay", "nowhere"], "nowhere/trace.json: cannot be read"),
        (["explain", "--variant", "v2"], "invalid choice: 'v2'"),
        (["explain", "--set", "alpha"], "'alpha' has no '='"),
        (["explain", "--set", "beta=1"], "unknown config field 'beta'"),
        (["explain", "--set", "alpha=2"], "alpha = 2.0 is outside [0, 1]"),
        (["explain", "--set", "alpha=high"], "alpha = 'high' is not a number"),
        (["replay", "TRACE", "--set", "mu_update_freq=0"], "mu_update_freq = 0 is outside"),
        (["replay", "TRACE", "--every", "0"], "--every 0 is below 1"),
        (["replay", "TRACE", "--every", "2", "--format", "csv"], "csv is always whole"),
        (["replay", "TRACE", "--rtol", "-1"], "rtol = -1.0 is outside"),
        (["replay", "TRACE", "--plot", "a.gif"], "--plot a.gif: cannot draw a '.gif'"),
        (["replay", "EMPTY"], "steps: holds no steps"),
    ],
)
def test_usage_and_data_errors_are_one_line_and_exit_2(
    tmp_path: Path, capsys: Captured, arguments: list[str], complaint: str
) -> None:
    write_trace(tmp_path / "TRACE", 1)
    TraceWriter(tmp_path / "EMPTY").close()
    named = [str(tmp_path / a) if a in ("TRACE", "EMPTY") else a for a in arguments]
    assert main(named) == 2
    assert complaint in one_line_error(capsys)


@pytest.mark.parametrize("form", ["table", "jsonl", "csv"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_what_could_be_read_is_printed_before_the_error(
    tmp_path: Path, capsys: Captured, form: str, damage: str
) -> None:
    write_trace(tmp_path, 60)
    file = step_file(tmp_path, 45)
    file.write_bytes(file.read_bytes()[:100]) if damage == "truncated" else file.unlink()
    assert main(["replay", str(tmp_path), "--format", form]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"gac-ref: error: {file}: ")
    assert captured.err.count("\n") == 1
    if form == "table":
        assert 44 in shown_steps(captured.out)
        assert "45 steps; mu from" in captured.out
    else:
        assert len(captured.out.splitlines()) == 45 + (form == "csv")


def test_gaps_can_be_allowed(tmp_path: Path, capsys: Captured) -> None:
    write_trace(tmp_path, 5)
    step_file(tmp_path, 2).unlink()
    assert main(["replay", str(tmp_path), "--allow-gaps"]) == 0
    assert "Steps missing: 1" in capsys.readouterr().out


def test_an_interrupt_exits_130_without_a_traceback(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trace(tmp_path, 3)
    read = TraceReader.read

    def interrupted(self: TraceReader, step: int) -> Any:
        if step == 2:
            raise KeyboardInterrupt
        return read(self, step)

    monkeypatch.setattr(TraceReader, "read", interrupted)
    assert main(["replay", str(tmp_path), "--format", "jsonl"]) == 130
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert captured.err == ""


def test_a_closed_pipe_is_not_an_error_message(tmp_path: Path) -> None:
    write_trace(tmp_path, 40)
    # Unbuffered, so that a row meets the closed pipe while there are rows to come.
    command = (
        f"$PYTHON -u -m gac_ref replay {tmp_path} --format jsonl | head -1; echo ${{PIPESTATUS[0]}}"
    )
    done = shell(command)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == "141"


def test_a_narrow_terminal_encoding_does_not_stop_the_table(tmp_path: Path) -> None:
    with TraceWriter(tmp_path, source="Lösung μ") as writer:
        writer.write(0, **fields(np.random.default_rng(0)))
    done = shell(f"$PYTHON -m gac_ref replay {tmp_path}", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"L\xf6sung \u03bc" in done.stdout


# explain


def test_explain_prints_the_authority_and_warns_where_it_is_weak(capsys: Captured) -> None:
    assert main(["explain", "--variant", "released"]) == 0
    out = capsys.readouterr().out
    assert "mu = 0.0099 raw estimate + 0.9901 prior" in out
    assert "WARNING" in out
    assert "0.99% of its own movement" in out
    assert main(["explain", "--variant", "decoupled"]) == 0
    assert "WARNING" not in capsys.readouterr().out


@pytest.mark.parametrize("can_bind", [True, False])
def test_explain_says_whether_the_cap_can_bind(capsys: Captured, can_bind: bool) -> None:
    settings = [] if can_bind else ["prior=none"]
    config = GACConfig().with_settings(settings)
    assert authority(config).cap_can_bind == can_bind
    assert main(["explain", *(word for s in settings for word in ("--set", s))]) == 0
    assert ("can never bind" in capsys.readouterr().out) == (not can_bind)


def test_explain_as_json_is_the_authority(capsys: Captured) -> None:
    assert main(["explain", "--format", "json", "--set", "blend_weight=1"]) == 0
    report = json.loads(capsys.readouterr().out)
    config = GACConfig(blend_weight=1.0)
    assert report["authority"] == authority(config)._asdict()
    assert GACConfig.from_dict(report["config"]) == config


# The program itself


def test_version_and_help(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gac-ref {gac_ref.__version__}\n"
    assert main(["replay", "--help"]) == 0
    assert "--compare" in capsys.readouterr().out


def test_replay_needs_numpy_and_the_standard_library_alone(tmp_path: Path) -> None:
    write_trace(tmp_path, 2)
    script = (
        "import sys; from gac_ref.cli import main; code = main(['replay', sys.argv[1]])\n"
        "allowed = {*sys.stdlib_module_names, 'numpy', 'gac_ref', '__main__'}\n"
        "found = {name.partition('.')[0] for name in sys.modules} - allowed\n"
        "import json; print(json.dumps([code, sorted(found)]))\n"
    )
    # -S: site-packages' own start-up hooks are not ours; NumPy's folder is put back by name.
    packages = str(Path(np.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, packages])},
    )
    assert done.stderr == ""
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]


# The picture


def plotted(tmp_path: Path, name: str) -> bytes:
    trace = tmp_path / "trace"
    if not trace.exists():
        write_trace(trace, 30, oracle_every=5)
    picture = tmp_path / "made" / name
    assert main(["replay", str(trace), "--plot", str(picture)]) == 0
    return picture.read_bytes()


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_equal_replays_are_equal_pictures(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    assert plotted(tmp_path, f"a.{suffix}") == plotted(tmp_path, f"b.{suffix}")


def test_the_picture_is_1200_by_900_whatever_the_users_style(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    plain = plotted(tmp_path, "a.png")
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9.0)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    assert plotted(tmp_path, "b.png") == plain
    assert matplotlib.rcParams["axes.facecolor"] == "red"
    width, height = (int.from_bytes(plain[at : at + 4]) for at in (16, 20))
    assert (width, height) == (1200, 900)


def test_a_missing_matplotlib_says_what_to_install(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trace(tmp_path, 1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["replay", str(tmp_path), "--plot", "a.png"]) == 2
    assert "pip install matplotlib" in one_line_error(capsys)
    assert main(["replay", str(tmp_path)]) == 0


# Progress


def test_the_progress_bar_shows_the_time_left_and_cleans_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    bar = _table.Progress(100, stream, shown=True)
    bar.update(1)
    assert stream.getvalue() == ""  # a short run shows nothing
    now[0] = 10.0
    bar.update(25)
    assert stream.getvalue().endswith("25/100  25% 0:30 left")
    now[0] = 10.05
    bar.update(26)
    assert "26/100" not in stream.getvalue()
    bar.clear()
    assert stream.getvalue().endswith("\r")
    silent = io.StringIO()
    _table.Progress(100, silent, shown=False).update(50)
    assert silent.getvalue() == ""


def test_thinning_leaves_a_screenful() -> None:
    for steps in (46, 77, 200, 239, 1400, 99_999, 123_456):
        assert 23 <= math.ceil(steps / _table.every_for(steps)) <= 41
