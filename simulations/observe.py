"""What each controller sees: the model's signals, and what follows from gradients and truth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import FloatArray
from gac_ref.baselines import HPT, SASR, Signals, SuperRL, reads
from gac_ref.errors import fail
from simulations.controllers import Controller
from simulations.problem import Problem, Sample, Truth

__all__ = ["DERIVED", "LazyTruth", "inner", "norms", "observe", "require_signals", "uses"]

DERIVED = (
    "grad_norm_s",
    "grad_norm_r",
    "gram_ss",
    "gram_sr",
    "gram_rr",
    "true_sigma_s2",
    "true_sigma_r2",
    "true_delta_g2",
    "utility_gradient",
    "uniform",
)
"""Signals that the engine makes for any problem."""

_PER_PROMPT = ("solved", "any_rewarded")
_VECTORS = ("g_s", "g_r", "bias_s", "bias_r")


class LazyTruth:
    """The exact values at one step, for all controllers or for one, computed when asked for.

    A slice of theta has the same truth as the whole, bit for bit, so asking for one controller
    saves time and changes nothing.
    """

    def __init__(self, problem: Problem, theta: FloatArray, step: int) -> None:
        self._problem, self._theta, self._step = problem, theta, step
        self._whole: Truth | None = None

    def whole(self) -> Truth:
        """At every controller's theta, [C, n, ...]."""
        if self._whole is None:
            self._whole = self._problem.truth(self._theta, self._step)
        return self._whole

    def of(self, c: int) -> Truth:
        """At controller c's theta, [n, ...]."""
        if self._whole is None:
            return self._problem.truth(self._theta[c], self._step)
        shape = self._theta.shape[:2]
        return Truth(
            *(
                _leading(value, c, shape, trailing=int(name in _VECTORS))
                for name, value in self._whole._asdict().items()
            )
        )


def uses(rule: Any) -> tuple[str, ...]:
    """The signals a rule asks for, with the KL of a KL-driven alpha."""
    if isinstance(rule, GACConfig) and rule.alpha_mode == "kl":
        return (*reads(rule), "kl")
    return reads(rule)


def require_signals(problem: Problem, given: Signals, controllers: Iterable[Controller]) -> None:
    """Refuse a controller that needs what neither the problem nor the engine supplies.

    Raises:
        GACError: Names the controller and the signal.
    """
    for controller in controllers:
        for name in uses(controller.rule):
            if name in DERIVED or getattr(given, name) is not None:
                continue
            shared = isinstance(controller.rule, HPT | SuperRL) and given.gated_share is not None
            in_proxies = name == "kl" and given.proxies is not None
            if shared or (in_proxies and not np.all(np.isnan(given.proxies.kl))):  # type: ignore[union-attr]
                continue
            fail(
                f"controller {controller.name!r} needs the signal {name!r}, which problem "
                f"{problem.name!r} does not give; leave that controller out"
            )


def observe(
    rule: Any,
    c: int,
    sample: Sample,
    *,
    truth: LazyTruth,
    rate: float,
    uniform: FloatArray | None,
    previous_norm: FloatArray,
    shape: tuple[int, ...],
) -> Signals:
    """The signals that one controller asks for at this step, [n] each.

    The model's own signals take precedence. Norms and the Gram matrix are those of this step's
    sampled gradients; SASR gets the norm of the step before, as its rule asks. The utility
    gradient is that of minus the RL loss after the next step, with the exact RL gradient in the
    place of a validation set.

    Args:
        rule: The controller's rule.
        c: Its place on the first axis.
        sample: This step's observation.
        truth: Exact values on demand.
        rate: Learning rate of this step.
        uniform: This step's coins, [n], or None where no rule reads them.
        previous_norm: Norm of the SFT gradient one step ago, [n]; NaN before.
        shape: The leading shape (C, n).
    """
    found: dict[str, Any] = {}
    for name in uses(rule):
        given = getattr(sample.signals, name)
        if isinstance(rule, SASR) and name == "grad_norm_s":
            found[name] = previous_norm
        elif name == "uniform":
            found[name] = uniform
        elif given is not None:
            found[name] = _slice(name, given, c, shape)
        elif name in DERIVED:
            found[name] = _derive(name, c, sample, truth, rate, shape)
    if isinstance(rule, HPT | SuperRL) and sample.signals.gated_share is not None:
        found["gated_share"] = _slice("gated_share", sample.signals.gated_share, c, shape)
    return Signals(**found)


def _slice(name: str, given: Any, c: int, shape: tuple[int, ...]) -> Any:
    if name == "proxies":
        return Proxies(*(_leading(value, c, shape) for value in given))
    return _leading(given, c, shape, trailing=int(name in _PER_PROMPT))


def _leading(value: Any, c: int, shape: tuple[int, ...], trailing: int = 0) -> Any:
    array = np.asarray(value)
    if array.ndim < 2 + trailing:  # no axis of controllers
        return value
    return array[c if array.shape[0] == shape[0] else 0]


def norms(gradient: FloatArray) -> FloatArray:
    """Euclidean norm over the last axis."""
    return np.sqrt(inner(gradient, gradient))


def inner(a: FloatArray, b: FloatArray) -> FloatArray:
    """Inner product over the last axis; the order of its sum does not depend on other axes."""
    return np.asarray(np.einsum("...d,...d->...", a, b))


def _derive(
    name: str, c: int, sample: Sample, truth: LazyTruth, rate: float, shape: tuple[int, ...]
) -> FloatArray:
    if name.startswith("true_"):
        return np.asarray(getattr(truth.of(c), name.removeprefix("true_")))
    g_s, g_r = (_leading(g, c, shape, trailing=1) for g in (sample.grad_s, sample.grad_r))
    if name == "utility_gradient":
        return rate * inner(truth.of(c).g_r, g_s - g_r)
    a = g_r if name in ("grad_norm_r", "gram_rr") else g_s
    b = g_s if name in ("grad_norm_s", "gram_ss") else g_r
    product = inner(a, b)
    return np.sqrt(product) if name.startswith("grad_norm") else product
