"""The report as JUnit XML, the form that continuous integration servers read.

One test suite a run, one test case a check. Wrong values, propagated ones too, are failures;
crashes, time-outs and unreadable replies are errors; what the port does not claim, skipped cases
and expected divergences are skipped with their reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from gac_ref.conformance.events import BROKEN
from gac_ref.conformance.report import words
from gac_ref.conformance.report.summary import Check, Run

__all__ = ["render"]


def render(runs: Sequence[Run]) -> str:
    r"""The report of one run or several, as an XML document.

    Examples:
        >>> render(())
        "<?xml version='1.0' encoding='utf-8'?>\n<testsuites />\n"
    """
    root = ElementTree.Element("testsuites")
    for run in runs:
        root.append(_suite(run))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n"


def _suite(run: Run) -> ElementTree.Element:
    cases = [_case(check, run) for check in run.checks]
    if run.verdict != "ok" and not any(check.failed for check in run.checks):
        cases.append(_verdict(run))
    found = [child.tag for case in cases for child in case]
    suite = ElementTree.Element(
        "testsuite",
        name=run.label,
        tests=str(len(cases)),
        failures=str(found.count("failure")),
        errors=str(found.count("error")),
        skipped=str(found.count("skipped")),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, text in words.provenance(run):
        ElementTree.SubElement(properties, "property", name=name, value=text)
    suite.extend(cases)
    ElementTree.SubElement(suite, "system-out").text = run.headline
    return suite


def _case(check: Check, run: Run) -> ElementTree.Element:
    step = "" if check.step is None else f" step {check.step}"
    case = ElementTree.Element(
        "testcase",
        classname=f"{run.label}.{check.stage}.{check.mode}".replace("/", "."),
        name=f"{check.case} {check.stage}{step}",
        time="0",
    )
    if check.status in BROKEN:
        _add(case, "error", check.status, check.reason or check.status, check)
    elif check.failed:
        message = f"{check.element}: {words.excess(check)}"
        _add(case, "failure", check.status, message, check)
    elif check.status != "pass":
        ElementTree.SubElement(
            case, "skipped", message=f"{check.status}: {check.reason}".rstrip(": ")
        )
    return case


def _verdict(run: Run) -> ElementTree.Element:
    """A run that is not ok must not be green, even if no check of it failed."""
    case = ElementTree.Element(
        "testcase", classname=run.label.replace("/", "."), name="verdict", time="0"
    )
    ElementTree.SubElement(case, "error", type=run.verdict, message=run.headline)
    return case


def _add(case: ElementTree.Element, tag: str, kind: str, message: str, check: Check) -> None:
    element = ElementTree.SubElement(case, tag, type=kind, message=message)
    lines = [f"{name}: {text}" for name, text in words.details(check)]
    if check.comment:
        lines.insert(0, check.comment)
    if check.replay:
        lines.append(f"replay: {check.replay}")
    element.text = "\n".join(lines)
