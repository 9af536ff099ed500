"""Every kernel once on tensors of awkward shapes, for a sanitizer to watch: `gpu_exercise.py LIB`.

It needs neither torch nor JAX, so that nothing but the port's own kernels is watched.
"""

from __future__ import annotations

import sys

import numpy as np
from gpu_checks import NAMES, arrays, rows_of

from gac_ref import GACConfig
from gac_ref.conformance.adapters.c_library import c_config
from gac_ref.ports.cuda.binding import ROW, Library, tensor
from gac_ref.ports.cuda.memory import DeviceArray

SHAPES = ((1, 1), (3, 7), (5, 257), (2, 2061), (9, 0))
LAUNCHES = ((0, 0), (96, 2), (1024, 1))


def step(library: Library, dtype: str, rows: int, width: int) -> float:
    """One whole step; its mu."""
    names = {"logprob": NAMES[dtype], "advantages": NAMES[dtype]}
    config = c_config(GACConfig().to_dict())
    batch = arrays(dtype, rows, width)
    there = {n: DeviceArray(library, v, names.get(n)) for n, v in batch.items()}
    with (
        DeviceArray(library, np.zeros((rows, len(ROW)))) as out,
        DeviceArray(library, np.zeros(library.cells)) as cells,
    ):
        library.call_start(config, tensor(cells))
        library.call_step(config, library.batch(there, out), tensor(out), tensor(cells))
        mu = float(cells.numpy()[library.cell("mu")])
    for value in there.values():
        value.free()
    return mu


def main() -> int:
    library = Library(sys.argv[1])
    for dtype in NAMES:
        for rows, width in SHAPES:
            for launch in LAUNCHES:
                rows_of(library, dtype, arrays(dtype, rows, width), *launch)
            mu = step(library, dtype, rows, width)
            if not 0.0 < mu < 1.0:
                print(f"ERROR: mu = {mu} at {dtype}, B = {rows}, T = {width}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
