"""The controller in the loop: feed it a step's arrays, and write those same arrays. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gac_ref import baselines
from gac_ref.controller import GACInfo
from gac_ref.traces import TraceWriter
from simulations.recording.clock import Clock
from simulations.recording.live import LiveRule

LOGGED = (
    *("alpha", "refreshed", "sigma_s2", "sigma_r2", "delta_g2", "delta_g2_capped"),
    *("mu_raw", "mu_ada", "prior", "mu_candidate", "mu_capped", "mu"),
)
"""The controller's quantities that go into the trace, by their names in `GACInfo`."""

PROXIES = ("sigma_s2", "sigma_r2", "delta_g2")
"""The proxies of one batch, logged as `proxy_NAME` at the steps that refresh the statistics."""


class Recorder:
    """Owns the controller's state, the trace and the clock of a run.

    The arrays handed to the controller are the arrays written, bit for bit, so that a replay of
    the trace computes what the run computed.

    Args:
        rule: the controller: a `GACConfig`, or another rule of `gac_ref.baselines`.
        writer: the open trace.
        clock: times the estimator and the writing.
    """

    def __init__(self, rule: baselines.Rule, writer: TraceWriter, clock: Clock) -> None:
        self.clock = clock
        self._live = LiveRule(rule)
        self._writer = writer

    @property
    def asks(self) -> tuple[str, ...]:
        """Signals that the trainer has to measure for the controller."""
        return self._live.asks

    def control(
        self, fields: Mapping[str, Any], measured: Mapping[str, float], *, step: int
    ) -> Any:
        """Advance the controller by one step; `fields` are the arguments of `Batch`."""
        with self.clock.part("estimator"):
            return self._live.decide(fields, measured, step=step)[1]

    def write(
        self,
        step: int,
        fields: Mapping[str, Any],
        info: Any,
        *,
        report: Mapping[str, float],
        oracle: Mapping[str, float],
    ) -> None:
        """Write the step: its arrays, what the controller computed, the trainer's own report."""
        with self.clock.part("writing"):
            logged = _logged(info)
            self._writer.write(step, **fields, logged={**logged, **report}, oracle=oracle)


def _logged(info: Any) -> dict[str, float]:
    """What a rule computed, as scalars."""
    if not isinstance(info, GACInfo):
        return {"mu": float(info.mu), **{name: float(x) for name, x in info.parts.items()}}
    logged = {name: float(getattr(info, name)) for name in LOGGED}
    if info.proxies is not None:
        found = {f"proxy_{name}": float(getattr(info.proxies, name)) for name in PROXIES}
        logged = {**logged, **found}
    return logged
