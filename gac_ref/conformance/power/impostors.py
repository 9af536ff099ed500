"""Ports that do not compute what they answer, or not only from what they are asked.

Each must be failed. Some know right answers (from the model) and give them where a weak suite
would look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gac_ref.conformance.power.model import Model

__all__ = ["IMPOSTORS", "Impostor", "impostors"]

Outputs = dict[str, Any]
Values = Mapping[str, Any]


class _Pretender(Model):
    """Runs the model, and then answers what `answer` says."""

    def __init__(self) -> None:
        self.calls = 0
        self.last: dict[str, Outputs] = {}
        self.seen: dict[Any, Outputs] = {}
        self.config_key: Any = None
        self.random = np.random.default_rng(0)
        super().__init__()

    def run(self, stage: str, inputs: Values) -> Outputs:
        """The pretended outputs."""
        self.calls += 1
        right = super().run(stage, inputs)
        outputs = self.answer(stage, inputs, right)
        self.last[stage] = right
        return outputs

    def answer(self, stage: str, inputs: Values, right: Outputs) -> Outputs:
        """What is answered in place of `right`."""
        return right


Answer = Callable[[Any, str, Values, Outputs], Outputs]


@dataclass(frozen=True, kw_only=True)
class Impostor:
    """A port that pretends.

    Args:
        name: Unique.
        description: What it answers.
        methods: What it overrides.
    """

    name: str
    description: str
    methods: Mapping[str, Callable[..., Any]] = field(repr=False)

    def port(self) -> Model:
        """A fresh port.

        Examples:
            >>> IMPOSTORS[0].port().run("clip", {"mu_capped": 0.5})
            {'mu': 0.0, 'mu_clipped': False}
        """
        made = type("Impostor", (_Pretender,), {**self.methods, "name": self.name})
        port = made()
        assert isinstance(port, Model)
        return port


def _each(value: Callable[[Any, Any], Any]) -> Answer:
    """Every real output replaced; its shape and kind kept."""

    def answer(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
        replaced = {}
        for name, true in right.items():
            array = np.asarray(true)
            new = np.broadcast_to(np.asarray(value(port, array)), array.shape).astype(array.dtype)
            replaced[name] = new if array.shape else new.item()
        return replaced

    return answer


def _fitting(new: Outputs, right: Outputs) -> Outputs:
    """Of `new` what has the shape of the right answer."""
    return {
        n: new[n] if n in new and np.shape(new[n]) == np.shape(v) else np.zeros_like(v)
        for n, v in right.items()
    }


def _echo(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
    """Some input of the right shape."""
    answer: Outputs = {}
    for name, true in right.items():
        shape, kind = np.shape(true), np.asarray(true).dtype.kind
        given = (v for v in inputs.values() if np.shape(v) == shape and not isinstance(v, str))
        found = next((v for v in given if np.asarray(v).dtype.kind == kind), np.zeros_like(true))
        answer[name] = found
    return answer


def _previous(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
    """The answer to the call before this one, of the same stage."""
    return _fitting(port.last.get(stage, {}), right)


def _cached(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
    """The first answer that had these shapes under this stage."""
    shapes = tuple((n, np.shape(v)) for n, v in sorted(right.items()))
    return port.seen.setdefault((stage, shapes), right)  # type: ignore[no-any-return]


def _cached_by_config(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
    """The first answer of a stage under a configuration."""
    shapes = tuple((n, np.shape(v)) for n, v in sorted(right.items()))
    return port.seen.setdefault((stage, port.config, shapes), right)  # type: ignore[no-any-return]


def _late(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
    """Right at first."""
    return right if port.calls <= 100 else _each(lambda p, x: 0)(port, stage, inputs, right)


def _rare(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
    """Right but for one call in fifty."""
    return right if port.calls % 50 else _each(lambda p, x: 0.5)(port, stage, inputs, right)


def _mutating(port: Any, stage: str, inputs: Values) -> Outputs:
    """The right answer, and the first array of the inputs overwritten."""
    outputs = _Pretender.run(port, stage, inputs)
    for value in inputs.values():
        if isinstance(value, np.ndarray) and value.size:
            value.flags.writeable = True
            value.flat[0] = not value.flat[0] if value.dtype == np.bool_ else value.flat[0] + 1
            break
    return outputs


def _fabricated(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
    """Mu is right; the reported intermediate values are always the same."""
    if stage not in ("step", "trajectory"):
        return right
    first = port.seen.setdefault("taps", right)
    return {**_fitting(first, right), "mu": right["mu"]}


def _own_taps(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
    """Mu is made up; the intermediate values are right."""
    return {**right, "mu": 0.5} if stage in ("step", "trajectory") else right


def _only_mu(value: Callable[[Any, Values], float]) -> Callable[..., Any]:
    """Offers nothing but whole steps."""
    return lambda port, stage, inputs, right: {"mu": value(port, inputs)}


def _whole_steps(port: Model) -> Outputs:
    return {**Model.hello(port), "stages": ["step", "trajectory"]}


def _prior_only(port: Any, inputs: Values) -> float:
    mu = port.prior(inputs["step"])
    return float(min(max(mu, port.config.mu_min), port.config.mu_max))


def _kept_state(port: Any) -> None:
    """Only a configuration starts a new trajectory."""
    if not hasattr(port, "state") or port.config is not port.config_key:
        port.config_key = port.config
        Model.reset(port)


def _slow_drift(port: Any, stage: str, inputs: Values, right: Outputs) -> Outputs:
    """The right answer, and a little more with every call."""
    return {
        n: v * (1.0 + 1e-4 * port.calls) if isinstance(v, float) else v for n, v in right.items()
    }


def _says(name: str, description: str, answer: Answer) -> Impostor:
    return Impostor(name=name, description=description, methods={"answer": answer})


IMPOSTORS = (
    _says("zeros", "0 and False.", _each(lambda p, x: 0)),
    _says("ones", "1 and True.", _each(lambda p, x: 1)),
    _says("constant 0.5", "The middle of the range.",
          _each(lambda p, x: 0.5 if x.dtype.kind == "f" else 0)),
    _says("NaN", "Not a number, hoping that comparisons are false.",
          _each(lambda p, x: np.nan if x.dtype.kind == "f" else 0)),
    _says("random within [0, 1]", "Plausible weights.",
          _each(lambda p, x: p.random.random(x.shape) if x.dtype.kind == "f" else 0)),
    _says("random noise", "Normal deviates.",
          _each(lambda p, x: p.random.normal(size=x.shape) if x.dtype.kind == "f" else 0)),
    _says("echo", "An input of the right shape.", _echo),
    _says("previous output", "The answer to the call before.", _previous),
    _says("cached", "The first answer of the right shape, for ever.", _cached),
    _says("cached by configuration", "The first answer under each configuration.",
          _cached_by_config),
    _says("right on the first calls only", "Zeros after a hundred calls.", _late),
    _says("wrong once in fifty calls", "0.5 on every fiftieth.", _rare),
    _says("drifting", "Right, and a little more with every call.", _slow_drift),
    Impostor(name="mutates its inputs", description="Right answers, inputs overwritten.",
             methods={"run": _mutating}),
    _says("fabricated taps", "mu is right, what it reports of the stages is invented.",
          _fabricated),
    _says("right taps, constant mu", "The stages are right, mu is 0.5.", _own_taps),
    Impostor(name="mu of 0.5", description="Offers whole steps only, and answers 0.5.",
             methods={"hello": _whole_steps, "answer": _only_mu(lambda p, v: 0.5)}),
    Impostor(name="mu of the prior", description="Offers whole steps only, reads the step alone.",
             methods={"hello": _whole_steps, "answer": _only_mu(_prior_only)}),
    Impostor(name="mu of the last step", description="Offers whole steps only, and stays.",
             methods={"hello": _whole_steps, "answer": _only_mu(
                 lambda p, v: float(v.get("previous_mu", p.config.init_mu)))}),
    Impostor(name="state kept over reset", description="Only a new configuration starts over.",
             methods={"reset": _kept_state}),
)  # fmt: skip
"""The impostors."""


def impostors() -> tuple[Impostor, ...]:
    """The impostors.

    Examples:
        >>> len({impostor.name for impostor in impostors()}) >= 10
        True
    """
    return IMPOSTORS
