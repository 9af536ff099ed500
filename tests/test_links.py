"""Every link leads somewhere: in the Markdown of the repository, and on the built site.

The site loads nothing but its own files, whatever a reader's machine could reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from _docs_site import built_site
from _html import broken_links, is_within, not_its_own, pages_of
from _notebooks import NOTEBOOKS, cells

markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")

ROOT = Path(__file__).parents[1]
MARKDOWN = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *NOTEBOOKS]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_site(tmp_path_factory)


def prose(path: Path) -> str:
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return text
    return "\n\n".join(cell.text for cell in cells(text) if cell.kind == "markdown")


def links(text: str) -> Iterator[str]:
    for block in markdown_it.MarkdownIt("commonmark").enable("table").parse(text):
        for token in block.children or ():
            yield from (str(token.attrs[name]) for name in ("href", "src") if name in token.attrs)


def places(text: str) -> set[str]:
    """The names that a code host and Sphinx give to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in headings}


def dead(path: Path, text: str) -> list[str]:
    """The relative links in the text of a file that name no file, or no heading of a page."""
    found = []
    for link in filter(is_within, links(text)):
        parts = urlsplit(link)
        there = path.parent / unquote(parts.path) if parts.path else path
        if path.is_relative_to(ROOT / "docs") and there.with_name(f"{there.name}.py").exists():
            there = there.with_name(f"{there.name}.py")  # a page's name: the notebook that it shows
        known = there.exists()
        if known and parts.fragment:
            known = parts.fragment in places(text if there == path else prose(there))
        found += [] if known else [link]
    return found


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file(path: Path) -> None:
    assert dead(path, prose(path)) == []


def test_a_dead_relative_link_is_found() -> None:
    text = "# Here\n[a](gone.md) [b](README.md) [c](#here) [d](#there) ![e](no.png) [f](x://y/z)"
    assert dead(ROOT / "VISION.md", text) == ["gone.md", "#there", "no.png"]


@pytest.mark.slow
def test_every_internal_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = pages_of(site)
    assert len(pages) > 30
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert broken_links(site) == []


@pytest.mark.slow
def test_the_site_loads_nothing_but_its_own_files(site: Path) -> None:
    assert any(sheet.name == "katex.min.css" for sheet in site.rglob("*.css"))
    assert not_its_own(site) == []


@pytest.mark.slow
def test_every_page_tells_the_browser_to_refuse_the_rest(site: Path) -> None:
    for path in pages_of(site):
        assert "Content-Security-Policy" in path.read_text("utf-8"), path


LOADED = [
    '<script src="https://elsewhere.example/a.js"></script>',
    '<link rel="stylesheet" href="//elsewhere.example/a.css">',
    '<link rel="preconnect" href="https://elsewhere.example">',
    '<img src="gone.png">',
    '<img src="here.png" srcset="here.png 1x, https://elsewhere.example/b.png 2x">',
    '<p style="background: url(https://elsewhere.example/c.png)">',
    "<style>@import 'https://elsewhere.example/d.css';</style>",
    '<script type="module">import x from "https://elsewhere.example/e.mjs";</script>',
    '<svg><image xlink:href="https://elsewhere.example/f.png"></svg>',
    '<object data="https://elsewhere.example/g.pdf"></object>',
]


@pytest.mark.parametrize("line", LOADED)
def test_what_a_page_loads_from_elsewhere_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "here.png").touch()
    (tmp_path / "index.html").write_text(
        f'<img src="here.png"><a href="https://elsewhere.example">a link</a>{line}'
    )
    assert len(not_its_own(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.css", "@font-face { src: url('https://elsewhere.example/a.woff2') }"),
        ("b.css", "p { background: url(gone.png) }"),
        ("c.mjs", "import { x } from 'https://elsewhere.example/x.mjs';"),
        ("d.js", "fetch('//elsewhere.example/x.json')"),
    ],
)
def test_what_a_style_sheet_or_script_loads_from_elsewhere_is_found(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert len(not_its_own(tmp_path)) == 1


def test_a_broken_link_of_a_page_is_found(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").write_text('<p id="place"><a href="../a.html#b">up</a>')
    (tmp_path / "a.html").write_text(
        '<i id="b"></i><a href="folder/"></a><a href="folder/index.html#place"></a>'
        '<a href="#b"></a><a href="gone.html"></a><a href="folder/#no"></a>'
        '<a href="#c"></a><a href="../x"></a>'
        '<a href="https://elsewhere.example/d"></a><link rel="next" href="none.html">'
    )
    assert broken_links(tmp_path) == [
        f"a.html: {link}" for link in ("gone.html", "folder/#no", "#c", "../x", "none.html")
    ]
