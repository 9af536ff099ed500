"""Ports that compute nothing: a case that one of them passes says nothing about a port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gac_ref.conformance.agreement import compared
from gac_ref.conformance.case import Case, Exchange
from gac_ref.conformance.schema import OUTPUTS
from gac_ref.conformance.stages import Field

CLOSE = 2.0**-6
"""Four units of bfloat16: nearer than this, an impostor's answer could pass in some dtype."""

Answer = Callable[[Field, Any], Any]


def passing(case: Case, dtype: str, previous: Exchange | None) -> Iterator[str]:
    """The impostors whose answers to every exchange of a case are right, or nearly."""
    exchanges = case.exchanges(dtype)
    for name, value in (("zeros", 0.0), ("ones", 1.0), ("one half", 0.5)):
        for flag in (False, True):
            if all(_constant(case, exchange, value, flag) for exchange in exchanges):
                yield f"{name}, {flag}"
    if all(_echo(case, exchange) for exchange in exchanges):
        yield "echo of an input"
    before = (previous, *exchanges[:-1])
    if all(_same(case, one, last) for one, last in zip(exchanges, before, strict=True)):
        yield "the previous answer"


def _outputs(case: Case, exchange: Exchange) -> Iterator[tuple[Field, Any]]:
    """What a port must answer: of whole steps, mu alone."""
    for name, value in exchange.expected.items():
        if case.kind == "stage" or name == "mu":
            yield OUTPUTS[case.stage][name], value


def _constant(case: Case, exchange: Exchange, value: float, flag: bool) -> bool:
    return all(
        _right(
            case,
            exchange,
            field,
            golden,
            np.full(np.shape(golden), flag if field.kind == "flag" else value),
        )
        for field, golden in _outputs(case, exchange)
    )


def _echo(case: Case, exchange: Exchange) -> bool:
    return all(
        any(
            _right(case, exchange, field, golden, given)
            for given in (*exchange.wide.values(), *((False,) if field.kind == "flag" else ()))
            if np.shape(given) == np.shape(golden)
            and not isinstance(given, str)
            and isinstance(given, bool) == (field.kind == "flag")
        )
        for field, golden in _outputs(case, exchange)
    )


def _same(case: Case, exchange: Exchange, last: Exchange | None) -> bool:
    return last is not None and all(
        field.name in last.expected
        and _right(case, exchange, field, golden, last.expected[field.name])
        for field, golden in _outputs(case, exchange)
    )


def _right(case: Case, exchange: Exchange, field: Field, golden: Any, given: Any) -> bool:
    wanted, answer = np.asarray(golden), np.asarray(given)
    if wanted.shape != answer.shape:
        return False
    here = compared(field, case.config, exchange.wide, wanted.shape)
    a, b = wanted[here].astype(np.float64), answer[here].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return bool(np.all((np.abs(a - b) <= CLOSE * np.abs(a)) | (np.isnan(a) & np.isnan(b))))
