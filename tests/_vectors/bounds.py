"""Whole steps that the bounds of mu decide, and not the cap before them."""

from __future__ import annotations

from .batches import batch, whole_step
from .draft import Draft, draft


def candidate_beyond(attempt: int) -> Draft:
    seed = ("candidate-beyond", attempt)
    return draft(
        "step/candidate-beyond-the-bounds",
        """A prior beyond the bounds and a wide cap: mu_capped passes the upper bound, then the
        lower one, and only the clip brings mu back.""",
        [
            whole_step(batch(seed, 7, 5), seed, 12, previous_mu=0.62),
            whole_step(batch((*seed, 2), 5, 4), seed, 90, previous_mu=0.33),
            whole_step(batch((*seed, 3), 7, 4), seed, 12, previous_mu=0.41),
            whole_step(batch((*seed, 4), 5, 7), seed, 90, previous_mu=0.56),
        ],
        ema_beta=0.3,
        mu_min=0.33,
        mu_max=0.62,
        init_mu=0.4,
        mu_change_cap=0.7,
        blend_weight=0.2,
        prior_warmup=10,
        prior_decay=60,
        prior_peak=0.97,
        prior_valley=0.04,
    )


def previous_outside(attempt: int) -> Draft:
    seed = ("previous-outside", attempt)
    return draft(
        "step/previous-weight-outside-the-bounds",
        """A run resumed with new bounds, far from its last weight: the cap counts from that weight,
        and the clip comes after it, so that one step brings mu to its bound.""",
        [
            whole_step(batch(seed, 7, 5), seed, previous_mu=0.11),
            whole_step(batch((*seed, 2), 5, 4), seed, previous_mu=0.94),
            whole_step(batch((*seed, 3), 7, 4), seed, previous_mu=0.335),
        ],
        ema_beta=0.3,
        mu_min=0.36,
        mu_max=0.67,
        init_mu=0.4,
        mu_change_cap=0.07,
        prior="none",
    )
