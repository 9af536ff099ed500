"""Trajectories that go wrong although every step from a given state is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gac_ref.conformance.formats import narrow, widen
from gac_ref.conformance.power.model import Model
from gac_ref.conformance.power.mutants._mutant import fault

__all__ = ["FAULTS"]

_fault = partial(fault, "state")

Outputs = dict[str, Any]
_STATISTICS = ("sigma_s2", "sigma_r2", "delta_g2")
_COUNTS = ("count_s", "count_r", "count_delta")


def _carried(change: Callable[[Model, Outputs], Outputs]) -> dict[str, Any]:
    """What is passed on to the next step, changed."""

    def carry(port: Model, outputs: Outputs) -> Outputs:
        state = Model.carry(port, outputs)
        return {**state, **{f"previous_{n}": v for n, v in change(port, outputs).items()}}

    return {"carry": carry}


def _kept(*names: str) -> dict[str, Any]:
    """Parts of the state that never move."""
    return _carried(lambda port, out: {n: port.state[f"previous_{n}"] for n in names})


def _rounded(dtype: str, *names: str) -> dict[str, Any]:
    def rounded(port: Model, out: Outputs) -> Outputs:
        return {n: port.real(float(widen(narrow(out[n], dtype), dtype))) for n in names}

    return _carried(rounded)


def _after_reset(*names: str) -> dict[str, Any]:
    """Parts of the state that outlive a reset."""

    def reset(port: Model) -> None:
        before = dict(getattr(port, "state", {}))
        Model.reset(port)
        port.state |= {f"previous_{n}": before[f"previous_{n}"] for n in names if before}

    return {"reset": reset}


def _stale(port: Model, outputs: Outputs) -> Outputs:
    """The state of the step before the last, from the second step on."""
    waiting: Outputs = getattr(port, "waiting", {}) or port.state
    port.waiting = Model.carry(port, outputs)  # type: ignore[attr-defined]
    return waiting


def _stale_reset(port: Model) -> None:
    Model.reset(port)
    port.waiting = {}  # type: ignore[attr-defined]


def _step_noted(port: Model, v: Any) -> Outputs:
    vars(port)["now"] = int(v["step"])
    return Model.step(port, v)


def _twice(port: Model, stage: str, inputs: Mapping[str, Any]) -> Outputs:
    """Every step of a trajectory is taken twice, as with two gradient accumulation steps."""
    outputs = Model.run(port, stage, inputs)
    return Model.run(port, stage, inputs) if stage == "trajectory" else outputs


def _own_clock(offset: int) -> dict[str, Any]:
    """The port counts its own calls and does not read the step."""

    def run(port: Model, stage: str, inputs: Mapping[str, Any]) -> Outputs:
        if stage == "trajectory":
            port.calls += 1  # type: ignore[attr-defined]
            inputs = {**inputs, "step": port.calls + offset}  # type: ignore[attr-defined]
        return Model.run(port, stage, inputs)

    def reset(port: Model) -> None:
        Model.reset(port)
        port.calls = -1  # type: ignore[attr-defined]

    return {"run": run, "reset": reset}


def _by_calls_run(port: Model, stage: str, inputs: Mapping[str, Any]) -> Outputs:
    if stage != "trajectory":
        return Model.run(port, stage, inputs)
    port.calls += 1  # type: ignore[attr-defined]
    true = port.config
    due = port.calls % true.mu_update_freq == 0  # type: ignore[attr-defined]
    last = port.state["previous_last_refresh"]
    step = int(inputs["step"])
    if last >= 0:
        port.state["previous_last_refresh"] = step - (true.mu_update_freq if due else 0)
    outputs = Model.run(port, stage, inputs)
    if not due and last >= 0:
        outputs["last_refresh"] = last
        port.state["previous_last_refresh"] = last
    return outputs


def _by_calls_reset(port: Model) -> None:
    Model.reset(port)
    port.calls = -1  # type: ignore[attr-defined]


def _shared_run(port: Model, stage: str, inputs: Mapping[str, Any]) -> Outputs:
    """A step from a given state leaves its own state behind."""
    outputs = Model.run(port, stage, inputs)
    if stage == "step":
        port.state = Model.carry(port, outputs)
    return outputs


def _first_config(port: Model, config: Mapping[str, Any], *, dtype: str, device: str) -> None:
    """The state starts from the configuration before this one."""
    before = getattr(port, "config", None)
    Model.configure(port, config, dtype=dtype, device=device)
    if before is not None and before.init_mu != port.config.init_mu:
        port.state["previous_mu"] = port.real(before.init_mu)


FAULTS = (
    _fault("state stale by one step", "Each step reads the state of the step before the last.",
           carry=_stale, reset=_stale_reset),
    _fault("state not reset", "reset does nothing after the first time.",
           **_after_reset("mu", "mu_ada", "alpha", *_STATISTICS, *_COUNTS, "last_refresh")),
    _fault("statistics not reset", "The weights start over, the statistics do not.",
           **_after_reset(*_STATISTICS, *_COUNTS)),
    _fault("weights not reset", "The statistics start over, the weights do not.",
           **_after_reset("mu", "mu_ada")),
    _fault("alpha not reset", "It starts where the last trajectory ended.",
           **_after_reset("alpha")),
    _fault("refresh counter not reset", "A new trajectory waits for its first refresh.",
           **_after_reset("last_refresh")),
    _fault("mu rounded to float32 twice a step",
           "The applied weight and the weight EMA are stored in float32 (GAC v0.1.0).",
           **_rounded("fp32", "mu", "mu_ada")),
    _fault("weights stored in bfloat16", "As parameters of the model are.",
           **_rounded("bf16", "mu", "mu_ada")),
    _fault("statistics stored in bfloat16", "As parameters of the model are.",
           **_rounded("bf16", *_STATISTICS)),
    _fault("statistics stored in float32", "As parameters of the model are.",
           **_rounded("fp32",
           *_STATISTICS)),
    _fault("alpha stored in bfloat16", "As parameters of the model are.",
           **_rounded("bf16", "alpha")),
    _fault("candidate carried for mu", "The cap is measured from what was proposed.",
           **_carried(lambda s, out: {"mu": out["mu_candidate"]})),
    _fault("capped weight carried for mu", "The bounds are not carried on.",
           **_carried(lambda s, out: {"mu": out["mu_capped"]})),
    _fault("adaptive weight carried for mu", "The blend and the cap are forgotten.",
           **_carried(lambda s, out: {"mu": out["mu_ada"]})),
    _fault("applied weight carried for mu_ada", "The weight EMA's own state is overwritten.",
           **_carried(lambda s, out: {"mu_ada": out["mu"]})),
    _fault("raw weight carried for mu_ada", "The weight EMA does not average.",
           **_carried(lambda s, out: {"mu_ada": out["mu_raw"]})),
    _fault("weight EMA never stored", "Its own state stays at the start.", **_kept("mu_ada")),
    _fault("applied weight never stored", "Every step starts from init_mu.", **_kept("mu")),
    _fault("alpha never stored", "Every step scales the configured value.", **_kept("alpha")),
    _fault("sigma_s2 never stored", "It is forgotten.", **_kept("sigma_s2")),
    _fault("sigma_r2 never stored", "It is forgotten.",
           **_kept("sigma_r2")),
    _fault("delta_g2 never stored", "It is forgotten.",
           **_kept("delta_g2")),
    _fault("statistics never stored", "Every refresh is the first.",
           **_kept(*_STATISTICS, *_COUNTS)),
    _fault("counts never stored", "Every value seeds its average.", **_kept(*_COUNTS)),
    _fault("counts shared", "All branches have the count of the first.",
           **_carried(lambda s, out: dict.fromkeys(_COUNTS, out["count_s"]))),
    _fault("last refresh never stored", "Every step refreshes.", **_kept("last_refresh")),
    _fault("last refresh set at every step", "No later step refreshes.",
           step=_step_noted,
           **_carried(lambda s, out: {"last_refresh": vars(s)["now"]})),
    _fault("capped disagreement stored", "The cap eats into the average.",
           **_carried(lambda s, out: {
               "delta_g2": out["delta_g2_capped"] if out["count_delta"] else s.real(0.0)})),
    _fault("proxies stored", "The last batch, not the average, is carried on.",
           **_carried(lambda s, out: {n: out[f"proxy_{n}"] for n in _STATISTICS
                                      if f"proxy_{n}" in out})),
    _fault("variances crossed in the state", "They change places from step to step.",
           **_carried(lambda s, out: {"sigma_s2": out["sigma_r2"], "sigma_r2": out["sigma_s2"],
                                      "count_s": out["count_r"], "count_r": out["count_s"]})),
    _fault("every step taken twice", "As with two gradient accumulation steps.", run=_twice),
    _fault("refresh counts calls not steps", "Skipped steps do not count towards a refresh.",
           run=_by_calls_run, reset=_by_calls_reset),
    _fault("schedule counts calls not steps", "The step index is not read.", **_own_clock(0)),
    _fault("steps counted from 1", "The port's own counter starts at 1.", **_own_clock(1)),
    _fault("steps from a given state are remembered", "A dry run moves the trajectory.",
           run=_shared_run),
    _fault("initial weight of the last configuration", "init_mu is read before it is set.",
           configure=_first_config),
    _fault("NaN replaced in the state", "A poisoned trajectory recovers.",
           **_carried(lambda s, out: {n: s.real(0.0) for n in _STATISTICS
                                      if np.isnan(out[n])})),
)  # fmt: skip
