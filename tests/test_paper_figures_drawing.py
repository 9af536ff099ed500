"""What is drawn: text that fits, looks and order of the methods, intervals, contributions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("tueplots")
pytest.importorskip("scipy")

from _paper_figures import INPUTS, VARIANTS, drawn, noisy, recording, rewards  # noqa: E402

from paper_figures.catalog import figure_named  # noqa: E402
from paper_figures.style import lightness, rc  # noqa: E402
from paper_figures.venues import VENUES, venue_named  # noqa: E402
from simulations.analysis.palette import METHODS  # noqa: E402

SLACK = 3.0
"""Pixels of 1/300 inch: an italic's overhang is not part of a text's advance."""

LEAST_PANEL = 0.55
"""Inches: a panel that text has squeezed below it shows nothing any more."""

LABELS = {drawn.label: drawn for drawn in METHODS.values()}


@pytest.mark.parametrize("venue", ["neurips", "acl"])
@pytest.mark.parametrize("name", INPUTS)
def test_text_stays_on_the_page_and_apart(name: str, venue: str) -> None:
    """At ACL's widths and across NeurIPS's page; ICML has wider columns and smaller text."""
    place = venue_named(venue)
    for columns in range(1, place.columns + 1):
        with matplotlib.rc_context():
            figure = drawn(name, place, columns)
            figure.draw_without_rendering()
            width, height = figure.get_size_inches() * figure.dpi
            assert figure.get_supxlabel() or any(ax.get_xlabel() for ax in figure.axes)
            assert figure.axes[0].get_ylabel() or figure.axes[0].get_yticklabels()
            for ax in figure.axes:
                size = ax.get_window_extent().size / figure.dpi
                bar = hasattr(ax, "_colorbar")
                assert bar or size.min() >= LEAST_PANEL, (columns, size)
            boxes = [(text, text.get_window_extent()) for text in shown_texts(figure)]
            for text, box in boxes:
                assert place.text == text.get_fontsize(), text
                assert box.x0 >= -SLACK, (columns, text)
                assert box.x1 <= width + SLACK, (columns, text)
                assert box.y0 >= -SLACK, (columns, text)
                assert box.y1 <= height + SLACK, (columns, text)
            for (one, a), (two, b) in itertools.combinations(boxes, 2):
                if one.get_rotation() == two.get_rotation() == 0.0:
                    assert not meet(a, b), (columns, one, two)


def meet(a: Any, b: Any) -> bool:
    """Whether two texts overlap by more than the rim of a box."""
    wide = min(a.x1, b.x1) - max(a.x0, b.x0)
    high = min(a.y1, b.y1) - max(a.y0, b.y0)
    return bool(wide > SLACK and high > 2.0 * SLACK)


def shown_texts(figure: Any) -> list[Any]:
    """Every text of a figure that is drawn."""
    hidden = {id(text) for ax in figure.axes for text in _hidden_ticks(ax)}
    return [
        text
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden
    ]


def _hidden_ticks(ax: Any) -> list[Any]:
    """Labels of ticks outside the limits, which are never drawn."""
    hidden = []
    for axis in (ax.xaxis, ax.yaxis):
        kept = {id(tick) for tick in axis._update_ticks()}
        every = (*axis.majorTicks, *axis.minorTicks)
        hidden += [tick.label1 for tick in every if id(tick) not in kept]
    return hidden


@pytest.mark.parametrize("venue", VENUES)
def test_all_text_has_the_venues_size(venue: str) -> None:
    place = venue_named(venue)
    sizes = {value for name, value in rc(place).items() if name.endswith(("fontsize", "labelsize",
             "titlesize", "font.size"))}  # fmt: skip
    assert sizes == {place.text}
    assert 8.0 <= place.text <= 9.0


@pytest.mark.parametrize("name", INPUTS)
def test_methods_have_their_look_and_order_in_every_figure(name: str) -> None:
    """Whatever carries a method's name has its colour and marker; legends keep the palette's order.

    Named by ticks, as the rows of the controllers are, or by the labels of lines.
    """
    with matplotlib.rc_context():
        figure = drawn(name, venue_named("icml"), figure_named(name).columns)
        for ax in figure.axes:
            ticks = zip(ax.get_yticklabels(), ax.get_yticks(), strict=False)  # some have no label
            rows = {text.get_text(): y for text, y in ticks}
            named = {label: y for label, y in rows.items() if label in LABELS}
            assert sorted(named, key=lambda label: LABELS[label].order) == sorted(
                named, key=lambda label: -named[label]
            )
            for each in ax.lines:
                label = each.get_label()
                if label in LABELS:
                    look = LABELS[label]
                    assert (each.get_color(), each.get_marker()) == (look.color, look.marker)
                    if label in named:
                        assert each.get_ydata()[0] == named[label]
        for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes)]:
            if legend is not None:
                labels = [text.get_text() for text in legend.get_texts()]
                orders = [LABELS[label].order for label in labels if label in LABELS]
                assert orders == sorted(orders)


def test_intervals_of_the_controllers_are_students() -> None:
    """Against SciPy's quantile: what a controller lacks, and both ends of its interval."""
    with matplotlib.rc_context():
        figure = drawn("controllers_by_regime", venue_named("icml"), 2)
        for r, ax in enumerate(figure.axes):
            marks = {line.get_label(): float(line.get_xdata()[0]) for line in ax.lines}
            bars = [bar.get_segments()[0][:, 0] for bar in ax.collections if bar.get_segments()]
            values = [seeds[r] for _, seeds in sorted(rewards().items(), key=_order)]
            assert len(bars) == len(values)
            for bar, seeds in zip(bars, values, strict=True):
                mean, half = student(seeds)
                assert sorted(bar) == pytest.approx([100 - mean - half, 100 - mean + half])
                assert any(mark == pytest.approx(100 - mean) for mark in marks.values())


def test_intervals_of_the_noise_regimes_are_students() -> None:
    regret = noisy()["noise.regimes"].arrays["regret"]
    expected = {tuple(np.round(student(seeds), 9)) for row in regret for seeds in row}
    with matplotlib.rc_context():
        (ax,) = drawn("noise_regimes", venue_named("icml"), 2).axes
        drawn_bars = [segment[:, 0] for bars in ax.collections for segment in bars.get_segments()]
    assert {(round(b.mean(), 9), round((b[1] - b[0]) / 2.0, 9)) for b in drawn_bars} == expected


def test_intervals_of_the_indices_hold_their_values() -> None:
    with matplotlib.rc_context():
        figure = drawn("sensitivity_indices", venue_named("icml"), 2)
        for ax in figure.axes:
            bars = {segment[0, 1]: segment[:, 0] for bars in ax.collections
                    for segment in bars.get_segments()}  # fmt: skip
            marks = [each for each in ax.lines if each.get_label() in ("total", "first order")]
            for x, y in [pair for each in marks for pair in each.get_xydata()]:
                low, high = bars[y]
                assert low < x < high


def student(seeds: Any) -> tuple[float, float]:
    """Mean and half of Student's 95 % interval, by SciPy."""
    from scipy.stats import t

    half = t.ppf(0.975, seeds.size - 1) * seeds.std(ddof=1) / np.sqrt(seeds.size)
    return float(seeds.mean()), float(half)


def _order(item: tuple[str, Any]) -> int:
    return METHODS[item[0]].order


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
