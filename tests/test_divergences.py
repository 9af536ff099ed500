"""Expected divergences: what an entry excuses, and how it ends."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from _one_fault import Composed, Values
from _small_pack import small_pack

from gac_ref.conformance import divergences
from gac_ref.conformance.check import Report, exit_code, run_check
from gac_ref.conformance.divergences import Divergence, load_divergences
from gac_ref.errors import GACError

FAR = datetime.date(2999, 12, 31)
PAST = datetime.date(2020, 1, 1)


class WrongClip(Composed):
    """Wrong by itself, right within a step."""

    def alone(self, stage: str, values: Values) -> Values:
        outputs = super().alone(stage, values)
        return {**outputs, "mu": outputs["mu"] + 0.5} if stage == "clip" else outputs


def entry(**changes: Any) -> Divergence:
    return Divergence(**{"case": "*", "stage": "clip", "reason": "known", "expires": FAR} | changes)


def checked(*entries: Divergence, port: Any = WrongClip, **options: Any) -> Report:
    return run_check(
        port(), **{"pack": small_pack(), "divergences": entries, "hints": False, **options}
    )


def complaints(report: Report) -> list[tuple[str, str]]:
    return [
        (event["kind"], event["reason"])
        for event in report.events
        if event["event"] == "check" and event["mode"] == "divergences"
    ]


class TestAnEntry:
    def test_turns_failures_that_it_names_into_expected_ones(self) -> None:
        report = checked(entry())
        bare = checked()
        assert (bare.verdict, report.verdict) == ("divergence", "ok")
        assert (report.failed, report.expected_failures) == (0, bare.failed)
        assert report.origin is None
        assert f"{bare.failed} failed as expected" in report.headline
        expected = [e for e in report.events if e.get("status") == "expected"]
        assert all(e["reason"] == "expected: known" for e in expected)
        assert exit_code(report) == 0

    @pytest.mark.parametrize(
        "other",
        [
            {"case": "clip/internal"},
            {"stage": "alpha"},
            {"dtype": "bf16"},
            {"kind": "nan"},
        ],
    )
    def test_excuses_nothing_else(self, other: dict[str, str]) -> None:
        report = checked(entry(**other))
        assert report.verdict == "divergence"
        assert report.failed > 0

    def test_excuses_a_failure_of_the_adapter_by_its_kind(self) -> None:
        class Raising(Composed):
            def alone(self, stage: str, values: Values) -> Values:
                if stage == "clip":
                    raise KeyError("clip")
                return super().alone(stage, values)

        assert checked(entry(kind="error"), port=Raising).verdict == "ok"
        assert checked(entry(kind="crash"), port=Raising).verdict == "divergence"
        assert checked(port=Raising).verdict == "adapter_failure"

    def test_excuses_a_check_of_the_port_as_a_whole(self) -> None:
        class Kept(Composed):
            def reset(self) -> None:
                pass

        assert checked(port=Kept).verdict == "divergence"
        report = checked(entry(case="adapter/reset", stage="adapter", kind="guard"), port=Kept)
        assert (report.verdict, report.expected_failures) == ("ok", 1)


class TestTheEndOfAnEntry:
    def test_expired(self) -> None:
        report = checked(entry(expires=PAST))
        assert report.verdict == "divergence"
        assert report.expected_failures == 0
        assert [kind for kind, _ in complaints(report)] == ["expired"]
        assert "expired on 2020-01-01" in complaints(report)[0][1]

    def test_the_last_day_counts(self) -> None:
        assert checked(entry(expires=datetime.date.today())).verdict == "ok"

    def test_stale(self) -> None:
        report = checked(entry(), port=Composed)
        assert (report.verdict, report.origin, report.failed) == ("divergence", None, 1)
        assert [kind for kind, _ in complaints(report)] == ["stale"]

    @pytest.mark.parametrize("name", [{"case": "clip/no-such-*"}, {"stage": "clipp"}])
    def test_unmatched(self, name: dict[str, str]) -> None:
        report = checked(entry(**name), port=Composed)
        assert report.verdict == "divergence"
        assert [kind for kind, _ in complaints(report)] == ["unmatched"]

    def test_an_entry_is_judged_only_where_all_that_it_names_was_run(self) -> None:
        selected = checked(entry(case="clip/*"), port=Composed, ids=["clip/internal"])
        other = checked(entry(dtype="fp32"), port=Composed)
        assert (selected.verdict, other.verdict) == ("ok", "ok")
        assert checked(entry(dtype="fp32"), port=Composed, dtype="fp32").verdict == "divergence"


class TestTheFile:
    def test_the_documented_example_is_one(self, tmp_path: Path) -> None:
        lines = (divergences.__doc__ or "").splitlines()
        start = next(i for i, line in enumerate(lines) if "[[divergence]]" in line)
        block = lines[start : lines.index("", start)]
        path = tmp_path / "expected.toml"
        path.write_text("\n".join(line.strip() for line in block))
        (found,) = load_divergences(path)
        assert (found.stage, found.dtype, found.kind) == ("sequences", "bf16", "nan")
        assert found.expires == datetime.date(2031, 12, 31)
        assert found.where.endswith("divergence 1")

    def test_it_is_read_by_the_check(self, tmp_path: Path) -> None:
        path = tmp_path / "expected.toml"
        path.write_text(
            '[[divergence]]\ncase = "clip/*"\nreason = "known"\nexpires = 2999-12-31\n'
            '[[divergence]]\ncase = "*"\nstage = "clip"\nreason = "known"\nexpires = 2999-12-31\n'
        )
        report = run_check(WrongClip(), pack=small_pack(), divergences=path, hints=False)
        # The first entry covers what the second one names, too, but not all of it.
        assert report.verdict == "ok"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[[divergence]\n", "is not TOML"),
            ("[divergence]\ncase = 'x'\n", "nothing else"),
            ("[[other]]\ncase = 'x'\n", "nothing else"),
            ("[[divergence]]\ncase = 'x'\n", "has no reason"),
            ("[[divergence]]\ncase = 'x'\nreason = 'y'\n", "has no expires"),
            ("[[divergence]]\ncase = 1\nreason = 'y'\nexpires = 2031-01-01\n", "case = 1"),
            ("[[divergence]]\ncase = 'x'\nreason = ' '\nexpires = 2031-01-01\n", "reason = ' '"),
            ("[[divergence]]\ncase = 'x'\nreason = 'y'\nexpires = '2031-01-01'\n", "not a date"),
            (
                "[[divergence]]\ncase = 'x'\nreason = 'y'\nexpires = 2031-01-01T00:00:00\n",
                "not a date",
            ),
            (
                "[[divergence]]\ncase = 'x'\nreason = 'y'\nexpires = 2031-01-01\nwhy = 'z'\n",
                "unknown field 'why'",
            ),
            (
                "[[divergence]]\ncase = 'x'\nreason = 'y'\nexpires = 2031-01-01\ndtype = 'fp8'\n",
                "dtype = 'fp8' is unknown",
            ),
            (
                "[[divergence]]\ncase = 'x'\nreason = 'y'\nexpires = 2031-01-01\nkind = 'odd'\n",
                "kind = 'odd' is unknown",
            ),
        ],
    )
    def test_a_malformed_one_is_refused_by_name(
        self, tmp_path: Path, text: str, message: str
    ) -> None:
        path = tmp_path / "expected.toml"
        path.write_text(text)
        with pytest.raises(GACError, match=message):
            load_divergences(path)

    def test_a_missing_one_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(GACError, match="cannot be read"):
            load_divergences(tmp_path / "none.toml")
