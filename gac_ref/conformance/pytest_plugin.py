"""Checking a port case by case within pytest.

Installed, the package adds the options ``--gac-port SPEC``, ``--gac-dtype`` and ``--gac-device``
and the fixtures `gac_port` and `gac_device`. ``pytest --gac-port my.port:adapter --pyargs
gac_ref.conformance.suite`` checks a port with no test of one's own; here is what one's own are made
of::

    from gac_ref.conformance.pytest_plugin import check_case, parametrize_with_vectors

    @parametrize_with_vectors(stages=["proxies", "closed_form"], dtypes=["fp32"])
    def test_my_port(gac_port, case, dtype):
        check_case(gac_port, case, dtype)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from gac_ref.conformance.adapters import AdapterFailure, open_port
from gac_ref.conformance.case import Case
from gac_ref.conformance.check import run_check
from gac_ref.conformance.formats import FORMATS, format_named
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.port import Port
from gac_ref.conformance.report import words
from gac_ref.conformance.report.summary import Run, runs_from

__all__ = ["check_case", "opened", "parametrize_with_vectors", "unwanted"]


def parametrize_with_vectors(
    *,
    stages: Iterable[str] | None = None,
    dtypes: Iterable[str] | None = None,
    tags: Iterable[str] | None = None,
) -> pytest.MarkDecorator:
    """Run a test once for each released case and dtype, as its arguments `case` and `dtype`.

    Args:
        stages: Only cases of these stages; all by default.
        dtypes: Only these dtypes; by default those that the case has.
        tags: Only cases with all of these tags.

    Returns:
        A decorator. The ids of the tests are "<id of the case>-<dtype>", and as stable as the ids
        of the cases, which are never reused.

    Raises:
        GACError: An unknown stage, dtype or tag.

    Examples:
        >>> parametrize_with_vectors(stages=["clip"], dtypes=["fp32"]).args[1][0].id
        'clip/both-bounds-fp32'
    """
    wanted = list(FORMATS) if dtypes is None else [format_named(dtype).name for dtype in dtypes]
    cases = load_pack().select(stages=stages, tags=tags)
    return pytest.mark.parametrize(
        ("case", "dtype"),
        [
            pytest.param(case, dtype, id=f"{case.id}-{dtype}")
            for dtype in wanted
            for case in cases
            if dtype in case.dtypes
        ],
    )


def check_case(port: Port, case: Case, dtype: str, *, spec: str = "", device: str = "cpu") -> None:
    """Check one case, and fail the test with what is wrong, or skip it if it is not supported.

    Args:
        port: An object with the four calls of a port, or the fixture `gac_port`.
        case: The case.
        dtype: The dtype to check it in.
        spec: How the port is named on the command line, for the command that repeats the check.
        device: Passed on to the port.
    """
    claimed = port.hello().get("dtypes", (dtype,))
    if dtype not in claimed:
        pytest.skip(f"the port claims {', '.join(map(str, claimed))}, not {dtype}")
    pack = load_pack()._replace(cases=(case,))
    report = run_check(
        port,
        spec=spec,
        dtype=dtype,
        device=device,
        pack=pack,
        minimum=0,
        hints=False,
    )
    run = runs_from(report.events)[0]
    if run.verdict != "ok":
        pytest.fail(_explained(run, case), pytrace=False)
    asked = [check for check in run.checks if check.mode != "guard"]
    if asked and all(check.status in ("unsupported", "skipped") for check in asked):
        pytest.skip(f"{asked[0].status}: {asked[0].reason}")


def _explained(run: Run, case: Case) -> str:
    failures = run.failures
    lines = [f"{run.label}: {len(failures)} of {run.counts['executed']} checks of this case failed"]
    origin = run.end.get("origin")
    if origin:
        lines.append(f"origin: {origin}")
    first = run.first
    if first is not None:
        lines += ["", words.title(first), f"  {case.comment}"]
        lines += [f"  {name:<9} {text}" for name, text in words.details(first)]
        if first.replay:
            lines.append(f"  replay    {first.replay}")
    return "\n".join(lines)


def opened(spec: str) -> Iterator[Port]:
    """The port of a session, closed after it."""
    failure = ""
    with contextlib.ExitStack() as stack:
        try:
            port = open_port(spec)
            stack.enter_context(port)
            port.hello()
        except AdapterFailure as error:
            failure = f"{spec} does not answer: {error}"
        if not failure:
            yield port
    if failure:  # not from within the handler: its traceback would bury the message
        pytest.fail(failure, pytrace=False)


def unwanted(items: Sequence[Any], dtypes: Sequence[str]) -> list[Any]:
    """The items that :func:`parametrize_with_vectors` made for other dtypes than these."""
    wanted = {format_named(dtype).name for dtype in dtypes}
    found = []
    for item in items:
        values = getattr(getattr(item, "callspec", None), "params", {})
        if isinstance(values.get("case"), Case) and values.get("dtype") not in wanted:
            found.append(item)
    return found
