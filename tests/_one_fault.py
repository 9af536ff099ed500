"""Ports with one fault each, put together from the golden stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gac_ref import GACConfig
from gac_ref.conformance.formats import widen
from gac_ref.conformance.golden import carried_state
from gac_ref.conformance.reference import STAGE_FUNCTIONS, Reference, state_inputs
from gac_ref.conformance.stages import PIPELINE, STAGES
from gac_ref.controller import init

Values = dict[str, Any]
ROWS = ("coefficients", "sequences", "proxies")


class Composed(Reference):
    """A right port: the golden stages one after another. A fault overrides one method.

    Attributes:
        offered: The stages that it names.
        reported: The outputs that a step returns; None for all.
    """

    offered: tuple[str, ...] = tuple(STAGES)
    reported: frozenset[str] | None = None
    order: tuple[str, ...] = PIPELINE[1:]

    def hello(self) -> Values:
        return {**super().hello(), "name": type(self).__name__, "stages": list(self.offered)}

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        self.config = GACConfig.from_dict(config)
        self.dtype = dtype
        self.forget()

    def reset(self) -> None:
        if hasattr(self, "config"):
            self.forget()

    def forget(self) -> None:
        self.previous: Values = state_inputs(init(self.config))

    def run(self, stage: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if stage == "transport":
            return self.echo(dict(inputs))
        tokens = {field.name for field in STAGES[stage].inputs if field.kind == "token"}
        values = {n: widen(v, self.dtype) if n in tokens else v for n, v in inputs.items()}
        if stage not in ("step", "trajectory"):
            return self.alone(stage, values)
        if stage == "trajectory":
            values = {**self.previous, **values}
        outputs = self.step(values)
        if stage == "trajectory":
            self.previous = self.carry(outputs)
        kept = outputs if self.reported is None else self.reported
        return {name: outputs[name] for name in outputs if name in kept}

    def echo(self, inputs: Values) -> Values:
        return inputs

    def alone(self, stage: str, values: Values) -> Values:
        """A stage that is asked for by itself."""
        return self.stage(stage, values)

    def stage(self, stage: str, values: Values) -> Values:
        """A stage, wherever it is used."""
        return STAGE_FUNCTIONS[stage](self.config, values)

    def feed(self, stage: str, values: Values) -> Values:
        """What a stage reads within a step."""
        return values

    def carry(self, outputs: Values) -> Values:
        return carried_state(outputs, {})

    def step(self, values: Values) -> Values:
        last = values["previous_last_refresh"]
        due = last < 0 or values["step"] - last >= self.config.mu_update_freq
        known, outputs = dict(values), {}
        if not due:
            kl = values.get("batch_kl") if self.config.alpha_mode == "kl" else None
            outputs["kl"] = math.nan if kl is None else kl
            known |= outputs
        for stage in self.order:
            if due or stage not in ROWS:
                found = self.stage(stage, self.feed(stage, dict(known)))
                known |= found
                outputs |= found
        return outputs


def black_box(port: type[Composed]) -> Composed:
    """The same port, answering whole steps with mu and nothing else."""
    made = type(port.__name__, (port,), {"offered": ("step", "trajectory"), "reported": {"mu"}})
    return made()


def tapped_only(port: type[Composed]) -> Composed:
    """The same port, reporting its stages within a step and answering none by itself."""
    return type(port.__name__, (port,), {"offered": ("step", "trajectory")})()
