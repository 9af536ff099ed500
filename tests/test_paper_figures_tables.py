"""Tables and floats: sound LaTeX that TeX accepts, and marks for what the declared test finds."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("tueplots")
pytest.importorskip("scipy")

from _paper_figures import rewards

from gac_ref.errors import GACError
from paper_figures import floats, manifest, tables
from paper_figures.catalog import FIGURES, figure_named
from paper_figures.figures import claims_table, controllers_by_regime
from paper_figures.venues import venue_named
from simulations.analysis.claims.rows import Row
from simulations.analysis.statistics import Estimate

MADE = manifest.Provenance("c", "d_e", "0", "python -m paper_figures --venue icml")


def sample_rows() -> list[Row]:
    """A supported, a refuted and an untestable claim, with everything that LaTeX trips over."""
    nan = float("nan")

    def row(key: str, claim: str, effect: float, p: float, verdict: str) -> Row:
        found = Estimate(effect, effect - 0.1, effect + 0.1, 64)
        return Row(key, claim, *found[:3], "pp", p, 1.5, 64, 1.0, found, 0.5, "number", "claims.x",
                   verdict)  # fmt: skip

    nothing = Estimate(nan, nan, nan, 0)
    return [
        row("a", "s2_r drives mu in > 93 % of a_b & c", 2.0, 0.0001, "supported"),
        row("b", "D2~ about 0.84", -1.0, 0.2, "refuted"),
        Row("c", "AMC at 7B", nan, nan, nan, "pp", nan, nan, 0, 1.0, nothing, nan, "none", "",
            "not testable here"),
    ]  # fmt: skip


def test_claims_table_marks_what_the_test_finds() -> None:
    body = claims_table.table_of(sample_rows()).splitlines()
    supported = next(line for line in body if "drives" in line)
    refuted = next(line for line in body if "0.84" in line)
    assert r"\textbf{2.00 [1.90, 2.10]\,pp$^{*}$}" in supported
    assert "$<$0.001" in supported
    assert "^{*}" not in refuted
    assert r"\textbf" not in refuted
    assert "$-$1.00" in refuted
    assert r"\raggedright AMC at 7B & -- & -- & -- & -- \\" in body


@pytest.mark.parametrize("kind", ["claims", "controllers"])
def test_tables_are_sound_latex(kind: str) -> None:
    """As many cells as columns in every row, balanced braces and environments, no bare specials."""
    if kind == "claims":
        body = claims_table.table_of(sample_rows())
    else:
        found = controllers_by_regime.compared(rewards(), ["good_expert", "odd_name"])
        body = controllers_by_regime.table_of(found)
    text = floats.table_float("a_b", body, "caption", venue_named("icml"), 2, MADE)
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    rows = [line for line in lines if line.endswith(r"\\") and r"\multicolumn{5}" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {len(rows[0].split(" & ")) - 1}
    joined = "\n".join(lines)
    bare = re.sub(r"\\[{}]", "", joined)
    assert bare.count("{") == bare.count("}")
    assert joined.count("$") % 2 == 0
    assert not re.search(r"(?<!\\)[%#]", joined)
    assert re.findall(r"\\begin\{(\w+\*?)\}", joined) == ["table*", "tabular"]
    assert re.findall(r"\\end\{(\w+\*?)\}", joined) == ["tabular", "table*"]
    assert [rule for rule in ("\\toprule", "\\midrule", "\\bottomrule") if rule not in joined] == []
    outside_maths = re.sub(r"\$[^$]*\$", "", re.sub(r"\\(label|begin|end)\{[^}]*\}", "", joined))
    assert not re.search(r"(?<!\\)[_^]", outside_maths)


TEX = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


def float_files(venue: str, folder: Path) -> list[Path]:
    """Both tables, and a picture's float with the caption of every figure in turn."""
    from matplotlib.figure import Figure

    place = venue_named(venue)
    found = controllers_by_regime.compared(rewards(), ["good_expert", "odd_name"])
    texts = {}
    for stem, body in (
        ("claims", claims_table.table_of(sample_rows())),
        ("controllers", controllers_by_regime.table_of(found)),
    ):
        caption = figure_named("controllers_by_regime").table_caption
        texts[stem] = floats.table_float(stem, body, caption, place, 2, MADE)
    for name in FIGURES:
        figure = figure_named(name)
        if figure.draw is not None:
            Figure(figsize=(1.0, 1.0)).savefig(folder / f"{name}.pdf")
            texts[f"{name}-float"] = floats.figure_float(
                name, name, figure.caption, place, figure.columns, MADE
            )
    files = [folder / f"{stem}.tex" for stem in texts]
    for file, text in zip(files, texts.values(), strict=True):
        file.write_text(text, encoding="utf-8")
    return files


@TEX
@pytest.mark.parametrize("venue", ["icml", "neurips", "acl"])
def test_tables_and_captions_compile(venue: str, tmp_path: Path) -> None:
    """And two compilations give the same bytes, wherever the temporary folder is."""
    files = float_files(venue, tmp_path)
    once, twice = (
        floats.compile_proof(files, venue_named(venue), MADE, tmp_path / f"{name}.pdf").read_bytes()
        for name in ("once", "twice")
    )
    assert once == twice
    said = (
        subprocess.run(
            ["pdfinfo", tmp_path / "once.pdf"], capture_output=True, text=True, check=True
        ).stdout
        if shutil.which("pdfinfo")
        else "; ".join(MADE.lines())
    )
    for line in MADE.lines():
        assert line in said


@TEX
def test_a_table_wider_than_its_column_is_refused(tmp_path: Path) -> None:
    cells = [f"a long cell, number {k}" for k in range(8)]
    body = tables.tabular("l" * 8, cells, [[cells]])
    file = tmp_path / "broad.tex"
    text = floats.table_float("broad", body, "c", venue_named("acl"), 1, MADE)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(GACError, match=r"broad\.tex: [\d.]+ pt wider than a column of ACL"):
        floats.compile_proof([file], venue_named("acl"), MADE, tmp_path / "proof.pdf")


def test_no_tex_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floats.shutil, "which", lambda name: None)
    with pytest.raises(GACError, match=r"no TeX is installed \(pdflatex.*leave out --compile"):
        floats.engine_here()


def _engine(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called pdflatex, found first; and a table to compile."""
    engine = tmp_path / "bin" / "pdflatex"
    engine.parent.mkdir()
    engine.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    engine.chmod(engine.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{engine.parent}:/bin:/usr/bin")
    table = tmp_path / "a.tex"
    table.write_text("\\oops", encoding="utf-8")
    return table


def test_what_tex_refuses_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = _engine(tmp_path, "echo '! Undefined control sequence.'; exit 1", monkeypatch)
    with pytest.raises(GACError, match="pdflatex refuses the floats of ICML: ! Undefined control"):
        floats.compile_proof([table], venue_named("icml"), MADE, tmp_path / "proof.pdf")


def test_a_tex_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = _engine(tmp_path, "exec sleep 60", monkeypatch)
    monkeypatch.setattr(floats, "SECONDS", 0.2)
    with pytest.raises(GACError, match=r"did not finish within .* leave out --compile"):
        floats.compile_proof([table], venue_named("icml"), MADE, tmp_path / "proof.pdf")


def test_worse_is_what_benjamini_hochberg_finds_of_paired_tests() -> None:
    """Against the step-up rule written out, where a test without adjustment finds one more."""
    from simulations.analysis.statistics import permutation_test

    rng = np.random.default_rng(6)
    base = rng.standard_normal((1, 24))
    shifts = {"fixed": 0.0, "chord_mu": 0.1, "srft": 0.25, "hpt": 0.6, "mgda": 0.02, "pcgrad": 0.02}
    noise = {name: 0.5 * rng.standard_normal((1, 24)) for name in shifts}
    noise["fixed"][:] = 0.0
    values = {name: base - shift + noise[name] for name, shift in shifts.items()}
    found = controllers_by_regime.compared(values, ["one"])
    best = found.best[0]
    others = [m for m in range(len(shifts)) if m != best]
    p = {
        m: permutation_test(
            values[found.methods[best]][0], values[found.methods[m]][0],
            rng=np.random.default_rng(0),
        ).p
        for m in others
    }  # fmt: skip
    ranked = sorted(others, key=lambda m: p[m])
    passing = [k for k, m in enumerate(ranked, start=1) if p[m] < 0.05 * k / len(ranked)]
    expected = set(ranked[: max(passing, default=0)])
    assert set(np.flatnonzero(found.worse[0]).tolist()) == expected
    assert 0 < len(expected) < sum(value < 0.05 for value in p.values())


def test_equal_outcomes_are_not_worse() -> None:
    same = np.arange(10.0)[None]
    found = controllers_by_regime.compared({"fixed": same, "hpt": same}, ["one"])
    assert not found.worse.any()


def test_bold_is_the_best_mean_and_only_it() -> None:
    found = controllers_by_regime.compared(rewards(), ["good_expert", "bandit"])
    body = controllers_by_regime.table_of(found)
    assert body.count(r"\mathbf") == 2
    for r in range(2):
        top = max(float(values[r].mean()) for values in rewards().values())
        assert found.mean[r, found.best[r], 0] == pytest.approx(top)


def test_half_intervals_of_a_table_are_the_intervals_of_the_means() -> None:
    """Against Student's interval by SciPy; neither negative, nor rounded away."""
    from scipy.stats import t

    found = controllers_by_regime.compared(rewards(), ["good_expert", "bandit"])
    body = controllers_by_regime.table_of(found)
    for name in found.methods:
        for seeds in rewards()[name]:
            half = t.ppf(0.975, seeds.size - 1) * seeds.std(ddof=1) / np.sqrt(seeds.size)
            assert f"{seeds.mean():.2f} \\pm {half:.2f}" in body
