"""Take the findings of ``make report`` onto the page of the claims.

``python docs/reports/_take_claims.py`` reads ``out/report/report.md`` and writes what it says of
the claims, without the folded lists of numbers, into ``claims_found.inc``. Nothing is computed or
worded here, only set: verdicts as a list, first words in bold.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
REPORT = HERE.parents[1] / "out" / "report"
FIGURES = ("claims_forest", "claims_criterion")  # what the text speaks of
VERDICTS = re.compile(r"\.? ?((?:Supported|Refuted|Not testable here) \(\d+\):)")
LEAD = re.compile(r"(?P<lead>[A-Z](?:[^.:|!*]|\.\d){1,80}[.:]) ")


def found(report: str) -> str:
    """The section of the claims, its first words in bold, its figures beside the page."""
    section = report.partition('<a id="claims"></a>')[2].partition('<a id="')[0]
    blocks = [block for block in section.strip().split("\n\n")[1:] if block.strip()]
    kept: list[str] = []
    skipping = folded = False
    for block in blocks:
        folded |= block.startswith("<details>")
        picture = re.match(r"!\[(\w+)\]", block)
        if picture:
            skipping = picture[1] not in FIGURES
        if not folded and not skipping:
            kept.append(set_in_type(block))
        folded &= not block.endswith("</details>")
        skipping &= not block.startswith("*")
    return "\n\n".join(kept) + "\n"


def set_in_type(block: str) -> str:
    """A block of the report as it stands on the page."""
    if VERDICTS.match(block):
        return VERDICTS.sub(r"\n* **\1**", block).strip()
    if block.startswith("|"):
        return block.replace("| none", "| ")
    return LEAD.sub(r"**\g<lead>** ", block, count=1) if LEAD.match(block) else block


def main() -> int:
    """Write ``claims_found.inc`` and its figures."""
    source = REPORT / "report.md"
    if not source.is_file():
        print(f"{source}: no such file; run make report", file=sys.stderr)
        return 2
    (HERE / "claims_found.inc").write_text(found(source.read_text("utf-8")), "utf-8")
    (HERE / "figures").mkdir(exist_ok=True)
    for name in FIGURES:
        shutil.copyfile(REPORT / "figures" / f"{name}.svg", HERE / "figures" / f"{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
