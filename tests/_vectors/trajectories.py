"""Consecutive steps from the port's own state: order, state and schedule."""

from __future__ import annotations

from collections.abc import Iterator

from . import situations
from .batches import HARMLESS
from .clear import clear
from .draft import Draft, draft
from .runs import SHORT, run


def drafts() -> Iterator[Draft]:
    yield from clear(_ALL)


def _every_step(attempt: int) -> Draft:
    return draft(
        "trajectory/documented-every-step",
        "A refresh at every step; warm-up, decay and valley of a short schedule; the cap acts.",
        run(("every", attempt), range(14)),
        mu_update_freq=1,
        ema_beta=0.8,
        mu_change_cap=0.06,
        blend_weight=0.6,
        **SHORT,
    )


def _released(attempt: int) -> Draft:
    return draft(
        "trajectory/released-every-step",
        "The released choices, with every step measured.",
        run(("released", attempt), range(11), padding=HARMLESS),
        variant="released",
        mu_update_freq=1,
        ema_beta=0.8,
        mu_change_cap=0.06,
        blend_weight=0.7,
        **SHORT,
    )


def _decoupled(attempt: int) -> Draft:
    return draft(
        "trajectory/decoupled",
        "The weight EMA keeps its own state while the cap holds the applied weight back.",
        run(("decoupled", attempt), range(10)),
        variant="decoupled",
        mu_update_freq=3,
        ema_beta=0.7,
        mu_change_cap=0.03,
        blend_weight=0.8,
        **SHORT,
    )


def _coupled(attempt: int) -> Draft:
    return draft(
        "trajectory/coupled",
        "The same batches as the decoupled one, with the applied weight fed back.",
        run(("decoupled", attempt), range(10)),
        mu_update_freq=3,
        ema_beta=0.7,
        mu_change_cap=0.03,
        blend_weight=0.8,
        **SHORT,
    )


def _defaults(attempt: int) -> Draft:
    return draft(
        "trajectory/documented-defaults",
        "The defaults, with a refresh at every tenth step.",
        run(("defaults", attempt), range(640, 652), ((7, 3, 3), (5, 4, 2))),
    )


def _released_defaults(attempt: int) -> Draft:
    return draft(
        "trajectory/released-defaults",
        "The released defaults, with a refresh at every tenth step.",
        run(
            ("released-defaults", attempt),
            range(700, 712),
            ((7, 3, 3), (5, 4, 2)),
            padding=HARMLESS,
        ),
        variant="released",
    )


def _seven(attempt: int) -> Draft:
    return draft(
        "trajectory/refresh-every-seventh-step",
        "Steps that are not consecutive: a refresh is due by the step number, not by a counter.",
        run(("seven", attempt), (0, 1, 6, 7, 8, 13, 15, 21, 22, 40, 46, 47)),
        mu_update_freq=7,
        ema_beta=0.6,
        mu_change_cap=0.4,
        blend_weight=0.9,
    )


def _schedule(attempt: int) -> Draft:
    return draft(
        "trajectory/step-index-drives-the-schedule",
        """The first step is not 0, and steps are skipped, as after a resume or with several
        mini-batches a step: the prior follows the step number that is handed over.""",
        run(("schedule", attempt), (37, 120, 199, 200, 201, 470, 640, 985, 999, 1000, 1001, 4000)),
        tags="user-report",
        mu_update_freq=1,
        ema_beta=0.5,
        mu_change_cap=1.0,
        blend_weight=0.35,
    )


def _float32(attempt: int) -> Draft:
    return draft(
        "trajectory/mu-is-not-rounded-to-float32",
        """Thirty-two steps in float64: a mu that is kept or returned in float32 is off by 1e-8 at
        every step, which v0.1.0 of the released code did twice.""",
        run(("float32", attempt), range(32), ((5, 2, 2), (3, 4, 1)), padding=HARMLESS),
        tags="section-5",
        variant="released",
        dtypes=("fp64",),
        mu_update_freq=3,
        ema_beta=0.9,
        mu_change_cap=0.05,
        blend_weight=0.8,
    )


def _shards(attempt: int) -> Draft:
    return draft(
        "trajectory/shards",
        "Batches of many rows for data-parallel ranks: every rank must apply the same weight.",
        run(("shards", attempt), range(6), ((11, 5, 4), (13, 3, 6), (8, 3, 8), (7, 5, 0))),
        tags="shards section-5",
        mu_update_freq=1,
        ema_beta=0.5,
        mu_change_cap=0.2,
        blend_weight=0.8,
        disagreement_rows="all",
    )


def _disagreement_capped(attempt: int) -> Draft:
    return draft(
        "trajectory/disagreement-cap-leaves-the-average",
        """The cap on the disagreement acts at step after step: it limits what the closed form
        reads, and what is averaged stays as it was measured.""",
        run(("disagreement-cap", attempt), range(8)),
        mu_update_freq=1,
        ema_beta=0.5,
        mu_change_cap=0.2,
        blend_weight=0.9,
        delta_g2_cap_ratio=0.1,
    )


_ALL = (
    _every_step,
    _released,
    _decoupled,
    _coupled,
    _defaults,
    _released_defaults,
    _seven,
    _schedule,
    situations.all_expert,
    situations.held,
    situations.missing("hold"),
    situations.missing("zero"),
    situations.unseen("hold"),
    situations.unseen("unit"),
    situations.kl_driven("kl"),
    situations.kl_driven("reference"),
    situations.alpha_bounds,
    situations.clipped,
    situations.off,
    _float32,
    situations.empty,
    _shards,
    situations.poisoned,
    _disagreement_capped,
)
