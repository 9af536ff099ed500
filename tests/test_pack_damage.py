"""Damage to a pack, and packs that were made wrong: each is refused in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _asserts import refuses
from _vectors import guards, tokens
from _vectors.build import Record, record
from _vectors.release import write

from gac_ref.conformance.pack import (
    VECTORS,
    Pack,
    canonical,
    case_hash,
    load_pack,
    manifest_hash,
)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(VECTORS / "v1", tmp_path / "v1"))


@pytest.mark.parametrize("name", ["cases.jsonl", "arrays.bin", "manifest.json"])
@pytest.mark.parametrize("place", [0.0, 0.37, 0.999])
def test_any_flipped_bit_is_noticed(copied: Path, name: str, place: float) -> None:
    content = bytearray((copied / name).read_bytes())
    content[int(place * len(content))] ^= 1
    (copied / name).write_bytes(content)
    with refuses(name):
        load_pack(copied)


@pytest.mark.parametrize("name", ["cases.jsonl", "arrays.bin", "manifest.json"])
def test_a_file_that_is_cut_or_gone_is_noticed(copied: Path, name: str) -> None:
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    with refuses(name):
        load_pack(copied)
    (copied / name).unlink()
    with refuses(f"cannot read .*{name}"):
        load_pack(copied)


def test_a_released_pack_is_not_written_over(copied: Path) -> None:
    before = (copied / "manifest.json").read_bytes()
    with pytest.raises(FileExistsError, match="never changed"):
        write([], copied)
    assert (copied / "manifest.json").read_bytes() == before


SMALL = (
    next(one for one in tokens.drafts() if one.id == "coefficients/one-advantage-a-sequence"),
    next(one for one in guards.drafts() if one.id == "clip/both-bounds"),
)


def forged(
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    rewrite: Callable[[str], str] = lambda lines: lines,
) -> Path:
    """A pack of two cases whose hashes are right, whatever was changed in the first case."""
    records = [record(one) for one in SMALL]
    case = json.loads(json.dumps(records[0].case))
    change(case)
    lines, arrays = "", b""
    for one in (Record(case, records[0].arrays), records[1]):
        text = canonical(one.case)
        place = f"[{len(arrays)},{len(one.arrays)}]"
        lines += f'{{"arrays":{place},"sha256":"{case_hash(text, one.arrays)}","case":{text}}}\n'
        arrays += one.arrays
    files = {"cases.jsonl": rewrite(lines).encode(), "arrays.bin": arrays}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    manifest: dict[str, Any] = {
        "version": 1,
        "cases": 2,
        "agreement": {},
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }
    (tmp_path / "manifest.json").write_text(
        json.dumps(manifest | {"sha256": manifest_hash(manifest)})
    )
    return tmp_path


def inputs(case: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = case["exchanges"][0]["inputs"]
    return given


def expected(case: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = case["exchanges"][0]["expected"]
    return answers


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "unknown stage": (lambda c: c.update(stage="muon"), "unknown stage 'muon'"),
    "wrong kind": (lambda c: c.update(kind="step"), "is of kind 'step'"),
    "unknown dtype": (lambda c: c.update(dtypes=["fp8"]), "unknown dtype 'fp8'"),
    "no exchange": (lambda c: c.update(exchanges=[]), "at least one exchange"),
    "duplicate id": (
        lambda c: c.update(record(SMALL[1]).case),
        "the id clip/both-bounds is there twice",
    ),
    "wrong id": (lambda c: c.update(id="clip/other"), "id 'clip/other' is not coefficients/"),
    "unknown input": (lambda c: inputs(c).update(extra=1.0), "has no inputs named 'extra'"),
    "missing input": (lambda c: inputs(c).pop("is_expert") and None, "lacks inputs is_expert"),
    "unknown output": (lambda c: expected(c).update(mu=0.5), "has no expected named 'mu'"),
    "missing output": (lambda c: expected(c).pop("c_s") and None, "lacks expected c_s"),
    "wrong storage": (
        lambda c: inputs(c)["logprob"].update(bf16=inputs(c)["logprob"]["fp64"]),
        "logprob is stored as '<f8'; it should be '<u2'",
    ),
    "dtype left out": (
        lambda c: inputs(c)["logprob"].pop("bf16") and None,
        "logprob has values for fp16, fp32, fp64, not for",
    ),
    "offset out of range": (
        lambda c: inputs(c)["is_expert"].__setitem__(2, 10**9),
        "is_expert ends at byte 1000000009",
    ),
    "one byte too far": (
        lambda c: inputs(c)["is_expert"].__setitem__(2, len(record(SMALL[0]).arrays) - 8),
        "is_expert ends at byte",
    ),
    "negative offset": (
        lambda c: inputs(c)["is_expert"].__setitem__(2, -8),
        "starts at byte -8",
    ),
    "negative size": (
        lambda c: inputs(c)["is_expert"].__setitem__(1, [-9]),
        "has shape .-9.",
    ),
    "another size": (
        lambda c: inputs(c)["is_expert"].__setitem__(1, [8]),
        "is_expert has shape .8., but B is 9|but B is 8",
    ),
    "axes": (lambda c: inputs(c)["is_expert"].__setitem__(1, [3, 3]), "it should be .B."),
    "scalar for an array": (lambda c: inputs(c).update(is_expert=True), "is not an array"),
    "unknown field": (lambda c: c.update(code="os.system"), "exactly the fields"),
    "wrong configuration": (lambda c: c["config"].update(alpha=2.0), "alpha = 2.0 is outside"),
    "missing configuration": (
        lambda c: c["config"].pop("alpha") and None,
        "does not state every field",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_case_of_another_form_is_refused_although_its_hash_is_right(
    tmp_path: Path, name: str
) -> None:
    change, message = FORGERIES[name]
    with refuses(message):
        load_pack(forged(tmp_path, change))


REWRITES: dict[str, tuple[Callable[[str], str], str]] = {
    "another comment": (lambda s: s.replace("An advantage", "One advantage"), "was changed"),
    "another hash": (lambda s: s.replace('"sha256":"', '"sha256":"0', 1), "was changed"),
    "spaces": (lambda s: s.replace('"case":', '"case": ', 1), "was changed"),
    "another order": (lambda s: '{"x":1,' + s[1:], "not in the canonical form"),
    "arrays out of range": (lambda s: s.replace("[0,", "[9999999,", 1), "in bytes 9999999 to"),
    "arrays before the file": (lambda s: s.replace("[0,", "[-8,", 1), "in bytes -8 to"),
    "not a case": (lambda s: "[1, 2]\n" + s, "line 1 is not a case"),
    "not JSON": (lambda s: "{" + s, "line 1 is not a case"),
    "a case twice": (lambda s: s + s.splitlines()[0] + "\n", "is there twice"),
    "a case too few": (lambda s: s.splitlines()[0] + "\n", "has 1 cases, the manifest 2"),
    "not ASCII": (lambda s: s.replace("An advantage", "\u00c4n advantage"), "is not ASCII"),
}


@pytest.mark.parametrize("name", REWRITES)
def test_a_line_that_was_rewritten_is_refused_although_the_files_hash_is_right(
    tmp_path: Path, name: str
) -> None:
    rewrite, message = REWRITES[name]
    with refuses(message):
        load_pack(forged(tmp_path, lambda case: None, rewrite))


def test_the_forger_can_write_a_good_pack(tmp_path: Path) -> None:
    pack = load_pack(forged(tmp_path, lambda case: None))
    assert isinstance(pack, Pack)
    assert [case.id for case in pack.cases] == [one.id for one in SMALL]


def test_a_retired_id_is_never_used_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "retired.txt").write_text("clip/both-bounds\n")
    monkeypatch.setattr("gac_ref.conformance.pack.VECTORS", tmp_path)
    with refuses("the id clip/both-bounds is retired"):
        load_pack(VECTORS / "v1")
