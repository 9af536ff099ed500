"""The CUDA port from torch, by pointer, on the host build: right answers, or a refusal by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from _cuda import built

from gac_ref import GACConfig
from gac_ref.conformance.adapters.c_library import c_config
from gac_ref.ports.cuda.binding import ROW, BadCall, CBatch, Library, tensor
from gac_ref.ports.cuda.memory import DeviceArray

torch = pytest.importorskip("torch")

B, T = 7, 43  # neither a multiple of a wide read, nor of one another
MAX_SORTED = 2**20


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(built(tmp_path_factory, "host"))


def batch(rows: int = B, width: int = T, dtype: Any = torch.float32) -> dict[str, Any]:
    rng = np.random.default_rng(rows + width)
    length = rng.integers(0, width + 1, rows)
    return {
        "logprob": torch.from_numpy(-rng.exponential(size=(rows, width))).to(dtype),
        "response_mask": torch.from_numpy(np.arange(width) < length[:, None]),
        "advantages": torch.from_numpy(rng.normal(size=(rows, width))).to(dtype),
        "is_expert": torch.from_numpy(np.arange(rows) % 3 == 0),
    }


def rows_of(library: Library, values: dict[str, Any]) -> bytes:
    rows = torch.full((len(values["logprob"]), len(ROW)), 7.0, dtype=torch.float64)
    library.fused_rows(GACConfig(), values, rows)
    return rows.numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_tensors_of_torch_and_arrays_of_numpy_give_the_same_bits(
    library: Library, dtype: str
) -> None:
    values = batch(dtype=getattr(torch, dtype))
    bits = {torch.bfloat16: torch.int16}
    arrays = {n: v.view(bits.get(v.dtype, v.dtype)).numpy() for n, v in values.items()}
    names = {n: "bfloat16" for n in ("logprob", "advantages")} if dtype == "bfloat16" else {}
    rows = np.full((B, len(ROW)), 7.0)
    library.fused_rows(GACConfig(), arrays, rows, dtypes=names)
    assert rows_of(library, values) == rows.tobytes()


def _layouts(values: Any) -> dict[str, Any]:
    wide = torch.zeros(values.shape[0], 3 * values.shape[1] + 1, dtype=values.dtype)
    wide[:, 1::3] = values
    return {
        "a transposed view": values.t().contiguous().t(),
        "every third column": wide[:, 1::3],
        "a slice of rows": torch.cat([values, values])[values.shape[0] :],
        "off a wide boundary": torch.cat([values.new_zeros(1), values.flatten()])[1:].view(
            values.shape
        ),
    }


@pytest.mark.parametrize("name", ["logprob", "advantages", "response_mask"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_views_that_are_not_contiguous_give_the_same_bits(
    library: Library, name: str, dtype: str
) -> None:
    values = batch(dtype=getattr(torch, dtype))
    expected = rows_of(library, values)
    for layout, view in _layouts(values[name]).items():
        assert rows_of(library, {**values, name: view}) == expected, layout


def test_an_expanded_advantage_is_read_once_a_sequence(library: Library) -> None:
    values = batch()
    once = values["advantages"][:, :1]
    spread = {**values, "advantages": once.expand(B, T)}  # a stride of 0
    assert rows_of(library, spread) == rows_of(library, {**values, "advantages": once[:, 0]})


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "bfloat16"])
def test_masks_of_any_dtype_give_the_same_bits(library: Library, dtype: str) -> None:
    values = batch()
    flags = {n: values[n].to(getattr(torch, dtype)) for n in ("response_mask", "is_expert")}
    assert rows_of(library, {**values, **flags}) == rows_of(library, values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_lies_in_the_padding_shows_in_no_bit(library: Library, value: float) -> None:
    values = batch()
    spoilt = {
        name: values[name].masked_fill(~values["response_mask"], value)
        for name in ("logprob", "advantages")
    }
    assert rows_of(library, {**values, **spoilt}) == rows_of(library, values)


@pytest.mark.parametrize(("rows", "width"), [(0, T), (B, 0), (0, 0), (1, 1)])
def test_empty_batches_and_no_tokens_are_right_answers(
    library: Library, rows: int, width: int
) -> None:
    values = batch(rows, width)
    found = np.frombuffer(rows_of(library, values)).reshape(rows, len(ROW))
    count = values["response_mask"].sum(dim=1).numpy()
    np.testing.assert_array_equal(found[:, ROW.index("tokens")], count)
    np.testing.assert_array_equal(found[:, ROW.index("refused")], np.zeros(rows))


# Refused by name, before anything is read or written


def refused(library: Library, values: dict[str, Any], rows: Any = None) -> str:
    untouched = torch.full((B, len(ROW)), 7.0, dtype=torch.float64)
    with pytest.raises(BadCall) as error:
        library.fused_rows(GACConfig(), values, untouched if rows is None else rows)
    assert "\n" not in str(error.value)
    assert bool((untouched == 7.0).all())
    return error.value.code


@pytest.mark.parametrize(
    "name", ["logprob", "response_mask", "advantages", "is_expert", "ref_logprob"]
)
def test_a_tensor_of_another_device_is_refused(library: Library, name: str) -> None:
    values = {**batch(), "ref_logprob": batch()["logprob"]}
    elsewhere = {**values, name: values[name].to("meta")}
    assert refused(library, elsewhere) == "WRONG_DEVICE"


def test_rows_of_another_device_are_refused(library: Library) -> None:
    rows = torch.empty(B, len(ROW), dtype=torch.float64, device="meta")
    assert refused(library, batch(), rows) == "WRONG_DEVICE"


Change = Callable[[Any], Any]
CUT_SHORT: list[tuple[str, Change]] = [
    ("logprob", lambda v: v[0]),
    ("logprob", lambda v: v[None]),
    ("response_mask", lambda v: v[:, :-1]),
    ("response_mask", lambda v: v[:-1]),
    ("response_mask", lambda v: v[:, 0]),
    ("advantages", lambda v: v[:, :-1]),
    ("advantages", lambda v: v[:-1, 0]),
    ("advantages", lambda v: v.t()),
    ("is_expert", lambda v: v[:-1]),
    ("is_expert", lambda v: v[:, None]),
    ("ref_logprob", lambda v: v[:, 1:]),
]


@pytest.mark.parametrize(("name", "change"), CUT_SHORT)
def test_a_tensor_that_is_too_short_is_never_read_beyond_its_end(
    library: Library, name: str, change: Change
) -> None:
    values = {**batch(), "ref_logprob": batch()["logprob"]}
    assert refused(library, {**values, name: change(values[name])}) == "BAD_SHAPE"


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (torch.zeros(B - 1, len(ROW), dtype=torch.float64), "BAD_SHAPE"),
        (torch.zeros(B, len(ROW) - 1, dtype=torch.float64), "BAD_SHAPE"),
        (torch.zeros(len(ROW), B, dtype=torch.float64).t(), "BAD_SHAPE"),
        (torch.zeros(B, 2 * len(ROW), dtype=torch.float64)[:, ::2], "BAD_SHAPE"),
        (torch.zeros(2 * B, len(ROW), dtype=torch.float64)[::2], "BAD_SHAPE"),
        (torch.zeros(B, len(ROW)), "BAD_DTYPE"),
    ],
)
def test_rows_that_do_not_hold_the_answer_are_refused(
    library: Library, rows: Any, code: str
) -> None:
    assert refused(library, batch(), rows) == code
    assert not rows.any()


@pytest.mark.parametrize("name", ["logprob", "advantages", "ref_logprob"])
def test_tokens_that_are_integers_are_refused(library: Library, name: str) -> None:
    values = {**batch(), "ref_logprob": batch()["logprob"]}
    assert refused(library, {**values, name: values[name].long()}) == "BAD_DTYPE"


def test_a_missing_tensor_is_refused(library: Library) -> None:
    values = batch()
    del values["is_expert"]
    assert refused(library, values) == "NULL_POINTER"


def test_an_array_of_another_width_is_not_read_as_wider(library: Library) -> None:
    values = {n: v.numpy() for n, v in batch().items()}
    rows = np.zeros((B, len(ROW)))
    with pytest.raises(BadCall) as error:
        library.fused_rows(GACConfig(), values, rows, dtypes={"logprob": "float64"})
    assert error.value.code == "BAD_DTYPE"


def test_a_tensor_that_begins_between_two_elements_is_refused(library: Library) -> None:
    values = batch()
    memory = np.zeros(4 * B * T + 1, np.uint8)
    odd = np.ndarray((B, T), np.float32, buffer=memory.data, offset=1)
    arrays = {n: v.numpy() for n, v in values.items()}
    rows = np.zeros((B, len(ROW)))
    with pytest.raises(BadCall) as error:
        library.fused_rows(GACConfig(), {**arrays, "logprob": odd}, rows)
    assert error.value.code == "MISALIGNED"


# Whole steps, and memory of the device


def test_a_step_finds_the_weight_of_the_reference_and_refuses_too_many_rows(
    library: Library,
) -> None:
    from gac_ref import Batch, init, update

    values, config = batch(), GACConfig()
    configured = c_config(config.to_dict())
    rows, cells = torch.zeros(B, len(ROW), dtype=torch.float64), torch.zeros(library.cells)
    cells = cells.to(torch.float64)
    library.call_start(configured, tensor(cells))
    library.call_step(configured, library.batch(values, rows), tensor(rows), tensor(cells))
    arrays = Batch(**{n: v.numpy() for n, v in values.items()})
    mu = update(config, init(config), arrays, step=0)[1].mu
    assert float(cells[library.cell("mu")]) == pytest.approx(float(mu), rel=1e-6)  # fp32 tokens
    many = CBatch(MAX_SORTED + 1, 0, *(tensor(values[n]) for n in values), tensor(None))
    with pytest.raises(BadCall) as error:
        library.call_step(configured, many, tensor(rows), tensor(cells))
    assert error.value.code == "TOO_LARGE"


def test_arrays_on_the_device_come_back_as_they_were_and_serve_as_tensors(
    library: Library,
) -> None:
    values = {n: v.numpy() for n, v in batch().items()}
    there = {name: DeviceArray(library, value) for name, value in values.items()}
    for name, value in there.items():
        assert value.numpy().tobytes() == values[name].tobytes()
        assert tuple(s * value.numpy().itemsize for s in value.stride()) == values[name].strides
    with DeviceArray(library, np.full((B, len(ROW)), 7.0)) as rows:
        library.fused_rows(GACConfig(), there, rows)
        found = rows.numpy()
    assert found.tobytes() == rows_of(library, batch())
    for value in there.values():
        value.free()
        value.free()
