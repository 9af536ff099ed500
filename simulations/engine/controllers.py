"""Declared controllers: named rules of `gac_ref.baselines`, and the grid of fixed weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from gac_ref import GACConfig, baselines
from gac_ref.errors import GACError, fail

__all__ = ["GRID_MARK", "Controller", "build_controllers", "describe"]

GRID_MARK = "@"
"""``best_fixed@0.3`` is the weight 0.3 of the grid ``best_fixed``."""

MOST_POINTS = 1001
"""Weights of a grid: a thousandth apart, far below what any outcome can tell."""


class Controller(NamedTuple):
    """A mixing rule under the name that tables give it.

    Examples:
        >>> Controller("always_rl", baselines.Fixed(mu=0.0)).rule.mu
        0.0
    """

    name: str
    rule: Any


def build_controllers(tables: Mapping[str, Mapping[str, Any]]) -> tuple[Controller, ...]:
    """Controllers from their declarations, in the order given.

    A declaration is a table with `kind`, one of ``gac_ref.baselines.RULES`` or "fixed_grid", and
    the rule's own fields. "gac" takes `variant` as well. "fixed_grid" (with `points`) stands for
    that many `Fixed` rules between 0 and 1; summaries report the best of them in hindsight.

    Raises:
        GACError: Unknown kind, unknown field, invalid value.

    Examples:
        >>> [c.name for c in build_controllers({"f": {"kind": "fixed_grid", "points": 3}})]
        ['f@0', 'f@0.5', 'f@1']
        >>> build_controllers({"x": {"kind": "gac", "variant": "released"}})[0].rule.masking
        'multiply'
    """
    if not tables:
        fail("no controllers; name at least one")
    out: list[Controller] = []
    for name, table in tables.items():
        if GRID_MARK in name:
            fail(f"controller {name!r} has {GRID_MARK!r} in its name; that marks grids' members")
        fields = dict(table)
        kind = fields.pop("kind", name)
        try:
            if kind == "fixed_grid":
                out += _grid(name, fields)
            else:
                out.append(Controller(name, _rule(kind, fields)))
        except GACError as error:
            fail(f"controller {name!r}: {error}")
    return tuple(out)


def _grid(name: str, fields: dict[str, Any]) -> list[Controller]:
    points = fields.pop("points", 11)
    if fields:
        fail(f"unknown parameter {min(fields)!r}; a fixed_grid has points")
    if type(points) is not int or not 2 <= points <= MOST_POINTS:
        fail(f"points = {points!r} is not a whole number in [2, {MOST_POINTS}]; pass one")
    weights = [index / (points - 1) for index in range(points)]
    return [Controller(f"{name}{GRID_MARK}{mu:.6g}", baselines.Fixed(mu=mu)) for mu in weights]


def _rule(kind: Any, fields: dict[str, Any]) -> Any:
    if kind not in baselines.RULES:
        known = ", ".join([*baselines.RULES, "fixed_grid"])
        fail(f"kind {kind!r} is unknown; the kinds are {known}")
    cls: Any = baselines.RULES[kind]
    if cls is GACConfig:
        return GACConfig.variant(fields.pop("variant", "documented"), **fields)
    names = [field.name for field in dataclasses.fields(cls)]
    for field in fields:
        if field not in names:
            listed = ", ".join(names) or "none"
            fail(f"unknown parameter {field!r}; those of {kind} are: {listed}")
    missing = [
        field.name
        for field in dataclasses.fields(cls)
        if field.name not in fields
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        fail(f"{kind} needs {missing[0]!r}, which has no default; pass it")
    if isinstance(fields.get("statistics"), Mapping):
        fields["statistics"] = GACConfig.from_dict(fields["statistics"])
    return cls(**fields)


def describe(controller: Controller) -> dict[str, Any]:
    """Name, kind and every field of a controller as JSON values: what its results depend on.

    Examples:
        >>> describe(Controller("a", baselines.Fixed()))
        {'name': 'a', 'kind': 'fixed', 'mu': 0.1}
    """
    kinds = {cls: kind for kind, cls in baselines.RULES.items()}
    kind = kinds[type(controller.rule)]
    return {"name": controller.name, "kind": kind, **dataclasses.asdict(controller.rule)}
