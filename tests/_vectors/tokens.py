"""The stages of single tokens: transport and coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .batches import HARMLESS, batch
from .draft import Draft, Values, between, draft, generator


def drafts() -> Iterator[Draft]:
    yield from _transport()
    yield from _coefficients()


def chosen(fields: Values, *names: str) -> Values:
    return {name: fields[name] for name in names}


def _transport() -> Iterator[Draft]:
    yield draft(
        "transport/hostile-padding",
        "NaN and infinities in the padding arrive as they are, and so does every bit of the rest.",
        batch("transport", 7, 5, reference=True) | {"batch_kl": 0.0173},
    )
    yield draft(
        "transport/one-advantage-a-sequence",
        "Advantages of shape [B] arrive as [B]; an absent reference stays absent.",
        batch("transport-scalar", 9, 3, scalar=True),
    )
    extremes = batch("transport-extremes", 3, 5, padding=(float("-inf"),), lengths=(4, 5, 4))
    extremes["advantages"] = extremes["advantages"] * np.array([[2.0**-30], [1.0], [2.0**12]])
    yield draft(
        "transport/subnormals-and-large-values",
        "Subnormal numbers are not flushed to 0, and large ones are not clamped.",
        extremes,
    )
    yield draft(
        "transport/no-rows",
        "A batch without sequences is an empty shard, not an error.",
        batch("transport-empty", 0, 3),
    )


def _coefficients() -> Iterator[Draft]:
    names = ("logprob", "response_mask", "advantages", "is_expert")

    def tokens(seed: str, **options: Any) -> Values:
        return chosen(batch(seed, **options), *names)

    yield draft(
        "coefficients/documented",
        "c_s = -p (1 - p), c_r = -A on rollouts and 0 on demonstrations.",
        [tokens("c-one", rows=11, tokens=17), tokens("c-two", rows=5, tokens=4, surprise=0.2)],
    )
    yield draft(
        "coefficients/without-phi",
        "Without phi the SFT coefficient is -1 at every token.",
        [tokens("c-flat", rows=7, tokens=5), tokens("c-flat-two", rows=5, tokens=9)],
        use_phi=False,
    )
    yield draft(
        "coefficients/one-advantage-a-sequence",
        "An advantage of shape [B] is that of each token of its row.",
        tokens("c-scalar", rows=9, tokens=5, scalar=True),
    )
    yield draft(
        "coefficients/released",
        "The same streams under the released configuration, with padding that multiplies to 0.",
        tokens("c-released", rows=7, tokens=9, padding=HARMLESS),
        variant="released",
    )
    rng = generator("certain")
    certain = tokens("c-certain", rows=6, tokens=11, holes=False)
    certain["logprob"] = np.array(
        [
            [-between(rng, 0.2, 1.9) * 2.0 ** -(1 + (i * 11 + j) % 19) for j in range(11)]
            for i in range(6)
        ]
    )
    yield draft(
        "coefficients/certain-tokens",
        """Near p = 1 the difference 1 - p is small and exact; p - p p would lose half of its
        digits.""",
        certain,
    )
    unlikely = tokens("c-unlikely", rows=6, tokens=7, holes=False)
    unlikely["logprob"] = np.array(
        [[-0.7 - 0.31 * i - 0.23 * j * (j + 1) for j in range(7)] for i in range(6)]
    )
    yield draft(
        "coefficients/unlikely-tokens",
        "At small p the coefficient is -p to first order: nothing is clamped.",
        unlikely,
    )
    report = tokens("c-log-p", rows=5, tokens=7, surprise=0.8)
    yield draft(
        "coefficients/p-versus-log-p",
        """The token weight is p (1 - p) of the probability, not of its logarithm, as users of a
        public trainer found it.""",
        report,
        tags="user-report",
    )
    zeros = tokens("c-zero", rows=5, tokens=4)
    zeros["logprob"] = np.where(zeros["response_mask"], -0.0625 * np.arange(4)[None, :], -1.0)
    yield draft(
        "coefficients/probability-one",
        "A token of probability 1 (log-probability 0) has weight 0.",
        zeros,
    )
