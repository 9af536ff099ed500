"""The released cases: loaded whole, verified to the last byte, never changed.

A pack is a directory of three files. ``cases.jsonl`` has one case a line::

    {"arrays":[start,size],"sha256":"...","case":{...}}

where `case` is canonical JSON (sorted keys, no spaces), its arrays lie in ``size`` bytes from
``start`` of ``arrays.bin``, little-endian, and the hash is that of the JSON text, a line feed and
those bytes. ``manifest.json`` has the version, the hashes of both files, and the agreement of the
two oracles. Nothing is unpickled or evaluated.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gac_ref.config import GACConfig
from gac_ref.conformance.case import KINDS, Case, Exchange
from gac_ref.conformance.formats import FORMATS, format_named
from gac_ref.conformance.schema import check_exchange, decode_exchange
from gac_ref.conformance.stages import STAGES, stage_named
from gac_ref.errors import GACError, fail

__all__ = ["VECTORS", "Pack", "load_pack"]

VECTORS = Path(__file__).parent / "vectors"
"""Where the released packs lie, one directory a version, and the list of retired ids."""

CURRENT = "v1"
_ID = re.compile(r"[a-z0-9_]+/[a-z0-9]+(-[a-z0-9]+)*")
_REPAIR = "reinstall gac-ref, or rebuild the pack"


class Pack(NamedTuple):
    """A verified pack.

    Args:
        version: Of the pack.
        sha256: Of its manifest, and so of everything in it.
        cases: In the order of the file.
        agreement: For each stage, how far the estimator was from the 50-digit oracle at release,
            in the units of :mod:`gac_ref.conformance.agreement`.

    Examples:
        >>> pack = load_pack()
        >>> pack.case("clip/both-bounds").stage
        'clip'
    """

    version: int
    sha256: str
    cases: tuple[Case, ...]
    agreement: Mapping[str, float]

    def case(self, case_id: str) -> Case:
        """The case of that id.

        Raises:
            GACError: There is none; the message has the nearest ids.
        """
        for case in self.cases:
            if case.id == case_id:
                return case
        fail(f"no case {case_id!r} in the pack{_near(case_id, [case.id for case in self.cases])}")

    def select(
        self,
        dtype: str | None = None,
        stages: Iterable[str] | None = None,
        tags: Iterable[str] | None = None,
        ids: Iterable[str] | None = None,
    ) -> tuple[Case, ...]:
        """The cases that exist in `dtype`, of one of `stages`, with every one of `tags`, in `ids`.

        Raises:
            GACError: A dtype, stage, tag or id that no case has.

        Examples:
            >>> {case.stage for case in load_pack().select(stages=["clip", "alpha"])} == {
            ...     "clip", "alpha"}
            True
        """
        cases = self.cases
        if dtype is not None:
            format_named(dtype)
            cases = tuple(case for case in cases if dtype in case.dtypes)
        if stages is not None:
            wanted = {stage_named(stage).name for stage in stages}
            cases = tuple(case for case in cases if case.stage in wanted)
        if tags is not None:
            tags = set(tags)
            known = {tag for case in self.cases for tag in case.tags}
            for tag in sorted(tags - known):
                fail(f"no case has the tag {tag!r}{_near(tag, sorted(known))}")
            cases = tuple(case for case in cases if tags <= set(case.tags))
        if ids is not None:
            chosen = {self.case(case_id).id for case_id in ids}
            cases = tuple(case for case in cases if case.id in chosen)
        return cases


def load_pack(path: str | Path | None = None) -> Pack:
    """Load a pack and verify all of it.

    Args:
        path: The directory of the pack; None for the one in the package.

    Returns:
        The pack. Exchanges are decoded when they are asked for.

    Raises:
        GACError: A file is missing, a hash differs, or a value is not of the form that the stage
            table allows.

    Examples:
        >>> load_pack().version
        1
    """
    directory = VECTORS / CURRENT if path is None else Path(path)
    manifest = _manifest(directory)
    files = {name: _file(directory, name, manifest) for name in ("cases.jsonl", "arrays.bin")}
    try:
        lines = files["cases.jsonl"].decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        fail(f"{directory / 'cases.jsonl'} is not ASCII at byte {error.start}; {_REPAIR}")
    arrays = memoryview(files["arrays.bin"])
    configs: dict[str, GACConfig] = {}
    cases = tuple(
        _case(f"{directory / 'cases.jsonl'}, line {number}", line, arrays, configs)
        for number, line in enumerate(lines, start=1)
    )
    _check_ids(directory, cases)
    if len(cases) != manifest["cases"]:
        fail(f"{directory} has {len(cases)} cases, the manifest {manifest['cases']}; {_REPAIR}")
    return Pack(manifest["version"], manifest["sha256"], cases, manifest["agreement"])


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """The hash of a manifest, which is that of its pack."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return _sha256(canonical(rest).encode())


def canonical(value: Any) -> str:
    """The one JSON text of a value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def case_hash(text: str, arrays: bytes | memoryview) -> str:
    """The hash of a case, from its canonical JSON and its array bytes."""
    digest = hashlib.sha256(text.encode() + b"\n")
    digest.update(arrays)
    return digest.hexdigest()


def _manifest(directory: Path) -> dict[str, Any]:
    where = directory / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(where.read_bytes())
    except OSError as error:
        fail(f"cannot read {where} ({error.strerror}); pass the directory of a pack")
    except ValueError as error:
        fail(f"{where} is not JSON ({error}); {_REPAIR}")
    wanted = {"version": int, "cases": int, "sha256": str, "files": dict, "agreement": dict}
    for name, kind in wanted.items():
        if not isinstance(manifest, dict) or type(manifest.get(name)) is not kind:
            fail(f"{where} has no valid {name!r}; {_REPAIR}")
    if manifest_hash(manifest) != manifest["sha256"]:
        fail(f"{where} was changed: its hash is not {manifest['sha256']}; {_REPAIR}")
    if manifest["version"] != 1:
        fail(f"{where} is of version {manifest['version']}; this gac-ref reads version 1")
    return manifest


def _file(directory: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    try:
        content = (directory / name).read_bytes()
    except OSError as error:
        fail(f"cannot read {directory / name} ({error.strerror}); {_REPAIR}")
    stated = manifest["files"].get(name)
    if not isinstance(stated, dict) or stated.keys() != {"bytes", "sha256"}:
        fail(f"{directory / 'manifest.json'} does not list {name}; {_REPAIR}")
    if len(content) != stated["bytes"]:
        fail(
            f"{directory / name} has {len(content)} bytes, the manifest {stated['bytes']}; "
            f"{_REPAIR}"
        )
    if _sha256(content) != stated["sha256"]:
        fail(f"{directory / name} was changed: its sha256 differs from the manifest's; {_REPAIR}")
    return content


def _case(where: str, line: str, arrays: memoryview, configs: dict[str, GACConfig]) -> Case:
    record, text, block = _open(where, line, arrays)
    where = f"{where}, case {record['id']!r}"
    stage, dtypes = record["stage"], record["dtypes"]
    if stage not in STAGES:
        fail(f"{where} is of the unknown stage {stage!r}; the stages are {', '.join(STAGES)}")
    kind = stage if stage in ("step", "trajectory") else "stage"
    if record["kind"] not in KINDS or record["kind"] != kind:
        fail(f"{where} is of kind {record['kind']!r}, but its stage is {stage}")
    for dtype in dtypes:
        if dtype not in FORMATS:
            fail(f"{where} has the unknown dtype {dtype!r}; the dtypes are {', '.join(FORMATS)}")
    if not dtypes or len(set(dtypes)) != len(dtypes) or not record["exchanges"]:
        fail(f"{where} needs at least one exchange and one dtype, each dtype once")
    for number, raw in enumerate(record["exchanges"]):
        check_exchange(f"{where}, exchange {number}", stage, raw, dtypes, len(block))
    return Case(
        id=record["id"],
        kind=record["kind"],
        stage=stage,
        config=_config(where, record["config"], configs),
        tags=tuple(record["tags"]),
        comment=record["comment"],
        dtypes=tuple(dtypes),
        sha256=case_hash(text, block),
        load=functools.partial(_exchanges, stage, record["exchanges"], block),
    )


_RECORD = {
    "id": str,
    "kind": str,
    "stage": str,
    "config": dict,
    "tags": list,
    "comment": str,
    "dtypes": list,
    "exchanges": list,
}


def _open(where: str, line: str, arrays: memoryview) -> tuple[dict[str, Any], str, memoryview]:
    """The record of a line, its canonical text and its bytes, with the hash verified."""
    try:
        outer = json.loads(line)
        (start, size), sha256, record = outer["arrays"], outer["sha256"], outer["case"]
        head = f'{{"arrays":[{start:d},{size:d}],"sha256":"{sha256}","case":'
    except (ValueError, KeyError, TypeError) as error:
        fail(f"{where} is not a case ({error}); {_REPAIR}")
    if not (line.startswith(head) and line.endswith("}")):
        fail(f"{where} is not in the canonical form; {_REPAIR}")
    if not 0 <= start <= start + size <= len(arrays):
        fail(f"{where} has arrays in bytes {start} to {start + size} of {len(arrays)}; {_REPAIR}")
    text, block = line[len(head) : -1], arrays[start : start + size]
    if case_hash(text, block) != sha256:
        fail(f"{where} was changed: its sha256 is not {sha256}; {_REPAIR}")
    if not isinstance(record, dict) or record.keys() != _RECORD.keys():
        fail(f"{where} does not have exactly the fields {', '.join(_RECORD)}; {_REPAIR}")
    for name, kind in _RECORD.items():
        value = record[name]
        texts = name not in ("tags", "dtypes") or all(isinstance(x, str) for x in value)
        if not isinstance(value, kind) or not texts:
            fail(f"{where} has no valid {name!r}; {_REPAIR}")
    return record, text, block


def _config(where: str, fields: dict[str, Any], configs: dict[str, GACConfig]) -> GACConfig:
    key = repr(fields)  # most cases share a configuration, and validating one takes a while
    if key not in configs:
        try:
            configs[key] = GACConfig.from_dict(fields)
        except GACError as error:
            fail(f"{where} has a wrong configuration: {error}")
        if configs[key].to_dict().keys() != fields.keys():
            fail(f"{where} does not state every field of its configuration; {_REPAIR}")
    return configs[key]


def _exchanges(
    stage: str, raws: list[dict[str, Any]], block: memoryview, dtype: str
) -> tuple[Exchange, ...]:
    return tuple(decode_exchange(stage, raw, block, dtype) for raw in raws)


def _check_ids(directory: Path, cases: Iterable[Case]) -> None:
    retired = set((VECTORS / "retired.txt").read_text("ascii").split())
    seen: set[str] = set()
    for case in cases:
        if not _ID.fullmatch(case.id) or case.id.split("/")[0] != case.stage:
            fail(f"{directory}: id {case.id!r} is not {case.stage}/lower-case-words; {_REPAIR}")
        if case.id in seen:
            fail(f"{directory}: the id {case.id} is there twice; {_REPAIR}")
        if case.id in retired:
            fail(f"{directory}: the id {case.id} is retired, and is never used again; {_REPAIR}")
        seen.add(case.id)


def _near(name: str, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "; `gac-ref vectors list` has all"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
