"""The locks fit one another: all of them may be installed into one environment, in any order."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "requirements"
LOCKS = sorted(FOLDER.glob("*.lock"))
PIN = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)", re.MULTILINE | re.IGNORECASE)

Pins = dict[str, set[str]]


def pins(text: str) -> Pins:
    """Each package with its versions: several where they depend on the version of Python."""
    found: Pins = defaultdict(set)
    for name, version in PIN.findall(text):
        found[name].add(version)
    return dict(found)


def at_odds(locks: Iterable[Pins]) -> set[str]:
    """The packages of which two locks ask for different versions."""
    first: Pins = {}
    return {
        name for lock in locks for name in lock if first.setdefault(name, lock[name]) != lock[name]
    }


def test_no_two_locks_are_at_odds() -> None:
    assert len(LOCKS) >= 6
    assert at_odds(pins(path.read_text()) for path in LOCKS) == set()


def test_locks_at_odds_are_found() -> None:
    one = pins("a==1.0 \\\n    --hash=x\nb==2 ; python_version < '3.12' \\\n")
    assert one == {"a": {"1.0"}, "b": {"2"}}
    assert at_odds([one, pins("a==1.1 \\\n"), pins("c==1 \\\n")]) == {"a"}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_pin_has_a_hash(path: Path) -> None:
    blocks = re.split(r"^(?=\S+==)", path.read_text(), flags=re.MULTILINE)[1:]
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
