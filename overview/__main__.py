"""``python -m overview``."""

from __future__ import annotations

import sys

from overview.cli import main

if __name__ == "__main__":
    sys.exit(main())
