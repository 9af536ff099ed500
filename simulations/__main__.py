"""``python -m simulations``."""

from __future__ import annotations

import os

# Before NumPy is imported: two workers with two threads each would be in each other's way, and
# the order of a threaded sum could change its last bits.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from simulations.cli import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
