"""Write a pack: ``PYTHONPATH=.:tests python -m _vectors.release DIRECTORY``.

A released pack is never changed: the directory must not hold one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gac_ref.conformance.agreement import disagreement, golden
from gac_ref.conformance.pack import canonical, case_hash, load_pack, manifest_hash

from .build import Record, record
from .families import drafts

LARGEST = 5_000_000
"""Bytes that a pack may take in the wheel."""


def write(records: Iterable[Record], directory: Path) -> None:
    """Write the three files, and measure how well the two oracles agree."""
    if (directory / "manifest.json").exists():
        raise FileExistsError(f"{directory} holds a released pack, which is never changed")
    directory.mkdir(parents=True, exist_ok=True)
    lines, arrays = [], bytearray()
    for one in records:
        arrays += bytes(-len(arrays) % 64)
        text = canonical(one.case)
        place = f"[{len(arrays)},{len(one.arrays)}]"
        sha256 = case_hash(text, one.arrays)
        lines.append(f'{{"arrays":{place},"sha256":"{sha256}","case":{text}}}\n')
        arrays += one.arrays
    files = {"cases.jsonl": "".join(lines).encode("ascii"), "arrays.bin": bytes(arrays)}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    _manifest(directory, files, len(lines), {})
    agreement: dict[str, float] = {}
    for case in load_pack(directory).cases:
        for dtype in case.dtypes:
            for exchange, given in zip(case.exchanges(dtype), golden(case, dtype), strict=True):
                units, name = disagreement(
                    case.stage, case.config, exchange.wide, exchange.expected, given
                )
                if units == float("inf"):
                    raise ValueError(f"{case.id}, {dtype}: the oracles disagree on {name}")
                agreement[case.stage] = max(agreement.get(case.stage, 0.0), units)
    rounded_up = {stage: float(-(-units * 10 // 1) / 10) for stage, units in agreement.items()}
    _manifest(directory, files, len(lines), rounded_up)
    total = sum(path.stat().st_size for path in directory.iterdir())
    if total > LARGEST:
        raise ValueError(f"the pack has {total} bytes; at most {LARGEST} are allowed")


def _manifest(
    directory: Path, files: dict[str, bytes], cases: int, agreement: dict[str, float]
) -> None:
    manifest: dict[str, Any] = {
        "version": 1,
        "cases": cases,
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
        "agreement": agreement,
        "agreement_unit": "2^-53 times the sum of the absolute terms of the output",
    }
    manifest["sha256"] = manifest_hash(manifest)
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    (directory / "manifest.json").write_text(text, "ascii")


if __name__ == "__main__":
    write((record(one) for one in drafts()), Path(sys.argv[1]))
    print(f"{sys.argv[1]}: {len(load_pack(sys.argv[1]).cases)} cases")
