"""A mutant: the plain port with one named fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gac_ref.conformance.formats import FORMATS
from gac_ref.conformance.power.arithmetic import MIXED, Arithmetic
from gac_ref.conformance.power.model import Model

__all__ = ["EVERY", "WIDE_ONLY", "Mutant", "fault", "under"]

EVERY = tuple(FORMATS)
"""Seen in every dtype."""

WIDE_ONLY = ("fp64",)
"""Seen in float64 only; the mutant says why."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One fault in one place.

    Args:
        name: Unique; what a hint quotes.
        stage: The origin that a check should name: a stage, "order", "wiring" or "state".
        description: What the port does, and where such a port was met, if it was.
        methods: The methods that it replaces.
        dtypes: Where it can be seen at all.
        reason: Why not in the others.
        arithmetic: How it computes, otherwise.

    Examples:
        >>> Mutant(name="no clip", stage="clip", description="", methods={}).port().hello()["name"]
        'no clip'
    """

    name: str
    stage: str
    description: str
    methods: Mapping[str, Callable[..., Any]] = field(repr=False)
    dtypes: tuple[str, ...] = EVERY
    reason: str = ""
    arithmetic: Arithmetic = field(default=MIXED, repr=False)

    def port(self) -> Model:
        """A port with this fault."""
        made = type("Mutated", (Model,), {**self.methods, "name": self.name})
        port = made(self.arithmetic)
        assert isinstance(port, Model)
        return port


def fault(
    stage: str,
    name: str,
    description: str,
    *,
    dtypes: tuple[str, ...] = EVERY,
    reason: str = "",
    **methods: Callable[..., Any],
) -> Mutant:
    """A mutant that replaces `methods`."""
    return Mutant(
        name=name,
        stage=stage,
        description=description,
        methods=methods,
        dtypes=dtypes,
        reason=reason,
    )


def under(method: str, **changes: Any) -> Callable[..., Any]:
    """`method` of the plain port, run under a changed configuration.

    Args:
        method: Its name.
        changes: Fields of the configuration; a function is called with the true configuration.
    """
    original = getattr(Model, method)

    def run(self: Model, *args: Any) -> Any:
        true = self.config
        settings = {n: v(true) if callable(v) else v for n, v in changes.items()}
        self.config = true.replace(**settings)
        try:
            return original(self, *args)
        finally:
            self.config = true

    return run
