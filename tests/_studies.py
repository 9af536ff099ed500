"""A tiny study, and what it leaves in a store."""

from __future__ import annotations

from typing import Any

from simulations.sweeps.store import Store
from simulations.sweeps.study import Study


def tiny(**changes: Any) -> Study:
    tables: dict[str, Any] = {
        "name": "tiny",
        "problem": {"kind": "quadratic", "dimension": 3, "proxy": "estimated"},
        "run": {"horizon": 20, "seeds": 130, "seeds_per_cell": 64, "measure_every": 5},
        "controllers": {"gac": {}, "oracle_gac": {}, "grid": {"kind": "fixed_grid", "points": 3}},
        "regimes": {"calm": {}, "noisy": {"problem": {"sigma_r2": 9.0}}},
        "summary": {"primary": "loss_final", "metrics": ["loss_final", "regret"]},
    }
    return Study(**{**tables, **changes})


def files(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((store.root / "cells").iterdir())}


class StopHere(Exception):
    """Stands for a crash."""
