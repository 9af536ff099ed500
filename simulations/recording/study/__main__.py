"""Command line: `python -m simulations.recording.study --out DIR [--seeds N] ...`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gac_ref._typing import AnyArray
from gac_ref.errors import GACError, fail
from simulations.recording.__main__ import require_modules
from simulations.recording.settings import Settings
from simulations.recording.study.plan import CONTROLLERS, MORE, Plan, controllers, rule_to_dict
from simulations.recording.study.store import pack, read_run, run_file, write_run

DESCRIPTION = (
    "The recording's training run under several rules for mu. Each seed: one warm-started model, "
    "the same prompts and demonstrations in the same order; only the rule differs. Held-out "
    "problems were in no warm start, no rollout pool and no demonstration of that seed. Per-step "
    "series are rounded to float32; proxies are those of the step's own batch."
)

_TRAINER = ("warm_start_steps", "hidden_size", "heads", "groups", "group_size", "experts")
_DATA = ("problems", "demonstrations", "oracle_every", "oracle_samples", "steps")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    plan = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m simulations.recording.study",
        description="Train the small transformer under several rules for mu, with common seeds.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="one file a run")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1 (default: 5)")
    parser.add_argument(
        "--controllers",
        nargs="+",
        choices=CONTROLLERS + MORE,
        default=CONTROLLERS,
        metavar="NAME",
        help=f"of {' '.join(CONTROLLERS + MORE)} (default: all but {' '.join(MORE)})",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    for name in ("held_out", "evaluate_every"):
        _number(parser, name, getattr(plan, name))
    for name in (*_TRAINER, *_DATA):
        _number(parser, name, getattr(plan.recording, name))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, and pack everything; return the exit status."""
    parser = build_parser()
    options: dict[str, Any] = vars(parser.parse_args(arguments))
    command = _command(parser, options)
    try:
        recording = replace(Settings(), **{name: options.pop(name) for name in (*_TRAINER, *_DATA)})
        plan = Plan(
            recording=recording,
            held_out=options.pop("held_out"),
            evaluate_every=options.pop("evaluate_every"),
        )
        if options["seeds"] < 1:
            fail(f"--seeds {options['seeds']} is below 1; pass at least 1")
        require_modules()
        _study(plan, command, **options)
    except GACError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the runs that are kept", file=sys.stderr)
        return 130
    return 0


def _study(
    plan: Plan, command: str, out: Path, seeds: int, controllers: Sequence[str], quiet: bool
) -> None:
    rules = _rules(plan, controllers)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GACError(f"--out {out}: {error.strerror}; pass another folder") from error
    # Imported here: torch takes seconds, and a mistake in the options should not wait for it.
    from simulations.recording.run import versions
    from simulations.recording.study.run import WarmStart, run

    made = {
        name: {"plan": plan.to_dict(), "rule": rule_to_dict(rule), "versions": versions()}
        for name, rule in rules.items()
    }
    runs: dict[tuple[str, int], dict[str, AnyArray]] = {}
    for seed in range(seeds):
        for name in rules:
            kept = read_run(run_file(out, name, seed), made[name])
            if kept is not None:
                runs[name, seed] = kept
    progress = _Progress(len(rules) * seeds, len(runs), quiet=quiet)
    for seed in range(seeds):
        missing = [name for name in rules if (name, seed) not in runs]
        start = WarmStart(plan, seed, lambda step: None) if missing else None
        for name in missing:
            assert start is not None
            arrays = run(plan, rules[name], start, lambda *step: None)
            write_run(run_file(out, name, seed), arrays, made[name])
            runs[name, seed] = arrays
            progress.done(f"{name} seed {seed}: held-out {arrays['held_exact'][-1]:.3f}")
    pack(
        out / "study.npz",
        {(name, seed): runs[name, seed] for name in rules for seed in range(seeds)},
        evaluated=plan.evaluated,
        oracle_steps=plan.oracle_steps,
        meta={
            "command": command,
            "description": DESCRIPTION,
            "plan": plan.to_dict(),
            "rules": {name: rule_to_dict(rule) for name, rule in rules.items()},
            "versions": versions(),
        },
    )


def _command(parser: argparse.ArgumentParser, options: Mapping[str, Any]) -> str:
    """The command that makes the same results, in a folder of the checkout's own."""
    words = ["python -m simulations.recording.study --out out/study"]
    for name, value in options.items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        if name in ("out", "quiet") or tuple(values) == _tuple(parser.get_default(name)):
            continue
        words.append(" ".join((f"--{name.replace('_', '-')}", *map(str, values))))
    return " ".join(words)


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _rules(plan: Plan, names: Sequence[str]) -> dict[str, Any]:
    every = controllers(plan)
    return {name: every[name] for name in CONTROLLERS + MORE if name in names}


def _number(parser: argparse.ArgumentParser, name: str, default: int) -> None:
    option = f"--{name.replace('_', '-')}"
    parser.add_argument(option, type=int, default=default, help="default: %(default)s")


class _Progress:
    """A line a run, with the time left if the runs to come take as long as those before."""

    def __init__(self, total: int, kept: int, *, quiet: bool) -> None:
        self._total, self._kept, self._made, self._quiet = total, kept, 0, quiet
        self._began = time.monotonic()
        if kept and not quiet:
            print(f"{kept} of {total} runs are kept from before", file=sys.stderr, flush=True)

    def done(self, text: str) -> None:
        """Show that a run ended."""
        self._made += 1
        if self._quiet:
            return
        count = self._kept + self._made
        left = (time.monotonic() - self._began) / self._made * (self._total - count)
        print(
            f"{count}/{self._total}  {text}  {left / 60:.0f} min left", file=sys.stderr, flush=True
        )


if __name__ == "__main__":
    sys.exit(main())
