"""The documentation site: built without a warning, complete, and its examples run."""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pytest
from _docs_site import build, built_site

from gac_ref.risk import __all__ as NAMES_OF_RISK

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES_WITH_EXAMPLES = [
    path for path in sorted(DOCS.rglob("*.md")) if "```pycon\n" in path.read_text("utf-8")
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_site(tmp_path_factory)


@pytest.mark.slow
def test_mathematics_is_rendered_in_the_page(site: Path) -> None:
    text = (site / "explanation" / "derivation.html").read_text("utf-8")
    assert text.count('class="katex-display"') >= 5
    assert "katex-error" not in text
    assert "<mfrac>" in text  # MathML, for those who listen
    assert not [page for page in site.rglob("*.html") if "katex.min.js" in page.read_text("utf-8")]


@pytest.mark.slow
def test_the_search_index_knows_the_public_names(site: Path) -> None:
    index = (site / "searchindex.js").read_text("utf-8")
    for name in ("closed_form", "TraceWriter", "GACConfig", "check_case"):
        assert name in index


@pytest.mark.slow
def test_an_undocumented_public_name_fails_the_build(tmp_path: Path, site: Path) -> None:
    """A copy in which one public function lost its docstring, one module its place."""
    del site  # what makes this test skip without Sphinx
    for folder in ("gac_ref", "simulations", "paper_figures", "overview", "docs"):
        shutil.copytree(
            ROOT / folder,
            tmp_path / folder,
            ignore=shutil.ignore_patterns("__pycache__", "vectors", "trace", "notebooks"),
        )
    risk = tmp_path / "gac_ref" / "risk.py"
    text = risk.read_text("utf-8")
    risk.write_text(
        text.replace('    "regret",\n', '    "regret",\n    "unexplained",\n')
        + "\n\ndef unexplained(x: float) -> float:\n    return x\n"
    )
    (tmp_path / "gac_ref" / "unplaced.py").write_text(
        '"""A module of no page."""\n__all__ = ["name"]\ndef name() -> None:\n    """A name."""\n'
    )
    # One page of the reference stays, so that the build is short; what the others describe is
    # then missing as well.
    for path in (tmp_path / "docs").rglob("*.md"):
        if path.name != "risk.md":
            path.unlink()
    (tmp_path / "docs" / "index.md").write_text("# Copy\n\n```{toctree}\nreference/risk\n```\n")
    done = build(tmp_path / "docs", tmp_path / "out")
    assert done.returncode != 0
    missing = set(re.findall(r"public name (\S+) is described on no page", done.stderr))
    assert {"gac_ref.risk.unexplained", "gac_ref.unplaced.name"} <= missing
    assert not missing & {f"gac_ref.risk.{name}" for name in NAMES_OF_RISK}


@pytest.mark.parametrize("page", PAGES_WITH_EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_on_a_page_do_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```pycon\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    examples = doctest.DocTestParser().get_doctest(
        "\n\n".join(blocks), {"__name__": "__main__"}, page.name, str(page), 0
    )
    report: list[str] = []
    result = doctest.DocTestRunner().run(examples, out=report.append)
    assert result.attempted > 1
    assert not result.failed, "".join(report)


def test_the_pages_with_examples_are_found() -> None:
    assert {path.stem for path in PAGES_WITH_EXAMPLES} >= {
        "first_steps",
        "derivation",
        "variants",
        "add_a_controller",
        "record_a_trainer",
    }
