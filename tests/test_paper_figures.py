"""Paper figures and tables: sizes, bytes, what they carry, one look a method, one-line errors."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("tueplots")
pytest.importorskip("scipy")

from _paper_figures import checks, rewards, switch  # noqa: E402

from gac_ref.errors import GACError  # noqa: E402
from paper_figures import computing, conformance, manifest, style, tables  # noqa: E402
from paper_figures.catalog import FIGURES, figure_named  # noqa: E402
from paper_figures.cli import main  # noqa: E402
from paper_figures.figures import claims_table, controllers_by_regime  # noqa: E402
from paper_figures.spec import PaperFigure  # noqa: E402
from paper_figures.venues import venue_named  # noqa: E402
from simulations.analysis.claims.rows import Row  # noqa: E402
from simulations.analysis.palette import METHODS, look  # noqa: E402
from simulations.analysis.question import Part  # noqa: E402
from simulations.analysis.results import Results  # noqa: E402
from simulations.analysis.statistics import Estimate  # noqa: E402

INCHES = {
    ("icml", 1): 3.25,
    ("icml", 2): 6.75,
    ("neurips", 1): 5.5,
    ("acl", 1): 3.0315,
    ("acl", 2): 6.2992,
}
"""The style files' own numbers: icml2024.sty, neurips_2024.sty, acl.sty (7.7 and 16 cm)."""

PIXEL = 1.0 / 300.0
"""A picture has a whole number of pixels, at 300 an inch."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Synthetic results of the figures that need little."""
    found = Results(tmp_path_factory.mktemp("results"))
    for name, saved in {**switch(), **checks()}.items():
        found.write(computing.part_named(name), saved.arrays)
    return found


@pytest.fixture(scope="module")
def built(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One figure in ICML's size, for what only reads outputs."""
    out = tmp_path_factory.mktemp("built")
    assert run(results, out, "regime_switch") == 0
    return out


def run(results: Results, out: Path, *words: str) -> int:
    """The command on synthetic results."""
    return main([*words, "--results", str(results.root), "--out", str(out), "--saved-only"])


@pytest.mark.parametrize(("venue", "columns"), INCHES)
def test_pictures_have_the_width_of_the_venue(
    venue: str, columns: int, results: Results, tmp_path: Path
) -> None:
    from PIL import Image

    out = tmp_path / "out"
    words = ["regime_switch", "--venue", venue, "--columns", str(columns)]
    assert run(results, out, *words) == 0
    stem = out / venue / f"regime_switch-{columns}col"
    with Image.open(stem.with_name(f"{stem.name}.png")) as picture:
        assert abs(picture.width / 300.0 - INCHES[venue, columns]) <= PIXEL
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", stem.with_name(f"{stem.name}.pdf").read_bytes())
    assert box is not None
    assert float(box[1]) / 72.0 == pytest.approx(INCHES[venue, columns], abs=1e-3)
    head = stem.with_name(f"{stem.name}.svg").read_text(encoding="utf-8")[:2000]
    width = re.search(r'width="([\d.]+)pt"', head)
    assert width is not None
    assert float(width[1]) / 72.0 == pytest.approx(INCHES[venue, columns], abs=1e-3)


def test_a_second_run_writes_the_same_bytes(results: Results, tmp_path: Path) -> None:
    """Even under a user's own Matplotlib settings."""
    asked = ["risk_parabola", "regime_switch"]
    assert run(results, tmp_path / "a", *asked) == 0
    with matplotlib.rc_context({"font.size": 31.0, "lines.solid_capstyle": "round"}):
        assert run(results, tmp_path / "b", *asked) == 0
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_pdf_embeds_truetype_fonts_and_no_date(built: Path) -> None:
    content = (built / "icml" / "regime_switch.pdf").read_bytes()
    fonts = set(re.findall(rb"/Subtype /(Type3|Type42|TrueType|CIDFontType2|Type0|Type1)", content))
    assert b"Type3" not in fonts
    assert b"/FontFile2" in content
    assert b"Date" not in content
    svg = (built / "icml" / "regime_switch.svg").read_text(encoding="utf-8")
    assert "<text" not in svg  # glyphs are outlines: no reader needs the font
    assert "dc:date" not in svg


def test_manifest_lists_every_file_with_its_digest(built: Path) -> None:
    outputs = json.loads((built / "manifest.json").read_text(encoding="utf-8"))["outputs"]
    on_disk = {p.relative_to(built).as_posix() for p in (built / "icml").iterdir()}
    assert set(outputs) == on_disk
    for name, entry in outputs.items():
        assert entry["sha256"] == hashlib.sha256((built / name).read_bytes()).hexdigest()
        assert entry["command"].startswith("python -m paper_figures")
        assert {"commit", "configuration", "seed"} <= set(entry)
    assert manifest.verified(built) == 3


def test_manifest_keeps_what_another_run_built_and_drops_what_changed(
    results: Results, tmp_path: Path
) -> None:
    assert run(results, tmp_path, "risk_parabola") == 0
    (tmp_path / "icml" / "risk_parabola.svg").write_text("edited by hand", encoding="utf-8")
    with pytest.raises(GACError, match=r"risk_parabola\.svg.*run: python -m paper_figures risk"):
        manifest.verified(tmp_path)
    assert run(results, tmp_path, "regime_switch") == 0
    outputs = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["outputs"]
    assert {name.partition("/")[2] for name in outputs} == {
        "risk_parabola.pdf",
        "risk_parabola.png",
        *(f"regime_switch.{ending}" for ending in ("pdf", "png", "svg")),
    }


def test_each_output_carries_commit_configuration_seed_and_command(built: Path) -> None:
    from PIL import Image

    listed = json.loads((built / "manifest.json").read_text(encoding="utf-8"))
    entry = listed["outputs"]["icml/regime_switch.pdf"]
    values = [entry[key] for key in ("commit", "configuration", "seed", "command")]
    pdf = (built / "icml" / "regime_switch.pdf").read_bytes().decode("latin-1")
    svg = (built / "icml" / "regime_switch.svg").read_text(encoding="utf-8")
    with Image.open(built / "icml" / "regime_switch.png") as picture:
        png = dict(picture.info)
    for value in values:
        assert value in pdf
        assert value in svg
        assert value in png.values()


def test_configuration_changes_with_settings_venue_and_columns() -> None:
    from paper_figures.build import provenance

    figure, icml, acl = figure_named("regime_switch"), venue_named("icml"), venue_named("acl")
    found = {
        provenance(figure, icml, None).configuration,
        provenance(figure, acl, None).configuration,
        provenance(figure, icml, 2).configuration,
        provenance(figure_named("stability_map"), icml, None).configuration,
    }
    assert len(found) == 4


def test_every_figure_names_itself_and_reads_parts_that_exist() -> None:
    for name in FIGURES:
        figure = figure_named(name)
        assert figure.name == name
        assert figure.draw is not None or figure.table is not None
        for part in figure.parts:
            assert computing.part_named(part).name == part
        assert len(figure.caption) > 80


def test_any_two_methods_are_told_apart_without_colour() -> None:
    names = list(METHODS)
    for place, a in enumerate(names):
        for b in names[place + 1 :]:
            assert style.told_apart(look(a), look(b)), (a, b)


def test_series_differ_in_marker_and_dash() -> None:
    assert len({marker for _, marker, _ in style.SERIES}) == len(style.SERIES)
    assert len({str(dash) for _, _, dash in style.SERIES}) == len(style.SERIES)


def test_a_method_has_one_look_in_every_figure() -> None:
    for name, drawn in METHODS.items():
        shown = style.line(name)
        assert (shown["color"], shown["marker"], shown["label"]) == (
            drawn.color,
            drawn.marker,
            drawn.label,
        )
    assert style.line("fixed_0.3") == style.line("fixed_0.7")


def test_no_figure_names_a_colour_of_a_method_by_itself() -> None:
    """Methods get their colour from the palette alone: figures of methods call `line`."""
    folder = Path(style.__file__).parent / "figures"
    for name in ("controllers_by_regime", "regime_switch"):
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        own = {color for color in re.findall(r"#[0-9A-Fa-f]{6}", text)}
        assert not own & {drawn.color for drawn in METHODS.values()}


def test_lightness_is_ciel_lab() -> None:
    """Against L* of sRGB middle grey and of the primaries, from the CIE formula."""
    known = {"#777777": 0.5003, "#FF0000": 0.5323, "#00FF00": 0.8774, "#0000FF": 0.3230}
    for color, expected in known.items():
        assert style.lightness(color) == pytest.approx(expected, abs=2e-4)


# Errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stability_mpa"], "did you mean 'stability_map'"),
        (["risk_parabola", "--venue", "icmll"], "did you mean 'icml'"),
        (["risk_parabola", "--venue", "neurips", "--columns", "2"], "NeurIPS has one column"),
        (["risk_parabola", "--workers", "0"], "--workers 0 is below 1"),
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


def test_no_tex_is_said_in_one_line(
    results: Results,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tables.shutil, "which", lambda name: None)
    with pytest.raises(GACError, match=r"no TeX is installed \(pdflatex.*leave out --compile"):
        tables.compile_tables([], venue_named("icml"), tmp_path / "tables.pdf")


def test_what_tex_refuses_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tmp_path / "bin" / "pdflatex"
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\necho '! Undefined control sequence.'\nexit 1\n", encoding="utf-8")
    engine.chmod(engine.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{engine.parent}:/bin:/usr/bin")
    table = tmp_path / "a.tex"
    table.write_text("\\oops", encoding="utf-8")
    with pytest.raises(GACError, match="pdflatex refuses the tables of ICML: ! Undefined control"):
        tables.compile_tables([table], venue_named("icml"), tmp_path / "tables.pdf")


# Tables and tests


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
    assert r"AMC at 7B & -- & -- & -- & -- \\" in body


@pytest.mark.parametrize("kind", ["claims", "controllers"])
def test_tables_are_sound_latex(kind: str) -> None:
    """As many cells as columns in every row, balanced braces and environments, no bare specials."""
    if kind == "claims":
        body = claims_table.table_of(sample_rows())
    else:
        found = controllers_by_regime.compared(rewards(), ["good_expert", "odd_name"])
        body = controllers_by_regime.table_of(found)
    made = manifest.Provenance("c", "d", "0", "python")
    text = tables.float_of("a_b", body, "caption", venue_named("icml"), 2, made)
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    rows = [line for line in lines if line.endswith(r"\\")]
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


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("venue", ["icml", "neurips", "acl"])
def test_tables_compile(venue: str, tmp_path: Path) -> None:
    found = controllers_by_regime.compared(rewards(), ["good_expert", "odd_name"])
    bodies = [claims_table.table_of(sample_rows()), controllers_by_regime.table_of(found)]
    made = manifest.Provenance("c", "d", "0", "python")
    files = []
    for place, body in enumerate(bodies):
        file = tmp_path / f"table{place}.tex"
        text = tables.float_of(file.stem, body, "caption", venue_named(venue), 2, made)
        file.write_text(text, encoding="utf-8")
        files.append(file)
    made_pdf = tables.compile_tables(files, venue_named(venue), tmp_path / "tables.pdf")
    assert made_pdf.read_bytes().startswith(b"%PDF")


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


# Results of this package


def test_events_become_arrays_and_what_was_not_compared_is_left_out() -> None:
    events: list[dict[str, Any]] = [
        {"event": "start", "dtype": "fp32", "port": "p", "pack": 1},
        {"event": "check", "stage": "clip", "mode": "injected", "ratio": 0.25},
        {"event": "check", "stage": "clip", "mode": "injected", "ratio": None},
        {"event": "check", "stage": "phi", "mode": "tapped", "ratio": "inf"},
        {"event": "end", "verdict": "divergence"},
    ]
    found = conformance.arrays_of(events)
    assert found["ratio"].tolist() == [0.25, np.inf]
    assert found["stage"].tolist() == ["clip", "phi"]
    assert set(found["dtype"].tolist()) == {"fp32"}


def test_seeds_are_found_wherever_settings_name_them() -> None:
    tree = {"seed": 7, "run": {"seeds": 8}, "list": [{"seed": 3}], "seedling": 9}
    assert manifest.seeds_in(tree) == [0, 3, 7]


@pytest.mark.slow
def test_a_figure_is_built_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Computes a real result in a worker, saves it, and takes it from there the second time."""
    words = ["guard_authority", "mu_contributions", "--out", str(tmp_path / "out")]
    words += ["--results", str(tmp_path / "results")]
    assert main(words) == 0
    assert "2 results computed" in capsys.readouterr().out
    assert main([*words, "--saved-only"]) == 0
    assert "0 results computed" in capsys.readouterr().out
    assert manifest.verified(tmp_path / "out") == 6
