"""The stage that makes one number a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .batches import HARMLESS, HOSTILE, batch
from .draft import Draft, Values, draft, generator


def drafts() -> Iterator[Draft]:
    yield from _sequences()
    yield from _widths()
    yield from _poisoned()
    yield from _constant_streams()
    yield from _kl()


def sequences(seed: Any, **options: Any) -> Values:
    return batch(seed, **options)


def _sequences() -> Iterator[Draft]:
    designs: list[tuple[str, str, Values]] = [
        ("documented", "Masked means, and the z-scored disagreement on the rollouts.", {}),
        (
            "all-rows",
            "z-scores pooled over all rows; the RL coefficient is 0 on demonstrations.",
            {"disagreement_rows": "all"},
        ),
        (
            "raw-rollouts",
            "No normalisation, rollouts only.",
            {"coefficient_normalization": "none"},
        ),
        (
            "raw-all-rows",
            "No normalisation, all rows: the experts add their own phi squared.",
            {"coefficient_normalization": "none", "disagreement_rows": "all"},
        ),
        (
            "raw-without-phi",
            "No normalisation and no phi: (A - 1)^2.",
            {"coefficient_normalization": "none", "use_phi": False},
        ),
    ]
    for name, comment, config in designs:
        yield draft(
            f"sequences/{name}",
            comment,
            [
                sequences((name, 1), rows=11, tokens=17, empty=(3,)),
                sequences((name, 2), rows=7, tokens=5, scalar=True, offset=2.3, spread=0.4),
            ],
            **config,
        )
    yield draft(
        "sequences/released",
        "The released choices: raw coefficients, all rows, masks that multiply.",
        [
            sequences("released", rows=11, tokens=17, padding=HARMLESS, empty=(5,)),
            sequences("released-scalar", rows=5, tokens=7, padding=HARMLESS, scalar=True),
        ],
        variant="released",
    )
    for eps, name in ((0.0, "zero"), (0.4, "large")):
        yield draft(
            f"sequences/mask-eps-{name}",
            "mask_eps is added to the count once; at 0 a fully masked row is still 0, not 0/0.",
            [
                sequences(("eps", name), rows=9, tokens=5, empty=(2, 6)),
                sequences(("eps-two", name), rows=5, tokens=4, scalar=True, empty=(1,)),
            ],
            mask_eps=eps,
            disagreement_rows="all",
        )
    yield draft(
        "sequences/normalised-mask-eps",
        "The pooled moments have no mask_eps; only the mean over a row's tokens has it.",
        sequences("moments", rows=7, tokens=9, lengths=(1, 9, 2, 3, 8, 4, 5)),
        mask_eps=0.7,
    )
    yield draft(
        "sequences/masked-row-with-nan-advantage",
        "One advantage a sequence, NaN on a row without response tokens: it is never read.",
        _nan_advantage(sequences("nan-row", rows=7, tokens=5, scalar=True, empty=(1, 4))),
    )
    yield draft(
        "sequences/large-offset",
        "Advantages of mean 200 and spread 1: raw second moments lose all digits in float32.",
        sequences("offset", rows=7, tokens=9, offset=200.0, spread=1.0),
    )
    yield draft(
        "sequences/scales-apart",
        "Advantages of order 1e-3 against log-probabilities of order 1.",
        sequences("apart", rows=7, tokens=9, offset=0.004, spread=0.002),
    )
    yield draft(
        "sequences/single-row",
        "One rollout, and one demonstration, alone.",
        [
            sequences("one-rollout", rows=1, tokens=5, experts=0),
            sequences("one-expert", rows=1, tokens=5, experts=1),
            sequences("one-token", rows=3, tokens=2, experts=1),
        ],
    )
    for rule, normalization, suffix in (
        ("hold", "none", ""),
        ("zero", "zscore", ""),
        ("hold", "zscore", "-zscore"),
    ):
        yield draft(
            f"sequences/branches-{rule}{suffix}",
            "No demonstrations; no rollouts; rollouts without a token; no rows at all.",
            [
                sequences((rule, "no-experts"), rows=5, tokens=4, experts=0),
                sequences((rule, "no-rollouts"), rows=5, tokens=4, experts=5),
                _without_tokens(sequences((rule, "masked"), rows=5, tokens=4), experts=False),
                sequences((rule, "none"), rows=0, tokens=3),
            ],
            missing_branch=rule,
            coefficient_normalization=normalization,
        )
    yield draft(
        "sequences/padding-on-either-side",
        "Left padding, right padding and holes give the same means as the tokens alone.",
        _same_tokens(),
    )
    yield draft(
        "sequences/ragged-sft-and-rl-shapes",
        """Long demonstrations beside short rollouts in one padded batch, as users of a public
        trainer had them.""",
        sequences(
            "ragged", rows=7, tokens=33, experts=3, lengths=_by_branch("ragged", 7, 3, 31, 4)
        ),
        tags="user-report shards",
    )


def _by_branch(seed: str, rows: int, experts: int, long: int, short: int) -> list[int]:
    """Lengths: long for the experts of the batch of that seed, short for its rollouts."""
    expert = batch(seed, rows, 33, experts=experts)["is_expert"]
    return [long + i % 2 if e else short - i % 3 for i, e in enumerate(expert)]


def _nan_advantage(fields: Values) -> Values:
    empty = ~fields["response_mask"].any(axis=1)
    return fields | {"advantages": np.where(empty, np.nan, fields["advantages"])}


def _without_tokens(fields: Values, *, experts: bool) -> Values:
    gone = fields["is_expert"] == experts
    return fields | {"response_mask": fields["response_mask"] & ~gone[:, None]}


def _same_tokens() -> list[Values]:
    """One batch three times: padded right, padded left, with holes."""
    full = batch("sides", 7, 5, lengths=[5] * 7)
    rng = generator("sides")
    out = []
    for places in ([0, 1, 2, 3, 4], [6, 7, 8, 9, 10], [0, 3, 4, 7, 10]):
        mask = np.zeros((7, 11), dtype=np.bool_)
        mask[:, places] = True
        wide: Values = {"response_mask": mask, "is_expert": full["is_expert"]}
        for name in ("logprob", "advantages"):
            wide[name] = np.array(
                [[HOSTILE[int(rng.random() * 4)] for _ in range(11)] for _ in range(7)]
            )
            wide[name][:, places] = full[name]
        out.append(wide)
    return out


def _widths() -> Iterator[Draft]:
    for tokens, rows in ((1, 5), (3, 7), (9, 11), (33, 7), (257, 5), (1031, 4)):
        yield draft(
            f"sequences/width-{tokens}",
            f"{tokens} tokens: the tail of a tile of 2, 8, 16, 32, 256 or 1024 is ragged.",
            sequences(("width", tokens), rows=rows, tokens=tokens, experts=max(1, rows // 3)),
            coefficient_normalization="zscore" if tokens != 33 else "none",
        )
    yield draft(
        "sequences/width-multiple-of-8",
        "A width that needs no tail, and rows that fill it.",
        sequences("width-16", rows=7, tokens=16, lengths=(16, 11, 16, 8, 16, 5, 9)),
    )
    yield draft(
        "sequences/tokens-counted-in-bf16",
        """More than 256 tokens a row: a count summed in bfloat16 stops at 256, and the eps of the
        masked mean vanishes there.""",
        sequences("count", rows=5, tokens=401, experts=2, lengths=(300, 257, 271, 299, 283)),
        tags="section-5",
    )


def _poisoned() -> Iterator[Draft]:
    for rule, comment in (
        ("select", "never read"),
        ("multiply", "multiplied by 0, which makes NaN of an infinity and stays in the sum"),
    ):
        fields = batch("infinity", 7, 5, experts=3, padding=(-3.0,), lengths=(5, 3, 4, 2, 5, 4, 4))
        rows = np.flatnonzero(~fields["response_mask"].all(axis=1))
        poisoned = dict(fields)
        for name, row, value in (
            ("logprob", _first(rows, fields["is_expert"], True), -np.inf),
            ("advantages", _first(rows, fields["is_expert"], False), np.nan),
        ):
            values = fields[name].copy()
            values[row, int(np.flatnonzero(~fields["response_mask"][row])[0])] = value
            poisoned[name] = values
        yield draft(
            f"sequences/infinity-in-the-padding-{rule}",
            f"A log-probability of -inf and a NaN advantage in the padding are {comment}.",
            [poisoned, fields],
            tags="section-5",
            masking=rule,
            coefficient_normalization="none",
        )
    yield draft(
        "sequences/nan-pools-through-zscores",
        """With multiplied masks one NaN in the padding poisons the pooled mean, and so the
        disagreement of every row, but not the means of the others.""",
        [poisoned, fields],
        masking="multiply",
        coefficient_normalization="zscore",
    )


def _first(rows: Sequence[int], expert: Any, wanted: bool) -> int:
    return next(int(row) for row in rows if bool(expert[row]) == wanted)


def _constant_streams() -> Iterator[Draft]:
    fields = batch("constant", 7, 5, experts=2)
    yield draft(
        "sequences/constant-sft-stream",
        "Without phi the SFT stream has no spread: it becomes 0, and the flag says so.",
        [fields, batch("constant-two", 9, 3, experts=4)],
        use_phi=False,
    )
    constant = fields | {"advantages": np.where(fields["response_mask"], 1.5, 7.0)}
    yield draft(
        "sequences/constant-rl-stream",
        "Equal advantages have no spread: the RL stream becomes 0, and the flag says so.",
        [constant, constant | {"advantages": np.full(7, -0.75)}],
        tags="near_kink",
    )
    yield draft(
        "sequences/both-streams-constant",
        "Neither stream has spread: the disagreement is 0 everywhere.",
        [constant, fields],
        tags="near_kink",
        use_phi=False,
    )
    single = batch("single-token", 3, 5, experts=1, lengths=(1, 1, 1))
    mask = single["response_mask"] & (
        single["is_expert"][:, None] | (np.cumsum(~single["is_expert"]) == 1)[:, None]
    )
    yield draft(
        "sequences/one-token-has-no-spread",
        "A single response token among the rollouts has no spread in either stream.",
        [single | {"response_mask": mask}, single],
    )


def _kl() -> Iterator[Draft]:
    driven: Values = {"alpha_mode": "kl", "alpha": 0.4}
    yield draft(
        "sequences/kl-from-reference",
        "The mean k3 estimate over the rollouts' response tokens; demonstrations do not enter.",
        [
            sequences("kl", rows=9, tokens=7, reference=True),
            sequences("kl-all-masked", rows=5, tokens=4, reference=True, empty=(0, 1, 2)),
        ],
        **driven,
    )
    small = sequences("kl-small", rows=7, tokens=5, reference=True, holes=False)
    nearby = small["logprob"] * (1.0 + np.array([[2.0 ** -(3 + j)] for j in range(7)]))
    yield draft(
        "sequences/kl-small-differences",
        "A reference close by: exp(d) - d - 1 loses its digits, expm1(d) - d fewer.",
        small | {"ref_logprob": np.where(small["response_mask"], nearby, np.nan)},
        **driven,
    )
    yield draft(
        "sequences/kl-given",
        "A KL that the trainer hands over is taken as it is, and not where there is no rollout.",
        [
            sequences("kl-given", rows=5, tokens=4, reference=True) | {"batch_kl": 0.0371},
            sequences("kl-alone", rows=5, tokens=4) | {"batch_kl": 0.0173},
            sequences("kl-experts", rows=3, tokens=5, experts=3) | {"batch_kl": 0.0173},
        ],
        **driven,
    )
    yield draft(
        "sequences/kl-unknown",
        "Neither a KL nor a reference, or a static alpha: the KL is NaN.",
        [
            sequences("kl-none", rows=5, tokens=4),
            sequences("kl-unread", rows=5, tokens=4, reference=True) | {"batch_kl": 0.0173},
        ],
    )
