"""What a port is, to the suite: four calls.

The same four travel over JSON lines to a program and through a C ABI to a shared library; see
:mod:`gac_ref.conformance.adapters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gac_ref.errors import GACError

__all__ = ["PROTOCOL", "Port", "Skipped", "Unsupported"]

PROTOCOL = 1
"""The version of the calls and of the stage table."""


class Unsupported(GACError):
    """Raised by a port for a stage, dtype or configuration that it does not claim."""


class Skipped(GACError):
    """Raised by a port for a case that it could not run this time, with the reason."""


class Port(Protocol):
    """A port under test.

    Its `hello` is a mapping of plain values::

        {"protocol": 1, "name": "my port", "version": "1.2",
         "stages": ["proxies", ..., "step", "trajectory"],
         "dtypes": ["fp64", "fp32", "fp16", "bf16"],
         "devices": ["cpu"],                                 # optional; ["cpu"]
         "precision": {"bf16": {"tokens": "fp32", "scalars": "fp64"}},   # optional
         "accumulation": "sequential"}                       # optional; or "tree"

    `precision` says in which format token sums and the scalars of the controller are computed for
    each dtype of the inputs (default: fp64 for fp64, fp32 for the others); `accumulation` how long
    a chain of additions is. The tolerances follow from both.
    """

    def hello(self) -> Mapping[str, Any]:
        """Who it is and what it claims."""
        ...

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        """Take a configuration (the fields of ``GACConfig``), and start a new trajectory."""
        ...

    def reset(self) -> None:
        """Forget everything but the configuration."""
        ...

    def run(self, stage: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The outputs of a stage by name; inputs as the stage table says.

        Token inputs are read-only arrays in the storage of the dtype (``uint16`` bits for bf16),
        other arrays bool, int64 or float64, scalars plain ``float``, ``int``, ``bool``, ``str``.
        """
        ...
