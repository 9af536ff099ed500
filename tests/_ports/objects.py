"""Python ports: one that prints and reads where it should not, and factories that go wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref.conformance.port import Skipped, Unsupported
from gac_ref.conformance.reference import Reference

REFERENCE = Reference()


class Chatty(Reference):
    """Prints, in Python and below it, and reads the standard input."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        print("running", stage)
        os.write(1, b"from C\n")
        os.system("echo from a child process")
        if sys.stdin.readline():
            raise AssertionError("it read a request")
        return super().run(stage, inputs)


class Declines(Reference):
    """Unsupported, skipped, or an exception, by stage."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if stage == "clip":
            raise Unsupported("no clip on this device")
        if stage == "alpha":
            raise Skipped("the device is busy")
        if stage == "change_cap":
            raise ZeroDivisionError("division by zero")
        if stage == "closed_form":
            return {"mu_raw": object()}
        if stage == "prior_blend":
            return None  # type: ignore[return-value]
        inputs["previous_mu"].fill(0.0)
        return {}


class Spoils(Reference):
    """Writes to its inputs."""

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        np.asarray(inputs["is_expert"])[:] = True
        return super().run(stage, inputs)


class Mute:
    """Not a port."""


def factory() -> Reference:
    return Reference()


def broken_factory() -> Reference:
    raise RuntimeError("no device")
