"""The stages after the closed form: weight EMA, prior blend, change cap, clip."""

from __future__ import annotations

from collections.abc import Iterator

from .draft import Draft, Values, draft


def drafts() -> Iterator[Draft]:
    yield from _weight_ema()
    yield from _prior_blend()
    yield from _change_cap()
    yield from _clip()


def weights(mu: float, ada: float, raw: float, not_ready: bool = False) -> Values:
    return {"previous_mu": mu, "previous_mu_ada": ada, "mu_raw": raw, "not_ready": not_ready}


def _weight_ema() -> Iterator[Draft]:
    for rule in ("applied", "internal", "off"):
        yield draft(
            f"weight_ema/{rule}",
            "What feeds the weight EMA: the applied weight, its own last value, or nothing.",
            [weights(0.31, 0.62, 0.83), weights(0.72, 0.27, 0.11), weights(0.4, 0.8, 0.97)],
            weight_ema=rule,
            ema_beta=0.7,
            mu_min=0.15,
            mu_max=0.9,
        )
        for held in ("hold", "unit"):
            yield draft(
                f"weight_ema/not-ready-{held}-{rule}",
                """Where a statistic was never seen "hold" leaves the weight EMA where it is; "unit"
                takes the stand-ins' estimate like any other.""",
                [
                    weights(0.31, 0.62, 0.5, not_ready=True),
                    weights(0.72, 0.27, 0.6, not_ready=True),
                    weights(0.72, 0.27, 0.6),
                    weights(0.97, 0.96, 0.98),
                ],
                weight_ema=rule,
                unseen_statistic=held,
                ema_beta=0.8,
            )
    yield draft(
        "weight_ema/both-bounds",
        "The weight EMA is clipped itself, before the blend.",
        [weights(0.88, 0.3, 1.0), weights(0.12, 0.3, 0.0), weights(0.5, 0.3, 0.9)],
        ema_beta=0.5,
        mu_min=0.1,
        mu_max=0.9,
    )
    yield draft(
        "weight_ema/slow",
        "With beta = 0.99 a hundredth of the difference arrives.",
        [weights(0.31, 0.62, 0.83), weights(0.72, 0.27, 0.11)],
    )
    yield draft(
        "weight_ema/on-a-bound",
        "On a bound nothing is clipped; within rounding of it either flag is right.",
        [
            weights(0.9, 0.3, 0.9),
            weights(0.9, 0.3, 0.9000000001),
            weights(0.4, 0.3, 1.0),
        ],
        tags="near_kink",
        ema_beta=0.5,
    )


def _prior_blend() -> Iterator[Draft]:
    def at(*steps: int) -> list[Values]:
        return [{"mu_ada": 0.83 - 0.07 * i, "step": step} for i, step in enumerate(steps)]

    short: Values = {"prior_warmup": 40, "prior_decay": 120, "blend_weight": 0.35}
    yield draft(
        "prior_blend/warmup",
        "A straight line from 0 at step 0 to the peak at the end of the warm-up.",
        at(0, 1, 13, 39),
        **short,
    )
    yield draft(
        "prior_blend/decay",
        "Half a cosine from the peak to the valley; the first step after the warm-up is the peak.",
        at(40, 41, 77, 100, 159),
        **short,
    )
    yield draft(
        "prior_blend/valley", "After the decay the valley, for good.", at(160, 161, 9000), **short
    )
    yield draft(
        "prior_blend/defaults",
        "Warm-up 200, decay 800, peak 0.85, valley 0.15, blend weight 0.5.",
        at(0, 57, 200, 613, 999, 1000),
    )
    yield draft(
        "prior_blend/no-warmup",
        "Without a warm-up the schedule starts at the peak; without a decay it ends there.",
        at(0, 1, 29, 30),
        prior_warmup=0,
        prior_decay=30,
        blend_weight=0.2,
    )
    yield draft(
        "prior_blend/no-decay",
        "Without a decay the valley follows the warm-up at once.",
        at(0, 9, 10, 11),
        prior_warmup=10,
        prior_decay=0,
        blend_weight=0.2,
    )
    yield draft(
        "prior_blend/rising-valley",
        "A valley above the peak is legal: the cosine rises.",
        at(3, 10, 25, 60),
        prior_warmup=10,
        prior_decay=40,
        prior_peak=0.2,
        prior_valley=0.7,
        blend_weight=0.45,
    )
    for weight, name in ((0.0, "prior-alone"), (1.0, "adaptive-alone"), (0.9, "mostly-adaptive")):
        yield draft(
            f"prior_blend/{name}",
            "The blend weight is the share of the adaptive weight, not of the prior.",
            at(30, 300, 700),
            blend_weight=weight,
        )
    yield draft(
        "prior_blend/none",
        "Without a prior the candidate is the adaptive weight, and the prior is NaN.",
        at(3, 300),
        prior="none",
        blend_weight=0.3,
    )


def _change_cap() -> Iterator[Draft]:
    def change(candidate: float, mu: float) -> Values:
        return {"mu_candidate": candidate, "previous_mu": mu}

    yield draft(
        "change_cap/both-directions",
        "The change is limited up and down, against the applied weight.",
        [change(0.71, 0.4), change(0.13, 0.4), change(0.403, 0.4), change(0.394, 0.4)],
        mu_change_cap=0.05,
    )
    yield draft(
        "change_cap/default",
        "At the default a step moves the weight by 0.01 at most.",
        [change(0.62, 0.6), change(0.58, 0.6), change(0.605, 0.6)],
    )
    yield draft(
        "change_cap/beyond-the-bounds",
        "The cap comes before the clip: it may leave the weight outside its bounds.",
        [change(0.99, 0.88), change(0.0, 0.06), change(0.95, 0.93)],
        mu_change_cap=0.04,
    )
    yield draft(
        "change_cap/wide",
        "A wide cap acts on the widest changes alone.",
        [change(0.98, 0.03), change(0.04, 0.99), change(0.9, 0.11)],
        mu_change_cap=0.9,
    )
    yield draft(
        "change_cap/on-the-cap",
        "A change of exactly the cap is not capped; within rounding of it either flag is right.",
        [change(0.75, 0.5), change(0.7500000001, 0.5), change(0.25, 0.5), change(0.1, 0.5)],
        tags="near_kink",
        mu_change_cap=0.25,
    )


def _clip() -> Iterator[Draft]:
    yield draft(
        "clip/both-bounds",
        "The applied weight stops at its bounds.",
        [{"mu_capped": x} for x in (0.91, 0.11, 0.47)],
        mu_min=0.2,
        mu_max=0.85,
    )
    yield draft(
        "clip/default-bounds",
        "0.05 and 0.9: not symmetric.",
        [{"mu_capped": x} for x in (0.93, 0.02, 0.06, 0.88)],
    )
    yield draft(
        "clip/equal-bounds",
        "Equal bounds leave one weight.",
        [{"mu_capped": x} for x in (0.1, 0.7)],
        mu_min=0.37,
        mu_max=0.37,
        init_mu=0.37,
    )
    yield draft(
        "clip/on-a-bound",
        "On a bound nothing is clipped; within rounding of it either flag is right.",
        [{"mu_capped": x} for x in (0.75, 0.7500000001, 0.25, 0.1)],
        tags="near_kink",
        mu_min=0.25,
        mu_max=0.75,
    )
