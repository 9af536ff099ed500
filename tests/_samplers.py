"""Batches, configurations and splits: Hypothesis strategies, and builders from a seed.

Hypothesis draws values on a dyadic grid, so that a stream either has no spread at all or a spread
far above rounding: what is then tested is the mathematics, not the threshold of "constant".
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gac_ref import Batch, GACConfig
from gac_ref._typing import AnyArray, ArrayLike, BoolArray, FloatArray

Fields = dict[str, Any]

PROPERTY = settings(deadline=None, derandomize=True, database=None, max_examples=60)
"""The same examples on every run, no clock, nothing on disk."""

JUNK = (np.nan, np.inf, -np.inf, 7.0, -1e300)
"""What a trainer may leave in the padding."""

AXES: dict[str, tuple[Any, ...]] = {
    "use_phi": (True, False),
    "coefficient_normalization": ("zscore", "none"),
    "disagreement_rows": ("rollouts", "all"),
    "masking": ("select", "multiply"),
    "weight_ema": ("applied", "internal", "off"),
    "missing_branch": ("hold", "zero"),
    "unseen_statistic": ("hold", "unit"),
    "flat_risk": ("alpha", "zero"),
    "alpha_mode": ("static", "kl"),
    "prior": ("warmup_cosine", "none"),
    "mu_update_freq": (1, 3, 7),
    "ema_beta": (0.9, 0.0, 0.99),
    "blend_weight": (0.5, 1.0, 0.85),
    "mu_change_cap": (0.013, 1.0),
    "delta_g2_cap_ratio": (0.0, 0.4),
    "trim_ratio": (0.1, 0.0, 0.3),
    "mask_eps": (1e-8, 0.0),
    "eps": (1e-8, 1e-2),
}
"""Every choice of the configuration, and a few values of each number."""


def pairwise_designs(axes: Mapping[str, Sequence[Any]], seed: int = 0) -> list[Fields]:
    """Designs in which every pair of values of two axes occurs (greedy, from a seed)."""
    rng = np.random.default_rng(seed)
    open_pairs = all_pairs(axes)
    designs: list[Fields] = []
    while open_pairs:
        pool = []
        for _ in range(40):
            first, second = sorted(open_pairs, key=repr)[rng.integers(len(open_pairs))]
            design = {name: values[rng.integers(len(values))] for name, values in axes.items()}
            design |= dict((first, second))
            pool.append(design)
        best = max(pool, key=lambda design: len(pairs_of(design) & open_pairs))
        designs.append(best)
        open_pairs -= pairs_of(best)
    return designs


def pairs_of(design: Mapping[str, Any]) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    """Every pair of (axis, value) that one design covers."""
    return set(itertools.combinations(sorted(design.items()), 2))


def all_pairs(
    axes: Mapping[str, Sequence[Any]],
) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    """Every pair of (axis, value) that there is."""
    return {
        ((a, x), (b, y))
        for a, b in itertools.combinations(sorted(axes), 2)
        for x in axes[a]
        for y in axes[b]
    }


def seeded_fields(
    rng: np.random.Generator,
    rows: int = 10,
    tokens: int = 7,
    *,
    experts: int | None = None,
    per_token: bool = True,
    empty_rows: int = 0,
    junk: bool = False,
) -> Fields:
    """The arrays of a batch in random row order; the first `empty_rows` rows have no response."""
    experts = rows // 2 if experts is None else experts
    mask = rng.random((rows, tokens)) < 0.75
    if tokens:
        mask[np.arange(rows), rng.integers(tokens, size=rows)] = True
    mask[:empty_rows] = False
    fields: Fields = {
        "logprob": -rng.exponential(1.0, (rows, tokens)),
        "response_mask": mask,
        "advantages": rng.normal(size=(rows, tokens) if per_token else rows),
        "is_expert": rng.permutation(np.arange(rows) < experts),
        "ref_logprob": -rng.exponential(1.0, (rows, tokens)),
    }
    return with_junk(rng, fields) if junk else fields


def with_junk(rng: np.random.Generator, fields: Fields) -> Fields:
    """The same batch with NaN, infinities and other rubbish outside the response."""
    out = dict(fields)
    padding = ~np.asarray(fields["response_mask"])
    for name in ("logprob", "advantages", "ref_logprob", "old_logprob"):
        values = fields.get(name)
        if values is not None and np.ndim(values) == 2:
            out[name] = np.where(padding, rng.choice(JUNK, size=padding.shape), values)
    return out


def to_batch(fields: Fields) -> Batch:
    """The validated batch."""
    return Batch(**fields)


def same_bits(left: tuple[Any, ...], right: tuple[Any, ...]) -> bool:
    """Whether two records of numbers agree in every field to the bit (NaN equals itself)."""
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(left, right, strict=True)
    )


def take_rows(fields: Fields, rows: ArrayLike) -> Fields:
    """Some sequences of a batch, in the order given."""
    index = np.asarray(rows, dtype=np.int64)
    return {k: v[index] if isinstance(v, np.ndarray) else v for k, v in fields.items()}


def as_lists(fields: Fields) -> Fields:
    """The same batch in plain lists, as the exact oracle reads it."""
    out = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields.items()}
    return {"kl": None, "ref_logprob": None, **out}


def response_values(fields: Fields, name: str, rows: BoolArray) -> FloatArray:
    """The response tokens of `name` on the chosen rows, flat."""
    values = np.asarray(fields[name], dtype=np.float64)
    mask = np.asarray(fields["response_mask"], dtype=bool)
    if values.ndim == 1:
        values = np.repeat(values[:, None], mask.shape[1], axis=1)
    return values[rows][mask[rows]]


def variance_error(values: ArrayLike, rtol: float) -> float:
    """What a relative error of `rtol` in each value can do to their variance.

    var' - var = 2 cov(x, dx) + var(dx), at most 2 sd m + m^2 with m = rtol max|x|; and the sum
    itself adds rtol var.
    """
    x = np.asarray(values, dtype=np.float64)
    if not x.size:
        return 0.0
    m = rtol * float(np.abs(x).max())
    return rtol * float(x.var()) + 2.0 * float(x.std()) * m + m * m


def normalised_error(fields: Fields, rows: BoolArray, rtol: float) -> float:
    """What a relative error of `rtol` in each coefficient can do to the z-scored disagreement.

    A z-score moves by rtol max|x| / sd; the disagreement, at most about 4 n / n_min, is quadratic
    in the difference of two of them. 8 covers both streams and both factors of the square.
    """
    worst = 1.0
    logprob = response_values(fields, "logprob", rows)
    p = np.exp(logprob)
    for stream in (p * (1.0 - p), response_values(fields, "advantages", rows)):
        if stream.size and stream.std() > 0.0:
            scale = max(float(np.abs(stream).max()), 1e-3)  # phi is rounded at the scale of p
            worst = max(worst, scale / float(stream.std()))
    tokens = max(int(np.asarray(fields["response_mask"]).sum()), 1)
    return 8.0 * rtol * worst * tokens


# Hypothesis


def grid(low: int, high: int, step: float = 1 / 64) -> st.SearchStrategy[float]:
    """Multiples of `step` between ``low * step`` and ``high * step``; exact in float64."""
    return st.integers(low, high).map(lambda k: k * step)


@st.composite
def batch_fields(
    draw: st.DrawFn,
    *,
    min_rows: int = 0,
    max_rows: int = 9,
    max_tokens: int = 6,
    per_token: bool | None = None,
    full_mask: bool = False,
) -> Fields:
    """Arrays of a batch: any mix of branches, empty rows and constant streams included."""
    rows = draw(st.integers(min_rows, max_rows))
    tokens = draw(st.integers(1, max_tokens))
    shape = (rows, tokens)
    if per_token is None:
        per_token = draw(st.booleans())
    mask = np.ones(shape, dtype=bool) if full_mask else draw(hnp.arrays(np.bool_, shape))
    return {
        "logprob": draw(hnp.arrays(np.float64, shape, elements=grid(-256, 0))),
        "response_mask": mask,
        "advantages": draw(
            hnp.arrays(np.float64, shape if per_token else rows, elements=grid(-192, 192))
        ),
        "is_expert": draw(hnp.arrays(np.bool_, rows)),
    }


@st.composite
def splits(draw: st.DrawFn, rows: int, max_shards: int = 5) -> list[AnyArray]:
    """Row numbers of shards, in any order, that together make the batch; shards may be empty."""
    shards = draw(st.integers(1, max_shards))
    owner = np.array(
        draw(st.lists(st.integers(0, shards - 1), min_size=rows, max_size=rows)), dtype=np.int64
    )
    order = draw(st.permutations(range(shards)))
    return [np.flatnonzero(owner == shard) for shard in order]


@st.composite
def configs(draw: st.DrawFn, **fixed: Any) -> GACConfig:
    """A configuration with every axis drawn, but for those in `fixed`."""
    drawn = {name: draw(st.sampled_from(values)) for name, values in AXES.items()}
    return GACConfig(**{**drawn, **fixed})


MAGNITUDES = st.sampled_from([0.0, 1e-300, 1e-12, 1e-8, 1e-3, 0.5, 1.0, 30.0, 1e12, 1e300])
"""Statistics from nothing at all to the edge of float64."""


@st.composite
def proxy_fields(draw: st.DrawFn) -> Fields:
    """Proxies of one step: extreme, negative disagreement and missing branches included."""
    return {
        "sigma_s2": draw(MAGNITUDES),
        "sigma_r2": draw(MAGNITUDES),
        "delta_g2": draw(MAGNITUDES) * draw(st.sampled_from([1.0, 1.0, -1.0])),
        "has_s": draw(st.booleans()),
        "has_r": draw(st.booleans()),
        "has_delta": draw(st.booleans()),
        "kl": draw(st.sampled_from([np.nan, -0.01, 0.0, 0.019, 0.02, 0.021, 3.0, np.inf])),
    }
