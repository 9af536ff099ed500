"""What the pages of a site link to and load, and what of it leads nowhere or elsewhere."""

from __future__ import annotations

import functools
import html.parser
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAVIGATION = {"canonical", "index", "next", "prev", "search", "author", "copyright", "help"}
"""What a ``<link>`` may point a reader to; any other, a style sheet or an icon, is loaded."""

URL = re.compile(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)")
IMPORT = re.compile(r"(?:\bimport|\bfrom|\bfetch\(|\bimport\()\s*[\"'`]((?:https?:)?//[^\"'`]+)")


class Page(html.parser.HTMLParser):
    """What a page links to, loads, and can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._within = tag
        self.anchors.update(found[name] for name in ("id", "name") if name in found)
        if tag in ("a", "area"):
            self.links += [found["href"]] if "href" in found else []
        elif tag == "link":
            navigates = not set(found.get("rel", "").lower().split()) - NAVIGATION
            (self.links if navigates else self.loads).append(found.get("href", ""))
        else:
            loading = ("src", "data", "poster", "href", "xlink:href", "background")
            self.loads += [found[name] for name in loading if found.get(name)]
            self.loads += [part.split()[0] for part in found.get("srcset", "").split(",") if part]
        self.loads += addresses(found.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "style":
            self.loads += addresses(data)
        elif self._within == "script":
            self.loads += IMPORT.findall(data)


def addresses(style: str) -> list[str]:
    """What a style sheet loads."""
    return [url or imported for url, imported in URL.findall(style)]


@functools.lru_cache(maxsize=1)
def pages_of(site: Path) -> dict[Path, Page]:
    """The pages; what a theme keeps under ``_static`` are templates of its own."""
    paths = (path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts)
    return {path: Page(path.read_text("utf-8")) for path in paths}


def target(page: Path, address: str) -> Path:
    """The file that an address on a page names."""
    path = unquote(urlsplit(address).path)
    found = page if not path else (page.parent / path).resolve()
    return found / "index.html" if found.is_dir() else found


def is_within(address: str) -> bool:
    """Whether it names something of the site itself, and not what it carries or links to."""
    parts = urlsplit(address)
    return not parts.scheme and not parts.netloc


def broken_links(site: Path) -> list[str]:
    """Links to a file that is not there, or to a place that its page does not have."""
    pages = pages_of(site)
    broken = []
    for path, page in pages.items():
        for link in filter(is_within, page.links):
            there, place = target(path, link), unquote(urlsplit(link).fragment)
            known = there.is_file() and there.is_relative_to(site)
            if not known or (place and there in pages and place not in pages[there].anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken


def loads(site: Path) -> Iterator[tuple[Path, str]]:
    """Every file of the site with each thing that it loads: pages, style sheets and scripts."""
    for path, page in pages_of(site).items():
        yield from ((path, address) for address in page.loads)
    for path in sorted(site.rglob("*.css")):
        yield from ((path, address) for address in addresses(path.read_text("utf-8")))
    for kind in ("*.js", "*.mjs"):
        for path in sorted(site.rglob(kind)):
            yield from ((path, address) for address in IMPORT.findall(path.read_text("utf-8")))


def not_its_own(site: Path) -> list[str]:
    """What is loaded from another host, or from a file that is not there."""
    wrong = []
    for path, address in loads(site):
        if address.startswith(("data:", "#")):
            continue
        if not (is_within(address) and target(path, address).is_file()):
            wrong.append(f"{path.relative_to(site)}: {address}")
    return wrong
