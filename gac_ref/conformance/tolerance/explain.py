"""The derivation of a bound, written out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from gac_ref._typing import FloatArray
from gac_ref.config import GACConfig
from gac_ref.conformance.tolerance.precision import Precision
from gac_ref.conformance.tolerance.primitives import COMPARISONS, FAILURE, LAM, Tolerance
from gac_ref.conformance.tolerance.step import (
    stage_tolerances,
    trajectory_tolerances,
)
from gac_ref.errors import fail

__all__ = ["explain"]

NEGLIGIBLE = 1e-4
"""Share of a bound below which a term is not worth a line."""


class _Exchange(Protocol):
    @property
    def wide(self) -> Mapping[str, Any]: ...
    @property
    def expected(self) -> Mapping[str, Any]: ...


class Explainable(Protocol):
    """What of a pack's case is read here."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def stage(self) -> str:
        """The stage, "step" or "trajectory"."""
        ...

    @property
    def config(self) -> GACConfig:
        """Its configuration."""
        ...

    def exchanges(self, dtype: str) -> Iterable[Any]:
        """Its exchanges, with attributes `wide` and `expected`."""
        ...


class _Place(NamedTuple):
    at: tuple[int, ...]
    golden: float
    limit: float


def explain(
    case: Explainable,
    dtype: str,
    precision: Precision | None = None,
    *,
    exchange: int = 0,
    outputs: Iterable[str] | None = None,
) -> str:
    """The derivation of every bound of one exchange of a case, as text.

    For each output: its terms (name, formula with numbers, size), their sum, the golden value and
    the bound relative to it. Of an array the element with the largest relative bound is shown.

    Args:
        case: A case of the pack.
        dtype: The dtype of its inputs.
        precision: The port's; by default what a port declares that says nothing.
        exchange: Which exchange of the case, or step of the trajectory, from 0.
        outputs: Names of the outputs to show; all by default.

    Raises:
        GACError: No such exchange or output.
    """
    precision = Precision.declared({}, dtype) if precision is None else precision
    pairs = [(one.wide, one.expected) for one in case.exchanges(dtype)]
    if not 0 <= exchange < len(pairs):
        fail(f"{case.id} has exchanges 0 to {len(pairs) - 1}; there is no {exchange}")
    inputs, golden = pairs[exchange]
    if case.stage == "trajectory":
        found = trajectory_tolerances(
            case.config, pairs[: exchange + 1], precision=precision, keep=True
        )[exchange]
    else:
        found = stage_tolerances(
            case.stage, case.config, inputs, golden, precision=precision, keep=True
        )
    names = list(found) if outputs is None else list(outputs)
    for name in names:
        if name not in found:
            fail(f"{case.id} has no output {name!r}; it has {', '.join(found)}")
    head = [
        f"{case.id} [{dtype}], exchange {exchange} of {len(pairs)}",
        f"tokens in {precision.tokens}, scalars in {precision.scalars}, "
        f"{precision.accumulation} sums, lambda = {LAM:.2f} "
        f"(failure probability {FAILURE:g} over {COMPARISONS:g} comparisons)",
    ]
    return "\n".join(head + [line for name in names for line in _lines(name, found[name], golden)])


def _lines(name: str, tolerance: Tolerance, golden: Mapping[str, Any]) -> list[str]:
    value = golden[name]
    limit = np.asarray(tolerance.limit, dtype=np.float64)
    numbers = np.asarray(value)
    if numbers.dtype.kind in "bi" or name.startswith("count_"):
        word = "exact" if not np.any(limit) else "either value: its margin is within the error"
        return ["", f"{name} = {_short(value)}: {word}"]
    place = _place(numbers.astype(np.float64), limit)
    if place is None:
        return ["", f"{name}: empty"]
    at = f"[{', '.join(map(str, place.at))}]" if place.at else ""
    if math.isnan(place.golden):
        return ["", f"{name}{at} = nan: exact"]
    lines = ["", f"{name}{at} = {place.golden!r}"]
    for term in tolerance.terms:
        size = _at(term.size, numbers.shape, place.at)
        if size > NEGLIGIBLE * place.limit:
            lines.append(f"  {size:10.3e}  {term.name}: {term.formula}")
    lines.append(f"  {place.limit:10.3e}  absolute bound" + ("" if place.limit else " (exact)"))
    if place.limit and place.golden:
        lines.append(f"  {place.limit / abs(place.golden):10.3e}  relative to the golden value")
    for other in tolerance.alternatives:
        also = _at(np.asarray(other, dtype=np.float64), numbers.shape, place.at)
        if also != place.golden:
            lines.append(f"  or within the same bound of {also!r}")
    return lines


def _place(golden: FloatArray, limit: FloatArray) -> _Place | None:
    """The element with the largest bound relative to its value."""
    if golden.size == 0:
        return None
    limits = np.broadcast_to(limit, golden.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = limits / np.abs(golden)
    relative = np.where(np.isfinite(relative), relative, -1.0)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(relative)), golden.shape))
    return _Place(index, float(golden[index]), float(limits[index]))


def _at(values: FloatArray, shape: tuple[int, ...], index: tuple[int, ...]) -> float:
    return float(np.broadcast_to(np.asarray(values, dtype=np.float64), shape)[index])


def _short(value: Any) -> str:
    text = " ".join(str(np.asarray(value).tolist()).split())
    return text if len(text) <= 60 else text[:57] + "..."
