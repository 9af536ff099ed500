"""The statistics EMA and alpha."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .batches import state
from .draft import Draft, Values, draft

NAN = float("nan")


def drafts() -> Iterator[Draft]:
    yield from _statistics_ema()
    yield from _alpha()


_STATISTICS_STATE = (
    "previous_sigma_s2",
    "previous_sigma_r2",
    "previous_delta_g2",
    "previous_count_s",
    "previous_count_r",
    "previous_count_delta",
    "previous_last_refresh",
)


def smoothing(seed: Any, step: int, *, missing: str = "", **changes: Any) -> Values:
    """Inputs of the statistics EMA; `missing` lists the branches that the batch lacks."""
    before = {name: value for name, value in state(seed).items() if name in _STATISTICS_STATE}
    lacks = missing.split()
    fresh: Values = {
        "proxy_sigma_s2": 0.0 if "s" in lacks else 2.71,
        "proxy_sigma_r2": 0.0 if "r" in lacks else 0.37,
        "proxy_delta_g2": 0.0 if "delta" in lacks else 5.3,
        "has_s": "s" not in lacks,
        "has_r": "r" not in lacks,
        "has_delta": "delta" not in lacks,
    }
    return fresh | before | {"step": step} | changes


_UNSEEN: Values = {
    "previous_sigma_s2": 0.0,
    "previous_sigma_r2": 0.0,
    "previous_delta_g2": 0.0,
    "previous_count_s": 0,
    "previous_count_r": 0,
    "previous_count_delta": 0,
    "previous_last_refresh": -1,
}

_NO_DISAGREEMENT: Values = {"previous_delta_g2": 0.0, "previous_count_delta": 0}


def _statistics_ema() -> Iterator[Draft]:
    yield draft(
        "statistics_ema/refresh-when-due",
        """A refresh is due once mu_update_freq steps have passed since the last one, and not a
        step earlier; between refreshes everything stays.""",
        [smoothing("due", step) for step in (8, 9, 12, 40)],
        mu_update_freq=3,
        ema_beta=0.8,
    )
    yield draft(
        "statistics_ema/every-step",
        "With mu_update_freq = 1 every step enters, also the step of the last refresh plus one.",
        [smoothing("every", step) for step in (7, 8)],
        mu_update_freq=1,
        ema_beta=0.9,
    )
    yield draft(
        "statistics_ema/first-value-seeds",
        "Before any refresh one is due at any step; a statistic's first value seeds it as it is.",
        [
            smoothing("seed", step, **(_UNSEEN | {"proxy_sigma_s2": value}))
            for step, value in ((0, 2.71), (7, 1.13))
        ]
        + [smoothing("seed", 17)],
        ema_beta=0.9,
    )
    yield draft(
        "statistics_ema/each-statistic-has-its-own-count",
        """One statistic was never seen, the others were: only that one is seeded, whatever step
        it is.""",
        [
            smoothing("own", 30, previous_count_s=0, previous_sigma_s2=0.0),
            smoothing("own", 31, previous_count_r=0, previous_sigma_r2=0.0),
            smoothing("own", 32, previous_count_delta=0, previous_delta_g2=0.0),
        ],
        ema_beta=0.75,
    )
    for rule in ("hold", "zero"):
        yield draft(
            f"statistics_ema/missing-branch-{rule}",
            """A batch without a branch: "hold" leaves that statistic and its count, "zero" feeds
            0.0 in.""",
            [
                smoothing("missing", 20, missing=lacks)
                for lacks in ("s", "r", "delta r", "s r delta")
            ],
            missing_branch=rule,
            ema_beta=0.9,
        )
    yield draft(
        "statistics_ema/zero-can-seed",
        """Under "zero" a branch missing from the first batch seeds its statistic with 0.0, and is
        ready.""",
        [smoothing("zero-seed", 4, missing="r delta", **_UNSEEN), smoothing("zero-seed", 30)],
        missing_branch="zero",
        ema_beta=0.85,
    )
    yield draft(
        "statistics_ema/never-seen-stands-in",
        "A statistic never seen shows 1 for a variance and 0 for the disagreement, and not_ready.",
        [
            smoothing("unseen", 5, missing="s", **_UNSEEN),
            smoothing("unseen", 6, missing="r delta", **_UNSEEN),
            smoothing("unseen", 7, missing="s r delta", **_UNSEEN),
        ],
    )
    for rule in ("hold", "unit"):
        yield draft(
            f"statistics_ema/disagreement-alone-unseen-{rule}",
            """Both variances were seen, the disagreement never: it alone shows its stand-in, 0, and
            makes the step not_ready, at a refresh and between two.""",
            [
                smoothing("alone", 20, missing="delta", **_NO_DISAGREEMENT),
                smoothing("alone", 9, **_NO_DISAGREEMENT),
                smoothing("alone", 21, **_NO_DISAGREEMENT),
            ],
            unseen_statistic=rule,
            ema_beta=0.7,
        )
    yield draft(
        "statistics_ema/negative-disagreement",
        "An unbiased estimate of the disagreement may be negative; it enters as 0.",
        [
            smoothing("negative", 25, proxy_delta_g2=-0.8),
            smoothing("negative", 26, proxy_delta_g2=0.8),
        ],
        ema_beta=0.6,
    )
    yield draft(
        "statistics_ema/no-smoothing",
        "With ema_beta = 0 a refresh replaces the statistic.",
        [
            smoothing("none", 30),
            smoothing("none", 15),
            smoothing("none", 31, missing="s", previous_count_s=0, previous_sigma_s2=0.0),
        ],
        ema_beta=0.0,
    )
    yield draft(
        "statistics_ema/poisoned-value-stays",
        "A NaN that multiplied masks made enters the statistic and stays in it.",
        [smoothing("poison", 22, proxy_sigma_s2=NAN), smoothing("poison", 23)],
        variant="released",
        ema_beta=0.9,
    )
    yield draft(
        "statistics_ema/magnitudes",
        "Statistics of 1e-9 and of 1e9 are smoothed alike: nothing is added to them.",
        [
            smoothing(
                "size",
                44,
                proxy_sigma_s2=3.1e-9,
                previous_sigma_s2=8.3e-9,
                proxy_sigma_r2=4.7e9,
                previous_sigma_r2=1.3e9,
            ),
            smoothing("size", 45),
        ],
        ema_beta=0.97,
    )


def _alpha() -> Iterator[Draft]:
    yield draft(
        "alpha/static",
        "A static alpha is that of the last step, whatever the KL.",
        [{"previous_alpha": a, "kl": kl} for a, kl in ((0.31, 0.5), (0.77, NAN), (1.0, 0.0))],
        tags="identity",
        alpha=0.31,
    )
    driven: Values = {"alpha_mode": "kl", "kl_gain": 0.7, "alpha": 0.4}
    yield draft(
        "alpha/proportional",
        "Within 20 % of the target the correction is proportional to the relative error.",
        [
            {"previous_alpha": a, "kl": kl}
            for a, kl in ((0.41, 0.0221), (0.63, 0.0183), (0.27, 0.0231), (0.52, 0.0200001))
        ],
        **driven,
    )
    yield draft(
        "alpha/error-is-clipped",
        "Beyond 20 % of the target the relative error is clipped, above and below.",
        [
            {"previous_alpha": a, "kl": kl}
            for a, kl in ((0.41, 0.3), (0.63, 0.0), (0.27, -0.004), (0.52, 1e6))
        ],
        **driven,
    )
    yield draft(
        "alpha/unknown-kl-holds",
        "A KL that is not known leaves alpha as it was; a known one moves it.",
        [{"previous_alpha": a, "kl": kl} for a, kl in ((0.43, NAN), (0.43, 0.017), (0.71, NAN))],
        **driven,
    )
    yield draft(
        "alpha/both-bounds",
        "Alpha stops at its bounds, and the flag says so.",
        [
            {"previous_alpha": a, "kl": kl}
            for a, kl in ((0.79, 0.9), (0.22, 0.001), (0.8, 0.9), (0.2, 0.0), (0.5, 0.9))
        ],
        alpha_mode="kl",
        kl_gain=0.9,
        alpha=0.5,
        alpha_min=0.2,
        alpha_max=0.8,
    )
    yield draft(
        "alpha/another-target",
        "Target and gain are read, not assumed.",
        [{"previous_alpha": a, "kl": kl} for a, kl in ((0.41, 0.33), (0.63, 0.28), (0.27, 0.02))],
        alpha_mode="kl",
        kl_target=0.31,
        kl_gain=1.3,
        alpha=0.4,
    )
    yield draft(
        "alpha/on-a-bound",
        "Exactly on a bound nothing was clipped; within rounding of it either answer is right.",
        [
            {"previous_alpha": 0.5, "kl": 0.28125},
            {"previous_alpha": 0.5, "kl": 0.25},
            {"previous_alpha": 0.5000000001, "kl": 0.28125},
        ],
        tags="near_kink",
        alpha_mode="kl",
        kl_target=0.25,
        kl_gain=1.0,
        alpha=0.5,
        alpha_max=0.5625,
    )
