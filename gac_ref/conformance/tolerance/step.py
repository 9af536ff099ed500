"""Bounds of any stage, of a whole step, and of what a step hands on to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from gac_ref.config import GACConfig
from gac_ref.conformance.reference import state_inputs
from gac_ref.conformance.stages import PIPELINE, STATE, stage_named
from gac_ref.conformance.tolerance import controller
from gac_ref.conformance.tolerance.advantages import advantages
from gac_ref.conformance.tolerance.loss import loss
from gac_ref.conformance.tolerance.precision import Precision
from gac_ref.conformance.tolerance.primitives import EXACT, Number, Tolerance, Work, arithmetic
from gac_ref.conformance.tolerance.proxies import proxies
from gac_ref.conformance.tolerance.tokens import coefficients, kl, sequences
from gac_ref.controller import init

__all__ = [
    "carried_errors",
    "next_inputs",
    "stage_tolerances",
    "start_inputs",
    "step_tolerances",
    "trajectory_tolerances",
]

Values = Mapping[str, Any]
Tolerances = dict[str, Tolerance]

DERIVATIONS: Mapping[str, Callable[[Work], Tolerances]] = MappingProxyType(
    {
        "coefficients": coefficients,
        "sequences": sequences,
        "proxies": proxies,
        "statistics_ema": controller.statistics_ema,
        "alpha": controller.alpha,
        "closed_form": controller.closed_form,
        "weight_ema": controller.weight_ema,
        "prior_blend": controller.prior_blend,
        "change_cap": controller.change_cap,
        "clip": controller.clip,
        "advantages": advantages,
        "loss": loss,
    }
)
"""The derivation of each stage but transport, which is exact."""


def stage_tolerances(
    stage: str,
    config: GACConfig,
    inputs: Values,
    golden: Values,
    *,
    precision: Precision,
    errors: Mapping[str, Number] | None = None,
    keep: bool = False,
) -> Tolerances:
    """How far each output of one stage may be from its golden value.

    Args:
        stage: A name in :data:`~gac_ref.conformance.stages.STAGES`; "step" (and a "trajectory"
            whose inputs hold the state) propagates through all stages.
        config: The configuration.
        inputs: The stage's inputs by name, token arrays widened to float64.
        golden: The golden outputs by name.
        precision: In what formats the port computes.
        errors: Absolute errors of the inputs by name, those missing being exact. None where the
            inputs are injected: real ones are float64 numbers that the port rounds once.
        keep: Keep the terms of each bound.

    Returns:
        A tolerance for each golden output.

    Examples:
        >>> golden = {"mu": 0.9, "mu_clipped": True}
        >>> found = stage_tolerances("clip", GACConfig(), {"mu_capped": 0.95}, golden,
        ...                          precision=Precision("fp32", "fp32"))
        >>> float(found["mu"].limit) < 1e-7, float(found["mu_clipped"].limit)
        (True, 0.0)
    """
    name = stage_named(stage).name
    if name == "transport":
        return dict.fromkeys(golden, EXACT)
    if name in ("step", "trajectory"):
        return step_tolerances(
            config, inputs, golden, precision=precision, errors=errors, keep=keep
        )
    work = Work(config, {**inputs, **golden}, precision, errors, keep)
    return DERIVATIONS[name](work)


def step_tolerances(
    config: GACConfig,
    inputs: Values,
    golden: Values,
    *,
    precision: Precision,
    errors: Mapping[str, Number] | None = None,
    keep: bool = False,
) -> Tolerances:
    """How far every output of a whole step may be, each stage's errors carried into the next.

    Args:
        config: The configuration.
        inputs: Batch, ``previous_*`` and step; without ``previous_*`` the state is the start of
            a trajectory.
        golden: The golden outputs by name; those of the tokens only where a refresh is due.
        precision: In what formats the port computes.
        errors: Absolute errors of the ``previous_*`` (see :func:`carried_errors`); None where
            they are injected.
        keep: Keep the terms of each bound.

    Returns:
        A tolerance for each golden output.

    Examples:
        >>> from gac_ref.conformance.reference import evaluate
        >>> inputs = {"logprob": np.log([[0.5, 0.2], [0.1, 0.7]]), "advantages": np.ones(2),
        ...           "response_mask": np.ones((2, 2), bool), "is_expert": np.array([True, False]),
        ...           "step": 0, **start_inputs(GACConfig())}
        >>> golden = evaluate("step", GACConfig(), inputs)
        >>> found = step_tolerances(GACConfig(), inputs, golden,
        ...                         precision=Precision("fp64", "fp64"))
        >>> 0.0 < float(found["mu"].limit) < 1e-14
        True
    """
    values = {**start_inputs(config), **inputs, **golden}
    carried: dict[str, Number] = _entering(values, precision, errors)
    work = Work(config, values, precision, carried, keep)
    refreshed = "proxy_delta_g2" in golden
    out: Tolerances = {"kl": kl(work)}
    _carry(carried, out, values)
    if not refreshed:
        # The statistics EMA asks whether the batch has each branch only where a refresh is due.
        work.values = {**values, "has_s": False, "has_r": False, "has_delta": False}
    held = config.unseen_statistic == "hold" and bool(values["not_ready"])
    for stage in PIPELINE[1:]:
        if not refreshed and stage in ("coefficients", "sequences", "proxies"):
            continue
        # Where there is no estimate yet, the closed form is whatever stands in for it.
        found = _held(work) if stage == "closed_form" and held else DERIVATIONS[stage](work)
        _carry(carried, found, values)
        out |= found
    return {name: tolerance for name, tolerance in out.items() if name in golden}


def carried_errors(tolerances: Mapping[str, Tolerance]) -> dict[str, Number]:
    """The errors of the ``previous_*`` of the next step, from the tolerances of this one.

    Examples:
        >>> carried_errors({"mu": Tolerance(np.asarray(1e-7)), "mu_raw": EXACT})
        {'previous_mu': 1e-07}
    """
    names = {field.name.removeprefix("previous_") for field in STATE if field.kind == "real"}
    return {
        f"previous_{name}": float(tolerance.limit)
        for name, tolerance in tolerances.items()
        if name in names
    }


def start_inputs(config: GACConfig) -> dict[str, Any]:
    """The ``previous_*`` of the first step of a trajectory.

    Examples:
        >>> start_inputs(GACConfig())["previous_mu"]
        0.5
    """
    return state_inputs(init(config))


def next_inputs(golden: Values) -> dict[str, Any]:
    """The ``previous_*`` of the next step, from the golden outputs of this one.

    A statistic that was never seen is 0 in the state, whatever stands in for it.
    """
    out: dict[str, Any] = {}
    for field in STATE:
        out[field.name] = golden[field.name.removeprefix("previous_")]
    for branch, name in (("s", "sigma_s2"), ("r", "sigma_r2"), ("delta", "delta_g2")):
        if int(golden[f"count_{branch}"]) == 0:
            out[f"previous_{name}"] = 0.0
    return out


def trajectory_tolerances(
    config: GACConfig,
    exchanges: Sequence[tuple[Values, Values]],
    *,
    precision: Precision,
    keep: bool = False,
) -> list[Tolerances]:
    """The tolerances of consecutive steps from the start, errors of the state carried along.

    Args:
        config: The configuration.
        exchanges: For each step its inputs (batch and step, token arrays wide) and its golden
            outputs, which must hold everything that the state is made of.
        precision: In what formats the port computes.
        keep: Keep the terms of each bound.

    Returns:
        The tolerances of each step.
    """
    state, errors = start_inputs(config), None
    found: list[Tolerances] = []
    for inputs, golden in exchanges:
        both = {**inputs, **state}
        found.append(
            step_tolerances(config, both, golden, precision=precision, errors=errors, keep=keep)
        )
        state, errors = next_inputs(golden), carried_errors(found[-1])
    return found


def _entering(
    values: Values, precision: Precision, errors: Mapping[str, Number] | None
) -> dict[str, Number]:
    """The errors with which the numbers of a step come in."""
    scalars = arithmetic(precision.scalars, precision.accumulation)
    carried = dict(errors or {})
    if scalars.constant:
        for field in STATE:  # a given state, or the constants that a trajectory starts from
            if field.kind == "real" and field.name not in carried:
                carried[field.name] = scalars.constant * abs(values[field.name]) + scalars.tiny
    # The batch comes in anew at each step.
    if values.get("batch_kl") is not None:
        carried["batch_kl"] = scalars.constant * abs(values["batch_kl"])
    return carried


def _carry(carried: dict[str, Number], found: Tolerances, values: Values) -> None:
    for name, tolerance in found.items():
        value = values.get(name)
        if value is None or isinstance(value, bool | np.bool_ | int | np.integer):
            continue
        limit = tolerance.limit
        for other in tolerance.alternatives:  # whichever was decided, the rest has to follow
            limit = np.maximum(limit, tolerance.limit + np.abs(other - value))
        carried[name] = float(limit) if limit.ndim == 0 else limit


def _held(work: Work) -> Tolerances:
    """Before every statistic was seen the raw weight is what the weight EMA stays at."""
    internal = work.config.weight_ema == "internal"
    error = work.real("previous_mu_ada" if internal else "previous_mu", work.scalars)[1]
    capped = work.real("delta_g2", work.scalars)[1]
    return {
        "delta_g2_capped": Tolerance(np.asarray(capped)),
        "mu_raw": Tolerance(np.asarray(error)),
        "disagreement_capped": EXACT,
        "flat_risk": EXACT,
    }
