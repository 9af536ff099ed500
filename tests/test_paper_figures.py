"""Paper figures and tables: sizes, bytes, what they carry, one look a method, one-line errors."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("tueplots")
pytest.importorskip("scipy")

from _paper_figures import checks, switch  # noqa: E402

from gac_ref.errors import GACError  # noqa: E402
from paper_figures import computing, conformance, manifest, noise, style  # noqa: E402
from paper_figures.build import provenance  # noqa: E402
from paper_figures.catalog import FIGURES, figure_named  # noqa: E402
from paper_figures.cli import main  # noqa: E402
from paper_figures.venues import venue_named  # noqa: E402
from simulations.analysis.claims.declared import EVALUATION  # noqa: E402
from simulations.analysis.palette import METHODS, look  # noqa: E402
from simulations.analysis.results import Results  # noqa: E402

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
    assert len(files) == 9
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
    assert manifest.verified(built) == 4


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
        *(f"risk_parabola{ending}" for ending in (".pdf", ".png", "-float.tex")),
        *(f"regime_switch{ending}" for ending in (".pdf", ".png", ".svg", "-float.tex")),
    }


def test_each_output_carries_commit_configuration_seed_and_command(built: Path) -> None:
    from PIL import Image

    listed = json.loads((built / "manifest.json").read_text(encoding="utf-8"))
    entry = listed["outputs"]["icml/regime_switch.pdf"]
    values = [entry[key] for key in ("commit", "configuration", "seed", "command")]
    pdf = (built / "icml" / "regime_switch.pdf").read_bytes().decode("latin-1")
    svg = (built / "icml" / "regime_switch.svg").read_text(encoding="utf-8")
    tex = (built / "icml" / "regime_switch-float.tex").read_text(encoding="utf-8")
    with Image.open(built / "icml" / "regime_switch.png") as picture:
        png = dict(picture.info)
    for value in values:
        assert value in pdf
        assert value in svg
        assert value in tex
        assert value in png.values()


def test_configuration_changes_with_settings_venue_and_columns() -> None:
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


def test_captions_say_how_many_seeds_were_drawn() -> None:
    """The numbers in the captions are those of the settings that the results are computed with."""

    def settings(name: str) -> Any:
        return computing.part_named(name).settings

    claims = settings("claims.study")["declaration"]["run"]["seeds"]
    sobol = settings("sensitivity.quadratic")
    rows = settings("convergence.row_noise")
    noisy = settings(noise.NAME)["declaration"]
    numbers = {
        "controllers_by_regime": [f"{EVALUATION} seeds", f"{claims - EVALUATION} other seeds"],
        "noise_regimes": [f"{noisy['overrides']['run']['seeds']} ", f"{noisy['run']['horizon']} "],
        "sensitivity_indices": [
            f"{sobol['resamples']} bootstrap", f"{sobol['rows']} rows", f"{sobol['seeds']} seeds"
        ],
        "convergence": [f"{settings('convergence.quadratic')['run']['seeds']} seeds"],
        "stability_map": [
            f"{rows['run']['seeds']} seeds", f"{rows['run']['horizon']} steps",
            f"{rows['chains']} chains of {rows['chain_steps']} steps",
        ],
    }  # fmt: skip
    for name, said in numbers.items():
        for text in said:
            assert text in figure_named(name).caption, (name, text)
    table = figure_named("controllers_by_regime").table_caption
    assert f"over {EVALUATION} seeds" in table


def test_captions_of_sampled_numbers_name_their_interval() -> None:
    """And the others say that there is none, and why."""
    for name in FIGURES:
        caption = figure_named(name).caption
        exact = "nothing is sampled" in caption or "no interval" in caption
        shares = "Share of 32 seeds" in caption
        assert exact or shares or r"95\,\%" in caption, name


def test_a_table_does_not_change_with_the_columns_of_the_pictures() -> None:
    """Nor does what it carries: it is built by the same command whatever --columns says."""
    figure, place = figure_named("controllers_by_regime"), venue_named("icml")
    assert "--columns" not in provenance(figure, place, None).command
    assert provenance(figure, place, None) != provenance(figure, place, 1)


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


def test_lightness_is_ciel_lab() -> None:
    """Against L* of sRGB middle grey and of the primaries, from the CIE formula."""
    known = {"#777777": 0.5003, "#FF0000": 0.5323, "#00FF00": 0.8774, "#0000FF": 0.3230}
    for color, expected in known.items():
        assert style.lightness(color) == pytest.approx(expected, abs=2e-4)


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
    assert manifest.verified(tmp_path / "out") == 8
