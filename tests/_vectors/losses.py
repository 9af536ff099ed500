"""The hybrid loss and its gradient, for batches and for their parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from _oracles.objectives import AGGREGATIONS, normalizer

from .batches import HARMLESS, batch
from .draft import Draft, Values, between, draft, generator


def drafts() -> Iterator[Draft]:
    yield from _aggregations()
    yield from _terms()
    yield from _reports()


def normalised(
    fields: Values,
    mu: float,
    *,
    rl: str = "token_mean",
    sft_aggregation: str = "token_mean",
    whole: Values | None = None,
    sft: str = "nll",
    low: float = 0.2,
    high: float = 0.28,
) -> Values:
    """A loss exchange; the normalisers are those of `whole`, by default of the batch itself."""
    counted = fields if whole is None else whole
    width = counted["response_mask"].shape[1]
    rows: dict[bool, list[int]] = {
        expert: [i for i, e in enumerate(counted["is_expert"]) if bool(e) == expert]
        for expert in (False, True)
    }
    mask = counted["response_mask"].tolist()
    return fields | {
        "mu": mu,
        "clip_low": low,
        "clip_high": high,
        "sft": sft,
        "rl_aggregation": rl,
        "sft_aggregation": sft_aggregation,
        "rl_normalizer": normalizer(rl, mask, rows[False], width),
        "sft_normalizer": normalizer(sft_aggregation, mask, rows[True], width),
    }


def tokens(seed: Any, rows: int = 7, width: int = 5, **options: Any) -> Values:
    """A batch with sampling log-probabilities whose ratios lie on both sides of the clip."""
    fields = batch(("loss", seed), rows, width, offset=0.2, **options)
    rng = generator("old", seed)
    mask = fields["response_mask"]
    old = np.full(mask.shape, np.nan)
    for i, j in zip(*np.nonzero(mask), strict=True):
        gap = (-0.61, -0.13, 0.09, 0.47)[int(rng.random() * 4)] + between(rng, -0.03, 0.03)
        old[i, j] = min(fields["logprob"][i, j] - gap, -0.004)
    # Unread on the demonstrations, so anything may lie there.
    old[fields["is_expert"]] = np.nan
    return fields | {"old_logprob": old}


def _aggregations() -> Iterator[Draft]:
    for name in AGGREGATIONS:
        slug = name.replace("_", "-")
        yield draft(
            f"loss/{slug}",
            "Both branches under one aggregation; ragged rows, one of them fully masked.",
            [
                normalised(
                    tokens((name, 1), 7, 5, empty=(1,)), 0.37, rl=name, sft_aggregation=name
                ),
                normalised(
                    tokens((name, 2), 5, 4, scalar=True), 0.81, rl=name, sft_aggregation=name
                ),
            ],
        )


def _terms() -> Iterator[Draft]:
    yield draft(
        "loss/phi",
        "The SFT tokens weighted by phi, which is held constant in the gradient.",
        [
            normalised(tokens("phi", 7, 5), 0.43, sft="phi"),
            normalised(
                tokens("phi-two", 5, 4, surprise=0.3), 0.9, sft="phi", sft_aggregation="grpo"
            ),
        ],
    )
    yield draft(
        "loss/mu-at-both-ends",
        "mu = 1 is pure SFT, mu = 0 is pure RL.",
        [normalised(tokens("ends", 7, 5), mu) for mu in (0.0, 1.0, 0.25)],
    )
    yield draft(
        "loss/aggregations-of-their-own",
        "The two branches may be aggregated differently.",
        [
            normalised(
                tokens("own", 7, 5), 0.37, rl="dapo", sft_aggregation="trinity_seq_mean_token_mean"
            ),
            normalised(
                tokens("own", 7, 5), 0.37, rl="seq_mean_token_mean", sft_aggregation="dr_grpo"
            ),
        ],
    )
    signs = tokens("signs", 7, 5, experts=2, holes=False)
    columns = np.array([-1.3, 0.7, 1.9, -0.4, 0.9])
    signs["advantages"] = np.where(signs["response_mask"], columns[None, :], np.nan)
    yield draft(
        "loss/clip-by-sign",
        """The ratio is clipped from above where A > 0 and from below where A < 0, and nowhere
        else; the clip widths differ.""",
        [normalised(signs, 0.3), normalised(signs, 0.3, low=0.35, high=0.05)],
    )
    zero = dict(signs)
    zero["advantages"] = np.where(
        signs["response_mask"] & (np.arange(5) == 2), 0.0, signs["advantages"]
    )
    yield draft(
        "loss/zero-advantage",
        "A token of advantage 0 adds nothing, to the loss or to the gradient.",
        [normalised(zero, 0.3)],
    )
    for branch, experts in (("experts", 0), ("rollouts", 5)):
        yield draft(
            f"loss/no-{branch}",
            f"Without {branch} that branch is 0 with gradient 0, and not NaN.",
            [
                normalised(tokens(("without", branch), 5, 4, experts=experts), 0.37),
                normalised(
                    tokens(("without", branch, 2), 5, 4, experts=experts),
                    0.62,
                    rl="seq_mean_token_mean",
                    sft_aggregation="seq_mean_token_mean",
                ),
            ],
        )
    yield draft(
        "loss/masked-branch",
        "Demonstrations that are all masked, then rollouts that are: a count of 0 divides nothing.",
        [
            normalised(_gone(tokens("gone", 6, 5, experts=2), True), 0.37),
            normalised(_gone(tokens("gone", 6, 5, experts=2), False), 0.37),
        ],
    )
    edge = tokens("edge", 5, 4, experts=1, padding=HARMLESS, lengths=[4] * 5)
    edge["old_logprob"] = np.full((5, 4), -1.0)
    edge["logprob"] = np.where(edge["is_expert"][:, None], edge["logprob"], -1.0)
    yield draft(
        "loss/ratio-on-the-clip",
        """A ratio of exactly 1 with a clip width of 0 lies on the clip: the slope there is the
        unclipped one, or by another choice 0.""",
        [normalised(edge, 0.3, low=0.0, high=0.0), normalised(edge, 0.3, low=0.0, high=0.25)],
        tags="near_kink",
    )
    yield draft(
        "loss/wide",
        "33 tokens a row.",
        [normalised(tokens("wide", 5, 33), 0.37, rl="grpo", sft_aggregation="grpo")],
    )


def _gone(fields: Values, experts: bool) -> Values:
    gone = fields["is_expert"] == experts
    return fields | {"response_mask": fields["response_mask"] & ~gone[:, None]}


def parts(fields: Values, cuts: Sequence[tuple[int, int]]) -> list[Values]:
    """Rows [start, stop) of a batch for each cut."""
    return [{name: value[start:stop] for name, value in fields.items()} for start, stop in cuts]


def _reports() -> Iterator[Draft]:
    every = [(start, stop) for start in range(5) for stop in range(start + 1, 6)]
    for name, rule in (
        ("tokens", "token_mean"),
        ("sequences", "seq_mean_token_mean"),
    ):
        fields = tokens(("split", name), 5, 7, experts=2, lengths=(7, 1, 4, 2, 6))
        yield draft(
            f"loss/micro-batch-split-{name}",
            """All fifteen runs of neighbouring rows of a five-row batch, each with the counts of
            the whole batch: whatever the split, the parts add up to the whole.""",
            [
                normalised(part, 0.37, rl=rule, sft_aggregation=rule, whole=fields)
                for part in parts(fields, every)
            ],
            tags="user-report",
        )
    fields = tokens("accumulation", 7, 9, experts=2)
    yield draft(
        "loss/normaliser-counted-once",
        """Two micro-batches under gradient accumulation: each is divided by the whole batch's
        count, and not once more by the number of micro-batches.""",
        [
            normalised(part, 0.37, rl="dapo", sft_aggregation="dapo", whole=fields)
            for part in parts(fields, [(0, 3), (3, 7)])
        ],
        tags="user-report",
    )
    fields = tokens("no-demonstrations", 7, 4, experts=2)
    plain = np.flatnonzero(~fields["is_expert"])
    yield draft(
        "loss/micro-batch-without-demonstrations",
        "A micro-batch of rollouts alone has an SFT part of 0, not of 0/0.",
        [
            normalised({name: value[rows] for name, value in fields.items()}, 0.37, whole=fields)
            for rows in (plain[:3], plain[3:])
        ],
        tags="user-report",
    )
    for rule in ("seq_mean_token_mean", "token_mean", "seq_mean_token_sum"):
        yield draft(
            f"loss/nan-at-a-masked-token-{rule.replace('_', '-')}",
            """NaN in every array at the masked tokens, and a fully masked row: no aggregation
            reads them.""",
            [
                normalised(
                    tokens(("nan", rule), 6, 5, padding=(float("nan"),), empty=(0,)),
                    0.37,
                    rl=rule,
                    sft_aggregation=rule,
                )
            ],
            tags="user-report",
        )
    yield draft(
        "loss/phi-of-p-not-of-log-p",
        "phi is taken of the probability; of its logarithm it is negative.",
        [normalised(tokens("log-p", 5, 4, surprise=0.7), 0.62, sft="phi")],
        tags="user-report",
    )
    yield draft(
        "loss/mixed-is-not-a-switch",
        "Both branches contribute at every mu in between, in one batch and in one gradient.",
        [normalised(tokens("switch", 7, 4, experts=3), mu) for mu in (0.1, 0.5, 0.93)],
        tags="user-report",
    )
    yield draft(
        "loss/reference-of-the-mix",
        "(1 - mu) GRPO + mu SFT, as a reference that no framework stands behind.",
        [normalised(tokens("mix", 9, 7), 0.37, rl="grpo", sft_aggregation="token_mean")],
        tags="user-report",
    )
    ragged = tokens("ragged", 5, 9, experts=2, holes=False)
    mask = np.arange(9)[None, :] < np.where(ragged["is_expert"], 8, 3)[:, None]
    old = np.where(ragged["is_expert"][:, None], np.nan, -0.8 - 0.05 * np.arange(9)[None, :])
    logprob = np.where(ragged["is_expert"][:, None], -0.3 - 0.1 * np.arange(9)[None, :], old + 0.07)
    advantages = np.broadcast_to((0.9 - 0.5 * np.arange(5))[:, None], mask.shape)
    yield draft(
        "loss/ragged-sft-and-rl-shapes",
        "Demonstrations of 8 tokens and rollouts of 3 in one padded batch.",
        [
            normalised(
                ragged
                | {
                    "response_mask": mask,
                    "logprob": np.where(mask, logprob, np.nan),
                    "old_logprob": np.where(mask, old, np.nan),
                    "advantages": np.where(mask, advantages, np.nan),
                },
                0.37,
            )
        ],
        tags="user-report",
    )
