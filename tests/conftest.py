"""Where a change is judged, nothing is skipped for want of a tool.

A reader without torch, Chromium or TeX gets a skip that says so. Where ``CI`` is set that skip
fails: a suite that quietly leaves out the browser would still be green.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

EXCUSED = (
    "there is no nvcc",  # not in the distribution; the same source is built by g++
    "there is a GPU",
    "long double is float64 here",  # the processor's choice
    "lets NaN in the padding through",  # one of the variants, by its definition
)
"""What a machine may lack, and what no machine can do."""


def judging() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def fail_if_inexcusable(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn the report of a skip into one of a failure, but for what is excused."""
    if not (judging() and report.skipped and isinstance(report.longrepr, tuple)):
        return
    path, line, reason = report.longrepr
    if hasattr(report, "wasxfail") or re.search("|".join(EXCUSED), reason):
        return
    report.outcome = "failed"
    report.longrepr = f"{path}:{line}: CI is set and nothing may be missing. {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_inexcusable(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_inexcusable(report)
    return report
