"""What the site takes from elsewhere in the repository, and what it may load."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.osutil import ensuredir

from gac_ref.config import VARIANTS, GACConfig

# The estimator of the explorer: the port that the conformance suite checks, unchanged.
ESTIMATOR = ("proxies.mjs", "controller.mjs")
ESTIMATOR_FROM = Path("gac_ref") / "ports" / "javascript"
ESTIMATOR_TO = Path("_static") / "explorer"
# Notebooks are written as text beside docs/, and reports on a device by whoever has one.
MAY_BE_EMPTY = {"tutorial/index": "notebooks/*", "reports/index": "gpu-*"}
# Nothing but the site's own files, whatever a theme or a notebook asks for. Themes put small
# scripts and styles into the page, and KaTeX places its boxes by style attributes.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:"
)


def copy_estimator(app: Sphinx, exception: Exception | None) -> None:
    """Put the JavaScript port, and the configurations, beside the explorer's own modules."""
    if exception is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / ESTIMATOR_TO
    ensuredir(target)
    for name in ESTIMATOR:
        shutil.copyfile(Path(app.srcdir).parent / ESTIMATOR_FROM / name, target / name)
    variants = {name: dataclasses.asdict(getattr(GACConfig, name)()) for name in VARIANTS}
    text = f"export const VARIANTS = {json.dumps(variants, indent=2)};\n"
    (target / "variants.mjs").write_text(text, "utf-8")


def without_empty_lists(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave out the patterns of pages of which there may be none: no match is a warning."""
    pattern = MAY_BE_EMPTY.get(docname)
    if pattern and not any((Path(app.srcdir) / docname).parent.glob(pattern)):
        source[0] = source[0].replace(f"\n{pattern}\n", "\n")


def add_policy(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Tell the browser to refuse what is not the site's own."""
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}" />'
    context["metatags"] = policy + context.get("metatags", "")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect them to the build."""
    app.connect("source-read", without_empty_lists)
    app.connect("build-finished", copy_estimator)
    app.connect("html-page-context", add_policy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
