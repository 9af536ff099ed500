"""The controller in the loop: feed it a step's arrays, and write those same arrays. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gac_ref.batch import Batch
from gac_ref.config import GACConfig
from gac_ref.controller import GACInfo, init, update
from gac_ref.traces import TraceWriter
from simulations.recording.clock import Clock

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
        config: the controller's configuration.
        writer: the open trace.
        clock: times the estimator and the writing.
    """

    def __init__(self, config: GACConfig, writer: TraceWriter, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self._writer = writer
        self._state = init(config)

    def control(self, fields: Mapping[str, Any], *, step: int) -> GACInfo:
        """Advance the controller by one step; `fields` are the arguments of `Batch`."""
        with self.clock.part("estimator"):
            batch = Batch(**fields)
            self._state, info = update(self.config, self._state, batch, step=step)
        return info

    def write(
        self,
        step: int,
        fields: Mapping[str, Any],
        info: GACInfo,
        *,
        report: Mapping[str, float],
        oracle: Mapping[str, float],
    ) -> None:
        """Write the step: its arrays, what the controller computed, the trainer's own report."""
        with self.clock.part("writing"):
            logged = {name: float(getattr(info, name)) for name in LOGGED}
            if info.proxies is not None:
                found = {f"proxy_{name}": float(getattr(info.proxies, name)) for name in PROXIES}
                logged = {**logged, **found}
            self._writer.write(step, **fields, logged={**logged, **report}, oracle=oracle)
