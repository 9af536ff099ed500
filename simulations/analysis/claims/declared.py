"""Who is compared with whom, and the numbers that the paper claims."""

from __future__ import annotations

from typing import Any

__all__ = [
    "ALONE",
    "CLAIMED",
    "EVALUATION",
    "FAMILIES",
    "FULL",
    "RULES",
    "TOLERANCE",
    "WEIGHT",
    "criterion_settings",
]

EVALUATION = 64
"""Seeds that answers are read from, the first ones of study claims; the rest tune."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "fixed": ("fixed_0.03", "fixed_0.1", "fixed_0.3"),
    "sft_then_rl": ("sft_then_rl_35", "sft_then_rl_90", "sft_then_rl_175"),
    "chord_mu": ("chord_mu_50", "chord_mu_100", "chord_mu_200"),
    "hpt": ("hpt_0", "hpt_1", "hpt_2"),
    "srft": ("srft",),
    "gac_no_prior": ("gac_no_prior_0.1", "gac_no_prior_0.3", "gac_no_prior_0.5"),
    "gac_documented": ("gac_documented_50", "gac_documented_100", "gac_documented_200"),
    "gac_released": ("gac_released",),
    "gac_decoupled": ("gac_decoupled",),
    "gac_unguarded": ("gac_unguarded",),
}
"""Method -> its settings in study claims; one where it has no knob or serves as a reference."""

RULES = ("fixed", "sft_then_rl", "chord_mu", "hpt", "srft")
"""The rule-based controllers; SRFT has no hyperparameter."""

ALONE, FULL = "gac_no_prior", "gac_documented"
"""The noise-aware controller alone (no prior, no KL), and the full system."""

CLAIMED: dict[str, float] = {
    "alone": 3.0,
    "full": 3.8,
    "kl": 0.28,
    "events": 0.70,
    "driver": 0.93,
    "overhead": 0.01,
    "start": 0.85,
    "end": 0.15,
    "proxy": 0.84,
    "power": 0.80,
}
"""The paper's numbers: percentage points, shares, weights, a correlation. The power is ours, the
field's usual one: the paper states a criterion and not what it can see."""

TOLERANCE: dict[str, float] = {"start": 0.05, "end": 0.05, "proxy": 0.10}
"""What "about" means for a weight and for a correlation."""

WEIGHT: dict[str, Any] = {
    "problem": {"kind": "token_policy"},
    "variants": {
        "gac_documented": {"kind": "gac"},
        "gac_released": {"kind": "gac", "variant": "released"},
        "gac_decoupled": {"kind": "gac", "variant": "decoupled"},
        "gac_no_prior": {"kind": "gac", "prior": "none"},
    },
    "horizon": 1400,
    "seeds": 16,
    "learning_rate": 0.125,
}
"""Default guards at full length; four times the steps of study claims at a quarter of its rate."""


def criterion_settings() -> dict[str, Any]:
    """True effects from none to very large, and numbers of seeds.

    Examples:
        >>> criterion_settings()["counts"][0]
        3
    """
    return {
        "effects": [0.0, 0.2, 0.5, 0.8, 1.2, 2.0, 3.0],
        "counts": [3, 5, 10, 15, 26],
        "runs": 20_000,
        "seed": 0,
    }
