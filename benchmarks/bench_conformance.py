"""How long it takes to check one port on the whole pack: written to out/bench_conformance.json.

Wall time, since the port runs in a process of its own; the start of both and the tolerances
included, as an engineer waits for them.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from timing import save

from gac_ref.conformance.adapters import open_port
from gac_ref.conformance.check import run_check

LIMIT = 60.0
DTYPE = "bf16"


def seconds(spec: str) -> float:
    start = time.perf_counter()
    with open_port(spec) as port:
        report = run_check(port, spec=spec, dtype=DTYPE)
    assert report.verdict == "ok", report.headline
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/bench_conformance.json"))
    args = parser.parse_args()
    specs = {"reference": "gac_ref.conformance.reference:Reference"}
    if importlib.util.find_spec("torch") is not None:
        specs["torch"] = "gac_ref.ports.torch:adapter"
    results = {}
    for name, spec in specs.items():
        took = seconds(spec)
        results[f"check_{name}_seconds"] = {"value": round(took, 2), "limit": LIMIT}
        met = "met" if took <= LIMIT else "MISSED"
        print(
            f"check of the {name} port, {DTYPE:<6} {took:6.1f} s   <= {LIMIT:g} s {met}", flush=True
        )
    save(args.out, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
