"""A port in Python; check it with ``gac-ref check port:Port`` where it can be imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gac_ref.conformance.port import Unsupported


class Port:
    """Each stage is a method of its name; what is not there yet is unsupported."""

    def hello(self) -> dict[str, Any]:
        """Who this is, and what it claims; the tolerances follow from `precision`."""
        stages = ["clip"]
        precision = {"bf16": {"tokens": "fp32", "scalars": "fp64"}}
        who = {"protocol": 1, "name": "my port", "version": "0.1"}
        return {**who, "stages": stages, "dtypes": ["fp64", "bf16"], "precision": precision}

    def configure(self, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
        """Keep the fields of GACConfig, and start a new trajectory."""
        self.config, self.dtype, self.device = dict(config), dtype, device
        self.reset()

    def reset(self) -> None:
        """Forget everything but the configuration."""
        self.mu = self.config["init_mu"]

    def run(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of a stage by name; inputs are read-only."""
        if not hasattr(self, f"stage_{stage}"):
            raise Unsupported(f"no {stage} yet")
        outputs: dict[str, Any] = getattr(self, f"stage_{stage}")(inputs)
        return outputs

    def stage_clip(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The bounds of mu; a NaN stays one, and was not clipped."""
        given, low, high = inputs["mu_capped"], self.config["mu_min"], self.config["mu_max"]
        return {"mu": min(max(given, low), high), "mu_clipped": given < low or given > high}
