"""Expected divergences: where a port is known to differ, why, and until when that is accepted.

A TOML file of entries such as this one::

    [[divergence]]
    case = "sequences/*-inf-*"   # a glob over case ids, of checks "adapter/..." too
    stage = "sequences"          # optional: any
    dtype = "bf16"               # optional: any; then it must fail in each dtype that is checked
    kind = "nan"                 # optional: any; value, nan, flag, guard, error, timeout, crash,
                                 # bad_reply
    reason = "the port multiplies by the mask, as the public release does"
    expires = 2031-12-31

A failure that an entry names is counted as expected. An entry fails the check itself where it is
*expired*, *stale* (nothing that it names failed: remove it) or *unmatched* (no case or stage of
that name exists: correct it), so that a list of excuses cannot outlive its reasons.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from gac_ref.conformance.case import Case
from gac_ref.conformance.events import BROKEN, Result
from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.pack import Pack, load_pack
from gac_ref.conformance.stages import STAGES
from gac_ref.errors import fail

__all__ = ["KINDS", "Divergence", "Divergences", "load_divergences"]

KINDS = ("value", "nan", "flag", "guard", *BROKEN)
"""What a failure can be."""

_ANY = "*"
_REQUIRED = ("case", "reason", "expires")
_OPTIONAL = ("stage", "dtype", "kind")


class Divergence(NamedTuple):
    """One expected divergence.

    Args:
        case: Glob over case ids.
        reason: Why it is accepted.
        expires: The last day on which it is.
        stage: A stage, "adapter", or "*".
        dtype: A dtype, or "*".
        kind: One of :data:`KINDS`, or "*".
        where: The file and the number of the entry.
    """

    case: str
    reason: str
    expires: datetime.date
    stage: str = _ANY
    dtype: str = _ANY
    kind: str = _ANY
    where: str = "divergence"

    def covers(self, result: Result, dtype: str) -> bool:
        """Whether it names that check.

        Examples:
            >>> entry = Divergence("clip/*", "known", datetime.date(2031, 12, 31))
            >>> entry.covers(Result("clip/both-bounds", 0, "clip", "injected", "fail"), "fp64")
            True
        """
        return (
            fnmatchcase(result.case, self.case)
            and self.stage in (_ANY, result.stage)
            and self.dtype in (_ANY, dtype)
            and self.kind in (_ANY, result.kind)
        )


def load_divergences(
    source: str | Path | Sequence[Divergence] | None,
) -> tuple[Divergence, ...]:
    """The entries of a TOML file; entries are passed through.

    Raises:
        GACError: The file cannot be read, is not TOML, or has an entry of another form.

    Examples:
        >>> load_divergences(None)
        ()
    """
    if source is None:
        return ()
    if not isinstance(source, str | Path):
        return tuple(source)
    try:
        table = tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"{source}: cannot be read ({error.strerror}); pass a TOML file of divergences")
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        fail(f"{source}: is not TOML ({error}); correct it")
    entries = table.get("divergence", [])
    if set(table) - {"divergence"} or not isinstance(entries, list):
        fail(f"{source}: holds {', '.join(table)}; write [[divergence]] entries and nothing else")
    return tuple(
        _entry(entry, f"{source}, divergence {number}")
        for number, entry in enumerate(entries, start=1)
    )


def _entry(entry: Any, where: str) -> Divergence:
    if not isinstance(entry, Mapping):
        fail(f"{where}: is {entry!r}; write [[divergence]] and its fields")
    for name in _REQUIRED:
        if name not in entry:
            fail(f"{where}: has no {name}; each entry states {', '.join(_REQUIRED)}")
    for name, value in entry.items():
        if name not in (*_REQUIRED, *_OPTIONAL):
            fail(f"{where}: unknown field {name!r}; use {', '.join((*_REQUIRED, *_OPTIONAL))}")
        if name != "expires" and (not isinstance(value, str) or not value.strip()):
            fail(f"{where}: {name} = {value!r} is not a text; write one in quotes")
    expires = entry["expires"]
    if not isinstance(expires, datetime.date) or isinstance(expires, datetime.datetime):
        fail(f"{where}: expires = {expires!r} is not a date; write it as 2031-12-31, unquoted")
    for name, known in (("dtype", tuple(FORMATS)), ("kind", KINDS)):
        if entry.get(name, _ANY) not in (*known, _ANY):
            fail(f"{where}: {name} = {entry[name]!r} is unknown; use one of {', '.join(known)}")
    return Divergence(**entry, where=where)


class Divergences:
    """The entries at work in one check.

    Args:
        entries: The entries.
        pack: The pack, whose case ids they may name.
        cases: The cases that are run.
        dtype: The dtype under test.
        today: The day that expiry is judged by; by default, today.
    """

    def __init__(
        self,
        entries: Sequence[Divergence],
        pack: Pack,
        cases: Sequence[Case],
        dtype: str,
        today: datetime.date | None = None,
    ) -> None:
        self._entries = tuple(entries)
        self._pack, self._cases, self._dtype = pack, cases, dtype
        self._today = today or datetime.date.today()
        self._used: set[int] = set()
        self._names: set[str] = set()

    def judge(self, result: Result) -> Result:
        """The result, with status "expected" where it failed and an entry says so."""
        if result.case.startswith("adapter/"):
            self._names.add(result.case)
        if not result.failed or not self._entries:
            return result
        named = [n for n, e in enumerate(self._entries) if e.covers(result, self._dtype)]
        self._used.update(named)
        valid = [self._entries[n] for n in named if self._entries[n].expires >= self._today]
        if not valid:
            return result
        return result._replace(status="expected", reason=f"expected: {valid[0].reason}")

    def complaints(self) -> Iterator[Result]:
        """A failed check for each entry that is expired, stale or unmatched."""
        if not self._entries:
            return
        ran = {case.id for case in self._cases} | self._names
        whole = load_pack()
        cases = whole.cases if whole.sha256 == self._pack.sha256 else self._pack.cases
        known = {case.id for case in cases} | self._names
        here = {case.id for case in cases if self._dtype in case.dtypes} | self._names
        for number, entry in enumerate(self._entries):
            if not any(fnmatchcase(name, entry.case) for name in known):
                yield _complaint(number, entry, "unmatched", f"no case matches {entry.case!r}")
            elif entry.stage not in (*STAGES, "adapter", _ANY):
                yield _complaint(number, entry, "unmatched", f"there is no stage {entry.stage!r}")
            elif entry.expires < self._today:
                yield _complaint(number, entry, "expired", f"expired on {entry.expires}")
            elif number not in self._used and self._judged(entry, here, ran):
                what = f"nothing that {entry.case!r} names failed; remove the entry"
                yield _complaint(number, entry, "stale", what)

    def _judged(self, entry: Divergence, here: set[str], ran: set[str]) -> bool:
        """Whether all that the entry names was run: of another dtype or a selection, who knows."""
        named = {name for name in here if fnmatchcase(name, entry.case)}
        return entry.dtype in (_ANY, self._dtype) and bool(named) and named <= ran


def _complaint(number: int, entry: Divergence, kind: str, what: str) -> Result:
    return Result(
        f"divergences/{number + 1}",
        0,
        "divergences",
        "divergences",
        "fail",
        reason=f"{entry.where}: {kind}: {what}",
        kind=kind,
    )
