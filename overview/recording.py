"""Replay of the recording: the table and the verdict, printed as ``gac-ref replay`` prints them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gac_ref.authority import Authority, authority
from gac_ref.config import GACConfig
from gac_ref.errors import fail
from gac_ref.replay import Comparison, Summary, recorded_config, replay
from gac_ref.replay.plot import ReplayPlot, check_target
from gac_ref.replay.table import output_for
from gac_ref.traces import TraceReader

__all__ = ["Replayed", "replay_recording"]


class Replayed(NamedTuple):
    """What a replay found.

    Args:
        source: What the recording is of.
        variant: Where the settings came from.
        config: The settings.
        summary: Of the steps.
        comparison: With what was logged; of no steps where nothing was.
        authority: What the guards let through.
        picture: The file of the picture.
    """

    source: str
    variant: str
    config: GACConfig
    summary: Summary
    comparison: Comparison
    authority: Authority
    picture: Path

    @property
    def agrees(self) -> bool | None:
        """Whether the logged values are the reference's; None where none were logged."""
        return self.comparison.first is None if self.comparison.steps else None


def replay_recording(trace: Path, picture: Path, *, say: Callable[[str], None] = print) -> Replayed:
    """Replay a recording with the settings that it was made with.

    Args:
        trace: A gac-trace/1 directory. Where it does not hold its settings, the documented ones
            are used.
        picture: The file to draw to.
        say: Called with what is for people, a line or some.

    Raises:
        GACError: The trace cannot be read, has no steps, or the picture cannot be drawn.
    """
    reader = TraceReader(trace)
    if not reader.steps:
        fail(f"{reader.path / 'steps'}: holds no steps; record some, or pass another trace")
    recorded = "config" in reader.meta
    config = recorded_config(reader) if recorded else GACConfig()
    variant = "recorded" if recorded else "documented"
    target = check_target(picture)
    summary, comparison, plot = Summary(), Comparison(), ReplayPlot()
    table = output_for("table", reader, every=None, title=f"variant {variant}")
    for row in replay(reader, config):
        for each in (summary, comparison, plot, table):
            each.add(row)
    table.finish()
    found = authority(config)
    source = reader.source or str(reader.path)
    plot.save(target, f"{source}\nvariant {variant}")
    say("\n".join(["", *summary.lines(), "", *found.lines(config, f"variant {variant}")]))
    say("\n".join([f"Picture: {target}", *comparison.lines()]))
    return Replayed(source, variant, config, summary, comparison, found, target)
