"""Batch: widened exactly, never changed, and a one-line answer to every malformed array."""

from __future__ import annotations

import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from _samplers import (
    JUNK,
    PROPERTY,
    Fields,
    batch_fields,
    same_bits,
    seeded_fields,
    to_batch,
    with_junk,
)
from hypothesis import given

import gac_ref._tiles
from gac_ref import Batch, GACConfig, GACError, proxies
from gac_ref._typing import AnyArray

FLOATS = (np.float16, np.float32, ml_dtypes.bfloat16, np.float64)
TOKEN_FIELDS = ("logprob", "old_logprob", "ref_logprob", "advantages")
SCRATCH_BYTES = 8_000_000
"""The bound of the specification, whatever B and T; a [B, T] temporary would be 4 or 16 MB."""


def good(seed: int = 0, **kind: Any) -> Fields:
    fields = seeded_fields(np.random.default_rng(seed), 6, 5, experts=2, **kind)
    rows = np.arange(6)
    return fields | {
        "old_logprob": fields["logprob"] - 0.01,
        "group_ids": rows // 3,
        "rewards": rows / 4.0,
        "entropy": 0.7,
        "kl": 0.03,
    }


def refused(changes: Fields, *parts: str, base: Fields | None = None) -> None:
    """`changes` make a batch that is refused in one line holding each of `parts`."""
    with pytest.raises(GACError) as error:
        Batch(**{**(good() if base is None else base), **changes})
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, (part, message)


def put(array: AnyArray, index: Any, value: float) -> AnyArray:
    out = np.array(array, dtype=np.float64)
    out[index] = value
    return out


def response_position(
    fields: Fields, *, expert: bool = False, mask: bool = True
) -> tuple[int, int]:
    """The first (row, token) on the given branch inside or outside the response."""
    chosen = (fields["response_mask"] == mask) & (fields["is_expert"] == expert)[:, None]
    row, token = np.argwhere(chosen)[0]
    return int(row), int(token)


# What a batch is


def test_attributes_are_the_inputs_widened_and_read_only() -> None:
    fields = good()
    batch = to_batch(fields)
    for name in (*TOKEN_FIELDS, "rewards"):
        value = getattr(batch, name)
        assert value.dtype == np.float64
        assert not value.flags.writeable
        np.testing.assert_array_equal(value, fields[name])
    for name in ("response_mask", "is_expert"):
        assert getattr(batch, name).dtype == np.bool_
        assert not getattr(batch, name).flags.writeable
        np.testing.assert_array_equal(getattr(batch, name), fields[name])
    assert batch.group_ids is not None
    assert batch.group_ids.dtype == np.int64
    assert not batch.group_ids.flags.writeable
    assert (batch.kl, batch.entropy) == (0.03, 0.7)
    assert (len(batch), batch.shape) == (6, (6, 5))


def test_rows_and_lengths_partition_the_batch() -> None:
    fields = good()
    batch = to_batch(fields)
    both = np.sort(np.concatenate([batch.expert_rows, batch.rollout_rows]))
    np.testing.assert_array_equal(both, np.arange(6))
    assert fields["is_expert"][batch.expert_rows].all()
    np.testing.assert_array_equal(batch.lengths, fields["response_mask"].sum(axis=1))


def test_optional_fields_default_to_none() -> None:
    batch = Batch([[-1.0]], [[1]], [0.0], [False])
    names = ("group_ids", "rewards", "old_logprob", "ref_logprob", "entropy", "kl")
    assert all(getattr(batch, name) is None for name in names)


@pytest.mark.parametrize("per_token", [True, False])
def test_advantages_keep_their_shape(per_token: bool) -> None:
    batch = to_batch(good(per_token=per_token))
    assert batch.advantages.shape == ((6, 5) if per_token else (6,))
    assert batch.has_token_advantages is per_token


@pytest.mark.parametrize("tokens", [0, 4])
def test_an_empty_shard_is_legal(tokens: int) -> None:
    empty = np.empty((0, tokens))
    for advantages in (empty, np.empty(0)):
        batch = Batch(empty, empty, advantages, np.empty(0))
        assert len(batch) == 0
        assert not any((batch.expert_rows.size, batch.rollout_rows.size, batch.lengths.size))


def test_rows_without_tokens_are_legal() -> None:
    batch = Batch(np.empty((2, 0)), np.empty((2, 0)), [0.0, 1.0], [True, False])
    np.testing.assert_array_equal(batch.lengths, [0, 0])


def test_the_repr_shows_shape_and_composition_but_no_values() -> None:
    text = repr(Batch([[-0.123, -0.5]], [[1, 0]], [0.0], [True]))
    assert text == "Batch(B=1, T=2, experts=1, rollouts=0, response_tokens=1)"


# Widths and layouts


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("per_token", [True, False])
def test_every_float_width_is_widened_exactly(dtype: Any, per_token: bool) -> None:
    fields = good(per_token=per_token)
    narrow = {n: fields[n].astype(dtype) for n in (*TOKEN_FIELDS, "rewards")}
    wide = {name: value.astype(np.float64) for name, value in narrow.items()}
    narrow_batch, wide_batch = Batch(**{**fields, **narrow}), Batch(**{**fields, **wide})
    for name in narrow:
        np.testing.assert_array_equal(getattr(narrow_batch, name), wide[name])
    for config in (GACConfig(alpha_mode="kl"), GACConfig.released()):
        assert same_bits(proxies(config, narrow_batch), proxies(config, wide_batch))


@pytest.mark.parametrize("dtype", [*FLOATS, np.bool_, np.int8, np.uint8, np.int64])
def test_a_mask_of_any_zero_one_dtype_is_the_same_mask(dtype: Any) -> None:
    fields = good()
    cast = {n: fields[n].astype(dtype) for n in ("response_mask", "is_expert")}
    batch = Batch(**{**fields, **cast})
    for name in cast:
        assert getattr(batch, name).dtype == np.bool_
        np.testing.assert_array_equal(getattr(batch, name), fields[name])
    assert same_bits(proxies(GACConfig(), batch), proxies(GACConfig(), to_batch(fields)))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8, np.int64])
def test_integer_advantages_and_rewards_are_widened(dtype: Any) -> None:
    values = np.arange(6).astype(dtype)
    batch = Batch(**{**good(), "advantages": values, "rewards": values})
    np.testing.assert_array_equal(batch.advantages, np.arange(6.0))
    np.testing.assert_array_equal(batch.rewards, np.arange(6.0))


def strided(array: AnyArray) -> AnyArray:
    """Every second column of a wider array."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), dtype=array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": strided,
    "negative strides": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "negative rows": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "big endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": lambda a: a.tolist(),
    "nested tuple": lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else tuple(a.tolist()),
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("per_token", [True, False])
def test_memory_layout_changes_no_bit(layout: str, per_token: bool) -> None:
    fields = good(per_token=per_token)
    laid = {k: LAYOUTS[layout](v) if isinstance(v, np.ndarray) else v for k, v in fields.items()}
    for config in (GACConfig(alpha_mode="kl"), GACConfig.released(), GACConfig(use_phi=False)):
        assert same_bits(proxies(config, Batch(**laid)), proxies(config, to_batch(fields)))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("writeable", [True, False])
def test_the_callers_arrays_are_never_changed(dtype: Any, writeable: bool) -> None:
    rng = np.random.default_rng(3)
    with np.errstate(over="ignore"):  # -1e300 in the padding is -inf in half precision
        fields = with_junk(rng, good())
        narrow = {n: fields[n].astype(dtype) for n in (*TOKEN_FIELDS, "rewards")}
    given_arrays = {k: v for k, v in {**fields, **narrow}.items() if isinstance(v, np.ndarray)}
    for array in given_arrays.values():
        array.flags.writeable = writeable
    before = {name: array.tobytes() for name, array in given_arrays.items()}
    batch = Batch(**given_arrays)
    for config in (GACConfig(alpha_mode="kl"), GACConfig.released(), GACConfig(use_phi=False)):
        proxies(config, batch)
    for name, array in given_arrays.items():
        assert array.tobytes() == before[name], name
        assert array.flags.writeable is writeable, name


def test_nothing_can_be_written_through_a_batch() -> None:
    batch = to_batch(good())
    for name in (*TOKEN_FIELDS, "response_mask", "is_expert", "group_ids", "rewards"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(batch, name)[0] = 0
    for name in ("logprob", "advantages"):
        assert not batch.source(name).flags.writeable


# What is legal outside the response


@PROPERTY
@given(batch_fields())
def test_anything_is_legal_outside_the_response(fields: Fields) -> None:
    junk = to_batch(with_junk(np.random.default_rng(0), fields))
    assert junk.shape == to_batch(fields).shape


@pytest.mark.parametrize("value", JUNK)
@pytest.mark.parametrize("name", TOKEN_FIELDS)
def test_each_kind_of_junk_is_legal_in_each_field(name: str, value: float) -> None:
    fields = good()
    place = response_position(fields, mask=False)
    Batch(**{**fields, name: put(fields[name], place, value)})


def test_a_sequence_without_response_may_have_any_advantage() -> None:
    Batch([[-1.0]], [[0]], [np.nan], [False])


@pytest.mark.parametrize("name", ["old_logprob", "ref_logprob"])
def test_expert_rows_need_no_sampling_or_reference_policy(name: str) -> None:
    fields = good()
    values = np.where(fields["is_expert"][:, None], np.nan, fields[name])
    Batch(**{**fields, name: values})


def test_a_probability_of_one_is_legal() -> None:
    Batch([[0.0, -0.0]], [[1, 1]], [0.0], [False])


# Bad input: values


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", TOKEN_FIELDS)
def test_a_non_finite_value_on_a_response_token_is_refused(name: str, bad: float) -> None:
    fields = good()
    row, token = place = response_position(fields)
    refused({name: put(fields[name], place, bad)}, f"{name}[{row}, {token}] = {bad!r}", "finite")


@pytest.mark.parametrize("name", ["logprob", "old_logprob", "ref_logprob"])
def test_a_log_probability_above_zero_is_refused(name: str) -> None:
    fields = good()
    row, token = place = response_position(fields)
    refused({name: put(fields[name], place, 0.25)}, f"{name}[{row}, {token}] = 0.25", "above 0")


@pytest.mark.parametrize("expert", [True, False])
def test_logprob_is_checked_on_both_branches(expert: bool) -> None:
    fields = good()
    row, token = place = response_position(fields, expert=expert)
    refused({"logprob": put(fields["logprob"], place, np.nan)}, f"logprob[{row}, {token}] = nan")


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_bad_value_is_shown_in_every_width(dtype: Any) -> None:
    fields = good()
    row, token = place = response_position(fields)
    values = put(fields["logprob"], place, 0.5).astype(dtype)
    refused({"logprob": values}, f"logprob[{row}, {token}] = 0.5", "above 0")


def test_the_bad_position_is_right_across_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gac_ref._tiles, "TILE_ELEMENTS", 3)
    fields = good()
    for row, token in np.argwhere(fields["response_mask"]):
        values = put(fields["logprob"], (row, token), 0.5)
        refused({"logprob": values}, f"logprob[{row}, {token}] = 0.5")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["advantages", "rewards"])
def test_a_non_finite_value_of_a_sequence_is_refused(name: str, bad: float) -> None:
    refused({name: put(np.zeros(6), 4, bad)}, f"{name}[4] = {bad!r}", "finite")


@pytest.mark.parametrize("bad", [0.5, -1.0, 2.0, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_a_mask_that_is_not_zero_or_one_is_refused(dtype: Any, bad: float) -> None:
    fields = good()
    mask = put(fields["response_mask"], (1, 2), bad).astype(dtype)
    refused({"response_mask": mask}, f"response_mask[1, 2] = {bad!r}", "neither 0 nor 1")
    expert = put(fields["is_expert"], 3, bad).astype(dtype)
    refused({"is_expert": expert}, f"is_expert[3] = {bad!r}", "neither 0 nor 1")


@pytest.mark.parametrize("bad", [2, -1])
def test_an_integer_mask_must_be_zero_or_one(bad: int) -> None:
    mask = np.ones((6, 5), dtype=np.int64)
    mask[5, 4] = bad
    refused({"response_mask": mask}, f"response_mask[5, 4] = {float(bad)!r}")


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("kl", np.nan),
        ("kl", np.inf),
        ("entropy", -0.1),
        ("entropy", np.nan),
        ("entropy", np.inf),
    ],
)
def test_a_batch_mean_out_of_range_is_refused(name: str, bad: float) -> None:
    refused({name: bad}, f"{name} = {bad!r}", "finite")


@pytest.mark.parametrize("name", ["kl", "entropy"])
@pytest.mark.parametrize("bad", ["high", [0.1, 0.2], {}])
def test_a_batch_mean_must_be_a_number(name: str, bad: Any) -> None:
    refused({name: bad}, f"{name} = {bad!r}", "not a number")


# Bad input: shapes and dtypes

WRONG_SHAPES = {
    "response_mask": [(6, 4), (5, 6), (6,), (), (6, 5, 1)],
    "is_expert": [(5,), (6, 1), (), (1,)],
    "advantages": [(6, 4), (5,), (5, 6), (), (6, 1), (6, 5, 1)],
    "old_logprob": [(6, 4), (6,), (5, 6)],
    "ref_logprob": [(6, 4), (6,), (5, 6)],
    "rewards": [(5,), (6, 5), ()],
    "group_ids": [(5,), (6, 5), ()],
}


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name, shapes in WRONG_SHAPES.items() for shape in shapes]
)
def test_a_wrong_shape_is_refused_by_name(name: str, shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, dtype=np.int64 if name == "group_ids" else np.float64)
    refused({name: values}, name, f"shape {shape}")


@pytest.mark.parametrize("shape", [(), (5,), (6, 5, 1), (0,)])
def test_logprob_must_be_two_dimensional(shape: tuple[int, ...]) -> None:
    refused({"logprob": np.zeros(shape)}, "logprob", f"shape {shape}", "[B, T]")


WRONG_DTYPES: dict[str, tuple[Any, ...]] = {
    "logprob": (np.int64, np.bool_, np.complex128, "U3", object),
    "old_logprob": (np.int64, np.complex128, object),
    "ref_logprob": (np.int64, np.complex128, object),
    "advantages": (np.bool_, np.complex128, "U3", object, "datetime64[s]"),
    "rewards": (np.complex128, "U3", object),
    "group_ids": (np.float64, np.bool_, "U3", object),
    "response_mask": (np.complex128, "U3", object, "datetime64[s]"),
    "is_expert": (np.complex128, "U3", object),
}


@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name, kinds in WRONG_DTYPES.items() for dtype in kinds]
)
def test_a_wrong_dtype_is_refused_by_name(name: str, dtype: Any) -> None:
    shape = (6, 5) if name in (*TOKEN_FIELDS, "response_mask") else (6,)
    values = np.zeros(shape, dtype=np.int64).astype(dtype)
    refused({name: values}, name, f"dtype {values.dtype.name}")


def test_a_float_wider_than_float64_is_refused_and_not_rounded() -> None:
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("long double is float64 here")
    refused({"logprob": np.zeros((6, 5), np.longdouble)}, "logprob", "wider than float64")


@pytest.mark.parametrize("name", ["logprob", "response_mask", "advantages"])
def test_a_ragged_list_is_refused(name: str) -> None:
    refused({name: [[0.0, 1.0], [0.0]]}, name, "rectangular")


def test_masked_positions_do_not_excuse_a_bad_neighbour() -> None:
    fields = good()
    place = response_position(fields, mask=False)
    row, token = bad = response_position(fields)
    values = put(put(fields["logprob"], place, np.nan), bad, np.nan)
    refused({"logprob": values}, f"logprob[{row}, {token}] = nan")


# Memory


@pytest.mark.parametrize("rows", [256, 1024])
@pytest.mark.parametrize("per_token", [True, False])
@pytest.mark.parametrize("variant", ["documented", "released"])
def test_scratch_is_bounded_whatever_the_batch(rows: int, per_token: bool, variant: str) -> None:
    rng = np.random.default_rng(0)
    tokens = 2048
    logprob = -rng.random((rows, tokens), dtype=np.float32)
    advantages = rng.random((rows, tokens) if per_token else rows, dtype=np.float32)
    mask, expert = rng.random((rows, tokens), dtype=np.float32) < 0.9, rng.random(rows) < 0.5
    config = GACConfig.variant(variant, alpha_mode="kl")
    tracemalloc.start()
    try:
        batch = Batch(logprob, mask, advantages, expert, ref_logprob=logprob)
        built = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        proxies(config, batch)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(built, used) <= SCRATCH_BYTES


@pytest.mark.parametrize("dtype", ["int64", "float32", "uint8"])
def test_a_mask_of_another_dtype_is_never_converted_as_a_whole(dtype: str) -> None:
    shape = (1024, 2048)
    mask = np.ones(shape, dtype=dtype)
    logprob = np.full(shape, -1.0, dtype=np.float32)
    advantages, is_expert = np.zeros(shape[0]), np.arange(shape[0]) < 100
    tracemalloc.start()
    proxies(GACConfig(), Batch(logprob, mask, advantages, is_expert))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_many_short_rows_are_merged_from_chunks() -> None:
    shape = (200_000, 4)
    rng = np.random.default_rng(0)
    logprob, advantages = -rng.random(shape), rng.normal(size=shape)
    is_expert = rng.random(shape[0]) < 0.5
    mask = np.ones(shape, dtype=np.bool_)
    tracemalloc.start()
    proxies(GACConfig(), Batch(logprob, mask, advantages, is_expert))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # One number a row for each of NLL, length and row list remains: 200,000 of them are 1.6 MB.
    assert peak < 16 * 2**20


def test_the_mean_of_no_rollouts_may_be_nan() -> None:
    assert Batch([[-1.0]], [[1]], [0.0], [True], kl=float("nan")).kl is None
    with pytest.raises(GACError, match="kl = nan"):
        Batch([[-1.0]], [[1]], [0.0], [False], kl=float("nan"))
