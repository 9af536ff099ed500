"""What a run of the study keeps of each step. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray, FloatArray
from gac_ref.baselines import Rule
from gac_ref.batch import Batch
from gac_ref.config import GACConfig
from gac_ref.proxies import proxies
from simulations.recording.clock import Clock
from simulations.recording.live import LiveRule

SERIES = (
    *("mu", "mu_raw", "reward", "exact", "spread", "kl", "entropy", "loss_sft"),
    *("sigma_s2", "sigma_r2", "delta_g2", "delta_g2_released"),
)
"""Names of what is kept at every step, [steps] float32.

`mu_raw` is GAC's estimate ahead of its guards, NaN for another rule. `reward` and `exact` are means
over the rollouts, `spread` the share of the groups whose rewards differ, `kl` and `entropy` means
over the rollouts' tokens in nats. The proxies are those of the step's own batch under the
documented variant, and `delta_g2_released` is the disagreement as released.
"""

TRUTHS = ("sigma_s2", "sigma_r2", "delta_g2", "sigma_r2_groups", "delta_g2_groups")
"""Names of the true gradient-space values, [oracle steps] float64 as `true_NAME`."""

_DOCUMENTED, _RELEASED = GACConfig.documented(), GACConfig.released()


class StudyObserver:
    """Decides mu by a rule, and keeps a row of numbers a step.

    Args:
        rule: The rule.
    """

    def __init__(self, rule: Rule) -> None:
        self.clock = Clock()
        self._live = LiveRule(rule)
        self._rows: list[dict[str, float]] = []
        self._truths: list[dict[str, float]] = []
        self._decided: tuple[Batch, float] | None = None

    @property
    def asks(self) -> tuple[str, ...]:
        """Signals that the trainer has to measure for the rule."""
        return self._live.asks

    def control(
        self, fields: Mapping[str, Any], measured: Mapping[str, float], *, step: int
    ) -> Any:
        """Advance the rule by one step; `fields` are the arguments of `Batch`."""
        batch, info = self._live.decide(fields, measured, step=step)
        self._decided = batch, measured["entropy"]
        return info

    def write(
        self,
        step: int,
        fields: Mapping[str, Any],
        info: Any,
        *,
        report: Mapping[str, float],
        oracle: Mapping[str, float],
    ) -> None:
        """Keep the step."""
        assert self._decided is not None
        batch, entropy = self._decided
        found, released = proxies(_DOCUMENTED, batch), proxies(_RELEASED, batch)
        rewards = grouped(batch)
        self._rows.append(
            {
                "mu": float(info.mu),
                "mu_raw": float(getattr(info, "mu_raw", np.nan)),
                "reward": float(rewards.mean()),
                "exact": float(np.mean(rewards >= 1.0)),
                "spread": float(np.mean(np.ptp(rewards, axis=1) > 0.0)),
                "kl": float(fields.get("kl", np.nan)),
                "entropy": entropy,
                "loss_sft": report["loss_sft"],
                "sigma_s2": np.asarray(found.sigma_s2).item(),
                "sigma_r2": np.asarray(found.sigma_r2).item(),
                "delta_g2": np.asarray(found.delta_g2).item(),
                "delta_g2_released": np.asarray(released.delta_g2).item(),
            }
        )
        if oracle:
            self._truths.append(dict(oracle))

    def arrays(self) -> dict[str, AnyArray]:
        """Everything kept, by name."""
        series = {
            name: np.array([row[name] for row in self._rows], dtype=np.float32) for name in SERIES
        }
        truths = {
            f"true_{name}": np.array([truth[name] for truth in self._truths]) for name in TRUTHS
        }
        return {**series, **truths}


def grouped(batch: Batch) -> FloatArray:
    """Rewards of the rollouts, one row a group of equal size, [groups, group size].

    Examples:
        >>> batch = Batch([[-1.0]] * 3, [[1]] * 3, [0.0] * 3, [False, False, True],
        ...               group_ids=[4, 4, 5], rewards=[0.0, 1.0, 1.0])
        >>> grouped(batch).tolist()
        [[0.0, 1.0]]
    """
    assert batch.rewards is not None
    assert batch.group_ids is not None
    rows = batch.rollout_rows
    order = np.argsort(batch.group_ids[rows], kind="stable")
    groups = np.unique(batch.group_ids[rows]).size
    return batch.rewards[rows][order].reshape(groups, -1)
