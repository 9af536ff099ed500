"""The site shows every notebook as it ran: what its cells print, and the pictures they draw."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from _docs_site import built_site
from _html import Page
from _notebooks import NOTEBOOKS, cells

BYTES_OF_A_PICTURE = 4000
"""An empty pair of axes has fewer."""

pytestmark = [pytest.mark.slow]
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


class Shown(NamedTuple):
    """One code cell on a page: its text, what it printed, and its pictures."""

    code: str
    printed: str
    pictures: list[str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_site(tmp_path_factory)


def page_of(site: Path, path: Path) -> Path:
    return site / "tutorial" / "notebooks" / f"{path.stem}.html"


def text_of(block: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", block))


def shown(page: str) -> list[Shown]:
    """The code cells of a page, each with all that stands between it and the next."""
    found = []
    for part in page.split('<div class="cell_input')[1:]:
        blocks = re.findall(r"<pre>(.*?)</pre>", part.split("<section")[0], flags=re.DOTALL)
        code, *printed = map(text_of, blocks)
        pictures = Page(part.split("</article>")[0]).loads
        found.append(Shown(code.strip(), "".join(printed), pictures))
    return found


@every
def test_every_cell_is_shown_with_what_it_prints_and_draws(site: Path, path: Path) -> None:
    written = [cell.text for cell in cells(path.read_text()) if cell.kind == "code"]
    found = shown(page_of(site, path).read_text("utf-8"))
    assert [cell.code for cell in found] == written
    for cell in found:
        # In a function the call is what prints; each notebook calls it in the same cell.
        assert bool(cell.printed.strip()) == ("print(" in cell.code), cell.code
        assert len(cell.pictures) == cell.code.count("plt.subplots("), cell.code
        for address in cell.pictures:
            picture = page_of(site, path).parent / address
            assert picture.read_bytes().startswith(b"\x89PNG"), address
            assert picture.stat().st_size > BYTES_OF_A_PICTURE, address


@every
def test_no_cell_ends_in_a_complaint(site: Path, path: Path) -> None:
    page = page_of(site, path).read_text("utf-8")
    assert not re.search(r'class="[^"]*(?:stderr|traceback)', page)
    assert "Warning:" not in "".join(cell.printed for cell in shown(page))
