"""The CUDA port: its very source run on the CPU, through the pack, under sanitizers, and bent."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from _cuda import built

from gac_ref import Batch, GACConfig, GACError
from gac_ref.conformance.adapters import open_port
from gac_ref.conformance.adapters.c_library import c_config
from gac_ref.conformance.check import run_check
from gac_ref.conformance.formats import narrow, widen
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.power.cuda_faults import FAULTS, planted_port
from gac_ref.conformance.power.jobs import judged, telling
from gac_ref.conformance.power.planted import changed
from gac_ref.ports.cuda import build as builder
from gac_ref.ports.cuda.binding import ROW, BadCall, CBatch, CTensor, Library, tensor
from gac_ref.sequences import sequence_statistics

DTYPES = ("fp64", "fp32", "fp16", "bf16")
UNCLAIMED = {"advantages", "loss"}
READ_TOKENS = ("transport", "coefficients", "sequences", "step")
"""Stages in which memory is touched in another width in another dtype."""
BLOCKS = (32, 64, 96, 128, 256, 320, 512, 1024)
FP32_SUMS = 2e-5  # relative: 2000 float32 additions at most, of terms of one size, by random walk
FOLDER = Path(builder.__file__).parent
NVCC_SECONDS = 300.0  # two architectures on a busy machine

Compiled = Callable[[str], Path]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return functools.partial(built, tmp_path_factory)


@pytest.fixture(scope="module")
def library(compiled: Compiled) -> Library:
    return Library(compiled("host"))


def _batch(rng: np.random.Generator, rows: int, width: int) -> dict[str, Any]:
    length = rng.integers(0, width + 1, rows)
    return {
        "logprob": -rng.exponential(size=(rows, width)).astype(np.float32),
        "response_mask": np.arange(width) < length[:, None],
        "advantages": (5.0 + rng.normal(size=(rows, width))).astype(np.float32),
        "is_expert": np.arange(rows) % 3 == 0,
    }


def _rows(
    library: Library, batch: dict[str, Any], config: GACConfig | None = None, **more: Any
) -> Any:
    rows = np.full((len(batch["logprob"]), len(ROW)), 7.0)
    library.fused_rows(config or GACConfig(), batch, rows, **more)
    return rows


def _column(rows: Any, name: str) -> Any:
    return rows[:, ROW.index(name)]


# --- the pack ---


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_host_build_passes_the_whole_pack(compiled: Compiled, dtype: str) -> None:
    with open_port(str(compiled("host"))) as port:
        report = run_check(port, dtype=dtype)
    assert report.verdict == "ok", report.headline
    declined = {e["stage"] for e in report.events if e.get("status") == "unsupported"}
    assert declined <= UNCLAIMED


@pytest.mark.slow
def test_the_sanitizers_find_nothing_in_the_whole_pack(compiled: Compiled) -> None:
    environment = builder.sanitizer_environment()
    with open_port(str(compiled("sanitized")), timeout=60.0, environment=environment) as port:
        for dtype, stages in (("fp64", None), ("fp16", READ_TOKENS)):
            report = run_check(port, dtype=dtype, stages=stages)
            assert report.verdict == "ok", report.headline


def test_the_sanitizers_are_awake(compiled: Compiled) -> None:
    # A row too short: the kernel writes beyond it, which must not pass unseen.
    script = (
        "import sys, numpy as np; from gac_ref import GACConfig;"
        "from gac_ref.ports.cuda.binding import Library;"
        "batch = {'logprob': -np.ones((2, 9)), 'response_mask': np.ones((2, 9), bool),"
        " 'advantages': np.ones((2, 9)), 'is_expert': np.zeros(2, bool)};"
        "c = __import__('ctypes').CDLL(None); c.malloc.restype = __import__('ctypes').c_void_p;"
        "from gac_ref.ports.cuda.binding import CBatch, CTensor, tensor;"
        "from gac_ref.conformance.adapters.c_library import c_config;"
        "short = CTensor(c.malloc(128 * int(sys.argv[2])), 16, 1, 0, 0);"
        "there = CBatch(2, 9, *(tensor(batch[n]) for n in batch), CTensor());"
        "there.response_mask, there.advantages = tensor(batch['response_mask']),"
        " tensor(batch['advantages']);"
        "Library(sys.argv[1]).call_fused_rows(c_config(GACConfig().to_dict()), there, short)"
    )
    target = str(compiled("sanitized"))
    environment = {**os.environ, **builder.sanitizer_environment()}
    ended = [
        subprocess.run(
            [sys.executable, "-c", script, target, str(rows)],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )
        for rows in (2, 1)
    ]  # fmt: skip
    assert ended[0].returncode == 0, ended[0].stderr
    assert ended[1].returncode != 0
    assert "heap-buffer-overflow" in ended[1].stderr


def test_nvcc_builds_both_architectures_with_warnings_as_errors(compiled: Compiled) -> None:
    library = compiled("device")
    assert library.stat().st_size > 0
    if shutil.which("cuobjdump") is not None:
        listed = subprocess.run(
            ["cuobjdump", "--list-elf", str(library)], capture_output=True, text=True, check=True
        )
        assert all(f"sm_{a}" in listed.stdout for a in builder.ARCHITECTURES)


def test_the_fused_kernel_can_be_read_in_one_sitting() -> None:
    assert len((FOLDER / "fused_rows.cuh").read_text("utf-8").splitlines()) < 200


# --- the same bits ---


@pytest.mark.parametrize(("rows", "width"), [(5, 2061), (11, 300), (3, 7)])
def test_block_size_grid_and_order_of_threads_show_in_no_bit(
    library: Library, rows: int, width: int
) -> None:
    batch = _batch(np.random.default_rng(width), rows, width)
    first = _rows(library, batch)
    for block in BLOCKS:
        for grid in (0, 2):
            assert _rows(library, batch, block=block, grid=grid).tobytes() == first.tobytes()
    try:
        for order in (0, 1, 7):
            library.emulation_order(order)
            assert _rows(library, batch, block=128, grid=1).tobytes() == first.tobytes()
    finally:
        library.emulation_order(2)


def test_more_rows_than_the_grid_has_blocks_are_all_measured(library: Library) -> None:
    batch = _batch(np.random.default_rng(5), 257, 3)
    rows = _rows(library, batch, block=1024, grid=2)
    np.testing.assert_array_equal(_column(rows, "tokens"), batch["response_mask"].sum(axis=1))
    assert rows.tobytes() == _rows(library, batch).tobytes()


# --- tensors of any layout ---


def _strided(values: Any) -> dict[str, Any]:
    """The same tensor in other places: gaps, exchanged axes, reversed, off a wide boundary."""
    rows, width = values.shape
    wide = np.full((rows, width + 5), np.nan if values.dtype.kind == "f" else 1, values.dtype)
    wide[:, :width] = values
    apart = np.repeat(values, 2, axis=1)[:, ::2]
    flat = np.empty(rows * width + 1, values.dtype)
    flat[1:] = values.ravel()
    return {
        "gaps": wide[:, :width],
        "apart": apart,
        "column-major": np.asfortranarray(values),
        "reversed": np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1],
        "off the boundary": flat[1:].reshape(rows, width),
    }


@pytest.mark.parametrize("name", ["logprob", "advantages", "response_mask"])
def test_any_strides_and_offset_give_the_same_bits(library: Library, name: str) -> None:
    batch = _batch(np.random.default_rng(3), 6, 43)
    expected = _rows(library, batch)
    for layout, values in _strided(batch[name]).items():
        found = _rows(library, {**batch, name: values})
        assert found.tobytes() == expected.tobytes(), layout


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int32", "int64", "float16", "float32", "float64"]
)
def test_a_mask_of_any_dtype_gives_the_same_bits(library: Library, dtype: str) -> None:
    batch = _batch(np.random.default_rng(4), 6, 43)
    mask, expert = (batch[n].astype(dtype) for n in ("response_mask", "is_expert"))
    found = _rows(library, {**batch, "response_mask": mask, "is_expert": expert})
    assert found.tobytes() == _rows(library, batch).tobytes()


def test_tokens_of_different_dtypes_are_widened_each_for_itself(library: Library) -> None:
    batch = _batch(np.random.default_rng(6), 6, 43)
    bits = narrow(batch["logprob"], "bf16")
    wide = {**batch, "logprob": widen(bits, "bf16").astype(np.float32)}
    mixed = _rows(library, {**batch, "logprob": bits}, dtypes={"logprob": "bfloat16"})
    assert mixed.tobytes() == _rows(library, wide).tobytes()


def test_one_advantage_a_sequence_is_that_advantage_at_every_token(library: Library) -> None:
    batch = _batch(np.random.default_rng(8), 6, 43)
    once = batch["advantages"][:, 0].copy()
    spread = np.repeat(once[:, None], 43, axis=1)
    rows = _rows(library, {**batch, "advantages": once})
    assert rows.tobytes() == _rows(library, {**batch, "advantages": spread}).tobytes()
    assert not _column(rows, "scatter_rr").any()  # constant within a sequence: exactly


def test_long_rows_agree_with_the_reference(library: Library) -> None:
    batch = _batch(np.random.default_rng(9), 4, 5003)
    rows = _rows(library, batch)
    wide = Batch(**batch)
    for expert, name in ((True, "nll"), (False, "advantage")):
        mean = sequence_statistics(GACConfig(), wide, expert=expert).mean
        chosen = _column(rows, name)[batch["is_expert"] == expert]
        np.testing.assert_allclose(chosen, mean, rtol=FP32_SUMS)


# --- bad input ---


def test_what_lies_in_the_padding_is_never_read(library: Library) -> None:
    batch = _batch(np.random.default_rng(10), 7, 43)
    clean = _rows(library, batch)
    for value in (np.nan, np.inf, -np.inf):
        spoilt = {
            **batch,
            **{
                n: np.where(batch["response_mask"], batch[n], np.float32(value))
                for n in ("logprob", "advantages")
            },
        }
        assert _rows(library, spoilt).tobytes() == clean.tobytes()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("logprob", 0.25, "above 0"),
        ("logprob", np.nan, "logprob"),
        ("logprob", -np.inf, "not finite"),
        ("advantages", np.nan, "advantages"),
        ("advantages", np.inf, "not finite"),
    ],
)
def test_a_bad_response_token_is_refused_by_name_in_its_row_alone(
    library: Library, name: str, value: float, words: str
) -> None:
    batch = _batch(np.random.default_rng(11), 5, 20)
    batch["response_mask"] = np.ones((5, 20), bool)
    batch[name][1, 19] = value
    refused = _column(_rows(library, batch), "refused")
    assert np.flatnonzero(refused).tolist() == [1]
    assert words in library.refusal(refused[1])


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, np.nan, 1.0 + 1e-12, 1e-300])
def test_a_mask_that_is_neither_0_nor_1_is_refused(library: Library, value: float) -> None:
    batch = _batch(np.random.default_rng(12), 4, 9)
    mask = batch["response_mask"].astype(np.float64)
    mask[2, 8] = value
    refused = _column(_rows(library, {**batch, "response_mask": mask}), "refused")
    assert np.flatnonzero(refused).tolist() == [2]
    assert "response_mask" in library.refusal(refused[2])


def test_an_int64_mask_with_a_large_value_is_not_cut_to_its_low_bits(library: Library) -> None:
    batch = _batch(np.random.default_rng(13), 4, 9)
    mask = batch["response_mask"].astype(np.int64)
    mask[0, 0] = 2**32 + 1
    refused = _column(_rows(library, {**batch, "response_mask": mask}), "refused")
    assert refused[0] != 0.0


def test_no_rows_and_no_tokens_are_right_answers(library: Library) -> None:
    empty = _batch(np.random.default_rng(0), 0, 9)
    assert _rows(library, empty).shape == (0, len(ROW))
    short = _batch(np.random.default_rng(0), 4, 0)
    rows = _rows(library, short)
    np.testing.assert_array_equal(_column(rows, "expert"), short["is_expert"])
    assert not np.delete(rows, ROW.index("expert"), axis=1).any()


def _call(library: Library, **changes: Any) -> str:
    batch = _batch(np.random.default_rng(1), 3, 8)
    names = [field[0] for field in CBatch._fields_[2:-1]]
    there = CBatch(3, 8, *(tensor(batch[name]) for name in names), CTensor())
    rows = np.zeros((3, len(ROW)))
    out, launch = tensor(rows), {k: changes.pop(k) for k in ("block", "grid") if k in changes}
    for name, change in changes.items():
        if name == "rows":
            out = change(out)
        elif callable(change):
            setattr(there, name, change(getattr(there, name)))
        else:
            setattr(there, name, change)
    with pytest.raises(BadCall) as refused:
        library.call_fused_rows(c_config(GACConfig().to_dict()), there, out, **launch)
    assert not rows.any()  # refused before anything is written
    return refused.value.code


def _moved(by: int) -> Callable[[CTensor], CTensor]:
    return lambda t: CTensor(t.data + by, t.row_stride, t.token_stride, t.dtype, 0)


def _typed(dtype: int) -> Callable[[CTensor], CTensor]:
    return lambda t: CTensor(t.data, t.row_stride, t.token_stride, dtype, 0)


def _nowhere(t: CTensor) -> CTensor:
    return CTensor(None, t.row_stride, t.token_stride, t.dtype, 0)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("BAD_DTYPE", {"logprob": _typed(99)}),
        ("BAD_DTYPE", {"logprob": _typed(4)}),
        ("BAD_DTYPE", {"response_mask": _typed(-1)}),
        ("BAD_DTYPE", {"is_expert": _typed(6)}),
        ("BAD_SIZE", {"sequences": -1}),
        ("BAD_SIZE", {"tokens": -8}),
        ("NULL_POINTER", {"logprob": _nowhere}),
        ("NULL_POINTER", {"is_expert": _nowhere}),
        ("NULL_POINTER", {"rows": _nowhere}),
        ("MISALIGNED", {"logprob": _moved(1)}),
        ("MISALIGNED", {"advantages": _moved(2)}),
        ("MISALIGNED", {"rows": _moved(4)}),
        ("BAD_LAUNCH", {"block": 33}),
        ("BAD_LAUNCH", {"block": 2048}),
        ("BAD_LAUNCH", {"block": -32}),
        ("BAD_LAUNCH", {"grid": -1}),
        ("TOO_LARGE", {"tokens": 2**31}),
        ("TOO_LARGE", {"sequences": 2**62}),
    ],
)
def test_what_the_host_can_see_is_refused_by_name(
    library: Library, code: str, changes: dict[str, Any]
) -> None:
    assert _call(library, **changes) == code


def test_a_tensor_of_an_unknown_dtype_is_refused_in_words() -> None:
    with pytest.raises(GACError, match="complex64"):
        tensor(np.zeros(3, np.complex64))
    with pytest.raises(GACError, match="not a tensor"):
        tensor(SimpleNamespace(dtype="float64"))


def test_a_source_with_a_warning_does_not_build(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    for name in builder.SOURCES:
        (tmp_path / name).write_text("int f() { int unused; return 0; }\n", "utf-8")
    with pytest.raises(GACError, match="unused"):
        builder.build("host", tmp_path / "built", tmp_path)


# --- faults in its source ---

PLANTED = FAULTS if os.environ.get("GAC_ALL_FAULTS") else FAULTS[::16]
"""A build and a check each take 10 to 40 s; all of them, a quarter of an hour."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_text_of_each_fault_occurs_once(fault: Any) -> None:
    text = (FOLDER.parent.parent / fault.file).read_text("utf-8")
    assert changed(fault, text) != text


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_each_fault_is_caught_and_its_stage_named(fault: Any) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    dtype = fault.dtypes[0] if len(fault.dtypes) == 1 else "bf16"
    with planted_port(fault) as port:
        pack = load_pack()
        report = judged(port, dtype, pack, telling(fault.stage, pack))
    assert report.verdict != "ok"
    assert report.origin == fault.stage, report.headline
