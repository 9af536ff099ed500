"""The parameters of a run."""

from __future__ import annotations

from typing import Any

import pytest

from gac_ref import GACError
from simulations.engine.settings import RunSettings


@pytest.mark.parametrize(
    "run",
    [
        {"horizon": 0},
        {"seeds": 2.5},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"alpha": 1.5},
        {"target_direction": "sideways"},
        {"stop_at_target": True},
        {"trace_every": 7},
        {"seeds_per_cell": 100},
        {"learning_rate_decay": -1.0},
        {"seed": -1},
        {"stop_at_target": 1},
    ],
)
def test_a_bad_run_setting_is_a_one_line_error(run: dict[str, Any]) -> None:
    with pytest.raises(GACError, match=f"run.{next(iter(run))}") as caught:
        RunSettings(**run)
    assert "\n" not in str(caught.value)
