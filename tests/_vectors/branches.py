"""Whole steps on batches that lack a branch, or have a single row."""

from __future__ import annotations

from typing import Any

from .batches import HARMLESS, HOSTILE, batch, whole_step
from .draft import Draft, Values, draft


def missing(rule: str, normalization: str = "") -> Any:
    """Batches without a branch under a rule, raw or z-scored; what is left out is the usual one."""
    usual = "none" if rule == "hold" else "zscore"

    def make(attempt: int) -> Draft:
        seed = ("branches", rule, attempt)
        padding = HOSTILE if rule == "hold" else HARMLESS

        def small(name: str, **options: Any) -> Values:
            return batch((*seed, name), options.pop("rows", 7), 5, padding=padding, **options)

        masked = small("masked", experts=3)
        return draft(
            f"step/missing-branches-{rule}{f'-{normalization}' if normalization else ''}",
            """No demonstrations, no rollouts, rollouts without a token, demonstrations without a
            token, no rows at all.""",
            [
                whole_step(small("no-experts", experts=0), (*seed, 1)),
                whole_step(small("no-rollouts", experts=7), (*seed, 2)),
                whole_step(_gone(masked, False), (*seed, 3)),
                whole_step(_gone(masked, True), (*seed, 4)),
                whole_step(batch((*seed, "none"), 0, 3), (*seed, 5)),
            ],
            missing_branch=rule,
            masking="select" if rule == "hold" else "multiply",
            coefficient_normalization=normalization or usual,
            ema_beta=0.6,
            mu_change_cap=0.3,
        )

    return make


def _gone(fields: Values, experts: bool) -> Values:
    gone = fields["is_expert"] == experts
    return fields | {"response_mask": fields["response_mask"] & ~gone[:, None]}


def single(attempt: int) -> Draft:
    seed = ("single", attempt)
    return draft(
        "step/single-row",
        "One rollout alone, one demonstration alone: their variances are 0 and floored.",
        [
            whole_step(batch(seed, 1, 5, experts=0), (*seed, 1)),
            whole_step(batch(seed, 1, 5, experts=1), (*seed, 2)),
        ],
        eps=0.01,
        ema_beta=0.5,
        mu_change_cap=0.3,
    )
