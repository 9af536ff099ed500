"""Authority: how far the noise-aware estimate moves the weight that is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.analysis.authority import computed
from simulations.analysis.question import Part, Section

if TYPE_CHECKING:
    from simulations.analysis.results import Results

__all__ = ["name", "parts", "section", "title"]

name = "authority"
title = "What moves the weight: the estimate, the prior, the change cap or the clip?"

VARIANTS = {
    "default": {},
    "lambda 0.9": {"blend_weight": 0.9},
    "no prior": {"prior": "none"},
    "beta 0.9": {"ema_beta": 0.9},
    "internal": {"weight_ema": "internal"},
    "internal, beta 0.9": {"weight_ema": "internal", "ema_beta": 0.9},
}
"""Changes to the default configuration; "default" has the guards of the released code."""

REGIMES = ("calm", "sft_noisy", "rl_noisy", "rl_step", "rl_ramp", "rl_burst", "seasonal")


def parts() -> tuple[Part, ...]:
    """Linear theory, the released controller at two ends, runs in regimes, the shipped recording.

    Examples:
        >>> [part.name for part in parts()][0]
        'authority.linear'
    """
    return (
        Part("authority.linear", computed.linear, {"variants": VARIANTS, "steps": 600}),
        Part(
            "authority.movement",
            computed.movement,
            {"blend_weights": [0.5, 0.9, 1.0], "low": 0.05, "high": 0.95, "steps": 1400},
        ),
        Part(
            "authority.regimes",
            computed.regimes,
            {
                "variants": VARIANTS,
                "regimes": list(REGIMES),
                "seed": 0,
                "seeds": 16,
                "steps": 1400,
            },
        ),
        Part("authority.recording", computed.recording, {"variants": VARIANTS}),
    )


def section(results: Results) -> Section:
    """The answer, from saved results only."""
    from simulations.analysis.authority.answer import answer

    named = {part.name.partition(".")[2]: part for part in parts()}
    return answer(title, named, results)
