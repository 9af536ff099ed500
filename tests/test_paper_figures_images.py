"""Every paper figure of small synthetic numbers looks as it did when it was last looked at.

Compared by Matplotlib's own `compare_images`. pytest-mpl compares only where ``--mpl`` is passed,
and passes every test where it is not; in the project's options the flag would break every machine
without the plugin.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("tueplots")

from _paper_figures import DPI, INPUTS, VARIANTS, drawn, recording, without_text  # noqa: E402

from paper_figures.catalog import FIGURES, figure_named  # noqa: E402
from paper_figures.style import lightness  # noqa: E402
from paper_figures.venues import VENUES, venue_named  # noqa: E402

BASELINE = Path(__file__).parent / "baseline" / "paper_figures"

RMS = 1.0
"""Root mean square, of 255 levels. Text is left out of the pictures, so that Matplotlib 3.9 and
3.11 draw nine of the ten to the bit; the gaps of contour labels differ by 0.11. A missing line is
above 10. Size and place of the text are tested apart."""


@pytest.mark.parametrize("name", INPUTS)
def test_figure_looks_as_its_baseline(name: str, tmp_path: Path) -> None:
    from matplotlib.testing.compare import compare_images

    actual = tmp_path / f"{name}.png"
    with matplotlib.rc_context():
        figure = without_text(drawn(name, venue_named("icml"), figure_named(name).columns))
        figure.savefig(actual, dpi=DPI, metadata={"Software": None})
    assert compare_images(str(BASELINE / f"{name}.png"), str(actual), tol=RMS) is None


def test_a_missing_curve_is_seen(tmp_path: Path) -> None:
    """The tolerance catches what it is there to catch: the applied weight left out of a figure."""
    from matplotlib.testing.compare import compare_images

    actual = tmp_path / "mu_contributions.png"
    with matplotlib.rc_context():
        figure = without_text(drawn("mu_contributions", venue_named("icml"), 2))
        for ax in figure.axes:
            next(each for each in ax.lines if each.get_label() == r"applied $\mu$").remove()
        figure.savefig(actual, dpi=DPI)
    found = compare_images(str(BASELINE / "mu_contributions.png"), str(actual), tol=RMS)
    assert found is not None


def test_every_picture_has_a_baseline() -> None:
    pictures = {name for name in FIGURES if figure_named(name).draw is not None}
    assert pictures == set(INPUTS) == {file.stem for file in BASELINE.glob("*.png")}


@pytest.mark.parametrize(
    "venue", [pytest.param(name, marks=[pytest.mark.slow] * (name != "icml")) for name in VENUES]
)
@pytest.mark.parametrize("name", INPUTS)
def test_text_has_the_papers_size_and_stays_on_the_page(name: str, venue: str) -> None:
    place = venue_named(venue)
    for columns in range(1, place.columns + 1):
        with matplotlib.rc_context():
            figure = drawn(name, place, columns)
            figure.draw_without_rendering()
            width, height = figure.get_size_inches() * figure.dpi
            shared = figure.get_supxlabel()
            assert shared or figure.axes[-1].get_xlabel()
            assert figure.axes[0].get_ylabel() or figure.axes[0].get_yticklabels()
            for text in figure.findobj(matplotlib.text.Text):
                if not text.get_visible() or not text.get_text().strip():
                    continue
                assert 8.0 <= text.get_fontsize() <= 9.0, text
                if _hidden_tick(text, figure):
                    continue
                box = text.get_window_extent()
                assert box.x0 >= -SLACK, (columns, text)
                assert box.x1 <= width + SLACK, (columns, text)
                assert box.y0 >= -SLACK, (columns, text)
                assert box.y1 <= height + SLACK, (columns, text)


SLACK = 3.0
"""Pixels of 1/300 inch: an italic's overhang is not part of a text's advance."""


def _hidden_tick(text: Any, figure: Any) -> bool:
    """Whether it is the label of a tick outside the limits, which is never drawn."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            drawn_labels = {id(tick.label1) for tick in axis._update_ticks()}
            every = {id(tick.label1) for tick in (*axis.majorTicks, *axis.minorTicks)}
            if id(text) in every - drawn_labels:
                return True
    return False


def test_fills_of_the_contributions_are_told_apart_in_grey() -> None:
    """Neighbours in the stack differ by hatch, or by lightness enough for a greyscale print."""
    from paper_figures.figures.mu_contributions import FILLS
    from paper_figures.style import DISTANCE

    looks = list(FILLS.values())
    for place, (color, hatch) in enumerate(looks):
        for other, other_hatch in looks[place + 1 :]:
            apart = abs(lightness(color) - lightness(other)) >= DISTANCE
            assert apart or hatch != other_hatch


def test_contributions_stack_to_the_applied_weight() -> None:
    """The black line is the initial weight plus the sum of what is stacked."""
    saved = recording()["authority.recording"]
    with matplotlib.rc_context():
        figure = drawn("mu_contributions", venue_named("icml"), 2)
        for ax, variant in zip(figure.axes, ("default", "internal"), strict=True):
            line = next(each for each in ax.lines if each.get_label() == r"applied $\mu$")
            v = list(VARIANTS).index(variant)
            expected = 0.5 + saved.arrays["parts"][v].sum(axis=0)
            assert line.get_ydata() == pytest.approx(expected)
