"""A half-finished adapter, one call after the other, up to the one thing to do next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gac_ref.config import GACConfig
from gac_ref.conformance.adapters.failures import (
    AbiMismatch,
    AdapterFailure,
    NotFound,
    WrongArchitecture,
)
from gac_ref.conformance.adapters.replies import decoded
from gac_ref.conformance.adapters.wire import shown
from gac_ref.conformance.port import Skipped, Unsupported
from gac_ref.conformance.stages import STAGES

__all__ = ["smoke"]


def smoke(spec: str, *, timeout: float = 10.0) -> list[str]:
    r"""What works of an adapter, a line a call; the last line is the next thing to do.

    Args:
        spec: As for :func:`~gac_ref.conformance.adapters.open_port`.
        timeout: Seconds for one call.

    Examples:
        >>> print(*smoke("nowhere:port"), sep="\n")
        FAIL  found           NotFound: there is no module 'nowhere'; run where it can be imported
        next: correct the spec 'nowhere:port'
    """
    diagnosis = _Diagnosis(spec)
    diagnosis.run(timeout)
    return diagnosis.lines


class _Diagnosis:
    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.lines: list[str] = []
        self._next: str | None = None

    def say(self, mark: str, what: str, text: str, todo: str = "") -> None:
        self.lines.append(f"{mark:<5} {what:<15} {text}")
        if todo and self._next is None:
            self._next = todo

    def run(self, timeout: float) -> None:
        from gac_ref.conformance.adapters import open_port

        try:
            with open_port(self.spec, timeout=timeout) as port:
                self._calls(port)
                for text in port.stray:
                    self.say("warn", "stdout", f"it prints {shown(text)}; keep that for stderr")
        except AdapterFailure as failure:
            self._failed("found", failure, f"correct the spec {self.spec!r}")
        self.lines.append(f"next: {self._next or f'gac-ref check {self.spec!r}'}")

    def _failed(self, what: str, failure: AdapterFailure, todo: str) -> None:
        text = str(failure).removeprefix(f"{what}: ").removeprefix("hello: ")
        self.say("FAIL", what, f"{type(failure).__name__}: {text}", todo)

    def _calls(self, port: Any) -> None:
        # The pack imports the reference, which an adapter's host process has no use for.
        from gac_ref.conformance.pack import load_pack

        try:
            hello = port.hello()
        except (NotFound, WrongArchitecture, AbiMismatch) as failure:
            self._failed("found", failure, f"correct the spec {self.spec!r}")
            return
        except AdapterFailure as failure:
            self.say("ok", "found", self.spec)
            self._failed("hello", failure, f"make {self.spec} start and answer hello")
            return
        except (Unsupported, Skipped) as declined:
            self.say("FAIL", "hello", f"declined: {declined}", "answer hello with what you claim")
            return
        self.say("ok", "found", self.spec)
        claimed = [name for name in STAGES if name in hello["stages"]]
        self.say(
            "ok",
            "hello",
            f"{hello['name']} {hello['version']}, {len(claimed)} of {len(STAGES)} stages, "
            f"{', '.join(hello['dtypes'])} on {', '.join(hello['devices'])}",
        )
        config = GACConfig().to_dict()
        usable = [name for name in hello["dtypes"] if self._configured(port, hello, config, name)]
        if not usable:
            return
        if self._called(port.reset, "reset"):
            self.say("ok", "reset", "answered")
        pack = load_pack()
        for stage in claimed:
            self._stage(port, pack, stage, usable[0], hello["devices"][0])
        self._suggest(claimed)

    def _configured(self, port: Any, hello: Any, config: Any, dtype: str) -> bool:
        device = hello["devices"][0]
        done = self._called(
            lambda: port.configure(config, dtype=dtype, device=device), "configure", dtype
        )
        if done:
            self.say("ok", "configure", f"{dtype} on {device}")
        return done

    def _called(self, call: Any, what: str, detail: str = "") -> bool:
        claim = f"{what} {detail}".strip()
        try:
            call()
        except AdapterFailure as failure:
            self._failed(what, failure, f"make {claim} work")
            return False
        except (Unsupported, Skipped) as declined:
            self.say(
                "FAIL",
                what,
                f"{claim} declined: {declined}",
                f"support {claim}, or do not claim it in hello",
            )
            return False
        return True

    def _stage(self, port: Any, pack: Any, stage: str, dtype: str, device: str) -> None:
        case = next(iter(pack.select(dtype=dtype, stages=[stage])), None)
        if case is None:
            self.say("-", stage, f"the pack has no case in {dtype}")
            return
        inputs = case.exchanges(dtype)[0].inputs
        try:
            port.configure(case.config.to_dict(), dtype=dtype, device=device)
            outputs = decoded(stage, port.run(stage, inputs), inputs)
        except AdapterFailure as failure:
            self._failed(stage, failure, f"mend the stage {stage} (case {case.id})")
        except (Unsupported, Skipped) as declined:
            kind = type(declined).__name__.lower()
            self.say("-", stage, f"{kind}, though claimed: {declined}")
        else:
            self.say("ok", stage, f"answered, {len(outputs)} outputs of the right shape and kind")

    def _suggest(self, claimed: list[str]) -> None:
        if self._next is None and not {"step", "trajectory"} & set(claimed):
            missing = _first_missing(claimed)
            self._next = (
                f"gac-ref check {self.spec!r} judges the values; after that, add the stage "
                f"{next(missing, 'step')}, and claim it in hello"
            )


def _first_missing(claimed: list[str]) -> Iterator[str]:
    return (name for name in STAGES if name not in claimed)
