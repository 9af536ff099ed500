"""A mixing rule in the loop of a real trainer. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gac_ref import baselines
from gac_ref.batch import Batch

MEASURED = (
    *("entropy", "utility_gradient", "grad_norm_s", "grad_norm_r"),
    *("gram_ss", "gram_sr", "gram_rr"),
    *("true_sigma_s2", "true_sigma_r2", "true_delta_g2", "uniform"),
)
"""Signals that the trainer has to measure: a batch's rows do not hold them."""


class LiveRule:
    """A rule of `gac_ref.baselines`, its state, and the choice of what it is shown.

    Args:
        rule: A rule, or a `GACConfig`.

    Examples:
        >>> live = LiveRule(baselines.SRFT())
        >>> live.asks
        ('entropy',)
    """

    def __init__(self, rule: baselines.Rule) -> None:
        self.rule = rule
        self.asks = tuple(name for name in baselines.reads(rule) if name in MEASURED)
        self._state = baselines.init(rule)

    def decide(
        self, fields: Mapping[str, Any], measured: Mapping[str, float], *, step: int
    ) -> tuple[Batch, Any]:
        """Advance by one step.

        Args:
            fields: The arguments of `Batch`.
            measured: What the trainer measured, at least what `asks` names.
            step: The optimisation step.

        Returns:
            The batch, and the rule's own diagnosis, whose `mu` is the weight to apply.
        """
        batch = Batch(**fields)
        signals: baselines.Signals | Batch = batch
        if self.asks:
            others = {name: measured[name] for name in self.asks}
            signals = baselines.signals_from_batch(self.rule, batch, **others)
        self._state, info = baselines.update(self.rule, self._state, signals, step=step)
        return batch, info
