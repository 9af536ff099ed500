"""Searching for the inputs on which a port is worst, and writing them down to be replayed.

Hypothesis draws inputs of one stage after another and is steered (``target``) towards a large
error over bound. What fails is shrunk. The golden values are the estimator's in float64, so its
own bound is added to the port's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gac_ref.config import GACConfig
from gac_ref.conformance.case import Case, Exchange
from gac_ref.conformance.compare import Difference
from gac_ref.conformance.formats import format_named
from gac_ref.conformance.judge import Judge, undecided, widened
from gac_ref.conformance.port import Port
from gac_ref.conformance.replay_file import load_case, new_case, save_case
from gac_ref.conformance.runner import Runner
from gac_ref.conformance.stages import STAGES
from gac_ref.conformance.tolerance import Precision
from gac_ref.errors import GACError, fail
from gac_ref.testing import stage_inputs, trajectories

__all__ = ["Failure", "FuzzReport", "fuzz", "load_case", "save_case"]

Inputs = Mapping[str, Any]
Event = dict[str, Any]

ROUND = 100
"""Examples of a stage before the next stage has its turn; steering starts half-way."""

_BROKEN = ("error", "crash", "timeout", "bad_reply")


@dataclass(frozen=True, slots=True)
class Failure:
    """A wrong answer, as small as it could be made in the time.

    Args:
        stage: The stage that was asked.
        ratio: Error over bound; infinite where something exact differs, or no answer came.
        output: The output that is worst; empty where no answer came.
        index: Its entry, () for a scalar.
        got: What the port said there.
        expected: The golden value.
        bound: How far apart the two may be.
        step: Which step of a trajectory, from 0.
        reason: Why there was no answer, with the kind of failure.
        case: The case, to be saved and replayed.
    """

    stage: str
    ratio: float
    output: str
    index: tuple[int, ...]
    got: float
    expected: float
    bound: float
    step: int
    reason: str
    case: Case


class FuzzReport(NamedTuple):
    """What a search found.

    Args:
        examples: How many inputs each stage was asked; a trajectory counts as one.
        undecided: Of these, in how many a decision was within the error of its kink; both of its
            sides are allowed there, and the search is not steered towards them.
        worst: Largest error over bound of each stage.
        failures: At most one a stage, in the order of the stages.
        path: Where the worst case was written, or None.
        seconds: How long it took.
    """

    examples: dict[str, int]
    undecided: dict[str, int]
    worst: dict[str, float]
    failures: tuple[Failure, ...]
    path: str | None
    seconds: float


class _TimeUp(BaseException):
    """Ends a run of Hypothesis from within; it lets through what is no ``Exception``."""


class _Wrong(Exception):
    """A wrong answer, to be shrunk."""


def fuzz(
    port: Port,
    *,
    dtype: str = "fp64",
    device: str = "cpu",
    seconds: float = 60.0,
    seed: int = 0,
    stages: Iterable[str] | None = None,
    out: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> FuzzReport:
    """Search for the largest error over bound of a port.

    The inputs follow from the seed; how many are tried, from the time. Stages that fail are
    shrunk and left; the others go on, round after round.

    Args:
        port: The port.
        dtype: Dtype of the token arrays.
        device: Handed to the port.
        seconds: When to stop.
        seed: Of the search.
        stages: Which stages; all that the port claims by default.
        out: Where to write the first failure in stage order, or without one the case that came
            closest to its bound.
        on_event: Called after each round of a stage, and with each failure.

    Raises:
        GACError: An unknown dtype or stage, or Hypothesis is not installed.

    Examples:
        >>> from gac_ref.conformance.reference import Reference  # doctest: +SKIP
        >>> report = fuzz(Reference(), seconds=0.5, stages=["clip"])  # doctest: +SKIP
        >>> report.failures, report.worst["clip"] <= 1.0  # doctest: +SKIP
        ((), True)
    """
    format_named(dtype)
    search = _Search(port, dtype, device, seconds, seed, on_event)
    chosen = search.stages(stages)
    search.run(chosen)
    failures = tuple(search.failures[name] for name in chosen if name in search.failures)
    path = None
    worst = failures[0].case if failures else search.closest()
    if out is not None and worst is not None:
        save_case(out, worst)
        path = str(out)
    return FuzzReport(
        search.examples,
        search.undecided,
        search.worst,
        failures,
        path,
        time.monotonic() - search.start,
    )


class _Search:
    def __init__(
        self,
        port: Port,
        dtype: str,
        device: str,
        seconds: float,
        seed: int,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self.start = time.monotonic()
        self.stop = self.start + seconds
        self.runner = Runner(port, dtype=dtype, device=device)
        self.dtype, self.seed = dtype, seed
        self.judge = Judge(dtype, Precision.declared(self.runner.hello, dtype))
        self.emit = on_event or (lambda event: None)
        self.examples: dict[str, int] = {}
        self.undecided: dict[str, int] = {}
        self.worst: dict[str, float] = {}
        self.failures: dict[str, Failure] = {}
        self._closest: tuple[float, str, GACConfig, Sequence[Inputs]] | None = None

    def stages(self, wanted: Iterable[str] | None) -> list[str]:
        claimed = [name for name in STAGES if self.runner.claims(name) and name != "transport"]
        if wanted is None:
            return claimed
        names = list(wanted)
        for name in names:
            if name not in claimed:
                fail(f"fuzz: the port does not claim stage {name!r}; it claims {claimed}")
        return names

    def run(self, stages: Sequence[str]) -> None:
        number = 0
        while time.monotonic() < self.stop:
            left = [name for name in stages if name not in self.failures]
            if not left:
                return
            for place, stage in enumerate(left):
                now = time.monotonic()
                share = (self.stop - now) / (len(left) - place)
                self._round(stage, number, now + share if number == 0 else self.stop)
                worst = self.worst.get(stage, 0.0)
                self.emit(
                    {
                        "event": "fuzz",
                        "stage": stage,
                        "examples": self.examples.get(stage, 0),
                        "worst": worst if math.isfinite(worst) else "Infinity",
                        "failed": stage in self.failures,
                    }
                )
            number += 1

    def _round(self, stage: str, number: int, stop: float) -> None:
        trajectory = stage == "trajectory"
        strategy = trajectories(self.dtype) if trajectory else stage_inputs(stage, self.dtype)

        from hypothesis import HealthCheck, Phase, given, reject, settings
        from hypothesis import seed as seeded
        from hypothesis import target as steer
        from hypothesis.errors import Flaky, Unsatisfiable

        @seeded(self.seed * 1_000_003 + number)
        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.target, Phase.shrink),
        )
        @given(strategy)
        def one(drawn: tuple[GACConfig, Any]) -> None:
            if time.monotonic() > stop:
                raise _TimeUp
            config, inputs = drawn
            exchanges = inputs if trajectory else [inputs]
            score = self._judge(stage, config, exchanges)
            if score is None:
                reject()
            if score > 0.0:
                steer(max(math.log10(score), -12.0))

        try:
            one()
        except (_Wrong, _TimeUp, Flaky, Unsatisfiable):
            return  # what was found is recorded

    def _judge(self, stage: str, config: GACConfig, exchanges: Sequence[Inputs]) -> float | None:
        """Error over bound of one example, 0 where it is not to be steered by; None to reject."""
        try:
            golden, limits = self.judge.golden(stage, config, exchanges)
        except GACError:
            return None  # not an input that the estimator takes
        self.examples[stage] = self.examples.get(stage, 0) + 1
        fault = self.runner.configure(config) or self.runner.reset()
        found, step, reason = None, 0, "" if fault is None else f"{fault.status}: {fault.reason}"
        status = "ok" if fault is None else fault.status
        for step, sent in enumerate(exchanges):
            if status != "ok":
                break
            answer = self.runner.call(stage, sent)
            status, reason = answer.status, f"{answer.status}: {answer.reason}"
            if status == "ok":
                one = self.judge.worst(
                    stage, config, sent, golden[step], limits[step], answer.outputs
                )
                if found is None or one.ratio > found.ratio:
                    found = one
                if found.ratio > 1.0:
                    break
        if status != "ok" and status not in _BROKEN:
            return 0.0  # unsupported, or skipped
        broken = status != "ok"
        ratio = math.inf if broken or found is None else found.ratio
        self._record(stage, ratio, config, exchanges)
        if ratio > 1.0:
            self._fail(stage, config, exchanges, golden, step, None if broken else found, reason)
            if status in ("crash", "timeout"):
                raise _TimeUp  # too slow to shrink
            raise _Wrong
        if any(undecided(tolerance) for one in limits for tolerance in one.values()):
            self.undecided[stage] = self.undecided.get(stage, 0) + 1
            return 0.0
        return ratio

    def _record(
        self, stage: str, ratio: float, config: GACConfig, exchanges: Sequence[Inputs]
    ) -> None:
        self.worst[stage] = max(self.worst.get(stage, 0.0), ratio)
        if ratio <= 1.0 and (self._closest is None or ratio > self._closest[0]):
            self._closest = (ratio, stage, config, exchanges)

    def closest(self) -> Case | None:
        """The case that came closest to its bound without exceeding it."""
        if self._closest is None:
            return None
        ratio, stage, config, exchanges = self._closest
        golden, _ = self.judge.golden(stage, config, exchanges)
        comment = f"found by search: {ratio:.2f} times the bound"
        return self._case(stage, config, exchanges, golden, comment)

    def _fail(
        self,
        stage: str,
        config: GACConfig,
        exchanges: Sequence[Inputs],
        golden: Sequence[Mapping[str, Any]],
        step: int,
        found: Difference | None,
        reason: str,
    ) -> None:
        """Record a failure; the last one that Hypothesis tries is the smallest."""
        what = reason if found is None else f"{found.output}, {found.ratio:.3g} times the bound"
        case = self._case(stage, config, exchanges, golden, f"found by search: {what}")
        worst = found or Difference(math.inf, "", (), math.nan, math.nan, 0.0, "value")
        self.failures[stage] = Failure(
            stage, *worst[:6], step=step, reason="" if found else reason, case=case
        )

    def _case(
        self,
        stage: str,
        config: GACConfig,
        exchanges: Sequence[Inputs],
        golden: Sequence[Mapping[str, Any]],
        comment: str,
    ) -> Case:
        return new_case(
            stage,
            config,
            self.dtype,
            [
                Exchange(dict(sent), widened(stage, sent, self.dtype), dict(want))
                for sent, want in zip(exchanges, golden, strict=True)
            ],
            comment,
        )
