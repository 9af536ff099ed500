"""The documentation site, built once for all tests of a run, over all of its processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
REQUIRED = ("sphinx", "myst_nb", "pydata_sphinx_theme", "sphinxcontrib.katex")
BUILD_SECONDS = 280
"""For one build, in a suite whose tests may each take 300."""


def build(docs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the site into ``out/site``, warnings as errors, notebooks as they are written."""
    command = ["-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(out / "trees")]
    return subprocess.run(
        [sys.executable, *command, str(docs), str(out / "site")],
        env={**os.environ, "GAC_DOCS_NOTEBOOKS": "off", "PYTHONDONTWRITEBYTECODE": "1"},
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
        return Path(os.environ["GAC_DOCS_SITE"])
    base = factory.getbasetemp()
    # Each process of a distributed run has a folder of its own in a common one.
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "docs-site"
    out.mkdir(exist_ok=True)
    with (out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "done").exists():
            done = build(DOCS, out)
            assert done.returncode == 0, done.stderr[-4000:]
            (out / "done").touch()
    return out / "site"
