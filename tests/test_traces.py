"""Recordings: what is written is read back, whole or not at all, and bad files say so in a line."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _recordings import Fields, fields, step_file, write_trace

from gac_ref._typing import AnyArray
from gac_ref.batch import Batch
from gac_ref.config import GACConfig
from gac_ref.errors import GACError
from gac_ref.proxies import proxies
from gac_ref.traces import SCHEMA, TraceReader, TraceWriter

ARRAYS = (
    *("logprob", "response_mask", "advantages", "is_expert"),
    *("group_ids", "rewards", "old_logprob", "ref_logprob"),
)
# A step of the long trace is 0.4 MB as float64; four copies of one step may live at once.
STEP_BYTES, COPIES = 400_000, 4
# Padding a shard changes the grouping of a sum over at most 16 tokens, not its terms.
PADDING_RTOL = 32 * np.finfo(np.float64).eps


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def assert_same_batch(batch: Batch, expected: Fields) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(batch, name), expected[name], err_msg=name)


def rewrite(file: Path, **changes: Any) -> None:
    """The same file by plain np.savez, with arrays replaced (None: removed)."""
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def read_all(trace: Path) -> None:
    for _ in TraceReader(trace):
        pass


# What is written is what is read


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("compress", [True, False])
def test_round_trip_is_exact(tmp_path: Path, dtype: type, compress: bool) -> None:
    made = fields(rng())
    made = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in made.items()}
    with TraceWriter(tmp_path, source="s", meta={"seed": 3}, compress=compress) as writer:
        writer.write(
            7, **made, kl=0.02, entropy=1.5, logged={"mu": 0.25, "a/b": 1}, oracle={"kappa": -0.5}
        )
    reader = TraceReader(tmp_path)
    (step,) = reader
    assert (reader.source, reader.meta, reader.steps, len(reader)) == ("s", {"seed": 3}, [7], 1)
    assert_same_batch(step.batch, made)
    assert step.batch.source("logprob").dtype == dtype
    assert (step.batch.kl, step.batch.entropy) == (0.02, 1.5)
    assert step.logged == {"mu": 0.25, "a/b": 1.0}
    assert step.oracle == {"kappa": -0.5}
    assert step.files == (step_file(tmp_path, 7),)


def test_logged_nan_and_infinity_survive(tmp_path: Path) -> None:
    with TraceWriter(tmp_path) as writer:
        writer.write(0, **fields(rng()), logged={"prior": np.nan, "loss": np.inf})
    (step,) = TraceReader(tmp_path)
    assert np.isnan(step.logged["prior"])
    assert step.logged["loss"] == np.inf


def test_a_step_written_by_hand_with_plain_savez_reads(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "trace.json").write_text('{"schema": "gac-trace/1"}')
    arrays: dict[str, Any] = {
        "logprob": np.array([[-0.5, -1.0], [-2.0, 0.0]], dtype=np.float32),
        "response_mask": np.array([[1, 1], [1, 0]]),
        "advantages": np.array([0.0, 1.0], dtype=np.float32),
        "is_expert": np.array([1, 0], dtype=np.uint8),
        "logged/mu": 0.5,
        "extra/tokens": np.array([[1, 2], [3, 4]]),
    }
    for number in (10, 20):
        np.savez(step_file(tmp_path, number), **arrays)
    reader = TraceReader(tmp_path)
    assert [step.step for step in reader] == [10, 20]
    assert (reader.source, reader.meta, reader.stride) == ("", {}, 10)
    assert reader.read(20).batch.is_expert.tolist() == [True, False]
    assert reader.read(20).logged == {"mu": 0.5}


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    made = fields(rng())
    half = made["logprob"].astype(ml_dtypes.bfloat16)
    with TraceWriter(tmp_path) as writer:
        writer.write(0, **{**made, "logprob": half})
    batch = TraceReader(tmp_path).read(0).batch
    assert batch.source("logprob").dtype == np.float32
    np.testing.assert_array_equal(batch.logprob, half.astype(np.float64))


def test_torch_tensors_are_taken_with_gradients_and_in_bfloat16(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    made = fields(rng())
    logprob = torch.tensor(made["logprob"], dtype=torch.bfloat16, requires_grad=True)
    with TraceWriter(tmp_path) as writer:
        writer.write(0, **{**made, "logprob": logprob}, logged={"mu": torch.tensor(0.5)})
    step = TraceReader(tmp_path).read(0)
    np.testing.assert_array_equal(step.batch.logprob, logprob.detach().double().numpy())
    assert step.logged == {"mu": 0.5}


class OnlyDLPack:
    """An array that another library exports by DLPack alone."""

    def __init__(self, array: AnyArray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class Graph(OnlyDLPack):
    """A tensor that must be detached before it can be read."""

    def __array__(self, *_: Any, **__: Any) -> AnyArray:
        raise RuntimeError("requires grad")

    def detach(self) -> AnyArray:
        return self._array


@pytest.mark.parametrize("wrap", [OnlyDLPack, Graph, list])
def test_arrays_of_other_libraries_are_taken(tmp_path: Path, wrap: Any) -> None:
    made = fields(rng())
    with TraceWriter(tmp_path) as writer:
        writer.write(0, **{**made, "logprob": wrap(made["logprob"])})
    assert_same_batch(TraceReader(tmp_path).read(0).batch, made)


def test_a_tensor_that_numpy_cannot_read_says_what_to_do(tmp_path: Path) -> None:
    class OnDevice:
        def __array__(self, *_: Any, **__: Any) -> AnyArray:
            raise TypeError("can't convert device tensor")

    with (
        TraceWriter(tmp_path) as writer,
        pytest.raises(GACError, match=r"logprob cannot become a NumPy array.*cast it to float32"),
    ):
        writer.write(0, **{**fields(rng()), "logprob": OnDevice()})
    assert TraceReader(tmp_path).steps == []


def test_equal_steps_are_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1.0)  # a clock in the archive would show
    made = fields(rng())
    with TraceWriter(tmp_path / "a") as writer:
        first = writer.write(0, **made, logged={"a": 1, "b": 2})
    monkeypatch.setattr("time.time", lambda: 2e9)
    with TraceWriter(tmp_path / "b") as writer:
        second = writer.write(0, **made, logged={"b": 2, "a": 1})
    assert first.read_bytes() == second.read_bytes()


def test_the_callers_arrays_are_not_changed(tmp_path: Path) -> None:
    made = fields(rng())
    copies = {name: array.copy() for name, array in made.items()}
    with TraceWriter(tmp_path) as writer:
        writer.write(0, **made)
    for name, array in made.items():
        np.testing.assert_array_equal(array, copies[name])
        assert array.flags.writeable


# A crash loses at most the step being written


def test_a_crash_between_writing_and_renaming_loses_that_step_alone(tmp_path: Path) -> None:
    write_trace(tmp_path, 2)
    script = (
        "import os, sys, numpy as np\n"
        "from gac_ref.traces import TraceWriter\n"
        "os.replace = lambda *_: os._exit(9)\n"
        "writer = TraceWriter(sys.argv[1])\n"
        "row = np.array([[-1.0]])\n"
        "writer.write(2, logprob=row, response_mask=row < 0, advantages=row, is_expert=[True])\n"
    )
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env={**os.environ, "PYTHONPATH": root}
    )
    assert done.returncode == 9
    assert [file.name for file in (tmp_path / "steps").glob(".*")] == [".00000002.npz.tmp"]
    assert [step.step for step in TraceReader(tmp_path)] == [0, 1]
    with TraceWriter(tmp_path) as writer:
        writer.write(2, **fields(rng()))
    assert [step.step for step in TraceReader(tmp_path)] == [0, 1, 2]
    assert not list((tmp_path / "steps").glob(".*"))


def test_a_recording_is_continued_and_no_step_is_overwritten_unasked(tmp_path: Path) -> None:
    write_trace(tmp_path, 2, meta={"seed": 1})
    with TraceWriter(tmp_path, meta={"resumed": True}) as writer:
        with pytest.raises(GACError, match=r"00000001\.npz: step 1 exists; pass overwrite=True"):
            writer.write(1, **fields(rng(5)))
        writer.write(1, **fields(rng(5)), overwrite=True)
        writer.write(2, **fields(rng(6)))
    reader = TraceReader(tmp_path)
    assert (reader.source, reader.meta) == ("synthetic", {"seed": 1, "resumed": True})
    assert reader.steps == [0, 1, 2]
    assert_same_batch(reader.read(1).batch, fields(rng(5)))


def test_meta_can_be_completed_at_the_end(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, source="s", meta={"seed": 1})
    writer.close(meta={"share": np.float64(0.01), "counts": np.arange(2)})
    assert TraceReader(tmp_path).meta == {"seed": 1, "share": 0.01, "counts": [0, 1]}
    header = json.loads((tmp_path / "trace.json").read_text())
    assert header.keys() == {"schema", "source", "meta"}
    assert header["schema"] == SCHEMA
    with pytest.raises(GACError, match="the writer is closed"):
        writer.write(0, **fields(rng()))


def test_a_trace_of_another_source_is_not_continued(tmp_path: Path) -> None:
    write_trace(tmp_path, 1)
    with pytest.raises(GACError, match=r"source = 'other'.*record into another directory"):
        TraceWriter(tmp_path, source="other")


def test_meta_that_json_cannot_hold_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    write_trace(tmp_path, 1, meta={"seed": 1})
    for bad in (float("nan"), object()):
        with pytest.raises(GACError, match="meta is not JSON"):
            TraceWriter(tmp_path).close(meta={"bad": bad})
    assert TraceReader(tmp_path).meta == {"seed": 1}


# Ranks


def write_ranks(path: Path, step: int, shards: list[Fields], **scalars: Any) -> None:
    for rank, shard in enumerate(shards):
        with TraceWriter(path, rank=rank, ranks=len(shards)) as writer:
            writer.write(step, **shard, **{k: v[rank] for k, v in scalars.items()})


def split(made: Fields, edges: list[int]) -> list[Fields]:
    bounds = zip([0, *edges], [*edges, len(made["logprob"])], strict=True)
    return [{name: array[a:b] for name, array in made.items()} for a, b in bounds]


@pytest.mark.parametrize("edges", [[4], [0, 3], [1, 2, 8]])
def test_merged_ranks_are_the_whole_batch(tmp_path: Path, edges: list[int]) -> None:
    made = fields(rng())
    write_ranks(tmp_path, 0, split(made, edges))
    (step,) = TraceReader(tmp_path)
    assert_same_batch(step.batch, made)
    assert len(step.files) == len(edges) + 1


@pytest.mark.parametrize("variant", ["documented", "released"])
def test_ranks_of_unequal_width_give_the_proxies_of_the_padded_batch(
    tmp_path: Path, variant: str
) -> None:
    made = fields(rng(), rows=12, tokens=10, experts=6)
    made["response_mask"][:5, 7:] = False
    narrow, wide = split(made, [5])
    narrow = {k: v[:, :7] if v.ndim == 2 else v for k, v in narrow.items()}
    write_ranks(tmp_path, 0, [narrow, wide])
    config = GACConfig.variant(variant)
    merged = proxies(config, TraceReader(tmp_path).read(0).batch)
    whole = proxies(config, Batch(**made))
    for name in ("sigma_s2", "sigma_r2", "delta_g2"):
        np.testing.assert_allclose(
            getattr(merged, name), getattr(whole, name), rtol=PADDING_RTOL, err_msg=name
        )


def test_an_all_empty_step_reads(tmp_path: Path) -> None:
    write_ranks(tmp_path, 0, split(fields(rng(), rows=0), [0]))
    assert TraceReader(tmp_path).read(0).batch.shape == (0, 6)


def test_batch_means_of_ranks_are_weighted_by_rollout_tokens(tmp_path: Path) -> None:
    shards = split(fields(rng(), experts=2), [4])
    write_ranks(tmp_path, 0, shards, kl=[0.01, 0.03])
    counts = [np.count_nonzero(s["response_mask"][~s["is_expert"]]) for s in shards]
    expected = (0.01 * counts[0] + 0.03 * counts[1]) / sum(counts)
    kl = TraceReader(tmp_path).read(0).batch.kl
    assert kl == pytest.approx(expected, rel=PADDING_RTOL)


def test_logged_values_of_every_rank_are_kept(tmp_path: Path) -> None:
    shards = split(fields(rng()), [4])
    write_ranks(tmp_path, 0, shards, logged=[{"mu": 0.5}, {"mu": 0.6, "loss": 2.0}])
    step = TraceReader(tmp_path).read(0)
    assert step.logged == {"mu": 0.5, "loss": 2.0}
    assert step.rank_logged == {0: {"mu": 0.5}, 1: {"mu": 0.6, "loss": 2.0}}


def test_true_values_that_differ_between_ranks_are_refused(tmp_path: Path) -> None:
    shards = split(fields(rng()), [4])
    write_ranks(tmp_path, 0, shards, oracle=[{"kappa": 0.5}, {"kappa": 0.6}])
    with pytest.raises(GACError, match=r"r0001\.npz: oracle/kappa = 0\.6, but 0\.5"):
        read_all(tmp_path)


@pytest.mark.parametrize("known", ["by the header", "from another step"])
def test_a_missing_rank_is_an_error_that_names_its_file(tmp_path: Path, known: str) -> None:
    shards = split(fields(rng()), [3, 6])
    for step in (0, 1):
        write_ranks(tmp_path, step, shards)
    step_file(tmp_path, 1, 2).unlink()
    if known == "from another step":
        (tmp_path / "trace.json").write_text(json.dumps({"schema": SCHEMA}))
    reader = iter(TraceReader(tmp_path))
    assert next(reader).step == 0
    with pytest.raises(GACError, match=r"00000001\.r0002\.npz: missing.*ranks \[0, 1, 2\]"):
        next(reader)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rewards": None}, r"r0001\.npz: rewards is in this file or in .*not in both"),
        ({"advantages": np.zeros(4)}, r"r0001\.npz: advantages has shape \(4,\), but \(4, 6\)"),
        ({"logprob": np.full((4, 6), 0.5)}, r"r0001\.npz: logprob\[0, 0\] = 0\.5 is above 0"),
    ],
)
def test_ranks_that_do_not_fit_together_are_refused(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    write_ranks(tmp_path, 0, split(fields(rng()), [4]))
    rewrite(step_file(tmp_path, 0, 1), **change)
    with pytest.raises(GACError, match=complaint):
        read_all(tmp_path)


@pytest.mark.parametrize("name", ["00000000.npz", "0.r0001.npz"])
def test_two_files_for_one_thing_are_refused(tmp_path: Path, name: str) -> None:
    write_ranks(tmp_path, 0, split(fields(rng()), [4]))
    (tmp_path / "steps" / name).write_bytes(step_file(tmp_path, 0, 0).read_bytes())
    with pytest.raises(GACError, match="holds step 0, and so does"):
        TraceReader(tmp_path)


# Bad input: one line that names file, field and value


def poisoned(index: tuple[int, int], value: float) -> AnyArray:
    array: AnyArray = fields(rng())["logprob"]
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"logprob": None}, "logprob is missing; a step needs"),
        ({"is_expert": None}, "is_expert is missing"),
        ({"logprobs": np.zeros((8, 6))}, "unknown array 'logprobs'"),
        ({"logprob": np.zeros(8)}, r"logprob has shape \(8,\); pass a 2-D"),
        ({"response_mask": np.ones((8, 5))}, r"response_mask has shape \(8, 5\); pass \(8, 6\)"),
        ({"advantages": np.ones((6, 8))}, r"advantages has shape \(6, 8\)"),
        ({"rewards": np.ones((8, 1))}, r"rewards has shape \(8, 1\); pass \(8,\)"),
        ({"kl": np.ones(8)}, r"kl has shape \(8,\)"),
        ({"logged/mu": np.ones(2)}, r"logged/mu has shape \(2,\); pass one number"),
        ({"logged/mu": np.array("high")}, "logged/mu has dtype <U4"),
        ({"logprob": np.full((8, 6), "a")}, "logprob has dtype <U1"),
        ({"logprob": np.zeros((8, 6), "V2")}, "logprob has dtype |V2; widen bfloat16"),
        ({"logprob": -np.ones((8, 6), int)}, "logprob has dtype int64"),
        ({"group_ids": np.ones(8)}, "group_ids has dtype float64; pass integers"),
        ({"response_mask": np.full((8, 6), 0.5)}, r"response_mask\[0, 0\] = 0\.5 is neither 0 nor"),
        ({"is_expert": np.full(8, 2)}, r"is_expert\[0\] = 2\.0 is neither"),
        ({"logprob": poisoned((3, 0), 0.25)}, r"logprob\[3, 0\] = 0\.25 is above 0"),
        ({"logprob": poisoned((3, 0), np.nan)}, r"logprob\[3, 0\] = nan is not finite"),
        ({"logprob": poisoned((2, 0), np.inf)}, r"logprob\[2, 0\] = inf is not finite"),
        ({"kl": np.array(np.nan)}, "kl = nan"),
        ({"oracle/sigma_s2": np.array(-1.0)}, r"oracle/sigma_s2 = -1\.0 is negative"),
        ({"oracle/sigma_r2": np.array(np.inf)}, "oracle/sigma_r2 = inf"),
    ],
)
def test_a_malformed_step_names_file_field_and_value(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    write_trace(tmp_path, 2)
    rewrite(step_file(tmp_path, 1), **change)
    reader = iter(TraceReader(tmp_path))
    assert next(reader).step == 0
    with pytest.raises(GACError, match=complaint) as caught:
        next(reader)
    message = str(caught.value)
    assert message.startswith(f"{step_file(tmp_path, 1)}: ")
    assert "\n" not in message


def test_masked_positions_may_hold_anything(tmp_path: Path) -> None:
    made = fields(rng())
    made["logprob"][~made["response_mask"]] = np.nan
    with TraceWriter(tmp_path) as writer:
        writer.write(0, **made)
    assert_same_batch(TraceReader(tmp_path).read(0).batch, made)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def corrupt(file: Path) -> None:
    data = bytearray(file.read_bytes())
    middle = data.index(b"logprob.npy") + 150
    data[middle : middle + 60] = bytes(60)
    file.write_bytes(bytes(data))


def bare_pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps({"logprob": [1.0]}))


def object_array(file: Path) -> None:
    rewrite(file, logprob=np.array([[None]], dtype=object))


def single_array(file: Path) -> None:
    with open(file, "wb") as handle:
        np.save(handle, np.zeros(3))


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [truncate, corrupt, bare_pickle, object_array, single_array, empty]
)
@pytest.mark.parametrize("compress", [True, False])
def test_a_damaged_step_is_one_line_with_its_file(
    tmp_path: Path, damage: Any, compress: bool
) -> None:
    write_trace(tmp_path, 3, compress=compress)
    damage(step_file(tmp_path, 1))
    reader = iter(TraceReader(tmp_path))
    assert next(reader).step == 0
    with pytest.raises(GACError) as caught:
        next(reader)
    message = str(caught.value)
    assert message.startswith(f"{step_file(tmp_path, 1)}: ")
    assert "np.savez" in message
    assert "\n" not in message
    assert TraceReader(tmp_path).read(2).step == 2


class Bomb:
    """Leaves a file behind if anything unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_pickles_are_never_run(tmp_path: Path) -> None:
    write_trace(tmp_path, 1)
    array = np.empty((1, 1), dtype=object)
    array[0, 0] = Bomb(tmp_path / "ran")
    rewrite(step_file(tmp_path, 0), logprob=array)
    with pytest.raises(GACError, match=r"logprob cannot be read.*pickled objects"):
        read_all(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_missing_step_is_an_error_unless_gaps_are_allowed(tmp_path: Path) -> None:
    write_trace(tmp_path, 5)
    step_file(tmp_path, 2).unlink()
    step_file(tmp_path, 3).unlink()
    reader = TraceReader(tmp_path)
    seen: list[int] = []
    with pytest.raises(GACError, match=r"00000002\.npz: missing, and the trace goes on at step 4"):
        seen.extend(step.step for step in reader)
    lenient = TraceReader(tmp_path, allow_gaps=True)
    assert [(step.step, step.missing_before) for step in lenient] == [(0, 0), (1, 0), (4, 2)]


def test_steps_recorded_at_a_distance_have_no_gaps(tmp_path: Path) -> None:
    with TraceWriter(tmp_path) as writer:
        for step in (5, 15, 25, 35):
            writer.write(step, **fields(rng(step)))
    assert [step.missing_before for step in TraceReader(tmp_path)] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (None, r"trace\.json: cannot be read \(No such file"),
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("\ufeff\x00", "is not JSON"),
        ("[1]", r"schema = '\[1\]'; this program reads 'gac-trace/1'"),
        ('{"schema": "gac-trace/2"}', "schema = 'gac-trace/2'; this program reads"),
        ("{}", "schema = 'None'"),
        ('{"schema": "gac-trace/1", "meta": 3}', "meta = 3 is not"),
        ('{"schema": "gac-trace/1", "source": 3}', "source = 3"),
        ('{"schema": "gac-trace/1", "meta": {"ranks": 0}}', r"meta\.ranks = 0"),
    ],
)
def test_a_bad_header_is_one_line(tmp_path: Path, header: str | None, complaint: str) -> None:
    write_trace(tmp_path, 1)
    if header is None:
        (tmp_path / "trace.json").unlink()
    else:
        (tmp_path / "trace.json").write_text(header)
    with pytest.raises(GACError, match=complaint) as caught:
        TraceReader(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_trace_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", Path(__file__)):
        with pytest.raises(GACError, match="cannot be read"):
            TraceReader(path)
    (tmp_path / "trace.json").write_text('{"schema": "gac-trace/1"}')
    with pytest.raises(GACError, match=r"steps: cannot be listed"):
        TraceReader(tmp_path)


def test_a_misnamed_step_is_refused_and_other_files_are_not(tmp_path: Path) -> None:
    write_trace(tmp_path, 1)
    (tmp_path / "steps" / "notes.txt").write_text("read me")
    read_all(tmp_path)
    (tmp_path / "steps" / "step3.npz").write_bytes(b"")
    with pytest.raises(GACError, match=r"step3\.npz: is not named as a step"):
        TraceReader(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"logprob": None}, "logprob is missing"),
        ({"logprobs": np.zeros((8, 6))}, "unknown array 'logprobs'"),
        ({"advantages": np.zeros((6, 8))}, r"advantages has shape \(6, 8\)"),
        ({"rewards": np.array(["a"] * 8)}, "rewards has dtype <U1"),
        ({"logged": {"mu": [1, 2]}}, "logged/mu has shape"),
        ({"logged": {"a\nb": 1}}, r"'logged/a\\nb' cannot name an array"),
        ({"logged": {"mu.npy": 1}}, "'logged/mu.npy' cannot name an array"),
        ({"logged": {"": 1}}, "'logged/' cannot name an array"),
        ({"step": -1}, "step = -1 is below 0"),
    ],
)
def test_the_writer_refuses_what_could_not_be_read(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    with TraceWriter(tmp_path) as writer, pytest.raises(GACError, match=complaint):
        writer.write(**{"step": 0, **fields(rng()), **change})
    assert TraceReader(tmp_path).steps == []
    assert os.listdir(tmp_path / "steps") == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"ranks": 0}, "ranks = 0 is below 1"),
        ({"rank": -1}, "rank = -1 is outside"),
        ({"rank": 4, "ranks": 4}, r"rank = 4 is outside 0\.\.3"),
    ],
)
def test_the_writer_refuses_impossible_ranks(
    tmp_path: Path, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(GACError, match=complaint):
        TraceWriter(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


# Constant memory


def test_reading_holds_one_step_at_a_time(tmp_path: Path) -> None:
    tokens = STEP_BYTES // 8 // 8 // 4  # 8 rows, 8 bytes, about 4 float arrays
    with TraceWriter(tmp_path, compress=False) as writer:
        for step in range(40):
            writer.write(step, **fields(rng(step), tokens=tokens))
    reader = TraceReader(tmp_path)
    tracemalloc.start()
    for _ in reader:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < COPIES * STEP_BYTES


# What trainers really leave behind


def test_a_rank_without_rollouts_may_leave_the_kl_out_or_nan(tmp_path: Path) -> None:
    kl = {"nan": {"kl": float("nan")}, "absent": {}}
    for name, of_rank_1 in kl.items():
        for rank, experts, mean in ((0, 2, {"kl": 0.25}), (1, 8, of_rank_1)):
            with TraceWriter(tmp_path / name, source="s", rank=rank, ranks=2) as writer:
                writer.write(0, **fields(rng(rank), experts=experts), **mean)
        (step,) = TraceReader(tmp_path / name)
        assert step.batch.kl == 0.25


def test_a_kl_missing_on_a_rank_with_rollouts_is_refused(tmp_path: Path) -> None:
    for rank, mean in ((0, {"kl": 0.25}), (1, {})):
        with TraceWriter(tmp_path, source="s", rank=rank, ranks=2) as writer:
            writer.write(0, **fields(rng(rank)), **mean)
    with pytest.raises(GACError, match=r"r0001\.npz: kl is in 00000000\.r0000\.npz but not here"):
        read_all(tmp_path)


@pytest.mark.parametrize("steps", [[0, 10, 20, 25], [0, 10], [3, 4, 5], [0, 10, 20]])
def test_a_regular_recording_and_its_last_step_have_no_gap(
    tmp_path: Path, steps: list[int]
) -> None:
    with TraceWriter(tmp_path, source="s") as writer:
        for step in steps:
            writer.write(step, **fields(rng(step)))
    assert [step.step for step in TraceReader(tmp_path)] == steps


def test_a_hole_in_a_regular_recording_is_a_gap(tmp_path: Path) -> None:
    with TraceWriter(tmp_path, source="s") as writer:
        for step in (0, 10, 30, 40):
            writer.write(step, **fields(rng(step)))
    with pytest.raises(GACError, match=r"00000020\.npz: missing"):
        read_all(tmp_path)
