"""Command line: `python -m simulations.recording --out DIR [--steps N] [--seed S] ...`."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from gac_ref.errors import GACError
from simulations.recording.settings import Settings

NEEDED = ("torch", "transformers", "trl")
_TYPES = {"int": int, "float": float, "str": str}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser: an option for every field of `Settings`."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.recording",
        description="Train a small hybrid SFT-RL model offline, and record it with its controller.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="trace directory")
    parser.add_argument("--force", action="store_true", help="replace the trace that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    for field in fields(Settings):
        if field.name == "gac":
            parser.add_argument(
                "--set",
                dest="gac",
                action="append",
                metavar="FIELD=VALUE",
                help=f"a change to the variant, repeatable (default: {' '.join(_default(field))})",
            )
        else:
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=_TYPES[str(field.type)],
                default=field.default,
                help="default: %(default)s",
            )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Record; return the exit status."""
    options: dict[str, Any] = vars(build_parser().parse_args(arguments))
    out, force, quiet = options.pop("out"), options.pop("force"), options.pop("quiet")
    changes = options.pop("gac")
    try:
        if changes is not None:
            options["gac"] = tuple(changes)
        settings = Settings(**options)
        settings.config()
        require_modules()
        _make_room(out, force=force)
    except GACError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    progress = _Progress(settings, quiet=quiet)
    # Imported here: torch takes seconds, and a mistake in the options should not wait for it.
    from simulations.recording.run import record

    try:
        meta = record(settings, out, on_warm_start=progress.warm_start, on_step=progress.step)
    except KeyboardInterrupt:
        print(f"\nstopped; the steps so far are in {out}", file=sys.stderr)
        return 130
    share = meta["timing"]["estimator_share"]
    progress.done(f"{settings.steps} steps in {out}; the estimator took {share:.2%} of step time")
    return 0


def _default(field: object) -> tuple[str, ...]:
    default = getattr(field, "default", MISSING)
    return default if isinstance(default, tuple) else ()


def require_modules() -> None:
    """Refuse to start where torch, transformers or TRL are missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise GACError(
            f"recording needs {', '.join(missing)}; run: pip install -r requirements/record.txt"
        )


def _make_room(out: Path, *, force: bool) -> None:
    """Refuse an occupied directory; with `force`, remove a trace, but nothing that is not one."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "trace.json").is_file():
        raise GACError(f"--out {out} exists and is not a trace; pass another directory")
    if not force:
        raise GACError(f"--out {out} holds a trace; pass --force to replace it")
    shutil.rmtree(out / "steps", ignore_errors=True)
    (out / "trace.json").unlink()


class _Progress:
    """One line that is rewritten on a terminal, and a line now and then elsewhere."""

    def __init__(self, settings: Settings, *, quiet: bool) -> None:
        self._settings = settings
        self._quiet = quiet
        self._live = sys.stderr.isatty()

    def warm_start(self, step: int) -> None:
        """Show a step of the warm start."""
        self._show(step, self._settings.warm_start_steps, "warm start", "")

    def step(self, step: int, mu: float, reward: float) -> None:
        """Show a recorded step."""
        self._show(step, self._settings.steps, "recording", f"  mu {mu:.3f}  reward {reward:.3f}")

    def done(self, text: str) -> None:
        """Show the last line."""
        if not self._quiet:
            print(text, file=sys.stderr)

    def _show(self, step: int, steps: int, stage: str, detail: str) -> None:
        last = step + 1 == steps
        if self._quiet or not (self._live or last or step % 50 == 0):
            return
        text = f"{stage} {step + 1}/{steps}{detail}"
        print(f"\r{text:<60}" if self._live else text, end="", file=sys.stderr, flush=True)
        if last or not self._live:
            print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
