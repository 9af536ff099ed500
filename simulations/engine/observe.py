"""What each controller sees: the model's signals, and what follows from gradients and truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gac_ref import GACConfig, Proxies
from gac_ref._typing import FloatArray
from gac_ref.baselines import HPT, SASR, Signals, SuperRL, reads
from gac_ref.errors import fail
from simulations.engine.controllers import Controller
from simulations.problem import Problem, Truth

__all__ = [
    "DERIVED",
    "FROM_GRADIENTS",
    "PER_PROMPT",
    "derive_signal",
    "inner",
    "norms",
    "observe",
    "require_signals",
    "uses",
]

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

FROM_GRADIENTS = frozenset(DERIVED) - {"uniform"}
"""Those that :func:`derive_signal` makes, from the sampled gradients and the truth."""

PER_PROMPT = ("solved", "any_rewarded")


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
    signals: Signals,
    *,
    proxies: Proxies | None,
    derive: Callable[[str], FloatArray],
    uniform: FloatArray | None,
    previous_norm: FloatArray,
    controllers: int,
) -> Signals:
    """The signals that one controller asks for at this step, [n] each.

    The model's own signals take precedence. Norms and the Gram matrix are those of this step's
    sampled gradients; SASR gets the norm of the step before, as its rule asks.

    Args:
        rule: The controller's rule.
        c: Its place on the first axis.
        signals: The model's signals, [C, n] or [n].
        proxies: This controller's own statistics, [n]; None to read `signals.proxies`.
        derive: Gives a signal of `DERIVED` for this controller, [n].
        uniform: This step's coins, [n], or None where no rule reads them.
        previous_norm: Norm of the SFT gradient one step ago, [n]; NaN before.
        controllers: C.
    """
    found: dict[str, Any] = {}
    for name in uses(rule):
        given = getattr(signals, name)
        if isinstance(rule, SASR) and name == "grad_norm_s":
            found[name] = previous_norm
        elif name == "uniform":
            found[name] = uniform
        elif name == "proxies" and proxies is not None:
            found[name] = proxies
        elif given is not None:
            found[name] = _slice(name, given, c, controllers)
        elif name in DERIVED:
            found[name] = derive(name)
    if isinstance(rule, HPT | SuperRL) and signals.gated_share is not None:
        found["gated_share"] = _slice("gated_share", signals.gated_share, c, controllers)
    return Signals(**found)


def _slice(name: str, given: Any, c: int, controllers: int) -> Any:
    if name == "proxies":
        return Proxies(*(_leading(value, c, controllers) for value in given))
    return _leading(given, c, controllers, trailing=int(name in PER_PROMPT))


def _leading(value: Any, c: int, controllers: int, trailing: int = 0) -> Any:
    array = np.asarray(value)
    if array.ndim < 2 + trailing:  # no axis of controllers
        return value
    return array[c if array.shape[0] == controllers else 0]


def norms(gradient: FloatArray) -> FloatArray:
    """Euclidean norm over the last axis."""
    return np.sqrt(inner(gradient, gradient))


def inner(a: FloatArray, b: FloatArray) -> FloatArray:
    """Inner product over the last axis; the order of its sum does not depend on other axes."""
    # A slow axis would be summed in another order, and one trajectory alone has none.
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return np.asarray(np.einsum("...d,...d->...", a, b))


def derive_signal(
    name: str, g_s: FloatArray, g_r: FloatArray, truth: Callable[[], Truth], rate: float
) -> FloatArray:
    """A signal of `DERIVED` (but for "uniform") from one controller's gradients, [n, d] each.

    The utility gradient is that of minus the RL loss after the next step, with the exact RL
    gradient in the place of a validation set.

    Examples:
        >>> g = np.array([[3.0, 4.0]])
        >>> derive_signal("grad_norm_s", g, g, lambda: None, 0.1).tolist()
        [5.0]
    """
    if name.startswith("true_"):
        exact = np.asarray(getattr(truth(), name.removeprefix("true_")))
        return np.broadcast_to(exact, g_s.shape[:-1])
    if name == "utility_gradient":
        return rate * inner(truth().g_r, g_s - g_r)
    a = g_r if name in ("grad_norm_r", "gram_rr") else g_s
    b = g_s if name in ("grad_norm_s", "gram_ss") else g_r
    product = inner(a, b)
    return np.sqrt(product) if name.startswith("grad_norm") else product
