"""The disagreement cap and the closed form."""

from __future__ import annotations

from collections.abc import Iterator

from .draft import Draft, Values, draft


def statistics(sigma_s2: float, sigma_r2: float, delta_g2: float, alpha: float) -> Values:
    return {"sigma_s2": sigma_s2, "sigma_r2": sigma_r2, "delta_g2": delta_g2, "alpha": alpha}


def drafts() -> Iterator[Draft]:
    plain = [
        statistics(0.71, 1.9, 2.3, 0.37),
        statistics(0.013, 41.0, 0.9, 0.81),
        statistics(33.0, 0.29, 5.1, 0.12),
    ]
    yield draft("closed_form/interior", "The exact ratio, with alpha on the disagreement.", plain)
    yield draft(
        "closed_form/released-denominator",
        'Under "zero" eps is added to the denominator; here it is large enough to see.',
        plain,
        variant="released",
        eps=0.3,
    )
    yield draft(
        "closed_form/eps-is-not-in-the-exact-ratio",
        'Under "alpha" eps decides only whether the risk is flat.',
        plain,
        eps=0.3,
    )
    yield draft(
        "closed_form/limits",
        "Without disagreement, inverse variance; with much of it, alpha; alpha at 0 and 1.",
        [
            statistics(0.6, 1.8, 0.0, 0.9),
            statistics(0.6, 1.8, 4e7, 0.3),
            statistics(0.6, 1.8, 2.2, 0.0),
            statistics(0.6, 1.8, 2.2, 1.0),
            statistics(0.0, 1.8, 0.4, 0.3),
            statistics(1.8, 0.0, 0.4, 0.3),
        ],
    )
    for rule in ("alpha", "zero"):
        yield draft(
            f"closed_form/flat-risk-{rule}",
            """Neither noise nor disagreement beyond twice eps: the risk is flat. "alpha" returns
            alpha, "zero" the ratio with eps below; nearly flat is not flat.""",
            [
                statistics(1e-8, 1e-8, 0.0, 0.3),
                statistics(0.0, 0.0, 0.0, 0.3),
                statistics(1.7e-8, 1e-8, 1.3e-8, 0.3),
                statistics(1e-8, 5e-8, 0.0, 0.3),
                statistics(1e-8, 1e-8, 9e-8, 0.3),
            ],
            flat_risk=rule,
        )
        yield draft(
            f"closed_form/flat-risk-{rule}-large-eps",
            "The same with an eps that decides at ordinary magnitudes.",
            [
                statistics(0.9, 0.4, 0.7, 0.22),
                statistics(1.3, 0.4, 0.7, 0.22),
                statistics(0.9, 1.3, 0.7, 0.22),
                statistics(0.9, 0.4, 1.3, 0.22),
            ],
            flat_risk=rule,
            eps=0.5,
        )
    yield draft(
        "closed_form/zero-over-zero",
        'With eps = 0 and nothing to choose by, "zero" falls to 0 rather than to NaN.',
        [statistics(0.0, 0.0, 0.0, 0.3), statistics(0.0, 0.2, 0.0, 0.3)],
        flat_risk="zero",
        eps=0.0,
    )
    yield draft(
        "closed_form/disagreement-cap",
        "The disagreement is capped at ratio (sigma_s2 + sigma_r2 + eps), before the ratio.",
        [
            statistics(0.71, 1.9, 2.3, 0.37),
            statistics(0.71, 1.9, 0.8, 0.37),
            statistics(0.2, 0.3, 90.0, 0.9),
        ],
        delta_g2_cap_ratio=0.4,
        eps=0.3,
    )
    yield draft(
        "closed_form/ratio-zero-is-off",
        "A cap ratio of 0 switches the cap off; it does not cap at 0.",
        [statistics(0.2, 0.3, 90.0, 0.9), statistics(0.7, 0.3, 4.0, 0.2)],
        delta_g2_cap_ratio=0.0,
    )
    yield draft(
        "closed_form/cap-then-flat",
        "The cap comes first: a capped disagreement can make the risk flat.",
        [statistics(0.6, 0.7, 80.0, 0.22), statistics(0.6, 1.7, 80.0, 0.22)],
        delta_g2_cap_ratio=0.3,
        eps=0.5,
    )
    yield draft(
        "closed_form/on-the-cap",
        "At the cap, and within rounding of it, either flag is right.",
        [
            statistics(0.75, 1.875, 1.375, 0.37),
            statistics(0.75, 1.875, 1.3750000001, 0.37),
            statistics(0.75, 1.875, 2.0, 0.37),
        ],
        tags="near_kink",
        delta_g2_cap_ratio=0.5,
        eps=0.125,
    )
    yield draft(
        "closed_form/nearly-flat",
        "At twice eps, and within rounding of it, flat and not flat are both right.",
        [
            statistics(1.0, 0.4, 0.7, 0.22),
            statistics(1.0000000001, 0.4, 0.7, 0.22),
            statistics(0.4, 0.9999999999, 0.7, 0.22),
        ],
        tags="near_kink",
        eps=0.5,
    )
    yield draft(
        "closed_form/magnitudes",
        "The closed form depends on ratios alone: 1e-12 and 1e12 give the same weight.",
        [statistics(0.71 * scale, 1.9 * scale, 2.3 * scale, 0.37) for scale in (2.0**-40, 2.0**40)],
        eps=0.0,
    )
