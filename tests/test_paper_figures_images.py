r"""Every paper figure of small synthetic numbers looks as it did when it was last looked at.

Compared by pytest-mpl, which the project's conftest turns on wherever it is installed. New
baselines, each to be looked at before it is committed::

    python -m pytest tests/test_paper_figures_images.py \
        --mpl-generate-path=tests/baseline/paper_figures
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_mpl")
matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("tueplots")

from _paper_figures import DPI, INPUTS, drawn, without_text  # noqa: E402

from paper_figures.catalog import FIGURES, figure_named  # noqa: E402
from paper_figures.venues import venue_named  # noqa: E402

BASELINE = Path(__file__).parent / "baseline" / "paper_figures"

RMS = 1.0
"""Root mean square, of 255 levels. Text is left out of the pictures, so that Matplotlib 3.9 and
3.11 draw most of them to the bit; the gaps of contour labels differ by 0.11. A missing line is
above 10. Size and place of the text are tested apart."""


def picture(name: str) -> Any:
    """At the width that suits the figure, ICML's."""
    return without_text(drawn(name, venue_named("icml"), figure_named(name).columns))


def compared(name: str) -> Any:
    """A parameter whose picture is compared with the baseline of its name."""
    settings = {"dpi": DPI, "metadata": {"Software": None}}
    mark = pytest.mark.mpl_image_compare(
        baseline_dir=str(BASELINE), filename=f"{name}.png", tolerance=RMS, style="default",
        savefig_kwargs=settings,
    )  # fmt: skip
    return pytest.param(name, marks=mark)


@pytest.mark.parametrize("name", [compared(name) for name in INPUTS])
def test_figure_looks_as_its_baseline(name: str) -> Any:
    return picture(name)


def test_pictures_are_compared_and_not_passed_unseen(pytestconfig: pytest.Config) -> None:
    """Without its flag the plugin passes every picture."""
    assert pytestconfig.getoption("mpl")
    assert any("ImageComparison" in type(each).__name__ for each in _plugins(pytestconfig))


def _plugins(config: pytest.Config) -> set[Any]:
    return set(config.pluginmanager.get_plugins())


def test_a_missing_curve_is_seen(tmp_path: Path) -> None:
    """The tolerance catches what it is there to catch: the applied weight left out of a figure."""
    from matplotlib.testing.compare import compare_images

    actual = tmp_path / "mu_contributions.png"
    with matplotlib.rc_context():
        figure = picture("mu_contributions")
        for ax in figure.axes:
            next(each for each in ax.lines if each.get_label() == r"applied $\mu$").remove()
        figure.savefig(actual, dpi=DPI)
    found = compare_images(str(BASELINE / "mu_contributions.png"), str(actual), tol=RMS)
    assert found is not None


def test_every_picture_has_a_baseline() -> None:
    pictures = {name for name in FIGURES if figure_named(name).draw is not None}
    assert pictures == set(INPUTS) == {file.stem for file in BASELINE.glob("*.png")}
