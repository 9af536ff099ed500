"""Whole steps under configurations in which every pair of values occurs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from _samplers import AXES, all_pairs, pairs_of

from .batches import HARMLESS, HOSTILE, batch, state
from .draft import Draft, Values, choice, draft, generator

STEP_AXES: dict[str, tuple[Any, ...]] = {
    **AXES,
    "ema_beta": (0.85, 0.0, 0.6),
    "mu_min": (0.05, 0.2),
    "mu_max": (0.9, 0.8),
    "init_mu": (0.5, 0.3),
    "alpha": (0.5, 0.35),
    "alpha_min": (0.1, 0.25),
    "alpha_max": (0.95, 0.85),
    "kl_target": (0.02, 0.3),
    "kl_gain": (0.1, 0.9),
    "mask_eps": (1e-8, 0.0, 0.25),
    "prior_warmup": (200, 12),
    "prior_decay": (800, 60),
    "prior_peak": (0.85, 0.6),
    "prior_valley": (0.15, 0.3),
}
"""Every field of the configuration, with values that can be told apart in bfloat16."""


SHAPES = ((11, 17, 4), (9, 13, 4), (13, 7, 5), (7, 11, 2), (12, 9, 5), (10, 17, 3))
"""(B, T, experts) of the full batch of a design."""


def makers() -> list[Callable[[int], Draft]]:
    """One maker a design."""
    return [lambda attempt, n=n, d=d: _pairwise(n, d, attempt) for n, d in enumerate(designs())]


def designs() -> list[Values]:
    """Configurations in which every pair of values of two fields occurs; greedy, from a seed."""
    rng = generator("designs")
    open_pairs = set(all_pairs(STEP_AXES))
    out: list[Values] = []
    while open_pairs:
        left = sorted(open_pairs, key=repr)
        pool = [_design(rng, STEP_AXES, choice(rng, left)) for _ in range(60)]
        best = max(pool, key=lambda design: len(pairs_of(design) & open_pairs))
        open_pairs -= pairs_of(best)
        out.append(best)
    return out


def _design(rng: Any, axes: Mapping[str, Sequence[Any]], pair: Any) -> Values:
    return {name: choice(rng, values) for name, values in axes.items()} | dict(pair)


def _pairwise(number: int, config: Values, attempt: int) -> Draft:
    """One design on a full batch, and on one without a branch where a statistic is unseen."""
    rows, tokens, experts = SHAPES[number % len(SHAPES)]
    padding = HOSTILE if config["masking"] == "select" else HARMLESS
    seed = ("pairwise", number, attempt)
    driven = config["alpha_mode"] == "kl"
    at = 31 + 13 * number
    full = batch(
        seed,
        rows,
        tokens,
        experts=experts,
        padding=padding,
        scalar=number % 3 == 1,
        reference=driven and number % 2 == 0,
        empty=(2,) if number % 4 == 3 else (),
    )
    short = batch(
        (*seed, "short"),
        5,
        4,
        experts=(0, 5)[number % 2],
        padding=padding,
        reference=driven,
    )
    unseen = ("s", "r", "delta")[(0, 2)[number % 2] if number % 4 < 2 else 1]
    names = {"s": "sigma_s2", "r": "sigma_r2", "delta": "delta_g2"}
    never = {f"previous_count_{unseen}": 0, f"previous_{names[unseen]}": 0.0}
    given = {"batch_kl": 0.0231 + 0.001 * number} if driven and number % 2 else {}
    return draft(
        f"step/pairwise-{number + 1:02d}",
        "One of the designs in which every pair of configuration values occurs.",
        [
            full | given | state(seed, previous_last_refresh=at - 7) | {"step": at},
            short | state((*seed, "short"), previous_last_refresh=at - 9, **never) | {"step": at},
        ],
        tags="pairwise",
        **config,
    )
