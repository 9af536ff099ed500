"""``python -m simulations``: what it prints, and that every mistake is one line."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _processes import ROOT, environment, simulate, started, wait_until

from simulations.cli import main
from simulations.sweeps.progress import Progress, duration
from simulations.sweeps.store import Store
from simulations.sweeps.study import Study
from simulations.sweeps.summary import read_point

SMALL = ("--set", "horizon=40", "seeds=70")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a finished small run."""
    folder = tmp_path_factory.mktemp("smoke")
    assert main(["run", "smoke", "--out", str(folder), *SMALL]) == 0
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_run_prints_a_table_with_intervals(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, err = said(capsys, "run", "smoke", "--out", out, *SMALL)
    assert (code, err) == (0, "")
    assert "loss_final (n = 70)" in text
    assert "\nloss_final (n = 70), unit loss, lower is better\n" in text
    assert re.search(
        r"^best_fixed is the best .* hindsight: 0\.\d+ in balanced", text, re.MULTILINE
    )
    assert re.search(r"^best_fixed +\S+ \[\S+, \S+\] +\S+ \[\S+, \S+\]$", text, re.MULTILINE)
    assert "Student t for means, Wilson for shares" in text


def test_summary_as_json_lists_seven_fields(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, err = said(capsys, "summary", "smoke", "--out", out, "--format", "json")
    assert (code, err) == (0, "")
    rows = json.loads(text)
    assert len(rows) == 5 * 2 * 4
    fields = ["controller", "regime", "metric", "estimate", "low", "high", "n"]
    for row in rows:
        assert list(row) == fields
        assert row["low"] <= row["estimate"] <= row["high"]
        assert row["n"] == 70
    assert {row["regime"] for row in rows} == {"balanced", "noisy_rl"}


def test_the_interval_of_one_seed_has_no_ends_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--set", "horizon=2", "seeds=1", "--metrics", "loss_final", "--format", "json")
    code, text, _ = said(capsys, "run", "smoke", "--out", tmp_path, *options)
    assert code == 0
    assert all(row["low"] is None and row["high"] is None for row in json.loads(text))


def test_versus_and_members(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("summary", "smoke", "--out", out, "--metrics", "loss_final")
    code, text, _ = said(capsys, *line, "--versus", "oracle")
    assert code == 0
    assert "loss_final minus oracle" in text
    assert "paired Student t" in text
    code, text, _ = said(capsys, *line, "--members")
    assert code == 0
    assert "best_fixed@0.25" in text


def test_metrics_all_lists_what_the_run_has(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = said(capsys, "summary", "smoke", "--out", out, "--metrics", "all")
    assert code == 0
    for metric in ("time_to_target", "large_mu_changes", "drift_area", "mu_gap", "diverged"):
        assert f"\n{metric} (n = 70)" in text


def test_resume_of_a_finished_study_keeps_its_settings(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((out / "cells").iterdir())
    code, text, _ = said(capsys, "resume", "smoke", "--out", out)
    assert code == 0
    assert "n = 70" in text
    assert sorted((out / "cells").iterdir()) == before


def test_status_counts_cells(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = said(capsys, "status", "smoke", "--out", out)
    assert code == 0
    assert text.startswith("smoke: 4 of 4 cells are stored in ")


def test_list_names_every_study(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = said(capsys, "list")
    assert code == 0
    for name in ("default", "policies", "sensitivity", "smoke"):
        assert re.search(rf"^{name} ", text, re.MULTILINE)


def test_export_is_a_labelled_dataset_with_units_and_provenance(out: Path) -> None:
    target = out / "smoke.nc"
    bytes_of = []
    for _ in range(2):
        result = simulate("export", "smoke", "--out", out)
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip() == str(target)
        bytes_of.append(target.read_bytes())
    assert bytes_of[0] == bytes_of[1]
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(target, engine="h5netcdf") as data:
        assert data.loss_final.dims == ("point", "controller", "seed")
        assert data.loss_final.dtype == np.float64
        assert data.loss_final.attrs["units"] == "loss"
        assert data.time_to_target.attrs["units"] == "step"
        assert data.curve_regret_mean.attrs["units"] == "gradient^2"
        assert data.trace_regret.attrs["units"] == "gradient^2"
        assert all(variable.attrs["units"] for variable in data.data_vars.values())
        assert data.attrs["seed"] == 0
        made = json.loads(str(data.attrs["computed_with"]))
        assert made.keys() == {"commit", "gac_ref", "numpy", "python", "source"}
        study = Study.from_tree(json.loads(data.attrs["study"]), "attribute")
        store = Store(out)
        for number, point in enumerate(study.points()):
            values = read_point(point, store)
            stored = data.loss_final.values[number]
            assert np.array_equal(stored, values.metrics["loss_final"])
            names = values.axes["curve_names"].tolist()
            moments = values.curves["curve_mean"][0, names.index("mu")].T
            assert np.array_equal(data.curve_mu_mean.values[number], moments)
        assert data.trace_mu.dims == ("point", "controller", "trace_seed", "trace_index")
        assert np.isfinite(data.trace_mu.values).all()
        assert set(data.best_fixed_mu.values) <= {0.0, 0.25, 0.5, 0.75, 1.0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run smok", "unknown study 'smok'; did you mean 'smoke'?"),
        ("summary smok", "unknown study 'smok'"),
        ("run smoke --set horizn=3", "unknown parameter 'horizn'; did you mean 'horizon'?"),
        ("run smoke --set horizon", "setting 'horizon' has no '='"),
        ("run smoke --set horizon=many", "run.horizon = 'many' is not a whole number"),
        ("run smoke --set kind=cubic", "problem kind 'cubic' is unknown"),
        ("run smoke --set gacc.alpha=0.1", "'gacc' is no table; did you mean 'gac'?"),
        ("run smoke --set best_fixed.points=9999999", "not a whole number in [2, 1001]"),
        ("run smoke --set target_outcome=losss", "is not an outcome of problem 'quadratic'; did"),
        ("run smoke --set kappa=0.1", "unknown parameter 'kappa'; known: horizon"),
        ("run smoke --scheduler tcp://127.0.0.1", "does not answer within 10 s (ValueError)"),
        ("run smoke --out /dev/null", "/dev/null: cannot write (File exists); what is stored is"),
        ("run smoke --timeout 0", "'0' is not a time above 0"),
        ("run smoke --checkpoint soon", "'soon' is not a time above 0"),
        ("run default --set level_s.value=3", "the table has value and no kind; add one of"),
        ("run default --set noise.kind=joint_gausian", "did you mean 'joint_gaussian'?"),
        ("run default --set noise.kind=joint_gaussian", "needs 'matrix', which has no default"),
        (
            "run default --set noise={kind='joint_gaussian',matrix=[[1.0,2.0],[2.0,1.0]]}",
            "matrix has the eigenvalue -1.0; no noise has a negative variance",
        ),
        ("run smoke --set horizon=0", "run.horizon = 0 is below 1"),
        ("run smoke --set correlation=2.0", "correlation = 2.0 is outside [-1, 1]"),
        ("run smoke --set gac.betta=0.9", "unknown config field 'betta'"),
        ("run smoke --set controllers.hpt.gate=1", "unknown controller 'hpt'"),
        ("run smoke --controllers gac,pid", "unknown controller 'pid'"),
        ("run smoke --regimes calm", "unknown regime 'calm'"),
        ("run smoke --workers 0", "--workers 0 is below 1"),
        ("run smoke --scheduler here", "neither tcp://host:port nor a scheduler file"),
        ("run smoke --workers 2 --scheduler tcp://a:1", "not allowed with argument"),
        ("run smoke --set dimension=1000000000", "lower one of these"),
        ("run smoke --set trace_every=10 horizon=1000000000000", "TiB of memory"),
        ("run default --set samples=1000000000", "samples 1000000000"),
        ("status smoke", "holds no study"),
        ("frobnicate", "invalid choice"),
        ("", "the following arguments are required"),
    ],
)
def test_a_mistake_is_one_line(
    line: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "simulations" / "smoke").mkdir(parents=True)
    code, text, err = said(capsys, *line.split())
    assert code == 2
    assert text == ""
    assert err.startswith("python -m simulations: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list((tmp_path / "out" / "simulations" / "smoke").iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not readable as TOML"),
        ("name = 'x'\ncontrollers = {}", "lacks problem"),
        ("name = 'x'\nproblems = {}", "unknown table 'problems'; did you mean 'problem'?"),
        ("name = 'x'\nproblem = 3\ncontrollers = {}", "problem is not a table"),
        ("name = 'x'\nproblem = {kind='cubic'}\ncontrollers = {gac={}}", "'cubic' is unknown"),
        ("name = 'x'\nproblem = {kind='quadratic'}\ncontrollers = {pid={}}", "'pid' is unknown"),
    ],
)
def test_a_malformed_study_file_is_one_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    code, _, err = said(capsys, "run", file, "--out", tmp_path / "store")
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


def test_an_unfinished_study_has_no_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--out", tmp_path, *SMALL)
    assert said(capsys, "run", "smoke", *options)[0] == 0
    next((tmp_path / "cells").iterdir()).unlink()
    for command in ("summary", "export"):
        code, _, err = said(capsys, command, "smoke", "--out", tmp_path)
        assert code == 2
        assert "is not finished; run: python -m simulations resume" in err


def test_terminating_a_run_is_an_interruption(tmp_path: Path) -> None:
    line = ("run", "smoke", "--out", tmp_path, "--set", "horizon=100000", "--checkpoint", "0.1")
    with started(*line) as run:
        wait_until(lambda: list((tmp_path / "partial").glob("*.npz")), "a checkpoint")
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=30)
        assert run.returncode == 130
        assert "interrupted: 0 of 4 cells are stored" in err


def test_heavy_libraries_are_imported_when_needed_only() -> None:
    code = (
        "import sys; from simulations.cli import main; "
        "assert main(['status', 'default', '--out', 'nowhere']) == 2; "
        "print({'scipy', 'xarray', 'dask', 'distributed', 'h5py'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout == "set()\n"


def test_the_time_left_follows_the_cells_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("simulations.sweeps.progress.time.monotonic", lambda: now[0])
    loud = io.StringIO()
    bar = Progress(loud, shown=True)
    bar(3, 10)  # three cells were there before
    now[0] += 4.0
    bar(5, 10)
    assert "5/10 cells, 10 s left" in loud.getvalue()


def test_the_progress_bar_shows_the_time_left_on_a_terminal_only() -> None:
    quiet = io.StringIO()
    bar = Progress(quiet)
    bar(0, 2)
    bar(1, 2)
    assert quiet.getvalue() == ""
    loud = io.StringIO()
    bar = Progress(loud, shown=True)
    bar(3, 10)
    bar(4, 10)
    assert re.search(r"4/10 cells, \d+ s left", loud.getvalue())
    assert duration(3661) == "1 h 1 min"
