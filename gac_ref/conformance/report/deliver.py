"""Writing the reports that were asked for, each to its file, and one to standard output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gac_ref.conformance.report import html, junit, markdown, terminal
from gac_ref.conformance.report.events import plain
from gac_ref.conformance.report.record import overall
from gac_ref.conformance.report.summary import Run
from gac_ref.errors import fail

__all__ = ["deliver", "targets"]

_FORMS = {"html": html.render, "markdown": markdown.render, "junit": junit.render}


def targets(arguments: argparse.Namespace) -> dict[str, Path]:
    """Which report goes to which file, by the options of those names.

    Raises:
        GACError: A directory is not there. Better now than after a minute of checking.
    """
    files = {form: Path(getattr(arguments, form)) for form in _FORMS if getattr(arguments, form)}
    for form, path in files.items():
        if not path.parent.is_dir():
            fail(f"--{form} {path}: there is no directory {path.parent}; make it first")
        if path.is_dir():
            fail(f"--{form} {path}: is a directory; pass a file in it")
    return files


def deliver(runs: Sequence[Run], files: Mapping[str, Path], *, form: str | None = "text") -> None:
    """Write the reports.

    Args:
        runs: What to report.
        files: From :func:`targets`.
        form: What goes to standard output: "text", "json" or nothing.
    """
    for name, path in files.items():
        try:
            path.write_text(_FORMS[name](runs), encoding="utf-8")
        except OSError as error:
            fail(f"{path}: cannot be written ({error.strerror}); pass another file")
    if form == "json":
        print(json.dumps(plain(overall(runs)), allow_nan=False))
    elif form == "text":
        colour = terminal.colours_wanted(sys.stdout)
        sys.stdout.write(terminal.render(runs, colour=colour))
        for name, path in files.items():
            print(f"{name}: {path}")
    sys.stdout.flush()
