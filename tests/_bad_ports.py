"""Ports with one fault each, for the command line and the pytest plugin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gac_ref.conformance.reference import Reference


class WrongClosedForm(Reference):
    """The closed form one percent too large; claims two dtypes."""

    def hello(self) -> dict[str, Any]:
        return {**super().hello(), "name": "wrong", "dtypes": ["fp64", "fp32"]}

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs = super().run(stage, inputs)
        if stage == "closed_form":
            outputs["mu_raw"] *= 1.01
        return outputs


class Crashing(Reference):
    """Ends its process when it is asked for the clip."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if stage == "clip":
            os._exit(7)
        return super().run(stage, inputs)


class Narrow(Reference):
    """Claims one stage only."""

    def hello(self) -> dict[str, Any]:
        return {**super().hello(), "name": "narrow", "stages": ["alpha"]}
