"""Whole steps from a given state, in named situations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import bounds, branches, pairwise, ranks
from .batches import HARMLESS, batch, whole_step
from .clear import clear
from .draft import Draft, Values, draft


def drafts() -> Iterator[Draft]:
    yield from clear([*pairwise.makers(), *_NAMED])
    yield _flat()


def _documented(attempt: int) -> Draft:
    seed = ("documented", attempt)
    return draft(
        "step/documented",
        "The defaults, on one full batch and one with a KL that a static alpha does not read.",
        [
            whole_step(batch(seed, 11, 17), seed),
            whole_step(batch((*seed, 2), 7, 5) | {"batch_kl": 0.9}, seed, 301),
        ],
        tags="shards",
    )


def _released(attempt: int) -> Draft:
    seed = ("released", attempt)
    return draft(
        "step/released",
        "The released choices on one full batch and one with an advantage a sequence.",
        [
            whole_step(batch(seed, 11, 17, padding=HARMLESS), seed),
            whole_step(batch((*seed, 2), 7, 5, padding=HARMLESS, scalar=True), seed, 301),
        ],
        variant="released",
        tags="shards",
    )


def _decoupled(attempt: int) -> Draft:
    seed = ("decoupled", attempt)
    return draft(
        "step/decoupled",
        "The weight EMA feeds itself, whatever was applied.",
        [whole_step(batch(seed, 11, 17), seed), whole_step(batch((*seed, 2), 9, 5), seed, 301)],
        variant="decoupled",
        ema_beta=0.6,
        mu_change_cap=0.5,
        tags="shards",
    )


def _not_due(attempt: int) -> Draft:
    seed = ("not-due", attempt)
    return draft(
        "step/between-refreshes",
        "Where no refresh is due the batch is not measured, but prior, alpha and guards go on.",
        [
            whole_step(batch(seed, 5, 4, reference=True), seed, 12),
            whole_step(batch((*seed, 2), 5, 4, reference=True), seed, 16),
        ],
        alpha_mode="kl",
        kl_gain=0.9,
        mu_change_cap=0.3,
    )


def _first(attempt: int) -> Draft:
    seed = ("first", attempt)
    start: Values = {
        "previous_mu": 0.4,
        "previous_mu_ada": 0.4,
        "previous_sigma_s2": 0.0,
        "previous_sigma_r2": 0.0,
        "previous_delta_g2": 0.0,
        "previous_count_s": 0,
        "previous_count_r": 0,
        "previous_count_delta": 0,
        "previous_last_refresh": -1,
    }
    return draft(
        "step/first",
        "The first step of a run, which need not be step 0: its proxies seed the statistics.",
        [
            whole_step(batch(seed, 9, 7), seed, 0, **start),
            whole_step(batch(seed, 9, 7), seed, 640, **start),
        ],
        init_mu=0.4,
        ema_beta=0.7,
        mu_change_cap=0.2,
    )


def _widths(tokens: int, rows: int) -> Any:
    def make(attempt: int) -> Draft:
        seed = ("width", tokens, attempt)
        return draft(
            f"step/width-{tokens}",
            f"A whole step on {tokens} tokens a row.",
            whole_step(batch(seed, rows, tokens, experts=rows // 3), seed),
            ema_beta=0.6,
            mu_change_cap=0.3,
        )

    return make


def _unnormalised(name: str, rule: str) -> Any:
    def make(attempt: int) -> Draft:
        seed = ("unnormalised", attempt)  # the same batch under both rules
        return draft(
            f"step/{name}",
            """The released code compares the coefficients as they are, against its own notes: on
            this batch the two differ by far.""",
            whole_step(batch(seed, 9, 7, spread=0.3, offset=1.9), seed),
            tags="section-5 shards",
            coefficient_normalization=rule,
            ema_beta=0.0,
            blend_weight=0.95,
            mu_change_cap=1.0,
        )

    return make


def _expert_rows(rule: str) -> Any:
    def make(attempt: int) -> Draft:
        seed = ("expert-rows", attempt)
        return draft(
            f"step/disagreement-of-{rule}",
            """With all rows the demonstrations' own squared phi is averaged into the
            disagreement.""",
            whole_step(batch(seed, 9, 7, experts=6), seed),
            tags="section-5 shards",
            disagreement_rows="all" if rule == "all-rows" else "rollouts",
            coefficient_normalization="none",
            ema_beta=0.0,
            blend_weight=0.95,
            mu_change_cap=1.0,
        )

    return make


def _group_normalised(attempt: int) -> Draft:
    rewards = {0: (1.0, 0.0, 0.0, 1.0), 1: (1.0, 1.0, 1.0, 1.0), 2: (0.0, 0.0, 1.0, 0.0)}
    seed = ("group-normalised", attempt)
    fields = batch(seed, 17, 3, experts=5, scalar=True)
    values = []
    for group in rewards.values():
        mean = sum(group) / 4
        spread = (sum((r - mean) ** 2 for r in group) / 3) ** 0.5
        values += [(r - mean) / (spread + 1e-6) for r in group]
    advantages = np.full(17, 0.25)
    advantages[~fields["is_expert"]] = values
    return draft(
        "step/group-normalised-advantages",
        """Group-normalised advantages make sigma_r2 (G-1)/G times the share of groups with
        spread: here 3/4 of 2/3, whatever the rewards.""",
        whole_step(fields | {"advantages": advantages}, seed),
        tags="section-5 shards",
        ema_beta=0.0,
        mask_eps=0.0,
        mu_change_cap=0.4,
    )


def _poisoned(rule: str) -> Any:
    def make(attempt: int) -> Draft:
        seed = ("poisoned", attempt)
        fields = batch(seed, 7, 5, experts=3, padding=(-3.0,), lengths=(4, 3, 4, 2, 4, 3, 4))
        row = int(np.flatnonzero(fields["is_expert"])[1])
        logprob = fields["logprob"].copy()
        logprob[row, int(np.flatnonzero(~fields["response_mask"][row])[0])] = -np.inf
        clean = whole_step(fields, (*seed, 1))
        return draft(
            f"step/infinity-in-the-padding-{rule}",
            """A log-probability of -inf in the padding of one demonstration: never read under
            "select"; sigma_s2 and mu are NaN under "multiply".""",
            [whole_step(fields | {"logprob": logprob}, seed), clean],
            tags="section-5",
            variant="documented" if rule == "select" else "released",
            ema_beta=0.6,
            mu_change_cap=0.4,
        )

    return make


def _bf16_counts(attempt: int) -> Draft:
    seed = ("counts", attempt)
    return draft(
        "step/tokens-counted-in-bf16",
        """More than 256 tokens a row: a count kept in bfloat16 stops growing there, and every mean
        with it.""",
        whole_step(batch(seed, 5, 283, experts=2, lengths=(282, 261, 271, 267, 279)), seed),
        tags="section-5",
        ema_beta=0.3,
        mu_change_cap=0.4,
    )


def _alpha_bounds(attempt: int) -> Draft:
    seed = ("alpha-bounds", attempt)
    return draft(
        "step/alpha-at-both-bounds",
        "The KL drives alpha into its upper and its lower bound.",
        [
            whole_step(batch(seed, 7, 5) | {"batch_kl": 0.9}, seed, previous_alpha=0.74),
            whole_step(batch(seed, 7, 5) | {"batch_kl": 0.0001}, seed, previous_alpha=0.33),
        ],
        alpha_mode="kl",
        alpha=0.5,
        alpha_min=0.3,
        alpha_max=0.8,
        kl_gain=2.0,
        ema_beta=0.2,
        mu_change_cap=0.6,
    )


def _kl_undefined(attempt: int) -> Draft:
    seed = ("kl-undefined", attempt)
    return draft(
        "step/kl-without-rollouts",
        "Without rollouts there is no KL: one that is NaN is accepted, and alpha is held.",
        [
            whole_step(batch(seed, 5, 4, experts=5) | {"batch_kl": float("nan")}, seed),
            whole_step(batch((*seed, 2), 5, 4, experts=5), seed),
            whole_step(batch((*seed, 3), 5, 4, experts=2) | {"batch_kl": 0.4}, seed),
        ],
        alpha_mode="kl",
        kl_gain=1.5,
        ema_beta=0.4,
        mu_change_cap=0.3,
    )


def _flat() -> Draft:
    seed = "flat"
    fields = batch(seed, 5, 4, experts=2)
    calm = fields | {
        "logprob": np.where(fields["response_mask"], -0.25, np.nan),
        "advantages": np.where(fields["response_mask"], 0.5, np.nan),
    }
    return draft(
        "step/flat-risk",
        "Equal rows, so that both variances lie on the floor: the estimate is alpha.",
        whole_step(calm, seed, previous_alpha=0.66),
        tags="near_kink",
        ema_beta=0.0,
        mu_change_cap=0.6,
        eps=0.01,
    )


_NAMED = (
    _documented,
    _released,
    _decoupled,
    _not_due,
    _first,
    _widths(1, 7),
    _widths(3, 10),
    _widths(33, 7),
    _widths(257, 7),
    branches.missing("hold"),
    branches.missing("zero"),
    branches.single,
    _unnormalised("coefficients-are-not-normalised", "none"),
    _unnormalised("coefficients-are-normalised", "zscore"),
    _expert_rows("all-rows"),
    _expert_rows("rollouts"),
    _group_normalised,
    _poisoned("select"),
    _poisoned("multiply"),
    _bf16_counts,
    ranks.shards,
    ranks.short_ranks,
    ranks.empty_ranks,
    _alpha_bounds,
    _kl_undefined,
    branches.missing("hold", "zscore"),
    bounds.candidate_beyond,
    bounds.previous_outside,
)
