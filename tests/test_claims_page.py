"""The page of the claims takes the report's text as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "docs" / "reports"

REPORT = """# Questions

<a id="authority"></a>

## Another question

Not ours.

<a id="claims"></a>

## Which claims hold?

Supported (1): a; b. Refuted (1): c. Not testable here (1): d.

| claim | effect | p |
| --- | --- | --- |
| a | 1 | none |

Reward (above 0.05 in a step). It is told here: in full.

![claims_forest](figures/claims_forest.svg)

*What it shows.*

![claims_score_profile](figures/claims_score_profile.svg)

*Not spoken of.*

<details><summary>Numbers</summary>

| number | value |

</details>

<a id="fidelity"></a>

## A third

Not ours either.
"""


@pytest.fixture(scope="module")
def taker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("take_claims", REPORTS / "_take_claims.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_text_is_the_reports_and_only_set(taker: ModuleType) -> None:
    assert taker.found(REPORT) == (
        "* **Supported (1):** a; b\n* **Refuted (1):** c\n* **Not testable here (1):** d.\n\n"
        "| claim | effect | p |\n| --- | --- | --- |\n| a | 1 |  |\n\n"
        "**Reward (above 0.05 in a step).** It is told here: in full.\n\n"
        "![claims_forest](figures/claims_forest.svg)\n\n*What it shows.*\n"
    )


def test_the_committed_page_has_every_verdict_and_its_figures(taker: ModuleType) -> None:
    text = (REPORTS / "claims_found.inc").read_text("utf-8")
    for verdict in ("Supported", "Refuted", "Not testable here"):
        count = int(text.partition(f"* **{verdict} (")[2].partition(")")[0])
        assert text.count(f" | {verdict.lower()} | ") == count > 0
    for name in taker.FIGURES:
        assert (REPORTS / "figures" / f"{name}.svg").is_file()
        assert f"figures/{name}.svg" in text
