"""The dataset: its moments are those of the seeds that it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _studies import tiny

from simulations.sweeps.collect import collect
from simulations.sweeps.run import run_study
from simulations.sweeps.store import Store

MOMENT_RTOL = 1e-12
"""Merged against two-pass moments of a few values."""


def test_curves_are_the_moments_of_the_traces_where_every_seed_is_traced(tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    study = tiny(run={**tiny().run, "seeds": 5, "trace_seeds": 5})
    store = Store(tmp_path)
    data = collect(study, run_study(study, store), store)
    for name in ("mu", "loss", "regret"):
        trace = data[f"trace_{name}"].values  # [point, controller, seed, step]
        assert trace.shape[2] == 5
        mean, std = data[f"curve_{name}_mean"].values, data[f"curve_{name}_std"].values
        np.testing.assert_allclose(mean, trace.mean(axis=2), rtol=MOMENT_RTOL)
        np.testing.assert_allclose(std, trace.std(axis=2, ddof=1), rtol=MOMENT_RTOL, atol=1e-15)
