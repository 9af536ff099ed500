"""Take the findings of ``make report`` onto the page of the claims: ``python docs/reports/_take_claims.py``.

The text is that of ``out/report/report.md``, from the answer to the question about the claims, without
the folded lists of numbers; nothing is computed or worded here.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
REPORT = HERE.parents[1] / "out" / "report"
FIGURES = ("claims_forest", "claims_criterion")  # what the text speaks of
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
            kept.append(LEAD.sub(r"**\g<lead>** ", block, count=1) if LEAD.match(block) else block)
        folded &= not block.endswith("</details>")
        skipping &= not block.startswith("*")
    return "\n\n".join(kept) + "\n"


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
