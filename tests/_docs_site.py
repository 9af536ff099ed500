"""The documentation site, built once for all tests of a run, over all of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from _once import once

DOCS = Path(__file__).parents[1] / "docs"
REQUIRED = ("sphinx", "myst_nb", "pydata_sphinx_theme", "sphinxcontrib.katex")
BUILD_SECONDS = 280
"""For one build, in a suite whose tests may each take 300."""


def build(docs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the site into ``out/site``: warnings are errors, and every notebook is executed."""
    flags = ["-W", "--keep-going", "-q", "-j", "2", "-b", "html", "-d", str(out / "trees")]
    fresh = ["-D", f"nb_execution_cache_path={out / 'notebook-cache'}"]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *flags, *fresh, str(docs), str(out / "site")],
        env={
            **os.environ,
            "PYTHONPATH": str(docs.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )


def built_site(factory: pytest.TempPathFactory) -> Path:
    """Where the site is; skips without what builds it. ``GAC_DOCS_SITE`` names one built before."""
    for module in REQUIRED:
        pytest.importorskip(module)
    if "GAC_DOCS_SITE" in os.environ:
        return Path(os.environ["GAC_DOCS_SITE"]).resolve()
    return once(factory, "docs-site", make) / "site"


def make(folder: Path) -> None:
    done = build(DOCS, folder)
    assert done.returncode == 0, done.stderr[-4000:]
