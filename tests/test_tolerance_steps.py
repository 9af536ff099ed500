"""Errors of the state pass through a whole step, and from step to step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _carried import LINEAR, bounds, passes

from gac_ref import GACConfig
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.tolerance import (
    Precision,
    carried_errors,
    next_inputs,
    stage_tolerances,
    start_inputs,
    trajectory_tolerances,
)

NAMES = {"s": "sigma_s2", "r": "sigma_r2", "delta": "delta_g2"}

BATCH: dict[str, Any] = {
    "logprob": -np.array([[0.2, 1.5, 0.7], [2.0, 0.3, 0.9], [0.4, 0.1, 1.1], [0.6, 2.2, 0.8]]),
    "response_mask": np.ones((4, 3), dtype=np.bool_),
    "advantages": np.array([[0.0] * 3, [0.5, 1.5, 2.0], [0.0] * 3, [-1.0, 0.25, -0.5]]),
    "is_expert": np.array([True, False, True, False]),
}
STATE: dict[str, Any] = {
    "previous_mu": 0.37, "previous_mu_ada": 0.41, "previous_alpha": 0.52,
    "previous_sigma_s2": 0.31, "previous_sigma_r2": 0.17, "previous_delta_g2": 0.9,
    "previous_count_s": 2, "previous_count_r": 3, "previous_count_delta": 1,
    "previous_last_refresh": 4,
}  # fmt: skip
REAL = ("previous_mu", "previous_mu_ada", "previous_alpha", "previous_sigma_s2",
        "previous_sigma_r2", "previous_delta_g2")  # fmt: skip


@pytest.mark.parametrize("step", [8, 14])
@pytest.mark.parametrize("ema", ["applied", "internal"])
def test_a_whole_step(ema: Any, step: int) -> None:
    """The previous weight comes in twice: through the EMA, and where the change starts."""
    config = GACConfig(weight_ema=ema, ema_beta=0.8, mu_change_cap=0.9, mu_update_freq=10)
    inputs = {**BATCH, **STATE, "step": step}
    loose = {"sigma_s2": LINEAR, "mu_raw": 1.12, "mu_ada": 1.13, "mu_candidate": 1.13, "mu": 1.5}
    passes("step", config, inputs, loose, REAL)


@pytest.mark.parametrize(
    ("ema", "source"), [("applied", "previous_mu"), ("internal", "previous_mu_ada")]
)
def test_a_step_that_was_not_ready_holds_the_weight(ema: Any, source: str) -> None:
    config = GACConfig(weight_ema=ema, prior="none", mu_change_cap=0.9)
    inputs = {**BATCH, **STATE, "previous_count_s": 0, "previous_sigma_s2": 0.0, "step": 8}
    for name in REAL:
        found = bounds("step", config, inputs, {name: 1e-3})
        carried = 1e-3 if name == source else 0.0
        for output in ("mu_raw", "mu_ada"):
            assert float(found[output].limit) == pytest.approx(carried, abs=1e-15)
        capped = 1e-3 if name == "previous_delta_g2" else 0.0
        assert float(found["delta_g2_capped"].limit) == pytest.approx(capped, abs=1e-15)
        for flag in ("disagreement_capped", "flat_risk"):
            assert float(found[flag].limit) == 0.0


@pytest.mark.parametrize(("scalars", "u"), [("fp64", 0.0), ("fp32", 2.0**-24)])
def test_a_state_that_is_given_is_rounded_once(scalars: str, u: float) -> None:
    config = GACConfig(weight_ema="off", prior="none", mu_update_freq=10)
    inputs = {**BATCH, **STATE, "step": 8}
    golden = evaluate("step", config, inputs)
    found = stage_tolerances(
        "step", config, inputs, golden, precision=Precision("fp64", scalars), errors=None
    )
    for name in ("sigma_s2", "sigma_r2", "delta_g2", "alpha"):
        size = abs(STATE[f"previous_{name}"])
        # One rounding, and half an ulp of the golden value where anything rounds.
        assert u * size <= float(found[name].limit) <= 1.001 * u * size + 2.0**-126
    assert float(found["count_s"].limit) == 0.0


def test_a_trajectory_carries_the_errors_of_its_statistics() -> None:
    config = GACConfig(mu_update_freq=1, ema_beta=0.8)
    precision, pairs, state = Precision("fp32", "fp32"), [], start_inputs(config)
    for step in range(4):
        inputs = {**BATCH, "step": step}
        golden = evaluate("step", config, {**inputs, **state})
        pairs.append((inputs, golden))
        state = next_inputs(golden)
    found = trajectory_tolerances(config, pairs, precision=precision)
    for before, after, (inputs, golden), (_, old) in zip(
        found, found[1:], pairs[1:], pairs, strict=False
    ):
        alone = stage_tolerances(
            "step", config, {**inputs, **next_inputs(old)}, golden, precision=precision, errors={}
        )
        carried = carried_errors(before)
        given = stage_tolerances(
            "step", config, {**inputs, **next_inputs(old)}, golden, precision=precision,
            errors=carried,
        )  # fmt: skip
        for name in ("sigma_s2", "sigma_r2", "delta_g2", "mu"):
            assert float(after[name].limit) == float(given[name].limit)
            assert carried[f"previous_{name}"] == float(before[name].limit)
        assert float(after["sigma_s2"].limit) > float(alone["sigma_s2"].limit)


def test_the_next_state_is_the_outputs_and_0_for_what_was_never_seen() -> None:
    golden = {name.removeprefix("previous_"): value for name, value in STATE.items()}
    assert next_inputs(golden) == STATE
    for branch, name in NAMES.items():
        unseen = next_inputs({**golden, f"count_{branch}": 0})
        assert unseen == {**STATE, f"previous_count_{branch}": 0, f"previous_{name}": 0.0}
