"""What does not fit is refused before the start."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from _studies import tiny

from gac_ref import GACError
from simulations.sweeps.cell import compute_cell
from simulations.sweeps.memory import Room, check_before_start
from simulations.sweeps.run import all_cells

GENEROUS = 4.0
"""Over the peak: what is counted at once for a whole cell is made tile by tile."""


def test_memory_is_refused_before_the_start_with_the_estimate() -> None:
    cells = all_cells(tiny().points())
    needed = check_before_start(cells)
    assert check_before_start(cells, at_once=2) > needed
    with pytest.raises(
        GACError, match=r"needs about .* of memory and 1000 B are free on this machine"
    ):
        check_before_start(cells, room=Room(1000))
    for setting in ("run.seeds_per_cell=64000000000 seeds=64000000000", "dimension=1000000000"):
        wide = all_cells(tiny().with_settings(setting.split()).points())
        with pytest.raises(GACError, match="lower one of these"):
            check_before_start(wide, room=Room(2**36))
    settings = ["trace_every=5", "horizon=1000000000000"]
    with pytest.raises(GACError, match="horizon 1000000000000 with a trace point every 5 steps"):
        check_before_start(all_cells(tiny().with_settings(settings).points()), room=Room(2**36))
    long = all_cells(tiny().with_settings(["horizon=1000000000000"]).points())
    assert check_before_start(long) < 2**30


@pytest.mark.parametrize(
    "problem",
    [
        {"kind": "quadratic", "proxy": "estimated", "dimension": 2000},
        {"kind": "token_policy", "groups": 48},
        {"kind": "token_policy", "experts": 200},
    ],
    ids=["wide", "groups", "experts"],
)
def test_the_estimate_bounds_what_a_cell_takes(problem: dict[str, Any]) -> None:
    run = {"horizon": 2, "seeds": 64, "seeds_per_cell": 64}
    cells = all_cells(tiny(problem=problem, run=run, regimes={}).points())
    estimate = check_before_start(cells)
    compute_cell(cells[0].configuration)  # caches are filled
    tracemalloc.start()
    compute_cell(cells[0].configuration)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= estimate <= GENEROUS * peak


def test_a_missing_signal_is_refused_before_the_start() -> None:
    cells = all_cells(tiny(controllers={"srft": {}}).points())
    with pytest.raises(GACError, match="controller 'srft' needs the signal 'entropy'"):
        check_before_start(cells)
