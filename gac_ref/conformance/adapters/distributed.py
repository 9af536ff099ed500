"""One batch over several ranks: all must find the weight of the whole batch, and the same one.

Each case is dealt in every way of :mod:`~gac_ref.conformance.adapters.dealing`. The ranks must
answer the same bits, and what they answer is held against the golden values of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from gac_ref.config import GACConfig
from gac_ref.conformance.adapters.dealing import deals, shard
from gac_ref.conformance.adapters.failures import AdapterFailure, Crashed
from gac_ref.conformance.adapters.process import START_TIMEOUT, ProcessPort
from gac_ref.conformance.adapters.replies import decoded, expected_outputs
from gac_ref.conformance.adapters.world import World
from gac_ref.conformance.compare import Difference, compare, decides_nothing, target
from gac_ref.conformance.events import Result, replay_command
from gac_ref.conformance.pack import Pack, load_pack
from gac_ref.conformance.port import Skipped, Unsupported
from gac_ref.conformance.reference import evaluate
from gac_ref.conformance.stages import PIPELINE, STAGES
from gac_ref.conformance.tolerance import (
    Precision,
    Tolerance,
    step_tolerances,
    trajectory_tolerances,
)
from gac_ref.errors import fail

__all__ = ["check_ranks"]

TAG = "shards"
"""The cases that are made to be dealt."""

OPEN_GUARDS: Mapping[str, Any] = {
    "ema_beta": 0.0,
    "mu_min": 0.0,
    "mu_max": 1.0,
    "mu_change_cap": 1.0,
    "mu_update_freq": 1,
    "prior": "none",
    "weight_ema": "off",
}
"""With these mu is the closed form of this batch: behind the guards, a wrong statistic can hide."""

_SHARED = [
    field
    for name in PIPELINE[PIPELINE.index("proxies") :]
    for field in STAGES[name].outputs
    if not field.shape
]


class _Task(NamedTuple):
    """A case under one configuration, with what the whole batch gives."""

    id: str
    stage: str
    config: GACConfig
    inputs: tuple[Mapping[str, Any], ...]
    golden: tuple[Mapping[str, Any], ...]
    bounds: tuple[Mapping[str, Tolerance], ...]
    note: str


def check_ranks(
    spec: str | Sequence[str],
    ranks: int,
    *,
    dtype: str = "fp64",
    device: str = "cpu",
    pack: Pack | None = None,
    timeout: float = 10.0,
    start_timeout: float = START_TIMEOUT,
    ids: Sequence[str] | None = None,
    patterns: Sequence[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """The "check" events, mode "ranks", of an adapter run as the ranks of one job.

    Args:
        spec: The adapter; each rank is a process of it with RANK, WORLD_SIZE, LOCAL_RANK,
            MASTER_ADDR and MASTER_PORT set. Its hello says ``"ranks": true``.
        ranks: How many, at least 2.
        dtype: The dtype of the inputs.
        device: Where to compute.
        pack: The cases; those with the tag "shards" are dealt.
        timeout: Seconds for one call; a collective that not all enter ends here.
        start_timeout: Seconds for the ranks to start and to find one another.
        ids: Only these cases.
        patterns: Only these ways of dealing, names in `deals`.

    Returns:
        An event for each case and way of dealing its rows.
    """
    if ranks < 2:
        fail(f"ranks = {ranks} is no distribution; pass 2 or more")
    cases = (load_pack() if pack is None else pack).select(dtype=dtype, tags=[TAG], ids=ids)
    checker = _Checker(spec, ranks, dtype, device, timeout, start_timeout)
    try:
        for case in cases:
            if case.kind in ("step", "trajectory"):
                yield from checker.events(case, patterns)
    finally:
        checker.close()


class _Checker:
    """A world of ranks that is started again after a failure, and the cases that it is asked."""

    def __init__(
        self,
        spec: str | Sequence[str],
        ranks: int,
        dtype: str,
        device: str,
        timeout: float,
        start_timeout: float,
    ) -> None:
        self._spec = spec
        self._ranks = ranks
        self._dtype = dtype
        self._device = device
        self._start: Callable[[], World] = lambda: World(
            spec, ranks, timeout=timeout, start_timeout=start_timeout
        )
        self._world: World | None = None
        self._lost: str | None = None
        self._hung: dict[str, str] = {}

    def close(self) -> None:
        """End all ranks."""
        world, self._world = self._world, None
        if world is not None:
            world.__exit__(None, None, None)

    def events(self, case: Any, wanted: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        """The events of one case."""
        exchanges = case.exchanges(self._dtype)
        patterns = deals(exchanges[0].inputs["is_expert"], self._ranks)
        tasks: list[_Task] | None = None
        for pattern in patterns if wanted is None else wanted:
            status, reason = "skipped", self._lost or self._hung.get(pattern)
            worst: Difference | None = None
            at: int | None = None
            if reason is None:
                try:
                    world = self._ready()
                    tasks = self._tasks(case, exchanges, world) if tasks is None else tasks
                    for task in tasks:
                        status, reason, worst, at = self._run(world, task, pattern)
                        if status == "fail":
                            break
                except (Unsupported, Skipped) as declined:
                    status = type(declined).__name__.lower()
                    reason = str(declined)
                except AdapterFailure as failure:
                    status, reason = failure.status, str(failure)
                    self.close()
                    if status == "timeout":
                        self._hung[pattern] = f"not dealt so again, since {case.id} hung"
            result = Result(
                case.id,
                at or 0,
                case.stage,
                "ranks",
                status,
                at if case.kind == "trajectory" else None,
                worst,
                f"{pattern}, {self._ranks} ranks{': ' + reason if reason else ''}",
                _kind(status, worst),
            )
            spec = self._spec if isinstance(self._spec, str) else "stdio: " + " ".join(self._spec)
            replay = replay_command(spec, self._dtype, self._device, case.id)
            yield {**result.event(f"{replay} --ranks {self._ranks}"), "pattern": pattern}

    def _ready(self) -> World:
        if self._world is not None:
            return self._world
        self._world = self._start()
        try:
            hellos = self._world.together(lambda _, port: port.hello())
        except AdapterFailure as failure:
            # Another program may have taken the free port meanwhile; nothing else is retried.
            if not (isinstance(failure, Crashed) and "in use" in str(failure)):
                self._lost = f"the ranks did not start: {failure}"
                raise
            self.close()
            self._world = self._start()
            hellos = self._world.together(lambda _, port: port.hello())
        if not all(hello.get("ranks", False) for hello in hellos):
            self._lost = 'its hello does not say "ranks": true'
            raise Unsupported(self._lost)
        return self._world

    def _tasks(self, case: Any, exchanges: Sequence[Any], world: World) -> list[_Task]:
        """The case as it is; and each of its steps with the guards open."""
        precision = Precision.declared(world.ports[0].hello(), self._dtype)
        inputs = tuple(exchange.inputs for exchange in exchanges)
        pairs = [(exchange.wide, exchange.expected) for exchange in exchanges]
        if case.kind == "trajectory":
            bounds = trajectory_tolerances(case.config, pairs, precision=precision)
        else:
            bounds = [step_tolerances(case.config, *p, precision=precision) for p in pairs]
        golden = tuple(exchange.expected for exchange in exchanges)
        tasks = [_Task(case.id, case.stage, case.config, inputs, golden, tuple(bounds), "")]
        if case.kind == "step":
            config = case.config.replace(**OPEN_GUARDS)
            opened = [evaluate("step", config, exchange.wide) for exchange in exchanges]
            bounds = [
                step_tolerances(config, wide, whole, precision=precision)
                for (wide, _), whole in zip(pairs, opened, strict=True)
            ]
            note = "with the guards open, "
            tasks.append(_Task(case.id, "step", config, inputs, tuple(opened), tuple(bounds), note))
        return tasks

    def _run(
        self, world: World, task: _Task, pattern: str
    ) -> tuple[str, str | None, Difference | None, int | None]:
        """Status, reason, worst difference and exchange of one task."""
        config = task.config.to_dict()
        world.together(
            lambda _, port: port.configure(config, dtype=self._dtype, device=self._device)
        )
        worst: Difference | None = None
        for at, inputs in enumerate(task.inputs):
            rows = deals(inputs["is_expert"], self._ranks)[pattern]
            parts = [shard(inputs, part) for part in rows]
            replies = world.together(partial(_run_part, task.stage, parts))
            answers = [
                decoded(task.stage, reply, part) for reply, part in zip(replies, parts, strict=True)
            ]
            for difference, reason in _differences(task, at, answers):
                if reason:
                    return "fail", task.note + reason, difference, at
                if worst is None or difference.ratio > worst.ratio:
                    worst = difference
        return "pass", None, worst, None


def _run_part(stage: str, parts: Sequence[Mapping[str, Any]], rank: int, port: ProcessPort) -> Any:
    return port.run(stage, parts[rank])


def _differences(
    task: _Task, at: int, answers: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Difference, str]]:
    """Each shared value held against the whole batch's, in the order of the stages."""
    golden, bounds = task.golden[at], task.bounds[at]
    fields = expected_outputs(task.stage)
    for field in _SHARED:
        name = field.name
        if name not in golden or decides_nothing(name, task.config, golden):
            continue
        given = {rank: answer[name] for rank, answer in enumerate(answers) if name in answer}
        if not given:
            continue
        bound = bounds[name]
        goal = target(fields[name], golden[name], bound.limit, alternatives=bound.alternatives)
        found = {rank: compare(goal, value) for rank, value in given.items()}
        rank = max(found, key=lambda r: found[r].ratio)
        if len({value.tobytes() for value in given.values()}) > 1:
            said = ", ".join(f"rank {r}: {value.item()!r}" for r, value in given.items())
            yield found[rank], f"{name} differs between ranks ({said}); it must be the same bits"
        elif found[rank].ratio > 1.0:
            yield found[rank], f"{name} is not that of the whole batch, on any rank"
        else:
            yield found[rank], ""


def _kind(status: str, worst: Difference | None) -> str:
    if status == "fail":
        return "value" if worst is None else worst.kind
    return "" if status in ("pass", "unsupported", "skipped") else status
