"""Run the reference controller over a recording, and hold what was logged against it."""

from __future__ import annotations

from gac_ref.replay.report import QUANTITIES, Comparison, Difference, Summary
from gac_ref.replay.rows import ReplayRow
from gac_ref.replay.run import recorded_config, replay

__all__ = [
    "QUANTITIES",
    "Comparison",
    "Difference",
    "ReplayRow",
    "Summary",
    "recorded_config",
    "replay",
]
