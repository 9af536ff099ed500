"""The stage table, the number formats and the golden reference behind a port's four calls."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from _samplers import AXES, pairwise_designs

import gac_ref
from gac_ref import Batch, GACConfig
from gac_ref.conformance.formats import FORMATS, narrow, widen
from gac_ref.conformance.reference import Reference, evaluate, state_inputs
from gac_ref.conformance.stages import PIPELINE, STAGES, stage_named

COMPOSED_RTOL = 1e-12
"""The stages one by one against `update`: the same formulas, summed in another order."""

NUMPY_DTYPES = {
    "fp64": np.float64,
    "fp32": np.float32,
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
}


def batch_inputs(seed: int, rows: int = 9, width: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "logprob": -rng.exponential(size=(rows, width)),
        "response_mask": rng.random((rows, width)) < 0.8,
        "advantages": rng.normal(0.3, 1.0, size=(rows, width)),
        "is_expert": np.arange(rows) % 3 == 0,
        "batch_kl": 0.031,
    }


@pytest.mark.parametrize("dtype", FORMATS)
def test_narrowing_rounds_to_nearest_even_like_the_dtype_itself(dtype: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=20_000) * 10.0 ** rng.integers(-4, 4, size=20_000)
    ties = 1.0 + np.arange(256) / 512.0  # halfway between two bfloat16 neighbours
    values = np.concatenate([values, ties, [0.0, -0.0, np.inf, -np.inf, np.nan]])
    with np.errstate(over="ignore"):
        expected = values.astype(NUMPY_DTYPES[dtype])
    bits = narrow(values, dtype)
    assert bits.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(widen(bits, dtype), expected.astype(np.float64))


def test_a_value_just_beyond_a_tie_is_rounded_once() -> None:
    # By way of float32 it would first become the tie, and then the even neighbour below.
    assert widen(narrow(1.0 + 2.0**-8 + 1e-12, "bf16"), "bf16") == 1.0 + 2.0**-7


@pytest.mark.parametrize("dtype", FORMATS)
def test_unit_roundoff_is_half_the_distance_from_one_to_the_next_number(dtype: str) -> None:
    u = FORMATS[dtype].unit_roundoff
    assert widen(narrow(1.0 + 2 * u, dtype), dtype) == 1.0 + 2 * u
    assert widen(narrow(1.0 + u, dtype), dtype) == 1.0


def test_names_of_outputs_are_unique_over_the_pipeline() -> None:
    names = [name for stage in PIPELINE[1:] for name in STAGES[stage].output_names]
    assert len(names) == len(set(names))


def test_every_pipeline_input_comes_from_the_batch_the_state_or_an_earlier_stage() -> None:
    known = {field.name for field in STAGES["step"].inputs}
    for stage in PIPELINE:
        assert {field.name for field in STAGES[stage].inputs} <= known, stage
        known |= set(STAGES[stage].output_names)


@pytest.mark.parametrize("design", pairwise_designs(AXES), ids=lambda d: "")
def test_stages_composed_in_order_are_the_whole_step(design: dict[str, Any]) -> None:
    config = GACConfig(**design)
    values = batch_inputs(5) | state_inputs(gac_ref.init(config)) | {"step": 3}
    whole = evaluate("step", config, values)
    for stage in PIPELINE[1:]:
        chosen = {f.name: values[f.name] for f in STAGES[stage].inputs if f.name in values}
        outputs = evaluate(stage, config, chosen)
        for name, value in outputs.items():
            np.testing.assert_allclose(
                np.asarray(value, dtype=np.float64),
                np.asarray(whole[name], dtype=np.float64),
                rtol=COMPOSED_RTOL,
                err_msg=f"{stage}.{name}",
            )
        values |= outputs


def test_a_trajectory_is_the_estimator_run_step_by_step() -> None:
    config = GACConfig(mu_update_freq=2, ema_beta=0.8, prior_warmup=3)
    port = Reference()
    port.configure(config.to_dict(), dtype="fp64", device="cpu")
    state = gac_ref.init(config)
    for step in range(6):
        inputs = batch_inputs(step)
        batch = Batch(*(inputs[name] for name in list(inputs)[:4]), kl=0.031)
        state, info = gac_ref.update(config, state, batch, step=step)
        assert port.run("trajectory", inputs | {"step": step})["mu"] == float(info.mu)
    port.reset()
    first = port.run("trajectory", batch_inputs(0) | {"step": 0})["mu"]
    assert (
        first
        == evaluate(
            "step", config, batch_inputs(0) | state_inputs(gac_ref.init(config)) | {"step": 0}
        )["mu"]
    )


def test_narrow_inputs_are_widened_to_the_last_bit_before_the_stage() -> None:
    inputs = batch_inputs(1)
    port = Reference()
    port.configure(GACConfig().to_dict(), dtype="bf16", device="cpu")
    narrowed = inputs | {name: narrow(inputs[name], "bf16") for name in ("logprob", "advantages")}
    wide = inputs | {name: widen(narrowed[name], "bf16") for name in ("logprob", "advantages")}
    given = port.run("sequences", narrowed)
    expected = evaluate("sequences", GACConfig(), wide)
    for name in expected:
        np.testing.assert_array_equal(given[name], expected[name])


def test_an_unknown_stage_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(gac_ref.GACError, match=r"unknown stage 'muon'; the stages are transport,"):
        stage_named("muon")
