"""The encoding: what goes in comes out, to the bit; what is malformed is refused by name."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gac_ref.conformance.adapters import BadReply, decoded
from gac_ref.conformance.adapters.replies import expected_outputs
from gac_ref.conformance.adapters.wire import decode, encode, parse
from gac_ref.conformance.pack import load_pack
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.stages import STAGES

STORAGES = ["<f8", "<f4", "<f2", "<u2", "<i8", "|b1"]
EXAMPLES = 60  # of each property; the encoding has no rare branches

SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=2)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    storage, shape = np.dtype(draw(st.sampled_from(STORAGES))), draw(SHAPES)
    size = int(np.prod(shape))
    if storage.kind == "b":
        flags = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        return np.array(flags, dtype=np.bool_).reshape(shape)
    count = size * storage.itemsize
    return np.frombuffer(draw(st.binary(min_size=count, max_size=count)), storage).reshape(shape)


def through(value: Any, **options: Any) -> Any:
    line = json.dumps({"value": encode(value, **options)}, allow_nan=False).encode()
    return decode(parse(line)["value"])


@settings(max_examples=EXAMPLES)
@given(arrays())
def test_an_array_keeps_its_bits_shape_and_dtype(array: np.ndarray) -> None:
    back = through(array)
    assert (back.dtype.str, back.shape) == (array.dtype.str, array.shape)
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


@settings(max_examples=EXAMPLES)
@given(arrays())
def test_as_a_list_it_keeps_its_values(array: np.ndarray) -> None:
    back = through(array, lists=True)
    assert (back.dtype.str, back.shape) == (array.dtype.str, array.shape)
    if array.dtype.str == "<u2":  # bits of bfloat16: a NaN keeps being one, not its payload
        nan = (array & 0x7FFF) > 0x7F80
        assert np.array_equal(np.where(nan, 0, back), np.where(nan, 0, array))
        assert np.all((back[nan] & 0x7FFF) > 0x7F80)
    else:
        np.testing.assert_array_equal(back, array)


@settings(max_examples=EXAMPLES)
@given(st.floats(allow_nan=True) | st.booleans() | st.integers(-(2**63), 2**63 - 1))
def test_a_scalar_keeps_its_value_and_kind(value: Any) -> None:
    back = through(value)
    assert type(back) is type(value)
    assert back == value or (back != back and value != value)


@pytest.mark.parametrize("value", [np.float32(0.1), np.float16(0.1), np.array(0.1), np.bool_(True)])
def test_a_numpy_scalar_becomes_the_plain_value(value: Any) -> None:
    assert through(value) == value.item()
    assert type(through(value)) is type(value.item())


def test_only_named_texts_stay_texts() -> None:
    assert decode("grpo", "convention") == "grpo"
    assert decode("NaN", "mu") != decode("NaN", "mu")
    with pytest.raises(BadReply, match="mu is the text 'nan'; write a JSON number"):
        decode("nan", "mu")


def test_every_golden_answer_is_accepted() -> None:
    pack = load_pack()
    for stage in STAGES:
        for case in pack.select(dtype="fp16", stages=[stage]):
            for exchange in case.exchanges("fp16"):
                found = decoded(stage, exchange.expected, exchange.inputs)
                assert found.keys() == exchange.expected.keys()


def golden() -> tuple[dict[str, Any], dict[str, Any]]:
    case = load_pack().select(dtype="fp64", stages=["sequences"])[0]
    inputs = case.exchanges("fp64")[0].wide
    return inputs, evaluate("sequences", case.config, inputs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nll": np.zeros(2)}, r"sequences: nll has shape \(2,\); expected \[B\] = \(\d+,\)"),
        ({"nll": 0.5}, r"nll has shape \(\); expected \[B\]"),
        ({"kl": np.zeros((1, 1))}, r"kl has shape \(1, 1\); expected a scalar"),
        ({"tokens": np.full(9, 0.5)}, r"tokens is .* \(float64\); expected a whole number"),
        ({"sft_stream_constant": 1}, r"sft_stream_constant is 1 .*expected a flag"),
        ({"kl": True}, r"kl is True \(bool\); expected a number"),
        ({"kl": "NaN"}, "kl is 'NaN' .*expected a number"),
        ({"kl": object()}, "expected a number"),
        ({"kl": [[1.0], [1.0, 2.0]]}, "NumPy cannot read"),
        ({"nlls": 1.0}, "'nlls' is not an output of the stage; did you mean 'nll'"),
        ({3: 1.0}, "3 is not an output of the stage"),
        ({"kl": None}, "kl is None .*expected a number"),
    ],
)
def test_a_wrong_output_names_itself_and_what_was_expected(
    change: dict[Any, Any], said: str
) -> None:
    inputs, outputs = golden()
    decoded("sequences", outputs, inputs)
    with pytest.raises(BadReply, match=said):
        decoded("sequences", {**outputs, **change}, inputs)


def test_a_missing_output_is_named_and_a_whole_step_needs_mu_only() -> None:
    inputs, outputs = golden()
    for name in outputs:
        rest = {key: value for key, value in outputs.items() if key != name}
        with pytest.raises(BadReply, match=f"sequences: the reply has no {name}"):
            decoded("sequences", rest, inputs)
    assert decoded("step", {"mu": 0.5}, {**inputs, "step": 3}).keys() == {"mu"}
    with pytest.raises(BadReply, match="step: the reply has no mu; it holds alpha"):
        decoded("step", {"alpha": 0.5}, {**inputs, "step": 3})
    assert "mu_raw" in expected_outputs("trajectory")


def test_a_count_may_come_as_a_whole_float() -> None:
    inputs, outputs = golden()
    found = decoded("sequences", {**outputs, "tokens": outputs["tokens"].astype("f4")}, inputs)
    assert found["tokens"].dtype == np.int64


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"hello", "the line 'hello' is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"mu": NaN}', 'a bare NaN is not JSON; write the text "NaN"'),
        (b'{"mu": -Infinity}', "a bare -Infinity"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"mu": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"", "the line '' is not JSON"),
    ],
)
def test_a_line_that_is_no_reply_is_shown(line: bytes, said: str) -> None:
    with pytest.raises(BadReply, match=re.escape(said)) as failure:
        parse(line)
    assert len(str(failure.value)) < 400
