"""One replayed step."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["ReplayRow"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayRow:
    """One step as the reference controller saw it. NaN stands for "no value".

    Args:
        step: Step number.
        refreshed: Whether the statistics were refreshed at this step.
        proxy_sigma_s2: SFT noise proxy of this step's batch, nats^2; NaN without a refresh.
        proxy_sigma_r2: RL noise proxy of this step's batch, advantage^2; NaN without a refresh.
        proxy_delta_g2: Disagreement of this step's batch; NaN without a refresh.
        sigma_s2: SFT noise, smoothed, as the controller used it; NaN until it was seen.
        sigma_r2: RL noise, likewise.
        delta_g2: Disagreement, likewise.
        delta_g2_capped: Disagreement after its cap.
        mu_raw: The closed form on the smoothed statistics.
        mu_ada: After the weight EMA.
        prior: The schedule prior; NaN with ``prior="none"``.
        alpha: Target ratio.
        mu_candidate: After the prior blend.
        mu_capped: After the change cap.
        mu: The applied weight, in [mu_min, mu_max].
        flags: Names of the guards and degenerate cases that acted, sorted.
        missing_before: Recorded steps missing right before this one.
        mu_oracle: The closed form on the recorded true values; NaN where they are not recorded.
        logged: What the trainer reported, by name.
        oracle: The recorded true values, by name.
        rank_logged: `logged` of each rank.
    """

    step: int
    refreshed: bool
    proxy_sigma_s2: float
    proxy_sigma_r2: float
    proxy_delta_g2: float
    sigma_s2: float
    sigma_r2: float
    delta_g2: float
    delta_g2_capped: float
    mu_raw: float
    mu_ada: float
    prior: float
    alpha: float
    mu_candidate: float
    mu_capped: float
    mu: float
    mu_oracle: float
    flags: list[str]
    missing_before: int
    logged: dict[str, float]
    oracle: dict[str, float]
    rank_logged: dict[int | None, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """The row as strict JSON values: null for NaN and infinities, which JSON does not have."""
        names = [f.name for f in fields(self) if f.name != "rank_logged"]
        return {name: _json_value(getattr(self, name)) for name in names}

    def to_json(self) -> str:
        """The row as one line of strict JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _json_value(item) for name, item in value.items()}
    return value
