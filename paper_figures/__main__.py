"""``python -m paper_figures``."""

from __future__ import annotations

import os

# Before NumPy is imported: two workers with two threads each would be in each other's way, and
# the order of a threaded sum could change the last bits of a result.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from paper_figures.cli import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
