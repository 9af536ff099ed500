"""Trajectories with something missing, driven or bounded on the way."""

from __future__ import annotations

from typing import Any

import numpy as np

from .batches import HARMLESS, HOSTILE
from .draft import Draft, draft
from .runs import SHORT, run


def all_expert(attempt: int) -> Draft:
    mixed = run(("all-expert", attempt), [0], ((7, 3, 3),), padding=HARMLESS)
    experts = run(
        ("all-expert", "then", attempt),
        range(1, 21),
        ((3, 2, 3), (4, 2, 4)),
        padding=HARMLESS,
    )
    return draft(
        "trajectory/all-expert-updates-fed-zero",
        """A batch without rollouts feeds 0.0 into the EMA of sigma_r2, which decays towards 0
        although nothing was measured.""",
        mixed + experts,
        tags="section-5",
        variant="released",
        mu_update_freq=1,
        ema_beta=0.9,
        mu_change_cap=0.4,
        blend_weight=0.9,
    )


def held(attempt: int) -> Draft:
    return draft(
        "trajectory/all-expert-updates-held",
        "The documented answer to the same: a missing branch leaves its statistic where it was.",
        run(("held", attempt), range(9), ((5, 4, 5),), experts=lambda i: 2 if i % 5 == 0 else 5),
        mu_update_freq=1,
        ema_beta=0.7,
        mu_change_cap=0.2,
        blend_weight=0.9,
    )


def missing(rule: str) -> Any:
    pattern = (None, 0, None, 9, None, None, 0, 0, 9, None, None)

    def make(attempt: int) -> Draft:
        return draft(
            f"trajectory/missing-branches-{rule}",
            "Batches without demonstrations and batches without rollouts among the others.",
            run(
                ("missing", rule, attempt),
                range(11),
                padding=HOSTILE if rule == "hold" else HARMLESS,
                experts=lambda i: pattern[i],
            ),
            missing_branch=rule,
            masking="select" if rule == "hold" else "multiply",
            mu_update_freq=1,
            ema_beta=0.75,
            mu_change_cap=0.15,
            blend_weight=0.8,
        )

    return make


def unseen(rule: str) -> Any:
    def make(attempt: int) -> Draft:
        return draft(
            f"trajectory/not-ready-{rule}",
            """No demonstration in the first batches: "hold" lets the prior guide alone until the
            statistic is seen, "unit" lets 1 stand in.""",
            run(
                ("unseen", rule, attempt),
                range(10),
                experts=lambda i: 0 if i < 4 else None,
            ),
            unseen_statistic=rule,
            mu_update_freq=1,
            ema_beta=0.6,
            mu_change_cap=0.12,
            blend_weight=0.7,
            **SHORT,
        )

    return make


def kl_driven(source: str) -> Any:
    def make(attempt: int) -> Draft:
        levels = (0.9, 0.5, 0.031, 0.0221, 0.0187, 0.001, 0.0, 0.4, 0.6, 0.0193, 0.7)
        return draft(
            f"trajectory/alpha-from-{source}",
            "Alpha follows the KL at every step, also between refreshes.",
            run(
                ("alpha", source, attempt),
                range(0, 22, 2),
                kl=(lambda i: levels[i]) if source == "kl" else None,
                reference=source == "reference",
            ),
            alpha_mode="kl",
            alpha=0.6,
            kl_target=0.02 if source == "kl" else 0.07,
            kl_gain=1.4 if source == "kl" else 0.8,
            mu_update_freq=3,
            ema_beta=0.4,
            mu_change_cap=0.3,
            blend_weight=0.9,
        )

    return make


def alpha_bounds(attempt: int) -> Draft:
    return draft(
        "trajectory/alpha-at-its-bounds",
        "Alpha rises to its upper bound, stays, and falls to its lower one.",
        run(
            ("alpha-bounds", attempt),
            range(12),
            ((5, 4, 2), (7, 4, 3)),
            kl=lambda i: 0.8 if i < 5 else 0.001,
        ),
        alpha_mode="kl",
        alpha=0.5,
        alpha_min=0.35,
        alpha_max=0.75,
        kl_gain=1.1,
        mu_update_freq=1,
        ema_beta=0.3,
        mu_change_cap=0.4,
        prior="none",
    )


def clipped(attempt: int) -> Draft:
    return draft(
        "trajectory/both-clips",
        "Bounds that the adaptive weight and the applied weight both run into.",
        run(("clipped", attempt), range(9)),
        mu_update_freq=1,
        ema_beta=0.3,
        mu_min=0.3,
        mu_max=0.45,
        init_mu=0.36,
        mu_change_cap=0.083,
        blend_weight=0.43,
        **SHORT,
    )


def off(attempt: int) -> Draft:
    return draft(
        "trajectory/no-weight-ema",
        "Without the weight EMA the closed form goes to the blend as it is.",
        run(("off", attempt), range(9), ((7, 4, 3), (5, 4, 2))),
        weight_ema="off",
        mu_update_freq=2,
        ema_beta=0.6,
        mu_change_cap=0.2,
        prior="none",
    )


def empty(attempt: int) -> Draft:
    def rows(i: int) -> tuple[int, int, int]:
        return (0, 3, 0) if i in (3, 4, 7) else ((5, 4, 2), (7, 4, 3))[i % 2]

    steps = range(10)
    return draft(
        "trajectory/empty-batches",
        "Batches without rows among the others: nothing is measured, and the guards go on.",
        run(("empty", attempt), steps, [rows(i) for i in steps]),
        mu_update_freq=1,
        ema_beta=0.6,
        mu_change_cap=0.1,
        blend_weight=0.6,
        **SHORT,
    )


def poisoned(attempt: int) -> Draft:
    steps = run(("poisoned", attempt), range(5), ((5, 4, 2), (7, 4, 3)), padding=HARMLESS)
    fields = steps[1]
    mask, logprob = fields["response_mask"].copy(), fields["logprob"].copy()
    row = int(np.flatnonzero(fields["is_expert"])[0])
    mask[row, 0], mask[row, 1] = False, True
    logprob[row, 0], logprob[row, 1] = -np.inf, -0.75
    advantages = np.where(mask & ~fields["response_mask"], 0.5, fields["advantages"])
    steps[1] = fields | {"logprob": logprob, "response_mask": mask, "advantages": advantages}
    return draft(
        "trajectory/poisoned-for-good",
        "One -inf in the padding under multiplied masks: mu is NaN from that step on.",
        steps,
        tags="section-5",
        variant="released",
        mu_update_freq=1,
        ema_beta=0.7,
        mu_change_cap=0.2,
    )
