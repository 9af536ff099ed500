"""The documentation site: built without a warning, complete, self-contained; its examples run."""

from __future__ import annotations

import doctest
import html.parser
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from _docs_site import build, built_site

from gac_ref.risk import __all__ as NAMES_OF_RISK

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES_WITH_EXAMPLES = [
    path for path in sorted(DOCS.rglob("*.md")) if "```pycon\n" in path.read_text("utf-8")
]
RESOURCES = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_site(tmp_path_factory)


class Page(html.parser.HTMLParser):
    """What a page links to, loads, and can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in RESOURCES and RESOURCES[tag] in found:
            self.loads.append(found[RESOURCES[tag]])


def pages_of(site: Path) -> dict[Path, Page]:
    """The pages; what a theme keeps under ``_static`` are templates of its own."""
    paths = (path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts)
    return {path: Page(path) for path in paths}


def target(site: Path, page: Path, address: str) -> Path:
    path = unquote(urlsplit(address).path)
    found = page if not path else (page.parent / path).resolve()
    return found / "index.html" if found.is_dir() else found


@pytest.mark.slow
def test_every_internal_link_leads_somewhere(site: Path) -> None:
    pages = pages_of(site)
    assert len(pages) > 30
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = target(site, path, link)
            known = not parts.fragment or there not in pages
            # The explorer keeps its settings behind the "#".
            if not there.is_file() or not (
                known or unquote(parts.fragment) in pages[there].anchors
            ):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for path, page in pages_of(site).items():
        for address in page.loads:
            parts = urlsplit(address)
            assert not parts.netloc, (path, address)
            assert parts.scheme in ("", "data"), (path, address)
            if not parts.scheme:
                assert target(site, path, address).is_file(), (path, address)
        assert "Content-Security-Policy" in path.read_text("utf-8"), path


@pytest.mark.slow
def test_no_style_sheet_loads_anything_from_elsewhere(site: Path) -> None:
    sheets = sorted(site.rglob("*.css"))
    assert any(sheet.name == "katex.min.css" for sheet in sheets)
    for sheet in sheets:
        text = sheet.read_text("utf-8")
        imports = re.findall(r"@import\s+[\"']([^\"']+)", text)
        for address in [*imports, *re.findall(r"url\(\s*[\"']?([^\"')]+)", text)]:
            if address.startswith(("data:", "#")):
                continue
            assert not urlsplit(address).netloc, (sheet, address)
            assert target(site, sheet, address).is_file(), (sheet, address)


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
    for folder in ("gac_ref", "simulations", "docs"):
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
