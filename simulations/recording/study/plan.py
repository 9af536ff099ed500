"""What the study runs: one set of hyperparameters, and the rules that are compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from gac_ref.baselines import CHORDMu, Fixed, InverseVariance, Rule, SFTThenRL
from gac_ref.config import GACConfig
from gac_ref.errors import fail
from gac_ref.schedules import prior_at
from simulations.recording.settings import Settings

CONTROLLERS = (
    *("gac_documented", "gac_released", "gac_decoupled"),
    *("fixed_0.1", "chord_mu", "sft_then_rl", "inverse_variance"),
)
"""The controllers of the shipped study, in the order in which a seed's runs are made."""

MORE = ("fixed_0.5",)
"""Controllers that can be asked for besides."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides a study but for its seeds and controllers."""

    recording: Settings = field(default_factory=lambda: Settings(steps=180, oracle_every=50))
    """Settings of the trainer; `seed` and `variant` are replaced by those of each run."""
    held_out: int = 1024
    """Problems of the held-out test."""
    evaluate_every: int = 60
    """Steps between two held-out tests; there is one before the first step and one at the end."""

    def __post_init__(self) -> None:
        """Refuse what cannot run, naming the field and the value."""
        for name in ("held_out", "evaluate_every"):
            if getattr(self, name) < 1:
                fail(f"{name} = {getattr(self, name)} is below 1; pass at least 1")

    def settings(self, seed: int) -> Settings:
        """The trainer's settings for one seed."""
        return replace(self.recording, seed=seed)

    @property
    def evaluated(self) -> tuple[int, ...]:
        """Steps ahead of which the held-out test is taken, and the last one."""
        return (*range(0, self.recording.steps, self.evaluate_every), self.recording.steps)

    @property
    def oracle_steps(self) -> tuple[int, ...]:
        """Steps with true gradient-space values; not step 0, where all controllers share them."""
        every = self.recording.oracle_every
        return tuple(range(every, self.recording.steps, every)) if every else ()

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values, without what each run replaces."""
        recording = self.recording.to_dict()
        for name in ("seed", "variant"):
            del recording[name]
        return {**asdict(self), "recording": recording}


def controllers(plan: Plan) -> dict[str, Rule]:
    """The rules that are compared.

    The three variants of GAC take the recording's changes (`Settings.gac`: schedule and guards
    scaled to a run of hundreds of steps, alpha driven by the KL). CHORD-mu follows the very prior
    that GAC blends in, so that the two differ by the estimate alone. SFT, then RL, spends the same
    total weight on demonstrations as that prior does. The rest are at their defaults; the fixed
    weight of one half is not in the shipped study.

    Examples:
        >>> rules = controllers(Plan())
        >>> rules["sft_then_rl"].switch_step, rules["chord_mu"].decay
        (85, 150)
        >>> tuple(rules) == CONTROLLERS + MORE
        True
    """
    changes = list(plan.recording.gac)
    gac = {name: GACConfig.variant(name).with_settings(changes) for name in _VARIANTS}
    one = gac["decoupled"]
    budget = sum(prior_at(one, step) for step in range(plan.recording.steps))
    return {
        **{f"gac_{name}": config for name, config in gac.items()},
        "fixed_0.1": Fixed(),
        "chord_mu": CHORDMu(
            warmup=one.prior_warmup,
            decay=one.prior_decay,
            peak=one.prior_peak,
            valley=one.prior_valley,
        ),
        "sft_then_rl": SFTThenRL(switch_step=int(np.rint(budget))),
        "inverse_variance": InverseVariance(),
        "fixed_0.5": Fixed(mu=0.5),
    }


def rule_to_dict(rule: Rule) -> dict[str, Any]:
    """A rule as plain JSON values: its type, and its fields."""
    return {"rule": type(rule).__name__, **asdict(rule)}


_VARIANTS = ("documented", "released", "decoupled")
