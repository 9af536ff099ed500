"""The signals of one step, as a rule's step function wants them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gac_ref._typing import ArrayLike, BoolArray, FloatArray
from gac_ref.baselines.protocol import MixInfo, MixState
from gac_ref.baselines.signals import Signals, signals_from_batch
from gac_ref.batch import Batch
from gac_ref.errors import fail
from gac_ref.proxies import Proxies


def constant_state(rule: Any, shape: tuple[int, ...]) -> MixState:
    """A `MixState` at ``rule.init_mu``."""
    return MixState(np.full(shape, rule.init_mu, dtype=np.float64))


def require_state(rule: Any, state: Any, kind: type) -> None:
    """Refuse the state of another rule."""
    if not isinstance(state, kind):
        fail(
            f"{type(rule).__name__}: state is a {type(state).__name__}, not a {kind.__name__}; "
            "pass what init or update gave for the same rule"
        )


class Reader:
    """The signals of one step, validated and broadcast to the trajectories, NaN flags collected.

    It lives for one call of a rule's step function.
    """

    def __init__(self, rule: Any, state: Any, signals: Signals | Batch, kind: type) -> None:
        require_state(rule, state, kind)
        self.rule = rule
        self.previous: FloatArray = state.mu
        self.shape: tuple[int, ...] = state.mu.shape
        self.signals = signals_from_batch(rule, signals) if isinstance(signals, Batch) else signals
        self.flags: dict[str, BoolArray] = {}

    def fetch(self, name: str) -> Any:
        """The signal as given; an error where it was not."""
        value = getattr(self.signals, name)
        if value is None:
            fail(f"{type(self.rule).__name__} needs the signal {name!r}; {_SOURCES[name]}")
        return value

    def proxies(self) -> Proxies:
        """The proxies as given, of the type that the controller takes."""
        given = self.fetch("proxies")
        if not isinstance(given, Proxies):
            fail(
                f"{type(self.rule).__name__}: signal 'proxies' is a {type(given).__name__}; "
                "pass a gac_ref.Proxies"
            )
        return given

    def read(self, name: str, *, low: float = -np.inf, high: float = np.inf) -> FloatArray:
        """The signal `name` of the trajectories' shape; NaN is let through and flagged."""
        return self.checked(name, self.fetch(name), low=low, high=high)

    def checked(
        self, name: str, given: ArrayLike, *, low: float = -np.inf, high: float = np.inf
    ) -> FloatArray:
        """`given` as `read` would return it."""
        values = self.array(name, given, low=low, high=high)
        if _broadcasts(values.shape, self.shape):
            values = np.broadcast_to(values, self.shape)
        else:
            fail(
                f"{type(self.rule).__name__}: signal {name!r} has shape {values.shape}, which does "
                f"not broadcast to the trajectories' shape {self.shape}; pass that shape"
            )
        self.flags[f"{name}_missing"] = np.isnan(values)
        return values

    def per_prompt(self, name: str, *, low: float, high: float) -> FloatArray:
        """The signal `name` with one more axis than the trajectories, the prompts, [..., P]."""
        values = self.array(name, self.fetch(name), low=low, high=high)
        if values.ndim != len(self.shape) + 1 or not _broadcasts(values.shape[:-1], self.shape):
            fail(
                f"{type(self.rule).__name__}: signal {name!r} has shape {values.shape}; pass "
                f"{(*self.shape, 'P')}, the trajectories' shape and a last axis of P prompts"
            )
        return np.broadcast_to(values, (*self.shape, values.shape[-1]))

    def array(self, name: str, given: ArrayLike, *, low: float, high: float) -> FloatArray:
        """`given` as float64, finite or NaN, inside [low, high]."""
        try:
            values = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            fail(f"{type(self.rule).__name__}: signal {name!r} is not numeric; pass numbers")
        bad = ~((values >= low) & (values <= high) & np.isfinite(values) | np.isnan(values))
        if bad.any():
            bounds = f"in [{low:g}, {high:g}]" if high < np.inf else f">= {low:g}"
            wanted = "finite" if low == -np.inf else f"finite and {bounds}"
            fail(
                f"{type(self.rule).__name__}: signal {name!r} = {float(values[bad].flat[0])!r} is "
                f"not {wanted}; pass a {wanted} value, or NaN where it is unknown"
            )
        return values

    def hold(self, mu: ArrayLike) -> FloatArray:
        """`mu`, and the previous weight where any signal read so far is unknown."""
        unknown = np.zeros(self.shape, dtype=np.bool_)
        for name, flag in self.flags.items():
            if name.endswith("_missing"):
                unknown = unknown | flag
        return np.where(unknown, self.previous, mu)

    def finish(self, mu: ArrayLike, **parts: ArrayLike) -> tuple[MixState, MixInfo]:
        """State and info of a rule without memory."""
        held = self.hold(mu)
        return MixState(held), self.info(held, **parts)

    def info(self, mu: FloatArray, **parts: ArrayLike) -> MixInfo:
        """The diagnosis, every part broadcast to the trajectories."""
        return MixInfo(
            mu=mu,
            parts={
                name: np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), self.shape))
                for name, value in parts.items()
            },
            flags={name: np.asarray(flag) for name, flag in self.flags.items()},
        )


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


_SOURCES = {
    "proxies": "pass Signals(proxies=...) or a Batch",
    "kl": "pass Signals(kl=...) or a Batch with kl or ref_logprob",
    "entropy": "pass Signals(entropy=...) or a Batch with entropy",
    "solved": "pass Signals(solved=...) or a Batch with rewards and group_ids",
    "any_rewarded": "pass Signals(any_rewarded=...) or a Batch with rewards and group_ids",
    "grad_norm_s": "no Batch holds it, so pass Signals(grad_norm_s=...)",
    "grad_norm_r": "no Batch holds it, so pass Signals(grad_norm_r=...)",
    "utility_gradient": "no Batch holds it, so pass Signals(utility_gradient=...)",
    "uniform": "pass Signals(uniform=...) in [0, 1), or Signals(rng=...), a numpy Generator",
    "gram_ss": "no Batch holds it, so pass Signals(gram_ss=...)",
    "gram_sr": "no Batch holds it, so pass Signals(gram_sr=...)",
    "gram_rr": "no Batch holds it, so pass Signals(gram_rr=...)",
    "true_sigma_s2": "no Batch holds it, so pass Signals(true_sigma_s2=...)",
    "true_sigma_r2": "no Batch holds it, so pass Signals(true_sigma_r2=...)",
    "true_delta_g2": "no Batch holds it, so pass Signals(true_delta_g2=...)",
}
