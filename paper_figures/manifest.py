"""What each output carries, and the list of all outputs with their digests."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gac_ref.errors import GACError, fail
from simulations.sweeps.provenance import ROOT
from simulations.sweeps.provenance import commit as head

__all__ = ["MANIFEST", "Provenance", "commit", "seeds_in", "update", "verified"]

MANIFEST = "manifest.json"

SCHEMA = "gac-paper-figures/1"


class Provenance(NamedTuple):
    """Where an output comes from.

    Args:
        commit: Of the checkout; with "-modified" where tracked files differ from it.
        configuration: Digest of the settings of everything that the output was drawn from.
        seed: Root seeds of the results; "none" for exact formulas.
        command: What builds it again.
    """

    commit: str
    configuration: str
    seed: str
    command: str

    def lines(self) -> list[str]:
        """One ``name: value`` each."""
        return [f"{name}: {value}" for name, value in self._asdict().items()]


@cache
def commit() -> str:
    """The commit of the checkout, marked where its tracked files were changed since."""
    found = head()
    if found == "unknown":
        return found
    try:
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return found
    return f"{found}-modified" if status.stdout.strip() else found


def digest(tree: Any) -> str:
    """Digest of JSON values, 16 hexadecimal digits.

    Examples:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = json.dumps(tree, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seeds_in(tree: Any) -> list[int]:
    """Every root seed in some settings, in ascending order.

    A run that names none has the default root seed, 0.

    Examples:
        >>> seeds_in({"seed": 3, "run": {"seeds": 64}}), seeds_in({"points": 9})
        ([0, 3], [])
    """
    found: set[int] = set()
    if isinstance(tree, Mapping):
        if "seed" in tree:
            found.add(int(tree["seed"]))
        elif "seeds" in tree:
            found.add(0)
        for value in tree.values():
            found.update(seeds_in(value))
    elif isinstance(tree, list | tuple):
        for value in tree:
            found.update(seeds_in(value))
    return sorted(found)


def sha256(file: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def update(out: Path, entries: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the manifest: these entries, and those of before whose files are still the same.

    Args:
        out: The folder of the outputs.
        entries: Path from `out` -> what is said of the file; its digest is added.

    Returns:
        The manifest.
    """
    kept = {
        name: entry
        for name, entry in _before(out / MANIFEST).items()
        if (out / name).is_file() and sha256(out / name) == entry.get("sha256")
    }
    fresh = {name: {**entry, "sha256": sha256(out / name)} for name, entry in entries.items()}
    tree = {"schema": SCHEMA, "outputs": dict(sorted({**kept, **fresh}.items()))}
    file = out / MANIFEST
    file.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    return file


def verified(out: Path) -> int:
    """Check that every file of a manifest is there and is what it says.

    Returns:
        How many files.

    Raises:
        GACError: There is no manifest, or a file is missing or another one.
    """
    file = out / MANIFEST
    if not file.is_file():
        fail(f"{file}: missing; build the figures with: python -m paper_figures --out {out}")
    for name, entry in _before(file).items():
        if not (out / name).is_file() or sha256(out / name) != entry["sha256"]:
            fail(f"{out / name}: missing, or not what {MANIFEST} says; run: {entry['command']}")
    return len(_before(file))


def _before(file: Path) -> dict[str, dict[str, Any]]:
    try:
        outputs: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["outputs"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise GACError(f"{file}: damaged ({error}); remove it and build again") from error
    return outputs
