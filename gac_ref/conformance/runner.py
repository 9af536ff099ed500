"""Calling a port: what it answers, or by which name it failed to, and whether its inputs survived.

A port that crashes or hangs is asked again, but not for ever: after :data:`PATIENCE` such ends in a
row in the same stage that stage is given up, and its remaining calls are skipped, with the reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gac_ref.config import GACConfig
from gac_ref.conformance.adapters import AdapterFailure, InProcessPort, ProcessPort, decoded
from gac_ref.conformance.port import Port, Skipped, Unsupported

__all__ = ["PATIENCE", "Answer", "Runner"]

PATIENCE = 3
"""Crashes and time-outs of a stage in a row after which it is given up."""

_FATAL = ("crash", "timeout")
_READ_ONLY = "read-only"  # what NumPy says where a read-only array is written to


class Answer(NamedTuple):
    """What came of one call.

    Args:
        status: "ok", or "unsupported", "skipped", "error", "timeout", "crash", "bad_reply".
        outputs: The outputs by name: arrays, and plain ``float``, ``int`` and ``bool``.
        reason: Why there are none.
        mutated: Names of the inputs that the port changed.
    """

    status: str
    outputs: dict[str, Any]
    reason: str = ""
    mutated: tuple[str, ...] = ()


class Runner:
    """A port, its configuration, and what has gone wrong with it so far.

    Args:
        port: The port.
        dtype: The dtype under test.
        device: Where it is to run.

    Attributes:
        hello: What it says of itself; empty if it could not say it.
        fault: The answer that stands for every call, where there is one.
        broken: Why the port could not even say hello, where it could not.
    """

    def __init__(self, port: Port, *, dtype: str, device: str) -> None:
        guarded = isinstance(port, InProcessPort | ProcessPort)
        self._port = port if guarded else InProcessPort(port)
        self._dtype, self._device = dtype, device
        self._in_a_row: dict[str, int] = {}
        self._configurations: dict[GACConfig, dict[str, Any]] = {}
        self.fault: Answer | None = None
        self.broken: Answer | None = None
        self.hello: dict[str, Any] = {}
        try:
            self.hello = dict(self._port.hello())
        except (Unsupported, Skipped, AdapterFailure) as error:
            self.refuse(_failed(error))

    def refuse(self, why: Answer) -> None:
        """Let no call through: what the port says of itself cannot be relied on."""
        self.broken = why
        self.fault = Answer("skipped", {}, f"the port was not asked: {why.reason}")

    def claims(self, stage: str) -> bool:
        """Whether the port's hello names that stage."""
        return stage in self.hello.get("stages", ())

    def configure(self, config: GACConfig) -> Answer | None:
        """Configure the port; the answer that stands for its calls, if that failed."""
        if self.fault is not None:
            return self.fault
        if config not in self._configurations:
            self._configurations[config] = config.to_dict()
        return self._counted(
            "configure",
            lambda: self._port.configure(
                dict(self._configurations[config]), dtype=self._dtype, device=self._device
            ),
        )

    def reset(self) -> Answer | None:
        """Reset the port; the answer that stands for its calls, if that failed."""
        return self._counted("reset", self._port.reset)

    def call(self, stage: str, inputs: Mapping[str, Any]) -> Answer:
        """Ask for one stage."""
        if self.fault is not None:
            return self.fault
        if not self.claims(stage):
            return Answer("unsupported", {}, f"its hello does not name {stage}")
        given_up = self._given_up(stage)
        if given_up is not None:
            return given_up
        # Copies: a port that writes to its inputs must not reach the golden ones.
        sent = {name: _copy(value) for name, value in inputs.items()}
        try:
            reply = self._run(stage, sent)
            outputs = {name: _plain(value) for name, value in decoded(stage, reply, sent).items()}
        except (Unsupported, Skipped, AdapterFailure) as error:
            answer = _failed(error)
            self._count(stage, answer)
            if _READ_ONLY in answer.reason:
                answer = answer._replace(mutated=tuple(_arrays(inputs)))
            return answer._replace(mutated=answer.mutated or _changed(inputs, sent))
        self._in_a_row[stage] = 0
        return Answer("ok", outputs, mutated=_changed(inputs, sent))

    def _run(self, stage: str, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a port warns of is its author's affair
            return self._port.run(stage, sent)

    def _counted(self, what: str, call: Any) -> Answer | None:
        given_up = self._given_up(what)
        if given_up is not None:
            return given_up
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call()
        except (Unsupported, Skipped, AdapterFailure) as error:
            answer = _failed(error)
            self._count(what, answer)
            return answer
        self._in_a_row[what] = 0
        return None

    def _count(self, what: str, answer: Answer) -> None:
        fatal = answer.status in _FATAL
        self._in_a_row[what] = self._in_a_row.get(what, 0) + 1 if fatal else 0

    def _given_up(self, what: str) -> Answer | None:
        times = self._in_a_row.get(what, 0)
        if times < PATIENCE:
            return None
        return Answer(
            "skipped", {}, f"{what} was given up after {times} crashes or time-outs in a row"
        )


def _failed(error: Exception) -> Answer:
    if isinstance(error, Unsupported):
        return Answer("unsupported", {}, str(error) or "the port raised Unsupported")
    if isinstance(error, Skipped):
        return Answer("skipped", {}, str(error) or "the port raised Skipped")
    return Answer(getattr(error, "status", "error"), {}, str(error))


def _copy(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    copy = value.copy()
    copy.flags.writeable = value.flags.writeable
    return copy


def _plain(value: Any) -> Any:
    return value.item() if value.shape == () else value


def _arrays(values: Mapping[str, Any]) -> list[str]:
    return [name for name, value in values.items() if isinstance(value, np.ndarray)]


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of inputs that are no longer what they were."""
    return tuple(
        name
        for name in before
        if name not in after
        or (
            before[name].tobytes() != after[name].tobytes()
            if isinstance(before[name], np.ndarray) and isinstance(after[name], np.ndarray)
            else type(before[name]) is not type(after[name])
        )
    )
