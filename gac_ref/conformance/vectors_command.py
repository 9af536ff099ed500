"""``gac-ref vectors`` and ``gac-ref tolerance``: what is in the pack, and what it allows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from gac_ref.conformance import agreement, case
from gac_ref.conformance.dtypes import dtype_named
from gac_ref.conformance.pack import VECTORS, load_pack
from gac_ref.conformance.tolerance import Precision, explain
from gac_ref.errors import fail

__all__ = ["case_named", "export", "listing", "replayable", "show", "tolerance", "verify"]


def listing(stages: Iterable[str] | None, tags: Iterable[str] | None, *, form: str = "text") -> int:
    """Print the cases of these stages and tags, as text or as one JSON object."""
    pack = load_pack()
    cases = pack.select(stages=stages, tags=tags)
    if form == "json":
        listed = [
            {
                "id": item.id,
                "kind": item.kind,
                "stage": item.stage,
                "tags": list(item.tags),
                "dtypes": list(item.dtypes),
                "comment": item.comment,
                "sha256": item.sha256,
            }
            for item in cases
        ]
        print(json.dumps({"version": pack.version, "sha256": pack.sha256, "cases": listed}))
        return 0
    width = max((len(item.id) for item in cases), default=0)
    for item in cases:
        print(f"{item.id:<{width}}  {item.comment}")
    print(f"{len(cases)} of {len(pack.cases)} cases, version {pack.version}, {pack.sha256[:16]}")
    return 0


def show(name: str, dtype: str | None) -> int:
    """Print one case in readable form."""
    print(case.show(case_named(name), None if dtype is None else dtype_named(dtype)))
    return 0


def verify() -> int:
    """Verify every hash, and recompute every golden value with the estimator on this machine.

    Returns:
        0, or 1 if a golden value cannot be reproduced here. A corrupt pack raises.
    """
    pack = load_pack()
    complaints = agreement.verify(pack)
    for line in complaints:
        print(line)
    word = "FAIL" if complaints else "OK"
    print(
        f"{word} version {pack.version}, {pack.sha256[:16]} - {len(pack.cases)} cases, every hash "
        f"verified; the estimator disagrees with {len(complaints)} here"
    )
    return 1 if complaints else 0


def export(directory: str) -> int:
    """Write the pack to an empty or new directory, as it is and in its readable form.

    The readable form is a JSON file a case and a README of the format; beside it lie the three
    files of the pack itself, by whose hashes it can be verified.
    """
    from gac_ref.conformance.export import export as write

    pack = load_pack()  # nothing is written that was not verified
    target = Path(directory)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        fail(f"{target}: exists and is no empty directory; pass another DIR")
    readme, *cases = write(pack, target)
    shutil.copytree(VECTORS / f"v{pack.version}", target, dirs_exist_ok=True)
    load_pack(target)
    print(
        f"{target}: version {pack.version}, {len(cases)} cases, {pack.sha256[:16]}; one JSON file "
        f"a case, described in {readme.name}"
    )
    return 0


def tolerance(name: str, dtype: str) -> int:
    """Print how the bounds of a case are derived, for a port that declares no precision."""
    dtype = dtype_named(dtype)
    print(explain(case_named(name), dtype, Precision.declared({}, dtype)))
    return 0


def case_named(name: str) -> case.Case:
    """A case of the pack, or the one in a file that the fuzzer wrote."""
    if Path(name).is_file():
        return replayable(name)
    if name.endswith(".json"):
        fail(f"{name}: there is no such file; pass a case id, or what gac-ref fuzz wrote")
    return load_pack().case(name)


def replayable(path: str) -> case.Case:
    """The case in a file that the fuzzer wrote.

    Raises:
        GACError: The file holds none.
    """
    from gac_ref.conformance.replay_file import load_case

    return load_case(path)
